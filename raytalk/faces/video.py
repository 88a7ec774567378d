"""Videos and photographs in and out, through PyAV.

Frames are HxWx3 uint8 RGB, turned upright by the file's rotation; times are seconds from the first picture shown,
from the file's own timestamps, so a variable frame rate comes out right.
"""

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from raytalk.errors import VideoError
from raytalk.faces.containers import open_video, text_of
from raytalk.faces.sound import sound_of

Frame = npt.NDArray[np.uint8]
"""HxWx3 uint8 RGB"""

LONGEST_SIDE = 1920
"""larger pictures are shrunk before faces are looked for, in pixels"""
_MOST_PIXELS = 4096 * 2304
"""of a picture that is larger than the file announces; such are left out"""
_SEEK_GAP = 4.0
"""frames wanted further apart than this many seconds are sought, not decoded up to"""


@dataclass(frozen=True)
class VideoInfo:
    """What a video's header says; width and height as shown (after rotation), in pixels."""

    width: int
    height: int
    fps: float
    """average frames per second; 0 if unknown"""
    duration: float
    """seconds"""
    has_audio: bool


@dataclass(frozen=True)
class TimedFrame:
    """One picture of a video."""

    image: Frame
    time: float
    """seconds from the first picture"""


def probe(path: str | Path) -> VideoInfo:
    """Size, rate and duration of a video. Raises VideoError if it cannot be read or shows no picture."""
    with _opened(path) as (container, stream):
        first = next(_decoded(container, stream, path), None)
        if first is None:
            raise VideoError(f"{path} holds no picture that can be decoded")
        turned = first.rotation % 180 != 0
        width, height = (first.height, first.width) if turned else (first.width, first.height)
        return VideoInfo(
            width=width,
            height=height,
            fps=float(stream.average_rate or 0),
            duration=_duration(container, stream),
            has_audio=bool(container.streams.audio),
        )


def read_frames(path: str | Path, longest_side: int | None = None, threads: int = 0) -> Iterator[TimedFrame]:
    """Every frame of a video, in order.

    longest_side: larger frames are shrunk to it (pixels); threads: of the decoder, 0 for as many as there are cores.
    Damaged stretches are passed over. Raises VideoError if there is no frame at all.
    """
    with _opened(path, threads) as (container, stream):
        start: float | None = None
        for frame in _decoded(container, stream, path):
            time = _time(frame, stream)
            start = time if start is None else start
            yield TimedFrame(_image(frame, longest_side), time - start)
        if start is None:
            raise VideoError(f"{path} holds no picture that can be decoded")


def sample_frames(path: str | Path, count: int, longest_side: int | None = None, threads: int = 0) -> list[TimedFrame]:
    """At most `count` frames spread evenly over the whole video, in order (all of them if there are fewer).

    Short videos are decoded from end to end, long ones sought. Raises VideoError as `read_frames` does.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    with _opened(path, threads) as (container, stream):
        length = _duration(container, stream)
        wanted = [length * (index + 0.5) / count for index in range(count)]
        seek = length / count > _SEEK_GAP
        pick = _seek_each if seek else _walk
        found = pick(container, stream, path, wanted, longest_side)
    if not found:
        raise VideoError(f"{path} holds no picture that can be decoded")
    return found


def write_video(
    path: str | Path, frames: Iterable[Frame], fps: float, audio_from: str | Path | None = None, crf: int = 18
) -> None:
    """Write H.264 in yuv420p, which every player shows.

    frames: HxWx3 uint8 RGB of one size (an odd side gets its last row or column repeated); fps: frames per second;
    audio_from: a video whose sound is kept (copied, or encoded as AAC where not every player would take it), in step
    with its first picture and cut to the length of the frames; crf: 0 (lossless) to 51.
    The file appears only when it is whole. Raises VideoError if it cannot be written or there is no frame.
    """
    target = Path(path)
    if not (fps > 0 and np.isfinite(fps)):
        raise VideoError(f"cannot write {target}: {fps} frames per second")
    aside = target.with_name(f".aside-{uuid.uuid4().hex}{target.suffix or '.mp4'}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(aside, target, frames, Fraction(fps).limit_denominator(60_000), audio_from, crf)
        aside.replace(target)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"cannot write {target}: {text_of(error)}") from error
    finally:
        aside.unlink(missing_ok=True)


def read_image(source: str | Path | bytes) -> Frame:
    """A photograph, upright by its EXIF orientation. Takes a file or its bytes. Raises VideoError."""
    name = "the picture" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise VideoError(f"cannot read {name}: {text_of(error)}") from error
    if not data:
        raise VideoError(f"cannot read {name}: it is empty")
    try:
        picture = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise VideoError(f"cannot read {name}: {text_of(error)}") from None
    if picture is None:
        raise VideoError(f"cannot read {name}: it is not a picture (JPEG, PNG or WebP)")
    return np.asarray(picture, dtype=np.uint8)


@contextlib.contextmanager
def _opened(path: str | Path, threads: int = 0) -> Iterator[tuple[InputContainer, VideoStream]]:
    with open_video(path) as container:
        if not container.streams.video:
            raise VideoError(f"cannot read {path}: it holds no video stream")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.thread_count = threads
        codec = stream.codec_context
        # A file may announce small pictures and hold others of a few kilobytes that unpack to gigabytes.
        codec.options = {"max_pixels": str(max(codec.width * codec.height, _MOST_PIXELS))}
        yield container, stream


def _decoded(container: InputContainer, stream: VideoStream, path: str | Path) -> Iterator[VideoFrame]:
    """Frames from the container's present position; what is damaged is left out."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except (av.error.InvalidDataError, av.error.EOFError, av.error.ArgumentError):
            # Argument: more pixels than are allowed.
            continue
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"cannot read {path}: {text_of(error)}") from error
        for frame in frames:
            if isinstance(frame, VideoFrame):
                yield frame


def _walk(
    container: InputContainer, stream: VideoStream, path: str | Path, wanted: list[float], longest_side: int | None
) -> list[TimedFrame]:
    found: list[TimedFrame] = []
    start: float | None = None
    index = 0
    last: VideoFrame | None = None
    for frame in _decoded(container, stream, path):
        time = _time(frame, stream)
        start = time if start is None else start
        last = frame
        if index < len(wanted) and time - start >= wanted[index] - 1e-6:
            found.append(TimedFrame(_image(frame, longest_side), time - start))
            while index < len(wanted) and wanted[index] <= time - start + 1e-6:
                index += 1
    if not found and last is not None and start is not None:
        found.append(TimedFrame(_image(last, longest_side), _time(last, stream) - start))
    return found


def _seek_each(
    container: InputContainer, stream: VideoStream, path: str | Path, wanted: list[float], longest_side: int | None
) -> list[TimedFrame]:
    base = stream.time_base or Fraction(1, av.time_base)
    start = float((stream.start_time or 0) * base)
    found: list[TimedFrame] = []
    for moment in wanted:
        try:
            container.seek(int((start + moment) / base), stream=stream)
        except (av.error.FFmpegError, OSError):
            continue
        for frame in _decoded(container, stream, path):
            time = _time(frame, stream) - start
            if time >= moment - 1e-6:
                if not found or time > found[-1].time + 1e-6:
                    found.append(TimedFrame(_image(frame, longest_side), time))
                break
    return found


def _duration(container: InputContainer, stream: VideoStream) -> float:
    """Seconds. A file that does not say (a stream recording) is read through once, undecoded."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if container.duration:
        return container.duration / av.time_base
    stamps: list[int] = []
    with contextlib.suppress(av.error.FFmpegError):
        stamps.extend(packet.pts for packet in container.demux(stream) if packet.pts is not None)
    container.seek(0)
    return float((max(stamps) - min(stamps)) * (stream.time_base or 0)) if stamps else 0.0


def _time(frame: VideoFrame, stream: VideoStream) -> float:
    return float(frame.time) if frame.time is not None else 0.0


def _image(frame: VideoFrame, longest_side: int | None) -> Frame:
    scale = min(1.0, longest_side / max(frame.width, frame.height)) if longest_side else 1.0
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    image = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else np.asarray(image, dtype=np.uint8)


def _write(
    aside: Path, target: Path, frames: Iterable[Frame], rate: Fraction, audio_from: str | Path | None, crf: int
) -> None:
    with av.open(str(aside), mode="w", format="mp4", options={"movflags": "+faststart"}) as output:
        stream = output.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "medium"})
        stream.pix_fmt = "yuv420p"
        with sound_of(audio_from, output) as sound:
            count = 0
            for image in frames:
                even = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
                if count == 0:
                    stream.height, stream.width = even.shape[:2]
                elif (stream.height, stream.width) != even.shape[:2]:
                    raise ValueError(
                        f"frame {count} is {even.shape[1]}x{even.shape[0]}, not {stream.width}x{stream.height}"
                    )
                picture = VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
                picture.pts, picture.time_base = count, 1 / rate
                output.mux(stream.encode(picture))
                count += 1
            if count == 0:
                raise VideoError(f"cannot write {target}: there is no frame")
            output.mux(stream.encode(None))
            if sound is not None:
                sound.write(float(count / rate))
