"""The step, and models on their way to a folder and back."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import RandomContent
from warping.toy_episodes import TINY, toy_batch, toy_pairs

from raytalk.errors import CheckpointError, TrainingCollapsed
from raytalk.learning.meta import to_unit
from raytalk.learning.validation import to_pictures
from raytalk.storage import Storage
from raytalk.warping.learner import WarpLearner
from raytalk.warping.model import MARKER, load_warping, resume, save_warping
from raytalk.warping.settings import WarpingSettings

CPU = torch.device("cpu")


def learner(content: Any = None, **changes: Any) -> WarpLearner:
    return WarpLearner(WarpingSettings.resolve("debug", TINY, changes), content, CPU)


def test_it_learns_to_move_people_it_has_never_seen() -> None:
    warping, people = learner(**{"optimization.rate": 1e-3, "optimization.ema_decay": 0.9}), toy_pairs(range(12))
    for number in range(80):
        metrics = warping.step(toy_batch(people, number))
    assert float(metrics["loss/l1"]) < 0.75 * float(metrics["loss/l1_mean_source"])
    strangers = toy_batch(toy_pairs(range(100, 104)), 0, batch=16)
    sources, truth = strangers.frames[:, 1:], strangers.frames[:, 0].float()
    with torch.no_grad():
        drawn = warping.average.warp(
            to_unit(sources), to_unit(strangers.drawings[:, 1:]), to_unit(strangers.drawings[:, 0])
        )
    distance = (torch.tensor(to_pictures(drawn)).float() - truth).abs().mean()
    copying = (sources.float().mean(dim=1) - truth).abs().mean()
    assert distance < 0.8 * copying


def test_the_content_loss_reaches_the_network_and_a_missing_one_is_said() -> None:
    people = toy_pairs(range(4))
    plain, judged = learner(), learner(RandomContent(), **{"losses.content": 1.0})
    for number in range(2):  # the first step moves the last layer alone
        assert float(plain.step(toy_batch(people, number))["loss/content"]) == 0
        assert float(judged.step(toy_batch(people, number))["loss/content"]) > 0
    assert not torch.equal(plain.network.first.weight, judged.network.first.weight)
    with pytest.raises(ValueError, match="a content network is needed"):
        learner(**{"losses.content": 1.0})


def test_a_step_uses_one_to_all_of_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    warping, used = learner(), set()
    pairs = warping.network.pairs

    def noted(sources: torch.Tensor, *others: torch.Tensor) -> Any:
        used.add(sources.shape[1])
        return pairs(sources, *others)

    monkeypatch.setattr(warping.network, "pairs", noted)
    people = toy_pairs(range(3))
    for number in range(12):
        warping.step(toy_batch(people, number, batch=1, shots=3))
    assert used == {1, 2, 3}


def test_a_restart_changes_no_bit(tmp_path: Path) -> None:
    people, straight, broken = toy_pairs(range(4)), learner(), learner()
    for number in range(6):
        straight.step(toy_batch(people, number))
    for number in range(3):
        broken.step(toy_batch(people, number))
    save_warping(str(tmp_path / "half"), broken, 24, "dlib", with_optimizer=True)
    resumed = learner(seed=0)
    state = resume(Storage(str(tmp_path / "half")), resumed)
    assert (state.episodes, state.steps, state.detector) == (24, 3, "dlib")
    for number in range(3, 6):
        resumed.step(toy_batch(people, number))
    for one, two in ((straight.network, resumed.network), (straight.average, resumed.average)):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, two.state_dict()[name]), name


def test_a_saved_model_draws_as_the_average_does(tmp_path: Path) -> None:
    people, warping = toy_pairs(range(4)), learner()
    for number in range(4):
        warping.step(toy_batch(people, number))
    save_warping(str(tmp_path / "model"), warping, 32)
    model = load_warping(str(tmp_path / "model"))
    frames, drawings = (np.stack([pair[part] for pair in people[0]]) for part in (0, 1))
    drawn = model.draw(frames[:3], drawings[:3], drawings[3:])
    assert (drawn.shape, drawn.dtype) == ((7, 32, 32, 3), np.uint8)
    alone = model.draw(frames[:3], drawings[:3], drawings[5:6])
    np.testing.assert_allclose(drawn[2].astype(int), alone[0], atol=1)
    assert np.abs(drawn[0].astype(int) - drawn[1]).max() > 0

    for parameter in warping.network.parameters():
        torch.nn.init.normal_(parameter)  # what draws is the average
    again = load_warping(str(tmp_path / "model")).draw(frames[:3], drawings[:3], drawings[3:])
    np.testing.assert_array_equal(drawn, again)
    with pytest.raises(ValueError, match=r"must be \[N, 32, 32, 3\]"):
        model.draw(frames[:, :16], drawings, drawings)


def test_pieces_do_not_change_what_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warping, people = learner(), toy_pairs(range(2))
    torch.nn.init.normal_(warping.average.last.weight, std=0.05)
    save_warping(str(tmp_path), warping, 0)
    model = load_warping(str(tmp_path))
    frames, drawings = (np.stack([pair[part] for pair in people[0]]) for part in (0, 1))
    whole = model.draw(frames, drawings, drawings[:5])
    for pairs in (3, 25):  # fewer than the sources, and two targets at a time
        monkeypatch.setattr("raytalk.warping.model._PIXELS", pairs * 32 * 32)
        np.testing.assert_allclose(whole.astype(int), model.draw(frames, drawings, drawings[:5]), atol=1)


def test_half_a_folder_and_one_that_does_not_fit_are_refused(tmp_path: Path) -> None:
    warping, place = learner(), tmp_path / "model"
    with pytest.raises(CheckpointError, match="no complete warping model at"):
        load_warping(str(place))
    save_warping(str(place), warping, 8)
    with pytest.raises(CheckpointError, match="was kept without its optimizer"):
        resume(Storage(str(place)), learner())
    save_warping(str(place), warping, 8, with_optimizer=True)
    with pytest.raises(CheckpointError, match=r"network.max_channels is 48 in the checkpoint and 32 here"):
        resume(Storage(str(place)), learner(**{"network.max_channels": 32}))
    marker = (place / MARKER).read_text()
    (place / MARKER).write_text(json.dumps(json.loads(marker) | {"format": 99}))
    with pytest.raises(CheckpointError, match="has format 99"):
        load_warping(str(place))
    (place / MARKER).write_text(marker)
    weights = place / "warping.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"is not complete: warping.safetensors has"):
        load_warping(str(place))
    (place / MARKER).unlink()
    with pytest.raises(CheckpointError, match="no complete warping model at"):
        load_warping(str(place))


def test_what_is_not_finite_is_not_kept(tmp_path: Path) -> None:
    warping = learner()
    with torch.no_grad():
        warping.average.first.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(TrainingCollapsed, match=r"first.weight is not finite"):
        save_warping(str(tmp_path / "model"), warping, 8)
    assert not (tmp_path / "model").exists()


def test_learning_needs_neither_ray_nor_mlflow_nor_av() -> None:
    program = """
import sys
for name in ("ray", "mlflow", "av"):
    sys.modules[name] = None
import raytalk.warping.learner, raytalk.warping.model
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.gpu
def test_a_gpu_takes_the_step_in_bfloat16() -> None:
    warping = WarpLearner(
        WarpingSettings.resolve("debug", TINY, {"losses.content": 1.0, "network.min_channels": 32}),
        RandomContent(),  # type: ignore[arg-type]
        torch.device("cuda"),
    )
    people = toy_pairs(range(4))
    metrics = [warping.step(toy_batch(people, number)) for number in range(10)]
    assert all(torch.isfinite(value) for step in metrics for value in step.values())
