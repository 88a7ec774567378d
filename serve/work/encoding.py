"""Frames become files: marked, encoded, signed."""

import cv2
import numpy as np
import numpy.typing as npt

from serve.parts import PictureFormat
from serve.work.mark import marked
from serve.work.provenance import Signer

_PNG_EFFORT = 3
"""of 9: larger files would come at once, much smaller ones never"""


def encode(
    frame: npt.NDArray[np.uint8], format: PictureFormat, quality: int, signer: Signer, visible_mark: bool
) -> bytes:
    """A frame HxWx3 uint8 RGB as a signed file. quality: 0..100 of a JPEG."""
    if visible_mark:
        frame = marked(frame)
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    if format == "jpeg":
        return signer.sign_jpeg(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
    return signer.sign_png(cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_EFFORT])[1].tobytes())
