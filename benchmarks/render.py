"""How fast an avatar renders: frames per second through Avatar.render, the latency of one frame, where time goes.

    python benchmarks/render.py
    python benchmarks/render.py recipe=base device=cpu
    python benchmarks/render.py recipe=debug device=cpu seconds=0.2 batch_sizes=1

The generator has random weights: the arithmetic is the same. `plain` is what the others are compared with: the
generator in PyTorch, float32, spectral norm computed for every batch, drawings made before. Engines take turns, and
the best round counts. Prints JSON.
"""

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from floor import Floor, Peaks, floor_of, machine, measure_peaks
from pydantic import Field
from torch import Tensor

from raytalk.avatar import Avatar, AvatarCard
from raytalk.avatar.body import Body
from raytalk.avatar.engines import engines_for
from raytalk.config import JobSettings, parse_command_line
from raytalk.faces.draw import draw_batch
from raytalk.learning.meta import to_unit
from raytalk.learning.settings import MetatrainSettings
from raytalk.networks.generator import Generator


class RenderSettings(JobSettings):
    """What to time."""

    recipe: Literal["paper", "base", "debug"] = "paper"
    """preset of jobs/metatrain.py"""
    batch_sizes: str = "1,4,16"
    """frames rendered together, one or several with commas between them"""
    device: str = "auto"
    """cuda, cpu, or auto: cuda where there is one"""
    engines: str = ""
    """names with commas between them; empty: all that work on the device"""
    seconds: float = Field(2.0, gt=0)
    """time for each figure in each round"""
    rounds: int = Field(3, ge=1)
    """how often each engine has its turn"""
    plain: bool = True
    """whether to time the plain generator too"""


def main(settings: RenderSettings) -> None:
    """Print JSON."""
    name = settings.device if settings.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    peaks, body = measure_peaks(device), _body(settings.recipe)
    sizes = [int(size) for size in settings.batch_sizes.split(",")]
    engines = (
        settings.engines.split(",") if settings.engines else engines_for(body.generator, device, _precision(device))
    )
    rates: dict[str, dict[str, float]] = {}
    avatars, warm_up = {}, {}
    for engine in engines:
        start = time.perf_counter()
        avatars[engine] = _avatar(body, device, engine)
        for size in sizes:
            avatars[engine].render(_landmarks(body, 2 * size), size)
        warm_up[engine] = round(time.perf_counter() - start, 2)
    plain = _plain(body, device) if settings.plain else None
    for number in range(settings.rounds):
        for size in sizes:
            ways: dict[str, Callable[[int], object]] = {
                engine: _through(avatar, size) for engine, avatar in avatars.items()
            }
            if plain is not None:
                ways["plain"] = plain(size)
            for way, action in ways.items():
                rate = _rate(action, size, settings.seconds)
                best = rates.setdefault(way, {})
                best[str(size)] = round(max(best.get(str(size), 0.0), rate), 2)
        print(f"round {number + 1}: {rates}", file=sys.stderr, flush=True)
    floors = {str(size): _floor(body, size, device) for size in sizes}
    fastest = max(avatars, key=lambda engine: rates[engine][str(sizes[0])])
    result: dict[str, Any] = {
        "machine": machine(device),
        "peaks": peaks.describe(),
        "recipe": settings.recipe,
        "floor, per frame": {size: _describe(floor, peaks, int(size)) for size, floor in floors.items()},
        "frames per second": rates,
        "warm-up, s": warm_up,
        "fastest": fastest,
        "one frame alone, ms": {engine: _latency(avatar, settings.seconds) for engine, avatar in avatars.items()},
        "floor over time": {
            size: round(floor.seconds(peaks) / int(size) * rates[fastest][size], 3) for size, floor in floors.items()
        },
        "parts, ms per frame": {
            engine: {str(size): _parts(avatar, device, size, settings.seconds) for size in sizes}
            for engine, avatar in avatars.items()
        },
    }
    if plain is not None:
        result["times as fast as plain"] = {
            engine: {size: round(rate / rates["plain"][size], 2) for size, rate in own.items()}
            for engine, own in rates.items()
            if engine != "plain"
        }
    print(json.dumps(result, indent=2))


def _body(recipe: str) -> Body:
    networks = MetatrainSettings.resolve(recipe).networks
    torch.manual_seed(0)
    return Body(Generator(networks), networks)


def _avatar(body: Body, device: torch.device, engine: Any) -> Avatar:
    card = AvatarCard("nobody", "none", body.networks.model_dump(), "", "FT")
    coefficients = body.generator.projection.bias.detach().clone()
    return Avatar(card, body, torch.zeros(body.networks.embedding_size), coefficients).to(str(device), engine=engine)


def _landmarks(body: Body, count: int) -> npt.NDArray[np.float64]:
    """Rings and arcs as long as a face's lines, which move: drawing takes as long."""
    size = body.networks.resolution
    angles = np.concatenate(
        [np.linspace(0, np.pi, 17), *(np.linspace(0, 2 * np.pi, n) for n in (5, 5, 4, 5, 6, 6, 20))]
    )
    radii = np.repeat([0.32, 0.08, 0.08, 0.1, 0.05, 0.05, 0.05, 0.11], [17, 5, 5, 4, 5, 6, 6, 20])
    across = np.repeat([0.5, 0.37, 0.63, 0.5, 0.5, 0.37, 0.63, 0.5], [17, 5, 5, 4, 5, 6, 6, 20])
    down = np.repeat([0.5, 0.35, 0.35, 0.45, 0.55, 0.4, 0.4, 0.7], [17, 5, 5, 4, 5, 6, 6, 20])
    face = np.stack([across + radii * np.cos(angles), down + radii * np.sin(angles) * 0.6], axis=1)
    shifts = 0.02 * np.sin(np.arange(count) / 7)[:, None, None]
    moved: npt.NDArray[np.float64] = (face[None] + shifts) * size
    return moved


def _through(avatar: Avatar, size: int) -> Callable[[int], object]:
    return lambda count: avatar.render(_landmarks(avatar.body, count), size)


def _plain(body: Body, device: torch.device) -> Callable[[int], Callable[[int], object]]:
    """float32, nothing folded, contiguous, drawn before; frames come back as in Avatar.render."""
    generator = _copied(body).to(device)
    coefficients = generator.projection.bias.detach()

    @torch.inference_mode()
    def batch(drawings: Tensor) -> object:
        pictures = to_unit(drawings.to(device)).contiguous()
        output = generator.render(pictures, coefficients.expand(len(drawings), -1))
        return ((output + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).movedim(1, -1).cpu().numpy()

    def of_size(size: int) -> Callable[[int], object]:
        drawings = torch.from_numpy(draw_batch(_landmarks(body, size), body.networks.resolution))
        return lambda count: [batch(drawings) for _ in range(count // size)]

    return of_size


def _precision(device: torch.device) -> torch.dtype:
    """What Avatar.to takes by default."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def _copied(body: Body) -> Generator:
    return Body.copy(body.generator, body.networks).generator


def _rate(action: Callable[[int], object], size: int, seconds: float) -> float:
    """Frames per second over at least so long."""
    count = size
    while True:
        start = time.perf_counter()
        action(count)
        taken = time.perf_counter() - start
        if taken >= seconds / 2:
            return count / taken
        count = max(2 * count, int(count * seconds / taken) // size * size)


def _latency(avatar: Avatar, seconds: float) -> dict[str, float]:
    """From landmarks to a frame in memory."""
    landmarks, times = _landmarks(avatar.body, 1), []
    avatar.render(landmarks)
    until = time.perf_counter() + seconds
    while not times or time.perf_counter() < until:
        start = time.perf_counter()
        avatar.render(landmarks)
        times.append((time.perf_counter() - start) * 1e3)
    return {"median": round(float(np.median(times)), 3), "95 of 100": round(float(np.quantile(times, 0.95)), 3)}


def _parts(avatar: Avatar, device: torch.device, size: int, seconds: float) -> dict[str, float]:
    """Each for itself; through Avatar.render they overlap."""
    side = avatar.body.networks.resolution
    landmarks = _landmarks(avatar.body, size)
    drawings, frames = draw_batch(landmarks, side), np.empty((size, side, side, 3), np.uint8)
    engine = avatar.body.engine(str(device), None, avatar.engine)  # type: ignore[arg-type]
    parts = {
        "drawing": 1e3
        / _rate(lambda count: [draw_batch(landmarks, side) for _ in range(count // size)], size, seconds),
        "engine, one batch at a time": 1e3
        / _rate(
            lambda count: [engine.render([drawings], avatar.coefficients, frames) for _ in range(count // size)],
            size,
            seconds,
        ),
        "engine, batches in a row": 1e3
        / _rate(lambda count: _in_a_row(engine, avatar, drawings, count), size, seconds),
    }
    if device.type == "cuda":
        parts |= _on_device(engine, device, drawings)
    return {name: round(value, 4) for name, value in parts.items()}


def _in_a_row(engine: Any, avatar: Avatar, drawings: npt.NDArray[np.uint8], count: int) -> None:
    frames = np.empty((count, *drawings.shape[1:]), np.uint8)
    engine.render((drawings for _ in range(count // len(drawings))), avatar.coefficients, frames)


def _on_device(engine: Any, device: torch.device, drawings: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Copies through pinned memory, and the kernels of a recording by the clock of the GPU."""
    host = torch.from_numpy(drawings).pin_memory()
    there = host.to(device)
    parts = {
        "upload": _device_time(lambda: there.copy_(host, non_blocking=True)) / len(drawings),
        "download": _device_time(lambda: host.copy_(there, non_blocking=True)) / len(drawings),
    }
    if hasattr(engine, "replay"):
        parts["kernels"] = _device_time(lambda: engine.replay(len(drawings), drawings.shape[1])) / len(drawings)
    return parts


def _device_time(action: Callable[[], object], times: int = 50) -> float:
    """ms"""
    for _ in range(3):
        action()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(times):
        action()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / times


def _floor(body: Body, size: int, device: torch.device) -> Floor:
    """Of the generator alone, in the precision that the device takes by default."""
    networks, dtype = body.networks, _precision(device)
    generator = _copied(body).to("meta")
    pictures = torch.empty((size, 3, networks.resolution, networks.resolution), dtype=dtype, device="meta")
    coefficients = generator.projection.bias.detach().expand(size, -1)
    gc.collect()

    def render() -> None:
        with torch.no_grad():
            generator.render(pictures, coefficients)

    return floor_of(render)


def _describe(floor: Floor, peaks: Peaks, size: int) -> dict[str, float]:
    flops, moved = (sum(column) / size for column in zip(*floor.operations, strict=True))
    return {
        "GFLOP": round(flops / 1e9, 2),
        "MB": round(moved / 1e6, 1),
        "arithmetic alone, ms": round(flops / peaks.flops * 1e3, 4),
        "bytes alone, ms": round(moved / peaks.bytes * 1e3, 4),
        "each operation at its bound, ms": round(floor.seconds(peaks) / size * 1e3, 4),
    }


if __name__ == "__main__":
    main(parse_command_line(RenderSettings, sys.argv[1:], __doc__ or ""))
