"""The face of a driving picture, as fast as a live stream needs it."""

import io
import threading
from collections.abc import Callable

import numpy as np
from PIL import Image

from raytalk.errors import FaceError
from raytalk.faces.face import LandmarkDetector
from raytalk.faces.near import detect_near
from raytalk.faces.photographs import Photograph, Pictures, read_photograph
from serve.errors import TooLarge, Unprocessable, WrongMediaType
from serve.parts import FaceFound

__all__ = ["FaceFound", "Faces"]

_ORIENTATION, _LYING = 0x0112, range(5, 9)
"""EXIF's tag, and its values for pictures whose sides are exchanged when they are turned upright"""


class GivenUp(Exception):
    """Nobody waits for the answer."""


Box = tuple[float, float, float, float]


class Faces:
    """Finds landmarks in driving pictures. Safe to call from several threads, which wait for each other."""

    def __init__(self, detector: LandmarkDetector, pixels: int) -> None:
        """detector: for this object alone; pixels: width x height of a picture, at most."""
        self._detector, self._pixels = detector, pixels
        self._lock = threading.Lock()

    @property
    def detector(self) -> str:
        """Whose landmarks they are."""
        return self._detector.name

    def landmarks(
        self, image: bytes, near: Box | None = None, given_up: Callable[[], bool] = lambda: False
    ) -> FaceFound:
        """The largest face of a picture (JPEG, PNG, WebP ...), or the one nearest to `near`.

        near: the box of what was found in the picture before it, of the same stream. What is searched then is a part of
        the picture, and only if there is no face the whole. given_up: whether nobody waits for the answer any more,
        asked when the detector is free. Raises Unprocessable (`no-face`), TooLarge (`too-many-pixels`), WrongMediaType
        (`not-a-picture`) or GivenUp.
        """
        picture, width, height = self._read(image)
        scale = max(width, height) / max(picture.shape[:2])
        box = None if near is None else (np.asarray(near, np.float32) + 0.5) / np.float32(scale) - 0.5
        with self._lock:
            if given_up():
                raise GivenUp
            face = None if box is None else detect_near(self._detector, picture, box)
            if face is None:
                faces = self._detector.detect([picture])[0]
                if not faces:
                    raise Unprocessable("No face was found: look at the camera, with light on the face.", "no-face")
                face = faces[0]
        left, top, right, bottom = ((face.box + 0.5) * scale - 0.5).tolist()
        landmarks = ((face.landmarks.astype(np.float64) + 0.5) * scale - 0.5).astype(np.float32)
        return FaceFound(landmarks, width, height, (left, top, right, bottom))

    def _read(self, image: bytes) -> tuple[Pictures, int, int]:
        """HxWx3 uint8 RGB, upright, at most 1,920 pixels long; and width and height as given, upright."""
        try:
            with Image.open(io.BytesIO(image)) as file:
                width, height = file.size
                if width * height > self._pixels:
                    raise TooLarge(f"The picture has more than {self._pixels:,} pixels.", "too-many-pixels")
                if file.getexif().get(_ORIENTATION) in _LYING:
                    width, height = height, width
            return read_photograph(Photograph("the picture", image)), width, height
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, FaceError) as error:
            raise WrongMediaType("The picture cannot be read: send JPEG, PNG or WebP.", "not-a-picture") from error
