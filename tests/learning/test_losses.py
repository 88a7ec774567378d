"""Loss terms against numbers worked out by hand."""

import pydantic
import pytest
import torch

from raytalk.learning.losses import (
    LossSettings,
    adversarial_loss,
    content_loss,
    discriminator_loss,
    feature_matching_loss,
    match_loss,
)


@pytest.mark.parametrize("loss", [content_loss, feature_matching_loss])
def test_layers_are_averaged_and_then_summed(loss: object) -> None:
    ours = [torch.zeros(1, 2, 2, 2), torch.zeros(1, 1, 1, 1)]
    theirs = [torch.zeros(1, 2, 2, 2), torch.full((1, 1, 1, 1), -3.0)]
    theirs[0][0, 0, 0, 0] = 4
    assert loss(ours, theirs).item() == pytest.approx(4 / 8 + 3)  # type: ignore[operator]


@pytest.mark.parametrize("loss", [content_loss, feature_matching_loss])
def test_layers_must_match(loss: object) -> None:
    with pytest.raises(ValueError, match="shorter"):
        loss([torch.zeros(1), torch.zeros(1)], [torch.zeros(1)])  # type: ignore[operator]


def test_adversarial_loss_is_the_negative_score() -> None:
    scores = torch.tensor([2.0, -1.0, 5.0], requires_grad=True)
    loss = adversarial_loss(scores)
    assert loss.item() == pytest.approx(-2)
    loss.backward()
    torch.testing.assert_close(scores.grad, torch.full((3,), -1 / 3))


@pytest.mark.parametrize(
    ("real", "fake", "loss", "gradients"),
    [(0.0, 0.0, 2.0, (-1, 1)), (2.0, -2.0, 0.0, (0, 0)), (0.25, -0.5, 1.25, (-1, 1)), (-1.0, 3.0, 6.0, (-1, 1))],
)
def test_hinge(real: float, fake: float, loss: float, gradients: tuple[int, int]) -> None:
    scores = torch.tensor([real, fake], requires_grad=True)
    value = discriminator_loss(scores[:1], scores[1:])
    value.backward()
    assert value.item() == pytest.approx(loss)
    assert scores.grad is not None
    assert tuple(scores.grad.tolist()) == gradients


def test_hinge_is_a_mean_over_episodes() -> None:
    assert discriminator_loss(torch.tensor([0.0, 2.0]), torch.tensor([-3.0, 1.0])).item() == pytest.approx(0.5 + 1.0)


def test_match_loss() -> None:
    embeddings = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[9.0, 9.0], [9.0, 9.0]]], requires_grad=True)
    rows = torch.tensor([[1.0, 1.0], [0.0, 0.0]], requires_grad=True)
    loss = match_loss(embeddings, rows, torch.tensor([True, False]))
    assert loss.item() == pytest.approx((0 + 1 + 2 + 3) / 4 / 2)
    loss.backward()
    assert embeddings.grad is not None
    assert rows.grad is not None
    assert embeddings.grad[1].abs().sum() == 0, "an episode of an unseen video is left out"
    assert rows.grad[1].abs().sum() == 0
    torch.testing.assert_close(rows.grad[0], torch.tensor([-1 / 8, -2 / 8]))


def test_no_gradient_to_what_is_frozen() -> None:
    embeddings = torch.ones(1, 2, 3, requires_grad=True)
    rows = torch.zeros(1, 3)
    match_loss(embeddings, rows, torch.tensor([True])).backward()
    assert embeddings.grad is not None
    assert rows.grad is None
    truth, output = [torch.zeros(2)], [torch.ones(2, requires_grad=True)]
    content_loss(output, truth).backward()
    assert output[0].grad is not None
    assert truth[0].grad is None


def test_weights_are_the_papers_and_cannot_be_negative() -> None:
    weights = LossSettings()
    assert (weights.content, weights.identity, weights.feature_matching, weights.match) == (0.15, 0.025, 10, 10)
    with pytest.raises(pydantic.ValidationError):
        LossSettings(match=-1)
