"""Reading everything when the desk starts, and sweeping up what belongs to nobody."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import pydantic

from serve.records import rules
from serve.records.deletions import Deletion, Deletions
from serve.records.leases import STORE_EVERY_S
from serve.records.ledger import Entry
from serve.records.office import Office
from serve.records.record import Avatar, Film
from serve.records.store import Kind

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Read = TypeVar("Read")

ORPHAN_S = 3600.0
"""what was put without ever being accepted is deleted after so many seconds: an upload is done long before"""
_CHUNK = 50
_KINDS: tuple[Kind, Kind] = ("avatars", "films")


async def load(office: Office, deletions: Deletions) -> None:
    """Read deletions and records into the ledger. Raises Unavailable if storage does not answer."""
    numbers = await office.writer.run(office.store.deletions)
    deletions.load(await _in_chunks(office, numbers, partial(_deletion, office)))
    deleted = deletions.ids
    for kind in _KINDS:
        ids = await office.writer.run(office.store.ids, kind)
        read: Callable[[str], Avatar | Film | None] = partial(_record, office, kind)
        records: list[Avatar | Film] = await _in_chunks(office, ids, read)
        for record in records:
            if record.id in deleted:
                deletions.hide(record.id)
            elif isinstance(record, Film) and record.avatar not in office.ledger.avatars:
                log.error("film %s is of an avatar that cannot be read, and not shown", record.id)
            else:
                _take_up(office, record)


async def sweep(office: Office) -> None:
    """Delete uploads that nobody accepted and what workers wrote after a deletion. Raises Unavailable."""
    for kind in _KINDS:
        known = office.ledger.avatars if kind == "avatars" else office.ledger.films
        discard = office.store.discard if kind == "avatars" else office.store.discard_film
        for id in await office.writer.run(office.store.ids, kind):
            if id in known:
                continue
            changed = await office.writer.run(office.store.changed, kind, id)
            if changed is not None and office.clock() - changed > ORPHAN_S and id not in known:
                log.info("%s/%s belongs to nobody and is deleted", kind, id)
                await office.writer.guarded(discard, id)


def _take_up(office: Office, record: Avatar | Film) -> None:
    entry = Entry(rules.found_again(record), stored_at=office.clock())
    if record.attempt is not None:
        # The worker may be alive, and may have been heard of after this was stored.
        entry.expires_at = record.attempt.expires_at.timestamp() + STORE_EVERY_S
        entry.inherited = entry.unstored = True
    office.ledger.add(entry)
    office.delete_material_of(entry)


def _record(office: Office, kind: Kind, id: str) -> Avatar | Film | None:
    data = office.store.read_record(kind, id)
    if data is None:
        return None
    try:
        return Avatar.model_validate_json(data) if kind == "avatars" else Film.model_validate_json(data)
    except pydantic.ValidationError as error:
        # Of a later version, or broken: it is left alone, for a person to look at.
        log.error("the record %s/%s cannot be read and is not shown: %s", kind, id, error)
        return None


def _deletion(office: Office, number: int) -> Deletion | None:
    try:
        return Deletion.model_validate_json(office.store.read_deletion(number))
    except pydantic.ValidationError as error:
        log.error("the note of deletion %d cannot be read: %s", number, error)
        return None


async def _in_chunks(office: Office, items: Sequence[Item], read: Callable[[Item], Read | None]) -> list[Read]:
    """What `read` makes of each, but None, read in many threads."""

    def read_some(start: int) -> list[Read]:
        return [made for item in items[start : start + _CHUNK] if (made := read(item)) is not None]

    chunks = await asyncio.gather(*(office.writer.run(read_some, start) for start in range(0, len(items), _CHUNK)))
    return [made for chunk in chunks for made in chunk]
