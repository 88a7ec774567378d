"""A film out of storage, whole or the part that is asked for, a piece at a time."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import IO

from fastapi import Response
from fastapi.responses import StreamingResponse

from serve.errors import Problem
from serve.records.store import Store

_PIECE = 256 << 10
_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")


class Unsatisfiable(Problem):
    """The part that is asked for lies outside."""

    status, usual_code, title = 416, "range", "There is no such part"


async def film_response(store: Store, id: str, asked: str) -> Response:
    """200 with all of it, or 206 for one range of bytes; several ranges are answered with all of it, as is allowed.

    asked: the header Range, or empty. Raises NotFound if there is no film, Unsatisfiable.
    """
    stack = contextlib.ExitStack()
    stream, size = await asyncio.to_thread(stack.enter_context, store.open_film(id))
    try:
        first, last = _span(asked, size)
    except Problem:
        await asyncio.to_thread(stack.close)
        raise
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(last - first + 1)}
    status = 200
    if _RANGE.fullmatch(asked):
        status, headers["Content-Range"] = 206, f"bytes {first}-{last}/{size}"
    return StreamingResponse(_pieces(stream, first, last, stack), status, headers, "video/mp4")


async def _pieces(stream: IO[bytes], first: int, last: int, stack: contextlib.ExitStack) -> AsyncIterator[bytes]:
    try:
        await asyncio.to_thread(stream.seek, first)
        left = last - first + 1
        while left > 0:
            piece = await asyncio.to_thread(stream.read, min(_PIECE, left))
            if not piece:
                raise OSError("the film became shorter while it was read")
            left -= len(piece)
            yield piece
    finally:
        await asyncio.shield(asyncio.to_thread(stack.close))


def _span(asked: str, size: int) -> tuple[int, int]:
    """The first and last byte."""
    match = _RANGE.fullmatch(asked)
    if match is None:
        return 0, size - 1
    begin, end = match.groups()
    if begin:
        first, last = int(begin), min(int(end), size - 1) if end else size - 1
    else:
        # bytes=-500: the last 500.
        first, last = max(0, size - int(end or 0)), size - 1
    if first > last:
        raise Unsatisfiable(f"the film has {size} bytes", headers={"Content-Range": f"bytes */{size}"})
    return first, last
