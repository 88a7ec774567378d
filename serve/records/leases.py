"""Giving work to workers, hearing from them, and taking it away from those who are not heard of any more.

A hold is stored before the worker hears of it, so a desk that starts anew knows it and waits for its end. It is a short
one until the worker says that it has the job: one that was killed while it asked for work never will. The end is
stored at least every two seconds if it moves. Reports never wait for storage for longer than a moment: while storage
does not answer, progress goes on in memory, what must be stored first is held back, and the work goes on.
"""

import asyncio
import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from serve.records import rules
from serve.records.desk_protocol import first_lease_s
from serve.records.ledger import Entry
from serve.records.office import Office
from serve.records.record import Attempt, Avatar, Change, Film, Job, JobKind
from serve.records.signals import Deadline

STORE_EVERY_S = 2.0
"""how far storage may lag behind what workers report"""
_PATIENCE_S = 2.0
"""how long a report waits for storage before it is answered anyway"""
_LOST = "The worker was not heard of any more, each time that this was begun. Try again, or with other material."
_NOT_BEGUN = "No worker began with this, each time that one was given it. Try again."
_STOPPED = "The service was stopped each time that this was worked on. Try again."


class Leases:
    """The part of the desk that workers talk to. `finish` and `fail` are to be run whole."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._lease_s = office.work.lease_s

    async def take(self, kind: JobKind, worker: str, seconds: float) -> Job | None:
        """`Desk.take`."""
        tasks, ledger, deadline = self._office.tasks, self._office.ledger, Deadline(seconds)
        while True:
            taking = tasks.start(self._take_oldest(kind, worker))
            try:
                job = await asyncio.shield(taking)
            except asyncio.CancelledError:
                tasks.start(self._undo(taking))
                raise
            if job is not None or deadline.left <= 0:
                return job
            if ledger.first(kind) is None:
                await ledger.signals[kind].wait(deadline.left)

    async def report(self, token: str, change: Change) -> bool:
        """`Desk.report`."""
        entry = self._held(token)
        if entry is None:
            return False
        office = self._office
        light, heavy = rules.parted(change)
        record = rules.reported(entry.record, light, office.now())
        known = office.as_reported(entry)
        if heavy is not None and rules.reported(known, heavy, office.now()) is known:
            heavy = None
        self._heard(entry)
        if entry.frozen:
            # The worker itself is just ending its hold; what it says beside that comes too late.
            return True
        office.ledger.replace(entry, record)
        if heavy is not None:
            entry.held_back = rules.joined(entry.held_back, heavy)
            await asyncio.wait([office.tasks.start(self._store(entry))], timeout=_PATIENCE_S)
        return self._held(token) is not None

    async def finish(self, token: str, change: Change) -> bool:
        """`Desk.finish`."""
        return await self._end(token, lambda record: rules.finished(record, change, self._office.now()))

    async def fail(self, token: str, code: str, detail: str, again: bool) -> bool:
        """`Desk.fail`."""
        return await self._end(token, self._failed(code, detail, again))

    def tick(self) -> None:
        """Begin what is due: take away holds that have ended, store what storage does not know yet."""
        now = self._office.clock()
        for entry in set(self._office.ledger.tokens.values()):
            if entry.lock.locked():
                continue
            if entry.expires_at <= now:
                self._office.tasks.start(self._expire(entry))
            elif entry.unstored and now - entry.stored_at >= STORE_EVERY_S:
                self._office.tasks.start(self._store(entry))

    def prolong(self, seconds: float) -> None:
        """All holds last so much longer: nobody could report."""
        for entry in self._office.ledger.tokens.values():
            entry.expires_at += seconds

    async def store_all(self) -> None:
        """Bring storage up to date, as far as it answers."""
        entries = [entry for entry in set(self._office.ledger.tokens.values()) if entry.unstored]
        await asyncio.gather(*(self._store(entry) for entry in entries), return_exceptions=True)

    async def _take_oldest(self, kind: JobKind, worker: str) -> Job | None:
        ledger = self._office.ledger
        while (entry := ledger.draw(kind)) is not None:
            async with entry.lock:
                if ledger.waits(entry, kind):
                    try:
                        await self._hold(entry, worker)
                    except BaseException:
                        ledger.put_back(entry)
                        raise
                    return self._job(entry, kind)
        return None

    async def _hold(self, entry: Entry, worker: str) -> None:
        office, begun_at = self._office, self._office.clock()
        attempt = Attempt(
            token=secrets.token_hex(16),
            worker=worker,
            number=rules.begun(entry.record) + 1,
            expires_at=_time(begun_at + first_lease_s(self._lease_s)),
        )
        await office.change(entry, lambda record: rules.taken(record, attempt, office.now()))
        given_at = office.clock()
        entry.expires_at, entry.inherited, entry.unheard = given_at + first_lease_s(self._lease_s), False, True
        entry.unstored = given_at - begun_at > STORE_EVERY_S

    def _job(self, entry: Entry, kind: JobKind) -> Job:
        record = entry.record
        assert record.attempt is not None
        token = record.attempt.token
        if isinstance(record, Film):
            avatar = self._office.ledger.avatars[record.avatar].avatar
            return Job(kind=kind, id=record.id, token=token, avatar=avatar, film=record)
        return Job(kind=kind, id=record.id, token=token, avatar=record)

    async def _undo(self, taking: "asyncio.Task[Job | None]") -> None:
        """Whoever took it has gone before hearing of it. If this cannot be stored, the hold ends by itself."""
        await asyncio.wait([taking])
        job = None if taking.exception() else taking.result()
        if job is not None:
            await self._end(job.token, lambda record: rules.released(record, self._office.now()))

    async def _end(self, token: str, change: Callable[[Avatar | Film], Avatar | Film]) -> bool:
        entry = self._held(token)
        if entry is None:
            return False
        self._heard(entry)
        async with entry.lock:
            if self._held(token) is None:
                return False
            try:
                await self._office.change(entry, change)
            except BaseException:
                # The worker will ask again.
                self._heard(entry)
                raise
        return True

    async def _expire(self, entry: Entry) -> None:
        async with entry.lock:
            if entry.gone or entry.record.attempt is None or entry.expires_at > self._office.clock():
                return
            code, detail = "worker-lost", _LOST
            if entry.inherited:
                code, detail = "service-stopped", _STOPPED
            elif entry.unheard:
                code, detail = "not-begun", _NOT_BEGUN
            entry.ending = True
            try:
                await self._office.change(entry, self._failed(code, detail, again=True))
            finally:
                entry.ending = False

    async def _store(self, entry: Entry) -> None:
        office = self._office
        async with entry.lock:
            if entry.gone or entry.record.attempt is None:
                return
            held, entry.held_back, entry.unstored = entry.held_back, None, False
            record = entry.record if held is None else rules.reported(entry.record, held, office.now())
            try:
                await office.writer.save(rules.extended(record, _time(entry.expires_at)))
            except BaseException:
                entry.held_back, entry.unstored = rules.joined(held, entry.held_back), True
                raise
            entry.stored_at = office.clock()
            if held is not None:
                # Onto the record of now: progress was perhaps reported meanwhile, and is stored next time.
                office.ledger.replace(entry, rules.reported(entry.record, held, office.now()))

    def _held(self, token: str) -> Entry | None:
        entry = self._office.ledger.tokens.get(token)
        return None if entry is None or entry.ending else entry

    def _heard(self, entry: Entry) -> None:
        entry.expires_at, entry.inherited, entry.unheard = self._office.clock() + self._lease_s, False, False
        entry.unstored = True

    def _failed(self, code: str, detail: str, again: bool) -> Callable[[Avatar | Film], Avatar | Film]:
        office = self._office
        return lambda record: rules.failed(record, code, detail, again, office.work.tries, office.now())


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
