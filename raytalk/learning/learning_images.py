"""The images that a person is learned from, and variants of them whose landmarks stay true.

T images of H = W pixels.
"""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raytalk.faces.draw import draw_batch
from raytalk.faces.face_shapes import TWINS

Pictures = npt.NDArray[np.uint8]
Points = npt.NDArray[np.floating]

_MOST = 64
"""images in all; the features of each wait in memory (30 MB at the paper's size in bfloat16)"""
_TURN, _GROW, _SHIFT = np.radians(8), 0.08, 0.05
"""largest change of a variant: radians, share of the size, share of the picture"""


@dataclass(frozen=True)
class LearningImages:
    """What a person is learned from, uint8 RGB."""

    frames: Tensor
    """[T, H, W, 3] uint8"""
    drawings: Tensor
    """[T, H, W, 3] uint8: their landmark drawings"""

    @classmethod
    def drawn(cls, frames: Pictures, landmarks: Points, pupils: Points | None = None) -> Self:
        """Of crops [T, H, H, 3] uint8 RGB with landmarks [T, 68, 2] and, if they are to be drawn, pupils [T, 2, 2]."""
        drawings = draw_batch(landmarks, frames.shape[1], pupils)
        return cls(torch.from_numpy(np.ascontiguousarray(frames)), torch.from_numpy(drawings))

    def __len__(self) -> int:
        return len(self.frames)


def varied(
    frames: Pictures, landmarks: Points, pupils: Points | None, variants: int, flip: bool, seed: int = 0
) -> LearningImages | None:
    """`variants` slightly turned, enlarged and shifted copies of each image, and mirror images of all if `flip`.

    frames [T, H, H, 3] uint8 RGB, landmarks [T, 68, 2] and pupils [T, 2, 2] in their pixels. No more than make 64
    images with the first; None if there are none to make. Edge pixels are repeated where a copy shows more.
    """
    count, size = len(frames), frames.shape[1]
    random = np.random.default_rng(seed)
    eyes = np.full((count, 2, 2), np.nan) if pupils is None else np.asarray(pupils, np.float64)
    pictures, points, centres = list(frames), list(np.asarray(landmarks, np.float64)), list(eyes)
    for index in range(count):
        for _ in range(min(variants, (_MOST // (count * (1 + flip))) - 1)):
            moved = _moved(random, size)
            pictures.append(
                np.asarray(
                    cv2.warpAffine(
                        frames[index], moved, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
                    ),
                    np.uint8,
                )
            )
            points.append(points[index] @ moved[:, :2].T + moved[:, 2])
            centres.append(centres[index] @ moved[:, :2].T + moved[:, 2])
    if flip:
        pictures += [picture[:, ::-1] for picture in pictures]
        points += [_mirrored(each, size)[list(TWINS)] for each in points]
        centres += [_mirrored(each, size)[::-1] for each in centres]
    if len(pictures) == count:
        return None
    drawn = None if pupils is None else np.stack(centres[count:])
    return LearningImages.drawn(np.stack(pictures[count:]), np.stack(points[count:]), drawn)


def _moved(random: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
    """[2, 3] a turn about the picture's middle, a zoom and a shift, in pixels."""
    turn, grow = random.uniform(-_TURN, _TURN), np.exp(random.uniform(-_GROW, _GROW))
    matrix = grow * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.full(2, (size - 1) / 2)
    shift = middle - matrix @ middle + random.uniform(-_SHIFT, _SHIFT, 2) * size
    return np.concatenate([matrix, shift[:, None]], axis=1)


def _mirrored(points: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.float64]:
    return points * [-1, 1] + [size - 1, 0]
