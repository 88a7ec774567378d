"""What the parts of the desk share, and the one way in which a record is changed."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from serve.records import rules
from serve.records.audit import Audit
from serve.records.ledger import Entry, Ledger
from serve.records.record import Avatar, Film
from serve.records.store import Store
from serve.records.tasks import Tasks
from serve.records.writer import Writer

if TYPE_CHECKING:  # The settings of the service import torch.
    from serve.settings import LimitSettings, WorkSettings

Clock = Callable[[], float]
"""Seconds since 1970."""


def steady_clock() -> Clock:
    """The time of day as of now, going on evenly: leases do not end because somebody sets the clock."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


@dataclass
class Office:
    """One desk's belongings."""

    store: Store
    limits: "LimitSettings"
    work: "WorkSettings"
    clock: Clock
    writer: Writer
    audit: Audit
    ledger: Ledger = field(default_factory=Ledger)
    tasks: Tasks = field(default_factory=Tasks)

    def now(self) -> datetime:
        """The time for records."""
        return datetime.fromtimestamp(self.clock(), UTC)

    def as_reported(self, entry: Entry) -> Avatar | Film:
        """The record with what its worker reported and is not announced yet."""
        held = entry.held_back
        return entry.record if held is None else rules.reported(entry.record, held, self.now())

    async def change(self, entry: Entry, change: Callable[[Avatar | Film], Avatar | Film]) -> None:
        """Write what `change` makes of a record, then announce it. The caller holds entry.lock.

        If storage does not answer, nothing has changed for anybody.
        """
        entry.frozen = True
        try:
            record = change(self.as_reported(entry))
            await self.writer.save(record)
        finally:
            entry.frozen = False
        entry.held_back, entry.unstored, entry.stored_at = None, False, self.clock()
        self.ledger.replace(entry, record)
        self.delete_material_of(entry)

    def delete_material_of(self, entry: Entry) -> None:
        """By policy: once nothing more is made from it, be it that it failed, what somebody sent goes."""
        record = entry.record
        if not self.work.delete_material or not rules.has_material(record) or not rules.done(record):
            return
        kept = self.store.delete_material if isinstance(record, Avatar) else self.store.delete_film_driver

        async def delete() -> None:
            await self.writer.run(kept, record.id)
            async with entry.lock:
                if not entry.gone and rules.has_material(entry.record):
                    await self.change(entry, lambda _: rules.without_material(entry.record, self.now()))

        self.tasks.chore(f"deleting the material of {record.id}", delete)
