"""Somebody's motion makes a film of an avatar, or a reason why not."""

import json
import shutil
from pathlib import Path
from typing import Any

import c2pa  # type: ignore[import-untyped]
import numpy as np
import pytest
from people import nobody, woman, write_still, write_talk
from toy import face_landmarks
from toy_desk import in_loop, running
from toy_work import OWNER, Workshop, toy_settings

from raytalk.faces.track import Track
from raytalk.faces.video import probe, read_frames
from serve.records.record import Avatar, Change, Film


async def filmed(shop: Workshop, avatar: Avatar, driver: Path, adapt: str = "auto") -> Film:
    """Made, or failed."""
    film = await shop.film(avatar, driver, adapt)
    await shop.do("film")
    return Film.model_validate(await shop.desk.film(OWNER, film.id))


def frames_of(shop: Workshop, film: Film) -> np.ndarray:
    path = shop.store.film_place(film.id).local_root
    assert path is not None
    return np.stack([frame.image for frame in read_frames(path / "film.mp4")])


def a_track(count: int = 12, fps: float = 25.0, detector: str = "dlib", gap: float = 0.0) -> Track:
    """A mouth that opens in a picture of 200 pixels."""
    faces = np.stack([face_landmarks(200, mouth=open_) for open_ in np.linspace(0, 1, count)])
    times = np.arange(count) / (fps if 1 <= fps <= 1000 else 25.0) + np.where(np.arange(count) == count - 1, gap, 0)
    return Track(faces, times, fps, detector, 200, 200, "/etc/passwd")


@in_loop
async def test_a_film_with_and_without_adaptation_and_with_sound(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path / "kept") as toy:
        shop = Workshop(toy, toy_settings(run, tmp_path / "kept"))
        avatar = await shop.introduced(woman(), mode="FF")
        talk = write_talk(tmp_path / "talk.mp4", sound=True)
        shop.desk.told.clear()
        made = {adapt: await filmed(shop, avatar, talk, adapt) for adapt in ("true", "false", "auto")}
        for film in made.values():
            assert (film.state, film.progress, film.frames, film.fps) == ("ready", 1.0, 16, 25.0)
        pictures = {adapt: frames_of(shop, film) for adapt, film in made.items()}
        assert pictures["true"].shape == (16, 32, 32, 3)
        assert np.abs(pictures["true"].astype(int) - pictures["false"]).mean() > 1
        # The driver is somebody else.
        np.testing.assert_array_equal(pictures["auto"], pictures["true"])
        place = toy.store.film_place(made["true"].id).local_root
        assert place is not None
        assert probe(place / "film.mp4").has_audio
        with c2pa.Reader("video/mp4", (place / "film.mp4").open("rb")) as reader:
            assert "trainedAlgorithmicMedia" in json.dumps(json.loads(reader.json()))


@in_loop
async def test_of_a_fine_tuned_avatar_and_progress(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path / "kept", delete_material=True) as toy:
        shop = Workshop(toy, toy_settings(run, tmp_path / "kept", fewshot__steps=2, work__delete_material=True))
        avatar = await shop.introduced(woman())
        await shop.do("learn")
        shop.desk.told.clear()
        film = await filmed(shop, avatar, write_talk(tmp_path / "talk.mp4"))
        assert film.state == "ready"
        assert not probe(Path(toy.store.film_place(film.id).root) / "film.mp4").has_audio
        assert shop.progress() == sorted(shop.progress())
        await toy.desk.settled()
        assert not toy.files("driver"), "by policy"


@in_loop
async def test_a_model_that_has_moved(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "before")
    async with running(tmp_path / "kept") as toy:
        first = Workshop(toy, toy_settings(tmp_path / "before", tmp_path / "kept"))
        avatar = await first.introduced(woman(), mode="FF")
        (tmp_path / "before").rename(tmp_path / "after")
        a_track().save(str(tmp_path / "track.npz"))
        shop = Workshop(toy, toy_settings(tmp_path / "after", tmp_path / "kept"))
        film = await filmed(shop, avatar, tmp_path / "track.npz")
        assert film.state == "ready", film.reason


@in_loop
async def test_a_kept_track_drives_and_names_no_file(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path / "kept") as toy:
        shop = Workshop(toy, toy_settings(run, tmp_path / "kept"))
        avatar = await shop.introduced(woman(), mode="FF")
        a_track().save(str(tmp_path / "track.npz"))
        film = await filmed(shop, avatar, tmp_path / "track.npz")
        assert (film.state, film.frames) == ("ready", 12)
        assert np.ptp(frames_of(shop, film).astype(int), axis=0).max() > 3, "it moves"


@pytest.mark.parametrize(
    ("driver", "code"),
    [
        ("nobody", "no-face"),
        ("long", "too-long"),
        ("broken", "not-a-video"),
        ("cut", "not-a-video"),
        ("other detector", "other-detector"),
        ("no track", "not-a-track"),
        ("endless", "not-a-track"),
        ("fast", "not-a-track"),
        ("slow", "too-long"),
    ],
)
def test_what_cannot_drive(run: Path, tmp_path: Path, driver: str, code: str) -> None:
    tracks: dict[str, Any] = {
        "other detector": {"detector": "face-alignment"},
        "endless": {"fps": 1e-6},
        "fast": {"fps": 1e9},
        "slow": {"gap": 1e6},
    }

    @in_loop
    async def go() -> None:
        path = tmp_path / ("driver.npz" if driver in tracks or driver == "no track" else "driver.mp4")
        if driver in tracks:
            a_track(**tracks[driver]).save(str(path))
        elif driver == "nobody":
            write_still(path, nobody())
        elif driver in ("long", "cut"):
            write_talk(path, frames=40, sound=True)
        if driver in ("broken", "no track"):
            path.write_bytes(b"\0\0\0\x18ftypmp42 and nothing more")
        if driver == "cut":
            path.write_bytes(path.read_bytes()[:3000])
        async with running(tmp_path / "kept") as toy:
            shop = Workshop(toy, toy_settings(run, tmp_path / "kept", limits__video_seconds=1.0))
            avatar = await shop.introduced(woman(), mode="FF")
            film = await filmed(shop, avatar, path)
            assert film.reason is not None
            assert (film.state, film.reason.code) == ("failed", code)
            assert film.attempts == 1
            assert str(tmp_path) not in film.model_dump_json()
            assert not toy.files("film.mp4")
            if driver == "nobody":
                assert "the driving video: the face of dlib is in 0 of 8 frames" in film.reason.detail

    go()


@pytest.mark.parametrize("moment", ["detecting", "rendering"])
def test_a_film_that_is_deleted_meanwhile(run: Path, tmp_path: Path, moment: str) -> None:
    @in_loop
    async def go() -> None:
        async with running(tmp_path / "kept") as toy:
            shop = Workshop(toy, toy_settings(run, tmp_path / "kept"))
            avatar = await shop.introduced(woman(), mode="FF")
            film = await shop.film(avatar, write_talk(tmp_path / "talk.mp4", frames=40))

            async def delete(change: Change) -> None:
                if (change.progress or 0) > (0.1 if moment == "detecting" else 0.5):
                    shop.desk.before_report = None
                    await toy.desk.delete_avatar(OWNER, avatar.id)

            shop.desk.before_report = delete
            await shop.do("film")
            assert toy.files(film.id) == []
            assert toy.files(avatar.id) == []

    go()


@in_loop
async def test_a_mark_in_every_frame(run: Path, tmp_path: Path) -> None:
    async with running(tmp_path / "kept") as toy:
        talk = write_talk(tmp_path / "talk.mp4", frames=6)
        made = []
        for mark in (False, True):
            shop = Workshop(toy, toy_settings(run, tmp_path / "kept", render__visible_mark=mark))
            avatar = await shop.introduced(woman(), mode="FF")
            made.append(frames_of(shop, await filmed(shop, avatar, talk, "false")).astype(int))
        apart = np.abs(made[0] - made[1]).max(axis=3)
        assert (apart[:, -14:, -14:].max(axis=(1, 2)) > 30).all()
