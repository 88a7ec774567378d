"""Work is given to one at a time, in order, and is never lost."""

import asyncio
import time
from pathlib import Path

import pytest
from toy_desk import INTRODUCED, LEARNED, ToyDesk, in_loop, running

from serve.records.leases import STORE_EVERY_S
from serve.records.record import Avatar, Change, Version
from serve.records.rules import MOST_INTERRUPTIONS


def _stored(toy: ToyDesk, id: str) -> Avatar:
    data = toy.store.read_record("avatars", id)
    assert data is not None
    return Avatar.model_validate_json(data)


@in_loop
async def test_the_oldest_comes_first_and_nobody_gets_the_same(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        ids = [(await toy.accept(owner)).id for owner in ("anna", "bob", "anna", "cem", "bob")]
        jobs = await asyncio.gather(*(toy.desk.take("introduce", f"w{n}", 0) for n in range(8)))
        assert jobs[2] is not None
        assert [job.id for job in jobs if job] == ids
        assert [job is None for job in jobs] == [False] * 5 + [True] * 3
        assert await toy.desk.fail(jobs[2].token, "internal", "It broke.", True)
        late = await toy.accept()
        assert [(await toy.take("introduce")).id for _ in range(2)] == [ids[2], late.id], "what failed keeps its place"


@in_loop
async def test_a_worker_that_waits_gets_the_next(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        waiting = [asyncio.create_task(toy.desk.take("introduce", "w", 60)) for _ in range(3)]
        await asyncio.sleep(0.02)
        waiting[0].cancel()
        ids = {(await toy.accept()).id for _ in range(2)}
        jobs = await asyncio.gather(*waiting[1:])
        assert {job.id for job in jobs if job} == ids
        assert await toy.desk.take("learn", "w", 0.01) is None


@in_loop
async def test_a_job_given_to_nobody_waits_again_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        record = await toy.accept()
        toy.store.gate.clear()
        taking = asyncio.create_task(toy.desk.take("introduce", "gone", 60))
        await asyncio.sleep(0.05)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        toy.store.gate.set()
        await toy.desk.settled()
        job = await toy.take("introduce", "here")
        assert job.id == record.id
        assert job.avatar.attempt is not None
        assert (job.avatar.attempt.number, job.avatar.attempts) == (1, {"introduce": 1}), "the first try is not spent"


@in_loop
async def test_who_is_not_heard_of_loses_the_job_and_its_word(tmp_path: Path) -> None:
    async with running(tmp_path, lease_s=30) as toy:
        record = await toy.introduced()
        first = await toy.take("learn", "first")
        await toy.tick(9)
        assert await toy.desk.report(first.token, Change(progress=0.7, step=9, steps=10))
        await toy.tick(29)
        assert (await toy.desk.avatar("anna", record.id)).state == "learning"
        await toy.tick(2)
        seen = await toy.desk.avatar("anna", record.id)
        assert (seen.state, seen.progress, seen.step, seen.attempt) == ("queued", 0.2, 0, None)
        second = await toy.take("learn", "second")
        assert second.avatar.attempts == {"introduce": 1, "learn": 2}
        assert not await toy.desk.report(first.token, Change(progress=0.9))
        assert not await toy.desk.finish(first.token, LEARNED)
        assert not await toy.desk.fail(first.token, "internal", "", True)
        assert (await toy.desk.avatar("anna", record.id)).progress == 0.2
        assert await toy.desk.finish(second.token, LEARNED)


@in_loop
async def test_a_job_given_to_a_worker_that_is_dead_already_goes_to_the_next_soon(tmp_path: Path) -> None:
    async with running(tmp_path, tries=1, lease_s=30) as toy:
        record = await toy.introduced()
        dead = await toy.take("learn", "dead")
        await toy.tick(9)
        assert await toy.desk.take("learn", "other", 0) is None, "it may yet be heard of"
        await toy.tick(2)
        assert not await toy.desk.report(dead.token, Change(progress=0.5)), "two never work on it"
        alive = await toy.take("learn", "alive")
        assert (alive.id, alive.avatar.attempts["learn"], alive.avatar.interrupted) == (record.id, 2, 1)
        assert await toy.desk.report(alive.token, Change()), "with tries=1: that nobody began counts as no try"
        await toy.tick(29)
        assert await toy.desk.finish(alive.token, LEARNED)


@in_loop
async def test_what_nobody_begins_ends_at_some_time(tmp_path: Path) -> None:
    """A worker that dies of each job before it can say a word."""
    async with running(tmp_path, tries=2) as toy:
        record, begun = await toy.accept(), 0
        while await toy.desk.take("introduce", "w", 0) is not None:
            begun += 1
            assert begun < 100
            await toy.tick(11)
        seen = await toy.desk.avatar("anna", record.id)
        assert (seen.state, seen.reason and seen.reason.code) == ("failed", "not-begun")
        assert begun == MOST_INTERRUPTIONS + 2


@in_loop
async def test_a_new_desk_knows_that_nobody_has_begun(tmp_path: Path) -> None:
    async with running(tmp_path, lease_s=30) as toy:
        record = await toy.introduced()
        await toy.take("learn", "dead")
        await toy.start_anew()
        await toy.tick(10 + STORE_EVERY_S + 1)
        assert (await toy.take("learn", "alive")).id == record.id


@in_loop
async def test_after_some_tries_it_has_failed(tmp_path: Path) -> None:
    async with running(tmp_path, tries=2, lease_s=30) as toy:
        record = await toy.introduced()
        job = await toy.take("learn")
        assert await toy.desk.fail(job.token, "internal", "It broke.", True)
        job = await toy.take("learn")
        assert await toy.desk.report(job.token, Change())
        await toy.tick(31)
        seen = await toy.desk.avatar("anna", record.id)
        assert (seen.state, seen.preview_ready) == ("failed", True)
        assert seen.reason is not None
        assert seen.reason.code == "worker-lost"
        assert await toy.desk.take("learn", "w", 0) is None
        assert _stored(toy, record.id) == seen


@in_loop
async def test_a_new_desk_waits_for_holds_that_go_on(tmp_path: Path) -> None:
    async with running(tmp_path, lease_s=30, tries=1) as toy:
        record = await toy.introduced()
        alive, dead = await toy.take("learn", "alive"), await toy.accept("bob")
        for job in (alive, await toy.take("introduce", "dead")):
            assert await toy.desk.report(job.token, Change())
        await toy.tick(2)
        seen = await toy.desk.avatar("anna", record.id)
        await toy.start_anew()
        found = await toy.desk.avatar("anna", record.id)
        assert (found.state, found.progress) == ("learning", seen.progress)
        assert found.revision > seen.revision
        assert await toy.desk.take("learn", "other", 0) is None
        await toy.tick(20)
        assert await toy.desk.report(alive.token, Change(progress=0.5))
        await toy.tick(20)
        assert (await toy.desk.avatar("anna", record.id)).progress == 0.5
        assert await toy.desk.take("learn", "other", 0) is None
        job = await toy.take("introduce", "other")
        assert job.id == dead.id, "with tries=1: that the service stopped counts as no try"
        assert await toy.desk.finish(alive.token, LEARNED)


@in_loop
async def test_progress_is_seen_at_once_and_stored_now_and_then(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        record = await toy.introduced()
        job = await toy.take("learn")
        toy.store.written.clear()
        for step in range(1, 101):
            toy.clock.pass_by(0.1)
            assert await toy.desk.report(job.token, Change(progress=step / 200, step=step))
            assert (await toy.desk.avatar("anna", record.id)).step == step
            await toy.tick()
        assert 4 <= len(toy.store.written) <= 6, "10 seconds"
        await toy.tick(2)
        assert _stored(toy, record.id).step == 100


@in_loop
async def test_signs_of_life_reach_storage(tmp_path: Path) -> None:
    async with running(tmp_path, lease_s=30) as toy:
        await toy.introduced()
        job = await toy.take("learn")
        assert await toy.desk.report(job.token, Change())
        for _ in range(5):
            await toy.tick(10)
            assert await toy.desk.report(job.token, Change())
            await toy.tick(STORE_EVERY_S)
        await toy.start_anew()
        await toy.tick(25)
        assert await toy.desk.report(job.token, Change()), "the new desk knows the newest end of the hold"


@in_loop
async def test_states_are_stored_before_they_are_announced(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        record = await toy.accept()
        job = await toy.take("introduce")
        toy.store.gate.clear()
        change = Change(preview_ready=True, version=Version(mode="FF", folder="ff"), new_preview=True)
        reporting = asyncio.create_task(toy.desk.report(job.token, change))
        await asyncio.sleep(0.05)
        assert not (await toy.desk.avatar("anna", record.id)).preview_ready
        assert await toy.desk.report(job.token, Change(progress=0.1)), "progress does not wait"
        assert (await toy.desk.avatar("anna", record.id)).progress == 0.1
        toy.store.gate.set()
        assert await reporting
        seen = await toy.desk.avatar("anna", record.id)
        assert (seen.preview_ready, seen.previews, seen.progress) == (True, 1, 0.1)
        await toy.tick(2)
        assert _stored(toy, record.id).progress == 0.1, "what was reported meanwhile is stored later"


@in_loop
async def test_what_is_known_already_is_not_stored_again(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        await toy.accept()
        job = await toy.take("introduce")
        assert await toy.desk.report(job.token, INTRODUCED)
        toy.store.written.clear()
        for step in range(20):
            assert await toy.desk.report(job.token, INTRODUCED.model_copy(update={"step": step}))
        assert toy.store.written == []


@in_loop
async def test_who_reports_while_the_hold_is_taken_away_hears_it(tmp_path: Path) -> None:
    async with running(tmp_path, lease_s=30) as toy:
        await toy.accept()
        job = await toy.take("introduce")
        toy.store.gate.clear()
        toy.clock.pass_by(31)
        toy.desk.tick()
        await asyncio.sleep(0.02)
        assert not await toy.desk.report(job.token, Change(progress=0.5))
        assert not await toy.desk.finish(job.token, INTRODUCED)
        toy.store.gate.set()
        await toy.desk.settled()
        assert (await toy.take("introduce")).avatar.attempts == {"introduce": 2}


@in_loop
async def test_a_worker_that_was_told_to_stop_spends_no_try(tmp_path: Path) -> None:
    async with running(tmp_path, tries=1) as toy:
        record = await toy.accept()
        for _ in range(3):
            job = await toy.take("introduce")
            assert await toy.desk.fail(job.token, "stopped", "The replica was replaced.", True)
        assert (await toy.desk.avatar("anna", record.id)).state == "queued"


@in_loop
async def test_stopping_stores_what_is_known(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        record = await toy.introduced()
        job = await toy.take("learn")
        assert await toy.desk.report(job.token, Change(progress=0.77))
        await toy.desk.stop()
        assert _stored(toy, record.id).progress == 0.77
        await toy.start_anew()
        assert await toy.desk.report(job.token, Change()), "the worker outlives the desk"


@in_loop
async def test_a_desk_by_itself_takes_jobs_away(tmp_path: Path) -> None:
    """With the real clock, and the ticking that production has."""

    toy = ToyDesk(tmp_path, lease_s=1)
    desk = type(toy.desk)(toy.store, toy.limits, toy.work, settle_s=0.0)
    await desk.start()
    toy.desk = desk
    record = await toy.accept()
    await toy.take("introduce")
    job = await desk.take("introduce", "other", 30)
    assert job is not None
    assert (job.id, job.avatar.attempts) == (record.id, {"introduce": 2})
    assert await desk.ready()
    await desk.stop()


@in_loop
async def test_a_desk_that_stood_still_takes_no_job_from_who_could_not_report(tmp_path: Path) -> None:
    toy = ToyDesk(tmp_path, lease_s=30)
    # Of files, which the desk sweeps when they are old.
    toy.clock.seconds = time.time()
    await toy.desk.start()
    await toy.accept()
    job = await toy.take("introduce")
    toy.clock.pass_by(2)
    await asyncio.sleep(1.2)
    # The whole process, for nine seconds: more than is left of the first hold, much less than a lease.
    toy.clock.pass_by(9)
    await asyncio.sleep(1.2)
    assert await toy.desk.report(job.token, Change(progress=0.1))
    await toy.desk.stop()
