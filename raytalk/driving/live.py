"""Live driving: each frame's landmarks become the avatar's when they come, with no look at what follows.

`raytalk.driving.motion.motion_of` does the same to a whole track. numpy alone: a web server can do this.
"""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from raytalk.driving.live_adaptation import LiveAdaptation
from raytalk.driving.live_crop import LiveSquare
from raytalk.driving.settings import SMOOTHING, Smoothing
from raytalk.errors import AvatarError
from raytalk.faces.crop import square_map, to_crop
from raytalk.faces.people import Place
from raytalk.faces.smooth import OneEuro

Adapt = Literal["auto", "true", "false"]

_LEAST_STEP = 1e-3
"""seconds: what comes faster, or has a clock that runs back, counts as so far apart"""


@dataclass(frozen=True, eq=False)
class AvatarFace:
    """What driving needs to know of an avatar."""

    landmarks: npt.NDArray[np.float32]
    """[T, 68, 2] of its learning images, in pixels of `resolution`; T may be 0"""
    resolution: int
    """height and width of its pictures, in pixels"""
    detector: str
    """whose landmarks it was learned with"""

    def __eq__(self, other: object) -> bool:
        """Whether driving is the same: a version fine-tuned on the same images moves as the one before it did."""
        return (
            isinstance(other, AvatarFace)
            and (self.resolution, self.detector) == (other.resolution, other.detector)
            and np.array_equal(self.landmarks, other.landmarks)
        )

    __hash__ = None  # type: ignore[assignment]


class LiveMotion:
    """One driver on one avatar. Not for several threads at once."""

    def __init__(
        self, face: AvatarFace, adapt: Adapt = "auto", smooth: Smoothing = "none", learner: Executor | None = None
    ) -> None:
        """adapt: bring landmarks to the avatar's face; auto: if its landmarks are known, since nobody knows who drives.
        smooth: filter jitter, which lags behind a little. learner: see `LiveAdaptation`. Takes some 50 ms. Raises
        AvatarError if adaptation is wished for and the avatar keeps no landmarks.
        """
        known = len(face.landmarks) > 0
        if adapt == "true" and not known:
            raise AvatarError(
                "the avatar keeps no landmarks of its learning images, which adapt=true needs: make it again"
            )
        self._resolution = face.resolution
        self.adapted = known and adapt != "false"
        """whether landmarks are brought to the avatar's face"""
        self._adaptation = LiveAdaptation(face.landmarks, learner) if self.adapted else None
        self._smoothing = SMOOTHING.get(smooth)
        self._last: tuple[Place, float] | None = None
        self._doubtful: tuple[Place, float] | None = None
        self._shown: npt.NDArray[np.float32] = np.zeros((68, 2), np.float32)
        self._begin()

    def feed(self, landmarks: npt.NDArray[np.floating], seconds: float) -> npt.NDArray[np.float32]:
        """The avatar's landmarks [68, 2] in pixels of its resolution.

        landmarks: [68, 2] of the driver, in pixels of pictures of one size; seconds: when, by any clock. A face that
        is suddenly elsewhere counts as a wrong detection at first, and the last result is given again; it is a cut if
        the next frame agrees. Raises ValueError for another shape or numbers that are not finite.
        """
        face = np.array(landmarks, np.float64)
        if face.shape != (68, 2) or not np.isfinite(face).all() or not np.isfinite(seconds):
            raise ValueError(f"landmarks must be finite and of the shape [68, 2], not {list(face.shape)}")
        place = Place.of(face)
        now, passed = seconds, _LEAST_STEP
        if self._last is not None:
            before, then = self._last
            passed = max(seconds - then, _LEAST_STEP)
            now = then + passed
            if before.step(place, passed) is None:
                doubt, self._doubtful = self._doubtful, (place, now)
                if doubt is None or doubt[0].step(place, max(now - doubt[1], _LEAST_STEP)) is None:
                    return self._shown.copy()
                self._begin()
        self._last, self._doubtful = (place, now), None
        if self._adaptation is not None:
            face = self._adaptation.apply(face, now)
        if self._filter is not None:
            face = self._filter.step(face, passed, place.size)
        square = self._square.follow(face, now)
        self._shown = to_crop(face, square_map(square, self._resolution))
        return self._shown.copy()

    def _begin(self) -> None:
        """Of a shot."""
        self._square = LiveSquare()
        self._filter = None if self._smoothing is None else OneEuro(*self._smoothing)
        if self._adaptation is not None:
            self._adaptation.restart()
