"""Maps and 3x3 convolutions between them, by way of `tiles`.

N pictures, C channels, H and W pixels; maps are [N, H, W, C] float32.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raytalk.avatar.winograd import tiles
from raytalk.networks.spectral import Convolution

Values = npt.NDArray[np.float32]

_MODES = {"same": tiles.SAME, "up": tiles.UP, "down": tiles.DOWN}
_KEPT = [0, 1, 3, 4, 5]
_STRIP, _LONGEST_STRIP = 3 << 19, 16 << 20
"""bytes of transformed tiles and products at a time, which stay in a cache; more where reading the kernel for each
strip would cost more than that saves"""
_EPSILON = 1e-5


@dataclass(frozen=True)
class Map:
    """A map and what the next norm needs of it."""

    values: Tensor
    """[N, H, W, C]"""
    sums: npt.NDArray[np.float64]
    """[N, 2, C]: of the values, and of their squares"""

    def normalise(self, scale: Values, shift: Values) -> tuple[Values, Values]:
        """Factor and offset [N, C] that are instance norm with this scale and shift, [C] or [N, C]."""
        pixels = self.values.shape[1] * self.values.shape[2]
        means = self.sums / pixels
        mean, variance = means[:, 0], np.maximum(means[:, 1] - means[:, 0] ** 2, 0)
        factor = scale / np.sqrt(variance + _EPSILON)
        return factor.astype(np.float32), (shift - mean * factor).astype(np.float32)


def measured(values: Tensor) -> Map:
    """[N, H, W, C] with its sums."""
    flat = values.flatten(1, 2).double()
    return Map(values, torch.stack([flat.sum(dim=1), (flat * flat).sum(dim=1)], dim=1).numpy())


class Workspace:
    """Memory that the convolutions of a thread use one after the other: getting it anew costs time."""

    def __init__(self) -> None:
        self._kept: dict[object, Tensor] = {}
        self._turns: dict[tuple[int, ...], int] = {}

    def map(self, *shape: int) -> Tensor:
        """Memory for a map, which the third map of this shape after it overwrites."""
        turn = self._turns[shape] = (self._turns.get(shape, 0) + 1) % 3
        return self.take(("map", turn), *shape)

    def take(self, name: object, *shape: int) -> Tensor:
        """Zeros of a shape, or what was left in them."""
        tensor = self._kept.get((name, shape))
        if tensor is None:
            tensor = self._kept[name, shape] = torch.zeros(shape)
        return tensor


class Winograd:
    """A 3x3 convolution behind a norm and a ReLU, before a join."""

    def __init__(self, layer: Convolution, bias: Tensor | None = None) -> None:
        """bias [O], if any is added; the layer's own is not looked at."""
        self.mode = _MODES[layer.step]
        with torch.no_grad():
            kernel = layer.normal().double()  # [O, 3, 3, I]
        inputs, self.outputs = kernel.shape[3], -(-kernel.shape[0] // tiles.B) * tiles.B
        matrix = torch.from_numpy(_filters())
        made = torch.einsum("ai,bj,oijc->abco", matrix, matrix, kernel)
        if self.mode != tiles.SAME:
            made = made[_KEPT][:, _KEPT]
        made = torch.nn.functional.pad(made.flatten(0, 1), (0, self.outputs - kernel.shape[0]))
        self._kernel = made.float().contiguous()
        self._bias = np.zeros(self.outputs, np.float32)
        if bias is not None:
            self._bias[: len(bias)] = bias.detach().numpy()
        self._inputs = inputs

    def __call__(self, space: Workspace, x: Tensor, factor: Values, offset: Values, skip: Tensor | None = None) -> Map:
        """The convolution of relu(x * factor + offset), plus bias and skip.

        x [N, H, W, I]; factor, offset [N, I]; skip like the result, or half as high and wide.
        """
        count, height, width, _ = x.shape
        above, beside = self._size(height), self._size(width)
        y = space.map(count, above, beside, self.outputs)
        side = 2 if self.mode == tiles.DOWN else 4
        rows, across = count * above // side, beside // side
        products, channels = len(self._kernel), self._inputs + self.outputs
        wanted = min(_LONGEST_STRIP, max(_STRIP, 2 * self._kernel.nbytes))
        strip = min(rows, max(1, wanted // (4 * products * across * channels)))
        # One picture more than needed: behind the last product lies room for what is not, and zeros.
        spread = space.take(("spread", self.mode), products + 1, strip * across, self._inputs)
        made = space.take(("made", self.mode), products + 1, strip * across, self.outputs)
        sums, joined = np.zeros((count, 2, self.outputs)), _EMPTY
        if skip is not None:
            joined = skip.contiguous().view(-1).numpy()
        source, target = x.contiguous().view(-1).numpy(), y.view(-1).numpy()
        flat_spread, flat_made = spread.view(-1).numpy(), made.view(-1).numpy()
        halved = skip is not None and skip.shape[1] != above
        for first in range(0, rows, strip):
            last = min(rows, first + strip)
            used = (last - first) * across
            tiles.spread(
                source, height, width, self._inputs, factor.reshape(-1), offset.reshape(-1),
                flat_spread, strip * across * self._inputs, first, last, self.mode,
            )  # fmt: skip
            torch.bmm(spread[:products, :used], self._kernel, out=made[:products, :used])
            tiles.gather(
                flat_made, strip * across * self.outputs, target, above, beside, self.outputs, self._bias,
                joined, halved, sums.reshape(-1), first, last, self.mode,
            )  # fmt: skip
        return Map(y, sums)

    def _size(self, size: int) -> int:
        return 2 * size if self.mode == tiles.UP else size // 2 if self.mode == tiles.DOWN else size


_EMPTY = np.zeros(0, np.float32)


def _filters() -> npt.NDArray[np.float64]:
    """G [6, 3] of F(4, 3) for the points 0, 1, -1, 2, -2 and infinity."""
    return np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    )
