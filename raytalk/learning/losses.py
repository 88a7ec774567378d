"""The loss terms of meta-learning, one function each (Section 3.2).

B episodes, K source frames per episode, N = embedding size.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from raytalk.learning.loss_settings import LossSettings as LossSettings
from raytalk.networks.operations import difference


def content_loss(output: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
    """L_CNT (Eq. 2, first term) for one perceptual network: sum over its taps of the mean absolute difference."""
    return torch.stack([difference(ours, real) for ours, real in zip(output, truth, strict=True)]).sum()


def adversarial_loss(fake_scores: Tensor) -> Tensor:
    """L_ADV without feature matching (Eq. 3, first term): -D(x̂)."""
    return -fake_scores.mean()


def feature_matching_loss(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """L_FM (Eq. 3, second term): sum over D's residual blocks of the mean absolute difference of activations."""
    return torch.stack([difference(ours, theirs) for ours, theirs in zip(fake, real, strict=True)]).sum()


def match_loss(embeddings: Tensor, rows: Tensor, seen: Tensor) -> Tensor:
    """L_MCH (Section 3.2, after Eq. 4): |E(x(s_k), y(s_k)) - W_i|, mean over k and N; nothing for unseen videos.

    embeddings [B, K, N], rows W_i [B, N], seen [B] bool: whether W_i has been visited before this step.
    """
    per_episode = (embeddings - rows[:, None]).abs().mean(dim=(1, 2))
    return (per_episode * seen).mean()


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """L_DSC (Eq. 6): hinge loss."""
    return F.relu(1 + fake_scores).mean() + F.relu(1 - real_scores).mean()
