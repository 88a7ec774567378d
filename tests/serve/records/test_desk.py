"""The life of avatars and films at the desk, and what those who ask get to see."""

import asyncio
from pathlib import Path
from urllib.parse import unquote_plus

import pytest
from toy_desk import INTRODUCED, LEARNED, in_loop, new_avatar, new_film, running

from serve.errors import BadRequest, Conflict, NotFound, Unavailable
from serve.records import desk_protocol
from serve.records.desk import Desk
from serve.records.record import Change, Photo, Version


def _keeps_the_protocol(desk: Desk) -> desk_protocol.Desk:
    """mypy says whether it does."""
    return desk


@in_loop
async def test_a_feed_forward_avatar_is_ready_once_introduced(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        accepted = await toy.accept(mode="FF")
        assert (accepted.state, accepted.progress, accepted.preview_ready) == ("queued", 0.0, False)
        job = await toy.take("introduce")
        assert (job.kind, job.id, job.avatar.state) == ("introduce", accepted.id, "queued")
        photos = (Photo(file="000.jpg", label="me.jpg", used=True, crop="000.jpg"),)
        assert await toy.desk.report(job.token, Change(progress=0.5, photos=photos))
        seen = await toy.desk.avatar("anna", accepted.id)
        assert (seen.progress, seen.photos) == (0.5, photos)
        assert await toy.desk.finish(job.token, INTRODUCED)
        seen = await toy.desk.avatar("anna", accepted.id)
        assert (seen.state, seen.progress, seen.preview_ready, seen.resolution) == ("ready", 1.0, True, 64)
        assert seen.attempt is None
        assert await toy.desk.take("learn", "w", 0) is None
        assert not await toy.desk.report(job.token, Change(progress=0.1)), "it is done"


@in_loop
async def test_a_fine_tuned_avatar_can_be_driven_while_it_learns(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        accepted = await toy.introduced()
        assert (accepted.state, accepted.preview_ready, accepted.progress) == ("queued", True, 0.2)
        assert await toy.desk.take("introduce", "w", 0) is None
        job = await toy.take("learn")
        assert (await toy.desk.avatar("anna", accepted.id)).state == "learning"
        assert await toy.desk.report(job.token, Change(progress=0.6, step=50, steps=100, new_preview=True))
        seen = await toy.desk.avatar("anna", accepted.id)
        assert (seen.step, seen.steps, seen.previews, seen.version) == (50, 100, 1, Version(mode="FF", folder="ff"))
        assert await toy.desk.finish(job.token, LEARNED)
        seen = await toy.desk.avatar("anna", accepted.id)
        assert (seen.state, seen.progress, seen.quality) == ("ready", 1.0, {"ssim_ft": 0.9})
        assert seen.version == Version(mode="FT", folder="ft-1")


@in_loop
async def test_a_film(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        unready = await toy.accept()
        with pytest.raises(Conflict) as refused:
            await toy.accept_film(unready)
        assert refused.value.code == "not-ready"
        await toy.desk.delete_avatar("anna", unready.id)
        avatar = await toy.introduced()
        film = await toy.accept_film(avatar)
        second = await toy.accept_film(avatar)
        job = await toy.take("film")
        assert job.film is not None
        assert (job.id, job.film.id, job.avatar.id, job.film.state) == (film.id, film.id, avatar.id, "making")
        assert await toy.desk.report(job.token, Change(progress=0.5, frames=10))
        with pytest.raises(BadRequest):
            await toy.desk.report(job.token, Change(resolution=3))
        assert await toy.desk.finish(job.token, Change(frames=20, fps=25.0))
        seen = await toy.desk.film("anna", film.id)
        assert (seen.state, seen.progress, seen.frames, seen.fps) == ("ready", 1.0, 20, 25.0)
        assert [one.id for one in await toy.desk.films("anna", avatar.id)] == [second.id, film.id]


@in_loop
async def test_nobody_finds_what_is_anothers(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        avatar = await toy.introduced()
        film = await toy.accept_film(avatar)
        for call in (
            toy.desk.avatar("bob", avatar.id),
            toy.desk.wait_avatar("bob", avatar.id, 0, 0),
            toy.desk.delete_avatar("bob", avatar.id),
            toy.desk.films("bob", avatar.id),
            toy.desk.film("bob", film.id),
            toy.desk.delete_film("bob", film.id),
            toy.desk.accept_film(new_film(avatar).model_copy(update={"owner": "bob"}), "", ""),
            toy.desk.avatar("anna", "f" * 32),
            toy.desk.avatar("anna", "../" + avatar.id),
        ):
            with pytest.raises(NotFound):
                await call
        assert (await toy.desk.avatars("bob", 10, ""))[0] == []
        assert (await toy.desk.avatar("anna", avatar.id)).id == avatar.id


@in_loop
async def test_pages_go_on_where_they_were_whatever_is_made_or_deleted(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        ids = [(await toy.accept()).id for _ in range(5)]
        first, after = await toy.desk.avatars("anna", 2, "")
        assert [record.id for record in first] == [ids[4], ids[3]]
        assert unquote_plus(after) == after, "it stays as it is in an address where nobody quotes it"
        await toy.accept()
        await toy.desk.delete_avatar("anna", ids[3])
        second, after = await toy.desk.avatars("anna", 2, after)
        assert [record.id for record in second] == [ids[2], ids[1]]
        third, after = await toy.desk.avatars("anna", 2, after)
        assert ([record.id for record in third], after) == ([ids[0]], "")
        for cursor in ("x", "2026-01-01_a", "_"):
            with pytest.raises(BadRequest):
                await toy.desk.avatars("anna", 2, cursor)


@in_loop
async def test_waiting_for_a_change(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        record = await toy.accept()
        assert await toy.desk.wait_avatar("anna", record.id, record.revision, 0.01) == record
        job = await toy.take("introduce")
        seen = await toy.desk.wait_avatar("anna", record.id, record.revision, 60)
        assert seen.revision > record.revision
        waiting = [asyncio.create_task(toy.desk.wait_avatar("anna", record.id, seen.revision, 60)) for _ in range(3)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        await asyncio.sleep(0)
        assert await toy.desk.report(job.token, Change(progress=0.3))
        assert [record.progress for record in await asyncio.gather(*waiting[1:])] == [0.3, 0.3]
        seen = await toy.desk.avatar("anna", record.id)
        last = asyncio.create_task(toy.desk.wait_avatar("anna", record.id, seen.revision, 60))
        await asyncio.sleep(0.01)
        await toy.desk.delete_avatar("anna", record.id)
        with pytest.raises(NotFound):
            await last


@in_loop
async def test_a_sign_of_life_is_no_news(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        record = await toy.accept()
        job = await toy.take("introduce")
        before = await toy.desk.avatar("anna", record.id)
        assert await toy.desk.report(job.token, Change())
        assert await toy.desk.report(job.token, Change(progress=0.0))
        assert (await toy.desk.avatar("anna", record.id)).revision == before.revision


@in_loop
async def test_figures(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        avatar = await toy.introduced()
        await toy.accept()
        await toy.accept()
        await toy.take("introduce")
        await toy.accept_film(avatar)
        assert await toy.desk.queue() == {
            "introduce": 1,
            "learn": 1,
            "film": 1,
            "queued": 3,
            "learning": 0,
            "ready": 0,
            "failed": 0,
        }


@in_loop
async def test_the_desk_says_what_is_the_desks_to_say(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        bold = new_avatar().model_copy(
            update={
                "state": "ready",
                "preview_ready": True,
                "revision": 99,
                "version": Version(mode="FT", folder="ft-1"),
            }
        )
        record, new = await toy.desk.accept_avatar(bold, "", "")
        assert new
        assert (record.state, record.preview_ready, record.version, record.revision) == ("queued", False, None, 1)


@in_loop
async def test_ready_only_while_storage_answers(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        assert await toy.desk.ready()
        toy.store.break_down()
        with pytest.raises(Unavailable) as refused:
            await toy.accept()
        assert "disk" not in refused.value.detail, "what storage says is not for everybody"
        assert not await toy.desk.ready()
        toy.store.mend()
        await toy.accept()
        assert await toy.desk.ready()
    assert not await toy.desk.ready()
    with pytest.raises(Unavailable):
        await toy.desk.avatars("anna", 1, "")


@in_loop
async def test_material_goes_by_policy_once_nothing_more_is_learned(tmp_path: Path) -> None:
    async with running(tmp_path, delete_material=True, tries=1) as toy:
        record = await toy.introduced()
        toy.store.put_crop(record.id, "000.jpg", b"crop")
        toy.store.put_preview(record.id, b"preview")
        await toy.desk.settled()
        assert toy.files("material"), "it is still to be learned from"
        job = await toy.take("learn")
        photos = (Photo(file="000.jpg", label="me.jpg", used=True, crop="000.jpg"),)
        toy.store.fails = lambda name, _: name == "delete_material"
        assert await toy.desk.finish(job.token, LEARNED.model_copy(update={"photos": photos}))
        await asyncio.sleep(0.05)
        assert not (await toy.desk.avatar("anna", record.id)).material_deleted, "it is not true yet"
        toy.store.mend()
        await toy.start_anew()
        await toy.desk.settled()
        seen = await toy.desk.avatar("anna", record.id)
        assert seen.material_deleted
        assert [photo.crop for photo in seen.photos] == [""]
        assert [file.rpartition("/")[2] for file in toy.files(record.id)] == ["preview.jpg", "record.json"]


@pytest.mark.parametrize("failed", [True, False])
def test_what_drove_a_film_goes_by_policy_also_if_it_has_failed(tmp_path: Path, failed: bool) -> None:
    @in_loop
    async def go() -> None:
        async with running(tmp_path, delete_material=True, tries=1) as toy:
            film = await toy.accept_film(await toy.introduced(mode="FF"))
            await toy.desk.settled()
            assert toy.files("driver"), "the film is still to be made"
            job = await toy.take("film")
            toy.store.fails = lambda name, _: name == "delete_film_driver"
            if failed:
                assert await toy.desk.fail(job.token, "no-face", "There is none.", False)
            else:
                assert await toy.desk.finish(job.token, Change(frames=3))
            await asyncio.sleep(0.05)
            assert (await toy.desk.film("anna", film.id)).driver, "it is not deleted yet"
            toy.store.mend()
            await toy.start_anew()
            await toy.desk.settled()
            seen = await toy.desk.film("anna", film.id)
            assert (seen.state, seen.driver) == ("failed" if failed else "ready", "")
            assert [file.rpartition("/")[2] for file in toy.files(film.id)] == ["record.json"]

    go()
