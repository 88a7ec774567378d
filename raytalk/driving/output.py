"""Where frames go: an MP4, or a folder of pictures, on this machine or in an object store."""

import tempfile
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import cv2

from raytalk.command import absolute_uri
from raytalk.errors import SettingsError, StorageError
from raytalk.faces.photographs import SUFFIXES as PICTURE_SUFFIXES
from raytalk.faces.video import Frame, write_video
from raytalk.storage import Storage, file_at, join, path_part


def is_folder(uri: str) -> bool:
    """Whether an output is a folder of pictures: a slash at its end says so."""
    return path_part(uri).endswith("/")


def check_apart(written: Mapping[str, str], read: Mapping[str, str]) -> None:
    """Raises SettingsError if a file that is written would replace one that is read, a picture of a folder that is
    read, or another that is written.

    written, read: what they are, for people, and their URIs, some of them empty.
    """
    places = [(what, uri, _place(uri)) for what, uri in written.items() if uri]
    for what, uri, place in places:
        for other, source in read.items():
            if source and (_place(source) == place or _is_picture_in(_place(source), uri, place)):
                raise SettingsError(f"{what}={uri} would replace {other}, which is needed: give another name")
        for other, target, there in places:
            if other != what and (there == place or (is_folder(uri) and there.startswith(f"{place}/"))):
                raise SettingsError(
                    f"{other}={target} would be lost, because {what}={uri} takes its place: give it a place of its own"
                )


def _is_picture_in(folder: str, uri: str, place: str) -> bool:
    """Whether there is such a picture directly in the folder, which may be a driver's."""
    if place.rpartition("/")[0] != folder or PurePosixPath(place).suffix.lower() not in PICTURE_SUFFIXES:
        return False
    storage, name = file_at(uri)
    return storage.is_file(name)


def _place(uri: str) -> str:
    storage = Storage(absolute_uri(uri))
    return storage.root if storage.local_root is None else str(storage.local_root.resolve())


def check_writable(uri: str) -> None:
    """Raises StorageError before the work begins if a file or folder cannot be written there."""
    if is_folder(uri):
        place = Storage(absolute_uri(uri))
        if place.local_root is None and "/" not in place.root:
            raise StorageError(f"{uri} is a whole bucket: give a new folder in it for the pictures")
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
    if is_folder(uri):
        return _write_pictures(Storage(absolute_uri(uri)), frames)
    place, name = file_at(uri)
    if place.local_root is not None:
        write_video(place.local_root / name, frames, fps, audio_from=sound)
        return str(place.local_root / name)
    with tempfile.TemporaryDirectory(prefix="raytalk-output-") as temporary:
        local = Path(temporary) / name
        write_video(local, frames, fps, audio_from=sound)
        place.put_file(local, name)
    return join(place.uri, name)


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
