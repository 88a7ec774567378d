"""Work that is brought to an end even if whoever asked for it has gone."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from serve.errors import Problem

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0


class Tasks:
    """The tasks of one event loop: `whole` ones are waited for at the end, chores are given up and found again."""

    def __init__(self) -> None:
        self._whole: set[asyncio.Task[Any]] = set()
        self._chores: dict[str, asyncio.Task[None]] = {}

    def start(self, coroutine: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Begin something that must not be left half-done."""
        task = asyncio.create_task(coroutine)
        self._whole.add(task)
        task.add_done_callback(self._ended)
        return task

    async def whole(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Its result; it goes on to its end if the caller is cancelled meanwhile."""
        return await asyncio.shield(self.start(coroutine))

    def chore(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do this in the background, again and again until storage lets it. Nothing happens if `name` is under way."""
        if name not in self._chores:
            self._chores[name] = asyncio.create_task(self._until_done(name, work))

    def busy(self, name: str) -> bool:
        """Whether the chore of that name is not done yet."""
        return name in self._chores

    async def settled(self) -> None:
        """When nothing is under way."""
        while self._whole or self._chores:
            await asyncio.wait([*self._whole, *self._chores.values()])

    async def stop(self) -> None:
        """Bring to an end what must be, and give up the rest."""
        for chore in self._chores.values():
            chore.cancel()
        await asyncio.gather(*self._whole, *self._chores.values(), return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._whole.discard(task)
        # Whoever asked may have gone: the error counts as seen. One that is no answer to anybody is a defect.
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, Problem):
            log.error("the desk met an error that it does not know", exc_info=error)

    async def _until_done(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        pause = _FIRST_PAUSE_S
        try:
            while True:
                try:
                    await work()
                    return
                except Problem as problem:
                    log.warning("%s: %s Again in %.0f s.", name, problem.detail, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
        except Exception:
            log.exception("%s was given up", name)
        finally:
            del self._chores[name]
