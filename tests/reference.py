"""The networks and the meta-learning losses once more, as the paper reads: one plain operation after the other.

They take the weights of raytalk's modules and share no arithmetic with them: 3x3 convolutions, then pooling or behind
up-sampling; a weight is divided by left^T W right; every loss is computed for itself and all of D's forward passes are
made anew. Any dtype, no resampling kernels, no fused operations.
"""

from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raytalk.learning import meta
from raytalk.learning.losses import LossSettings
from raytalk.networks.blocks import AdaINBlock, DownBlock, SelfAttention
from raytalk.networks.discriminator import Discriminator
from raytalk.networks.embedder import Embedder
from raytalk.networks.generator import Generator
from raytalk.networks.spectral import SpectralLayer


def weight(layer: nn.Module) -> Tensor:
    """A layer's weight over its largest singular value: [O, I, k, k], or [O, I]"""
    assert isinstance(layer, SpectralLayer)
    matrix = layer.weight.flatten(1)
    left, right = layer.left.clone().to(matrix.dtype), layer.right.clone().to(matrix.dtype)
    normal = layer.weight / torch.einsum("o,oi,i->", left, matrix, right)
    return normal.permute(0, 3, 1, 2) if normal.ndim == 4 else normal


def convolve(layer: Any, x: Tensor) -> Tensor:
    return F.conv2d(x, weight(layer), layer.bias, padding=layer.size // 2)


def normal(x: Tensor) -> Tensor:
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) / (x.var(dim=(2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()


def down(block: DownBlock, x: Tensor) -> Tensor:
    """Pre-activation, skip with 1x1 where size or channels change, pooling at the end."""

    def affine(module: Any, h: Tensor) -> Tensor:
        return h if module is None else normal(h) * module.weight[:, None, None] + module.bias[:, None, None]

    h = x if block.first else torch.clamp(affine(block.norm1, x), min=0)
    h = convolve(block.conv1, h)
    h = convolve(block.conv2, torch.clamp(affine(block.norm2, h), min=0))
    out = h + (x if block.skip is None else convolve(block.skip, x))
    return F.avg_pool2d(out, 2) if block.down else out


def adain(block: AdaINBlock, x: Tensor, coefficients: Tensor) -> Tensor:
    """Adaptive instance norm before each ReLU, up-sampling before the first convolution and on the skip."""

    def larger(h: Tensor) -> Tensor:
        return h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) if block.up else h

    width, channels = x.shape[1], block.conv1.channels_out
    scale1, shift1, scale2, shift2 = coefficients[:, :, None, None].split([width, width, channels, channels], dim=1)
    h = convolve(block.conv1, larger(torch.clamp(normal(x) * scale1 + shift1, min=0)))
    h = convolve(block.conv2, torch.clamp(normal(h) * scale2 + shift2, min=0))
    return h + (larger(x) if block.skip is None else convolve(block.skip, larger(x)))


def attention(module: SelfAttention, x: Tensor) -> Tensor:
    """Every position looks at all positions of the pooled map."""
    query = convolve(module.query, x).flatten(2)
    key, value = (F.max_pool2d(convolve(layer, x), 2).flatten(2) for layer in (module.key, module.value))
    shares = torch.einsum("nci,ncj->nij", query, key).softmax(dim=2)
    return x + module.gain * torch.einsum("nij,ncj->nci", shares, value).reshape(x.shape)


def block(module: nn.Module, x: Tensor) -> Tensor:
    if isinstance(module, nn.Sequential):
        for part in module:
            x = block(part, x)
        return x
    return attention(module, x) if isinstance(module, SelfAttention) else down(module, x)  # type: ignore[arg-type]


def embed(embedder: Embedder, frames: Tensor, drawings: Tensor) -> Tensor:
    x = torch.cat([frames, drawings], dim=1)
    for module in embedder.blocks:
        x = block(module, x)
    return torch.clamp(x.sum(dim=(2, 3)), min=0) * embedder.scale


def render(generator: Generator, drawings: Tensor, embedding: Tensor) -> Tensor:
    projection = generator.projection
    psi = embedding @ weight(projection.linear).T * projection.scale + projection.bias
    x = drawings
    for module in generator.down:
        x = block(module, x)
    for index, module in enumerate([*generator.middle, *generator.up]):
        part, psi = psi[:, : module.coefficients], psi[:, module.coefficients :]
        x = adain(module, x, part)
        key = str(index - len(generator.middle))
        if key in generator.attention:
            x = attention(generator.attention[key], x)  # type: ignore[arg-type]
    scale, shift = psi[:, :, None, None].chunk(2, dim=1)
    return torch.tanh(convolve(generator.last, torch.clamp(normal(x) * scale + shift, min=0)))


def judge(discriminator: Discriminator, frames: Tensor, drawings: Tensor, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
    x, activations = torch.cat([frames, drawings], dim=1), []
    for module in discriminator.blocks:
        x = block(module, x)
        activations.append(x)
    vector = torch.clamp(x.sum(dim=(2, 3)), min=0)
    return (vector * (rows + discriminator.w0)).sum(dim=1) + discriminator.bias, activations


def distances(ours: list[Tensor], theirs: list[Tensor]) -> Tensor:
    """Sum of mean absolute differences."""
    return sum(((a - b.detach()).abs().mean() for a, b in zip(ours, theirs, strict=True)), ours[0].new_zeros(()))


def talker_loss(
    talker: Any, discriminator: Discriminator, networks: Any, frames: Tensor, drawings: Tensor, rows: Tensor,
    seen: Tensor, weights: LossSettings,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Eq. 2, of frames and drawings [B, 1 + K, 3, H, W], with a content and an identity network; and x̂."""
    shots = frames.shape[1] - 1
    embeddings = torch.stack([embed(talker.embedder, frames[:, k], drawings[:, k]) for k in range(1, 1 + shots)], dim=1)
    output = render(talker.generator, drawings[:, 0], embeddings.mean(dim=1))
    scores, activations = judge(discriminator, output, drawings[:, 0], rows.detach())
    _, real_activations = judge(discriminator, frames[:, 0], drawings[:, 0], rows.detach())
    match = ((embeddings - rows[:, None]).abs().mean(dim=(1, 2)) * seen).mean()
    content, identity = (distances(network(output), network(frames[:, 0])) for network in networks)
    total = weights.content * content + weights.identity * identity - scores.mean() + weights.match * match
    return total + weights.feature_matching * distances(activations, real_activations), output


def discriminator_loss(
    discriminator: Discriminator, output: Tensor, frames: Tensor, drawings: Tensor, rows: Tensor
) -> Tensor:
    """Eq. 6."""
    fake, _ = judge(discriminator, output.detach(), drawings[:, 0], rows)
    real, _ = judge(discriminator, frames[:, 0], drawings[:, 0], rows)
    return torch.clamp(1 + fake, min=0).mean() + torch.clamp(1 - real, min=0).mean()


class Frozen(NamedTuple):
    """What a step would have done."""

    metrics: meta.Metrics
    discriminator: list[list[Tensor]]
    """gradients of D, of each of its steps"""
    talker: list[Tensor]
    rows: list[Tensor]
    """gradients of W [B, N], beside each D step"""


def frozen_step(made: meta.MetaLearner, episodes: meta.Episodes, monkeypatch: pytest.MonkeyPatch) -> Frozen:
    """A step in which no weight moves; first visits of rows and power iterations excepted."""
    given: dict[int, list[list[Tensor]]] = {id(made.talker_optimizer): [], id(made.discriminator_optimizer): []}
    rows: list[Tensor] = []
    with monkeypatch.context() as patch:
        patch.setattr(meta, "descend", lambda who, gradients: given[id(who)].append([g.clone() for g in gradients]))
        patch.setattr(made.rows, "step", lambda _, gradient: rows.append(gradient.clone()))
        metrics = made.step(episodes)
    (talker,) = given[id(made.talker_optimizer)]
    return Frozen(metrics, given[id(made.discriminator_optimizer)], talker, rows)
