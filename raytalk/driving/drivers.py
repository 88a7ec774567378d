"""What an avatar can be driven by, opened: a video, pictures, one picture, a clip of a clips folder, a kept track."""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from raytalk.clips.analyse import decode_jpeg
from raytalk.clips.lookup import find_clip
from raytalk.clips.schema import SPLITS
from raytalk.clips.sources import VIDEO_SUFFIXES
from raytalk.driving.frames import Frames, PictureFrames, VideoFrames, read_picture, spread
from raytalk.errors import ClipsError, RaytalkError, StorageError, VideoError
from raytalk.faces.identity import mean_descriptor
from raytalk.faces.photographs import SUFFIXES as PICTURE_SUFFIXES
from raytalk.faces.track import SUFFIX as TRACK_SUFFIX
from raytalk.faces.track import Track, rate_of
from raytalk.faces.video import Frame, probe
from raytalk.storage import Storage, file_at, join, path_part

PICTURES_FPS = 25.0
"""frames per second of pictures that know no time"""

CLIP_MARK = "#clip="
"""stands before a clip's id in a driver's URI"""
_LEAST_USABLE = 0.5
"""share of a clip's frames that must have landmarks"""
_DESCRIBED = 8
"""frames of a clip that tell whose face it is"""


@dataclass(frozen=True)
class Driver:
    """A driver, opened."""

    source: str
    """URI; of a clip with its id"""
    kind: str
    """what it is, for people"""
    fps: float
    """frames per second; 0 if unknown"""
    count: int
    """number of frames, as far as it is known beforehand"""
    frames: Frames | None
    """None: they are gone, see `unseen`"""
    size: tuple[int, int] | None = None
    """width and height of the frames in pixels, where known beforehand"""
    sound: Path | None = None
    """file whose sound belongs to it"""
    track: Track | None = None
    """landmarks that are known already"""
    unseen: str = ""


def open_driver(uri: str, folder: Path, clip: str = "", fps: float = 0.0) -> Driver:
    """Look at a URI and open what is there.

    folder: for copies of what is not on this machine, to be kept as long as the driver; clip: id of a clip in a clips
    folder; fps: of pictures. Raises StorageError, VideoError or ClipsError saying what is wrong.
    """
    base, mark, inside = uri.rpartition(CLIP_MARK)
    if mark:
        uri, clip = base, inside
    if clip:
        return _clip(uri, clip)
    place, name = file_at(uri)
    if not place.exists(name):
        raise StorageError(f"there is no driver {uri}: check its name")
    if not place.is_file(name):
        return _sequence(uri, fps or PICTURES_FPS)
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == TRACK_SUFFIX:
        return _kept(uri, folder)
    local = place.fetch_file(name, folder)
    if suffix in PICTURE_SUFFIXES:
        image = read_picture(uri, local.read_bytes())
        rate = fps or PICTURES_FPS
        return Driver(uri, "picture", rate, 1, PictureFrames([uri], lambda _: image, rate))
    info = probe(local)
    count, size = round(info.duration * info.fps), (info.width, info.height)
    return Driver(uri, "video", info.fps, count, VideoFrames(local), size, local if info.has_audio else None)


def list_drivers(uri: str) -> list[str]:
    """URIs of the videos and kept tracks that lie in a folder. Raises VideoError if there is none."""
    storage = Storage(uri)
    wanted = VIDEO_SUFFIXES | {TRACK_SUFFIX}
    found = [join(uri, name) for name in storage.files(wanted)]
    if not found:
        there = "holds no video and no track (.npz)" if storage.exists() else "does not exist"
        raise VideoError(f"{uri} {there}: drivers= takes a folder of videos to choose from")
    return found


def _sequence(uri: str, fps: float) -> Driver:
    storage = Storage(uri)
    names = storage.files(PICTURE_SUFFIXES)
    if not names:
        _explain_no_picture(storage)
    names.sort(key=_by_number)

    def load(number: int) -> Frame:
        return read_picture(join(uri, names[number]), storage.read(names[number]))

    return Driver(uri, "image sequence", fps, len(names), PictureFrames([join(uri, name) for name in names], load, fps))


def _by_number(name: str) -> list[tuple[int, str]]:
    """frame2 comes before frame10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"([0-9]+)", name)]


def _explain_no_picture(storage: Storage) -> None:
    entries = storage.entries()
    if any(storage.exists(split) for split in SPLITS):
        raise VideoError(f"{storage.uri} is a clips folder: say which clip drives with clip=CLIP_ID")
    if any(PurePosixPath(entry.path).suffix.lower() in VIDEO_SUFFIXES for entry in entries):
        raise VideoError(f"{storage.uri} is a folder of videos: name one of them, or let drivers= choose")
    what = "is empty" if not entries else "holds no picture"
    raise VideoError(f"{storage.uri} {what}: give a video, a folder of pictures, a picture or a kept track (.npz)")


def _clip(uri: str, clip_id: str) -> Driver:
    clip = find_clip(Storage(uri), clip_id)
    fps = rate_of(np.zeros(1), clip.fps)
    source = f"{uri}{CLIP_MARK}{clip_id}"
    usable = np.flatnonzero(np.isfinite(clip.landmarks).all(axis=(1, 2)))
    if len(usable) < _LEAST_USABLE * len(clip.frames):
        raise ClipsError(
            f"{source}: the landmarks of {len(usable)} of {len(clip.frames)} frames are finite numbers; half of them "
            "are needed: make the clip again with jobs/preprocess.py, or drive by another one"
        )

    def load(number: int) -> Frame:
        try:
            return decode_jpeg(clip.frames[usable[number]])
        except ValueError:
            raise VideoError(
                f"{source}: frame {usable[number]} is no picture: leave out side_by_side= and sheet=, which show it"
            ) from None

    count = len(usable)
    height, width = _first_picture(load, count).shape[:2]
    landmarks, pupils = clip.landmarks[usable], None if clip.pupils is None else clip.pupils[usable]
    faces = []
    for number in spread(count, _DESCRIBED):
        with contextlib.suppress(VideoError):
            faces.append((load(number), landmarks[number]))
    identity = mean_descriptor(faces) if faces else None
    times = (usable - usable[0]) / fps
    track = Track(landmarks, times, fps, clip.detector, width, height, source, pupils, identity)
    return Driver(source, "clip", fps, count, PictureFrames([source] * count, load, fps), (width, height), track=track)


def _first_picture(load: Callable[[int], Frame], count: int) -> Frame:
    for number in range(count - 1):
        with contextlib.suppress(VideoError):
            return load(number)
    return load(count - 1)


def _kept(uri: str, folder: Path) -> Driver:
    track = Track.load(uri)
    gone = Driver(track.source, "kept track", track.fps, len(track), None, track=track)
    if path_part(track.source).endswith(TRACK_SUFFIX):
        return replace(gone, unseen="it does not say where its frames are")
    try:
        origin = open_driver(track.source, folder, fps=track.fps)
    except RaytalkError as error:
        return replace(gone, unseen=str(error))
    return replace(origin, kind="kept track", fps=track.fps, count=len(track), track=track)
