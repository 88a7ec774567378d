"""jobs/evaluate.py as a person runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import ray
import torch
from toy_run import write_toy_run

from raytalk.errors import CheckpointError, SettingsError, TrackingError
from raytalk.evaluation import cast
from raytalk.evaluation.evaluate import evaluate
from raytalk.evaluation.performer import Performer, load_models
from raytalk.evaluation.settings import EvaluateSettings
from raytalk.warping.learner import WarpLearner
from raytalk.warping.model import save_warping
from raytalk.warping.settings import WarpingSettings

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"clips_split": "val", "people": 3, "shots": "1,4", "hold_out": 4, "fewshot.steps": 2, "fewshot.batch_size": 2}
QUICK = {
    "methods": "nearest,ff",
    "splits": "block",
    "pictures": 0,
    "tracking.uri": "none",
    **{f"metrics.{name}": "none" for name in ("lpips", "frechet", "faces", "detector")},
}
"""no network judges"""


def settings(run: Path, clips: Path, output: Path, **more: Any) -> EvaluateSettings:
    given = {"checkpoint": str(run), "clips": str(clips), "output": str(output), **SMALL}
    return EvaluateSettings.resolve(None, given, {key.replace("__", "."): value for key, value in more.items()})


def toy_warping(folder: Path, resolution: int = 32) -> Path:
    network = {"resolution": resolution, "min_channels": 8, "max_channels": 8}
    given = WarpingSettings.resolve("debug", {"network": network, "losses": {"content": 0}})
    save_warping(str(folder), WarpLearner(given, None, torch.device("cpu")), episodes=8, detector="dlib")
    return folder


@pytest.mark.ray
def test_the_whole_protocol(run: Path, long_clips: Path, tmp_path: Path, ray_session: None) -> None:
    translation = write_toy_run(tmp_path / "translation", embedder=False)
    other = write_toy_run(tmp_path / "other")
    output = tmp_path / "out"
    given = settings(
        run,
        long_clips,
        output,
        methods="nearest,mean,ff,ft,ft/no-feature-matching,ft/random-start",
        steps_shown="1",
        translation=str(translation),
        translation_epochs=1,
        warping=str(toy_warping(tmp_path / "warping")),
        against=f"other={other}",
        people=2,
        hold_out=3,
        pictures=2,
    )
    summary = evaluate(given)
    assert set(summary["split"]) == {"block", "interleaved"}
    methods = {"truth", "nearest", "mean", "ff", "ft", "ft/no-feature-matching", "ft/random-start", "translation",
               "warping", "other/ff", "other/ft"}  # fmt: skip
    assert set(summary["method"]) == methods
    assert (summary["people"] == 2).all()
    assert (summary["frames"] == 6).all()
    truth = summary[summary["method"] == "truth"]
    assert truth["ssim"].isna().all(), "a frame against itself says nothing"
    ours = summary[summary["method"] == "ft"]
    assert set(ours["steps"]) == {1, 2}
    for metric in ("ssim", "psnr", "l1", "lpips", "csim", "frechet", "kernel", "learning_seconds"):
        assert ours[metric].notna().all(), metric
    one = summary[(summary["method"].isin(["ft", "other/ft"])) & (summary["steps"] == 2)]
    assert one.groupby(["split", "shots"])["ssim"].nunique().max() == 1, "the same checkpoint under another name"

    files = {file.relative_to(output).as_posix() for file in output.rglob("*") if file.is_file()}
    assert {"summary.md", "summary.csv", "summary.json", "people.parquet", "protocol.json", "failed.csv"} <= files
    assert any(name.startswith("figures/") and name.endswith(".png") for name in files)
    listed = json.loads((output / "protocol.json").read_text())
    assert len(listed) == 4
    for trial in listed:
        assert not set(trial["learning_frames"]) & set(trial["hold_out_frames"])
        assert len(trial["learning_frames"]) == 4
    told = json.loads((output / "summary.json").read_text())
    assert told["labels"]["frechet"]
    assert told["claims"]["block"]
    people = pd.read_parquet(output / "people.parquet")
    mean = people[(people["split"] == "block") & (people["method"] == "ff") & (people["shots"] == 4)]["ssim"].mean()
    row = summary[(summary["split"] == "block") & (summary["method"] == "ff") & (summary["shots"] == 4)]
    assert row["ssim"].item() == pytest.approx(mean)

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{output}/mlflow.db")
    tracked = client.search_runs([client.get_experiment_by_name("raytalk").experiment_id])[0]
    assert tracked.info.status == "FINISHED"
    assert tracked.data.metrics["block/ff/T4/ssim"] == pytest.approx(mean)
    assert "summary.md" in [file.path for file in client.list_artifacts(tracked.info.run_id)]


@pytest.mark.ray
def test_what_is_done_is_not_done_again(
    run: Path, long_clips: Path, tmp_path: Path, ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(settings(run, long_clips, tmp_path, **(QUICK | {"people": 2})))
    files = sorted((tmp_path / "people").rglob("*.parquet"))
    assert len(files) == 2
    times = [file.stat().st_mtime_ns for file in files]
    files[0].write_bytes(files[0].read_bytes()[:1000])
    capsys.readouterr()
    summary = evaluate(settings(run, long_clips, tmp_path, **QUICK))
    assert "3 people, 3 trials, 1 done before" in capsys.readouterr().out
    assert files[1].stat().st_mtime_ns == times[1]
    assert pq.read_table(files[0]).num_rows > 0, "what was damaged is made again"
    assert (summary["people"] == 3).all()
    with pytest.raises(SettingsError, match="holds an evaluation with another seed"):
        evaluate(settings(run, long_clips, tmp_path, **QUICK, seed=1))
    (tmp_path / "people" / "block" / "left-over.parquet").write_bytes(b"")
    evaluate(settings(run, long_clips, tmp_path, **(QUICK | {"people": 1, "seed": 1, "again": True})))
    assert len(list((tmp_path / "people").rglob("*.parquet"))) == 1, "nothing of the former evaluation is left"


@pytest.mark.ray
def test_a_person_who_fails_is_reported(run: Path, long_clips: Path, tmp_path: Path, ray_session: None) -> None:
    from raytalk.clips.catalog import read_clips, scan
    from raytalk.clips.schema import clips_to_table, write_table
    from raytalk.storage import Storage

    clips, broken = Storage(str(tmp_path / "clips")), ""
    for path in scan(Storage(str(long_clips)), "val").files:
        rows = read_clips(Storage(str(long_clips)), path)
        if not broken:
            broken = rows[0].person_id
            rows[0].frames[:8] = [b"broken"] * 8
        write_table(clips, path, clips_to_table(rows))
    summary = evaluate(settings(run, tmp_path / "clips", tmp_path / "out", **QUICK, people=4))
    assert (summary["people"] == 3).all()
    assert f"{broken}," in (tmp_path / "out" / "failed.csv").read_text()
    assert f"- {broken} (block): clip {broken}" in (tmp_path / "out" / "summary.md").read_text()


@pytest.mark.ray
def test_what_is_lost_before_it_is_judged_is_performed_again(
    run: Path,
    long_clips: Path,
    tmp_path: Path,
    ray_session: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    true_judge, noted = cast._judge, tmp_path / "lost"

    def judge_once_lost(given: Any, performance: Any) -> Any:
        if not noted.exists():
            noted.touch()
            raise ray.exceptions.ObjectLostError("0" * 56, "10.0.0.1", "performed there")
        return true_judge(given, performance)

    monkeypatch.setattr(cast, "_judge", judge_once_lost)
    summary = evaluate(settings(run, long_clips, tmp_path / "out", **QUICK))
    printed = capsys.readouterr().out
    assert "1 were lost with a machine before they were judged; begun anew" in printed
    assert set(summary["people"]) == {3}
    assert len(list((tmp_path / "out" / "people").rglob("*.parquet"))) == 3


def test_what_does_not_fit_is_refused_before_anything_is_done(run: Path, long_clips: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has an embedder: train it with networks\.embedder=false"):
        evaluate(settings(run, long_clips, tmp_path / "out", translation=str(run)))
    with pytest.raises(CheckpointError, match=r"makes pictures of 64 pixels and .* of 32"):
        evaluate(settings(run, long_clips, tmp_path / "out", warping=str(toy_warping(tmp_path / "warping", 64))))
    with pytest.raises(SettingsError, match="trained without an identity network"):
        evaluate(settings(run, long_clips, tmp_path / "out", methods="ft,ft/no-identity"))
    with pytest.raises(SettingsError, match="steps_shown needs"):
        settings(run, long_clips, tmp_path, steps_shown="1", fewshot__hold_out=1)
    with pytest.raises(SettingsError, match="NAME=URI"):
        settings(run, long_clips, tmp_path, against="/runs/x")
    with pytest.raises(SettingsError, match="compared by ff and ft: add one to methods"):
        settings(run, long_clips, tmp_path, against="x=/runs/x", methods="nearest,ft/random-start")
    with pytest.raises(SettingsError, match="from 1 to 32"):
        settings(run, long_clips, tmp_path, shots="1,64")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("methods", "made"), [("nearest,ff", ["ff", "x/ff"]), ("ft", ["ft", "x/ft"])])
def test_other_checkpoints_are_compared_by_the_methods_that_were_asked_for(
    run: Path, long_clips: Path, tmp_path: Path, methods: str, made: list[str]
) -> None:
    given = settings(run, long_clips, tmp_path, against=f"x={run}", **(QUICK | {"methods": methods}))
    names = [method.name for method in Performer(given, load_models(given)).methods]
    assert [name for name in names if name != "nearest"] == made


@pytest.mark.s3
@pytest.mark.ray
def test_on_s3_one_person_and_one_t(run: Path, long_clips: Path, ray_session: None, s3_server: str) -> None:
    from raytalk.storage import Storage

    few = QUICK | {"people": 1, "shots": "2"}
    with pytest.raises(TrackingError, match="cannot hold one"):
        evaluate(settings(run, long_clips, f"{s3_server}/out", **(few | {"tracking.uri": ""})))  # type: ignore[arg-type]
    assert not Storage(f"{s3_server}/out").entries()
    evaluate(settings(run, long_clips, f"{s3_server}/out", **few))  # type: ignore[arg-type]
    kept = Storage(f"{s3_server}/out")
    assert kept.is_file("summary.md")
    assert json.loads(kept.read("summary.json"))["claims"]["block"] == []
    assert kept.is_file(json.loads(kept.read("protocol.json"))[0]["rows"])


@pytest.mark.slow
@pytest.mark.ray
def test_killed_and_given_again(run: Path, long_clips: Path, tmp_path: Path) -> None:
    given = SMALL | QUICK | {"methods": "nearest,ft", "splits": "block,interleaved", "fewshot.steps": 20}
    words = [f"{key}={value}" for key, value in given.items()]
    words += [f"checkpoint={run}", f"clips={long_clips}", f"output={tmp_path / 'out'}"]
    command = [sys.executable, str(ROOT / "jobs" / "evaluate.py"), *words]
    environment = os.environ | {"RAY_ADDRESS": "local"}
    started = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    people = tmp_path / "out" / "people"
    deadline = time.monotonic() + 240
    while not list(people.rglob("*.parquet")) and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(people.rglob("*.parquet")), "nothing was written"
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    before = {file: file.stat().st_mtime_ns for file in people.rglob("*.parquet")}
    assert len(before) < 6, "it was killed too late to show anything"
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert f"{len(before)} done before" in ended.stdout
    assert "## block split" in ended.stdout
    after = {file: file.stat().st_mtime_ns for file in people.rglob("*.parquet")}
    assert len(after) == 6
    assert before.items() <= after.items()
