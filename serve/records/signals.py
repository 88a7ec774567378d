"""Waiting for news, for as many as like to."""

import asyncio


class Signal:
    """All who wait go on when it rings; it does not remember having rung."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Let all who wait go on."""
        if self._next is not None:
            self._next.set_result(None)
            self._next = None

    async def wait(self, seconds: float) -> None:
        """Until it rings, or for so many seconds."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        # `wait` leaves the future alone when one of many is cancelled or has waited long enough.
        await asyncio.wait([self._next], timeout=seconds)


class Deadline:
    """A moment so many seconds from now."""

    def __init__(self, seconds: float) -> None:
        self._end = asyncio.get_running_loop().time() + seconds

    @property
    def left(self) -> float:
        """Seconds until then; negative afterwards."""
        return self._end - asyncio.get_running_loop().time()
