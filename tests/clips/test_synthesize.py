"""Rendered people as clips: the job with a stand-in for the renderer, and once with the renderer itself."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import toy
import toy_studio
from toy import toy_clip
from toy_studio import ToyShootReel, ToyStudio, no_anatomy

from raytalk.clips.catalog import read_clips, scan
from raytalk.clips.crash_marks import CrashMarks
from raytalk.clips.ledger import Ledger
from raytalk.clips.preprocess import PreprocessSettings, preprocess
from raytalk.clips.reels import Reel, Shooting, Take, make_reels
from raytalk.clips.schema import SPLITS, Clip, clips_to_table, write_table
from raytalk.clips.synthesize import SynthesizeSettings, make_plan, synthesize
from raytalk.errors import RaytalkError, SettingsError
from raytalk.storage import Storage

ROOT = Path(__file__).resolve().parents[2]
SHOOTING = Shooting(frames=3, seconds=2.0, resolution=64)


def settings(clips: Path | str, **more: object) -> SynthesizeSettings:
    given = {"people": 6, "frames_per_clip": 3, "resolution": 64} | more
    return SynthesizeSettings.resolve(None, {"clips": str(clips), **given})


def takes(people: int, clips: int, seed: int = 0) -> list[Take]:
    return [Take(seed, person, clip) for person in range(people) for clip in range(clips)]


def read_all(clips: Path | str) -> dict[str, Clip]:
    storage = Storage(str(clips))
    files = sorted({written.file for written in Ledger.read(storage).clips})
    return {clip.clip_id: clip for file in files for clip in read_clips(storage, file)}


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Toy faces instead of rendered ones."""
    from ray import cloudpickle

    # Workers do not know the folder of the tests.
    for module in (toy, toy_studio):
        cloudpickle.register_pickle_by_value(module)
    monkeypatch.setattr("raytalk.clips.synthesize.load_anatomy", no_anatomy)
    monkeypatch.setattr("raytalk.clips.synthesize.ShootReel", ToyShootReel)
    yield
    for module in (toy, toy_studio):
        cloudpickle.unregister_pickle_by_value(module)


def shoot(clips: Path, *of: Take, run: str = "test", actor: type[ToyShootReel] = ToyShootReel) -> dict[str, list[str]]:
    """One reel in an actor of this process; what the actor reports."""
    clips.mkdir(exist_ok=True)
    batch = actor(str(clips), None, "cpu", SHOOTING, run)({"chunk": [Reel("train", of).to_json()]})
    CrashMarks(run).remove()
    return {name: column.tolist() for name, column in batch.items()}


def test_ids_say_seed_person_and_clip() -> None:
    take = Take(seed=7, person=12, clip=3)
    assert take.person_id == "rendered-7-000012"
    assert take.video_id == "rendered-7-000012/003"
    assert take.clip_id == "rendered-7-000012/003/0000"
    assert take.source == "rendered:seed=7,person=12,clip=3"


def test_reels_hold_one_split_with_people_mixed_and_leave_no_actor_idle() -> None:
    work = [(take, SPLITS[take.person % 3]) for take in takes(people=60, clips=5)]
    reels = make_reels(work, most=16, actors=1)
    assert sorted(take.clip_id for reel in reels for take in reel.takes) == sorted(take.clip_id for take, _ in work)
    assert all(SPLITS[take.person % 3] == reel.split for reel in reels for take in reel.takes)
    assert max(len(reel.takes) for reel in reels) <= 16
    assert min(len({take.person for take in reel.takes}) for reel in reels) >= 2
    for reel in reels:
        people = [take.person for take in reel.takes]
        changes = sum(before != after for before, after in itertools.pairwise(people))
        assert changes == len(set(people)) - 1
    assert len(make_reels(work[:8], most=16, actors=8)) == 8
    assert {reel.file for reel in reels} == {reel.file for reel in make_reels(work, most=16, actors=1)}
    assert len({reel.file for reel in reels}) == len(reels)
    assert Reel.from_json(reels[0].to_json()) == reels[0]


def test_many_clips_of_one_person_do_not_fill_a_file() -> None:
    reels = make_reels([(take, "train") for take in takes(people=4, clips=100)], most=16, actors=1)
    assert np.mean([len({take.person for take in reel.takes}) >= 2 for reel in reels]) > 0.6
    assert max(len(reel.takes) for reel in reels) == 16


def test_a_clip_keeps_all_that_the_renderer_knows(tmp_path: Path) -> None:
    report = shoot(tmp_path / "clips", Take(3, 1, 0), Take(3, 1, 1))
    assert report["fatal"] == [""]
    clip = read_all(tmp_path / "clips")["rendered-3-000001/001/0000"]
    shot = ToyStudio().shoot(Take(3, 1, 1).order(SHOOTING))
    assert (clip.video_id, clip.person_id, clip.split) == ("rendered-3-000001/001", "rendered-3-000001", "train")
    assert (clip.detector, clip.source) == ("rendered", "rendered:seed=3,person=1,clip=1")
    assert clip.fps == pytest.approx(1.0)
    assert clip.pupils is not None
    assert clip.gaze is not None
    np.testing.assert_array_equal(clip.landmarks, shot.landmarks)
    np.testing.assert_array_equal(clip.pupils, shot.pupils)
    np.testing.assert_array_equal(clip.gaze, shot.gaze)
    for data, picture in zip(clip.frames, shot.pictures, strict=True):
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert np.abs(decoded.astype(int) - picture).mean() < 8


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        shoot(tmp_path / name, *takes(people=2, clips=2))
    (first,), (second,) = ((tmp_path / name).rglob("*.parquet") for name in ("a", "b"))
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    shoot(tmp_path / "c", *takes(people=2, clips=2, seed=1))
    (other,) = (tmp_path / "c").rglob("*.parquet")
    assert other.name != first.name


class Broken(ToyShootReel):
    """Shoots what `damage` makes of a good shot, from the second person on."""

    def _open(self) -> ToyStudio:
        class Studio(ToyStudio):
            def shoot(self, order):
                if order.person == 1:
                    raise KeyError("odd nose")
                if order.person == 2:
                    raise MemoryError()
                shot = super().shoot(order)
                if order.person == 3:
                    shot.landmarks[1, 2] = np.nan
                return shot

        return Studio()


@pytest.mark.parametrize(
    ("person", "words"),
    [
        (
            1,
            [
                "rendering rendered-0-000001/000/0000 failed",
                "odd nose",
                "test_synthesize.py:",
                "seed=0, person=1, clip=0",
            ],
        ),
        (2, ["out of memory", "fewer actors"]),
        (3, ["rendered-0-000003/000/0000", "landmarks must be (3, 68, 2) finite numbers"]),
    ],
)
def test_a_failing_renderer_stops_the_job_naming_the_clip(tmp_path: Path, person: int, words: list[str]) -> None:
    report = shoot(tmp_path / "clips", Take(0, 0, 0), Take(0, person, 0), actor=Broken)
    for word in words:
        assert word in report["fatal"][0]
    assert report["kind"] == ["RaytalkError"]
    assert not read_all(tmp_path / "clips")


@pytest.mark.slow
def test_a_clip_that_kills_its_process_is_not_tried_for_ever(tmp_path: Path) -> None:
    take = Take(0, 5, 0)
    for _ in range(2):
        assert CrashMarks("deadly").enter(take.clip_id)
    report = shoot(tmp_path / "clips", take, run="deadly")
    assert "the process that rendered rendered-0-000005/000/0000 died, twice" in report["fatal"][0]


@pytest.mark.ray
def test_the_job_end_to_end(
    ray_session: object, stand_in: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = tmp_path / "clips"
    ledger = synthesize(settings(clips))
    printed = capsys.readouterr().out
    for words in ("12 clips of 6 people", "12 to render on cpu in 2 processes", "12/12 clips · ", "contact-sheet.png"):
        assert words in printed
    assert "rejected" not in printed
    made = read_all(clips)
    assert sorted(made) == sorted(take.clip_id for take in takes(people=6, clips=2))
    people = {split: {clip.person_id for clip in ledger.clips if clip.split == split} for split in SPLITS}
    assert [len(people[split]) for split in SPLITS] == [4, 1, 1]
    assert len(set.union(*people.values())) == 6
    assert all(written.file.startswith(f"{written.split}/part-") for written in ledger.clips)
    assert scan(Storage(str(clips)), "train").clips == 8
    assert cv2.imread(str(clips / "contact-sheet.png")) is not None

    # Again: nothing to do.
    before = {path: path.stat().st_mtime_ns for path in clips.rglob("*.parquet")}
    synthesize(settings(clips))
    printed = capsys.readouterr().out
    assert "12 done before" in printed
    assert "to render" not in printed

    # More people: the new ones alone.
    grown = synthesize(settings(clips, people=9))
    assert "6 to render" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert ledger.splits_of_people.items() <= grown.splits_of_people.items()
    assert len(grown.splits_of_people) == 9

    # A file that got lost: what was in it, as it was.
    (clips / ledger.clips[0].file).unlink()
    synthesize(settings(clips, people=9))
    again = read_all(clips)
    assert all(again[clip_id].frames == clip.frames for clip_id, clip in made.items())
    assert all(np.array_equal(again[clip_id].gaze, clip.gaze) for clip_id, clip in made.items())


@pytest.mark.ray
def test_an_error_of_the_renderer_stops_the_job_with_one_line(
    ray_session: object, stand_in: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(ToyShootReel):
        def _shoot(self, studio: Any, take: Take) -> Any:
            raise OSError("no kernel image is available")

    monkeypatch.setattr("raytalk.clips.synthesize.ShootReel", Failing)
    with pytest.raises(RaytalkError, match=r"rendering rendered-0-.* failed: OSError: no kernel image") as caught:
        synthesize(settings(tmp_path / "clips"))
    assert caught.type is RaytalkError
    with pytest.raises(SettingsError, match="gpus_per_actor=1 do not fit"):
        synthesize(settings(tmp_path / "clips", gpus_per_actor=1))


def test_who_is_held_out_does_not_depend_on_where_a_run_was_stopped(tmp_path: Path) -> None:
    whole = dict(make_plan(settings(tmp_path / "a", people=20), Storage(str(tmp_path / "a"))).work)
    stopped = Storage(str(tmp_path / "b"))
    shoot(tmp_path / "b", *[take for take, split in whole.items() if split == "train"][:9])
    rest = make_plan(settings(stopped.uri, people=20), stopped).work
    assert len(rest) == 40 - 9
    assert dict(rest).items() <= whole.items()


def test_rendered_and_detected_clips_are_not_mixed(tmp_path: Path) -> None:
    real = Storage(str(tmp_path / "real"))
    write_table(real, "train/part-0.parquet", clips_to_table([toy_clip(0)]))
    with pytest.raises(SettingsError, match=r"detector=dlib.* another clips folder"):
        synthesize(settings(real.uri))
    shoot(tmp_path / "rendered", Take(0, 0, 0))
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/anna.mp4").touch()
    for detector in ("auto", "dlib"):
        given = {"videos": str(tmp_path / "videos"), "clips": str(tmp_path / "rendered"), "resolution": 64}
        with pytest.raises(SettingsError, match=r"holds rendered people.* another clips folder"):
            preprocess(PreprocessSettings.resolve(None, given | {"detector": detector}))


def test_what_is_written_must_fit_what_is_asked(tmp_path: Path) -> None:
    shoot(tmp_path / "clips", Take(0, 0, 0))
    with pytest.raises(SettingsError, match="holds clips of 64 pixels: give resolution=64"):
        synthesize(settings(tmp_path / "clips", resolution=96))
    with pytest.raises(SettingsError, match="nobody to train on"):
        synthesize(settings(tmp_path / "clips", val_share=0.5, test_share=0.5))
    for key, value in {"people": 0, "seconds": 0, "seed": -1, "frames_per_clip": 1, "resolution": 16}.items():
        with pytest.raises(SettingsError, match=key):
            settings(tmp_path / "clips", **{key: value})


def start_job(clips: Path, log: Path) -> subprocess.Popen[bytes]:
    words = [f"clips={clips}", "people=8", "frames_per_clip=3", "resolution=64", "actors=1", "max_clips_per_file=2"]
    # Into a file: what Ray leaves behind after a kill would hold a pipe open.
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "tests/toy_studio.py", *words],
            cwd=ROOT,
            env=os.environ | {"RAY_ADDRESS": "local", "TOY_SECONDS": "0.3", "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@pytest.mark.slow
@pytest.mark.ray
def test_a_killed_run_is_taken_up_again(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    job = start_job(clips, tmp_path / "first.log")
    deadline = time.monotonic() + 120
    while not list(clips.glob("*/part-*.parquet")):
        assert job.poll() is None, (tmp_path / "first.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    job.kill()
    job.wait()
    done = {path: path.stat().st_mtime_ns for path in clips.glob("*/part-*.parquet")}
    before = Ledger.read(Storage(str(clips)))
    assert 0 < len(before.clips) < 16
    again = start_job(clips, tmp_path / "second.log")
    again.wait(timeout=240)
    printed = (tmp_path / "second.log").read_text()
    assert again.returncode == 0, printed
    assert "done before" in printed
    after = Ledger.read(Storage(str(clips)))
    assert sorted(clip.clip_id for clip in after.clips) == sorted(take.clip_id for take in takes(people=8, clips=2))
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert before.splits_of_people.items() <= after.splits_of_people.items()


def test_the_command_ends_with_status_2_and_one_line(tmp_path: Path) -> None:
    write_table(Storage(str(tmp_path)), "train/part-0.parquet", clips_to_table([toy_clip(0)]))
    job = subprocess.run(
        [str(ROOT / "jobs/synthesize.py"), f"clips={tmp_path}"],
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert job.returncode == 2
    assert len(job.stderr.splitlines()) == 1
    assert "detector=dlib" in job.stderr


@pytest.mark.ray
def test_the_renderer_itself(ray_session: object, tmp_path: Path) -> None:
    ledger = synthesize(settings(tmp_path / "clips", people=4, frames_per_clip=4))
    clips = read_all(tmp_path / "clips")
    assert len(clips) == 8
    assert len({clip.split for clip in ledger.clips}) == 2
    for clip in clips.values():
        pictures = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in clip.frames]
        assert {picture.shape for picture in pictures} == {(64, 64, 3)}
        assert np.std(pictures) > 10
        assert ((clip.landmarks > 0) & (clip.landmarks < 64)).mean() > 0.95
        assert clip.fps == pytest.approx(3 / 8)
        for eye, points in enumerate((slice(36, 42), slice(42, 48))):
            width = np.ptp(clip.landmarks[:, points, 0], axis=1)
            away = np.linalg.norm(clip.pupils[:, eye] - clip.landmarks[:, points].mean(axis=1), axis=1)
            assert (away < width).all()
    assert len({clip.frames[0] for clip in clips.values()}) == 8
