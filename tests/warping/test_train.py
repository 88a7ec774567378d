"""The job on a real (local) Ray cluster, with toy people and a tiny network."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import psutil
import pytest
import torch
from safetensors.torch import load_file
from toy import write_toy_clips
from warping.toy_episodes import TINY

from raytalk.learning import checkpoint
from raytalk.storage import Storage
from raytalk.warping.model import load_warping
from raytalk.warping.settings import WarpingSettings

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("clips"))
    write_toy_clips(folder, people=6, held_out=3, frames=8, size=48)
    return folder


def run(clips: str, output: Path, **changes: Any) -> Any:
    from raytalk.warping.train import train_warping

    given = {"clips": clips, "output": str(output), "log_every": 1, "checkpoint_every": 8, "keep_checkpoints": 2}
    return train_warping(WarpingSettings.resolve("debug", TINY, given, changes))


def test_a_run_resumes_to_the_bit_keeps_the_newest_and_is_looked_at(
    ray_session: None, clips: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    straight = run(clips, tmp_path / "straight", episodes=24)
    printed = capsys.readouterr().out
    assert "episodes 24/24 (100%, epoch 4.0)" in printed
    assert printed.count("  val: L1") == 3
    kept = checkpoint.names(Storage(str(tmp_path / "straight" / "warping" / "checkpoints")))
    assert kept == ["episodes-000000016", "episodes-000000024"]
    grid = cv2.imread(str(tmp_path / "straight" / "warping" / "grids" / "val-00000024.png"))
    assert grid.shape == (3 * 32, 5 * 32, 3)

    run(clips, tmp_path / "broken", episodes=12)
    (tmp_path / "broken" / "warping" / "checkpoints" / "episodes-000000012" / "network.safetensors").unlink()
    resumed = run(clips, tmp_path / "broken", episodes=24)
    assert "going on from the checkpoint at episode 8" in capsys.readouterr().out
    for file in ("network.safetensors", "warping.safetensors"):
        one, two = (load_file(Path(outcome.checkpoint) / file) for outcome in (straight, resumed))
        assert [name for name in one if not torch.equal(one[name], two[name])] == []

    model = load_warping(str(tmp_path / "broken" / "warping"))
    assert (model.state.episodes, model.state.steps, model.state.detector) == (24, 6, "dlib")
    assert run(clips, tmp_path / "broken", episodes=24).checkpoint == resumed.checkpoint
    assert "nothing to do" in capsys.readouterr().out


def test_the_content_network_is_said_and_what_a_person_can_mend_comes_out_of_the_task(
    ray_session: None, clips: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from raytalk.errors import CheckpointError, WeightsError

    with pytest.raises(WeightsError, match="unknown perceptual network 'vgg3'"):
        run(clips, tmp_path, episodes=4, **{"losses.content": 0.1, "perceptual.content": "vgg3"})
    first = run(clips, tmp_path, episodes=4, **{"losses.content": 0.1})
    assert "a stand-in" in capsys.readouterr().out
    assert load_warping(first.checkpoint).state.perceptual[0]["name"] == "hed"
    with pytest.raises(CheckpointError, match=r"network.min_channels is 16 in the checkpoint and 8 here"):
        run(clips, tmp_path, episodes=8, **{"network.min_channels": 8})


@pytest.mark.slow
def test_a_killed_process_is_replaced_and_the_count_is_right(
    ray_session: None, clips: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed: list[int] = []

    def kill_once() -> None:
        checkpoints = Storage(str(tmp_path / "warping" / "checkpoints"))
        deadline = time.monotonic() + 120
        while not killed and time.monotonic() < deadline:
            if checkpoint.names(checkpoints):
                for process in psutil.Process().children(recursive=True):
                    if "ray::_train" in " ".join(process.cmdline()):
                        os.kill(process.pid, signal.SIGKILL)
                        killed.append(process.pid)
            time.sleep(0.05)

    thread = threading.Thread(target=kill_once)
    thread.start()
    outcome = run(clips, tmp_path, episodes=400, checkpoint_every=40)
    thread.join()
    assert killed
    state = load_warping(outcome.checkpoint).state
    assert (state.episodes, state.steps) == (400, 100)
    assert "going on from the checkpoint at episode" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clips=/nowhere/at/all"], "no train clips in /nowhere/at/all"),
        (["network.resolution=90"], "network.resolution=90 must be a power of two"),
    ],
)
def test_the_users_mistakes_are_one_line_and_exit_2(words: list[str], message: str) -> None:
    job = Path(__file__).parents[2] / "jobs" / "warping.py"
    ended = subprocess.run([sys.executable, job, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert message in ended.stderr
