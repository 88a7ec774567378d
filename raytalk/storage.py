"""One URI for everything kept: a folder (`/data/clips`) or an object store (`s3://bucket/prefix`).

An S3 endpoint other than AWS comes from `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` or the URI's query
(`s3://bucket/prefix?endpoint_override=host:port&scheme=http`).

What is written is visible whole or not at all: files are written aside and renamed (folders) or put (object stores);
a folder published with `publish` counts only once its last file, the marker, is there.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from raytalk.command import absolute_uri
from raytalk.errors import StorageError
from raytalk.storage_advice import advice, is_the_stores
from raytalk.storage_local import ASIDE, clear_aside, publish_locally, written_aside
from raytalk.storage_patience import patiently
from raytalk.storage_s3 import open_s3

T = TypeVar("T")
_PIECE = 16 << 20
"""bytes of a file that are in memory together"""


@dataclass(frozen=True)
class Entry:
    """A file or folder below a Storage; `path` is relative to it, `size` in bytes (0 for folders)."""

    path: str
    size: int
    is_folder: bool


class Storage:
    """Files below one URI. Paths are relative, with forward slashes. Can be pickled.

    Every method raises StorageError saying what to do when the place is missing, refuses access or is full. An object
    store that is busy or away is asked again before that (`storage_patience`).
    """

    def __init__(self, uri: str, patience: float | None = None) -> None:
        """patience: seconds for which a store that fails is asked again; by default what the environment says."""
        self.uri, self._patience = uri, patience
        self.filesystem, self.root, self._store = _open(uri)

    def __repr__(self) -> str:
        return f"Storage({self.uri!r})"

    @property
    def local_root(self) -> Path | None:
        """The folder, if this is one on a mounted file system."""
        return None if self._store else Path(self.root)

    @property
    def lasting_filesystem(self) -> pafs.FileSystem:
        """For libraries that use a file system without this class: one that goes on asking by itself for a while."""
        return open_s3(self.uri, lasting=True)[0] if self._store else self.filesystem

    def path(self, *parts: str) -> str:
        """A path that `self.filesystem` understands."""
        return "/".join([self.root, *(part.strip("/") for part in parts if part)])

    def below(self, *parts: str) -> "Storage":
        """The Storage of a sub-folder; the query of the URI is kept."""
        return Storage(join(self.uri, *parts), self._patience)

    def entries(self, folder: str = "", recursive: bool = False) -> list[Entry]:
        """What lies below `folder`, sorted by path; empty if there is none. Files written aside are hidden."""

        def find() -> list[pafs.FileInfo]:
            selector = pafs.FileSelector(self.path(folder), recursive=recursive, allow_not_found=True)
            found: list[pafs.FileInfo] = self.filesystem.get_file_info(selector)
            bucket = self.root.split("/")[0]
            if not found and bucket and self.filesystem.get_file_info(bucket).type == pafs.FileType.NotFound:
                raise FileNotFoundError("no such bucket")
            return found

        listed = [
            Entry(info.path[len(self.root) :].lstrip("/"), info.size or 0, info.type == pafs.FileType.Directory)
            for info in self._ask("list", "", find)
        ]
        visible = (entry for entry in listed if ASIDE not in entry.path)
        return sorted(visible, key=lambda entry: entry.path)

    def files(self, suffixes: Collection[str]) -> list[str]:
        """Names of the files that lie directly here and end so (in small letters, with the dot), sorted."""
        names = [entry.path for entry in self.entries() if not entry.is_folder and not entry.path.startswith(".")]
        return [name for name in names if PurePosixPath(name).suffix.lower() in suffixes]

    def exists(self, path: str = "") -> bool:
        """Whether there is a file or folder at `path`."""
        return bool(self._ask("look for", path, lambda: self._kind(path)) != pafs.FileType.NotFound)

    def is_file(self, path: str) -> bool:
        """Whether `path` is a file."""
        return bool(self._ask("look for", path, lambda: self._kind(path)) == pafs.FileType.File)

    def read(self, path: str) -> bytes:
        """A file's bytes."""

        def read() -> bytes:
            with self.filesystem.open_input_stream(self.path(path)) as stream:
                return bytes(stream.read())

        return self._ask("read", path, read)

    def load(self, path: str, parse: Callable[[pa.NativeFile], T]) -> T:
        """What `parse` makes of a file that it may read from any place; called again if the store fails meanwhile.

        Errors of `parse` itself, which say that the file is damaged, stay what they are.
        """

        def load() -> T:
            with self.filesystem.open_input_file(self.path(path)) as file:
                try:
                    return parse(file)
                except (OSError, pa.ArrowException) as error:
                    if is_the_stores(error):
                        raise
                    raise _Damaged(error) from None

        try:
            return self._ask("read", path, load)
        except _Damaged as damaged:
            raise damaged.error from None

    def write(self, path: str, data: bytes | pa.Buffer) -> None:
        """Write a file so that a reader sees the old one or the whole new one."""

        def write() -> None:
            if self.local_root is None:
                with self.filesystem.open_output_stream(self.path(path)) as stream:
                    stream.write(data)
                return
            with written_aside(self.local_root / path) as file:
                file.write(data)

        self._ask("write", path, write)

    def put_file(self, local: Path, path: str) -> None:
        """Copy a local file to `path` so that a reader sees what was there or the whole new one, whatever happens."""

        def put() -> None:
            with local.open("rb") as source:
                if self.local_root is None:
                    self._put_aside(source, path)
                    return
                with written_aside(self.local_root / path) as file:
                    shutil.copyfileobj(source, file, _PIECE)

        self._ask("write", path, put)

    def delete(self, path: str) -> None:
        """Delete a file or a folder with all in it; nothing happens if there is none."""

        def delete() -> None:
            kind = self._kind(path)
            try:
                if kind == pafs.FileType.Directory:
                    self.filesystem.delete_dir(self.path(path))
                elif kind == pafs.FileType.File:
                    self.filesystem.delete_file(self.path(path))
            except OSError:
                # Arrow writes a marker of the folder above afterwards, which a full store refuses.
                if self.local_root is not None or self._kind(path) != pafs.FileType.NotFound:
                    raise

        self._ask("delete", path, delete)

    def publish(self, folder: Path, path: str, marker: str) -> None:
        """Copy a local folder to `path` as one: a reader who looks for `marker` sees all of it or nothing.

        Replaces what was there. Folders are renamed into place; object stores get `marker` last.
        """
        if self.local_root is not None:
            with explained(join(self.uri, path), "write"):
                publish_locally(folder, self.local_root / path)
            return
        self.delete(path)
        for file in sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / marker):
            self._ask("write", path, partial(self._upload, file, self.path(path, file.relative_to(folder).as_posix())))
        if (folder / marker).is_file():
            self.put_file(folder / marker, f"{path}/{marker}" if path else marker)

    def fetch(self, path: str, folder: Path) -> Path:
        """Copy everything below `path` into a local folder and return it (as it is if it is local already)."""
        if self.local_root is not None and (self.local_root / path).is_dir():
            return self.local_root / path

        def fetch() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            pafs.copy_files(
                self.path(path), str(folder), source_filesystem=self.filesystem, destination_filesystem=_LOCAL
            )

        self._ask("read", path, fetch)
        return folder

    def fetch_file(self, path: str, folder: Path) -> Path:
        """A local copy of one file (the file itself if it is local already)."""
        if self.local_root is not None:
            return self.local_root / path
        target = folder / Path(path).name

        def fetch() -> None:
            with self.filesystem.open_input_stream(self.path(path)) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, _PIECE)

        self._ask("read", path, fetch)
        return target

    def clear_aside(self) -> None:
        """Remove what killed processes left half-written directly below this folder more than an hour ago."""
        if self.local_root is not None and self.local_root.is_dir():
            with explained(self.uri, "clear"):
                clear_aside(self.local_root)

    def _ask(self, doing: str, path: str, action: Callable[[], T]) -> T:
        """Do something, again if an object store fails in a way that passes. Raises StorageError."""
        with explained(join(self.uri, path), doing):
            return patiently(self._store, action, self._patience) if self._store else action()

    def _kind(self, path: str) -> pafs.FileType:
        return self.filesystem.get_file_info(self.path(path)).type

    def _upload(self, local: Path, target: str) -> None:
        with local.open("rb") as source, self.filesystem.open_output_stream(target) as stream:
            shutil.copyfileobj(source, stream, _PIECE)

    def _put_aside(self, source: BinaryIO, path: str) -> None:
        """An upload cannot be given up: its stream completes it on closing, even after an error or Ctrl-C."""
        target = PurePosixPath(self.path(path))
        aside = str(target.with_name(f"{ASIDE}{uuid.uuid4().hex}"))
        try:
            with self.filesystem.open_output_stream(aside) as stream:
                shutil.copyfileobj(source, stream, _PIECE)
            self.filesystem.move(aside, str(target))
        except BaseException:
            with contextlib.suppress(OSError):
                self.filesystem.delete_file(aside)
            raise


def join(uri: str, *parts: str) -> str:
    """Append path parts to a URI, before its query if it has one."""
    base, question, query = uri.partition("?") if "://" in uri else (uri, "", "")
    return "/".join([base.rstrip("/"), *(part.strip("/") for part in parts if part)]) + question + query


def path_part(uri: str) -> str:
    """A URI without its query: what ends with a file's name. A question mark in a local path is part of the name."""
    return uri.partition("?")[0] if "://" in uri else uri


def file_at(uri: str) -> tuple[Storage, str]:
    """The place that a file lies in, and its name there."""
    whole = absolute_uri(uri)
    base, question, query = whole.partition("?") if "://" in whole else (whole, "", "")
    path = PurePosixPath(base.partition("://")[2] or base)
    if len(path.parts) < 2:
        raise StorageError(f"{uri} is no file: give FOLDER/NAME or s3://bucket/NAME")
    return Storage(base.rstrip("/")[: -len(path.name)].rstrip("/") + question + query or "/"), path.name


@contextlib.contextmanager
def explained(uri: str, doing: str) -> Iterator[None]:
    """Turn the file system's errors into a StorageError that says what to do."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot {doing} {uri}: {advice(error)}") from error


class _Damaged(Exception):
    """What `parse` raised of its own, on its way past those who ask again."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


_LOCAL = pafs.LocalFileSystem()


def _open(uri: str) -> tuple[pafs.FileSystem, str, str]:
    """File system, path in it and the store's name, which folders lack."""
    if "://" not in uri:
        return _LOCAL, os.path.abspath(os.path.expanduser(uri)), ""
    parts = urlsplit(uri)
    return (_LOCAL, parts.path, "") if parts.scheme == "file" else open_s3(uri)
