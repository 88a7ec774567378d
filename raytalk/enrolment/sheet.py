"""A picture to judge an avatar by: what it learned from, and what the model makes of the same drawings."""

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.avatar import Avatar
from raytalk.enrolment.material import Material
from raytalk.faces.draw import draw_batch

_MOST = 8
_TITLE = 22


def judging_sheet(material: Material, first: Avatar, avatar: Avatar) -> npt.NDArray[np.uint8]:
    """Rows: learning images · drawings · feed-forward · fine-tuned (if it is another). HxWx3 uint8 RGB."""
    chosen = np.linspace(0, len(material) - 1, min(_MOST, len(material))).round().astype(int)
    landmarks = material.landmarks[chosen]
    pupils = material.pupils[chosen] if material.pupils is not None and avatar.card.pupils else None
    size = material.frames.shape[1]
    rows = {
        "learned from": material.frames[chosen],
        "drawing": draw_batch(landmarks, size, pupils),
        "feed-forward": first.render(landmarks, pupils=pupils),
    }
    if avatar is not first:
        rows["fine-tuned"] = avatar.render(landmarks, pupils=pupils)
    return np.concatenate([_titled(title, np.concatenate(list(row), axis=1)) for title, row in rows.items()])


def _titled(title: str, row: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    bar = np.full((_TITLE, row.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, title, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([bar, row])
