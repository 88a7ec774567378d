"""Taking up avatars and films: once per idempotency key, within the owner's limits, stored before anybody hears of it.

The key lies in the record itself (`asked`), so record and key are stored in one step. What is refused, for whatever
reason, loses its material: the front stored it under an id of its own making, which nobody will use again.
"""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from serve.errors import Conflict, TooMany, Unprocessable
from serve.records import rules
from serve.records.ledger import Entry
from serve.records.office import Office
from serve.records.record import Avatar, Film
from serve.records.rules import Record
from serve.records.store import Kind, is_id

_COME_AGAIN = {"Retry-After": "30"}


class Acceptance:
    """The part of the desk that takes things up. Its calls are to be run whole."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        # Being written: they count for the limits as if they were there.
        self._coming: Counter[tuple[str, str]] = Counter()
        self._last = datetime.min.replace(tzinfo=UTC)

    async def avatar(self, avatar: Avatar, key: str, request: str) -> tuple[Avatar, bool]:
        """`Desk.accept_avatar`."""
        with self._refused_loses_material(avatar):
            if not avatar.consent.strip():
                raise Unprocessable("The consent of the person is missing.", code="no-consent")
            fresh = self._fresh(avatar, key, request)
            async with self._one_at_a_time(fresh):
                if (known := self._known(fresh)) is not None:
                    return known, False
                self._check_limits(fresh)
                return await self._take_up(fresh), True

    async def film(self, film: Film, key: str, request: str) -> tuple[Film, bool]:
        """`Desk.accept_film`."""
        ledger = self._office.ledger
        with self._refused_loses_material(film):
            fresh = self._fresh(film, key, request)
            async with self._one_at_a_time(fresh):
                if (known := self._known(fresh)) is not None:
                    return known, False
                # So that the avatar is not deleted while a film of it is being written.
                async with ledger.avatar(film.owner, film.avatar).lock:
                    if ledger.avatar(film.owner, film.avatar).avatar.version is None:
                        raise Conflict("The avatar is not ready to be driven yet.", code="not-ready")
                    self._check_limits(fresh)
                    return await self._take_up(fresh), True

    def _fresh(self, record: Record, key: str, request: str) -> Record:
        """The record as it begins: what is the desk's to say is not taken from whoever asks."""
        # Who comes first is served first, also of two within a microsecond.
        now = self._last = max(self._office.now(), self._last + timedelta(microseconds=1))
        beginning = {**_BEGINNING, "asked": _asked(record.owner, key, request), "created_at": now, "changed_at": now}
        if isinstance(record, Avatar):
            beginning |= _AVATARS_BEGINNING
        return cast(Record, record.model_copy(update=beginning))

    def _known(self, record: Record) -> Record | None:
        """What was taken up already with this key, or this id. Raises Conflict if it was for something else."""
        ledger = self._office.ledger
        key, _, request = record.asked.partition(":")
        before = ledger.asked(key) if key else None
        entry: Entry | None = ledger.avatars.get(record.id) or ledger.films.get(record.id)
        if before is not None:
            if before[0] != request or not isinstance(before[1].record, type(record)):
                raise Conflict(
                    "This idempotency key was used for another request. Take a new key.", code="idempotency-mismatch"
                )
            return before[1].record
        if entry is not None:
            # The same call once more: its answer was lost.
            if isinstance(entry.record, type(record)) and entry.record.owner == record.owner:
                return entry.record
            raise Conflict("This id is taken.", code="id-taken")
        return None

    def _check_limits(self, record: Avatar | Film) -> None:
        limits, ledger, owner = self._office.limits, self._office.ledger, record.owner
        avatars, films = ledger.avatars_of(owner), ledger.films_of(owner)
        coming_avatars, coming_films = self._coming[owner, "avatars"], self._coming[owner, "films"]
        if isinstance(record, Avatar) and len(avatars) + coming_avatars >= limits.avatars:
            raise TooMany(f"At most {limits.avatars} avatars are kept. Delete one first.", code="too-many-avatars")
        waiting = sum(not rules.done(entry.record) for entry in [*avatars, *films]) + coming_avatars + coming_films
        if waiting >= limits.waiting:
            raise TooMany(
                f"At most {limits.waiting} avatars and videos may be waiting. Come again when one is done.",
                code="queue-full",
                headers=_COME_AGAIN,
            )

    async def _take_up(self, record: Record) -> Record:
        office, place = self._office, (record.owner, rules.kind_of(record))
        self._coming[place] += 1
        try:
            await office.writer.save(record)
        finally:
            self._coming[place] -= 1
            if not self._coming[place]:
                del self._coming[place]
        office.ledger.add(Entry(record, stored_at=office.clock()))
        if isinstance(record, Avatar):
            office.audit.note(record.owner, "avatar-created", record.id, mode=record.mode)
        else:
            office.audit.note(record.owner, "film-made", record.avatar, film=record.id)
        return record

    @contextlib.contextmanager
    def _refused_loses_material(self, record: Avatar | Film) -> Iterator[None]:
        try:
            yield
        finally:
            self._discard_unless_taken_up(rules.kind_of(record), record.id)

    def _discard_unless_taken_up(self, kind: Kind, id: str) -> None:
        office = self._office
        known = office.ledger.avatars if kind == "avatars" else office.ledger.films
        delete = office.store.discard if kind == "avatars" else office.store.discard_film

        async def discard() -> None:
            if id not in known:
                await office.writer.guarded(delete, id)

        if id not in known and is_id(id):
            office.tasks.chore(f"discarding {id}, which was refused", discard)

    @contextlib.asynccontextmanager
    async def _one_at_a_time(self, record: Avatar | Film) -> AsyncIterator[None]:
        """One request with an idempotency key (or an id) at a time: the next finds what this one made."""
        name = record.asked.partition(":")[0] or record.id
        lock, users = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(name)
            if users > 1:
                self._locks[name] = lock, users - 1


_BEGINNING: dict[str, Any] = {
    "state": "queued",
    "revision": 1,
    "progress": 0.0,
    "reason": None,
    "interrupted": 0,
    "attempt": None,
    "attempts": 0,
}
_AVATARS_BEGINNING: dict[str, Any] = {
    "step": 0,
    "preview_ready": False,
    "previews": 0,
    "version": None,
    "material_deleted": False,
    "attempts": {},
    "introduced": False,
    "kept_progress": 0.0,
}


def _asked(owner: str, key: str, request: str) -> str:
    if not key:
        return ""
    digest = hashlib.sha256(f"{len(owner)}:{owner}{key}".encode()).hexdigest()
    return f"{digest}:{hashlib.sha256(request.encode()).hexdigest()}"
