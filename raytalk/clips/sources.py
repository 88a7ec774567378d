"""Which videos there are, and whose: a listing of a folder or bucket in one of the known layouts.

`folder`: any videos below, one person in each. `voxceleb1`, `voxceleb2`: the published trees,
`.../idXXXXX/VIDEO/NNNNN.mp4`, below a dev and a test folder (VoxCeleb1 may use people's names for folders).
"""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, get_args

from raytalk.clips.splits import Fold
from raytalk.errors import ClipsError, SettingsError
from raytalk.storage import Storage, join

Layout = Literal["folder", "voxceleb1", "voxceleb2"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

VIDEO_SUFFIXES = frozenset(
    [".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp", ".ogv"]
)

_ID = re.compile(r"id\d{5}")
_NAME = re.compile(r"[^\W\d_][\w.'-]*", re.UNICODE)
_TEST_FOLDER = re.compile(r"(vox\d_)?test(_\w+)?", re.IGNORECASE)
_DEV_FOLDER = re.compile(r"(vox\d_)?(dev|train)(_\w+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """One video file to be made into one clip."""

    path: str
    """relative to the storage that was listed"""
    uri: str
    person_id: str
    video_id: str
    clip_id: str
    fold: Fold | None = None
    """what the tree says of the person, if anything"""


def list_sources(storage: Storage, layout: Layout) -> list[Source]:
    """Every video below `storage`, sorted by clip_id.

    Raises StorageError if the place is missing or cannot be read, ClipsError if no video is there, if the tree is
    not of that layout or if two files would get one clip_id, SettingsError for an unknown layout.
    """
    if layout not in LAYOUTS:
        raise SettingsError(f"unknown layout '{layout}': choose one of {', '.join(LAYOUTS)}")
    paths = [entry.path for entry in storage.entries(recursive=True) if _is_video(entry.path) and not entry.is_folder]
    if not paths:
        _explain_nothing(storage)
    if layout == "folder":
        sources = [_from_folder(storage, path) for path in paths]
    else:
        sources = [source for path in paths if (source := _from_voxceleb(storage, path, layout)) is not None]
        if not sources:
            raise ClipsError(
                f"{storage.uri} is not a {layout} tree: none of its {len(paths)} videos lies at "
                f"idXXXXX/VIDEO/NNNNN.mp4 ('{paths[0]}'); use layout=folder for other trees"
            )
    return _checked(storage, sorted(sources, key=lambda source: source.clip_id))


def _is_video(path: str) -> bool:
    parts = PurePosixPath(path)
    return parts.suffix.lower() in VIDEO_SUFFIXES and not any(part.startswith(".") for part in parts.parts)


def _explain_nothing(storage: Storage) -> None:
    if storage.exists():
        raise ClipsError(
            f"there is no video in {storage.uri} (looked for {', '.join(sorted(VIDEO_SUFFIXES))} below it)"
        )
    raise ClipsError(f"there is no folder {storage.uri}: check the setting videos")


def _from_folder(storage: Storage, path: str) -> Source:
    name = str(PurePosixPath(path).with_suffix(""))
    return Source(path, join(storage.uri, path), person_id=name, video_id=name, clip_id=name)


def _from_voxceleb(storage: Storage, path: str, layout: Layout) -> Source | None:
    parts = PurePosixPath(path).with_suffix("").parts
    if len(parts) < 3:
        return None
    above, (person, video, clip) = parts[:-3], parts[-3:]
    if not _ID.fullmatch(person) and not (layout == "voxceleb1" and _NAME.fullmatch(person)):
        return None
    video_id = f"{person}/{video}"
    return Source(path, join(storage.uri, path), person, video_id, f"{video_id}/{clip}", _fold(above))


def _fold(folders: Iterable[str]) -> Fold | None:
    for folder in folders:
        if _TEST_FOLDER.fullmatch(folder):
            return "test"
        if _DEV_FOLDER.fullmatch(folder):
            return "dev"
    return None


def _checked(storage: Storage, sources: list[Source]) -> list[Source]:
    for before, after in itertools.pairwise(sources):
        if before.clip_id == after.clip_id:
            raise ClipsError(
                f"{before.path} and {after.path} in {storage.uri} would both be clip '{before.clip_id}': rename one"
            )
    folds: dict[str, Fold | None] = {}
    for source in sources:
        if folds.setdefault(source.person_id, source.fold) != source.fold:
            raise ClipsError(f"{source.person_id} is below both the dev and the test folder of {storage.uri}")
    return sources
