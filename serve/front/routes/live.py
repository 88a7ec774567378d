"""The WebSocket of live driving: who may, and how it ends."""

import functools

from fastapi import APIRouter, WebSocket

from serve.errors import NotFound, Problem, TooMany, Unauthorized
from serve.front.front import Front, address_of, front_of
from serve.front.live_flow import NOT_FOUND, UNAUTHORIZED, UNAVAILABLE, Over
from serve.front.live_session import LiveSession
from serve.front.problems import problem_of
from serve.records.store import is_id

router = APIRouter()
PROTOCOL = "raytalk.v1"
_KEY_PREFIX = "bearer."
_CODES: tuple[tuple[type[Problem], int], ...] = ((Unauthorized, UNAUTHORIZED), (NotFound, NOT_FOUND), (TooMany, 4429))


@router.websocket("/v1/avatars/{id}/live")
async def live(socket: WebSocket, id: str) -> None:
    """Accepts first: a browser learns the closing code of an accepted connection alone."""
    front = front_of(socket)
    await socket.accept(PROTOCOL if PROTOCOL in socket.scope.get("subprotocols", ()) else None)
    try:
        await _driven(front, socket, id)
    except Over as over:
        code, reason = over.code, over.reason
    except Exception as error:  # noqa: BLE001 - told by a closing code, what nobody foresaw is logged
        problem = problem_of(error)
        code = next((code for kind, code in _CODES if isinstance(problem, kind)), UNAVAILABLE)
        reason = problem.code
        front.backend.metrics.add("refused", code=reason)
    if code is not None:
        try:
            await socket.close(code, reason)
        except RuntimeError:
            # The client was faster.
            return


async def _driven(front: Front, socket: WebSocket, id: str) -> None:
    key = _key(socket)
    owner = front.owner_of(key, address_of(socket))
    front.check_rate(owner)
    if not is_id(id):
        raise NotFound("there is no such thing, or it is not yours")
    backend = front.backend
    avatar = await backend.desk.avatar(owner, id)
    with front.live.one(owner, "too-many-live", "live connections"):
        backend.audit.note(owner, "driven-live-start", id)
        session = LiveSession(front, socket, owner, avatar, functools.partial(front.holds, key, owner))
        try:
            await session.run()
        finally:
            backend.audit.note(owner, "driven-live-end", id, frames=session.frames, skipped=session.skipped)
            backend.metrics.add("live_skipped", session.skipped)


def _key(socket: WebSocket) -> str | None:
    """Of the header, or, since a page cannot set one, of the subprotocols."""
    scheme, _, word = socket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and word:
        return word.strip()
    offered: list[str] = socket.scope.get("subprotocols", [])
    return next((word[len(_KEY_PREFIX) :] for word in offered if word.startswith(_KEY_PREFIX)), None)
