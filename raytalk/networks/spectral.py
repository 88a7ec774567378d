"""Convolutions and fully connected layers with spectral norm (paper, Section 4), resampling included.

Where a 3x3 convolution meets a 2x average pooling or a 2x nearest up-sampling, both are one convolution of stride 2
with a 4x4 kernel, the sum of four shifted copies: the same function for 16/36 of the arithmetic.

Spectral norm divides a weight by its largest singular value, found by power iteration. During a training step
`normalise` does that once for all layers of a network; a layer used alone does it for itself, without iterating.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raytalk.networks.operations import fused

_FIRST_ITERATIONS = 15
_PADDED = 8
"""pictures get this many channels: tensor cores take multiples of eight"""


class SpectralLayer(nn.Module):
    """A weight of O rows and the two vectors of its power iteration."""

    left: Tensor
    right: Tensor

    def __init__(self, *shape: int) -> None:
        """shape: O, then what makes up a row"""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))
        self.register_buffer("left", F.normalize(torch.randn(shape[0]), dim=0))
        self.register_buffer("right", F.normalize(torch.randn(self.weight[0].numel()), dim=0))
        self._ready: Tensor | None = None

    @property
    def first_size(self) -> float:
        """Root mean square of the weight before training: Glorot and Bengio's (2010)."""
        outputs, inputs = self.weight.shape[0], self.weight.shape[-1]
        return float((2 / (self.weight.numel() / (outputs * inputs) * (outputs + inputs))) ** 0.5)

    def normal(self) -> Tensor:
        """The weight over its largest singular value; the gradient goes through that value too."""
        # Copies, because the next iteration writes to the vectors while a graph still needs them.
        left, right = self.left.clone(), self.right.clone()
        return self.weight / (left @ (self.weight.flatten(1) @ right))

    def kernel(self, dtype: torch.dtype) -> Tensor:
        """What the layer multiplies with."""
        return self._ready if self._ready is not None and self._ready.dtype == dtype else self.make_kernel(dtype)

    def make_kernel(self, dtype: torch.dtype, sigma: Tensor | None = None) -> Tensor:
        """The same, made anew; `sigma` [1] if it is known, with gradients from a fused kernel."""
        raise NotImplementedError


class Linear(SpectralLayer):
    """A fully connected layer without bias."""

    def __init__(self, size_in: int, size_out: int) -> None:
        super().__init__(size_out, size_in)
        nn.init.xavier_uniform_(self.weight)
        iterate([self], _FIRST_ITERATIONS)

    def forward(self, x: Tensor) -> Tensor:  # [N, size_in] -> [N, size_out]
        return F.linear(x, self.kernel(x.dtype))

    def kernel(self, dtype: torch.dtype) -> Tensor:
        """In the weight's own dtype always: what it multiplies is too small to be worth rounding."""
        return super().kernel(self.weight.dtype)

    def make_kernel(self, dtype: torch.dtype, sigma: Tensor | None = None) -> Tensor:
        """[size_out, size_in]"""
        if sigma is not None and fused(self.weight):
            outputs, inputs = self.weight.shape
            weight = self.weight[:, None, None, :]
            return _fused_kernel(weight, self, sigma, "same", outputs, inputs, self.weight.dtype)[:, :, 0, 0]
        return self.normal()


class Convolution(SpectralLayer):
    """A convolution; its weight lies in memory as [O, k, k, I].

    `step`: same keeps the size; down is followed by 2x average pooling; up comes behind 2x nearest up-sampling.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        size: Literal[1, 3],
        bias: bool = True,
        step: Literal["same", "down", "up"] = "same",
    ) -> None:
        super().__init__(channels_out, size, size, channels_in)
        nn.init.xavier_uniform_(self.weight.data.permute(0, 3, 1, 2))
        iterate([self], _FIRST_ITERATIONS)
        self.bias = nn.Parameter(torch.zeros(channels_out)) if bias else None
        self.channels_in, self.channels_out, self.size, self.step = channels_in, channels_out, size, step

    def forward(self, x: Tensor) -> Tensor:
        """[N, I, H, W] -> [N, O, H, W], or half or double that size"""
        y = self.bare(x)
        return y if self.bias is None else y + self.bias.to(x.dtype)[:, None, None]

    def bare(self, x: Tensor) -> Tensor:
        """The same without the bias."""
        return convolved(x, self.kernel(x.dtype), self.step, self.channels_out)

    def make_kernel(self, dtype: torch.dtype, sigma: Tensor | None = None) -> Tensor:
        """[O, I, k, k], or [I, O, 4, 4] if `step` is up; pictures' channels padded"""
        outputs, inputs = max(_PADDED, self.channels_out), max(_PADDED, self.channels_in)
        if sigma is not None and fused(self.weight):
            return _fused_kernel(self.weight, self, sigma, self.step, outputs, inputs, dtype)
        weight = F.pad(self.normal(), (0, inputs - self.channels_in, 0, 0, 0, 0, 0, outputs - self.channels_out))
        if self.step == "down":
            weight = _shifted_sum(weight) * 0.25
        elif self.step == "up":
            return _shifted_sum(weight.flip(1, 2)).permute(3, 0, 1, 2).to(dtype)
        return weight.permute(0, 3, 1, 2).to(dtype)


def convolved(x: Tensor, kernel: Tensor, step: str, channels_out: int) -> Tensor:
    """x [N, I, H, W] by what `Convolution.make_kernel` made -> [N, O, H, W], or half or double that size."""
    x = padded(x, kernel.shape[0] if step == "up" else kernel.shape[1])
    if step == "up":
        y = F.conv_transpose2d(x, kernel, stride=2, padding=1)
    elif step == "down":
        y = F.conv2d(x, kernel, stride=2, padding=1)
    else:
        y = F.conv2d(x, kernel, padding=kernel.shape[2] // 2)
    return y if y.shape[1] == channels_out else y[:, :channels_out]


def padded(x: Tensor, channels: int = _PADDED) -> Tensor:
    """x [N, C, H, W] with zeros for the channels that are missing."""
    return F.pad(x, (0, 0, 0, 0, 0, channels - x.shape[1])) if x.shape[1] < channels else x


def stacked(*pictures: Tensor) -> Tensor:
    """Pictures [N, 3, H, W] one behind the other along the channels, then zeros up to what `padded` makes."""
    n, channels, height, width = pictures[0].shape
    missing = _PADDED - channels * len(pictures)
    return torch.cat([*pictures, pictures[0].new_zeros(()).expand(n, missing, height, width)], dim=1)


@contextmanager
def normalised(network: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Within the block all layers of a network use kernels made once at its start, in `dtype`."""
    try:
        normalise(network, dtype)
        yield
    finally:
        release(network)


def normalise(network: nn.Module, dtype: torch.dtype) -> None:
    """Make the kernels of all layers, after one power iteration; they are used until `release`."""
    layers = spectral_layers(network)
    if not layers:
        return
    for layer, sigma in zip(layers, iterate(layers, 1).split(1), strict=True):
        layer._ready = layer.make_kernel(dtype if isinstance(layer, Convolution) else layer.weight.dtype, sigma)


@torch.no_grad()
def iterate(layers: Sequence[SpectralLayer], times: int) -> Tensor:
    """Bring the vectors of each layer nearer to those of its largest singular value; returns these values [layers]."""
    for _ in range(times):
        for own, others, turn in (("left", "right", False), ("right", "left", True)):
            matrices = [layer.weight.flatten(1).T if turn else layer.weight.flatten(1) for layer in layers]
            vectors = [matrix @ getattr(layer, others) for matrix, layer in zip(matrices, layers, strict=True)]
            norms = torch.stack(torch._foreach_norm(vectors)).clamp_min(1e-12)
            torch._foreach_copy_([getattr(layer, own) for layer in layers], torch._foreach_div(vectors, norms.unbind()))
    return norms  # of weight^T left, which is left^T weight right


@torch.no_grad()
def fold(network: nn.Module, dtype: torch.dtype) -> None:
    """For a network that learns no more: make the kernels of all layers once, without iterating."""
    for layer in spectral_layers(network):
        layer._ready = layer.make_kernel(dtype if isinstance(layer, Convolution) else layer.weight.dtype)


@torch.no_grad()
def resize(network: nn.Module, share: float) -> None:
    """Bring the weights of all layers to `share` of the size (root mean square) that they are given before training.

    What a network computes stays the same, how fast it learns does not: a step of Adam is as long whatever the weight,
    so it turns a large one less. And they grow as long as they learn, since their gradient stands at right angles to
    them: after a million episodes those of `base` are 2.7 times as large.
    """
    for layer in spectral_layers(network):
        layer.weight.mul_(share * layer.first_size / layer.weight.square().mean().sqrt())


def release(network: nn.Module) -> None:
    """Forget the kernels that `normalise` or `fold` made."""
    for layer in spectral_layers(network):
        layer._ready = None


def spectral_layers(network: nn.Module) -> list[SpectralLayer]:
    """All layers with spectral norm."""
    return [module for module in network.modules() if isinstance(module, SpectralLayer)]


def _fused_kernel(
    weight: Tensor, layer: SpectralLayer, sigma: Tensor, step: str, outputs: int, inputs: int, dtype: torch.dtype
) -> Tensor:
    from raytalk.networks.fused.weights import SpectralKernel

    # Copies, because the next iteration writes to the vectors while a graph still needs them.
    left, right = layer.left.clone(), layer.right.clone()
    function: Any = SpectralKernel
    kernel: Tensor = function.apply(weight, left, right, sigma, step, outputs, inputs, dtype)
    return kernel


def _shifted_sum(weight: Tensor) -> Tensor:
    """[O, 3, 3, I] -> [O, 4, 4, I]: the sum of its four copies shifted by 0 or 1"""
    wide = F.pad(weight, (0, 0, 1, 1, 1, 1))
    wide = wide[:, 1:] + wide[:, :-1]
    return wide[:, :, 1:] + wide[:, :, :-1]
