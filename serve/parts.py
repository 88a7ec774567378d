"""What the parts of the service hand each other over handles. numpy alone: the front must not import torch."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Landmarks = npt.NDArray[np.float32]
"""[N, 68, 2] x, y in pixels of an avatar's pictures"""
PictureFormat = Literal["jpeg", "png"]


class PersonKey(NamedTuple):
    """Names what renders: an avatar and the version of it."""

    id: str
    """of the avatar, 32 hexadecimal digits"""
    folder: str
    """of the version: ff or ft-ATTEMPT"""


@dataclass(frozen=True, eq=False)
class FaceFound:
    """The one face of a driving picture."""

    landmarks: npt.NDArray[np.float32]
    """[68, 2] x, y in pixels of the picture as it was given, upright"""
    width: int
    """of that picture, pixels"""
    height: int
    box: tuple[float, float, float, float] | None = None
    """left, top, right, bottom of the face in its pixels: where to look first in the next picture of a live stream"""
    replica: str = ""
    """whose answer it is: see `serve.shortcut`"""


@dataclass(frozen=True)
class Rendered:
    """Pictures of an avatar, encoded and signed."""

    pictures: list[bytes]
    """one for each set of landmarks, in order"""
    queue_ms: float
    """waited for the device and for others to be rendered with"""
    render_ms: float
    encode_ms: float
    """JPEG or PNG, mark and signature"""
    replica: str = ""
    """whose answer it is: see `serve.shortcut`"""
