"""Few-shot learning of a toy person, with tiny networks and a random content network."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toy import TINY_NETWORKS, RandomContent, face_landmarks, toy_frame

from raytalk.learning.early_stop import EarlyStop, kept_aside
from raytalk.learning.fewshot import FewShotLearner, embed
from raytalk.learning.learning_images import LearningImages
from raytalk.learning.losses import LossSettings
from raytalk.learning.meta import Talker, to_unit
from raytalk.learning.settings import FewShotSettings
from raytalk.networks.discriminator import Discriminator
from raytalk.networks.settings import NetworkSettings
from raytalk.networks.spectral import spectral_layers

NETWORKS = NetworkSettings(**TINY_NETWORKS)  # type: ignore[arg-type]


def images(count: int = 4, person: int = 3, size: int = 32) -> LearningImages:
    random = np.random.default_rng(person)
    points = [face_landmarks(size, tuple(random.uniform(-0.1, 0.1, 2)), random.uniform()) for _ in range(count)]
    return LearningImages.drawn(np.stack([toy_frame(person, one, size) for one in points]), np.stack(points))


def networks() -> tuple[Talker, Discriminator]:
    torch.manual_seed(0)
    return Talker(NETWORKS).eval(), Discriminator(NETWORKS)


def learner(count: int = 4, made: tuple[Talker, Discriminator] | None = None, **options: Any) -> FewShotLearner:
    talker, discriminator = made or networks()
    content: Any = RandomContent()
    settings = FewShotSettings(**options)
    device = torch.device("cpu")
    made = FewShotLearner(settings, LossSettings(), talker, discriminator, content, content, device)
    made.begin(images(count))
    return made


def snapshot(made: FewShotLearner) -> dict[str, Tensor]:
    tensors = {"coefficients": made.coefficients, "weight": made.weight}
    tensors |= {f"generator.{key}": value for key, value in made.generator.named_parameters()}
    tensors |= {f"discriminator.{key}": value for key, value in made.discriminator.named_parameters()}
    return {key: value.detach().clone() for key, value in tensors.items()}


def test_step_zero_is_the_feed_forward_output() -> None:
    talker, discriminator = networks()
    made = learner(made=(talker, discriminator))
    embedding = embed(talker, images())
    with torch.no_grad():
        drawings = to_unit(images().drawings)
        wanted = talker.generator.render(drawings, talker.generator.projection(embedding[None]).expand(4, -1))
        # A product with four rows is summed in another order than one with a single row.
        torch.testing.assert_close(talker.generator(drawings, embedding.expand(4, -1)), wanted, atol=1e-5, rtol=0)
    # Weights have another size, divided out again.
    torch.testing.assert_close(made.render(images().drawings), wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(made.weight.detach(), discriminator.w0 + embedding, atol=0, rtol=0)


def test_the_embedding_is_the_mean_over_the_images() -> None:
    talker, _ = networks()
    many = images(20)
    each = [embed(talker, LearningImages(many.frames[n : n + 1], many.drawings[n : n + 1])) for n in range(20)]
    torch.testing.assert_close(embed(talker, many), torch.stack(each).mean(dim=0), atol=1e-6, rtol=1e-4)


def test_everything_of_the_person_moves_and_nothing_else() -> None:
    talker, discriminator = networks()
    given = copy.deepcopy((talker.state_dict(), discriminator.state_dict()))
    made = learner(made=(talker, discriminator), discriminator_steps=2, beta1=0.0)
    before = snapshot(made)
    for _ in range(3):
        made.step(torch.arange(4))
    after = snapshot(made)
    still = {key for key in before if torch.equal(before[key], after[key])}
    assert {"coefficients", "weight"}.isdisjoint(still)
    # P and w0 have handed over to ψ' and w'.
    handed_over = {key for key in before if ".projection." in key} | {"discriminator.w0"}
    # Behind a gain of 0, attention waits for the gain to move; while both hinges are open, b is flat.
    waiting = {key for key in still if any(part in key for part in ("query", "key", "value", "discriminator.bias"))}
    assert still - waiting == handed_over
    for module, state in zip((talker, discriminator), given, strict=True):
        for key, value in module.state_dict().items():
            torch.testing.assert_close(value, state[key], atol=0, rtol=0)


def test_learning_lowers_the_loss_and_nears_the_images() -> None:
    made = learner(steps=60, generator_rate=1e-3)
    truth = to_unit(images().frames)
    before = float((made.render(images().drawings) - truth).abs().mean())
    losses: list[float] = []
    made.learn(lambda _, __, metrics: losses.append(float(metrics["loss/content"])))
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:3])
    assert float((made.render(images().drawings) - truth).abs().mean()) < 0.8 * before


def test_a_model_that_was_trained_for_long_learns_as_fast() -> None:
    """Its weights under spectral norm have grown, which changes nothing of what it computes."""
    made = learner(steps=12, batch_size=2)
    talker, discriminator = networks()
    with torch.no_grad():
        for layer in spectral_layers(talker) + spectral_layers(discriminator):
            layer.weight.mul_(5)
    grown = learner(made=(talker, discriminator), steps=12, batch_size=2)
    drawings = images().drawings
    first = made.render(drawings)
    torch.testing.assert_close(grown.render(drawings), first, atol=1e-4, rtol=0)
    for each in (made, grown):
        each.learn()
    moved = (made.render(drawings) - first).abs().mean()
    assert (grown.render(drawings) - made.render(drawings)).abs().mean() < 0.05 * moved


@pytest.mark.parametrize("count", [1, 3, 8, 9])
def test_every_image_is_shown_before_any_comes_again(count: int) -> None:
    made = learner(count, batch_size=4)
    assert made.batch_size == min(4, count)
    shown: list[int] = []
    for _, chosen in zip(range(count), made._order(), strict=False):
        shown += chosen.tolist()
    rounds = [shown[start : start + count] for start in range(0, len(shown) - count + 1, count)]
    assert all(sorted(once) == list(range(count)) for once in rounds)


@pytest.mark.parametrize(("count", "batch", "steps"), [(8, 8, 40), (1, 8, 40), (32, 8, 160), (9, 8, 45)])
def test_epochs_of_the_paper(count: int, batch: int, steps: int) -> None:
    assert FewShotSettings(epochs=40, batch_size=batch).total_steps(count) == steps
    assert FewShotSettings(steps=7).total_steps(count) == 7


def test_the_same_seed_learns_the_same() -> None:
    one, two, other = (
        learner(steps=3, batch_size=2),
        learner(steps=3, batch_size=2),
        learner(steps=3, batch_size=2, seed=1),
    )
    for made in (one, two, other):
        made.learn()
    drawings = images().drawings
    torch.testing.assert_close(one.render(drawings), two.render(drawings), atol=0, rtol=0)
    assert not torch.equal(one.render(drawings), other.render(drawings))


def test_no_steps_is_feed_forward() -> None:
    made = learner(steps=0)
    before = made.render(images().drawings)
    made.learn()
    torch.testing.assert_close(made.render(images().drawings), before, atol=0, rtol=0)


def test_the_next_person_starts_where_the_first_did() -> None:
    fresh, used = learner(steps=5), learner(count=3, steps=5, generator_rate=1e-2)
    used.begin(images(3, person=9))
    used.learn()
    used.settings = fresh.settings
    used.begin(images())
    for made in (fresh, used):
        made.learn()
    drawings = images().drawings
    torch.testing.assert_close(fresh.render(drawings), used.render(drawings), atol=0, rtol=0)


def test_more_images_are_learned_from_but_do_not_shape_the_embedding() -> None:
    made = learner(batch_size=8)
    before = made.embedding.clone()
    made.begin(images(), images(3, person=5))
    torch.testing.assert_close(made.embedding, before, atol=0, rtol=0)
    assert made.batch_size == 7
    assert sorted(next(made._order()).tolist()) == list(range(7))


def test_rates_fall_to_zero_over_the_last_steps() -> None:
    made, seen = learner(steps=8, fall=0.5, generator_rate=1e-3), []

    def note(*_: object) -> bool:
        seen.append(
            [made.generator_optimizer.param_groups[0]["lr"], made.discriminator_optimizer.param_groups[0]["lr"]]
        )
        return False

    made.learn(note)
    shares = [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert seen == [pytest.approx([1e-3 * share, made.settings.discriminator_rate * share]) for share in shares]
    assert {FewShotSettings(fall=0).rate_at(step, 8) for step in range(8)} == {1.0}


def test_learning_ends_when_the_report_says_so() -> None:
    made = learner(steps=20)
    assert made.learn(lambda number, _, __: number == 3) == 3
    assert learner(steps=2).learn() == 2


def test_the_best_state_on_images_kept_aside_is_kept() -> None:
    made = learner(count=4, steps=400, generator_rate=2e-2, check_every=5, patience=2)
    watch = EarlyStop(made, images(2, person=8))  # somebody else: learning leads away from them sooner or later
    assert made.learn(lambda number, _, __: watch.looked(number, 400)) < 400
    worse = made.miss(images(2, person=8))
    watch.restore()
    assert made.miss(images(2, person=8)) == pytest.approx(watch.best, rel=1e-5)
    assert watch.best <= worse
    assert watch.best_step % 5 == 0


@pytest.mark.parametrize(
    ("count", "hold_out", "aside"), [(8, 0, []), (8, 1, [4]), (8, 2, [2, 6]), (2, 1, []), (3, 1, [1])]
)
def test_which_images_are_kept_aside(count: int, hold_out: int, aside: list[int]) -> None:
    assert kept_aside(count, FewShotSettings(hold_out=hold_out)) == aside


def test_the_last_step_is_looked_at_too() -> None:
    made = learner(count=4, steps=10, generator_rate=1e-3)  # fewer than check_every
    watch = EarlyStop(made, images())
    made.learn(lambda number, total, _: watch.looked(number, total))
    assert watch.best_step == 10
    after = made.render(images().drawings)
    watch.restore()
    torch.testing.assert_close(made.render(images().drawings), after, atol=0, rtol=0)


def test_nothing_of_who_was_forgotten_is_left_and_the_next_is_learned_as_ever() -> None:
    made, alone = learner(steps=3), learner(count=3, steps=3)
    made.learn()
    made.forget()
    fresh = learner(steps=3)
    fresh.forget()
    for (name, value), other in zip(snapshot(made).items(), snapshot(fresh).values(), strict=True):
        torch.testing.assert_close(value, other, msg=name, rtol=0, atol=0)
    for optimizer in (made.generator_optimizer, made.discriminator_optimizer):
        for moments in optimizer.state.values():
            assert not any(bool(moment.any()) for moment in moments.values())
    (phases,) = made._phases.values()
    batch = (phases.batch.frames, phases.batch.drawings, *(tap for taps in phases.batch.features for tap in taps))
    assert not any(bool(tensor.any()) for tensor in (*batch, phases._truth, phases._drawing, phases._output))
    made.begin(images(3))
    made.learn()
    alone.learn()
    for (name, value), other in zip(snapshot(made).items(), snapshot(alone).values(), strict=True):
        torch.testing.assert_close(value, other, msg=name, rtol=0, atol=0)
