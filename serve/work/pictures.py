"""Pictures that jobs keep: what was found in a photograph, and how a person is rendered now."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.clips.analyse import encode_jpeg
from raytalk.driving.frames import spread
from raytalk.faces.crop import crop_frames
from raytalk.faces.draw import draw_landmarks
from raytalk.faces.face import Face
from serve.settings import RenderSettings
from serve.work.encoding import encode
from serve.work.provenance import Signer

Pictures = npt.NDArray[np.uint8]

_CROP_SIDE, _CROP_QUALITY = 256, 90
_POSES = 4
"""of a preview, at most"""


def crop_and_drawing(image: Pictures, face: Face) -> bytes:
    """A JPEG of 512 x 256 pixels: what is learned from of a picture (HxWx3 uint8 RGB), and the drawing of its face."""
    (crop,), (landmarks,) = crop_frames([image], face.landmarks[None], _CROP_SIDE)
    return side_by_side(crop, landmarks)


def side_by_side(crop: Pictures, landmarks: npt.NDArray[np.floating]) -> bytes:
    """The same of a crop SxSx3 with landmarks [68, 2] in its pixels."""
    size = len(crop)
    if size != _CROP_SIDE:
        smooth = cv2.INTER_AREA if size > _CROP_SIDE else cv2.INTER_CUBIC
        crop = np.asarray(cv2.resize(crop, (_CROP_SIDE, _CROP_SIDE), interpolation=smooth), np.uint8)
        landmarks = (landmarks.astype(np.float64) + 0.5) * _CROP_SIDE / size - 0.5
    return encode_jpeg(np.concatenate([crop, draw_landmarks(landmarks, _CROP_SIDE)], axis=1), _CROP_QUALITY)


def poses(count: int) -> list[int]:
    """Which of so many learning images a preview shows."""
    return spread(count, _POSES)


def preview(frames: Sequence[Pictures] | Pictures, signer: Signer, settings: RenderSettings) -> bytes:
    """A JPEG of a person in some poses, side by side: marked and signed. frames: SxSx3 uint8 RGB each, as rendered."""
    strip = np.concatenate(list(frames), axis=1)
    return encode(strip, "jpeg", settings.jpeg_quality, signer, settings.visible_mark)
