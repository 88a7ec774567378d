"""The desk: the one writer of records, in one event loop, with everything in memory and in storage.

What holds at every moment, whatever is killed:
- What was accepted is stored before anybody hears of it. A change of state is stored before it is announced; only
  progress may be announced first, and lags in storage by two seconds.
- A job is held by one worker at a time, by a token that is stored with the record. Without news for `work.lease_s` it
  is begun anew, until it was tried often enough. A desk that starts anew honours the holds that it finds.
- Whatever changes something goes on to its end if whoever asked for it goes away (`serve.records.tasks`).
- If storage does not answer, the caller gets Unavailable, and memory stays as it was.
- Deletion wins over everything (`serve.records.deletions`), and there is one desk (`serve.records.writer`).
"""

import asyncio
import contextlib
import logging
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, get_args

from serve.errors import BadRequest, Problem, Unavailable
from serve.records.acceptance import Acceptance
from serve.records.audit import Audit
from serve.records.deletions import Deletions
from serve.records.desk_protocol import first_lease_s
from serve.records.leases import Leases
from serve.records.loading import load, sweep
from serve.records.office import Clock, Office, steady_clock
from serve.records.record import Avatar, Change, Film, Job, JobKind, State
from serve.records.signals import Deadline
from serve.records.store import Store
from serve.records.writer import Writer

if TYPE_CHECKING:  # The settings of the service import torch.
    from serve.settings import LimitSettings, WorkSettings

log = logging.getLogger(__name__)

_TICK_S, _PROBE_S, _SWEEP_S = 0.5, 5.0, 600.0
_PROBING = "asking storage whether it answers"


class Desk:
    """`serve.records.desk_protocol.Desk`, which says what each method does."""

    def __init__(
        self,
        store: Store,
        limits: "LimitSettings",
        work: "WorkSettings",
        clock: Clock | None = None,
        settle_s: float = 1.0,
    ) -> None:
        """clock: seconds since 1970; settle_s: see Writer. Call `start` before anything else, in the event loop."""
        self._audit = Audit(store)
        self._office = Office(store, limits, work, clock or steady_clock(), Writer(store, settle_s), self._audit)
        self._acceptance, self._leases = Acceptance(self._office), Leases(self._office)
        self._deletions = Deletions(self._office)
        self._loaded = self._stopped = False
        self._ticking: asyncio.Task[None] | None = None

    async def start(self, ticking: bool = True) -> None:
        """Take over and read everything. Raises Unavailable if storage does not answer: make a new desk then.

        ticking: whether to do by itself what `tick` and `sweep` do.
        """
        await self._office.writer.take_over()
        await load(self._office, self._deletions)
        self._loaded = True
        if ticking:
            self._audit.start()
            self._ticking = asyncio.create_task(self._tick_on())

    async def stop(self) -> None:
        """Bring to an end what was begun, and storage up to date. Holds stay: the next desk goes on with them."""
        if self._stopped:
            return
        self._stopped = True
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
        self._loaded = False
        await self._leases.store_all()
        await self._office.tasks.stop()
        await self._audit.stop()
        await self._office.writer.close()

    async def accept_avatar(self, avatar: Avatar, key: str, request: str) -> tuple[Avatar, bool]:
        """Whatever is raised, the material is deleted: try again with a new id."""
        self._check()
        return await self._office.tasks.whole(self._acceptance.avatar(avatar, key, request))

    async def avatar(self, owner: str, id: str) -> Avatar:
        self._check()
        return self._office.ledger.avatar(owner, id).avatar

    async def avatars(self, owner: str, limit: int, after: str) -> tuple[list[Avatar], str]:
        self._check()
        before = _place(after) if after else None
        records = [entry.avatar for entry in self._office.ledger.avatars_of(owner)]
        records.sort(key=lambda record: (record.created_at, record.id), reverse=True)
        records = [record for record in records if before is None or (record.created_at, record.id) < before]
        page = records[: max(1, limit)]
        return page, _cursor(page[-1]) if len(records) > len(page) else ""

    async def wait_avatar(self, owner: str, id: str, revision: int, seconds: float) -> Avatar:
        deadline = Deadline(seconds)
        while True:
            self._check()
            entry = self._office.ledger.avatar(owner, id)
            if entry.record.revision != revision or deadline.left <= 0:
                return entry.avatar
            await entry.signal.wait(deadline.left)

    async def delete_avatar(self, owner: str, id: str) -> None:
        self._check()
        await self._office.tasks.whole(self._deletions.avatar(owner, id))

    async def accept_film(self, film: Film, key: str, request: str) -> tuple[Film, bool]:
        """Whatever is raised, the driver is deleted: try again with a new id."""
        self._check()
        return await self._office.tasks.whole(self._acceptance.film(film, key, request))

    async def film(self, owner: str, id: str) -> Film:
        self._check()
        return self._office.ledger.film(owner, id).film

    async def films(self, owner: str, avatar: str) -> list[Film]:
        """The newest first."""
        self._check()
        self._office.ledger.avatar(owner, avatar)
        records = [entry.film for entry in self._office.ledger.films_with(avatar)]
        return sorted(records, key=lambda record: (record.created_at, record.id), reverse=True)

    async def delete_film(self, owner: str, id: str) -> None:
        self._check()
        await self._office.tasks.whole(self._deletions.film(owner, id))

    @property
    def superseded(self) -> bool:
        """Whether another desk has taken over: this one does nothing any more."""
        return self._office.writer.superseded

    async def ready(self) -> bool:
        writer = self._office.writer
        return self._loaded and writer.answers and not writer.superseded

    async def queue(self) -> dict[str, int]:
        self._check()
        ledger = self._office.ledger
        states = Counter(entry.record.state for entry in ledger.avatars.values())
        waiting = {kind: sum(ledger.waits(entry, kind) for entry in ledger.entries()) for kind in get_args(JobKind)}
        return {**waiting, **{state: states[state] for state in get_args(State)}}

    async def take(self, kind: JobKind, worker: str, seconds: float) -> Job | None:
        self._check()
        return await self._leases.take(kind, worker, seconds)

    async def report(self, token: str, change: Change) -> bool:
        self._check()
        return await self._leases.report(token, change)

    async def finish(self, token: str, change: Change) -> bool:
        self._check()
        return await self._office.tasks.whole(self._leases.finish(token, change))

    async def fail(self, token: str, code: str, detail: str, again: bool) -> bool:
        self._check()
        return await self._office.tasks.whole(self._leases.fail(token, code, detail, again))

    async def deleted(self, after: int, seconds: float) -> tuple[int, list[str]]:
        self._check()
        return await self._deletions.deleted(after, seconds)

    def tick(self) -> None:
        """Begin what is due: holds that ended, progress to be stored, deletions to be completed."""
        self._leases.tick()
        self._deletions.tick()

    async def sweep(self) -> None:
        """Delete what belongs to nobody."""
        await sweep(self._office)

    async def settled(self) -> None:
        """When nothing is under way in the background."""
        await self._office.tasks.settled()

    def _check(self) -> None:
        if not self._loaded or self._office.writer.superseded:
            raise Unavailable("The service is starting. Try again in a moment.", headers={"Retry-After": "2"})

    async def _tick_on(self) -> None:
        clock, tasks, writer = self._office.clock, self._office.tasks, self._office.writer
        last = probed = clock()
        swept = float("-inf")
        while not writer.superseded:
            late = clock() - last - _TICK_S
            if late > first_lease_s(self._office.work.lease_s) / 3:
                # The whole process stood still: workers could not report.
                self._leases.prolong(late)
            last = clock()
            self.tick()
            if not tasks.busy(_PROBING):
                if last - probed > _PROBE_S:
                    probed = last
                    tasks.chore(_PROBING, self._probe)
            elif last - probed > 3 * _PROBE_S:
                writer.rest()
            if last - swept > _SWEEP_S:
                swept = last
                tasks.chore("sweeping", self.sweep)
            await asyncio.sleep(_TICK_S)

    async def _probe(self) -> None:
        with contextlib.suppress(Problem):
            await self._office.writer.probe()


def _cursor(record: Avatar) -> str:
    # In an address a + that nobody quoted is a space.
    return f"{record.created_at.isoformat().replace('+00:00', 'Z')}_{record.id}"


def _place(cursor: str) -> tuple[datetime, str]:
    time, _, id = cursor.partition("_")
    try:
        place = datetime.fromisoformat(time)
    except ValueError:
        place = datetime.min
    if place.tzinfo is None:
        raise BadRequest("There is no such page. Begin with the first.", code="bad-cursor")
    return place, id
