"""What keeps a live connection in the present: the newest message wins, nothing queues up. And how it ends."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")

UNAUTHORIZED, NOT_FOUND, UNAVAILABLE, MISUSED, DONE = 4401, 4404, 1013, 1008, 1000
"""codes that a connection is closed with"""


class Over(Exception):
    """The connection ends with this code; None: the client is gone already."""

    def __init__(self, code: int | None, reason: str = "") -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Newest(Generic[T]):
    """Holds the newest item alone, with the time it came."""

    def __init__(self) -> None:
        self.replaced = 0
        """items that nobody took before a newer one came"""
        self._item: tuple[T, float] | None = None
        self._there = asyncio.Event()

    def put(self, item: T) -> None:
        """Takes the place of an item that was not taken."""
        if self._item is not None:
            self.replaced += 1
        self._item = (item, time.perf_counter())
        self._there.set()

    async def there(self) -> None:
        """Waits until there is one."""
        await self._there.wait()

    async def take(self) -> tuple[T, float]:
        """The newest, and when it came (perf_counter); waits for one."""
        while self._item is None:
            await self._there.wait()
        taken, self._item = self._item, None
        self._there.clear()
        return taken


class Turns:
    """Lets so many things go on at a time, and tells in which order they began."""

    def __init__(self) -> None:
        self.most = 1
        self._going = self._begun = 0
        self._free = asyncio.Event()
        self._free.set()

    async def begin(self) -> int:
        """Waits for a turn; its number."""
        while self._going >= self.most:
            self._free.clear()
            await self._free.wait()
        self._going += 1
        self._begun += 1
        return self._begun

    def end(self) -> None:
        """Of a turn."""
        self._going -= 1
        self._free.set()


class Pace:
    """Lets something happen so often in a second at most."""

    def __init__(self, per_second: float) -> None:
        self._step, self._next = 1 / per_second, 0.0

    async def wait(self) -> None:
        """Until it may happen again. One late turn is made up for, not more."""
        now = time.perf_counter()
        if now < self._next:
            await asyncio.sleep(self._next - now)
        self._next = max(self._next, now - self._step) + self._step


class Window:
    """Pictures on the way to a client that says what it has shown."""

    def __init__(self) -> None:
        self.size = 0
        """0: it says nothing, and nobody waits"""
        self._sent: list[int] = []
        self._made = 0
        self._room = asyncio.Event()
        self._room.set()

    def resize(self, size: int) -> None:
        """What is on the way counts for the new size, too."""
        self.size = size
        self._update()

    async def begin(self) -> None:
        """Waits until another may be on the way, which it is from now on: until it was shown, or `dropped`."""
        await self._room.wait()
        self._made += 1
        self._update()

    def sent(self, n: int) -> None:
        """What was begun goes out as this picture."""
        self._made -= 1
        self._sent.append(n)
        self._update()

    def dropped(self) -> None:
        """Nothing comes of what was begun."""
        self._made -= 1
        self._update()

    def shown(self, n: int) -> None:
        """This picture was shown, and all that were sent before it."""
        if n in self._sent:
            del self._sent[: self._sent.index(n) + 1]
            self._update()

    def _update(self) -> None:
        if not self.size:
            self._sent.clear()
        if not self.size or len(self._sent) + self._made < self.size:
            self._room.set()
        else:
            self._room.clear()


async def first_to_end(*parts: Coroutine[Any, Any, None]) -> None:
    """Run until one of them raises; the others are cancelled then."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            error = task.exception()
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            if error is not None:
                raise error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def ms_since(moment: float) -> float:
    """Milliseconds since a moment of perf_counter."""
    return (time.perf_counter() - moment) * 1e3
