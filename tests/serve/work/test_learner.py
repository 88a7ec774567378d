"""Learning through the service: as the jobs do it, told of truthfully, and stopped when nobody wants it any more."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from people import woman, woman_again, write_talk
from toy_desk import in_loop, running
from toy_work import OWNER, Workshop, toy_settings

from raytalk.avatar import Avatar
from raytalk.enrolment.maker import About
from raytalk.enrolment.material import gather
from raytalk.evaluation.metrics.pictures import ssim
from serve.records.record import Change, Version
from serve.work.learner import Learner


@in_loop
async def test_the_service_learns_what_the_job_learns(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        shop = Workshop(toy, toy_settings(run, tmp_path))
        avatar = await shop.introduced(woman(), woman_again(1))
        shop.desk.told.clear()
        await shop.do("learn")
        seen = await shop.seen(avatar)
        assert (seen.state, seen.progress, seen.step, seen.steps) == ("ready", 1.0, 6, 6)
        assert seen.version == Version(mode="FT", folder="ft-1")
        assert set(seen.quality) == {"photos_used", "ssim_ff", "ssim_ft"}
        assert seen.quality["ssim_ff"] == avatar.quality["ssim_ff"]
        kept = Avatar.load(toy.store.avatar_uri(avatar.id, "ft-1"))
        assert (kept.card.mode, kept.card.id, kept.card.name) == ("FT", avatar.id, "Anna")
        # Without a preview in between, from the same files.
        settings = shop.maker.settings
        material = gather(f"{tmp_path}/avatars/{avatar.id}/material", "", 3, 32, settings.min_face, shop.maker.detector)
        alone = shop.maker.fine_tuned(material, About("Anna"))
        alone.save(str(tmp_path / "alone"))
        again = Avatar.load(str(tmp_path / "alone"))
        np.testing.assert_array_equal(kept.render(material.landmarks), again.render(material.landmarks))
        likeness = float(ssim(kept.render(material.landmarks), material.frames).mean())
        assert abs(seen.quality["ssim_ft"] - likeness) < 0.01


@in_loop
async def test_progress_and_previews(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        shop = Workshop(toy, toy_settings(run, tmp_path, fewshot__steps=9, work__preview_steps=3))
        avatar = await shop.introduced(woman())
        pictures: list[bytes] = []

        async def look(change: Change) -> None:
            pictures.append(toy.store.read_picture(avatar.id, "preview"))

        shop.desk.told.clear()
        shop.desk.before_report = look
        await shop.do("learn")
        progress = shop.progress()
        assert progress == sorted(progress)
        assert progress[0] == 0.1
        steps = [change.step for change in shop.desk.told if change.step is not None]
        assert steps == sorted(steps)
        seen = await shop.seen(avatar)
        # One feed-forward, after the third and sixth step, and the last.
        assert seen.previews == 4
        assert len({*pictures, toy.store.read_picture(avatar.id, "preview")}) == 4


@in_loop
async def test_a_video_is_learned_from(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path / "kept") as toy:
        shop = Workshop(toy, toy_settings(run, tmp_path / "kept", fewshot__steps=2))
        avatar = await shop.introduced(write_talk(tmp_path / "talk.mp4"))
        await shop.do("learn")
        assert (await shop.seen(avatar)).state == "ready"
        assert len(Avatar.load(toy.store.avatar_uri(avatar.id, "ft-1")).landmarks) == 3


@in_loop
async def test_whose_job_was_taken_away_writes_nothing_more(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        shop = Workshop(toy, toy_settings(run, tmp_path, fewshot__steps=10_000, work__preview_steps=1000))
        avatar = await shop.introduced(woman())
        before = {file: toy.store.storage.read(file) for file in toy.files(avatar.id) if "record" not in file}

        async def taken_away(change: Change) -> bool | None:
            return False if (change.step or 0) > 2 else None

        shop.desk.before_report = taken_away
        job = await shop.do("learn")
        after = {file: toy.store.storage.read(file) for file in toy.files(avatar.id) if "record" not in file}
        assert after == before
        assert shop.desk.answers[-1] is False
        # To the desk it is still that worker's, until the lease ends.
        seen = await shop.seen(avatar)
        assert (seen.state, seen.preview_ready, seen.version) == ("learning", True, Version(mode="FF", folder="ff-1"))
        assert seen.attempt is not None
        assert seen.attempt.token == job.token


@pytest.mark.parametrize("moment", ["learning", "saving"])
def test_who_is_deleted_while_being_learned_leaves_nothing(
    run: Path, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @in_loop
    async def go() -> None:
        async with running(tmp_path) as toy:
            shop = Workshop(toy, toy_settings(run, tmp_path, work__preview_steps=1))
            avatar = await shop.introduced(woman())
            if moment == "learning":

                async def delete(change: Change) -> None:
                    if change.new_preview:
                        shop.desk.before_report = None
                        await toy.desk.delete_avatar(OWNER, avatar.id)

                shop.desk.before_report = delete
            else:
                # Between the last question whether the job is ours and the writing of the avatar.
                import asyncio

                loop, save = asyncio.get_running_loop(), Avatar.save

                def deleted_first(self: Avatar, uri: str) -> None:
                    asyncio.run_coroutine_threadsafe(toy.desk.delete_avatar(OWNER, avatar.id), loop).result()
                    save(self, uri)

                monkeypatch.setattr(Avatar, "save", deleted_first)
            await shop.do("learn")
            assert toy.files(avatar.id) == []

    go()


@in_loop
async def test_what_failed_attempts_left_goes(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        shop = Workshop(toy, toy_settings(run, tmp_path))
        avatar = await shop.introduced(woman())
        lost = await toy.take("learn")
        toy.store.avatar_place(avatar.id).write("ft-1/weights-0123456789ab.safetensors", b"half")
        await toy.tick(31)  # nothing was heard of it
        await shop.do("learn")
        seen = await shop.seen(avatar)
        assert seen.version == Version(mode="FT", folder="ft-2")
        assert toy.files("ft-1") == []
        assert not await toy.desk.report(lost.token, Change(progress=0.5))


@in_loop
async def test_an_attempt_that_ends_in_an_error_leaves_nothing_and_is_tried_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, tries=2) as toy:
        shop = Workshop(toy, toy_settings(run, tmp_path))
        avatar = await shop.introduced(woman())

        def broken(*_: Any, **__: Any) -> bytes:
            raise OSError(28, "no space on /secret/place")

        import serve.work.learner as module

        monkeypatch.setattr(module, "preview", broken)
        shop.desk.told.clear()
        await shop.do("learn")
        seen = await shop.seen(avatar)
        assert (seen.state, seen.progress, seen.step) == ("queued", 0.1, 0)
        assert toy.files("/ft-") == []
        await shop.do("learn")
        seen = await shop.seen(avatar)
        assert seen.state == "failed"
        assert seen.reason is not None
        assert seen.reason.code == "internal"
        assert "secret" not in seen.reason.detail
        assert seen.preview_ready, "the feed-forward avatar can still be driven"


@in_loop
async def test_the_learner_remembers_nobody(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        shop = Workshop(toy, toy_settings(run, tmp_path))
        handler = shop.handler("learn")
        assert isinstance(handler, Learner)
        handler.prepare()
        learner = shop.maker.learner()
        fresh = copy.deepcopy(learner.generator.state_dict())
        await shop.introduced(woman(), woman_again(1))
        await shop.do("learn", handler)
        for name, value in learner.generator.state_dict().items():
            torch.testing.assert_close(value, fresh[name])
        assert not learner.embedding.any()
        for phases in learner._phases.values():
            assert not phases.batch.frames.any()
            assert not phases.batch.drawings.any()
