"""The landmarks of one person over a whole video: a driver, analysed once and kept."""

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from raytalk.errors import FaceError, VideoError, WeightsError
from raytalk.faces.face import Face, LandmarkDetector
from raytalk.faces.identity import Descriptor, describe_upright, upright_face
from raytalk.faces.people import LONGEST_GAP, People, Person, cuts
from raytalk.faces.video import TimedFrame
from raytalk.storage import file_at

FORMAT = 1
SUFFIX = ".npz"

_DAMAGES = (
    ValueError, TypeError, KeyError, OSError, EOFError, MemoryError, RuntimeError, SyntaxError, OverflowError,
    BadZipFile, zlib.error, struct.error,
)  # fmt: skip
"""what reading a damaged .npz raises, depending on which byte is wrong"""
_CHUNK = 16
"""frames that are in memory together"""
_LEAST_SEEN = 0.5
"""share of the frames that must show the face"""
_MOST_DESCRIBED = 8
"""frames that the identity is the mean of, at most"""
_MOST_FACES_DESCRIBED = 3


@dataclass(frozen=True, eq=False)
class Track:
    """One person's landmarks, frame by frame."""

    landmarks: npt.NDArray[np.float32]
    """[n, 68, 2] in pixels of the driver's own frames"""
    times: npt.NDArray[np.float64]
    """[n] seconds from the first frame, ascending"""
    fps: float
    """frames per second of the driver"""
    detector: str
    """whose landmarks"""
    width: int
    """of the driver's frames, in pixels"""
    height: int
    source: str
    """URI of the driver"""
    pupils: npt.NDArray[np.float32] | None = None
    """[n, 2, 2] in pixels of the frames, first of the eye at points 36 to 41; None where nobody knows"""
    identity: Descriptor | None = None
    """[128] of `raytalk.faces.identity`, the mean over some frames; None where it cannot be had"""
    missing: int = 0
    """frames without the face, whose landmarks were filled in"""

    def __len__(self) -> int:
        return len(self.times)

    def save(self, uri: str) -> None:
        """Write one .npz file; a reader sees the old one or the whole new one. Raises StorageError."""
        known = {name: value for name in ("pupils", "identity") if (value := getattr(self, name)) is not None}
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            format=np.array(FORMAT),
            landmarks=self.landmarks,
            times=self.times,
            fps=np.array(self.fps),
            detector=np.array(self.detector),
            size=np.array([self.width, self.height]),
            source=np.array(self.source),
            missing=np.array(self.missing),
            **known,
        )
        place, name = file_at(uri)
        place.write(name, buffer.getvalue())

    @classmethod
    def load(cls, uri: str) -> "Track":
        """A kept track. Raises StorageError if there is none, VideoError if it is damaged or of another format."""
        place, name = file_at(uri)
        try:
            with np.load(io.BytesIO(place.read(name)), allow_pickle=False) as file:
                stored = {key: file[key] for key in file.files}
        except _DAMAGES as error:
            raise VideoError(f"{uri} cannot be read as a track: {error}; make it again with track=") from None
        return _checked(uri, stored)

    def at(self, moments: npt.NDArray[np.floating]) -> "Track":
        """The track at other times (seconds): between two frames along a straight line, at a scene cut the nearer."""
        clock: npt.NDArray[np.float64] = np.asarray(moments, np.float64)
        after = np.searchsorted(self.times, clock).clip(0, len(self) - 1)
        before = np.maximum(after - 1, 0)
        length = self.times[after] - self.times[before]
        share = np.divide(clock - self.times[before], length, out=np.zeros_like(clock), where=length > 0).clip(0, 1)
        share = np.where(cuts(self.landmarks, self.times)[after], share.round(), share)

        def mixed(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            weight = share[:, None, None]
            # Where a weight is 0 the value does not count, known or not.
            low = np.where(weight < 1, values[before], 0) * (1 - weight)
            return np.asarray(low + np.where(weight > 0, values[after], 0) * weight, np.float32)

        return replace(
            self,
            landmarks=mixed(self.landmarks),
            times=clock,
            pupils=None if self.pupils is None else mixed(self.pupils),
        )


def follow(
    frames: Iterable[TimedFrame],
    detector: LandmarkDetector,
    source: str,
    fps: float = 0.0,
    size: tuple[int, int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Track:
    """Find one person's face in every frame of a video; only some frames are in memory at a time.

    frames: in order of time; fps: what the file says, 0 if unknown; size: width and height of the driver's own frames
    where `frames` were shrunk; progress: told the number of frames done. The person is the one whose face is the
    largest at the start (see People.the_one). Up to a second without the face is bridged by straight lines, over
    longer stretches the last pose is held. Raises FaceError with reason `no face` if fewer than half of the frames
    show it, and what `frames` raises.
    """
    people, chips = People(), _Chips()
    times: list[float] = []
    for chunk in _chunks(frames):
        found = detector.detect([frame.image for frame in chunk])
        for frame, faces in zip(chunk, found, strict=True):
            height, width = frame.image.shape[:2]
            size = size or (width, height)
            chips.offer(len(times), frame, faces)
            people.see(len(times), frame.time, [_enlarged(face, size[0] / width) for face in faces])
            times.append(frame.time)
        if progress is not None:
            progress(len(times))
    if size is None:
        raise VideoError(f"{source} holds no picture")
    stretches = people.the_one()
    clock = _ascending(np.array(times), fps)
    landmarks, seen = _filled(stretches, clock)
    if seen.mean() < _LEAST_SEEN:
        raise FaceError(
            "no face",
            f"{source}: the face of {detector.name} is in {int(seen.sum())} of {len(seen)} frames; half of them are "
            "needed: choose a driver that looks at the camera, or cut out the part that shows the person",
        )
    return Track(
        landmarks=landmarks,
        times=clock,
        fps=rate_of(clock, fps),
        detector=detector.name,
        width=size[0],
        height=size[1],
        source=source,
        identity=chips.identity(stretches),
        missing=int((~seen).sum()),
    )


def rate_of(times: npt.NDArray[np.floating], fps: float = 0.0) -> float:
    """Frames per second: what the file says where its times agree (within 5 %), otherwise their average, or 25."""
    length = float(times[-1] - times[0]) if len(times) > 1 else 0.0
    average = (len(times) - 1) / length if length > 0 else 0.0
    if fps > 0 and (average == 0 or abs(fps / average - 1) < 0.05):
        return float(fps)
    return average or 25.0


class _Chips:
    """Upright faces of some frames, spread over a video of unknown length, to tell later who the person is."""

    def __init__(self) -> None:
        self._kept: dict[int, list[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]]] = {}
        self._every = 1
        self._possible = True

    def offer(self, number: int, frame: TimedFrame, faces: list[Face]) -> None:
        if not self._possible or number % self._every or not faces:
            return
        try:
            self._kept[number] = [
                (face.box, upright_face(frame.image, face.landmarks)) for face in faces[:_MOST_FACES_DESCRIBED]
            ]
        except WeightsError:
            self._possible = False
            return
        while len(self._kept) > _MOST_DESCRIBED:
            self._every *= 2
            self._kept = {kept: faces for kept, faces in self._kept.items() if kept % self._every == 0}

    def identity(self, stretches: list[Person]) -> Descriptor | None:
        """Of those faces that are the person's."""
        described = [
            describe_upright(chip)
            for person in stretches
            for number, face in zip(person.frames, person.faces, strict=True)
            for box, chip in self._kept.get(number, ())
            if box is face.box
        ]
        return np.mean(described, axis=0, dtype=np.float32) if described else None


def _chunks(frames: Iterable[TimedFrame]) -> Iterator[list[TimedFrame]]:
    source = iter(frames)
    while chunk := list(itertools.islice(source, _CHUNK)):
        yield chunk


def _enlarged(face: Face, scale: float) -> Face:
    """The box stays as it is: it tells the face apart."""
    landmarks = ((face.landmarks.astype(np.float64) + 0.5) * scale - 0.5).astype(np.float32)
    return replace(face, landmarks=landmarks) if scale != 1 else face


def _ascending(times: npt.NDArray[np.float64], fps: float) -> npt.NDArray[np.float64]:
    """A file's timestamps may repeat or run back; then its frames count as evenly spaced."""
    if (np.diff(times) > 0).all():
        return times
    length = float(times.max() - times.min())
    return np.arange(len(times)) / (fps if fps > 0 else (len(times) - 1) / length if length > 0 else 25.0)


def _filled(
    stretches: list[Person], clock: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Landmarks [n, 68, 2] of every frame, and which of them were seen [n]."""
    landmarks = np.zeros((len(clock), 68, 2), np.float32)
    seen = np.zeros(len(clock), bool)
    for person in stretches:
        landmarks[person.frames] = [face.landmarks for face in person.faces]
        seen[person.frames] = True
        for start, end in itertools.pairwise(person.frames):
            if end - start > 1 and clock[end] - clock[start] <= LONGEST_GAP:
                share = (clock[start + 1 : end] - clock[start]) / (clock[end] - clock[start])
                way = (landmarks[end] - landmarks[start]) * share[:, None, None]
                landmarks[start + 1 : end] = landmarks[start] + way
    if seen.any():
        # Gaps within a stretch are done; elsewhere the last pose is held, before the first face the first one.
        known = seen | landmarks.any(axis=(1, 2))
        last = np.maximum.accumulate(np.where(known, np.arange(len(clock)), -1))
        landmarks = landmarks[np.where(last < 0, np.argmax(known), last)]
    return landmarks, seen


def _checked(uri: str, stored: dict[str, npt.NDArray[Any]]) -> Track:
    try:
        if int(stored["format"]) != FORMAT:
            raise ValueError(f"format {int(stored['format'])}, this version reads {FORMAT}")
        landmarks, times = stored["landmarks"].astype(np.float32), stored["times"].astype(np.float64)
        count = len(times)
        pupils, identity = stored.get("pupils"), stored.get("identity")
        fps = float(stored["fps"])
        for name, value, shape in (
            ("landmarks", landmarks, (count, 68, 2)),
            ("times", times, (count,)),
            ("pupils", pupils, (count, 2, 2)),
        ):
            if value is not None and value.shape != shape:
                raise ValueError(f"{name} have the shape {list(value.shape)}, not {list(shape)}")
        if not count or not np.isfinite(landmarks).all() or not (np.diff(times) > 0).all() or not 0 < fps < np.inf:
            raise ValueError("no frames, numbers that are not finite, or times that do not ascend")
        width, height = (int(side) for side in stored["size"])
        return Track(
            landmarks,
            times,
            fps,
            str(stored["detector"]),
            width,
            height,
            str(stored["source"]),
            None if pupils is None else pupils.astype(np.float32),
            None if identity is None else identity.astype(np.float32),
            int(stored["missing"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise VideoError(f"{uri} cannot be read as a track: {error}; make it again with track=") from None
