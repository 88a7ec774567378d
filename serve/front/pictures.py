"""Photographs and driving pictures: looked at before they are decoded, and re-encoded before they are kept."""

import io
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

from raytalk.faces.photographs import register_heif, upright
from serve.errors import TooLarge, WrongMediaType

PHOTO_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF")
FRAME_FORMATS = ("JPEG", "MPO", "PNG", "WEBP")
_SCANS = 100
"""of a JPEG; progressive ones have about 10. Each costs a pass over the whole picture, and may be a few bytes"""
_QUALITY = 95


def kept_photograph(path: Path, label: str, most_pixels: int) -> bytes:
    """A photograph as a JPEG without EXIF or any other metadata, upright, at most 1,920 pixels long.

    Larger ones are shrunk to that before faces are looked for in any case. Takes seconds for large ones: call it in a
    thread. Raises WrongMediaType (`not-a-picture`) or TooLarge (`too-many-pixels`).
    """
    register_heif()
    data = path.read_bytes()
    with _opened(data, PHOTO_FORMATS, label, most_pixels) as file:
        try:
            image = upright(file)
            buffer = io.BytesIO()
            # A new image: Pillow would carry metadata of the old one over.
            clean = Image.frombytes("RGB", image.size, image.tobytes())
            clean.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
        except Exception as error:
            raise _not_a_picture(label, error) from error
    return buffer.getvalue()


def check_driving_picture(data: bytes, most_pixels: int) -> tuple[int, int]:
    """Width and height by the head of a JPEG, PNG or WebP; some 0.1 ms, and half a second of a
    head made to take long: call it in a thread. Raises as `kept_photograph` does."""
    with _opened(data, FRAME_FORMATS, "the picture", most_pixels) as file:
        return file.width, file.height


def _opened(data: bytes, formats: tuple[str, ...], label: str, most_pixels: int) -> Any:
    if not data:
        raise WrongMediaType(f"{label} is empty", "not-a-picture", extra={"file": label})
    try:
        with warnings.catch_warnings():
            # Pillow warns of many pixels; here they are counted.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            file = Image.open(io.BytesIO(data), formats=[name for name in formats if name in _available()])
    except Image.DecompressionBombError:
        raise _too_many_pixels(label, most_pixels) from None
    except Exception as error:
        raise _not_a_picture(label, error) from error
    if file.width * file.height > most_pixels:
        file.close()
        raise _too_many_pixels(label, most_pixels)
    if file.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > _SCANS:
        file.close()
        raise WrongMediaType(f"{label} has more than {_SCANS} scans", "not-a-picture", extra={"file": label})
    return file


def _available() -> set[str]:
    Image.init()
    return set(Image.OPEN)


def _not_a_picture(label: str, error: Exception) -> WrongMediaType:
    heif = "" if "HEIF" in Image.OPEN else " (HEIC is not read here: convert it to JPEG)"
    reason = "it is damaged" if isinstance(error, OSError) and "truncated" in str(error) else "it cannot be read"
    return WrongMediaType(
        f"{label} is not taken: {reason}; send JPEG, PNG, WebP or HEIC{heif}", "not-a-picture", extra={"file": label}
    )


def _too_many_pixels(label: str, most: int) -> TooLarge:
    return TooLarge(
        f"{label} has more than {most} pixels: make it smaller",
        "too-many-pixels",
        extra={"file": label, "most_pixels": most},
    )
