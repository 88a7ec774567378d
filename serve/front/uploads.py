"""Bodies of requests: forms go to disk as they come, small bodies into memory; both are limited in bytes and time."""

import asyncio
import contextlib
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ParamSpec, TypeVar

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from serve.errors import BadRequest, TooLarge, WrongMediaType
from serve.front.names import label_of
from serve.front.problems import TooSlow
from serve.scratch import new_folder

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

P = ParamSpec("P")
T = TypeVar("T")

_TEXT_BYTES = 20_000
"""of one field that is no file"""
_PARTS = 64
_WRITE_AT = 256 << 10
"""bytes that are gathered before a thread writes them"""
_SECONDS = 900.0
"""for a whole form"""
_SMALL_SECONDS = 60.0


@dataclass(frozen=True)
class Upload:
    """A file of a form, on disk while the form lasts."""

    field: str
    label: str
    """what the user called it, made harmless; for messages alone"""
    path: Path
    size: int
    digest: str
    """SHA-256 in hexadecimal"""


@dataclass
class Form:
    """What a form held."""

    texts: dict[str, str] = field(default_factory=dict)
    files: list[Upload] = field(default_factory=list)

    def of(self, field: str) -> list[Upload]:
        """The files of a field, in order."""
        return [upload for upload in self.files if upload.field == field]

    def digest(self, *more: str) -> str:
        """The same for the same content, whatever the boundary and order of fields."""
        whole = hashlib.sha256()
        texts = [f"{name}={value}" for name, value in sorted(self.texts.items())]
        for word in (*more, *texts, *(f"{upload.field}:{upload.digest}" for upload in self.files)):
            whole.update(f"{len(word)} {word}".encode("utf-8", "surrogatepass"))
        return whole.hexdigest()


@contextlib.asynccontextmanager
async def received(request: Request, files: Mapping[str, int], texts: frozenset[str], most: int) -> AsyncIterator[Form]:
    """The form of a request; its files are deleted at the end of the block.

    files: most bytes of a file, by the name of its field; texts: names of the other fields; most: bytes of the whole.
    Raises WrongMediaType, BadRequest, TooLarge or TooSlow; the rest of the body is then not read.
    """
    boundary = _boundary(request)
    _check_announced(request, most)
    folder = await asyncio.to_thread(new_folder, "upload")
    reader = _Reader(folder, files, texts)
    try:
        async with _in_time(_SECONDS):
            await _read(request, reader, boundary, most)
        yield reader.form
    finally:
        reader.close()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def small_body(request: Request, most: int) -> bytes:
    """A body of at most so many bytes. Raises TooLarge or TooSlow."""
    _check_announced(request, most)
    body = bytearray()
    async with _in_time(_SMALL_SECONDS):
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise _too_large(most)
    return bytes(body)


def media_type(request: Request) -> str:
    """Of the body, in small letters, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@contextlib.asynccontextmanager
async def _in_time(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TooSlow(f"the body did not come within {seconds:g} s") from None


async def _read(request: Request, reader: "_Reader", boundary: bytes, most: int) -> None:
    total = 0
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        async for chunk in request.stream():
            total += len(chunk)
            if total > most:
                raise _too_large(most)
            parser.write(chunk)
            if reader.waiting >= _WRITE_AT:
                await to_the_end(reader.write)
        parser.finalize()
    except FormParserError as error:
        raise BadRequest(f"the form cannot be read: {error}", "bad-multipart") from None
    if not reader.ended:
        raise BadRequest("the form ends before its last boundary", "bad-multipart")
    await to_the_end(reader.write)
    reader.finish()


class _Part:
    """The part that is being read."""

    def __init__(self) -> None:
        self.header, self.value = bytearray(), bytearray()
        self.disposition = b""
        self.name = self.label = ""
        self.file: BinaryIO | None = None
        self.path = Path()
        self.size, self.hash, self.text = 0, hashlib.sha256(), bytearray()


class _Reader:
    """Callbacks of the parser. Nothing is written before `write`, which is called in a thread."""

    def __init__(self, folder: Path, files: Mapping[str, int], texts: frozenset[str]) -> None:
        self.form, self.ended, self.waiting = Form(), False, 0
        self._folder, self._files, self._texts = folder, files, texts
        self._part, self._parts = _Part(), list[_Part]()
        self._pieces: list[tuple[_Part, bytes]] = []

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header,
            "on_header_value": self._value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def write(self) -> None:
        """Put onto disk what has come."""
        for part, piece in self._pieces:
            if part.file is None:
                part.file = part.path.open("wb")
            part.file.write(piece)
            part.hash.update(piece)
        self._pieces.clear()
        self.waiting = 0

    def finish(self) -> None:
        """Close the files and list them."""
        self.close()
        self.form.files = [
            Upload(part.name, part.label, part.path, part.size, part.hash.hexdigest())
            for part in self._parts
            if part.file is not None
        ]

    def close(self) -> None:
        for part in self._parts:
            if part.file is not None:
                part.file.close()

    def _begin(self) -> None:
        self._part = _Part()
        self._parts.append(self._part)
        if len(self._parts) > _PARTS:
            raise BadRequest(f"a form has at most {_PARTS} parts", "too-many-parts")

    def _header(self, data: bytes, start: int, end: int) -> None:
        self._part.header += data[start:end]

    def _value(self, data: bytes, start: int, end: int) -> None:
        self._part.value += data[start:end]

    def _header_end(self) -> None:
        if self._part.header.lower() == b"content-disposition":
            self._part.disposition = bytes(self._part.value)
        self._part.header.clear()
        self._part.value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._part.disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name not in self._files and name not in self._texts:
            known = ", ".join(sorted({*self._files, *self._texts}))
            raise BadRequest(f"a part of the form has an unknown name; known are {known}", "unknown-field")
        self._part.name = name
        self._part.label = label_of(options.get(b"filename", b"").decode("utf-8", "replace"))
        self._part.path = self._folder / f"{len(self._parts):03d}"

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.size += end - start
        most = self._files.get(part.name, _TEXT_BYTES)
        if part.size > most:
            raise TooLarge(
                f"{part.name}{f' ({part.label})' if part.label else ''} is larger than {most} bytes",
                "file-too-large",
                extra={"field": part.name, "file": part.label, "most_bytes": most},
            )
        if part.name in self._files:
            self._pieces.append((part, bytes(data[start:end])))
            self.waiting += end - start
        else:
            part.text += data[start:end]

    def _end(self) -> None:
        part = self._part
        if part.name in self._files:
            if part.size == 0 and part.label:
                raise BadRequest(f"{part.label} is empty", "empty-file", extra={"field": part.name, "file": part.label})
            return
        if part.name in self.form.texts:
            raise BadRequest(f"{part.name} is given twice", "repeated-field", extra={"field": part.name})
        try:
            self.form.texts[part.name] = part.text.decode("utf-8")
        except UnicodeDecodeError:
            raise BadRequest(f"{part.name} is not UTF-8", "not-utf8", extra={"field": part.name}) from None

    def _all(self) -> None:
        self.ended = True


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise WrongMediaType("send multipart/form-data with a boundary", "multipart-expected")
    return bytes(boundary)


def _check_announced(request: Request, most: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > most:
        raise _too_large(most)


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"a request of this kind has at most {most} bytes", "request-too-large", extra={"most_bytes": most})


async def to_the_end(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """The result of work in a thread. Who goes away meanwhile is kept until it is over, so that what is cleared away
    afterwards does not come back."""
    working = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **named))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        raise


@contextlib.asynccontextmanager
async def kept_whole(discard: Callable[[str], None], id: str) -> AsyncIterator[None]:
    """What the block keeps in storage under an id is deleted again if it does not keep all, whatever the reason."""
    try:
        yield
    except BaseException:
        # Shielded: a client that goes away must not leave photographs behind.
        await asyncio.shield(asyncio.to_thread(discard, id))
        raise
