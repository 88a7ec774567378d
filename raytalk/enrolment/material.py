"""What shows a person becomes learning images: photographs, a video or a clip, all cropped as in training.

T images of S = H = W pixels.
"""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from raytalk.clips.analyse import Limits, choose_frames
from raytalk.clips.episodes import decode, resized
from raytalk.clips.lookup import find_clip
from raytalk.clips.schema import SPLITS
from raytalk.clips.sources import VIDEO_SUFFIXES
from raytalk.command import absolute_uri
from raytalk.errors import FaceError, StorageError
from raytalk.faces.crop import crop_frames
from raytalk.faces.face import LandmarkDetector
from raytalk.faces.identity import Descriptor, mean_descriptor
from raytalk.faces.photographs import MOST, Photograph, list_photographs, portraits
from raytalk.faces.video import LONGEST_SIDE, probe, sample_frames
from raytalk.storage import Storage, file_at

Pictures = npt.NDArray[np.uint8]

_CANDIDATES = 3
"""frames of a video looked at per frame taken"""
_LEAST_CANDIDATES = 24


@dataclass(frozen=True)
class Material:
    """What a person is learned from."""

    frames: Pictures
    """[T, S, S, 3] uint8 RGB"""
    landmarks: npt.NDArray[np.float32]
    """[T, 68, 2] in pixels of the frames"""
    detector: str
    """whose landmarks"""
    source: str
    """URI; of a clip with its id"""
    pupils: npt.NDArray[np.float32] | None = None
    """[T, 2, 2] likewise, where they are known"""
    identity: Descriptor | None = None
    """[128] mean descriptor of the face; None where the network for it is not installed"""
    refused: dict[str, str] = field(default_factory=dict)
    """photographs that were left out, and why"""

    def __len__(self) -> int:
        return len(self.frames)


def gather(
    images: str, clip: str, shots: int, resolution: int, min_face: float, detector: Callable[[], LandmarkDetector]
) -> Material:
    """The learning images at a URI.

    images: a folder of photographs, one photograph, a video, or a clips folder with `clip`; shots: frames taken of a
    video or clip; resolution: of the crops, in pixels; min_face: least size of a face, in pixels of the material;
    detector: makes the landmark detector, if one is needed. Raises FaceError, VideoError, ClipsError or StorageError
    saying what to do.
    """
    if clip:
        return _of_clip(images, clip, shots, resolution)
    place, name = file_at(images)
    if not place.exists(name):
        raise StorageError(f"there is nothing at {images}: give photographs, a video or a clips folder")
    if place.is_file(name):
        if PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES:
            with tempfile.TemporaryDirectory(prefix="raytalk-video-") as folder:
                local = place.fetch_file(name, Path(folder))
                return of_video(images, local, shots, resolution, min_face, detector())
        return _of_photographs(images, [Photograph(name, place.read(name))], resolution, min_face, detector)
    folder_here = Storage(absolute_uri(images))
    names = list_photographs(folder_here)
    if not names:
        if any(folder_here.exists(split) for split in SPLITS):
            raise FaceError("no photographs", f"{images} is a clips folder: say whose clip with clip=CLIP_ID")
        raise FaceError("no photographs", f"{images} holds no photographs: put 1 to {MOST} of one person there")
    if len(names) > MOST:
        raise FaceError("too many photographs", f"{images} holds {len(names)}; choose at most {MOST} of them")
    photographs = [Photograph(name, folder_here.read(name)) for name in names]
    return _of_photographs(images, photographs, resolution, min_face, detector)


def _of_photographs(
    source: str,
    photographs: list[Photograph],
    resolution: int,
    min_face: float,
    detector: Callable[[], LandmarkDetector],
) -> Material:
    finder = detector()
    taken = portraits(photographs, finder, resolution, min_face)
    return Material(taken.frames, taken.landmarks, finder.name, source, identity=taken.identity, refused=taken.refused)


def of_video(
    source: str, path: Path, shots: int, resolution: int, min_face: float, detector: LandmarkDetector
) -> Material:
    """The learning images of a video on this machine. source: what to call it; the rest and errors as `gather`."""
    info = probe(path)
    frames = sample_frames(path, max(_LEAST_CANDIDATES, shots * _CANDIDATES), LONGEST_SIDE)
    shrunk = max(info.width, info.height) / max(frames[0].image.shape[:2])
    limits = Limits(resolution, shots, min_frames=1, min_face=min_face)
    chosen = choose_frames(frames, detector.detect([frame.image for frame in frames]), limits, shrunk)
    pictures, landmarks = crop_frames(
        [frames[index].image for index, _ in chosen],
        np.stack([face.landmarks for _, face in chosen]),
        resolution,
        [frames[index].time for index, _ in chosen],
    )
    return Material(
        pictures, landmarks, detector.name, source, identity=mean_descriptor(zip(pictures, landmarks, strict=True))
    )


def _of_clip(uri: str, clip_id: str, shots: int, resolution: int) -> Material:
    clip = find_clip(Storage(absolute_uri(uri)), clip_id)
    source = f"{uri}#clip={clip_id}"
    count = min(shots, len(clip.frames))
    pictures, points, pupils = [], [], []
    for index in np.linspace(0, len(clip.frames) - 1, count).round().astype(int):
        decoded = decode(clip.frames[index], resolution)
        if decoded is None or not np.isfinite(clip.landmarks[index]).all():
            continue
        picture, scale = decoded
        pictures.append(picture)
        points.append(resized(clip.landmarks[index], scale))
        pupils.append(np.full((2, 2), math.nan) if clip.pupils is None else resized(clip.pupils[index], scale))
    if not pictures:
        raise FaceError("no usable frame", f"no frame of {source} can be used: choose another clip")
    frames, landmarks = np.stack(pictures), np.stack(points).astype(np.float32)
    return Material(
        frames,
        landmarks,
        clip.detector,
        source,
        None if clip.pupils is None else np.stack(pupils).astype(np.float32),
        mean_descriptor(zip(frames, landmarks, strict=True)),
    )
