"""All records in memory, and the ways to find them. Nothing here waits: what it says is true until the next await."""

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import get_args

from serve.errors import NotFound
from serve.records import rules
from serve.records.record import Avatar, Change, Film, JobKind
from serve.records.signals import Signal


@dataclass(eq=False)
class Entry:
    """One record, and what the desk knows of it beyond storage."""

    record: Avatar | Film
    """as announced: never ahead of storage but for LIGHT fields of reports"""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """held while a change is written; reports of progress do without it, so that they never wait for storage"""
    signal: Signal = field(default_factory=Signal)
    """rings with each revision, and when it is deleted"""
    gone: bool = False
    """deleted"""
    expires_at: float = 0.0
    """of the present hold, seconds; that of the record is what was stored last"""
    inherited: bool = False
    """the hold was given by an earlier desk, and its worker was not heard of since"""
    unheard: bool = False
    """the worker has not said yet that it has the job"""
    frozen: bool = False
    """a change of state is being written: what is reported meanwhile would be lost"""
    ending: bool = False
    """the hold is being taken away: who reports must hear it at once"""
    unstored: bool = False
    """progress or a longer hold that storage does not know"""
    stored_at: float = float("-inf")
    """when it was written last, seconds"""
    held_back: Change | None = None
    """reported, and not announced before it is stored"""

    @property
    def avatar(self) -> Avatar:
        """The record of what is known to be an avatar."""
        assert isinstance(self.record, Avatar)
        return self.record

    @property
    def film(self) -> Film:
        """The record of what is known to be a film."""
        assert isinstance(self.record, Film)
        return self.record


class Ledger:
    """Entries by id, owner, token and idempotency key, and who waits for work."""

    def __init__(self) -> None:
        self.avatars: dict[str, Entry] = {}
        self.films: dict[str, Entry] = {}
        self.tokens: dict[str, Entry] = {}
        self.signals: dict[JobKind, Signal] = {job: Signal() for job in get_args(JobKind)}
        """ring when a job of that kind waits"""
        self._avatars_of: defaultdict[str, dict[str, Entry]] = defaultdict(dict)
        self._films_of: defaultdict[str, dict[str, Entry]] = defaultdict(dict)
        self._films_with: defaultdict[str, dict[str, Entry]] = defaultdict(dict)
        self._asked: dict[str, tuple[str, Entry]] = {}
        # Entries that may wait, the oldest first; whether they do is looked up when they are drawn.
        self._waiting: dict[JobKind, list[tuple[datetime, str]]] = {job: [] for job in get_args(JobKind)}

    def avatar(self, owner: str, id: str) -> Entry:
        """Raises NotFound, also for what is another's."""
        entry = self.avatars.get(id)
        if entry is None or entry.record.owner != owner:
            raise NotFound("There is no such avatar.")
        return entry

    def film(self, owner: str, id: str) -> Entry:
        """Raises NotFound, also for what is another's."""
        entry = self.films.get(id)
        if entry is None or entry.record.owner != owner:
            raise NotFound("There is no such video.")
        return entry

    def avatars_of(self, owner: str) -> list[Entry]:
        """In no order."""
        return list(self._avatars_of[owner].values()) if owner in self._avatars_of else []

    def films_of(self, owner: str) -> list[Entry]:
        """In no order."""
        return list(self._films_of[owner].values()) if owner in self._films_of else []

    def films_with(self, avatar: str) -> list[Entry]:
        """The films of an avatar, in no order."""
        return list(self._films_with[avatar].values()) if avatar in self._films_with else []

    def asked(self, key: str) -> tuple[str, Entry] | None:
        """What was made with an idempotency key (digest), and the digest of what was asked then."""
        return self._asked.get(key)

    def entries(self) -> Iterator[Entry]:
        """All of them."""
        yield from self.avatars.values()
        yield from self.films.values()

    def add(self, entry: Entry) -> None:
        """Take up a record that is stored."""
        record = entry.record
        if isinstance(record, Avatar):
            self.avatars[record.id] = self._avatars_of[record.owner][record.id] = entry
        else:
            self.films[record.id] = self._films_of[record.owner][record.id] = entry
            self._films_with[record.avatar][record.id] = entry
        if record.asked:
            key, _, request = record.asked.partition(":")
            self._asked[key] = request, entry
        self._index(entry)

    def replace(self, entry: Entry, record: Avatar | Film) -> None:
        """What follows is stored: announce it."""
        before, entry.record = entry.record, record
        if before.attempt is not None and (record.attempt is None or record.attempt.token != before.attempt.token):
            self.tokens.pop(before.attempt.token, None)
        self._index(entry)
        if record.revision != before.revision:
            entry.signal.ring()

    def remove(self, entry: Entry) -> None:
        """Forget it: from now on nobody finds it, and its worker is told to stop."""
        record = entry.record
        entry.gone = True
        if isinstance(record, Avatar):
            groups = [(self._avatars_of, record.owner)]
            self.avatars.pop(record.id)
        else:
            groups = [(self._films_of, record.owner), (self._films_with, record.avatar)]
            self.films.pop(record.id)
        for group, name in groups:
            group[name].pop(record.id)
            if not group[name]:
                del group[name]
        key = record.asked.partition(":")[0]
        if key and self._asked.get(key, ("", None))[1] is entry:
            del self._asked[key]
        if record.attempt is not None:
            self.tokens.pop(record.attempt.token, None)
        entry.signal.ring()

    def draw(self, job: JobKind) -> Entry | None:
        """The oldest that may wait for such a worker: `may`, because a change is perhaps being written just now."""
        entry = self.first(job)
        if entry is not None:
            heapq.heappop(self._waiting[job])
        return entry

    def first(self, job: JobKind) -> Entry | None:
        """What would be drawn."""
        waiting = self._waiting[job]
        while waiting:
            id = waiting[0][1]
            entry = self.films.get(id) if job == "film" else self.avatars.get(id)
            if entry is not None and self.waits(entry, job):
                return entry
            heapq.heappop(waiting)
        return None

    def put_back(self, entry: Entry) -> None:
        """It was drawn and not taken."""
        self._index(entry)

    def waits(self, entry: Entry, job: JobKind) -> bool:
        """Whether it may be taken by such a worker."""
        return not entry.gone and rules.waits(entry.record) and rules.job_kind(entry.record) == job

    def _index(self, entry: Entry) -> None:
        record = entry.record
        if record.attempt is not None:
            self.tokens[record.attempt.token] = entry
        elif rules.waits(record) and not entry.gone:
            job = rules.job_kind(record)
            heapq.heappush(self._waiting[job], (record.created_at, record.id))
            self.signals[job].ring()
