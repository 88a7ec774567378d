"""Where everything of the service lies in object storage, and the only place that knows the paths.

```
avatars/ID/record.json         written by the desk alone; an avatar exists if it is there
avatars/ID/material/000.jpg    a photograph as re-encoded, or 000.bin, the video as it came
avatars/ID/crops/000.jpg       crop and drawing side by side
avatars/ID/preview.jpg         the person as rendered now
avatars/ID/ff-ATTEMPT/  ft-ATTEMPT/    folders of raytalk.avatar
films/ID/record.json  driver.bin or driver.npz  film.mp4
deletions/NUMBER.json          what was deleted (serve.records.deletions)
audit/YYYY-MM-DD/NAME.json     who did what (serve.records.audit)
desk/claim desk/probe          which desk may write, and whether anything can be (serve.records.writer)
```
Plain and synchronous: call it in a thread. Safe to use from many threads, and can be pickled. Methods raise
`raytalk.errors.StorageError` where storage does not answer, NotFound for an id that cannot be one or a picture that is
not there, and ValueError for a name that the service itself would never make.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from pyarrow import fs as pafs

from raytalk.errors import StorageError
from raytalk.storage import Storage, explained, join
from serve.errors import NotFound

Kind = Literal["avatars", "films"]

_ID = re.compile(r"[0-9a-f]{32}")
_NAMES = {
    "material": re.compile(r"[0-9]{3}\.(jpg|bin)"),
    "crops": re.compile(r"[0-9]{3}\.jpg"),
    "version": re.compile(r"ff|(ff|ft)-[0-9]{1,6}"),
    "driver": re.compile(r"driver\.(bin|npz)"),
}
_RECORD, _PREVIEW, _FILM = "record.json", "preview.jpg", "film.mp4"
_DELETION = re.compile(r"deletions/([0-9]{20})\.json")

_PATIENCE_S = 10.0
"""a request does not wait longer for storage that does not answer; the desk has its own way to go on"""


class Store:
    """Everything below one URI: a folder or s3://bucket/prefix."""

    def __init__(self, uri: str) -> None:
        self.storage = Storage(uri, patience=_PATIENCE_S)

    def __repr__(self) -> str:
        return f"Store({self.storage.uri!r})"

    @staticmethod
    def new_id() -> str:
        """32 hexadecimal digits that nobody can guess."""
        return secrets.token_hex(16)

    # Avatars.

    def avatar_place(self, id: str) -> Storage:
        """The folder of an avatar."""
        return self.storage.below(_folder("avatars", id))

    def avatar_uri(self, id: str, version: str) -> str:
        """Where `raytalk.avatar.Avatar` saves and loads a version, `Version.folder` of the record."""
        return join(self.storage.uri, _folder("avatars", id), _name("version", version))

    def version_place(self, id: str, version: str) -> Storage:
        """The folder of a version, for who asks no longer than a request waits."""
        return self.avatar_place(id).below(_name("version", version))

    def put_material(self, id: str, file: str, data: bytes | Path) -> None:
        """Keep one file of what an avatar is made from, before `Desk.accept_avatar`: 000.jpg, or 000.bin, a video."""
        self._put(f"{_folder('avatars', id)}/material/{_name('material', file)}", data)

    def material(self, id: str) -> Storage:
        """The folder of the files that an avatar is made from."""
        return self.storage.below(_folder("avatars", id), "material")

    def delete_material(self, id: str) -> None:
        """Delete what an avatar was made from, and the crops of it; the avatar stays."""
        for part in ("material", "crops"):
            self.storage.delete(f"{_folder('avatars', id)}/{part}")

    def put_crop(self, id: str, name: str, jpeg: bytes) -> None:
        """Keep crop and drawing of one file of the material, named as it: 000.jpg."""
        self._put(f"{_folder('avatars', id)}/crops/{_name('crops', name)}", jpeg)

    def put_preview(self, id: str, jpeg: bytes) -> None:
        """Replace the picture of the person as rendered now; say so with `Change.new_preview`."""
        self._put(f"{_folder('avatars', id)}/{_PREVIEW}", jpeg)

    def read_picture(self, id: str, kind: Literal["preview", "crop"], name: str = "") -> bytes:
        """A JPEG: the preview, or the crop of that name. Raises NotFound if there is none."""
        path = f"{_folder('avatars', id)}/" + (_PREVIEW if kind == "preview" else f"crops/{_name('crops', name)}")
        with self._not_found(path, "There is no such picture, or not yet."):
            return self.storage.read(path)

    def discard(self, id: str) -> None:
        """Delete everything of an avatar, its record first: what lies there afterwards is nobody's."""
        self._discard("avatars", id)

    # Films.

    def film_place(self, id: str) -> Storage:
        """The folder of a film."""
        return self.storage.below(_folder("films", id))

    def put_film_driver(self, id: str, file: str, data: bytes | Path) -> None:
        """Keep what drives a film: driver.bin, a video, or driver.npz, a track. Before `Desk.accept_film`."""
        self._put(f"{_folder('films', id)}/{_name('driver', file)}", data)

    def fetch_film_driver(self, id: str, file: str, folder: Path) -> Path:
        """A local file with what drives a film: a copy in `folder`, or the file itself where storage is a folder."""
        return self.storage.fetch_file(f"{_folder('films', id)}/{_name('driver', file)}", folder)

    def delete_film_driver(self, id: str) -> None:
        """Delete what drove a film; the film stays."""
        for file in ("driver.bin", "driver.npz"):
            self.storage.delete(f"{_folder('films', id)}/{file}")

    def put_film(self, id: str, file: Path) -> None:
        """Keep the film that was made, an MP4."""
        self._put(f"{_folder('films', id)}/{_FILM}", file)

    @contextmanager
    def open_film(self, id: str) -> Iterator[tuple[IO[bytes], int]]:
        """The film that was made, to read from any place of it, and its bytes. Raises NotFound if there is none."""
        path = f"{_folder('films', id)}/{_FILM}"
        filesystem = self.storage.filesystem
        with self._not_found(path, "There is no such film, or not yet."), explained(self.storage.uri, "read"):
            stream = filesystem.open_input_file(self.storage.path(path))
        with stream:
            yield stream, int(stream.size())

    def discard_film(self, id: str) -> None:
        """Delete everything of a film, its record first."""
        self._discard("films", id)

    # Records: for the desk alone.

    def write_record(self, kind: Kind, id: str, data: bytes) -> None:
        """Replace a record: readers see the old one or the whole new one."""
        self.storage.write(f"{_folder(kind, id)}/{_RECORD}", data)

    def read_record(self, kind: Kind, id: str) -> bytes | None:
        """A record as it lies there; None if there is none."""
        path = f"{_folder(kind, id)}/{_RECORD}"
        try:
            return self.storage.read(path)
        except StorageError:
            if self.storage.is_file(path):
                raise
            return None

    def delete_record(self, kind: Kind, id: str) -> None:
        """From here on there is no such avatar or film, whatever else still lies in its folder."""
        self.storage.delete(f"{_folder(kind, id)}/{_RECORD}")

    def ids(self, kind: Kind) -> list[str]:
        """Of all folders, with or without a record."""
        names = [entry.path.rpartition("/")[2] for entry in self.storage.entries(kind) if entry.is_folder]
        return [name for name in names if _ID.fullmatch(name)]

    def changed(self, kind: Kind, id: str) -> float | None:
        """When something below an avatar or film was written last, in seconds since 1970; None if it has a record."""
        root = self.storage.path(_folder(kind, id))
        with explained(self.storage.uri, "list"):
            found = self.storage.filesystem.get_file_info(pafs.FileSelector(root, recursive=True, allow_not_found=True))
            if any(info.path == f"{root}/{_RECORD}" for info in found):
                return None
            if not found:
                # Somebody may be about to put the first file into a folder just made.
                found = [self.storage.filesystem.get_file_info(root)]
        return max((info.mtime_ns or 0 for info in found), default=0) / 1e9

    def write_deletion(self, number: int, data: bytes) -> None:
        """Keep what is being deleted, or was."""
        self.storage.write(f"deletions/{number:020d}.json", data)

    def deletions(self) -> list[int]:
        """The numbers of all that is kept of deletions."""
        found = (_DELETION.fullmatch(entry.path) for entry in self.storage.entries("deletions"))
        return [int(match[1]) for match in found if match]

    def read_deletion(self, number: int) -> bytes:
        """What is kept of one."""
        return self.storage.read(f"deletions/{number:020d}.json")

    def forget_deletion(self, number: int) -> None:
        """Nobody needs to know of it any more."""
        self.storage.delete(f"deletions/{number:020d}.json")

    def write_audit(self, day: str, name: str, data: bytes) -> None:
        """Keep one event. `day` is YYYY-MM-DD; names of a day sort by time."""
        self.storage.write(f"audit/{day}/{name}.json", data)

    def claimant(self) -> str:
        """The desk that may write; empty if none says so."""
        try:
            return self.storage.read("desk/claim").decode()
        except StorageError:
            if self.storage.is_file("desk/claim"):
                raise
            return ""

    def claim(self, desk: str) -> None:
        """From now on this desk may write, and no other; empty: none."""
        self.storage.write("desk/claim", desk.encode())

    def probe(self) -> None:
        """Write and read something. Raises StorageError where that does not work."""
        self.storage.write("desk/probe", b"can be written")
        self.storage.read("desk/probe")

    def _discard(self, kind: Kind, id: str) -> None:
        self.delete_record(kind, id)
        self.storage.delete(_folder(kind, id))

    def _put(self, path: str, data: bytes | Path) -> None:
        if isinstance(data, Path):
            self.storage.put_file(data, path)
        else:
            self.storage.write(path, data)

    @contextmanager
    def _not_found(self, path: str, detail: str) -> Iterator[None]:
        try:
            yield
        except StorageError:
            if self.storage.is_file(path):
                raise
            raise NotFound(detail) from None


def is_id(id: str) -> bool:
    """Whether this can be the id of an avatar or film."""
    return _ID.fullmatch(id) is not None


def _folder(kind: Kind, id: str) -> str:
    """Ids come from users: nothing but an id becomes part of a path."""
    if not is_id(id):
        raise NotFound("There is no such avatar." if kind == "avatars" else "There is no such video.")
    return f"{kind}/{id}"


def _name(kind: str, name: str) -> str:
    if not _NAMES[kind].fullmatch(name):
        raise ValueError(f"{name!r} is no name of {kind}: give {_NAMES[kind].pattern}")
    return name
