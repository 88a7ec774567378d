"""One person is learned from begin to end: variants, the images kept aside, and when to stop."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from raytalk.learning.early_stop import EarlyStop, kept_aside
from raytalk.learning.fewshot import FewShotLearner
from raytalk.learning.learning_images import LearningImages, varied
from raytalk.learning.meta import Metrics

Report = Callable[[int, int, Metrics], None]
"""is told the step, the number of steps and the losses, which the next step overwrites"""


@dataclass(frozen=True)
class Lesson:
    """How it went."""

    steps: int
    """made"""
    aside: list[int] = field(default_factory=list)
    """images that were not learned from"""
    best_step: int | None = None
    """whose state was kept, where images were kept aside"""


def teach(
    learner: FewShotLearner,
    frames: npt.NDArray[np.uint8],
    landmarks: npt.NDArray[np.floating],
    pupils: npt.NDArray[np.floating] | None,
    report: Report | None = None,
) -> Lesson:
    """The learner forgets whoever it knew and learns this person.

    frames [T, H, H, 3] uint8 RGB, landmarks [T, 68, 2] and, if they are to be drawn, pupils [T, 2, 2] in their pixels.
    """
    settings = learner.settings
    aside = kept_aside(len(frames), settings)
    kept = [index for index in range(len(frames)) if index not in aside]

    def part(of: list[int]) -> LearningImages:
        return LearningImages.drawn(frames[of], landmarks[of], None if pupils is None else pupils[of])

    own_pupils = None if pupils is None else pupils[kept]
    learner.begin(
        part(kept), varied(frames[kept], landmarks[kept], own_pupils, settings.variants, settings.flip, settings.seed)
    )
    watch = EarlyStop(learner, part(aside)) if aside else None

    def after(step: int, total: int, metrics: Metrics) -> bool:
        if report is not None:
            report(step, total, metrics)
        return watch is not None and watch.looked(step, total)

    steps = learner.learn(after)
    if watch is None:
        return Lesson(steps)
    watch.restore()
    return Lesson(steps, aside, watch.best_step)
