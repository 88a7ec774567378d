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

PUPIL = (75, 255, 120)
"""RGB colour of the pupils: far from those of the lines, and from what they fade to at their borders"""

_WIDTH = 1 / 80
"""width of the lines, in picture sizes"""
_RADIUS = 1 / 96
"""of a pupil's disc, in picture sizes: as large as an iris of a cropped face"""
_SHIFT = 4
_REACH = 8.0
"""coordinates are held within this many picture sizes of the picture, so that fixed-point numbers cannot overflow"""


def draw_landmarks(
    landmarks: npt.NDArray[np.floating], size: int, pupils: npt.NDArray[np.floating] | None = None
) -> npt.NDArray[np.uint8]:
    """Draw one face.

    landmarks: [68, 2] x and y in pixels of a size x size picture (0, 0 is the centre of the first pixel); points
    outside the picture are allowed. pupils: [2, 2] in the same pixels, of the eye at landmarks 36 to 41 first; an eye
    whose pupil is NaN gets none. Returns size x size x 3 uint8 RGB: anti-aliased lines and, on top of them, discs,
    accurate to 1/16 pixel; lines are size/80 pixels thick (but at least the thinnest), discs size/48 wide. Raises
    ValueError for another shape or numbers that are not finite.
    """
    picture = np.zeros((size, size, 3), dtype=np.uint8)
    _draw(picture, _fixed_point(landmarks, (68, 2), size), size)
    if pupils is not None:
        _draw_pupils(picture, *_known(pupils, (2, 2), size), size)
    return picture


def draw_batch(
    landmarks: npt.NDArray[np.floating], size: int, pupils: npt.NDArray[np.floating] | None = None
) -> npt.NDArray[np.uint8]:
    """`draw_landmarks` for [n, 68, 2], and [n, 2, 2] of pupils: returns [n, size, size, 3] uint8 RGB."""
    points = _fixed_point(landmarks, (len(landmarks), 68, 2), size)
    discs = None if pupils is None else _known(pupils, (len(landmarks), 2, 2), size)
    pictures = np.zeros((len(points), size, size, 3), dtype=np.uint8)
    for index, (picture, face) in enumerate(zip(pictures, points, strict=True)):
        _draw(picture, face, size)
        if discs is not None:
            _draw_pupils(picture, discs[0][index], discs[1][index], size)
    return pictures


def _fixed_point(
    points: npt.NDArray[np.floating], shape: tuple[int, ...], size: int, what: str = "landmarks"
) -> npt.NDArray[np.int32]:
    exact = np.asarray(points, dtype=np.float64)
    if exact.shape != shape:
        raise ValueError(f"{what} must have the shape {list(shape)}, not {list(exact.shape)}")
    if not np.isfinite(exact).all():
        raise ValueError(f"{what} must be finite numbers")
    held = np.clip(exact, -_REACH * size, (_REACH + 1) * size)
    return np.rint(held * (1 << _SHIFT)).astype(np.int32)


def _known(
    pupils: npt.NDArray[np.floating], shape: tuple[int, ...], size: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Pupils in fixed-point numbers, and which of them are known."""
    known = ~np.isnan(pupils).any(axis=-1)
    return _fixed_point(np.where(known[..., None], pupils, 0), shape, size, "pupils"), known


def _draw(picture: npt.NDArray[np.uint8], points: npt.NDArray[np.int32], size: int) -> None:
    # OpenCV's anti-aliased lines come out some 1.4 pixels wider than asked for.
    thickness = max(1, round(size * _WIDTH - 1.4))
    for _, first, last, ring, colour in GROUPS:
        line = points[first : last + 1]
        cv2.polylines(picture, [line], ring, colour, thickness, cv2.LINE_AA, _SHIFT)


def _draw_pupils(
    picture: npt.NDArray[np.uint8], centres: npt.NDArray[np.int32], known: npt.NDArray[np.bool_], size: int
) -> None:
    radius = round(size * _RADIUS * (1 << _SHIFT))
    for x, y in centres[known].tolist():
        cv2.circle(picture, (x, y), radius, PUPIL, cv2.FILLED, cv2.LINE_AA, _SHIFT)
