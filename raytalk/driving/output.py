"""Where frames go: an MP4, or a folder of pictures, on this machine or in an object store."""

import shutil
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path

import cv2

from raytalk.command import absolute_uri
from raytalk.errors import StorageError
from raytalk.faces.video import Frame, write_video
from raytalk.storage import Storage, explained, file_at, join


def check_writable(uri: str) -> None:
    """Raises StorageError before the work begins if a file or folder cannot be written there."""
    if uri.endswith("/"):
        place = Storage(absolute_uri(uri))
        if place.entries():
            raise StorageError(f"{uri} is not empty: give a new folder for the pictures")
        probe = f".aside-{uuid.uuid4().hex}"
    else:
        place, name = file_at(uri)
        if place.exists(name) and not place.is_file(name):
            raise StorageError(f"{uri} is a folder: give a file's name, or a slash at the end for a folder of pictures")
        probe = f".aside-{uuid.uuid4().hex}"
    place.write(probe, b"")
    place.delete(probe)


def write_frames(uri: str, frames: Iterable[Frame], fps: float, sound: Path | None) -> str:
    """Write frames as they come (HxWx3 uint8 RGB) and return where they are; nothing is visible before all are there.

    uri: FILE.mp4, or FOLDER/ for PNG pictures; sound: a video whose sound the MP4 gets. Raises VideoError or
    StorageError.
    """
    if uri.endswith("/"):
        return _write_pictures(Storage(absolute_uri(uri)), frames)
    place, name = file_at(uri)
    if place.local_root is not None:
        write_video(place.local_root / name, frames, fps, audio_from=sound)
        return str(place.local_root / name)
    with tempfile.TemporaryDirectory(prefix="raytalk-output-") as temporary:
        local = Path(temporary) / name
        write_video(local, frames, fps, audio_from=sound)
        target = join(place.uri, name)
        with (
            explained(target, "write"),
            local.open("rb") as source,
            place.filesystem.open_output_stream(place.path(name)) as stream,
        ):
            shutil.copyfileobj(source, stream, 16 << 20)
    return target


def _write_pictures(place: Storage, frames: Iterable[Frame]) -> str:
    with tempfile.TemporaryDirectory(prefix="raytalk-output-") as temporary:
        folder = Path(temporary)
        name = ""
        for index, frame in enumerate(frames):
            name = f"{index:06d}.png"
            if not cv2.imwrite(str(folder / name), frame[..., ::-1]):
                raise StorageError(f"cannot write {folder / name}: free some space and give the same command again")
        place.publish(folder, "", name)
    return place.uri
