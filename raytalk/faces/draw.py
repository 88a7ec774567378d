"""Landmarks become the picture that the networks see: coloured lines on black.

The one rasteriser of the project: preprocessing shows it, training, few-shot learning and driving use it.
"""

import cv2
import numpy as np
import numpy.typing as npt

_RING = True
GROUPS: tuple[tuple[str, int, int, bool, tuple[int, int, int]], ...] = (
    ("jaw", 0, 16, not _RING, (0, 200, 0)),
    ("right brow", 17, 21, not _RING, (255, 150, 0)),
    ("left brow", 22, 26, not _RING, (255, 230, 0)),
    ("nose bridge", 27, 30, not _RING, (0, 110, 255)),
    ("nose base", 31, 35, not _RING, (0, 220, 255)),
    ("right eye", 36, 41, _RING, (255, 0, 0)),
    ("left eye", 42, 47, _RING, (255, 0, 160)),
    ("outer mouth", 48, 59, _RING, (170, 0, 255)),
    ("inner mouth", 60, 67, _RING, (255, 255, 255)),
)
"""name, first and last landmark (iBUG order), whether the line is closed, RGB colour"""

_WIDTH = 1 / 80
"""width of the lines, in picture sizes"""
_SHIFT = 4
_REACH = 8.0
"""coordinates are held within this many picture sizes of the picture, so that fixed-point numbers cannot overflow"""


def draw_landmarks(landmarks: npt.NDArray[np.floating], size: int) -> npt.NDArray[np.uint8]:
    """Draw one face.

    landmarks: [68, 2] x and y in pixels of a size x size picture (0, 0 is the centre of the first pixel); points
    outside the picture are allowed. Returns size x size x 3 uint8 RGB: anti-aliased lines, accurate to 1/16 pixel,
    size/80 pixels thick (but at least the thinnest). Raises ValueError for another shape or numbers that are not
    finite.
    """
    picture = np.zeros((size, size, 3), dtype=np.uint8)
    _draw(picture, _fixed_point(landmarks, (68, 2), size), size)
    return picture


def draw_batch(landmarks: npt.NDArray[np.floating], size: int) -> npt.NDArray[np.uint8]:
    """`draw_landmarks` for [n, 68, 2]: returns [n, size, size, 3] uint8 RGB."""
    points = _fixed_point(landmarks, (len(landmarks), 68, 2), size)
    pictures = np.zeros((len(points), size, size, 3), dtype=np.uint8)
    for picture, face in zip(pictures, points, strict=True):
        _draw(picture, face, size)
    return pictures


def _fixed_point(landmarks: npt.NDArray[np.floating], shape: tuple[int, ...], size: int) -> npt.NDArray[np.int32]:
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape != shape:
        raise ValueError(f"landmarks must have the shape {list(shape)}, not {list(points.shape)}")
    if not np.isfinite(points).all():
        raise ValueError("landmarks must be finite numbers")
    held = np.clip(points, -_REACH * size, (_REACH + 1) * size)
    return np.rint(held * (1 << _SHIFT)).astype(np.int32)


def _draw(picture: npt.NDArray[np.uint8], points: npt.NDArray[np.int32], size: int) -> None:
    # OpenCV's anti-aliased lines come out some 1.4 pixels wider than asked for.
    thickness = max(1, round(size * _WIDTH - 1.4))
    for _, first, last, ring, colour in GROUPS:
        line = points[first : last + 1]
        cv2.polylines(picture, [line], ring, colour, thickness, cv2.LINE_AA, _SHIFT)
