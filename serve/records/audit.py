"""Who made and drove whom: events in storage, one small JSON file each, that nobody changes afterwards.

An event has `time` (UTC), `owner`, `action`, `avatar` (id, or empty) and what else is known. No event names a person,
shows a picture or holds a key. Actions: avatar-created, avatar-deleted, film-made, film-deleted (noted by the desk),
driven-live-start, driven-live-end, frame-rendered, refused-key (by the front).
"""

import asyncio
import contextlib
import json
import logging
import secrets
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from raytalk.errors import StorageError
from serve.records.store import Store

log = logging.getLogger(__name__)

_MOST = 20_000
"""events kept in memory while storage does not answer; the oldest go first"""
_TOGETHER, _THREADS = 8, 4
_EVERY_S = 0.5


@dataclass
class _Count:
    number: int
    since: datetime
    facts: dict[str, Any]


class Audit:
    """Takes events without waiting and writes them in the background, in order of time, again until it is done."""

    def __init__(self, store: Store, count_s: float = 60.0) -> None:
        """count_s: how long events that are counted (frames) are gathered into one."""
        self._store, self._count_s = store, count_s
        self._events: deque[tuple[str, str, bytes]] = deque()
        self._counts: dict[tuple[str, str, str], _Count] = {}
        self._task: asyncio.Task[None] | None = None
        # Of its own: while storage is away they wait long, and others need the threads of the loop.
        self._threads = ThreadPoolExecutor(_THREADS, "audit")
        self.lost = 0
        """events that were dropped because storage did not answer for too long"""

    def note(self, owner: str, action: str, avatar: str = "", **facts: Any) -> None:
        """Something happened now. Never waits and never fails; facts are JSON values."""
        now = datetime.now(UTC)
        event = {"time": now.isoformat(), "owner": owner, "action": action, "avatar": avatar, **facts}
        name = f"{now:%H%M%S.%f}-{secrets.token_hex(4)}"
        self._events.append((f"{now:%Y-%m-%d}", name, json.dumps(event, default=str).encode()))
        if len(self._events) > _MOST:
            self._events.popleft()
            self.lost += 1

    def count(self, owner: str, action: str, avatar: str, number: int = 1, **facts: Any) -> None:
        """The same happened so often; noted once a minute as one event with `count` and `since`."""
        found = self._counts.setdefault((owner, action, avatar), _Count(0, datetime.now(UTC), facts))
        found.number += number

    def start(self) -> None:
        """Begin to write, in the running event loop."""
        self._task = self._task or asyncio.create_task(self._write())

    async def stop(self) -> None:
        """Write what is left, as far as storage answers."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._note_counts(0.0)
        await self.flush()
        self._threads.shutdown(wait=False)

    async def flush(self) -> bool:
        """Write all events noted so far; False if storage does not answer."""
        while self._events:
            some = [self._events.popleft() for _ in range(min(_TOGETHER, len(self._events)))]
            left = list(some)
            loop = asyncio.get_running_loop()
            try:
                results = await asyncio.gather(
                    *(loop.run_in_executor(self._threads, self._store.write_audit, *event) for event in some),
                    return_exceptions=True,
                )
                left = [event for event, result in zip(some, results, strict=True) if isinstance(result, StorageError)]
            finally:
                # Also when cancelled: written twice under the same name is written once.
                self._events.extendleft(reversed(left))
            for error in results:
                if error is not None and not isinstance(error, StorageError):
                    # Nothing that another try would mend: the others are written all the same.
                    self.lost += 1
                    log.error("an event of the audit log cannot be written", exc_info=error)
            if left:
                return False
        return True

    async def _write(self) -> None:
        pause = _EVERY_S
        while True:
            await asyncio.sleep(pause)
            self._note_counts(self._count_s)
            if await self.flush():
                pause = _EVERY_S
            else:
                pause = min(2 * pause, 30.0)
                log.warning("the audit log waits for storage, %d events so far", len(self._events))

    def _note_counts(self, seconds: float) -> None:
        now = datetime.now(UTC)
        for key, found in list(self._counts.items()):
            if (now - found.since).total_seconds() >= seconds:
                del self._counts[key]
                owner, action, avatar = key
                self.note(owner, action, avatar, count=found.number, since=found.since.isoformat(), **found.facts)
