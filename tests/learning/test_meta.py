"""The meta-learning step on toy people, with tiny networks and a random content network."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference import frozen_step
from torch import Tensor
from toy import TINY_NETWORKS, RandomContent, face_landmarks, toy_frame

from raytalk.faces.draw import draw_landmarks
from raytalk.learning import checkpoint
from raytalk.learning.checkpoint_writer import CheckpointWriter
from raytalk.learning.meta import Episodes, MetaLearner, to_unit
from raytalk.learning.settings import MetatrainSettings
from raytalk.storage import Storage

TINY = {
    "networks": TINY_NETWORKS,
    "data": {"shots": 3},
    "batch_size": 4,
}
VIDEOS = [f"person{person}/video0" for person in range(6)]


def learner(identity: bool = False, **layers: Any) -> MetaLearner:
    settings = MetatrainSettings.resolve("debug", TINY, {key.replace("__", "."): v for key, v in layers.items()})
    content: Any = RandomContent()
    return MetaLearner(settings, VIDEOS, content, content if identity else None, torch.device("cpu"))


def episodes(step: int = 0, batch: int = 4, shots: int = 3, size: int = 32, people: int = 6) -> Episodes:
    random = np.random.default_rng(step)
    videos = random.integers(0, people, batch)
    frames = np.zeros((batch, 1 + shots, size, size, 3), np.uint8)
    drawings = np.zeros_like(frames)
    for row, video in enumerate(videos):
        for place in range(1 + shots):
            points = face_landmarks(size, tuple(random.uniform(-0.1, 0.1, 2)), random.uniform())
            frames[row, place] = toy_frame(int(video), points, size)
            drawings[row, place] = draw_landmarks(points, size)
    return Episodes(torch.from_numpy(frames), torch.from_numpy(drawings), torch.from_numpy(videos))


def tensors(made: MetaLearner) -> dict[str, Tensor]:
    """Copies of everything that a step may change."""
    everything: dict[str, Tensor] = {}
    for name in ("talker", "discriminator", "average"):
        everything |= {f"{name}.{key}": value for key, value in getattr(made, name).state_dict().items()}
    for name in ("talker_optimizer", "discriminator_optimizer"):
        for index, state in getattr(made, name).state_dict()["state"].items():
            everything |= {f"{name}.{index}.{key}": value for key, value in state.items()}
    everything |= {f"rows.{key}": value for key, value in made.rows.state().items()}
    return {key: value.clone() for key, value in everything.items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor], prefix: str) -> list[str]:
    kept = {key for key in before if key in after and torch.equal(before[key], after[key])}
    return [key for key in after if key.startswith(prefix) and key not in kept]


def test_to_unit() -> None:
    pictures = torch.tensor([0, 255, 51], dtype=torch.uint8).expand(2, 5, 4, 4, 3)
    unit = to_unit(pictures)
    assert unit.shape == (2, 5, 3, 4, 4)
    assert unit.dtype == torch.float32
    torch.testing.assert_close(unit[0, 0, :, 1, 2], torch.tensor([-1.0, 1.0, -0.6]))


def test_pictures_are_not_transposed() -> None:
    pictures = torch.zeros(1, 4, 6, 3, dtype=torch.uint8)
    pictures[0, 1, 5, 2] = 255
    assert to_unit(pictures)[0, 2, 1, 5] == 1


def test_a_step_moves_each_network_by_its_own_gradients_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner()
    before = tensors(made)
    frozen = frozen_step(made, episodes(), monkeypatch)
    moved = [key for key in changed(before, tensors(made), "") if not key.endswith((".left", ".right"))]
    assert {key.partition(".")[0] for key in moved} == {"rows"}  # first visits
    assert [len(gradients) for gradients in frozen.discriminator] == [len(list(made.discriminator.parameters()))] * 2
    assert len(frozen.talker) == len(list(made.talker.parameters()))
    assert all(parameter.requires_grad for parameter in made.discriminator.parameters())


def test_a_step_changes_everything_that_should_learn() -> None:
    made = learner()
    made.talker.embedder.blocks[0][1].gain.data.fill_(0.1)  # type: ignore[index, union-attr]
    before = tensors(made)
    made.step(episodes())
    after = tensors(made)
    for name, module in (("talker", made.talker), ("discriminator", made.discriminator)):
        parameters = [f"{name}.{key}" for key, _ in module.named_parameters()]
        stuck = set(parameters) - set(changed(before, after, name))
        # Behind a gain of 0, query, key and value wait for the gain to move. While both hinges are open, b is flat.
        assert not {
            key for key in stuck if not any(part in key for part in ("query", "key", "value", "discriminator.bias"))
        }
    assert changed(before, after, "average")


def test_content_network_and_perceptual_weights_never_move() -> None:
    made = learner(identity=True)
    before = copy.deepcopy(made.content.state_dict())
    made.step(episodes())
    for key, value in made.content.state_dict().items():
        torch.testing.assert_close(value, before[key], atol=0, rtol=0)
        assert all(parameter.grad is None for parameter in made.content.parameters())


def test_two_discriminator_steps_for_each_talker_step() -> None:
    made, batch = learner(), episodes()
    for _ in range(3):
        made.step(batch)
    ages = {
        name: {int(state["step"]) for state in optimizer.state_dict()["state"].values()}
        for name, optimizer in (("talker", made.talker_optimizer), ("discriminator", made.discriminator_optimizer))
    }
    assert ages == {"talker": {3}, "discriminator": {6}}
    seen = set(batch.videos.tolist())
    assert made.rows.visits.tolist() == [6 if row in seen else 0 for row in range(len(VIDEOS))]
    assert made.steps == 3


def test_the_total_is_the_weighted_sum_of_the_paper() -> None:
    made = learner(identity=True)
    made.step(episodes())
    metrics = made.step(episodes())
    weights = made.settings.losses
    expected = (
        weights.content * metrics["loss/content"]
        + weights.identity * metrics["loss/identity"]
        + metrics["loss/adversarial"]
        + weights.feature_matching * metrics["loss/feature_matching"]
        + weights.match * metrics["loss/match"]
    )
    torch.testing.assert_close(metrics["loss/generator"], expected)
    assert metrics["loss/match"] > 0
    assert metrics["loss/identity"] > 0
    assert metrics["embedding"].shape == (4, 16)
    assert not any(value.requires_grad for value in metrics.values())


def test_the_talker_is_rewarded_for_high_scores() -> None:
    made = learner()
    made.discriminator.bias.data.fill_(1000.0)
    metrics = made.step(episodes())
    assert float(metrics["loss/adversarial"]) == pytest.approx(-1000, abs=100)


def test_learning_lowers_the_content_loss_and_keeps_the_embedding_alive() -> None:
    made = learner(optimization__generator_rate=1e-3, losses__content=1.5)
    losses, sizes = [], []
    for step in range(30):
        metrics = made.step(episodes(step % 5))
        losses.append(float(metrics["loss/content"]))
        sizes.append(float(metrics["embedding"].square().mean().sqrt()))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert np.mean(sizes[-5:]) > 0.3 * sizes[0]


def test_the_embedder_gets_gradient_through_the_generator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner(losses__match=0)
    gradients = frozen_step(made, episodes(), monkeypatch).talker
    of_embedder = gradients[: len(list(made.talker.embedder.parameters()))]
    assert max(float(gradient.abs().max()) for gradient in of_embedder) > 1e-8


def test_the_ff_variant_has_no_match_term(monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner(losses__match=0)
    made.step(episodes())
    metrics = made.step(episodes())
    torch.testing.assert_close(
        metrics["loss/generator"],
        made.settings.losses.content * metrics["loss/content"]
        + metrics["loss/adversarial"]
        + made.settings.losses.feature_matching * metrics["loss/feature_matching"],
    )
    first, second = frozen_step(made, episodes(), monkeypatch).rows
    torch.testing.assert_close(first, second, atol=1e-3, rtol=0.1)


@pytest.mark.parametrize("moves", [True, False])
def test_match_moves_rows_only_if_asked_to(moves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner(losses__match_moves_rows=moves)
    made.step(episodes())
    first, second = frozen_step(made, episodes(), monkeypatch).rows
    assert bool((first - second).abs().max() > 0.1) is moves


def test_the_match_gradient_draws_rows_to_the_embeddings_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the first D step only; and it is L_MCH's, so that L_ADV moves no row."""
    made, batch = learner(), episodes()
    made.step(batch)
    made.rows.rows[batch.videos] += 5  # above every embedding
    made.discriminator.bias.data.fill_(0)
    frozen = frozen_step(made, batch, monkeypatch)
    assert frozen.metrics["embedding"].max() < 5
    expected = 10 / (4 * 16)
    # W + 5 lets D saturate one hinge: what is left of L_DSC's gradient is the same in both D steps.
    torch.testing.assert_close(frozen.rows[0] - frozen.rows[1], torch.full((4, 16), expected), atol=0.02, rtol=0)


def test_no_match_at_the_first_visit() -> None:
    made, batch = learner(), episodes()
    metrics = made.step(batch)
    assert metrics["loss/match"] == 0
    assert made.step(batch)["loss/match"] > 0


def test_the_average_follows_its_equation() -> None:
    made = learner(optimization__ema_decay=0.7)
    average = [parameter.clone() for parameter in made.average.parameters()]
    for step in range(1, 13):
        made.step(episodes(step % 3))
        decay = min(0.7, (1 + step) / (10 + step))
        for place, live in enumerate(made.talker.parameters()):
            average[place] = decay * average[place] + (1 - decay) * live.detach()
    for ours, expected in zip(made.average.parameters(), average, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-4)
        assert not ours.requires_grad
    for ours, live in zip(made.average.buffers(), made.talker.buffers(), strict=True):
        torch.testing.assert_close(ours, live, atol=0, rtol=0)
    assert not made.average.training


def test_the_same_seed_gives_the_same_run() -> None:
    first, second, other = learner(), learner(), learner(seed=1)
    for made in (first, second, other):
        for step in range(2):
            made.step(episodes(step))
    assert not changed(tensors(first), tensors(second), "")
    assert changed(tensors(first), tensors(other), "talker")


def test_k_steps_save_load_and_the_rest_equal_n_steps(tmp_path: Path) -> None:
    whole, first, second = learner(), learner(), learner(seed=0)
    for step in range(5):
        whole.step(episodes(step))
    for step in range(3):
        first.step(episodes(step))
    state = checkpoint.State(12, 2.0, first.steps, 0, "dlib", [])
    writer = CheckpointWriter(Storage(str(tmp_path)), keep=1)
    writer.save(checkpoint.Snapshot.take(first, state))
    writer.close()
    for parameter in [*second.talker.parameters(), *second.discriminator.parameters()]:
        parameter.data.normal_()
    second.step(episodes(99))
    place, _ = checkpoint.latest(Storage(str(tmp_path)))
    assert checkpoint.load(place, second).episodes == 12
    assert not changed(tensors(first), tensors(second), "")
    for step in range(3, 5):
        second.step(episodes(step))
    ours, wanted = tensors(second), tensors(whole)
    assert ours.keys() == wanted.keys()
    assert not changed(wanted, ours, "")
    assert second.steps == whole.steps == 5


def test_bfloat16_keeps_master_weights_in_float32() -> None:
    made = learner(precision="bf16")
    metrics = made.step(episodes())
    assert made.dtype == torch.bfloat16
    assert all(bool(torch.isfinite(value).all()) for value in metrics.values())
    assert {parameter.dtype for parameter in made.talker.parameters()} == {torch.float32}
    assert metrics["embedding"].dtype == torch.float32


def test_the_step_does_not_touch_its_batch() -> None:
    made, batch = learner(), episodes()
    frames = batch.frames.clone()
    made.step(batch)
    torch.testing.assert_close(batch.frames, frames, atol=0, rtol=0)


@pytest.mark.slow
def test_a_full_step_of_the_paper_preset() -> None:
    torch.set_num_threads(2)
    settings = MetatrainSettings.resolve("paper", {"batch_size": 1})
    content: Any = RandomContent()
    made = MetaLearner(settings, VIDEOS, content, content, torch.device("cpu"))
    metrics = made.step(episodes(batch=1, shots=8, size=256))
    assert all(bool(torch.isfinite(value).all()) for value in metrics.values())
    assert metrics["embedding"].shape == (1, 512)
    assert metrics["embedding"].abs().max() > 0


def test_without_an_embedder_everybody_has_one_learned_embedding() -> None:
    made = learner(networks__embedder=False)
    start = tensors(made)
    for step in range(3):
        made.step(episodes(step))
    after = tensors(made)
    vector = made.talker.embedder(torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32))
    assert torch.equal(vector[0], vector[1])
    assert changed(start, after, "talker.embedder") == ["talker.embedder.vector"]
    # No video is told from another: D sees every row at the shared embedding, and none is trained.
    assert (made.rows.visits == 0).all()
    assert torch.equal(made.rows.first_moment, torch.zeros_like(made.rows.first_moment))


def test_a_share_of_the_rates_moves_everything_by_that_share() -> None:
    moved: list[dict[str, Tensor]] = []
    for share in (1.0, 0.25):
        made = learner(optimization__discriminator_steps=1)
        made.step(episodes())
        names = [
            f"{name}.{key}" for name in ("talker", "discriminator") for key, _ in getattr(made, name).named_parameters()
        ]
        names.append("rows.rows")
        before = tensors(made)
        made.step(episodes(), share)
        after = tensors(made)
        moved.append({name: after[name] - before[name] for name in names})
    for name, way in moved[0].items():
        torch.testing.assert_close(
            moved[1][name], 0.25 * way, rtol=1e-3, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}"
        )
    assert min(float(moved[0][name].abs().max()) for name in ("talker.generator.projection.bias", "rows.rows")) > 1e-5


def test_rates_fall_to_zero_over_the_last_episodes() -> None:
    options = {"episodes": 1000, "optimization.fall": 0.4}
    falling, flat = (MetatrainSettings.resolve("debug", TINY, each) for each in (options, {"episodes": 1000}))
    assert [falling.rate_at(shown) for shown in (0, 600, 800, 990, 1002)] == pytest.approx([1, 1, 0.5, 0.025, 0])
    assert {flat.rate_at(shown) for shown in (0, 600, 999)} == {1.0}
