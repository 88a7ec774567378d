"""What must hold when all happens at once: users, workers, time, outages of storage, callers who go away."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from toy_desk import INTRODUCED, LEARNED, ToyDesk, in_loop, new_avatar, new_film, running

from raytalk.errors import StorageError
from serve.errors import NotFound, Problem
from serve.records import rules
from serve.records.record import Avatar, Change, Job

LEASE_S, TRIES = 30.0, 2
KINDS = ("introduce", "learn", "film")


class Crowd:
    """Many who do at once what they like, with storage that fails now and then, and callers who go away."""

    def __init__(self, toy: ToyDesk, seed: int) -> None:
        self.toy, self.random = toy, random.Random(seed)
        self.holders: dict[str, tuple[str, float]] = {}
        """who believes to have a job, and until when"""
        self.accepted: set[str] = set()
        self.deleted: set[str] = set()
        self.doubtful: set[str] = set()
        """deleted or accepted, without an answer"""

    def some_failures(self, name: str, arguments: tuple[Any, ...]) -> bool:
        return self.random.random() < 0.04

    async def user(self) -> None:
        for _ in range(12):
            await asyncio.sleep(self.random.random() * 0.01)
            if self.accepted - self.deleted and self.random.random() < 0.3:
                await self.delete(self.random.choice(sorted(self.accepted - self.deleted)))
            else:
                await self.accept()

    async def accept(self) -> None:
        record = new_avatar(mode=self.random.choice(["FF", "FT"]))
        self.toy.store.put_material(record.id, "000.jpg", b"a face")
        self.doubtful.add(record.id)
        if await self.impatient(self.toy.desk.accept_avatar(record, "", "")):
            self.accepted.add(record.id)
            self.doubtful.discard(record.id)
            film = new_film(record)
            await self.impatient(self.toy.desk.accept_film(film, "", ""))

    async def delete(self, id: str) -> None:
        self.doubtful.add(id)
        # It answers None, so say that it did.
        if await self.impatient(self._deleted(id)):
            self.deleted.add(id)
            assert not self.toy.files(f"avatars/{id}")

    async def _deleted(self, id: str) -> bool:
        await self.toy.desk.delete_avatar("anna", id)
        return True

    async def worker(self, kind: Any) -> None:
        for _ in range(25):
            job = await self.impatient(self.toy.desk.take(kind, "w", 0.02))
            if job:
                await self.work(job)

    async def work(self, job: Job) -> None:
        toy = self.toy
        _, until = self.holders.get(job.id, ("", 0.0))
        assert until <= toy.clock(), "given to two at a time"
        attempt = (job.film or job.avatar).attempt
        assert attempt is not None
        self.holders[job.id] = job.token, attempt.expires_at.timestamp()
        if self.random.random() < 0.1:
            return  # it dies
        for _ in range(self.random.randrange(3)):
            asked_at = toy.clock()
            if not await toy.desk.report(job.token, self.news(job)):
                self.stop(job)
                return
            assert self.holders[job.id][0] == job.token, "who is told to go on has the job"
            self.holders[job.id] = job.token, asked_at + LEASE_S
        self.stop(job)
        change = {"introduce": INTRODUCED, "learn": LEARNED, "film": Change(frames=3)}[job.kind]
        while True:
            try:
                if self.random.random() < 0.8:
                    await toy.desk.finish(job.token, change)
                else:
                    await toy.desk.fail(job.token, "internal", "It broke.", True)
                return
            except Problem:
                await asyncio.sleep(0.005)

    def news(self, job: Job) -> Change:
        heavy = {} if job.kind == "film" or self.random.random() < 0.5 else {"resolution": self.random.randrange(9)}
        return Change(progress=self.random.random(), **heavy)

    def stop(self, job: Job) -> None:
        """It works on it no more."""
        if self.holders[job.id][0] == job.token:
            self.holders[job.id] = job.token, 0.0

    async def time(self) -> None:
        for _ in range(60):
            await asyncio.sleep(0.01)
            self.toy.clock.pass_by(3)
            self.toy.desk.tick()

    async def impatient(self, call: Any) -> Any:
        """The answer; None if there was a problem, or the patience of whoever asked was over."""
        asking = asyncio.create_task(call)
        if self.random.random() < 0.1:
            await asyncio.sleep(self.random.random() * 0.01)
            asking.cancel()
        try:
            return await asking
        except (Problem, StorageError, asyncio.CancelledError):
            return None


@pytest.mark.parametrize("seed", range(6))
@in_loop
async def test_what_must_hold_when_all_happens_at_once(tmp_path: Path, seed: int) -> None:
    async with running(tmp_path, lease_s=LEASE_S, tries=TRIES, avatars=10_000, waiting=10_000) as toy:
        crowd = Crowd(toy, seed)
        toy.store.fails = crowd.some_failures
        workers = [crowd.worker(kind) for kind in KINDS for _ in range(3)]
        await asyncio.gather(*workers, *(crowd.user() for _ in range(4)), crowd.time())
        toy.store.mend()
        await toy.tick(2 * LEASE_S)
        seen = {record.id: record for record in (await toy.desk.avatars("anna", 10_000, ""))[0]}
        assert crowd.accepted - crowd.deleted - crowd.doubtful <= set(seen), "nothing accepted is lost"
        assert not crowd.deleted & set(seen)
        assert set(seen) <= crowd.accepted | crowd.doubtful
        await toy.desk.settled()
        films = {film.id: film for id in seen for film in await toy.desk.films("anna", id)}
        assert {file.split("/")[1] for file in toy.files("record.json")} == set(seen) | set(films)
        for record in seen.values():
            data = toy.store.read_record("avatars", record.id)
            assert data is not None
            assert Avatar.model_validate_json(data) == record, "memory and storage agree"
            assert rules.begun(record) - record.interrupted <= TRIES, "given to a worker that died at once is no try"
            assert toy.store.material(record.id).exists("000.jpg")
        await _work_all_off(toy)
        for id in seen:
            assert (await toy.desk.avatar("anna", id)).state in ("ready", "failed")
        for id in films:
            assert (await toy.desk.film("anna", id)).state in ("ready", "failed")
        for id in crowd.deleted:
            with pytest.raises(NotFound):
                await toy.desk.avatar("anna", id)


async def _work_all_off(toy: ToyDesk) -> None:
    changes = {"introduce": INTRODUCED, "learn": LEARNED, "film": Change(frames=3)}
    for kind, change in changes.items():
        while job := await toy.desk.take(kind, "w", 0):  # type: ignore[arg-type]
            assert await toy.desk.finish(job.token, change)
