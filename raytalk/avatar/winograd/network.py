"""The generator as `layer` computes it: norms and ReLUs are part of the convolutions behind them.

N pictures, C channels, H and W pixels; maps are [N, H, W, C] float32.
"""

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raytalk.avatar.lean import Attention, Kernel
from raytalk.avatar.winograd.layer import Map, Values, Winograd, Workspace, measured
from raytalk.networks.blocks import AdaINBlock, DownBlock, InstanceNormRelu, SelfAttention
from raytalk.networks.generator import Generator
from raytalk.networks.spectral import Convolution

_ROWS = 256
Step = Callable[[Workspace, Map, list[Values]], Map]


class Network:
    """Drawings and ψ' become frames; may be called from several threads at once, each with a workspace of its own."""

    def __init__(self, generator: Generator) -> None:
        """The generator is not changed."""
        first, *rest = generator.down
        self._first = _First(cast(DownBlock, first))
        self._steps: list[Step] = []
        for block in rest:
            self._add(*(block if isinstance(block, nn.Sequential) else [block]))
        for block in generator.middle:
            self._add(block)
        for index, block in enumerate(generator.up):
            self._add(block)
            if str(index) in generator.attention:
                self._add(generator.attention[str(index)])
        self._last = Winograd(generator.last, generator.last.bias)
        adaptive = [cast(AdaINBlock, block) for block in (*generator.middle, *generator.up)]
        sizes = [
            size for block in adaptive for norm in (block.norm1, block.norm2) for size in [norm.coefficients // 2] * 2
        ]
        self._bounds: list[int] = np.cumsum(sizes).tolist()

    def _add(self, *blocks: nn.Module) -> None:
        for block in blocks:
            if isinstance(block, DownBlock):
                self._steps.append(_Down(block))
            elif isinstance(block, AdaINBlock):
                self._steps.append(_Adaptive(block))
            else:
                self._steps.append(_Attention(cast(SelfAttention, block)))

    def __call__(self, space: Workspace, drawings: Tensor, coefficients: Tensor) -> Tensor:
        """drawings [N, H, W, 3] uint8, ψ' [C] of all or [N, C] of each -> frames [N, H, W, 3] uint8"""
        parts = np.split(coefficients.numpy(), self._bounds, axis=-1)
        affine, last = parts[:-1], parts[-1]
        x = self._first(space, drawings)
        for step in self._steps:
            x = step(space, x, affine)
            if isinstance(step, _Adaptive):
                affine = affine[4:]
        made = self._last(space, x.values, *x.normalise(*np.split(last, 2, axis=-1))).values[..., :3]
        return torch.tanh(made).mul_(127.5).add_(128.0).to(torch.uint8)


class _First:
    """The block next to the drawing."""

    def __init__(self, block: DownBlock) -> None:
        self._conv1 = Kernel(block.conv1, torch.float32)
        assert block.skip is not None
        self._skip, bias = _pointwise(block.skip)
        self._conv2 = Winograd(block.conv2, _sum(bias, block.conv2.bias))
        self._ones = np.ones((1, block.conv1.channels_out), np.float32)

    def __call__(self, space: Workspace, drawings: Tensor) -> Map:
        pictures = F.pad(drawings.float() / 127.5 - 1, (0, 8 - drawings.shape[3]))
        x = pictures.movedim(3, 1)
        bias = self._conv1.bias
        active = F.relu_(F.conv2d(x, self._conv1.weight, bias, padding=1)).movedim(1, 3)
        skip = F.linear(F.avg_pool2d(x, 2).movedim(1, 3), self._skip)
        ones = np.repeat(self._ones, len(drawings), axis=0)
        return self._conv2(space, active, ones, np.zeros_like(ones), skip)


class _Down:
    def __init__(self, block: DownBlock) -> None:
        assert block.norm1 is not None
        assert block.norm2 is not None
        assert block.skip is not None
        self._norms = [_affine(norm) for norm in (block.norm1, block.norm2)]
        self._conv1 = Winograd(block.conv1)
        self._skip, bias = _pointwise(block.skip)
        self._conv2 = Winograd(block.conv2, _sum(bias, block.conv2.bias))

    def __call__(self, space: Workspace, x: Map, affine: list[Values]) -> Map:
        y = self._conv1(space, x.values, *x.normalise(*self._norms[0]))
        halved = F.avg_pool2d(x.values.movedim(3, 1), 2).movedim(1, 3)
        return self._conv2(space, y.values, *y.normalise(*self._norms[1]), F.linear(halved, self._skip))


class _Adaptive:
    def __init__(self, block: AdaINBlock) -> None:
        self._conv1 = Winograd(block.conv1)
        bias: Tensor | None = None
        self._skip: Tensor | None = None
        if block.skip is not None:
            self._skip, bias = _pointwise(block.skip)
        self._conv2 = Winograd(block.conv2, bias)

    def __call__(self, space: Workspace, x: Map, affine: list[Values]) -> Map:
        y = self._conv1(space, x.values, *x.normalise(*affine[:2]))
        skip = x.values if self._skip is None else F.linear(x.values, self._skip)
        return self._conv2(space, y.values, *y.normalise(*affine[2:4]), skip)


class _Attention:
    """Some rows of the attention at a time: the whole does not stay in a cache."""

    def __init__(self, attention: SelfAttention) -> None:
        self._layer = Attention(attention, torch.float32)

    def __call__(self, space: Workspace, x: Map, affine: list[Values]) -> Map:
        query, key, value = self._layer.project(x.values)
        attended = space.take("attended", *query.shape[:2], value.shape[2])
        scores, shares = (space.take(name, _ROWS, key.shape[1]) for name in ("scores", "shares"))
        for picture in range(len(query)):
            for start in range(0, query.shape[1], _ROWS):
                rows = query[picture, start : start + _ROWS]
                torch.mm(rows, key[picture].T, out=scores[: len(rows)])
                torch.softmax(scores[: len(rows)], dim=1, out=shares[: len(rows)])
                torch.mm(shares[: len(rows)], value[picture], out=attended[picture, start : start + len(rows)])
        made = torch.addcmul(x.values, self._layer.gain, attended.view(x.values.shape))
        return measured(made)


def _pointwise(layer: Convolution) -> tuple[Tensor, Tensor | None]:
    """[O, I] of a 1x1 convolution, and its bias."""
    with torch.no_grad():
        kernel = layer.make_kernel(torch.float32)[:, :, 0, 0].contiguous()
    return kernel, layer.bias


def _affine(norm: InstanceNormRelu) -> tuple[Values, Values]:
    return norm.weight.detach().numpy(), norm.bias.detach().numpy()


def _sum(*biases: Tensor | None) -> Tensor | None:
    known = [bias.detach() for bias in biases if bias is not None]
    return torch.stack(known).sum(dim=0) if known else None
