"""The face of a live stream, looked for first where it was a moment ago: most of a picture need not be searched."""

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from raytalk.faces.face import Face, LandmarkDetector

_SIDES = 2.0
"""of the face's box are searched, around its centre"""


@runtime_checkable
class SearchesNear(Protocol):
    """A detector that has a way of its own to do it."""

    def detect_near(self, frame: npt.NDArray[np.uint8], box: npt.NDArray[np.floating]) -> Face | None: ...


def detect_near(detector: LandmarkDetector, frame: npt.NDArray[np.uint8], box: npt.NDArray[np.floating]) -> Face | None:
    """The face nearest to where one was; None if there is none, which the detector may still find in the whole frame.

    frame: HxWx3 uint8 RGB; box: [4] left, top, right, bottom of that face in frame pixels, as its `Face` had it.
    """
    if not np.isfinite(box).all():
        return None
    if isinstance(detector, SearchesNear):
        return detector.detect_near(frame, box)
    left, top, right, bottom = window(frame, box, _SIDES)
    if right - left < 2 or bottom - top < 2:
        return None
    faces = detector.detect([np.ascontiguousarray(frame[top:bottom, left:right])])[0]
    if not faces:
        return None
    corner = np.array([left, top], np.float32)
    placed = [Face(face.box + np.tile(corner, 2), face.landmarks + corner, face.score) for face in faces]
    return min(placed, key=lambda face: float(np.abs(face.box - box).sum()))


def window(frame: npt.NDArray[np.uint8], box: npt.NDArray[np.floating], sides: float) -> tuple[int, int, int, int]:
    """left, top, right, bottom of the square of so many sides of the box around it, as far as it is in the frame."""
    height, width = frame.shape[:2]
    centre, reach = (box[:2] + box[2:]) / 2, sides / 2 * float((box[2:] - box[:2]).max())
    left, top = np.clip(np.floor(centre - reach), 0, [width, height]).astype(int).tolist()
    right, bottom = np.clip(np.ceil(centre + reach), 0, [width, height]).astype(int).tolist()
    return left, top, right, bottom
