"""Landmark adaptation of a driver who is not known yet: what is learned of their face gets better while they move."""

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import cache

import numpy as np
import numpy.typing as npt

from raytalk.faces.face_fit import Frames, Likeness, sizes
from raytalk.faces.retarget import LEAST_SIZE, Adaptation, learn_face

_LEARNED_AT = 1.0, 2.5, 6.0, 15.0
"""seconds after the start at which the driver's face is learned anew"""
_LEARNED_EVERY = 30.0
"""seconds from then on"""
_BLEND = 1.0
"""seconds over which what was learned takes the place of what was known before"""
_FEWEST, _MOST = 12, 24
"""faces that are kept to learn from: when there are too many, every other goes"""
_FIRST_STEP = 0.1
"""seconds between two of them at first"""


class LiveAdaptation:
    """`raytalk.faces.retarget.adapt` for frames as they come."""

    def __init__(self, target: npt.NDArray[np.floating], learner: Executor | None = None) -> None:
        """target: [T, 68, 2], T >= 1, of the avatar's learning images. learner: where faces are learned (some 50 ms
        each), a thread that all share if not given. Raises ValueError if the target shows no face."""
        self._target = learn_face(target)
        self._learner = learner
        self._known: Likeness | None = None
        self._blending: tuple[Likeness, Likeness, float] | None = None
        self._future: Future[Likeness] | None = None
        self.restart()

    def restart(self) -> None:
        """It may be somebody else from now on; until that is known better they count as whom they were before."""
        self._kept: list[tuple[float, npt.NDArray[np.float64]]] = []
        self._step, self._learned, self._begun = _FIRST_STEP, 0, float("nan")
        self._before: Frames | None = None

    def apply(self, face: npt.NDArray[np.float64], seconds: float) -> npt.NDArray[np.float64]:
        """The next frame [68, 2] as the avatar's face; as it is if its landmarks all lie in one place."""
        if sizes(face[None])[0] <= LEAST_SIZE:
            return face
        if np.isnan(self._begun):
            self._begun = seconds
        if not self._kept or seconds - self._kept[-1][0] >= self._step:
            self._keep(seconds, face)
        if self._known is None:
            self._take(learn_face(face[None]))
        self._learn(seconds)
        self._blend(seconds)
        moved, self._before = self._adaptation.follow(face, self._before)
        return moved

    def _keep(self, seconds: float, face: npt.NDArray[np.float64]) -> None:
        self._kept.append((seconds, face))
        if len(self._kept) > _MOST:
            self._kept = self._kept[:: _MOST // _FEWEST]
            self._step *= _MOST // _FEWEST

    def _learn(self, seconds: float) -> None:
        if self._future is not None:
            if not self._future.done():
                return
            assert self._known is not None
            # Forgotten first: what could not be learned is raised once, and learned anew when it is due.
            future, self._future = self._future, None
            self._blending = self._known, future.result(), seconds
        past, number = seconds - self._begun, self._learned
        due = (
            _LEARNED_AT[number]
            if number < len(_LEARNED_AT)
            else _LEARNED_AT[-1] + (number + 1 - len(_LEARNED_AT)) * _LEARNED_EVERY
        )
        if past >= due:
            self._learned += 1
            times, faces = zip(*self._kept, strict=True)
            learner = self._learner or _shared()
            self._future = learner.submit(learn_face, np.stack(faces), np.array(times))

    def _take(self, known: Likeness) -> None:
        self._known = known
        self._adaptation = Adaptation(known, self._target)

    def _blend(self, seconds: float) -> None:
        """From one face to another without a jump."""
        if self._blending is None:
            return
        old, new, begun = self._blending
        share = min((seconds - begun) / _BLEND, 1.0)
        share = share * share * (3 - 2 * share)
        self._take(
            Likeness(
                old.identity + share * (new.identity - old.identity), old.offset + share * (new.offset - old.offset)
            )
        )
        if share == 1:
            self._blending = None


@cache
def _shared() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "learn-face")
