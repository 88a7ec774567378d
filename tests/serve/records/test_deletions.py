"""What was deleted is gone, whatever happens, and everybody who must hears of it."""

import asyncio
import os
from pathlib import Path

import pytest
from toy_desk import INTRODUCED, in_loop, running

from serve.errors import NotFound, Unavailable
from serve.records.record import Change


@in_loop
async def test_everything_of_a_person_goes_and_nothing_of_another(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        other = await toy.introduced()
        kept = await toy.accept_film(other)
        avatar = await toy.introduced()
        film = await toy.accept_film(avatar)
        toy.store.put_preview(avatar.id, b"preview")
        toy.store.avatar_place(avatar.id).write("ff/avatar.json", b"{}")
        await toy.desk.delete_avatar("anna", avatar.id)
        assert toy.files(avatar.id) == toy.files(film.id) == [], "at once, not some time"
        for call in (
            toy.desk.avatar("anna", avatar.id),
            toy.desk.delete_avatar("anna", avatar.id),
            toy.desk.film("anna", film.id),
            toy.desk.films("anna", avatar.id),
        ):
            with pytest.raises(NotFound):
                await call
        assert (await toy.take("film")).id == kept.id
        assert await toy.desk.take("film", "w", 0) is None
        assert (await toy.take("learn")).id == other.id
        await toy.start_anew()
        assert [record.id for record in (await toy.desk.avatars("anna", 9, ""))[0]] == [other.id]


@in_loop
async def test_workers_are_told_to_stop(tmp_path: Path) -> None:
    async with running(tmp_path, lease_s=30) as toy:
        avatar = await toy.introduced()
        film = await toy.accept_film(avatar)
        learning, filming = await toy.take("learn"), await toy.take("film")
        await toy.desk.delete_film("anna", film.id)
        assert not await toy.desk.finish(filming.token, Change())
        assert await toy.desk.report(learning.token, Change(progress=0.5))
        await toy.desk.delete_avatar("anna", avatar.id)
        assert not await toy.desk.report(learning.token, Change(progress=0.6, new_preview=True))
        assert not await toy.desk.fail(learning.token, "internal", "", True)
        # It was just saving when it heard.
        toy.store.avatar_place(avatar.id).write("ft-1/weights.safetensors", b"w")
        toy.store.put_film(film.id, Path(__file__))
        await toy.tick(10)
        assert toy.files(avatar.id)
        await toy.tick(40)
        assert toy.files() == [], "after the time of a hold nobody can be writing"


@in_loop
async def test_replicas_hear_of_each_deletion_once_and_in_order(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        start, ids = await toy.desk.deleted(0, 0)
        assert (start > 0, ids) == (True, [])
        assert await toy.desk.deleted(start, 0.01) == (start, [])
        avatars = [await toy.accept() for _ in range(6)]
        heard: list[str] = []

        async def listen() -> None:
            after = start
            while len(heard) < 6:
                after, ids = await toy.desk.deleted(after, 60)
                heard.extend(ids)

        listening = [asyncio.create_task(listen())]
        await asyncio.gather(*(toy.desk.delete_avatar("anna", avatar.id) for avatar in avatars))
        await asyncio.gather(*listening)
        assert sorted(heard) == sorted(avatar.id for avatar in avatars)
        after, ids = await toy.desk.deleted(start, 0)
        assert ids == heard
        assert await toy.desk.deleted(0, 0) == (after, heard)


@in_loop
async def test_replicas_hear_of_what_an_earlier_desk_deleted(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        start, _ = await toy.desk.deleted(0, 0)
        avatars = [await toy.accept() for _ in range(2)]
        await toy.desk.delete_avatar("anna", avatars[0].id)
        middle, _ = await toy.desk.deleted(start, 0)
        await toy.desk.delete_avatar("anna", avatars[1].id)
        await toy.start_anew()
        assert (await toy.desk.deleted(middle, 0))[1] == [avatars[1].id]
        toy.clock.pass_by(-1000)
        await toy.start_anew()
        later = await toy.accept()
        await toy.desk.delete_avatar("anna", later.id)
        assert (await toy.desk.deleted(middle, 0))[1] == [avatars[1].id, later.id], "although the clock went back"


@in_loop
async def test_a_clock_that_was_ahead_hides_no_deletion(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        toy.clock.pass_by(1000)
        await toy.start_anew()
        after, _ = await toy.desk.deleted(0, 0)
        toy.clock.pass_by(-1000)
        await toy.start_anew()
        after, _ = await toy.desk.deleted(after, 0)
        avatar = await toy.accept()
        await toy.desk.delete_avatar("anna", avatar.id)
        assert (await toy.desk.deleted(after, 0))[1] == [avatar.id]


@in_loop
async def test_undecided_if_it_cannot_be_noted(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        avatar = await toy.introduced()
        job = await toy.take("learn")
        toy.store.fails = lambda name, _: name == "write_deletion"
        with pytest.raises(Unavailable):
            await toy.desk.delete_avatar("anna", avatar.id)
        assert (await toy.desk.avatar("anna", avatar.id)).id == avatar.id
        assert await toy.desk.report(job.token, Change(progress=0.5))
        toy.store.mend()
        await toy.desk.delete_avatar("anna", avatar.id)


@pytest.mark.parametrize("failing", ["delete_record", "discard"])
@in_loop
async def test_decided_once_noted_although_storage_fails(tmp_path: Path, failing: str) -> None:
    async with running(tmp_path) as toy:
        avatar = await toy.introduced()
        await toy.accept_film(avatar)
        toy.store.fails = lambda name, _: name == failing
        with pytest.raises(Unavailable):
            await toy.desk.delete_avatar("anna", avatar.id)
        with pytest.raises(NotFound):
            await toy.desk.avatar("anna", avatar.id)
        with pytest.raises(Unavailable):
            await toy.desk.delete_avatar("anna", avatar.id)
        with pytest.raises(NotFound):
            await toy.desk.delete_avatar("bob", avatar.id)
        toy.store.mend()
        await toy.desk.delete_avatar("anna", avatar.id)
        assert toy.files() == []
        with pytest.raises(NotFound):
            await toy.desk.delete_avatar("anna", avatar.id)


@in_loop
async def test_a_worker_that_is_still_writing_makes_no_trouble(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        avatar = await toy.introduced()
        await toy.take("learn")
        tries = 0

        def stumbles_once(name: str, _: object) -> bool:
            nonlocal tries
            tries += name == "discard"
            return name == "discard" and tries == 1

        toy.store.fails = stumbles_once
        await toy.desk.delete_avatar("anna", avatar.id)
        assert toy.files() == []


@pytest.mark.parametrize("failing", ["delete_record", "discard"])
@in_loop
async def test_a_new_desk_completes_what_was_decided(tmp_path: Path, failing: str) -> None:
    async with running(tmp_path) as toy:
        avatar = await toy.introduced()
        await toy.accept_film(avatar)
        toy.store.fails = lambda name, _: name == failing
        with pytest.raises(Unavailable):
            await toy.desk.delete_avatar("anna", avatar.id)
        await toy.desk._office.tasks.stop()
        await toy.start_anew()
        with pytest.raises(NotFound):
            await toy.desk.avatar("anna", avatar.id)
        assert await toy.desk.take("learn", "w", 0) is None
        assert await toy.desk.take("film", "w", 0) is None
        assert toy.files(), "storage still fails"
        toy.store.mend()
        await toy.desk.settled()
        assert toy.files() == []


@in_loop
async def test_a_record_that_a_late_desk_put_back_is_not_shown(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        avatar = await toy.introduced()
        data = toy.store.read_record("avatars", avatar.id)
        assert data is not None
        await toy.desk.delete_avatar("anna", avatar.id)
        await toy.desk.settled()
        toy.store.write_record("avatars", avatar.id, data)
        await toy.start_anew()
        with pytest.raises(NotFound):
            await toy.desk.avatar("anna", avatar.id)
        await toy.desk.settled()
        assert toy.files() == []


@in_loop
async def test_who_goes_away_has_deleted_all_the_same(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        avatar = await toy.introduced()
        toy.store.gate.clear()
        waiting = asyncio.create_task(toy.desk.take("learn", "w", 60))
        await asyncio.sleep(0.02)
        deleting = asyncio.create_task(toy.desk.delete_avatar("anna", avatar.id))
        await asyncio.sleep(0.02)
        deleting.cancel()
        toy.store.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await deleting
        job = await waiting
        await toy.desk.settled()
        assert toy.files() == []
        assert job is None or not await toy.desk.report(job.token, Change())


@in_loop
async def test_twice_at_once_is_once(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        avatar = await toy.accept()
        answers = await asyncio.gather(
            *(toy.desk.delete_avatar("anna", avatar.id) for _ in range(3)), return_exceptions=True
        )
        assert [type(answer) for answer in answers].count(NotFound) == 2
        assert len(toy.store.deletions()) == 1


@in_loop
async def test_notes_are_forgotten_after_a_day(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        avatar = await toy.accept()
        await toy.desk.delete_avatar("anna", avatar.id)
        await toy.tick(23 * 3600)
        assert len(toy.store.deletions()) == 1
        note = toy.store.read_deletion(toy.store.deletions()[0])
        assert b"Anna" not in note, "nothing of the person"
        await toy.tick(2 * 3600)
        assert toy.store.deletions() == []


@in_loop
async def test_what_nobody_accepted_is_swept_after_an_hour(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        kept, unreadable = await toy.accept(), toy.store.new_id()
        new, old, empty, film = (toy.store.new_id() for _ in range(4))
        toy.store.put_material(old, "000.jpg", b"face")
        toy.store.put_film_driver(film, "driver.bin", b"video")
        toy.store.put_material(new, "000.jpg", b"face")
        toy.store.write_record("avatars", unreadable, b"of a later version")
        (tmp_path / "avatars" / empty).mkdir()
        for path in [tmp_path, *tmp_path.rglob("*")]:
            os.utime(path, (toy.clock() - 4000,) * 2)
        os.utime(tmp_path / "avatars" / new / "material" / "000.jpg", (toy.clock() - 3000,) * 2)
        await toy.start_anew()
        await toy.desk.sweep()
        assert set(toy.store.ids("avatars")) == {kept.id, unreadable, new}
        assert toy.store.ids("films") == []
        toy.clock.pass_by(1000)
        await toy.desk.sweep()
        assert set(toy.store.ids("avatars")) == {kept.id, unreadable}
        job = await toy.take("introduce")
        assert await toy.desk.finish(job.token, INTRODUCED)
