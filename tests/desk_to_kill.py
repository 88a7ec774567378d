"""A desk with users and workers, in a process that is to be killed. Says on stdout what it was told, a line each.

    python tests/desk_to_kill.py FOLDER SEED KILL_AT

KILL_AT: it kills itself at so many writes and deletions in storage, before or after (0: it waits to be killed).
A line is said after the desk has answered; those that end with "?" before it is asked.
"""

import asyncio
import itertools
import os
import random
import signal
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from serve.errors import Problem
from serve.records.desk import Desk
from serve.records.record import Avatar, Change, Film, Photo, Version
from serve.records.store import Store

LEASE_S = 5.0
CHANGES = {
    "introduce": Change(preview_ready=True, version=Version(mode="FF", folder="ff"), progress=0.2),
    "learn": Change(version=Version(mode="FT", folder="ft-1")),
    "film": Change(frames=3),
}


def settings() -> tuple[Any, Any]:
    """Without torch, which takes its time to import."""
    return (
        SimpleNamespace(avatars=100_000, waiting=100_000),
        SimpleNamespace(lease_s=LEASE_S, tries=1000, delete_material=False),
    )


def say(*words: object) -> None:
    """In one piece, and at once."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class FatalStore(Store):
    """Kills the process at one of its writes."""

    def __init__(self, uri: str, seed: int, kill_at: int) -> None:
        super().__init__(uri)
        self._kill_at, self._after, self._numbers = kill_at, random.Random(seed).random() < 0.5, itertools.count(1)
        write, delete = self.storage.write, self.storage.delete
        self.storage.write = lambda *arguments: self._fatal(write, *arguments)  # type: ignore[method-assign]
        self.storage.delete = lambda *arguments: self._fatal(delete, *arguments)  # type: ignore[method-assign]

    def _fatal(self, function: Any, *arguments: Any) -> None:
        fatal = next(self._numbers) == self._kill_at
        if fatal and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        function(*arguments)
        if fatal:
            os.kill(os.getpid(), signal.SIGKILL)


class World:
    def __init__(self, desk: Desk, store: Store, seed: int) -> None:
        self.desk, self.store, self.random = desk, store, random.Random(seed)
        self.mine: list[str] = []

    async def users(self) -> None:
        while True:
            if self.mine and self.random.random() < 0.25:
                id = self.mine.pop(self.random.randrange(len(self.mine)))
                say("delete?", id)
                await self.desk.delete_avatar("anna", id)
                say("delete", id)
                continue
            now = datetime.now(UTC)
            record = Avatar(
                id=self.store.new_id(),
                owner="anna",
                name="Anna",
                mode=self.random.choice(["FF", "FT"]),
                state="queued",
                consent="yes",
                created_at=now,
                changed_at=now,
                photos=(Photo(file="000.jpg", label=""),),
            )
            say("accept?", record.id)
            await asyncio.to_thread(self.store.put_material, record.id, "000.jpg", b"face")
            await self.desk.accept_avatar(record, f"key of {record.id}", "r")
            say("accept", record.id)
            self.mine.append(record.id)

    async def filmers(self) -> None:
        while True:
            await asyncio.sleep(0.01)
            if not self.mine:
                continue
            avatar, now = self.random.choice(self.mine), datetime.now(UTC)
            record = Film(
                id=self.store.new_id(), owner="anna", avatar=avatar, state="queued", created_at=now, changed_at=now
            )
            try:
                await self.desk.accept_film(record, "", "")
                say("film", record.id, avatar)
            except Problem:
                continue

    async def workers(self, kind: Any) -> None:
        while True:
            job = await self.desk.take(kind, "w", 60)
            if job is None:
                continue
            say("take", kind, job.id, job.token)
            for step in range(self.random.randrange(4)):
                await asyncio.sleep(0.01)
                await self.desk.report(job.token, Change(progress=(step + 1) / 10))
            if self.random.random() < 0.2:
                continue  # it goes on working when the desk is killed
            say("finish?", kind, job.id, job.token)
            if await self.desk.finish(job.token, CHANGES[kind]):
                say("finish", kind, job.id, job.token)


async def main(folder: str, seed: int, kill_at: int) -> None:
    store = FatalStore(folder, seed, kill_at)
    limits, work = settings()
    desk = Desk(store, limits, work, settle_s=0.0)
    await desk.start()
    say("started")
    world = World(desk, store, seed)
    workers = [world.workers(kind) for kind in CHANGES for _ in range(2)]
    await asyncio.gather(world.users(), world.users(), world.filmers(), *workers)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
