"""How fast the meta-learning step is on data in memory, without Ray: episodes per second, the floor, where time goes.

    python benchmarks/train_step.py batch_sizes=8,16,32
    python benchmarks/train_step.py recipe=debug batch_sizes=8 device=cpu steps=3

Networks have random weights and pictures are noise: the arithmetic is the same. Prints JSON.
"""

import gc
import json
import math
import sys
import time
from typing import Any, Literal

import torch
from floor import Peaks, floor_of, machine, measure_peaks
from pydantic import Field

from raytalk.config import JobSettings, parse_command_line
from raytalk.learning.meta import Episodes, MetaLearner
from raytalk.learning.settings import MetatrainSettings
from raytalk.networks.perceptual import SPECS, PerceptualNetwork


class StepSettings(JobSettings):
    """What to time."""

    recipe: Literal["paper", "base", "debug"] = "paper"
    """preset of jobs/metatrain.py"""
    batch_sizes: str = "8"
    """episodes per step, one or several with commas between them"""
    videos: int = Field(1000, ge=1)
    """rows of W"""
    steps: int = Field(20, ge=1)
    """timed steps"""
    warm_up: int = Field(5, ge=1)
    """steps before those"""
    device: str = "auto"
    """cuda, cpu, or auto: cuda where there is one"""
    fused_kernels: bool = True
    """speed.fused_kernels of the run"""
    graphs: bool = True
    """speed.graphs of the run"""
    precision: Literal["bf16", "float32"] = "bf16"
    """of the arithmetic; ignored on a CPU, which takes float32"""
    identity: bool = True
    """whether the loss has an identity network, as the paper's has"""
    profile: int = Field(0, ge=0)
    """list that many of the kernels that take most time"""


def main(settings: StepSettings) -> None:
    """Print JSON."""
    name = settings.device if settings.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cpu":
        settings = settings.model_copy(update={"precision": "float32"})
    peaks = measure_peaks(device)
    rows = []
    for size in settings.batch_sizes.split(","):
        rows.append(time_batch(settings, int(size), device, peaks))
        print(f"{size} episodes a step: {rows[-1].get('episodes per second')} a second", file=sys.stderr, flush=True)
    print(json.dumps({"machine": machine(device), "peaks": peaks.describe(), "steps": rows}, indent=2))


def time_batch(settings: StepSettings, batch_size: int, device: torch.device, peaks: Peaks) -> dict[str, Any]:
    """Figures for one batch size."""
    if device.type == "cuda":
        gc.collect()  # the learner before this one is a cycle
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    try:
        learner = _learner(settings, batch_size, device)
        batches = [_noise(learner.settings, settings.videos, seed, device) for seed in range(2)]
        for step in range(settings.warm_up):
            learner.step(batches[step % 2])
        _synchronise(device)
    except torch.OutOfMemoryError:
        return {"batch size": batch_size, "out of memory": True}
    warm_up = time.perf_counter() - start
    times = []
    for step in range(settings.steps):
        _synchronise(device)
        start = time.perf_counter()
        metrics = learner.step(batches[step % 2])
        _synchronise(device)
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    for step in range(settings.steps):
        metrics = learner.step(batches[step % 2])
    _synchronise(device)
    seconds = (time.perf_counter() - start) / settings.steps
    assert all(math.isfinite(float(value.float().mean())) for value in metrics.values())
    floor = floor_of(lambda: _step_on_meta(settings, batch_size))
    result: dict[str, Any] = {
        "batch size": batch_size,
        "episodes per second": round(batch_size / seconds, 2),
        "step, ms": round(seconds * 1e3, 2),
        "step, median of single ones, ms": round(sorted(times)[len(times) // 2] * 1e3, 2),
        "warm-up, s": round(warm_up, 1),
        "floor": floor.describe(peaks, batch_size),
        "floor over time": round(floor.seconds(peaks) / seconds, 3),
    }
    if device.type == "cuda":
        result["memory, GB"] = round(torch.cuda.max_memory_reserved() / 1e9, 1)
        result["parts, ms per step"] = _parts(learner, batches, settings.profile)
    return result


def _learner(settings: StepSettings, batch_size: int, device: torch.device) -> MetaLearner:
    speed = {"speed.fused_kernels": settings.fused_kernels, "speed.graphs": settings.graphs}
    run = MetatrainSettings.resolve(settings.recipe, {"batch_size": batch_size, "precision": settings.precision}, speed)
    content = PerceptualNetwork(SPECS[run.perceptual.content])
    identity = None if run.perceptual.identity == "none" else PerceptualNetwork(SPECS[run.perceptual.identity])
    videos = [str(number) for number in range(settings.videos)]
    return MetaLearner(run, videos, content, identity if settings.identity else None, device)


def _noise(run: MetatrainSettings, videos: int, seed: int, device: torch.device) -> Episodes:
    size, random = run.networks.resolution, torch.Generator().manual_seed(seed)
    shape = (run.batch_size, 1 + run.data.shots, size, size, 3)
    frames, drawings = (torch.randint(0, 256, shape, dtype=torch.uint8, generator=random) for _ in range(2))
    rows = torch.randint(0, videos, (run.batch_size,), generator=random)
    return Episodes(frames.to(device), drawings.to(device), rows.to(device))


def _step_on_meta(settings: StepSettings, batch_size: int) -> None:
    """The step without arithmetic, for counting."""
    device = torch.device("meta")
    learner = _learner(settings.model_copy(update={"videos": 10}), batch_size, device)
    learner.step(_noise(learner.settings, 10, 0, device))


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


_KINDS = (
    ("convolutions", ("fprop", "dgrad", "wgrad", "cudnn", "conv", "xmma", "nchwToNhwc", "nhwcToNchw")),
    ("norms", ("norm_relu", "moments")),
    ("other fused kernels", ("relu_and_half", "max_half", "mask_and_sum", "join", "sum_of_four", "difference")),
    ("attention", ("flash", "fmha", "attention", "softmax")),
    ("matrix products", ("gemm", "gemv", "cutlass", "nvjet")),
    ("optimizers and average", ("multi_tensor", "fused_adam", "foreach")),
    ("copies and fills", ("memcpy", "memset", "copy", "fill", "cat")),
    ("reductions", ("reduce",)),
    ("elementwise", ("elementwise",)),
)


def _parts(learner: MetaLearner, batches: list[Episodes], listed: int) -> dict[str, Any]:
    """Kernel time of a step by kind, from the profiler."""
    from torch.profiler import ProfilerActivity, profile

    steps = 4
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for step in range(steps):
            learner.step(batches[step % 2])
        torch.cuda.synchronize()
    parts: dict[str, float] = {}
    kernels: dict[str, list[float]] = {}
    for event in profiler.key_averages():
        milliseconds = event.self_device_time_total / 1e3 / steps
        name = event.key.lower()
        kind = next((kind for kind, words in _KINDS if any(word.lower() in name for word in words)), "rest")
        parts[kind] = parts.get(kind, 0.0) + milliseconds
        kernels[event.key] = [round(milliseconds, 3), round(event.count / steps, 1)]
    result: dict[str, Any] = {kind: round(value, 2) for kind, value in sorted(parts.items(), key=lambda p: -p[1])}
    result["all kernels"] = round(sum(parts.values()), 2)
    if listed:
        longest = sorted(kernels.items(), key=lambda item: -item[1][0])[:listed]
        result["kernels: ms, launches"] = {name[:110]: figures for name, figures in longest}
    return result


if __name__ == "__main__":
    main(parse_command_line(StepSettings, sys.argv[1:], __doc__ or ""))
