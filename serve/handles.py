"""The parts of the service as another process asks them: each protocol over a Serve handle."""

import asyncio
import contextlib
from typing import Any, cast

import grpc  # type: ignore[import-untyped]
import ray.exceptions
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from raytalk.driving.live import AvatarFace
from raytalk.errors import StorageError
from serve.errors import Problem, Unavailable
from serve.parts import FaceFound, Landmarks, PersonKey, PictureFormat, Rendered
from serve.records.record import Avatar, Change, Film, Job, JobKind
from serve.shortcut import Shortcut

_ANSWER_S = 20.0
"""longer than any answer takes that is not a long poll"""
_POLL_S = 4.0
"""longest poll: a desk that is to end cleanly waits for those under way, and is killed after ten seconds"""
_BUSY = 2
"""pictures on their way to each known replica before another is looked for"""
_NO_ANSWER = (ray.exceptions.RayError, BackPressureError, DeploymentUnavailableError, grpc.RpcError)


def direct(handle: DeploymentHandle[Any]) -> DeploymentHandle[Any]:
    """The same, over gRPC instead of calls of Ray's actors.

    Ray ends a call to a replica by waiting, in the replica's event loop, until the caller's process has confirmed the
    answer. A caller that stands still, or whose machine is cut off, would stop the replica for everybody.
    """
    return handle.options(_by_reference=False)


async def answered(call: Any, part: str, seconds: float = _ANSWER_S) -> Any:
    """What a part answers. Its problems are raised as they were there, whatever keeps it from answering as Unavailable.

    call: what `remote` of a handle's method returned. It ends there when nobody waits for it here any more: Serve alone
    would let it go on, and a worker that has gone would be given a job.
    """
    try:
        return await asyncio.wait_for(call, seconds)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, Problem | StorageError):
            raise cause from None
        raise
    except (*_NO_ANSWER, TimeoutError, asyncio.CancelledError) as error:
        _end(call)
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        # A call that was cancelled there, by a replica that ends, is one without an answer.
        raise Unavailable(
            f"The {part} of the service does not answer now. Try again in a moment.",
            f"{part}-unavailable",
            {"Retry-After": "2"},
        ) from error


def _end(call: Any) -> None:
    # Raises what kept it from being begun at all, if something did.
    with contextlib.suppress(*_NO_ANSWER):
        call.cancel()


class DeskOverHandle:
    """`serve.records.desk_protocol.Desk`."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = direct(handle)

    async def _ask(self, method: str, *arguments: Any, seconds: float = 0.0) -> Any:
        return await answered(getattr(self._handle, method).remote(*arguments), "desk", seconds + _ANSWER_S)

    async def _poll(self, method: str, *arguments: Any, seconds: float) -> Any:
        """A question that waits for news, for a while at most: who is told none asks again."""
        seconds = min(seconds, _POLL_S)
        return await self._ask(method, *arguments, seconds, seconds=seconds)

    async def accept_avatar(self, avatar: Avatar, key: str, request: str) -> tuple[Avatar, bool]:
        return cast(tuple[Avatar, bool], await self._ask("accept_avatar", avatar, key, request))

    async def avatar(self, owner: str, id: str) -> Avatar:
        return cast(Avatar, await self._ask("avatar", owner, id))

    async def avatars(self, owner: str, limit: int, after: str) -> tuple[list[Avatar], str]:
        return cast(tuple[list[Avatar], str], await self._ask("avatars", owner, limit, after))

    async def wait_avatar(self, owner: str, id: str, revision: int, seconds: float) -> Avatar:
        return cast(Avatar, await self._poll("wait_avatar", owner, id, revision, seconds=seconds))

    async def delete_avatar(self, owner: str, id: str) -> None:
        await self._ask("delete_avatar", owner, id, seconds=60)

    async def accept_film(self, film: Film, key: str, request: str) -> tuple[Film, bool]:
        return cast(tuple[Film, bool], await self._ask("accept_film", film, key, request))

    async def film(self, owner: str, id: str) -> Film:
        return cast(Film, await self._ask("film", owner, id))

    async def films(self, owner: str, avatar: str) -> list[Film]:
        return cast(list[Film], await self._ask("films", owner, avatar))

    async def delete_film(self, owner: str, id: str) -> None:
        await self._ask("delete_film", owner, id, seconds=60)

    async def ready(self) -> bool:
        return bool(await self._ask("ready"))

    async def queue(self) -> dict[str, int]:
        return cast(dict[str, int], await self._ask("queue"))

    async def take(self, kind: JobKind, worker: str, seconds: float) -> Job | None:
        return cast(Job | None, await self._poll("take", kind, worker, seconds=seconds))

    async def report(self, token: str, change: Change) -> bool:
        return bool(await self._ask("report", token, change))

    async def finish(self, token: str, change: Change) -> bool:
        return bool(await self._ask("finish", token, change))

    async def fail(self, token: str, code: str, detail: str, again: bool) -> bool:
        return bool(await self._ask("fail", token, code, detail, again))

    async def deleted(self, after: int, seconds: float) -> tuple[int, list[str]]:
        return cast(tuple[int, list[str]], await self._poll("deleted", after, seconds=seconds))


class FacesOverHandle:
    """`serve.front.backend.Faces`."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle, self._shortcut = direct(handle), Shortcut(_BUSY)

    async def landmarks(self, image: bytes, near: tuple[float, float, float, float] | None = None) -> FaceFound:
        async def through_serve() -> FaceFound:
            return cast(FaceFound, await answered(self._handle.landmarks.remote(image, near), "faces"))

        return await self._shortcut.ask("", "landmarks", (image, near), _ANSWER_S, through_serve)

    async def ready(self) -> bool:
        return bool(await answered(self._handle.ready.remote(), "faces"))


class RendererOverHandle:
    """`serve.front.backend.Renderer`. Who is in the memory of a replica is rendered there, as long as it has time."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle, self._shortcut = direct(handle), Shortcut()

    async def render(self, key: PersonKey, landmarks: Landmarks, format: PictureFormat, quality: int) -> Rendered:
        arguments = key, landmarks, format, quality

        async def through_serve() -> Rendered:
            return cast(Rendered, await answered(self._of(key).render.remote(*arguments), "renderer"))

        return await self._shortcut.ask(key.id, "render", arguments, _ANSWER_S, through_serve)

    async def face(self, key: PersonKey) -> AvatarFace:
        return cast(AvatarFace, await answered(self._of(key).face.remote(key), "renderer"))

    async def ready(self) -> bool:
        return bool(await answered(self._handle.ready.remote(), "renderer"))

    def _of(self, key: PersonKey) -> Any:
        return self._handle.options(multiplexed_model_id=key.id)
