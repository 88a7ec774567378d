"""A desk that starts: many records, broken ones, another desk beside it."""

import asyncio
import time
from pathlib import Path

import pytest
from toy_desk import INTRODUCED, ToyDesk, in_loop, new_avatar, running

from serve.errors import Unavailable
from serve.records import writer
from serve.records.record import Change


@in_loop
async def test_ten_thousand_records_are_read_in_seconds(tmp_path: Path) -> None:
    toy = ToyDesk(tmp_path)
    owners = [f"owner{number}" for number in range(100)]
    for number in range(10_000):
        record = new_avatar(owners[number % 100])
        # Not through the store, which waits for the disk each time.
        folder = tmp_path / "avatars" / record.id
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(record.model_dump_json())
    begun = time.perf_counter()
    await toy.desk.start(ticking=False)
    assert time.perf_counter() - begun < 20, "about 2 s on a core that is free"
    assert (await toy.desk.queue())["introduce"] == 10_000
    assert len((await toy.desk.avatars("owner7", 200, ""))[0]) == 100
    await toy.desk.stop()


@in_loop
async def test_a_record_that_cannot_be_read_harms_nobody_else(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        good, bad = await toy.accept(), await toy.accept()
        toy.store.write_record("avatars", bad.id, b'{"half":')
        toy.store.write_deletion(3, b"what?")
        await toy.start_anew()
        assert [record.id for record in (await toy.desk.avatars("anna", 9, ""))[0]] == [good.id]
        assert toy.store.read_record("avatars", bad.id) == b'{"half":', "it is left for a person to look at"


@in_loop
async def test_without_storage_no_desk(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        record = await toy.accept()
        toy.store.break_down()
        with pytest.raises(Unavailable):
            await toy.start_anew()
        assert not await toy.desk.ready()
        toy.store.mend()
        toy.store.fails = lambda name, _: name == "read_record"
        await toy.start_anew()
        assert (await toy.desk.avatar("anna", record.id)).id == record.id


@in_loop
async def test_only_the_first_waits_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with an object store that is cut off: each call takes a minute before it fails."""
    monkeypatch.setattr(writer, "_SLOW_S", 0.2)
    async with running(tmp_path) as toy:

        def slowly(name: str, arguments: object) -> bool:
            time.sleep(0.3)
            return True

        toy.store.fails = slowly
        with pytest.raises(Unavailable):
            await toy.accept()
        toy.store.fails = lambda name, _: pytest.fail("it was asked")
        with pytest.raises(Unavailable):
            await toy.accept()
        assert not await toy.desk.ready()
        toy.store.mend()
        await toy.desk._office.writer.probe()
        assert await toy.desk.ready()
        await toy.accept()


@in_loop
async def test_a_desk_that_was_replaced_writes_nothing_more(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        record = await toy.accept()
        job = await toy.take("introduce")
        old = toy.desk
        await toy.start_anew()
        assert await toy.desk.finish(job.token, INTRODUCED)
        now = toy.store.read_record("avatars", record.id)
        with pytest.raises(Unavailable):
            await old.finish(job.token, Change(progress=0.1))
        assert toy.store.read_record("avatars", record.id) == now
        assert not await old.ready()
        for call in (old.avatar("anna", record.id), old.take("learn", "w", 0), old.deleted(0, 0)):
            with pytest.raises(Unavailable):
                await call
        await old.stop()
        assert await toy.desk.ready()
        assert (await toy.take("learn")).id == record.id


@in_loop
async def test_a_new_desk_lets_the_old_one_end_its_writing(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        toy.store.gate.clear()
        accepting = asyncio.create_task(toy.accept())
        await asyncio.sleep(0.05)
        new = type(toy.desk)(toy.store, toy.limits, toy.work, clock=toy.clock, settle_s=0.3)
        starting = asyncio.create_task(new.start(ticking=False))
        await asyncio.sleep(0.05)
        toy.store.gate.set()
        record = await accepting
        await starting
        assert (await new.avatar("anna", record.id)).id == record.id
        await new.stop()


@in_loop
async def test_a_desk_that_ended_its_turn_is_not_waited_for(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        await toy.desk.stop()
        new = type(toy.desk)(toy.store, toy.limits, toy.work, clock=toy.clock, settle_s=60.0)
        await asyncio.wait_for(new.start(ticking=False), 10)
        await new.stop()
