"""The model itself, feed-forward and fine-tuned, and fine-tuned otherwise than it should be."""

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from raytalk.evaluation.methods.made import Clock, Made
from raytalk.evaluation.protocol import Sitting
from raytalk.faces.draw import draw_batch
from raytalk.learning.fewshot import FewShotLearner, embed
from raytalk.learning.learning_images import LearningImages
from raytalk.learning.lesson import teach
from raytalk.learning.meta import Metrics, Talker, to_unit
from raytalk.learning.pretrained import Pretrained
from raytalk.learning.validation import to_pictures
from raytalk.networks.discriminator import Discriminator

_BATCH = 8
"""frames rendered together"""


class FeedForward:
    """G with ψ̂ = P ê, nothing learned of the person but ê (Eq. 7)."""

    def __init__(self, name: str, pretrained: Pretrained, device: torch.device, dtype: torch.dtype) -> None:
        self.name, self._device, self._dtype = name, device, dtype
        self._talker, self._with_pupils = pretrained.talker.to(device), pretrained.pupils

    @torch.no_grad()
    def make(self, sitting: Sitting, shots: int) -> list[Made]:
        """One pass of E over the learning frames, one of G for each hold-out frame."""
        drawings = torch.from_numpy(_drawings(sitting, sitting.hold_out, self._with_pupils))
        clock = Clock(self._device)
        embedding = embed(self._talker, _learning_images(sitting, shots, self._with_pupils))
        generator = self._talker.generator
        coefficients = generator.projection(embedding[None])
        learning = clock.pause()
        clock.go_on()
        frames = torch.cat(
            [
                generator.render(to_unit(part.to(self._device), self._dtype), coefficients.expand(len(part), -1))
                for part in drawings.split(_BATCH)
            ]
        )
        each = (clock.pause() - learning) / len(frames)
        return [Made(self.name, shots, 0, to_pictures(frames), learning, each)]


class FineTuned:
    """A person's own generator (Eq. 8-10), by whatever learner it is given."""

    def __init__(self, name: str, learner: FewShotLearner, with_pupils: bool, shown: Collection[int] = ()) -> None:
        """shown: steps after which the pictures are made as well as after the last one."""
        self.name, self._learner, self._with_pupils, self._shown = name, learner, with_pupils, frozenset(shown)

    def make(self, sitting: Sitting, shots: int) -> list[Made]:
        """The states to show, in order; time spent on showing them is not counted as learning."""
        learned = sitting.shots(shots)
        drawings = torch.from_numpy(_drawings(sitting, sitting.hold_out, self._with_pupils))
        made: list[Made] = []
        clock = Clock(self._learner.device)

        def render(step: int) -> None:
            learning = clock.pause()
            watch = Clock(self._learner.device)
            frames = torch.cat([self._learner.render(part) for part in drawings.split(_BATCH)])
            each = watch.pause() / len(frames)
            made.append(Made(self.name, shots, step, to_pictures(frames), learning, each))
            clock.go_on()

        planned = 0

        def report(step: int, total: int, metrics: Metrics) -> None:
            nonlocal planned
            planned = total
            if step in self._shown and step < total:
                render(step)

        pupils = learned.pupils if self._with_pupils else None
        teach(self._learner, learned.frames, learned.landmarks, pupils, report)
        # Where learning stops by itself people differ, and still belong into one row of the table.
        render(planned)
        return made


def random_start(pretrained: Pretrained, seed: int) -> tuple[Talker, Discriminator]:
    """E, G and D of the same size that have learned nothing: what meta-learning is compared with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Talker(pretrained.networks).eval(), Discriminator(pretrained.networks).eval()


def _learning_images(sitting: Sitting, shots: int, with_pupils: bool) -> LearningImages:
    learned = sitting.shots(shots)
    return LearningImages.drawn(learned.frames, learned.landmarks, learned.pupils if with_pupils else None)


def _drawings(sitting: Sitting, of: list[int], with_pupils: bool) -> npt.NDArray[np.uint8]:
    pupils = sitting.pupils[of] if with_pupils and sitting.pupils is not None else None
    drawings: Any = draw_batch(sitting.landmarks[of], sitting.frames.shape[1], pupils)
    return np.asarray(drawings, np.uint8)
