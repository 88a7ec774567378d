"""Deleting for good: what was promised goes even if the service stops in between, and replicas hear of it.

A deletion is written down first (`deletions/NUMBER.json`: ids and the owner, nothing of a person). From then on it is
decided: nobody finds the records any more, workers are told to stop, and what lies in storage is erased, records
first. A desk that starts anew erases again what is not known to be erased. A worker that had a hold on it may still
have been writing at that moment, so after the time of a hold it is erased once more. The notes are kept for a day:
replicas that lost sight of the desk hear what they missed, and a record that reappears is not shown.
"""

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack
from datetime import datetime, timedelta

import pydantic

from serve.errors import NotFound, Problem
from serve.records.ledger import Entry
from serve.records.office import Office
from serve.records.signals import Deadline, Signal

_KEPT = timedelta(days=1)
_PAUSES_S = (0.05, 0.2, 0.0)
"""after each try: a worker that has not heard yet may just have put a file into a folder"""


class Deletion(pydantic.BaseModel):
    """What is being deleted, or was."""

    number: int
    """grows from each to the next, over all desks: microseconds since 1970, or more"""
    at: datetime
    owner: str
    avatar: str
    """id; empty if only a film was deleted"""
    films: tuple[str, ...]
    """ids"""
    erased: bool = False
    """nothing of it lies in storage, and nobody can be writing there any more"""


class Deletions:
    """The part of the desk that deletes. `avatar` and `film` are to be run whole."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._kept: dict[int, Deletion] = {}
        # Decided and not erased yet, by the id that was asked for: whoever asks again is not told "not found".
        self._unfinished: dict[str, Deletion] = {}
        self._again_at: dict[int, float] = {}
        self._latest = int(office.clock() * 1e6)
        # Replicas hear of deletions in the order of their numbers.
        self._order = asyncio.Lock()
        self._signal = Signal()
        self._erasing: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def ids(self) -> set[str]:
        """Of all avatars and films that were deleted within the last day."""
        return {id for deletion in self._kept.values() for id in (deletion.avatar, *deletion.films) if id}

    def load(self, deletions: list[Deletion]) -> None:
        """Go on with what an earlier desk has decided."""
        for deletion in deletions:
            self._kept[deletion.number] = deletion
            self._latest = max(self._latest, deletion.number)
            if not deletion.erased:
                self._unfinished[deletion.avatar or deletion.films[0]] = deletion
                self._again_at[deletion.number] = self._office.clock() + 1.5 * self._office.work.lease_s
                self._erase_in_background(deletion)

    def hide(self, id: str) -> None:
        """A deleted record lies there again: a former desk was late."""
        for deletion in self._kept.values():
            if id in (deletion.avatar, *deletion.films) and deletion.erased:
                self._erase_in_background(deletion)

    async def avatar(self, owner: str, id: str) -> None:
        """`Desk.delete_avatar`."""
        if await self._went_on(owner, id):
            return
        entry = self._office.ledger.avatar(owner, id)
        async with AsyncExitStack() as locks:
            await locks.enter_async_context(entry.lock)
            films = self._office.ledger.films_with(id)
            for film in films:
                await locks.enter_async_context(film.lock)
            deletion = await self._decide(owner, id, [entry, *films])
        await self._erase(deletion)

    async def film(self, owner: str, id: str) -> None:
        """`Desk.delete_film`."""
        if await self._went_on(owner, id):
            return
        entry = self._office.ledger.film(owner, id)
        async with entry.lock:
            deletion = await self._decide(owner, "", [entry])
        await self._erase(deletion)

    async def deleted(self, after: int, seconds: float) -> tuple[int, list[str]]:
        """`Desk.deleted`."""
        deadline = Deadline(seconds)
        while True:
            if after > self._latest:
                # The clock of an earlier desk was ahead of ours. What was forgotten already can be forgotten again.
                self._latest, after = after, 0
            since = [deletion for number, deletion in self._kept.items() if number > after and deletion.avatar]
            if since or deadline.left <= 0:
                return self._latest, [deletion.avatar for deletion in since]
            await self._signal.wait(deadline.left)

    def tick(self) -> None:
        """Begin what is due: erase once more, forget old notes."""
        clock, now = self._office.clock(), self._office.now()
        for number, when in list(self._again_at.items()):
            if when <= clock:
                self._erase_in_background(self._kept[number])
        for deletion in list(self._kept.values()):
            if deletion.erased and now - deletion.at > _KEPT:
                self._forget(deletion)

    async def _went_on(self, owner: str, id: str) -> bool:
        unfinished = self._unfinished.get(id)
        if unfinished is None or unfinished.owner != owner:
            return False
        await self._erase(unfinished)
        return True

    async def _decide(self, owner: str, avatar: str, entries: list[Entry]) -> Deletion:
        """Write it down, and let nobody find it any more. The caller holds the locks."""
        office = self._office
        entries = [entry for index, entry in enumerate(entries) if not entry.gone or index == 0]
        if entries[0].gone:
            raise NotFound("It was deleted just now.")
        async with self._order:
            number = max(self._latest + 1, int(office.clock() * 1e6))
            films = tuple(entry.record.id for entry in entries if entry.record.id != avatar)
            deletion = Deletion(number=number, at=office.now(), owner=owner, avatar=avatar, films=films)
            await office.writer.guarded(office.store.write_deletion, number, deletion.model_dump_json().encode())
            if any(entry.record.attempt is not None for entry in entries):
                self._again_at[number] = office.clock() + 1.5 * office.work.lease_s
            for entry in entries:
                office.ledger.remove(entry)
            self._kept[number] = self._unfinished[avatar or films[0]] = deletion
            self._latest = number
            self._signal.ring()
        if avatar:
            office.audit.note(owner, "avatar-deleted", avatar)
        else:
            office.audit.note(owner, "film-deleted", entries[0].film.avatar, film=films[0])
        return deletion

    async def _erase(self, deletion: Deletion) -> None:
        """Erase what lies in storage. Raises Unavailable if that must go on in the background."""
        try:
            await self._erase_now(deletion)
        except Problem:
            self._erase_in_background(deletion)
            raise
        self._unfinished.pop(deletion.avatar or deletion.films[0], None)
        if deletion.number not in self._again_at:
            self._mark_in_background(deletion)

    async def _erase_now(self, deletion: Deletion) -> None:
        store, guarded = self._office.store, self._office.writer.guarded
        # One at a time: whoever asked, and the background. Two who delete a folder stumble over each other.
        async with self._erasing[deletion.number]:
            for pause in _PAUSES_S:
                avatar = [guarded(store.discard, deletion.avatar)] if deletion.avatar else []
                films = (guarded(store.discard_film, film) for film in deletion.films)
                results = await asyncio.gather(*avatar, *films, return_exceptions=True)
                errors = [result for result in results if result is not None]
                if not errors:
                    return
                await asyncio.sleep(pause)
            raise errors[0]

    def _erase_in_background(self, deletion: Deletion) -> None:
        async def erase() -> None:
            due = self._again_at.get(deletion.number)
            await self._erase_now(deletion)
            self._unfinished.pop(deletion.avatar or deletion.films[0], None)
            if due is None or due <= self._office.clock():
                self._again_at.pop(deletion.number, None)
                self._mark_in_background(deletion)

        self._office.tasks.chore(f"erasing {deletion.number}", erase)

    def _mark_in_background(self, deletion: Deletion) -> None:
        async def mark() -> None:
            erased = deletion.model_copy(update={"erased": True})
            data = erased.model_dump_json().encode()
            await self._office.writer.guarded(self._office.store.write_deletion, deletion.number, data)
            self._kept[deletion.number] = erased
            self._erasing.pop(deletion.number, None)

        self._office.tasks.chore(f"noting {deletion.number}", mark)

    def _forget(self, deletion: Deletion) -> None:
        async def forget() -> None:
            await self._office.writer.guarded(self._office.store.forget_deletion, deletion.number)
            self._kept.pop(deletion.number, None)

        self._office.tasks.chore(f"forgetting {deletion.number}", forget)
