"""A worker's life, whatever its handler and its desk do."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from toy_desk import INTRODUCED, ToyDesk, in_loop, running
from toy_work import Watched, until

from raytalk.errors import FaceError, StorageError, VideoError
from serve.errors import TooLarge, Unavailable
from serve.records.record import Change, Job, JobKind, Photo
from serve.work.loop import work, work_on
from serve.work.report import Report, Stopped


class Toy:
    """A handler that does what the test says."""

    kind: JobKind = "introduce"

    def __init__(self, do: Any) -> None:
        self._do = do
        self.ends: list[str] = []
        self.begun = 0

    def do(self, job: Job, report: Report) -> Change:
        self.begun += 1
        result = self._do(job, report)
        return result if isinstance(result, Change) else INTRODUCED

    def kept(self, job: Job) -> None:
        self.ends.append("kept")

    def lost(self, job: Job) -> None:
        self.ends.append("lost")


def raises(error: Exception) -> Toy:
    def do(job: Job, report: Report) -> None:
        raise error

    return Toy(do)


async def once(toy: ToyDesk, handler: Toy, desk: Any = None, lease_s: float = 30.0) -> None:
    job = await toy.take("introduce")
    with ThreadPoolExecutor(1) as thread:
        await asyncio.wait_for(work_on(desk or toy.desk, handler, job, lease_s, thread), 60)


@in_loop
async def test_done(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        accepted = await toy.accept(mode="FF")
        handler = Toy(lambda job, report: report(photos=(Photo(file="000.jpg", label="a", used=True),)))
        await once(toy, handler)
        seen = await toy.desk.avatar("anna", accepted.id)
        assert (seen.state, seen.version, seen.photos[0].used) == ("ready", INTRODUCED.version, True)
        assert handler.ends == ["kept"]


@pytest.mark.parametrize(
    ("error", "code", "detail"),
    [
        (FaceError("face too small", "the face\nmeasures 3 px"), "face-too-small", "the face measures 3 px"),
        (VideoError("it is no video"), "bad-video", "it is no video"),
        (TooLarge("too long a video", "too-long"), "too-long", "too long a video"),
    ],
)
def test_what_the_material_is_to_blame_for_is_final(tmp_path: Path, error: Exception, code: str, detail: str) -> None:
    @in_loop
    async def go() -> None:
        async with running(tmp_path) as toy:
            accepted = await toy.accept()
            handler = raises(error)
            await once(toy, handler)
            seen = await toy.desk.avatar("anna", accepted.id)
            assert seen.reason is not None
            assert (seen.state, seen.reason.code, seen.reason.detail) == ("failed", code, detail)
            assert handler.ends == ["lost"]

    go()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("/secret"), "internal"),
        (StorageError("s3://secret is down"), "storage"),
        (MemoryError(), "internal"),
        (Unavailable("not now"), "internal"),
    ],
)
def test_what_the_service_is_to_blame_for_is_tried_again(tmp_path: Path, error: Exception, code: str) -> None:
    @in_loop
    async def go() -> None:
        async with running(tmp_path, tries=3) as toy:
            accepted = await toy.accept()
            for state in ("queued", "queued", "failed"):
                await once(toy, raises(error))
                seen = await toy.desk.avatar("anna", accepted.id)
                assert seen.state == state
            assert seen.reason is not None
            assert seen.reason.code == code
            assert "secret" not in seen.reason.detail

    go()


@in_loop
async def test_what_was_said_before_an_error_is_known(tmp_path: Path) -> None:
    """Which photograph was refused and why."""
    async with running(tmp_path) as toy:
        accepted = await toy.accept()

        def do(job: Job, report: Report) -> None:
            report(progress=0.1)
            report.confirm()
            time.sleep(0.1)  # news that come so soon after the last wait for others
            report(photos=(Photo(file="000.jpg", label="a", used=False, code="no-face"),))
            raise FaceError("no face", "none")

        await once(toy, Toy(do))
        assert (await toy.desk.avatar("anna", accepted.id)).photos[0].code == "no-face"


@in_loop
async def test_progress_does_not_go_back_and_many_reports_are_few_messages(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        await toy.accept()
        desk = Watched(toy.desk)

        def do(job: Job, report: Report) -> None:
            for progress in (0.1, 0.5, 0.3, 0.4):
                report(progress=progress)
                report.confirm()
            for step in range(2000):
                report(step=step, progress=0.5 + step / 5000)

        await once(toy, Toy(do), desk)
        progress = [change.progress for change in desk.told if change.progress is not None]
        assert progress == sorted(progress)
        assert len(desk.told) < 50


@in_loop
async def test_a_job_that_was_taken_away_stops_the_handler(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        accepted = await toy.accept()
        steps: list[int] = []

        def do(job: Job, report: Report) -> None:
            for step in range(100_000):
                report(step=step)
                steps.append(step)
                time.sleep(0.001)

        handler = Toy(do)
        working = asyncio.create_task(once(toy, handler))
        await until(lambda: len(steps) > 5)
        await toy.desk.delete_avatar("anna", accepted.id)
        await working
        assert handler.ends == ["lost"]
        assert len(steps) < 5000


@in_loop
async def test_confirm_says_it_before_anything_is_written(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        accepted = await toy.accept()
        deleted, stopped = threading.Event(), threading.Event()

        def do(job: Job, report: Report) -> None:
            report.confirm()
            assert deleted.wait(30)
            try:
                report.confirm()
            except Stopped:
                stopped.set()
                raise

        working = asyncio.create_task(once(toy, Toy(do)))
        await asyncio.sleep(0.1)
        await toy.desk.delete_avatar("anna", accepted.id)
        deleted.set()
        await working
        assert stopped.is_set()


@in_loop
async def test_what_the_desk_does_not_take_is_taken_away(tmp_path: Path) -> None:
    """Deleted between the last report and the end."""
    async with running(tmp_path) as toy:
        accepted = await toy.accept()
        loop = asyncio.get_running_loop()

        def do(job: Job, report: Report) -> None:
            asyncio.run_coroutine_threadsafe(toy.desk.delete_avatar("anna", accepted.id), loop).result()

        handler = Toy(do)
        await once(toy, handler)
        assert handler.ends == ["lost"]


class Away:
    """A desk that does not answer for a while."""

    def __init__(self, desk: Any) -> None:
        self._desk, self.away, self.refused = desk, False, 0

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **named: Any) -> Any:
            if self.away:
                self.refused += 1
                raise RuntimeError("the desk is being restarted")
            return await getattr(self._desk, name)(*arguments, **named)

        return call


@in_loop
async def test_a_desk_that_restarts_costs_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        accepted = await toy.accept(mode="FF")
        desk = Away(toy.desk)

        def do(job: Job, report: Report) -> None:
            desk.away = True
            report(progress=0.5)
            time.sleep(0.5)
            report(progress=0.6)

        working = asyncio.create_task(once(toy, Toy(do), desk))
        await until(lambda: desk.refused >= 2)
        desk.away = False
        await working
        assert (await toy.desk.avatar("anna", accepted.id)).state == "ready"


@in_loop
async def test_a_worker_that_is_told_to_stop_gives_its_job_back(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        accepted = await toy.accept()

        def do(job: Job, report: Report) -> None:
            for _ in range(10_000):
                report(progress=0.4)
                time.sleep(0.002)

        handler = Toy(do)
        working = asyncio.create_task(work(toy.desk, handler, "w1", 30.0, wait_s=0.2))
        await until(lambda: handler.begun)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert handler.ends == ["lost"]
        seen = await toy.desk.avatar("anna", accepted.id)
        assert (seen.state, seen.attempt, seen.progress, seen.interrupted) == ("queued", None, 0.0, 1)
        assert (await toy.take("introduce")).id == accepted.id


@in_loop
async def test_one_after_the_other_in_order(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        done: list[str] = []
        handler = Toy(lambda job, report: done.append(job.id))
        desk = Away(toy.desk)
        working = asyncio.create_task(work(desk, handler, "w1", 30.0, wait_s=0.2))
        accepted = [(await toy.accept(mode="FF")).id for _ in range(3)]
        await until(lambda: len(done) == 3)
        desk.away = True
        await asyncio.sleep(0.5)
        desk.away = False
        accepted.append((await toy.accept(mode="FF")).id)
        await until(lambda: len(done) == 4)
        assert done == accepted
        working.cancel()
        await asyncio.wait([working])
