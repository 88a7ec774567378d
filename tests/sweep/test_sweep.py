"""Sweeps on a real (local) Ray cluster, with toy people and tiny networks."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from sweep.toy_sweep import TINY, sweep_settings
from toy import write_toy_clips

from raytalk.config import parse_command_line
from raytalk.learning import checkpoint
from raytalk.learning.settings import MetatrainSettings
from raytalk.storage import Storage
from raytalk.sweep.groups import living_groups
from raytalk.sweep.records import Record, Records

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("clips"))
    write_toy_clips(folder, people=6, held_out=4, frames=8, size=48)
    return folder


def run(clips: str, output: Path, space: str, **changes: Any) -> Any:
    from raytalk.sweep.sweep import sweep

    file = output / "space.yaml"
    file.write_text(space)
    return sweep(sweep_settings(clips=clips, output=str(output), space=str(file), **changes))


def records(output: Path) -> list[Record]:
    return Records(Storage(str(output / "sweep"))).all()


def test_a_sweep_survives_a_trial_that_turns_to_nan_and_has_an_answer(
    ray_session: None, clips: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = living_groups()
    space = "optimization.generator_rate: [1.0e-3, 1.0e18]\n"
    answer = run(clips, tmp_path, space, search="grid", scheduler="none", tracking={"uri": ""})
    tried = records(tmp_path)
    assert [record.state for record in tried] == ["finished", "finished", "collapsed"]
    assert "not finite" in tried[2].reason
    assert [sorted(record.curve) for record in tried[:2]] == [[16, 32], [16, 32]]
    assert living_groups() == before

    own = {record.number: record.curve[32] for record in tried[:2]}
    assert own[0] != own[1]
    assert {"score", "ssim", "csim", "term_ssim", "look_seconds"} <= set(own[0])
    sweep = tmp_path / "sweep"
    taken = parse_command_line(MetatrainSettings, ["--config", str(sweep / "best.yaml")], "")
    assert taken == answer.settings
    assert taken.optimization.generator_rate == answer.best.point["optimization.generator_rate"]
    rows = list(csv.DictReader((sweep / "trials.csv").open()))
    assert [row["state"] for row in rows] == ["finished", "finished", "collapsed"]
    assert {file.name for file in (sweep / "figures").iterdir()} >= {"learning-curves.png", "parallel-coordinates.png"}
    assert not (sweep / "tune").exists()
    assert not checkpoint.names(Storage(str(sweep / "trials" / "002" / "checkpoints")))
    if answer.best.number:
        assert len(answer.confirmation.winner) == len(answer.confirmation.defaults) == 2
        chosen = json.loads((sweep / "people.json").read_text())
        assert {row["person"] for row in answer.confirmation.winner} == set(chosen["confirmation"]["people"])
        assert not set(chosen["confirmation"]["people"]) & set(chosen["selection"]["people"])

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{sweep / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("raytalk")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent = runs.pop("sweep")
    assert set(runs) == {"000", "001", "002"}
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert [runs[name].info.status for name in sorted(runs)] == ["FINISHED", "FINISHED", "FAILED"]
    assert runs["001"].data.metrics["sweep/score"] == pytest.approx(own[1]["score"])
    assert parent.info.status == "FINISHED"
    assert {"best.yaml", "summary.md", "trials.csv", "figures"} <= {
        item.path for item in client.list_artifacts(parent.info.run_id)
    }

    capsys.readouterr()
    again = run(clips, tmp_path, space, search="grid", scheduler="none", tracking={"uri": ""})
    assert again.best == answer.best
    assert "3 ended before" in capsys.readouterr().out
    assert records(tmp_path) == tried, "nothing was done again"
    with pytest.raises(Exception, match=r"holds a sweep with another train.batch_size"):
        run(clips, tmp_path, space, search="grid", scheduler="none", train={"batch_size": 2})


@pytest.mark.slow
def test_a_bad_trial_is_stopped_early_and_leaves_nothing_on_the_cluster(
    ray_session: None, clips: str, tmp_path: Path
) -> None:
    """With nothing learned (rate 1e-12) the score stays what random networks have; the defaults came there before."""
    before = living_groups()
    changes = {"objective": {**TINY["objective"], "looks": 4, "steps": 0}, "train": {**TINY["train"], "episodes": 160}}
    space = "optimization.generator_rate: [1.0e-12]\n"
    run(clips, tmp_path, space, search="grid", concurrent=1, **changes)
    tried = records(tmp_path)
    assert [record.state for record in tried] == ["finished", "stopped"]
    assert [sorted(record.curve) for record in tried] == [[40, 80, 120, 160], [40]]
    assert tried[1].score < tried[0].curve[40]["score"]
    assert living_groups() == before


def children(process: psutil.Process, title: str) -> list[psutil.Process]:
    found = []
    for child in process.children(recursive=True):
        try:
            if title in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_a_trial_whose_process_dies_is_recorded_and_the_others_go_on(
    ray_session: None, clips: str, tmp_path: Path
) -> None:
    before = living_groups()
    killed: list[int] = []

    def kill_once() -> None:
        deadline = time.monotonic() + 300
        while not killed and time.monotonic() < deadline:
            begun = [record for record in records(tmp_path) if record.curve]
            victims = children(psutil.Process(), "ray::ResourceTrainable") if begun else []
            for victim in victims[:1]:
                os.kill(victim.pid, signal.SIGKILL)
                killed.append(victim.pid)
            time.sleep(0.2)

    thread = threading.Thread(target=kill_once)
    thread.start()
    train = {**TINY["train"], "episodes": 400}
    run(clips, tmp_path, "losses.match: [1.0, 10.0]\n", search="grid", scheduler="none", max_failures=0, train=train)
    thread.join()
    assert killed
    states = sorted(record.state for record in records(tmp_path))
    assert states == ["failed", "finished", "finished"]
    assert living_groups() == before


@pytest.fixture
def driver(clips: str, tmp_path: Path) -> Iterator[Any]:
    """Starts the job in a process of its own, with a Ray of its own."""
    settings = sweep_settings(
        clips=clips,
        output=str(tmp_path),
        search="random",
        scheduler="none",
        trials=3,
        train={**TINY["train"], "episodes": 400},
    )
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    job = Path(__file__).parents[2] / "jobs" / "tune.py"
    environment = os.environ | {"RAY_ADDRESS": "local", "RAY_AUTH_MODE": "disabled"}
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, str(job), "--config", str(file)]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()


@pytest.mark.slow
def test_the_same_command_goes_on_after_its_driver_was_killed(driver: Any, tmp_path: Path) -> None:
    first = driver()
    deadline = time.monotonic() + 550
    while not any(record.curve for record in records(tmp_path)) and time.monotonic() < deadline:
        assert first.poll() is None, first.stdout.read()
        time.sleep(0.2)
    family = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
    os.kill(first.pid, signal.SIGKILL)
    psutil.wait_procs(family, timeout=60)
    left = records(tmp_path)
    begun = [record for record in left if record.state == "begun"]
    assert begun
    second = driver()
    said, _ = second.communicate(timeout=550)
    assert second.returncode == 0, said
    after = records(tmp_path)
    assert [record.state for record in after] == ["finished"] * 3
    assert [record.point for record in after[: len(left)]] == [record.point for record in left]
    looked = [record for record in begun if record.curve]
    assert all(f"[{record.name}] goes on" in said for record in looked)
    for record in looked:
        assert after[record.number].curve[min(record.curve)] == record.curve[min(record.curve)], "kept, not repeated"
    assert (tmp_path / "sweep" / "best.yaml").exists()
