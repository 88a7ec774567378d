"""The desk on an object store, over HTTP."""

import asyncio

import pytest
from toy_desk import INTRODUCED, LEARNED, in_loop, running

from serve.errors import NotFound
from serve.records.record import Avatar, Change

pytestmark = pytest.mark.s3


@in_loop
async def test_a_whole_life(s3_server: str) -> None:
    async with running(f"{s3_server}/service", delete_material=True) as toy:
        first, second = await toy.introduced(), await toy.introduced(mode="FF")
        toy.store.put_preview(first.id, b"preview")
        toy.store.put_crop(first.id, "000.jpg", b"crop")
        film = await toy.accept_film(second)
        learning = await toy.take("learn")
        assert await toy.desk.report(learning.token, Change(progress=0.5))
        await toy.tick(2)
        await toy.start_anew()
        assert (await toy.desk.avatar("anna", first.id)).progress == 0.5
        assert await toy.desk.take("learn", "other", 0) is None
        assert (await toy.take("film")).id == film.id
        assert await toy.desk.finish(learning.token, LEARNED)
        await toy.desk.settled()
        seen = await toy.desk.avatar("anna", first.id)
        assert (seen.state, seen.material_deleted) == ("ready", True)
        names = [file.rpartition("/")[2] for file in toy.files(first.id)]
        assert names == ["preview.jpg", "record.json"]
        after, _ = await toy.desk.deleted(0, 0)
        await toy.desk.delete_avatar("anna", second.id)
        assert toy.files(second.id) == toy.files(film.id) == []
        assert (await toy.desk.deleted(after, 10))[1] == [second.id]
        await toy.start_anew()
        with pytest.raises(NotFound):
            await toy.desk.avatar("anna", second.id)
        await toy.desk.delete_avatar("anna", first.id)
        assert toy.files() == []


@in_loop
async def test_many_at_once(s3_server: str) -> None:
    async with running(f"{s3_server}/service", avatars=1000, waiting=1000) as toy:
        records = await asyncio.gather(*(toy.accept(mode="FF", key=f"k{number % 20}") for number in range(40)))
        ids = {record.id for record in records}
        assert len(ids) == 20
        await toy.desk.settled()
        assert len(toy.files("material")) == 20
        jobs = await asyncio.gather(*(toy.take("introduce", f"w{number}") for number in range(20)))
        assert {job.id for job in jobs} == ids
        await asyncio.gather(*(toy.desk.finish(job.token, INTRODUCED) for job in jobs))
        await toy.start_anew()
        seen, _ = await toy.desk.avatars("anna", 100, "")
        assert {(record.id, record.state) for record in seen} == {(id, "ready") for id in ids}
        for record in seen:
            data = toy.store.read_record("avatars", record.id)
            assert data is not None
            assert Avatar.model_validate_json(data) == record
        await asyncio.gather(*(toy.desk.delete_avatar("anna", id) for id in ids))
        assert toy.files() == []


@in_loop
async def test_what_nobody_accepted_is_swept(s3_server: str) -> None:
    async with running(f"{s3_server}/service") as toy:
        kept, orphan = await toy.accept(), toy.store.new_id()
        toy.store.put_material(orphan, "000.jpg", b"a face")
        changed = toy.store.changed("avatars", orphan)
        assert changed is not None
        toy.clock.seconds = changed + 3500
        await toy.desk.sweep()
        assert toy.files(orphan)
        toy.clock.pass_by(200)
        await toy.desk.sweep()
        assert not toy.files(orphan)
        assert len(toy.files(kept.id)) == 2
