"""The sound of one video put into another."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer

from raytalk.faces.containers import open_video

_COPIED = frozenset(["aac", "mp3"])
"""what every player takes from an MP4; anything else is encoded again"""
_RATE = 48_000
"""of what is encoded again, in Hz"""


class Sound:
    """The first sound track of a file, on its way into an MP4."""

    def __init__(self, source: InputContainer, heard: AudioStream, output: OutputContainer) -> None:
        self._source, self._heard, self._output = source, heard, output
        self._copies = heard.codec.canonical_name in _COPIED
        picture = source.streams.video[0] if source.streams.video else None
        # Times count from the first picture, as frames' times do.
        self._start = Fraction((picture.start_time or 0) * picture.time_base) if picture and picture.time_base else 0
        if self._copies:
            self._stream = output.add_stream_from_template(heard)
        else:
            self._stream = output.add_stream("aac", rate=_RATE)
            self._stream.layout = "mono" if heard.channels == 1 else "stereo"

    def write(self, seconds: float) -> None:
        """Up to so many seconds after the first picture. Raises what PyAV raises."""
        if self._copies:
            self._copy(seconds)
        else:
            self._encode(seconds)

    def _copy(self, seconds: float) -> None:
        for packet in self._source.demux(self._heard):
            if packet.pts is None or packet.dts is None or packet.time_base is None:
                continue
            time = packet.pts * packet.time_base - self._start
            if time >= seconds:
                break
            if time + (packet.duration or 0) * packet.time_base <= 0:
                continue
            offset = round(self._start / packet.time_base)
            packet.pts, packet.dts = packet.pts - offset, packet.dts - offset
            packet.stream = self._stream
            self._output.mux(packet)

    def _encode(self, seconds: float) -> None:
        for frame in self._decoded():
            if frame.pts is None or frame.time_base is None:
                continue
            time = frame.pts * frame.time_base - self._start
            if time >= seconds:
                break
            if time + Fraction(frame.samples, frame.sample_rate) <= 0:
                continue
            frame.pts = round(time / frame.time_base)
            self._output.mux(self._stream.encode(frame))
        self._output.mux(self._stream.encode(None))

    def _decoded(self) -> Iterator[AudioFrame]:
        for packet in self._source.demux(self._heard):
            # A damaged stretch stays silent.
            with contextlib.suppress(av.error.InvalidDataError):
                yield from (frame for frame in packet.decode() if isinstance(frame, AudioFrame))


@contextlib.contextmanager
def sound_of(path: str | Path | None, output: OutputContainer) -> Iterator[Sound | None]:
    """Open the sound of a file; None for no file or one without sound. Raises VideoError, and what PyAV raises."""
    if path is None:
        yield None
        return
    with open_video(path) as source:
        yield Sound(source, source.streams.audio[0], output) if source.streams.audio else None
