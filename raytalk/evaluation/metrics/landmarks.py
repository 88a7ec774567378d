"""Does a picture show the pose it was asked for: landmarks found in it again, against those it was drawn from.

M pictures in the order of time; landmarks are [M, 68, 2] float32 in pixels, NaN where no face was found.
"""

import numpy as np
import numpy.typing as npt

from raytalk.faces.face import LandmarkDetector

Landmarks = npt.NDArray[np.float32]

_OUTER_CORNERS = (36, 45)
"""of the eyes, in iBUG order"""


def detect_again(pictures: npt.NDArray[np.uint8], detector: LandmarkDetector) -> Landmarks:
    """Landmarks of the largest face in each picture.

    pictures: [M, H, W, 3] uint8 RGB. Returns [M, 68, 2] float32 in pixels, NaN where no face was found.
    """
    found = np.full((len(pictures), 68, 2), np.nan, np.float32)
    for index, faces in enumerate(detector.detect(list(pictures))):
        if faces:
            found[index] = faces[0].landmarks
    return found


def landmark_error(found: Landmarks, wanted: Landmarks) -> npt.NDArray[np.float64]:
    """Mean distance [M] of the 68 points over that between the outer eye corners of `wanted`; NaN where not found.

    The normalised mean error of 300-W. Raises ValueError for landmarks of different shapes.
    """
    _check(found, wanted)
    distances = np.linalg.norm(found.astype(np.float64) - wanted, axis=2).mean(axis=1)
    return np.asarray(distances / _between_eyes(wanted), np.float64)


def jitter(found: Landmarks, wanted: Landmarks) -> float:
    """How much the points tremble beside the motion that was asked for.

    Mean over the points and over all pairs of neighbouring frames in which a face was found of the step of
    (found - wanted) from one frame to the next, over the distance between the outer eye corners (mean of the two
    frames). An offset that stays is no jitter. NaN without such a pair. Raises ValueError for different shapes.
    """
    _check(found, wanted)
    steps = np.linalg.norm(np.diff(found.astype(np.float64) - wanted, axis=0), axis=2).mean(axis=1)
    eyes = _between_eyes(wanted)
    figures = steps / ((eyes[1:] + eyes[:-1]) / 2)
    known = figures[np.isfinite(figures)]
    return float(known.mean()) if len(known) else float("nan")


def _between_eyes(landmarks: Landmarks) -> npt.NDArray[np.float64]:
    one, other = (landmarks[:, corner].astype(np.float64) for corner in _OUTER_CORNERS)
    return np.asarray(np.linalg.norm(one - other, axis=1), np.float64)


def _check(found: Landmarks, wanted: Landmarks) -> None:
    if found.shape != wanted.shape or found.shape[1:] != (68, 2):
        raise ValueError(
            f"landmarks must both be of the shape [M, 68, 2], not {list(found.shape)} and {list(wanted.shape)}"
        )
