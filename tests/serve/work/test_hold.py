"""A worker says at once that it has its job, and believes so no longer than the desk does."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from toy_desk import INTRODUCED, in_loop, running
from toy_work import Watched, until

from serve.records import desk_protocol
from serve.records.record import Change, Job
from serve.work.report import Report
from tests.serve.work.test_loop import Away, Toy, once


@in_loop
async def test_the_desk_hears_at_once_that_a_job_has_arrived(tmp_path: Path) -> None:
    """Long before a third of the lease, and whatever the handler says."""
    async with running(tmp_path, lease_s=30) as toy:
        accepted = await toy.accept(mode="FF")
        desk, over = Watched(toy.desk), threading.Event()
        working = asyncio.create_task(once(toy, Toy(lambda job, report: over.wait(30) and None), desk))
        await until(lambda: desk.told, 5)
        await toy.tick(29)
        assert await toy.desk.take("introduce", "other", 0) is None, "the whole lease is this worker's"
        over.set()
        await working
        seen = await toy.desk.avatar("anna", accepted.id)
        assert (seen.state, seen.attempts) == ("ready", {"introduce": 1})


class Deaf:
    """A desk that hears of nothing: what is said to it is lost on the way, as from a machine that is cut off."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._desk, name)

    async def report(self, token: str, change: Change) -> bool:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits so long")


@in_loop
async def test_a_worker_that_is_not_heard_stops_when_the_desk_gives_its_job_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_protocol, "_FIRST_LEASE_S", 0.9)
    async with running(tmp_path, lease_s=30) as toy:
        accepted = await toy.accept(mode="FF")
        worked: list[float] = []

        def do(job: Job, report: Report) -> Change:
            while True:
                report.check()
                worked.append(time.monotonic())
                time.sleep(0.01)

        begun = time.monotonic()
        handler = Toy(do)
        await once(toy, handler, Deaf(toy.desk))
        assert handler.ends == ["lost"]
        assert 0.8 < worked[-1] - begun < 3.0, "not for the whole lease"
        await toy.tick(1)
        other = await toy.take("introduce", "other")
        assert other.id == accepted.id
        assert await toy.desk.finish(other.token, INTRODUCED)


@in_loop
async def test_a_worker_that_hears_nothing_for_the_length_of_a_lease_stops(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        await toy.accept()
        desk = Away(toy.desk)

        def do(job: Job, report: Report) -> None:
            desk.away = True
            for _ in range(1000):
                report.check()
                time.sleep(0.01)

        handler, start = Toy(do), time.monotonic()
        await once(toy, handler, desk, lease_s=1.0)
        assert handler.ends == ["lost"]
        assert 1.0 < time.monotonic() - start < 8


@in_loop
async def test_signs_of_life(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        await toy.accept()
        desk = Watched(toy.desk)
        await once(toy, Toy(lambda job, report: time.sleep(1.5)), desk, lease_s=0.9)
        assert len(desk.told) >= 3
