"""The desk is killed with SIGKILL, again and again, in the middle of everything; storage is all that a new one has."""

import asyncio
import random
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import desk_to_kill
import pytest

import serve
from serve.errors import NotFound
from serve.records.desk import Desk
from serve.records.record import Avatar, Change, Film
from serve.records.store import Store

ROUNDS = 8
_WAIT_S = 60.0


@dataclass
class Journal:
    """What the killed desks had said."""

    accepting: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    deleting: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    films: dict[str, str] = field(default_factory=dict)
    finished: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    held: dict[str, str] = field(default_factory=dict)
    """token and id of jobs that a worker may still be at"""

    def read(self, text: str) -> None:
        self.held.clear()
        for line in text.splitlines():
            match line.split():
                case ["accept?", id]:
                    self.accepting.add(id)
                case ["accept", id]:
                    self.accepted.add(id)
                case ["delete?", id]:
                    self.deleting.add(id)
                case ["delete", id]:
                    self.deleted.add(id)
                case ["film", id, avatar]:
                    self.films[id] = avatar
                case ["take", _, id, token]:
                    self.held[token] = id
                case ["finish?", _, _, token]:
                    self.held.pop(token, None)
                case ["finish", kind, id, _]:
                    self.finished[kind].add(id)


def _run_and_kill(folder: Path, seed: int, kill_at: int) -> str:
    root = Path(serve.__file__).parents[1]
    command = [sys.executable, desk_to_kill.__file__, str(folder), str(seed), str(kill_at)]
    # Without a buffer: what `readline` reads ahead would be lost to `communicate`.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, cwd=root, env={"PYTHONPATH": str(root)})
    assert process.stdout is not None
    try:
        if not kill_at:
            assert process.stdout.readline() == b"started\n"
            time.sleep(random.Random(seed).uniform(0.05, 1.0))
            process.kill()
        said = process.communicate(timeout=_WAIT_S)[0]
    finally:
        process.kill()
    assert process.returncode == -9
    return str(said, "ascii")


async def _look(folder: Path, journal: Journal) -> None:
    """A new desk finds everything as it was said to be, and lets nobody have what another works on."""
    store, later = Store(str(folder)), 0.0
    limits, work = desk_to_kill.settings()
    desk = Desk(store, limits, work, clock=lambda: time.time() + later, settle_s=0.0)
    await desk.start(ticking=False)
    await desk.settled()
    avatars = {record.id: record for record in (await desk.avatars("anna", 10_000_000, ""))[0]}
    assert journal.accepted - journal.deleting <= set(avatars) <= journal.accepting - journal.deleted
    films = {film.id: film for id in avatars for film in await desk.films("anna", id)}
    assert {id for id, avatar in journal.films.items() if avatar in avatars} <= set(films)
    for record in avatars.values():
        assert store.material(record.id).read("000.jpg") == b"face"
        assert record.progress == 1.0 if record.state == "ready" else record.progress < 1.0
        again, new = await desk.accept_avatar(
            record.model_copy(update={"id": store.new_id()}), f"key of {record.id}", "r"
        )
        assert (again.id, new) == (record.id, False)
    for id in journal.finished["introduce"] & set(avatars):
        assert avatars[id].introduced
    for id in journal.finished["learn"] & set(avatars):
        assert avatars[id].state == "ready"
    for id in journal.finished["film"] & set(films):
        assert films[id].state == "ready"
    for id in (journal.deleting - set(avatars)) | journal.deleted:
        with pytest.raises(NotFound):
            await desk.avatar("anna", id)
        assert store.avatar_place(id).entries(recursive=True) == []
    records: dict[str, Avatar | Film] = {**avatars, **films}
    held = {id for token, id in journal.held.items() if id in records and await desk.report(token, Change())}
    assert held == {id for id in journal.held.values() if id in records}
    await _nobody_else_has(desk, held)
    later = 2 * desk_to_kill.LEASE_S
    desk.tick()
    await desk.settled()
    waiting = {id for id, record in records.items() if record.state not in ("ready", "failed")}
    queue = await desk.queue()
    assert queue["introduce"] + queue["learn"] + queue["film"] == len(waiting), "everything goes on"
    await desk.stop()


async def _nobody_else_has(desk: Desk, held: set[str]) -> None:
    for kind in ("introduce", "learn", "film"):
        taken: set[str] = set()
        tokens = []
        while job := await desk.take(kind, "other", 0):
            assert job.id not in held | taken
            taken.add(job.id)
            tokens.append(job.token)
        for token in tokens:
            assert await desk.fail(token, "stopped", "It was only a test.", True)


@pytest.mark.parametrize("how", ["at any time", "at a write"])
def test_a_killed_desk_loses_nothing_and_shows_no_halves(tmp_path: Path, how: str) -> None:
    journal, chance = Journal(), random.Random(how)
    for seed in range(3 * ROUNDS):
        journal.read(
            _run_and_kill(tmp_path, seed, chance.randrange(1, 60 if seed % 2 else 500) if how == "at a write" else 0)
        )
        asyncio.run(_look(tmp_path, journal))
        # On a busy machine few get far before they are killed.
        everything = journal.accepted and journal.deleted and journal.finished["introduce"] and journal.films
        if everything and seed + 1 >= ROUNDS:
            return
    pytest.fail("not everything happened")
