"""How fast a person is learned: the first frame, a step, and so many steps, after the model is loaded and warm.

    python benchmarks/finetune.py images=8 batch_size=8 steps=40,250
    python benchmarks/finetune.py recipe=base device=cpu images=8 batch_size=4 steps=5
    python benchmarks/finetune.py recipe=debug device=cpu images=3 batch_size=2 steps=2

Networks have random weights and pictures are noise: the arithmetic is the same. Prints JSON.
"""

import json
import sys
import time
from typing import Any, Literal

import numpy as np
import torch
from floor import floor_of, machine, measure_peaks
from pydantic import Field

from raytalk.avatar import Avatar, AvatarCard
from raytalk.config import JobSettings, parse_command_line
from raytalk.learning.checkpoint import State
from raytalk.learning.fewshot import FewShotLearner, embed
from raytalk.learning.learning_images import LearningImages
from raytalk.learning.meta import Talker, arithmetic
from raytalk.learning.pretrained import Pretrained
from raytalk.learning.settings import FewShotSettings, MetatrainSettings, SpeedSettings
from raytalk.networks.discriminator import Discriminator
from raytalk.networks.perceptual import SPECS, PerceptualNetwork


class FinetuneBenchmarkSettings(JobSettings):
    """What to time."""

    recipe: Literal["paper", "base", "debug"] = "paper"
    """preset of jobs/metatrain.py"""
    images: int = Field(8, ge=1, le=64)
    """T, learning images"""
    batch_size: int = Field(8, ge=1)
    """images per step"""
    discriminator_steps: int = Field(1, ge=1)
    """D steps for each step; the paper's are 2"""
    steps: str = "40,250"
    """steps to time, one or several numbers with commas between them; each is a person of its own"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one"""
    fused_kernels: bool = True
    """speed.fused_kernels"""
    graphs: bool = True
    """speed.graphs"""


def main(settings: FinetuneBenchmarkSettings) -> None:
    """Print JSON."""
    name = settings.device if settings.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    peaks = measure_peaks(device)
    pretrained = _pretrained(settings)
    start = time.perf_counter()
    learner = _learner(settings, pretrained, device)
    learner.warm_up(_noise(settings, 0))
    card = AvatarCard("nobody", "dlib", pretrained.networks.model_dump(), "", "FF")
    first = Avatar.feed_forward(card, pretrained, learner.embedding).to(name)
    first.render(_landmarks(settings), batch_size=1)
    _synchronise(device)
    report: dict[str, Any] = {"warm-up, s": round(time.perf_counter() - start, 1)}
    report["first feed-forward frame, s"] = round(_first_frame(settings, pretrained, learner, card, name), 3)
    floor = floor_of(lambda: _step_on_meta(settings))
    report["floor of a step"] = floor.describe(peaks, settings.batch_size)
    for number, steps in enumerate(map(int, settings.steps.split(",")), 1):
        images = _noise(settings, number)
        _synchronise(device)
        start = time.perf_counter()
        learner.begin(images)
        _synchronise(device)
        begun = time.perf_counter() - start
        for _, chosen in zip(range(steps), learner._order(), strict=False):
            learner.step(chosen)
        _synchronise(device)
        seconds = time.perf_counter() - start
        each = (seconds - begun) / steps
        report[f"{steps} steps"] = {
            "in all, s": round(seconds, 3),
            "of it before the first step, s": round(begun, 3),
            "step, ms": round(each * 1e3, 2),
            "floor over time": round(floor.seconds(peaks) / each, 3),
        }
    if device.type == "cuda":
        report["memory, GB"] = round(torch.cuda.max_memory_reserved() / 1e9, 1)
    what = {"recipe": settings.recipe, "images": settings.images, "batch size": learner.batch_size}
    print(json.dumps({"machine": machine(device), "peaks": peaks.describe(), **what, **report}, indent=2))


def _first_frame(
    settings: FinetuneBenchmarkSettings, pretrained: Pretrained, learner: FewShotLearner, card: AvatarCard, device: str
) -> float:
    """Seconds from images in memory to the first feed-forward frame of a new person."""
    images, landmarks = _noise(settings, 99), _landmarks(settings)
    start = time.perf_counter()
    avatar = Avatar.feed_forward(card, pretrained, embed(learner.talker, images)).to(device)
    avatar.render(landmarks, batch_size=1)
    return time.perf_counter() - start


def _recipe(settings: FinetuneBenchmarkSettings) -> MetatrainSettings:
    return MetatrainSettings.resolve(settings.recipe)


def _pretrained(settings: FinetuneBenchmarkSettings) -> Pretrained:
    run = _recipe(settings)
    torch.manual_seed(0)
    talker, discriminator = Talker(run.networks).eval(), Discriminator(run.networks).eval()
    return Pretrained("", talker, discriminator, run.networks, run.losses, State(0, 0.0, 0, 0, "dlib", []))


def _learner(settings: FinetuneBenchmarkSettings, pretrained: Pretrained, device: torch.device) -> FewShotLearner:
    run = _recipe(settings)
    names = run.perceptual
    return FewShotLearner(
        FewShotSettings(batch_size=settings.batch_size, discriminator_steps=settings.discriminator_steps),
        run.losses,
        pretrained.talker,
        pretrained.discriminator,
        PerceptualNetwork(SPECS[names.content]),
        None if names.identity == "none" else PerceptualNetwork(SPECS[names.identity]),
        device,
        arithmetic("auto", device),
        SpeedSettings(fused_kernels=settings.fused_kernels, graphs=settings.graphs),
    )


def _noise(settings: FinetuneBenchmarkSettings, seed: int, device: str = "cpu") -> LearningImages:
    size, random = _recipe(settings).networks.resolution, torch.Generator().manual_seed(seed)
    shape = (settings.images, size, size, 3)
    frames, drawings = (torch.randint(0, 256, shape, dtype=torch.uint8, generator=random) for _ in range(2))
    return LearningImages(frames.to(device), drawings.to(device))


def _landmarks(settings: FinetuneBenchmarkSettings) -> np.ndarray:
    size = _recipe(settings).networks.resolution
    return np.random.default_rng(0).uniform(0.2 * size, 0.8 * size, (1, 68, 2))


def _step_on_meta(settings: FinetuneBenchmarkSettings) -> None:
    """The step without arithmetic, for counting: what `begin` does is left out."""
    device = torch.device("meta")
    learner = _learner(settings, _pretrained(settings), device)
    with torch.utils._python_dispatch._disable_current_modes():
        learner.begin(_noise(settings, 0, "meta"))
    learner.step(torch.arange(learner.batch_size, device=device))


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main(parse_command_line(FinetuneBenchmarkSettings, sys.argv[1:], __doc__ or ""))
