"""The frames of a driver, read as often as needed and never all in memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from raytalk.errors import FaceError, VideoError
from raytalk.faces.photographs import Photograph, read_photograph
from raytalk.faces.video import LONGEST_SIDE, Frame, TimedFrame, read_frames, sample_frames


class Frames(Protocol):
    """Frames in order of time."""

    def read(self, longest_side: int | None = None) -> Iterator[TimedFrame]:
        """Every frame; larger ones shrunk to so many pixels where the file allows it. Raises VideoError."""
        ...

    def sample(self, count: int) -> list[TimedFrame]:
        """At most so many, spread over all of them. Raises VideoError."""
        ...


@dataclass(frozen=True)
class VideoFrames:
    """Of a video file."""

    path: Path

    def read(self, longest_side: int | None = None) -> Iterator[TimedFrame]:
        """See Frames."""
        return read_frames(self.path, longest_side)

    def sample(self, count: int) -> list[TimedFrame]:
        """See Frames."""
        return sample_frames(self.path, count, LONGEST_SIDE)


@dataclass(frozen=True)
class PictureFrames:
    """Pictures of one size, loaded one by one."""

    names: Sequence[str]
    """for messages"""
    load: Callable[[int], Frame]
    """a picture by its number"""
    fps: float

    def read(self, longest_side: int | None = None) -> Iterator[TimedFrame]:
        """See Frames."""
        return self._each(range(len(self.names)))

    def sample(self, count: int) -> list[TimedFrame]:
        """See Frames."""
        return list(self._each(spread(len(self.names), count)))

    def _each(self, numbers: Sequence[int]) -> Iterator[TimedFrame]:
        first: Frame | None = None
        for number in numbers:
            image = self.load(number)
            first = image if first is None else first
            if image.shape != first.shape:
                raise VideoError(
                    f"{self.names[number]} measures {image.shape[1]}x{image.shape[0]}, {self.names[numbers[0]]} "
                    f"{first.shape[1]}x{first.shape[0]}: the pictures of a sequence must have one size"
                )
            yield TimedFrame(image, number / self.fps)


def read_picture(name: str, data: bytes) -> Frame:
    """A photograph of any format, upright, at most 1,920 pixels long. Raises VideoError naming it."""
    try:
        return read_photograph(Photograph(name, data))
    except FaceError as error:
        raise VideoError(f"cannot read {name}: {error}") from error


def spread(length: int, count: int) -> list[int]:
    """At most `count` of the numbers below `length`, evenly spread, in order."""
    few = min(count, length)
    return [int((place + 0.5) * length / few) for place in range(few)]
