"""dlib: HOG boxes and regression-tree landmarks, on the CPU."""

from collections.abc import Sequence

import cv2
import dlib
import numpy as np
import numpy.typing as npt

from raytalk.faces.detector_files import dlib_predictor
from raytalk.faces.face import DLIB, Face
from raytalk.faces.near import window

_FIRST_SIDE = 640
"""longest side of the picture that is searched, in pixels: HOG finds faces from 80 pixels on"""
_SECOND_SCALE, _SECOND_SIDE = 1.5, 2400
"""where nothing is found: enlarged so that faces of some 50 pixels are seen, within this longest side"""
_MOST_SECOND_LOOKS = 6
_MOST_ENLARGED = 4.0
_NEAR_BOX, _NEAR_SIDES = 96, 2.0
"""looking again near a known box: it is brought to this many pixels, and so many of its sides are searched"""
_FACE_SIDE = 320
"""the box is brought to this many pixels for the landmarks, which dlib rounds to whole pixels"""


class DlibDetector:
    """Faces looking more or less at the camera: some 15 ms a frame for the box and 3 ms for the landmarks."""

    name = DLIB

    def __init__(self) -> None:
        self._search = dlib.get_frontal_face_detector()
        self._predict = dlib.shape_predictor(str(dlib_predictor()))

    def detect(self, frames: Sequence[npt.NDArray[np.uint8]]) -> list[list[Face]]:
        """See LandmarkDetector. Looks again at a higher resolution where nothing is found.

        The second look is slow: it is given up once it has failed in some frames more than it has helped in.
        """
        upright = [np.ascontiguousarray(frame) for frame in frames]
        boxes = [self._boxes(frame, _first_scale(frame)) for frame in upright]
        credit = _MOST_SECOND_LOOKS
        for index in _spread([index for index, those in enumerate(boxes) if not those]):
            scale = _second_scale(upright[index])
            if credit == 0 or scale <= _first_scale(upright[index]):
                continue
            boxes[index] = self._boxes(upright[index], scale)
            credit += 1 if boxes[index] else -1
        return [
            sorted(
                (Face(box, self._landmarks(frame, box), score) for box, score in those), key=lambda face: -face.extent
            )
            for frame, those in zip(upright, boxes, strict=True)
        ]

    def detect_near(self, frame: npt.NDArray[np.uint8], box: npt.NDArray[np.floating]) -> Face | None:
        """The face nearest to where one was a moment ago; None if there is none, which `detect` may still find.

        frame: HxWx3 uint8 RGB; box: [4] of that face, as `detect` gave it. A small part of the frame is searched, at a
        fixed size of the face.
        """
        side = float((box[2:] - box[:2]).max())
        left, top, right, bottom = window(frame, box, _NEAR_SIDES)
        if side < 1 or right - left < side / 2 or bottom - top < side / 2:
            return None
        upright = np.ascontiguousarray(frame)
        part = np.ascontiguousarray(upright[top:bottom, left:right])
        found = self._boxes(part, min(_NEAR_BOX / side, _MOST_ENLARGED))
        if not found:
            return None
        placed = [(those + np.array([left, top, left, top], np.float32), score) for those, score in found]
        nearest, score = min(placed, key=lambda each: float(np.abs(each[0] - box).sum()))
        return Face(nearest, self._landmarks(upright, nearest), score)

    def _boxes(self, frame: npt.NDArray[np.uint8], scale: float) -> list[tuple[npt.NDArray[np.float32], float]]:
        smaller = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        searched = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=smaller)
        boxes, scores, _ = self._search.run(searched, 0, 0.0)
        return [
            (np.array([box.left(), box.top(), box.right(), box.bottom()], dtype=np.float32) / scale, float(score))
            for box, score in zip(boxes, scores, strict=True)
        ]

    def _landmarks(self, frame: npt.NDArray[np.uint8], box: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        side = float((box[2:] - box[:2]).max())
        scale = _FACE_SIDE / side
        corner = (box[:2] + box[2:]) / 2 - side
        forward = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]], dtype=np.float64)
        if scale < 0.5:
            # A bilinear tap would skip pixels here: whole pixels of the frame are fine enough.
            forward = np.array([[1.0, 0, 0], [0, 1.0, 0]])
            near = frame
        else:
            enlarged = cv2.warpAffine(frame, forward, (2 * _FACE_SIDE, 2 * _FACE_SIDE), flags=cv2.INTER_LINEAR)
            near = np.asarray(enlarged, dtype=np.uint8)
        left, top, right, bottom = (round(float(value)) for value in _moved(box.reshape(2, 2), forward).ravel())
        shape = self._predict(near, dlib.rectangle(left, top, right, bottom))
        points = np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)
        return np.asarray((points - forward[:, 2]) / forward[0, 0], dtype=np.float32)


def _moved(points: npt.NDArray[np.floating], forward: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(points * forward[0, 0] + forward[:, 2], dtype=np.float64)


def _first_scale(frame: npt.NDArray[np.uint8]) -> float:
    return min(_FIRST_SIDE / float(max(frame.shape[:2])), _MOST_ENLARGED)


def _second_scale(frame: npt.NDArray[np.uint8]) -> float:
    return min(
        _SECOND_SIDE / float(max(frame.shape[:2])), max(_SECOND_SCALE, 1.5 * _first_scale(frame)), _MOST_ENLARGED
    )


def _spread(indices: list[int]) -> list[int]:
    """The same numbers in an order that jumps about, so that a few stand for all."""
    return [index for start in range(8) for index in indices[start::8]]
