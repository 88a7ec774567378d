"""Work goes on while storage does not answer."""

from pathlib import Path

import pytest
from toy_desk import INTRODUCED, in_loop, running

from serve.errors import Unavailable
from serve.records.record import Avatar, Change


@in_loop
async def test_an_outage_of_storage_loses_neither_the_job_nor_its_news(tmp_path: Path) -> None:
    async with running(tmp_path, lease_s=30) as toy:
        record = await toy.accept()
        job = await toy.take("introduce")
        toy.store.break_down()
        assert await toy.desk.report(job.token, INTRODUCED.model_copy(update={"new_preview": True}))
        assert not (await toy.desk.avatar("anna", record.id)).preview_ready
        for minute in range(10):
            await toy.tick(25)
            assert await toy.desk.report(job.token, Change(progress=0.25 + minute / 64, resolution=128))
        with pytest.raises(Unavailable):
            await toy.desk.finish(job.token, Change())
        seen = await toy.desk.avatar("anna", record.id)
        assert (seen.preview_ready, seen.introduced, seen.progress) == (False, False, 0.25 + 9 / 64)
        await toy.tick(25)
        toy.store.mend()
        await toy.tick()
        seen = await toy.desk.avatar("anna", record.id)
        assert (seen.preview_ready, seen.resolution, seen.previews) == (True, 128, 1)
        assert await toy.desk.finish(job.token, Change())
        data = toy.store.read_record("avatars", record.id)
        assert data is not None
        assert Avatar.model_validate_json(data) == await toy.desk.avatar("anna", record.id)


@in_loop
async def test_who_waited_long_for_storage_may_ask_again(tmp_path: Path) -> None:
    async with running(tmp_path, lease_s=30) as toy:
        record = await toy.accept(mode="FF")
        job = await toy.take("introduce")

        def after_a_while(name: str, arguments: object) -> bool:
            toy.clock.pass_by(25)
            return True

        toy.store.fails = after_a_while
        with pytest.raises(Unavailable):
            await toy.desk.finish(job.token, INTRODUCED)
        toy.store.mend()
        await toy.tick(10)
        assert await toy.desk.finish(job.token, INTRODUCED)
        assert (await toy.desk.avatar("anna", record.id)).state == "ready"


@in_loop
async def test_a_hold_ends_only_once_that_is_stored(tmp_path: Path) -> None:
    async with running(tmp_path, lease_s=30) as toy:
        record = await toy.accept()
        job = await toy.take("introduce")
        assert await toy.desk.report(job.token, Change())
        toy.store.break_down()
        await toy.tick(31)
        assert await toy.desk.take("introduce", "other", 0) is None
        assert await toy.desk.report(job.token, Change(progress=0.1)), "nobody else has it yet"
        toy.store.mend()
        await toy.tick(31)
        assert (await toy.take("introduce")).id == record.id
        assert not await toy.desk.report(job.token, Change())


@in_loop
async def test_nobody_gets_what_cannot_be_noted(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        record = await toy.accept()
        toy.store.break_down()
        with pytest.raises(Unavailable):
            await toy.desk.take("introduce", "w", 0)
        toy.store.mend()
        job = await toy.take("introduce")
        assert (job.id, job.avatar.attempts) == (record.id, {"introduce": 1})
