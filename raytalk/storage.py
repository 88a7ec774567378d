"""One URI for everything kept: a folder (`/data/clips`) or an object store (`s3://bucket/prefix`).

An S3 endpoint other than AWS comes from `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` or the URI's query
(`s3://bucket/prefix?endpoint_override=host:port&scheme=http`).

What is written is visible whole or not at all: files are written aside and renamed (folders) or put (object stores);
a folder published with `publish` counts only once its last file, the marker, is there.
"""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from raytalk.command import absolute_uri
from raytalk.errors import StorageError
from raytalk.storage_advice import advice

_ASIDE = ".aside-"
_ASIDE_SECONDS = 3600.0
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

    Every method raises StorageError saying what to do when the place is missing, refuses access or is full.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.filesystem, self.root = _open(uri)

    def __repr__(self) -> str:
        return f"Storage({self.uri!r})"

    @property
    def local_root(self) -> Path | None:
        """The folder, if this is one on a mounted file system."""
        return Path(self.root) if isinstance(self.filesystem, pafs.LocalFileSystem) else None

    def path(self, *parts: str) -> str:
        """A path that `self.filesystem` understands."""
        return "/".join([self.root, *(part.strip("/") for part in parts if part)])

    def below(self, *parts: str) -> "Storage":
        """The Storage of a sub-folder; the query of the URI is kept."""
        return Storage(join(self.uri, *parts))

    def entries(self, folder: str = "", recursive: bool = False) -> list[Entry]:
        """What lies below `folder`, sorted by path; empty if there is none. Files written aside are hidden."""
        start = self.path(folder)
        with explained(self.uri, "list"):
            found = self.filesystem.get_file_info(pafs.FileSelector(start, recursive=recursive, allow_not_found=True))
            bucket = self.root.split("/")[0]
            if not found and bucket and self.filesystem.get_file_info(bucket).type == pafs.FileType.NotFound:
                raise FileNotFoundError("no such bucket")
        listed = [
            Entry(info.path[len(self.root) :].lstrip("/"), info.size or 0, info.type == pafs.FileType.Directory)
            for info in found
        ]
        visible = (entry for entry in listed if _ASIDE not in entry.path)
        return sorted(visible, key=lambda entry: entry.path)

    def files(self, suffixes: Collection[str]) -> list[str]:
        """Names of the files that lie directly here and end so (in small letters, with the dot), sorted."""
        names = [entry.path for entry in self.entries() if not entry.is_folder and not entry.path.startswith(".")]
        return [name for name in names if PurePosixPath(name).suffix.lower() in suffixes]

    def exists(self, path: str = "") -> bool:
        """Whether there is a file or folder at `path`."""
        with explained(join(self.uri, path), "look for"):
            return bool(self.filesystem.get_file_info(self.path(path)).type != pafs.FileType.NotFound)

    def is_file(self, path: str) -> bool:
        """Whether `path` is a file."""
        with explained(join(self.uri, path), "look for"):
            return bool(self.filesystem.get_file_info(self.path(path)).type == pafs.FileType.File)

    def read(self, path: str) -> bytes:
        """A file's bytes."""
        with explained(join(self.uri, path), "read"), self.filesystem.open_input_stream(self.path(path)) as stream:
            return bytes(stream.read())

    def write(self, path: str, data: bytes | pa.Buffer) -> None:
        """Write a file so that a reader sees the old one or the whole new one."""
        with explained(join(self.uri, path), "write"):
            if self.local_root is None:
                with self.filesystem.open_output_stream(self.path(path)) as stream:
                    stream.write(data)
                return
            with _written_aside(self.local_root / path) as file:
                file.write(data)

    def put_file(self, local: Path, path: str) -> None:
        """Copy a local file to `path` so that a reader sees what was there or the whole new one, whatever happens."""
        with explained(join(self.uri, path), "write"), local.open("rb") as source:
            if self.local_root is not None:
                with _written_aside(self.local_root / path) as file:
                    shutil.copyfileobj(source, file, _PIECE)
                return
            # An upload cannot be given up: its stream completes it on closing, even after an error or Ctrl-C.
            target = PurePosixPath(self.path(path))
            aside = str(target.with_name(f"{_ASIDE}{uuid.uuid4().hex}"))
            try:
                with self.filesystem.open_output_stream(aside) as stream:
                    shutil.copyfileobj(source, stream, _PIECE)
                self.filesystem.move(aside, str(target))
            except BaseException:
                with contextlib.suppress(OSError):
                    self.filesystem.delete_file(aside)
                raise

    def delete(self, path: str) -> None:
        """Delete a file or a folder with all in it; nothing happens if there is none."""
        with explained(join(self.uri, path), "delete"):
            kind = self.filesystem.get_file_info(self.path(path)).type
            if kind == pafs.FileType.Directory:
                self.filesystem.delete_dir(self.path(path))
            elif kind == pafs.FileType.File:
                self.filesystem.delete_file(self.path(path))

    def publish(self, folder: Path, path: str, marker: str) -> None:
        """Copy a local folder to `path` as one: a reader who looks for `marker` sees all of it or nothing.

        Replaces what was there. Folders are renamed into place; object stores get `marker` last.
        """
        with explained(join(self.uri, path), "write"):
            if self.local_root is not None:
                _publish_locally(folder, self.local_root / path)
                return
            self.delete(path)
            for file in sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / marker):
                target = self.path(path, file.relative_to(folder).as_posix())
                with file.open("rb") as source, self.filesystem.open_output_stream(target) as stream:
                    shutil.copyfileobj(source, stream, _PIECE)
            if (folder / marker).is_file():
                self.put_file(folder / marker, f"{path}/{marker}" if path else marker)

    def fetch(self, path: str, folder: Path) -> Path:
        """Copy everything below `path` into a local folder and return it (as it is if it is local already)."""
        if self.local_root is not None and (self.local_root / path).is_dir():
            return self.local_root / path
        with explained(join(self.uri, path), "read"):
            pafs.copy_files(
                self.path(path), str(folder), source_filesystem=self.filesystem, destination_filesystem=_LOCAL
            )
        return folder

    def fetch_file(self, path: str, folder: Path) -> Path:
        """A local copy of one file (the file itself if it is local already)."""
        if self.local_root is not None:
            return self.local_root / path
        target = folder / Path(path).name
        with (
            explained(join(self.uri, path), "read"),
            self.filesystem.open_input_stream(self.path(path)) as source,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(source, file, _PIECE)
        return target

    def clear_aside(self) -> None:
        """Remove what killed processes left half-written directly below this folder.

        What changed within the last hour stays: another process may be writing it at this moment.
        """
        if self.local_root is None or not self.local_root.is_dir():
            return
        with explained(self.uri, "clear"):
            for leftover in self.local_root.glob(f"{_ASIDE}*"):
                # A live writer may rename or finish it between any two of these calls.
                with contextlib.suppress(FileNotFoundError):
                    changed = max(path.stat().st_mtime for path in (leftover, *leftover.rglob("*")))
                    if time.time() - changed > _ASIDE_SECONDS:
                        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


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


_LOCAL = pafs.LocalFileSystem()


def _open(uri: str) -> tuple[pafs.FileSystem, str]:
    if "://" not in uri:
        return _LOCAL, os.path.abspath(os.path.expanduser(uri))
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return _LOCAL, parts.path
    if parts.scheme != "s3":
        raise StorageError(f"cannot use {uri}: give a folder or s3://bucket/prefix")
    if not parts.netloc:
        raise StorageError(f"cannot use {uri}: the bucket's name is missing (s3://bucket/prefix)")
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and "endpoint_override" not in query:
        scheme, colon, address = endpoint.rstrip("/").partition("://")
        if not colon:
            raise StorageError(f"AWS_ENDPOINT_URL_S3={endpoint} must begin with http:// or https://")
        query["scheme"], query["endpoint_override"] = scheme, address
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None and "endpoint_override" in query:
        region = "us-east-1"
    try:
        filesystem = pafs.S3FileSystem(
            region=query.pop("region", region),
            connect_timeout=10,
            request_timeout=60,
            retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=8),
            **query,
        )
    except (OSError, TypeError, pa.ArrowException) as error:
        raise StorageError(f"cannot open {uri}: {advice(error)}") from error
    return filesystem, f"{parts.netloc}{parts.path}".rstrip("/")


@contextlib.contextmanager
def _written_aside(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `target` at the end, unless there is an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{_ASIDE}{uuid.uuid4().hex}")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def _publish_locally(folder: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{_ASIDE}{uuid.uuid4().hex}")
    try:
        shutil.copytree(folder, aside)
        if target.exists():
            old = target.with_name(f"{_ASIDE}{uuid.uuid4().hex}")
            target.rename(old)
            try:
                aside.rename(target)
            except OSError:
                os.rename(old, target)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
