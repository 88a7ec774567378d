"""Server-sent events: an avatar's record whenever it changes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse

from serve.errors import NotFound, Problem
from serve.front.documents import avatar_document
from serve.front.front import Front, Here, Id, Owner
from serve.front.problems import problem_of, responses
from serve.front.routes.avatars import root_of
from serve.records.record import Avatar
from serve.records.rules import done

router = APIRouter(prefix="/v1/avatars", tags=["avatars"])
_HEARTBEAT = 15.0
"""seconds between two signs of life"""
_LONGEST = 3600.0
"""seconds of one stream; a client comes again with Last-Event-ID"""
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`event: avatar` with the avatar as data on each change, until it is ready or has failed; "
        "`event: deleted` if it is deleted; comments in between",
        "content": {"text/event-stream": {}},
    },
    204: {"description": "It is done and has not changed since Last-Event-ID: do not connect again"},
}


@router.get(
    "/{id}/events", summary="Follow an avatar", response_class=Response, responses={**responses(NotFound), **_STREAM}
)
async def events(
    request: Request,
    front: Here,
    owner: Owner,
    id: Id,
    last: Annotated[str, Header(alias="Last-Event-ID", description="the revision that is known already")] = "",
) -> Response:
    """Server-sent events; the id of each is the revision."""
    avatar = await front.backend.desk.avatar(owner, id)
    known = int(last) if last.isascii() and last.isdigit() and len(last) < 10 else -1
    if done(avatar) and avatar.revision == known:
        return Response(status_code=204)
    stream = _counted(front, owner, _events(front, owner, avatar, known, root_of(request), request.state.holds))
    # The first step takes the place, so that a refusal is still an answer of its own.
    first = await anext(stream)
    headers = {"Cache-Control": "private, no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_rest(first, stream), media_type="text/event-stream", headers=headers)


async def _counted(front: Front, owner: str, source: AsyncIterator[str]) -> AsyncIterator[str]:
    with front.streams.one(owner, "too-many-streams", "streams of events"):
        async for piece in source:
            yield piece


async def _rest(first: str, stream: AsyncIterator[str]) -> AsyncIterator[str]:
    try:
        yield first
        async for piece in stream:
            yield piece
    finally:
        await stream.aclose()  # type: ignore[attr-defined]


async def _events(
    front: Front, owner: str, avatar: Avatar, known: int, root: str, holds: Callable[[], bool]
) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    ends = asyncio.get_running_loop().time() + _LONGEST
    try:
        while asyncio.get_running_loop().time() < ends and holds():
            if avatar.revision != known:
                known = avatar.revision
                yield f"event: avatar\nid: {known}\ndata: {avatar_document(avatar, root).model_dump_json()}\n\n"
            else:
                yield ": still here\n\n"
            if done(avatar):
                return
            avatar = await front.backend.desk.wait_avatar(owner, avatar.id, known, _HEARTBEAT)
    except NotFound:
        yield "event: deleted\ndata: {}\n\n"
    except Problem as problem:
        # The client comes again by itself.
        yield f": {problem_of(problem).code}\n\n"
