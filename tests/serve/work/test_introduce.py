"""Photographs and videos as they come, and what is said of each."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from people import blurred, far_away, man, nobody, two_people, woman, woman_again, write_still, write_talk
from toy_desk import in_loop, running
from toy_work import OWNER, Workshop, toy_settings

from raytalk.avatar import Avatar
from serve.records.record import Change, Version


def decoded(data: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    return np.asarray(picture)


@in_loop
async def test_good_photographs_become_an_avatar_that_can_be_driven(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        shop = Workshop(toy, toy_settings(run, tmp_path))
        avatar = await shop.introduced(woman(), woman_again(1), mode="FF")
        assert (avatar.state, avatar.progress, avatar.preview_ready, avatar.previews) == ("ready", 1.0, True, 1)
        assert avatar.version == Version(mode="FF", folder="ff-1")
        assert (avatar.resolution, avatar.detector) == (32, "dlib")
        assert [(photo.used, photo.code, photo.crop) for photo in avatar.photos] == [
            (True, "", "000.jpg"),
            (True, "", "001.jpg"),
        ]
        assert avatar.quality["photos_used"] == 2
        assert -1 <= avatar.quality["ssim_ff"] <= 1
        kept = Avatar.load(toy.store.avatar_uri(avatar.id, "ff-1"))
        assert (kept.card.id, kept.card.name, kept.card.consent) == (avatar.id, "Anna", "I agree")
        assert str(tmp_path) not in str(kept.card.learned)
        crop = decoded(toy.store.read_picture(avatar.id, "crop", "000.jpg"))
        assert crop.shape == (256, 512, 3)
        assert (crop[:, 256:].max(axis=2) < 30).mean() > 0.8, "a drawing is lines on black"
        preview = toy.store.read_picture(avatar.id, "preview")
        assert decoded(preview).shape == (32, 64, 3)
        assert b"c2pa" in preview
        assert shop.progress() == sorted(shop.progress())


@in_loop
async def test_who_is_to_be_learned_waits_for_that(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        shop = Workshop(toy, toy_settings(run, tmp_path))
        avatar = await shop.introduced(woman())
        assert (avatar.state, avatar.preview_ready, avatar.progress) == ("queued", True, 0.1)
        assert (await toy.take("learn")).id == avatar.id


@in_loop
async def test_bad_ones_among_good_ones_are_named_and_left_out(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        shop = Workshop(toy, toy_settings(run, tmp_path))
        bad = nobody(), two_people(), blurred(), far_away(), b"no picture"
        avatar = await shop.introduced(woman(), *bad, woman_again(1), man(), woman_again(2), mode="FF")
        assert [photo.code for photo in avatar.photos] == [
            "", "no-face", "two-faces", "blurred", "face-too-small", "not-a-picture", "", "somebody-else", "",
        ]  # fmt: skip
        assert [photo.used for photo in avatar.photos] == [not photo.code for photo in avatar.photos]
        assert all(photo.reason for photo in avatar.photos if photo.code)
        # Whoever was refused sees what was found.
        assert [bool(photo.crop) for photo in avatar.photos] == [True, False, True, True, True, False, True, True, True]
        assert avatar.state == "ready"
        assert avatar.quality["photos_used"] == 3
        assert len(Avatar.load(toy.store.avatar_uri(avatar.id, "ff-1")).landmarks) == 3


@pytest.mark.parametrize(
    ("pictures", "code", "said"),
    [
        ([nobody()], "no-face", "picture 0: no face was found"),
        ([nobody(), nobody()], "no-face", "picture 1: no face was found"),
        ([nobody(), blurred()], "no-usable-photograph", "None of the 2 photographs"),
        ([woman(), man()], "different-people", "photographs of one person only"),
    ],
)
def test_nothing_that_can_be_used(run: Path, tmp_path: Path, pictures: list[np.ndarray], code: str, said: str) -> None:
    @in_loop
    async def go() -> None:
        async with running(tmp_path) as toy:
            shop = Workshop(toy, toy_settings(run, tmp_path))
            avatar = await shop.introduced(*pictures)
            assert avatar.state == "failed"
            assert avatar.reason is not None
            assert avatar.reason.code == code
            assert said in avatar.reason.detail
            assert [photo.used for photo in avatar.photos] == [False] * len(pictures)
            assert all(photo.code and photo.reason for photo in avatar.photos)
            assert avatar.attempts == {"introduce": 1}, "it is the material's fault"
            assert not toy.files("/ff/")

    go()


@in_loop
async def test_a_video_as_material(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path / "kept") as toy:
        shop = Workshop(toy, toy_settings(run, tmp_path / "kept"))
        avatar = await shop.introduced(write_talk(tmp_path / "talk.mp4"), mode="FF")
        assert avatar.state == "ready"
        (film,) = avatar.photos
        assert (film.used, film.crop) == (True, "000.jpg")
        assert avatar.quality["photos_used"] == 3
        assert decoded(toy.store.read_picture(avatar.id, "crop", "000.jpg")).shape == (256, 512, 3)
        assert len(Avatar.load(toy.store.avatar_uri(avatar.id, "ff-1")).landmarks) == 3


@pytest.mark.parametrize(
    ("limits", "kind", "code"),
    [
        ({"limits__video_seconds": 0.3}, "talk", "too-long"),
        ({"limits__video_pixels": 90_000}, "talk", "too-many-pixels"),
        ({}, "nobody", "no-face"),
        ({}, "broken", "not-a-video"),
        ({}, "playlist", "not-a-video"),
    ],
)
def test_videos_that_are_refused(run: Path, tmp_path: Path, limits: dict[str, float], kind: str, code: str) -> None:
    @in_loop
    async def go() -> None:
        video = tmp_path / f"{kind}.mp4"
        if kind == "talk":
            write_talk(video)
        elif kind == "nobody":
            write_still(video, nobody())
        else:
            video.write_bytes(b"\0\0\0\x18ftypmp42" + b"x" * 500 if kind == "broken" else b"#EXTM3U\n/etc/passwd\n")
        async with running(tmp_path / "kept") as toy:
            shop = Workshop(toy, toy_settings(run, tmp_path / "kept", **limits))
            avatar = await shop.introduced(video)
            assert avatar.reason is not None
            assert (avatar.state, avatar.reason.code) == ("failed", code)
            assert (avatar.photos[0].used, avatar.photos[0].code) == (False, code)
            assert str(tmp_path) not in avatar.model_dump_json(), "places on this machine are nobody's business"

    go()


@in_loop
async def test_who_is_deleted_meanwhile_leaves_nothing(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        shop = Workshop(toy, toy_settings(run, tmp_path))
        avatar = await shop.person(woman())
        there: list[str] = []

        async def delete(change: Change) -> None:
            # When the crop is there and the avatar is not.
            if change.photos and not there:
                there.extend(toy.files(avatar.id))
                await toy.desk.delete_avatar(OWNER, avatar.id)

        shop.desk.before_report = delete
        await shop.do("introduce")
        assert any("crops/000.jpg" in file for file in there)
        assert toy.files(avatar.id) == []
        assert shop.desk.answers[-1] is False


@in_loop
async def test_a_picture_with_a_visible_mark(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        pictures = []
        for mark in (False, True):
            shop = Workshop(toy, toy_settings(run, tmp_path, render__visible_mark=mark))
            avatar = await shop.introduced(woman(), mode="FF")
            pictures.append(decoded(toy.store.read_picture(avatar.id, "preview")).astype(int))
        apart = np.abs(pictures[0] - pictures[1]).max(axis=2)
        assert apart[-14:, -14:].max() > 30
        assert apart[:8, :8].max() < 8
