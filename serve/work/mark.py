"""A small visible mark: this picture was generated."""

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

TEXT = "AI"
_HEIGHT = 0.075
"""of the mark, in picture heights; at least _LEAST pixels, so that it can be read"""
_LEAST = 12
_OPACITY = 0.6

Picture = npt.NDArray[np.uint8]


def marked(picture: Picture) -> Picture:
    """A picture HxWx3 uint8 RGB with the mark in its lower right corner; one too small for it as it is."""
    mark, share = _mark(picture.shape[0])
    height, width = mark.shape[:2]
    away = max(2, height // 4)
    if height + away > picture.shape[0] or width + away > picture.shape[1]:
        return picture
    picture = picture.copy()
    corner = picture[-height - away : -away, -width - away : -away]
    corner[...] = (corner * (1 - share) + mark * share + 0.5).astype(np.uint8)
    return picture


@lru_cache(8)
def _mark(side: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """White letters on a dark plate [h, w, 1], and how much of the picture they cover, for pictures of this height."""
    height = max(_LEAST, round(side * _HEIGHT))
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, max(1, height // 11)
    scale = cv2.getFontScaleFromHeight(font, round(height * 0.6), thickness)
    (wide, tall), _ = cv2.getTextSize(TEXT, font, scale, thickness)
    plate = np.zeros((height, wide + height // 2), np.uint8)
    at = (height // 4, (height + tall) // 2)
    cv2.putText(plate, TEXT, at, font, scale, 255, thickness, cv2.LINE_AA)
    letters = plate.astype(np.float32)[..., None]
    return letters, np.maximum(letters / 255, _OPACITY).astype(np.float32)
