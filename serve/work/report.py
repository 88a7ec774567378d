"""What a handler tells the desk from its thread, and how it hears that the job is not its own any more."""

import asyncio
import contextlib
import logging
import threading
import time
from typing import Any

from serve.records.desk_protocol import Desk, first_lease_s
from serve.records.record import Change

_log = logging.getLogger("raytalk.serve.work")

_LEAST_PAUSE = 0.2
"""seconds between two messages to the desk; news that come faster are put together"""
_AGAIN = 1.0
"""seconds after which a desk that did not answer is asked again"""


class Stopped(Exception):
    """The job is somebody else's, or nobody's, or the worker was told to stop: write nothing more."""


class Report:
    """For handlers: called from their thread."""

    def __init__(self, hold: "Hold") -> None:
        self._hold = hold
        self._progress = 0.0

    def __call__(self, **news: Any) -> None:
        """News, as fields of Change; returns at once. Progress never goes back. Raises Stopped."""
        if "progress" in news:
            self._progress = news["progress"] = min(1.0, max(self._progress, news["progress"]))
        self._hold.tell(Change(**news))

    def check(self) -> None:
        """Raises Stopped if it is known already that the job is not ours."""
        self._hold.tell(None)

    def confirm(self) -> None:
        """Asks the desk whether the job is still ours, and waits for the answer. Raises Stopped.

        To be called before anything is written to storage.
        """
        self._hold.confirm()


class Hold:
    """A job that this worker has. Made and used on the event loop but for what Report calls."""

    def __init__(self, desk: Desk, token: str, lease_s: float, loop: asyncio.AbstractEventLoop) -> None:
        self._desk, self._token, self._loop = desk, token, loop
        self._lease_s, self._patience_s = lease_s, first_lease_s(lease_s)
        self.report = Report(self)
        self._lock = threading.Lock()
        self._news: Change | None = None
        self._wake = asyncio.Event()
        # The desk waits to hear that the job has arrived.
        self._wake.set()
        self._sending = asyncio.Lock()
        self._stopped = ""
        self._lost = False
        self._heard = time.monotonic()

    @property
    def lost(self) -> bool:
        """Whether the job is not ours any more."""
        return self._lost

    def stop(self, why: str) -> None:
        """The handler raises Stopped at its next report; the job stays ours."""
        self._stopped = self._stopped or why

    def tell(self, change: Change | None) -> None:
        """From the handler's thread. Raises Stopped."""
        if self._stopped:
            raise Stopped(self._stopped)
        if change is not None:
            with self._lock:
                self._news = _merged(self._news, change)
            self._loop.call_soon_threadsafe(self._wake.set)

    def confirm(self) -> None:
        """From the handler's thread. Raises Stopped."""
        while True:
            self.tell(None)
            if asyncio.run_coroutine_threadsafe(self._send(), self._loop).result():
                # Told to stop meanwhile?
                self.tell(None)
                return
            time.sleep(_AGAIN if not self._stopped else 0)

    async def keep_alive(self) -> None:
        """Sends news, and a sign of life where there are none, until the job is lost."""
        while not self._lost:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._lease_s / 3)
            self._wake.clear()
            if not await self._send() and not self._lost:
                await asyncio.sleep(min(_AGAIN, self._lease_s / 6))
                self._wake.set()
            await asyncio.sleep(min(_LEAST_PAUSE, self._lease_s / 6))

    async def flush(self) -> None:
        """Send the news that wait, after those that are on their way."""
        async with self._sending:
            waiting = self._news is not None
        if waiting:
            await self._send()

    async def _send(self) -> bool:
        """Whether the desk answered that the job is ours."""
        async with self._sending:
            if self._lost:
                return False
            with self._lock:
                news, self._news = self._news, None
            asked = time.monotonic()
            try:
                ours = await asyncio.wait_for(self._desk.report(self._token, news or Change()), self._patience_s / 3)
            except Exception as error:  # noqa: BLE001 - a desk that restarts fails in as many ways as Ray knows
                with self._lock:
                    self._news = _merged(news, self._news) if self._news else news
                if time.monotonic() - self._heard > self._patience_s:
                    self._lose("the desk has not answered for so long that another may have the job")
                _log.warning("the desk does not answer: %s: %s", type(error).__name__, error)
                return False
            # The desk counts from when it was asked, which was before it answered.
            self._heard, self._patience_s = asked, self._lease_s
            if not ours:
                self._lose("the job was taken away")
            return ours

    def _lose(self, why: str) -> None:
        self._lost = True
        self.stop(why)


def _merged(old: Change | None, new: Change) -> Change:
    if old is None:
        return new
    told = {name: value for name in Change.model_fields if (value := getattr(new, name)) is not None}
    return old.model_copy(update=told | {"new_preview": old.new_preview or new.new_preview})
