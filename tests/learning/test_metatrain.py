"""The main job on a real (local) Ray cluster, with toy people and tiny networks."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file
from toy import TINY_NETWORKS, toy_clip, write_toy_clips
from toy_run import write_toy_run

from raytalk.clips.schema import CLIP_SCHEMA, clips_to_table, write_table
from raytalk.errors import TrainingCollapsed
from raytalk.faces.draw import PUPIL
from raytalk.learning import checkpoint
from raytalk.learning.pretrained import load_pretrained
from raytalk.learning.settings import MetatrainSettings
from raytalk.storage import Storage

pytestmark = pytest.mark.ray

TINY: dict[str, Any] = {
    "networks": TINY_NETWORKS,
    "data": {"shots": 2, "shuffle_files": 2},
    "batch_size": 4,
    "log_every": 2,
    "checkpoint_every": 8,
    "validation": {"every": 16, "people": 3, "targets": 2},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("clips"))
    write_toy_clips(folder, people=8, held_out=3, frames=8, size=48)
    return folder


def settings(clips: str, output: Path | str, **changes: Any) -> MetatrainSettings:
    return MetatrainSettings.resolve("debug", TINY, {"clips": clips, "output": str(output)}, changes)


def run(*arguments: Any, **changes: Any) -> Any:
    from raytalk.learning.metatrain import metatrain

    return metatrain(settings(*arguments, **changes))


def tensors(folder: str) -> dict[str, torch.Tensor]:
    """Everything a checkpoint holds, optimizers included, by name."""
    found: dict[str, torch.Tensor] = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        found |= {f"{file.stem}.{name}": tensor for name, tensor in load_file(file).items()}
    optimizer = torch.load(Path(folder) / "optimizer.pt", weights_only=True)
    for who, state in optimizer.items():
        for index, entry in state["state"].items():
            found |= {f"{who}.{index}.{name}": torch.as_tensor(value) for name, value in entry.items()}
    return found


def test_two_workers_train_validate_track_and_keep_checkpoints(
    ray_session: None, clips: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run(clips, tmp_path, workers=2, episodes=32, **{"tracking.register_as": "toy", "optimization.fall": 1})
    printed = capsys.readouterr().out
    assert "episodes 32/32" in printed
    assert "a stand-in" in printed
    state = checkpoint.read_state(Storage(outcome.checkpoint))
    assert (state.episodes, state.steps, state.detector) == (32, 8, "dlib")
    assert state.perceptual[0]["name"] == "hed"
    assert len(checkpoint.names(Storage(str(tmp_path / "metatrain" / "checkpoints")))) == 3
    assert {"val/ssim", "val/ssim_wrong", "seen/content", "seen/spread"} <= set(outcome.figures)

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'metatrain' / 'mlflow.db'}")
    noted = json.loads((tmp_path / "metatrain" / "run.json").read_text())["tracking_run"]
    tracked = client.get_run(noted)
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["networks.resolution"] == "32"
    assert [point.step for point in client.get_metric_history(noted, "loss/content")] == [8, 16, 24, 32]
    rates = [point.value for point in client.get_metric_history(noted, "rate/discriminator")]
    assert rates == pytest.approx([2e-4 * (36 - shown) / 32 for shown in (8, 16, 24, 32)]), "of the step before"
    grids = {item.path for item in client.list_artifacts(noted, "grids")}
    assert grids == {f"grids/{name}-{step:08d}.png" for name in ("val", "seen") for step in (16, 32)}
    assert [int(version.version) for version in client.search_model_versions("name='toy'")] == [1]

    again = run(clips, tmp_path, workers=2, episodes=32)
    assert again.checkpoint == outcome.checkpoint
    assert "nothing to do" in capsys.readouterr().out
    run(clips, tmp_path, workers=2, episodes=32, **{"tracking.register_as": "later"})
    assert "registered models:/later/1" in capsys.readouterr().out

    store = f"sqlite:///{tmp_path / 'metatrain' / 'mlflow.db'}"
    other = {"tracking.uri": store, "checkpoint": "models:/toy@latest", "name": "other"}
    second = run(clips, tmp_path, episodes=4, **other, **{"optimization.generator_rate": 1e-12})
    before, after = tensors(outcome.checkpoint), tensors(second.checkpoint)
    weight = "generator.projection.linear.weight"
    torch.testing.assert_close(after[weight], before[weight], atol=1e-6, rtol=0)


def test_a_restart_changes_no_bit_with_one_worker(ray_session: None, clips: str, tmp_path: Path) -> None:
    """Rates fall on from where they were."""
    given = {"tracking.uri": "none", "optimization.fall": 1}
    straight = run(clips, tmp_path / "straight", episodes=24, **given)
    # As if it had been killed after its last but one checkpoint.
    shutil.copytree(tmp_path / "straight", tmp_path / "broken")
    shutil.rmtree(tmp_path / "broken" / "metatrain" / "checkpoints" / "episodes-000000024")
    (tmp_path / "broken" / "metatrain" / "run.json").unlink()
    resumed = run(clips, tmp_path / "broken", episodes=24, **given)
    one, two = tensors(straight.checkpoint), tensors(resumed.checkpoint)
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def test_pupils_reach_validation_and_a_change_of_their_share_is_said(
    ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "clips")
    write_toy_clips(folder, people=4, held_out=3, frames=8, size=32, pupils=True)

    # As a run of a version that had no pupils would have left it.
    begun = write_toy_run(tmp_path / "metatrain")
    given = settings(folder, tmp_path, episodes=8).to_yaml().splitlines(keepends=True)
    (begun / "config.yaml").write_text("".join(line for line in given if "pupils:" not in line))
    outcome = run(folder, tmp_path, episodes=16, **{"tracking.uri": "none", "data.pupils": 0.5})
    assert load_pretrained(outcome.checkpoint).pupils
    picture = cv2.imread(str(begun / "grids" / "val-00000016.png"), cv2.IMREAD_COLOR_RGB)
    drawings = picture[22:, 2 * 32 : 3 * 32].astype(int)  # behind a header and two sources
    assert (np.abs(drawings - PUPIL).sum(axis=2) < 60).any()
    printed = capsys.readouterr().out
    assert "resuming at episode 8" in printed
    assert "data.pupils 0.0 -> 0.5" in printed


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_the_count_is_right(
    ray_session: None, clips: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed: list[int] = []

    def kill_once() -> None:
        run_folder = Storage(str(tmp_path / "metatrain" / "checkpoints"))
        deadline = time.monotonic() + 120
        while not killed and time.monotonic() < deadline:
            if checkpoint.names(run_folder):
                workers = [
                    process
                    for process in psutil.Process().children(recursive=True)
                    if "RayTrainWorker" in " ".join(process.cmdline() or [process.name()])
                ]
                for victim in workers[:1]:
                    os.kill(victim.pid, signal.SIGKILL)
                    killed.append(victim.pid)
            time.sleep(0.05)

    thread = threading.Thread(target=kill_once)
    thread.start()
    outcome = run(clips, tmp_path, workers=2, episodes=240, checkpoint_every=16, **{"tracking.uri": "none"})
    thread.join()
    assert killed
    state = checkpoint.read_state(Storage(outcome.checkpoint))
    assert (state.episodes, state.steps) == (240, 60)
    assert "going on from the checkpoint at episode" in capsys.readouterr().out


@pytest.mark.slow
def test_three_workers_with_uneven_shares_track_the_curve_of_one(ray_session: None, clips: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    curves = []
    for workers in (1, 3):
        outcome = run(clips, tmp_path / str(workers), workers=workers, episodes=48, cpus_per_worker=0.5)
        assert [(attempt.ranks, attempt.start, attempt.repeated) for attempt in outcome.attempts] == [(workers, 0, 0)]
        folder = tmp_path / str(workers) / "metatrain"
        noted = json.loads((folder / "run.json").read_text())["tracking_run"]
        client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        keys = ("loss/content", "loss/discriminator", "loss/feature_matching", "embedding/rms")
        curves.append({key: [point.value for point in client.get_metric_history(noted, key)] for key in keys})
    one, three = curves
    for key, values in one.items():
        assert len(values) == 6
        assert three[key] == pytest.approx(values, rel=5e-3), key


def test_broken_material_is_left_out_counted_and_named(
    ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "clips"
    write_toy_clips(str(folder), people=4, held_out=0, frames=8, size=48, per_file=2)
    (folder / "train" / "part-zero.parquet").write_bytes(b"")
    broken = toy_clip(77, frames=8, size=48)
    broken.frames[3] = broken.frames[3][: len(broken.frames[3]) // 2]
    write_table(Storage(str(folder)), "train/part-truncated.parquet", clips_to_table([broken]))
    assert pq.read_schema(folder / "train" / "part-truncated.parquet").names == CLIP_SCHEMA.names
    outcome = run(str(folder), tmp_path, episodes=18, **{"tracking.uri": "none"})
    assert outcome.episodes == 20, "whole batches of 4"
    printed = capsys.readouterr().out
    assert "left out: train/part-zero.parquet" in printed
    assert "clip person77/video0/0: 1 broken frames left out" in printed
    assert "0 people are held out of training" in printed


def test_a_run_that_turns_to_nan_stops_and_keeps_the_last_good_checkpoint(
    ray_session: None, clips: str, tmp_path: Path
) -> None:
    write_toy_run(tmp_path / "metatrain")
    with pytest.raises(TrainingCollapsed, match=r"not finite.*last good checkpoint is .*episodes-000000008"):
        run(clips, tmp_path, episodes=400, **{"tracking.uri": "none", "optimization.generator_rate": 1e18})
    kept = checkpoint.names(Storage(str(tmp_path / "metatrain" / "checkpoints")))
    assert kept == ["episodes-000000008"]


@pytest.mark.slow
@pytest.mark.s3
def test_checkpoints_and_clips_on_s3(ray_session: None, clips: str, s3_server: str) -> None:
    place = Storage(f"{s3_server}/clips")
    for file in sorted(Path(clips).rglob("*.parquet")):
        place.write(file.relative_to(clips).as_posix(), file.read_bytes())
    outcome = run(place.uri, f"{s3_server}/runs", episodes=16, **{"tracking.uri": "none"})
    assert checkpoint.read_state(Storage(outcome.checkpoint)).episodes == 16


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clips=/nowhere/at/all"], "no train clips in /nowhere/at/all; make some with jobs/preprocess.py"),
        (["episods=5"], "unknown setting 'episods': did you mean 'episodes'?"),
        (["batch_size=3", "workers=2-4"], "batch_size=3 cannot be shared by workers=2-4: lower workers"),
        (["workers=4-2"], "setting 'workers=4-2': give a number from 1 on, or a range like 1-4"),
        (["--preset", "huge"], "unknown preset 'huge'"),
    ],
)
def test_the_users_mistakes_are_one_line_and_exit_2(words: list[str], message: str) -> None:
    job = Path(__file__).parents[2] / "jobs" / "metatrain.py"
    ended = subprocess.run([sys.executable, job, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert message in ended.stderr


@pytest.mark.parametrize(
    ("given", "kept", "fewest_and_most"),
    [("2", 2, (2, 2)), (3, 3, (3, 3)), ("1-4", "1-4", (1, 4)), ([2, 4], "2-4", (2, 4)), ("3-3", 3, (3, 3))],
)
def test_workers_are_a_number_or_a_range(given: Any, kept: Any, fewest_and_most: tuple[int, int]) -> None:
    resolved = MetatrainSettings.resolve("debug", {"workers": given})
    assert resolved.workers == kept
    assert resolved.worker_range == fewest_and_most
    again = MetatrainSettings.resolve("debug", yaml.safe_load(resolved.to_yaml()))
    assert again == resolved


def test_a_checkpoint_of_other_networks_is_refused_by_field(ray_session: None, clips: str, tmp_path: Path) -> None:
    from raytalk.errors import CheckpointError

    write_toy_run(tmp_path / "metatrain")
    with pytest.raises(CheckpointError, match=r"networks.max_channels is 16 in the checkpoint and 32 here"):
        run(clips, tmp_path, episodes=16, **{"tracking.uri": "none", "networks.max_channels": 32})
    shutil.rmtree(tmp_path / "metatrain")
