"""Taking things up: once, within limits, stored before it is said."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from toy_desk import ToyDesk, in_loop, new_avatar, new_film, running

from serve.errors import Conflict, NotFound, TooMany, Unavailable, Unprocessable
from serve.records.record import Avatar


@in_loop
async def test_what_is_accepted_is_stored(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        record = await toy.accept()
        data = toy.store.read_record("avatars", record.id)
        assert data is not None
        assert Avatar.model_validate_json(data) == record
        await toy.start_anew()
        assert await toy.desk.avatar("anna", record.id) == record


@in_loop
async def test_the_same_key_gives_the_same_avatar_also_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        first = await toy.accept(key="k", request="photos 1")
        for _ in range(2):
            again = new_avatar()
            toy.store.put_material(again.id, "000.jpg", b"a face")
            record, new = await toy.desk.accept_avatar(again, "k", "photos 1")
            assert (record.id, new) == (first.id, False)
            await toy.desk.settled()
            assert toy.files(again.id) == [], "what was put a second time is deleted"
            await toy.start_anew()
        assert toy.files(first.id)
        with pytest.raises(Conflict) as refused:
            await toy.accept(key="k", request="photos 2")
        assert refused.value.code == "idempotency-mismatch"
        other = await toy.accept(owner="bob", key="k", request="photos 1")
        assert other.id != first.id, "keys of owners do not meet"
        assert (await toy.accept(key="l", request="photos 1")).id != first.id


@in_loop
async def test_a_key_is_of_one_kind_and_goes_with_what_it_made(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        avatar = await toy.introduced()
        film = await toy.accept_film(avatar, key="k", request="r")
        assert (await toy.accept_film(avatar, key="k", request="r")).id == film.id
        with pytest.raises(Conflict):
            await toy.accept(key="k", request="r")
        await toy.desk.delete_film("anna", film.id)
        assert (await toy.accept_film(avatar, key="k", request="r")).id != film.id


@in_loop
async def test_many_at_once_with_one_key_are_one(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        records = await asyncio.gather(*(toy.accept(key="k", request="r") for _ in range(20)))
        assert len({record.id for record in records}) == 1
        await toy.desk.settled()
        assert len(toy.files("record.json")) == len(toy.files("material")) == 1


@in_loop
async def test_the_same_call_twice_is_one_avatar(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        record = new_avatar()
        toy.store.put_material(record.id, "000.jpg", b"a face")
        answers = await asyncio.gather(*(toy.desk.accept_avatar(record, "", "") for _ in range(3)))
        assert sorted(new for _, new in answers) == [False, False, True]
        with pytest.raises(Conflict):
            await toy.desk.accept_avatar(record.model_copy(update={"owner": "bob"}), "", "")
        await toy.desk.settled()
        assert toy.files("material"), "the material is the first one's"


@in_loop
async def test_limits_of_an_owner(tmp_path: Path) -> None:
    async with running(tmp_path, avatars=3, waiting=2) as toy:
        await toy.accept(owner="bob")
        await toy.accept()
        await toy.accept()
        with pytest.raises(TooMany) as refused:
            await toy.accept()
        assert refused.value.code == "queue-full"
        assert "Retry-After" in refused.value.headers
        await toy.take("introduce")
        mine = [await toy.take("introduce"), await toy.take("introduce")]
        with pytest.raises(TooMany):
            await toy.accept()
        assert await toy.desk.fail(mine[0].token, "no-face", "There is no face.", False)
        await toy.accept()
        assert await toy.desk.fail(mine[1].token, "no-face", "There is no face.", False)
        with pytest.raises(TooMany) as refused:
            await toy.accept()
        assert refused.value.code == "too-many-avatars"
        await toy.desk.delete_avatar("anna", mine[0].id)
        await toy.accept()
        await toy.desk.settled()
        assert len(toy.files("material")) == len(toy.files("record.json")) == 4, "what was refused is gone"


@in_loop
async def test_limits_hold_for_many_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, avatars=3, waiting=50) as toy:
        answers = await asyncio.gather(*(toy.accept() for _ in range(12)), return_exceptions=True)
        assert sum(isinstance(answer, TooMany) for answer in answers) == 9
        assert len((await toy.desk.avatars("anna", 50, ""))[0]) == 3
        with pytest.raises(TooMany):
            await toy.accept()


@in_loop
async def test_films_count_as_waiting(tmp_path: Path) -> None:
    async with running(tmp_path, waiting=2) as toy:
        avatar = await toy.introduced(mode="FF")
        films = [await toy.accept_film(avatar) for _ in range(2)]
        with pytest.raises(TooMany):
            await toy.accept_film(avatar)
        with pytest.raises(TooMany):
            await toy.accept()
        await toy.desk.settled()
        assert len(toy.files("driver")) == 2
        await toy.desk.delete_film("anna", films[0].id)
        await toy.accept()


@in_loop
async def test_without_consent_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        record = new_avatar().model_copy(update={"consent": " \n"})
        toy.store.put_material(record.id, "000.jpg", b"a face")
        with pytest.raises(Unprocessable):
            await toy.desk.accept_avatar(record, "", "")
        await toy.desk.settled()
        assert toy.files() == []


@in_loop
async def test_an_id_that_is_none(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        with pytest.raises(NotFound):
            await toy.desk.accept_avatar(new_avatar().model_copy(update={"id": "../x"}), "", "")
        await toy.desk.settled()


@in_loop
async def test_if_storage_fails_nothing_was_accepted(tmp_path: Path) -> None:
    async with running(tmp_path, avatars=1, waiting=1) as toy:
        toy.store.fails = lambda name, _: name == "write_record"
        with pytest.raises(Unavailable):
            await toy.accept(key="k")
        await toy.desk.settled()
        assert toy.files() == []
        assert (await toy.desk.avatars("anna", 9, ""))[0] == []
        assert await toy.desk.take("introduce", "w", 0) is None
        toy.store.mend()
        await toy.accept(key="k")


@in_loop
async def test_a_record_that_was_stored_all_the_same_is_taken_back(tmp_path: Path) -> None:
    """The object store did as it was told, and its answer was lost."""

    async with running(tmp_path) as toy:
        write = toy.store.write_record

        def written_but_failed(kind: Any, id: str, data: bytes) -> None:
            toy.store.storage.write(f"{kind}/{id}/record.json", data)
            write("avatars", id, data)

        toy.store.fails = lambda name, _: name == "write_record"
        toy.store.write_record = written_but_failed  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await toy.accept()
        await toy.desk.settled()
        assert toy.files() == []
        await toy.start_anew()
        assert (await toy.desk.avatars("anna", 9, ""))[0] == []


async def _once_writing(toy: ToyDesk) -> None:
    while not toy.desk._office.tasks._whole:
        await asyncio.sleep(0)
    await asyncio.sleep(0.02)


@in_loop
async def test_who_goes_away_leaves_nothing_half_done(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        toy.store.gate.clear()
        asking = asyncio.create_task(toy.accept(key="k", request="r"))
        await _once_writing(toy)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (await toy.desk.avatars("anna", 9, ""))[0] == [], "not announced before it is stored"
        toy.store.gate.set()
        await toy.desk.settled()
        (record,) = (await toy.desk.avatars("anna", 9, ""))[0]
        assert (await toy.accept(key="k", request="r")).id == record.id
        assert (await toy.take("introduce")).id == record.id
        await toy.desk.settled()
        assert len(toy.files("material")) == 1


@in_loop
async def test_no_film_of_an_avatar_that_is_being_deleted(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        avatar = await toy.introduced()
        toy.store.gate.clear()
        film = new_film(avatar)
        toy.store.put_film_driver(film.id, "driver.bin", b"a video")
        accepting = asyncio.create_task(toy.desk.accept_film(film, "", ""))
        await _once_writing(toy)
        deleting = asyncio.create_task(toy.desk.delete_avatar("anna", avatar.id))
        late = new_film(avatar)
        toy.store.put_film_driver(late.id, "driver.bin", b"a video")
        too_late = asyncio.create_task(toy.desk.accept_film(late, "", ""))
        await asyncio.sleep(0.02)
        toy.store.gate.set()
        await accepting
        await deleting
        with pytest.raises(NotFound):
            await too_late
        await toy.desk.settled()
        assert toy.files() == []
        assert await toy.desk.take("film", "w", 0) is None
