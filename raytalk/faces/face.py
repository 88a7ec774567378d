"""One face in a frame, and what a detector is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

FACE_ALIGNMENT = "face-alignment"
DLIB = "dlib"


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one frame."""

    box: npt.NDArray[np.float32]
    """[4] left, top, right, bottom in frame pixels"""
    landmarks: npt.NDArray[np.float32]
    """[68, 2] x, y in frame pixels, iBUG order"""
    score: float
    """how sure the detector is, on its own scale; higher is surer"""

    @property
    def extent(self) -> float:
        """Larger side of the landmarks' bounding box, in frame pixels."""
        return float(np.ptp(self.landmarks, axis=0).max())


class LandmarkDetector(Protocol):
    """What finds faces. Not safe to share between threads."""

    name: str
    """what clips, checkpoints and avatars record"""

    def detect(self, frames: Sequence[npt.NDArray[np.uint8]]) -> list[list[Face]]:
        """All faces of each frame (HxWx3 uint8 RGB), the largest first; an empty list where there is none."""
        ...
