"""Videos and kept tracks, looked at before they are kept. Everything here is slow: call it in a thread."""

import time
import zipfile
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from raytalk.errors import RaytalkError
from raytalk.faces.containers import open_video
from raytalk.faces.track import Track
from serve.errors import Problem, TooLarge, Unprocessable, WrongMediaType

_FASTEST = 240
"""frames per second, at most"""
_PATIENCE = 20.0
"""seconds that looking at one video may take"""
_TRACK_PARTS, _TRACK_BYTES = 16, 64 << 20


def check_video(path: Path, label: str, most_pixels: int, most_seconds: float) -> None:
    """Read a video through, undecoded but for its first picture, so that no header has to be believed.

    most_pixels: width x height; most_seconds: length. Raises WrongMediaType (`not-a-video`) or TooLarge
    (`too-many-pixels`, `too-long`).
    """
    if not _looks_like_video(path):
        raise _not_a_video(label, "it cannot be read")
    try:
        with open_video(path) as container:
            _check(container, label, most_pixels, most_seconds)
    except Problem:
        raise
    except Exception as error:
        # PyAV raises errors of many kinds on damaged files, AttributeError among them.
        raise _not_a_video(label, "it is damaged or not of a kind that can be read") from error


def check_track(path: Path, label: str, most_seconds: float) -> None:
    """A kept track as `jobs/puppeteer.py` writes with track=. Raises WrongMediaType (`not-a-track`) or TooLarge."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        if len(entries) > _TRACK_PARTS or sum(entry.file_size for entry in entries) > _TRACK_BYTES:
            raise TooLarge(f"{label} unpacks to more than a track has", "file-too-large", extra={"file": label})
        track = Track.load(str(path))
    except (RaytalkError, zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise WrongMediaType(f"{label} is not a kept track (.npz)", "not-a-track", extra={"file": label}) from error
    if len(track) > most_seconds * _FASTEST or track.times[-1] - track.times[0] > most_seconds:
        raise _too_long(label, most_seconds)


def _check(container: InputContainer, label: str, most_pixels: int, most_seconds: float) -> None:
    if not container.streams.video:
        raise Unprocessable(f"{label} holds no pictures", "no-pictures", extra={"file": label})
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise _not_a_video(label, "its pictures are of a kind that cannot be decoded")
    stream.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(most_pixels)}
    _check_size(stream.codec_context.width, stream.codec_context.height, label, most_pixels)
    ends = time.monotonic() + _PATIENCE
    first: float | None = None
    packets, seen = 0, False
    for packet in container.demux(stream):
        if packet.size == 0:
            continue
        packets += 1
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None and packet.time_base is not None:
            moment = float(stamp * packet.time_base)
            first = moment if first is None else min(first, moment)
            if moment - first > most_seconds:
                raise _too_long(label, most_seconds)
        if packets > most_seconds * _FASTEST:
            raise _too_long(label, most_seconds)
        if time.monotonic() > ends:
            raise _not_a_video(label, "looking at it takes too long")
        if not seen and packets <= 100:
            seen = _shows(packet, label, most_pixels)
    if not seen:
        raise _not_a_video(label, "none of its first pictures can be decoded")


def _shows(packet: "Packet[VideoStream]", label: str, most_pixels: int) -> bool:
    try:
        frames = packet.decode()
    except av.error.InvalidDataError:
        return False
    except av.error.ArgumentError:
        # Larger than the file announces.
        raise _too_many_pixels(label, "has pictures that are too large", most_pixels) from None
    for frame in frames:
        if isinstance(frame, av.VideoFrame):
            _check_size(frame.width, frame.height, label, most_pixels)
            return True
    return False


def _check_size(width: int, height: int, label: str, most_pixels: int) -> None:
    if width * height > most_pixels:
        raise _too_many_pixels(label, f"measures {width} x {height}", most_pixels)


def _looks_like_video(path: Path) -> bool:
    """By its first bytes: MP4 and MOV, WebM and Matroska, AVI."""
    with path.open("rb") as file:
        head = file.read(12)
    boxes = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
    return head[4:8] in boxes or head[:4] == b"\x1aE\xdf\xa3" or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")


def _not_a_video(label: str, reason: str) -> WrongMediaType:
    return WrongMediaType(f"{label}: {reason}; send MP4, MOV or WebM", "not-a-video", extra={"file": label})


def _too_many_pixels(label: str, what: str, most: int) -> TooLarge:
    return TooLarge(
        f"{label} {what}: {most} pixels are the most", "too-many-pixels", extra={"file": label, "most_pixels": most}
    )


def _too_long(label: str, most: float) -> TooLarge:
    return TooLarge(
        f"{label} is longer than {most:g} s: cut it", "too-long", extra={"file": label, "most_seconds": most}
    )
