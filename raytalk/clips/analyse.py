"""One video becomes one clip, or a reason why not."""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.clips.schema import Clip, Split
from raytalk.clips.sources import Source
from raytalk.errors import FaceError
from raytalk.faces.crop import crop_frames
from raytalk.faces.face import Face, LandmarkDetector
from raytalk.faces.video import LONGEST_SIDE, TimedFrame, probe, sample_frames

JPEG_QUALITY = 95

_CANDIDATES = 1.5
"""frames looked at per frame kept: some will have no usable face"""
_COMPARABLE = 0.5
"""a second face counts if it is at least this large beside the first"""
_TWO_FACES_SHARE = 0.25
_INSIDE_SHARE = 0.85


@dataclass(frozen=True)
class Limits:
    """What is kept of a video."""

    resolution: int
    frames_per_clip: int
    min_frames: int
    min_face: float
    """pixels of the video's own frames"""


def analyse_video(path: Path, source: Source, split: Split, detector: LandmarkDetector, limits: Limits) -> Clip:
    """Detect, choose frames, crop, compress.

    Raises VideoError if the video cannot be read and FaceError, with the reason, if its faces cannot be used.
    """
    info = probe(path)
    frames = sample_frames(path, math.ceil(limits.frames_per_clip * _CANDIDATES), LONGEST_SIDE, threads=1)
    shrunk = max(info.width, info.height) / max(frames[0].image.shape[:2])
    kept = choose_frames(frames, detector.detect([frame.image for frame in frames]), limits, shrunk)
    times = np.array([frames[index].time for index, _ in kept])
    pictures, landmarks = crop_frames(
        [frames[index].image for index, _ in kept],
        np.stack([face.landmarks for _, face in kept]),
        limits.resolution,
        times,
    )
    length = float(times[-1] - times[0])
    return Clip(
        clip_id=source.clip_id,
        video_id=source.video_id,
        person_id=source.person_id,
        split=split,
        fps=(len(times) - 1) / length if length > 0 else 0.0,
        detector=detector.name,
        frames=[encode_jpeg(picture) for picture in pictures],
        landmarks=landmarks,
        source=source.uri,
    )


def choose_frames(
    frames: list[TimedFrame], faces: list[list[Face]], limits: Limits, shrunk: float = 1.0
) -> list[tuple[int, Face]]:
    """The frames to keep, spread over the video, each with its face.

    faces: per frame, the largest first; shrunk: pixels of the video per pixel of `frames`. Raises FaceError with
    reason `no face`, `two faces`, `face too small` or `too few good frames`.
    """
    seen = [index for index, those in enumerate(faces) if those]
    if not seen:
        raise FaceError("no face", f"no face in {len(frames)} frames")
    sizes = {index: faces[index][0].extent * shrunk for index in seen}
    size = float(np.median(list(sizes.values())))
    doubled = {i for i in seen if len(faces[i]) > 1 and faces[i][1].extent >= _COMPARABLE * faces[i][0].extent}
    if len(doubled) > _TWO_FACES_SHARE * len(seen):
        raise FaceError("two faces", f"two faces in {len(doubled)} of {len(frames)} frames (the larger {size:.0f} px)")
    if size < limits.min_face:
        raise FaceError("face too small", f"the face measures {size:.0f} px, {limits.min_face:.0f} are needed")
    good = [
        index
        for index in seen
        if index not in doubled
        and sizes[index] >= limits.min_face
        and _share_inside(faces[index][0].landmarks, frames[index].image) >= _INSIDE_SHARE
    ]
    if len(good) < limits.min_frames:
        raise FaceError(
            "too few good frames",
            f"{len(good)} of {len(frames)} frames show one whole face of {limits.min_face:.0f} px, "
            f"{limits.min_frames} are needed",
        )
    count = min(len(good), limits.frames_per_clip)
    chosen = [good[round(place)] for place in np.linspace(0, len(good) - 1, count)]
    return [(index, faces[index][0]) for index in chosen]


def encode_jpeg(picture: npt.NDArray[np.uint8], quality: int = JPEG_QUALITY) -> bytes:
    """HxWx3 uint8 RGB as JPEG bytes."""
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def decode_jpeg(data: bytes) -> npt.NDArray[np.uint8]:
    """The inverse of `encode_jpeg`: HxWx3 uint8 RGB. Raises ValueError for what is not a picture."""
    picture = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if picture is None:
        raise ValueError("not a picture")
    return np.asarray(picture, dtype=np.uint8)


def _share_inside(landmarks: npt.NDArray[np.float32], image: npt.NDArray[np.uint8]) -> float:
    height, width = image.shape[:2]
    return float(((landmarks >= 0) & (landmarks < [width, height])).all(axis=1).mean())
