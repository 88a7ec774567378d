"""Blocks that the three networks share (paper, Section 4: implementation details).

The dtype of a map is the precision of the arithmetic; weights are float32. Shapes: N batch, C channels, H = W height.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raytalk.networks.operations import convolve_relu, half, join, norm_relu, relu_and_half
from raytalk.networks.spectral import Convolution, padded


class SelfAttention(nn.Module):
    """Self-attention over positions as in SAGAN and BigGAN: query and key have C/8 channels, the gain starts at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = Convolution(channels, channels // 8, 1)
        self.key = Convolution(channels, channels // 8, 1)
        self.value = Convolution(channels, channels, 1)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> same
        height, width = x.shape[2:]
        # Four dimensions, as the fused attention kernels want them: [N, 1, positions, channels]
        query = self.query(x).flatten(2).mT[:, None]
        key = F.max_pool2d(self.key(x), 2).flatten(2).mT[:, None]
        value = F.max_pool2d(self.value(x), 2).flatten(2).mT[:, None]
        attended: Tensor = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        change: Tensor = attended[:, 0].mT.unflatten(2, (height, width))
        return torch.addcmul(x, self.gain.to(x.dtype), change)


class InstanceNormRelu(nn.Module):
    """Affine instance norm, then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> same
        return norm_relu(x, self.weight.expand(len(x), -1), self.bias.expand(len(x), -1))


class AdaptiveInstanceNormRelu(nn.Module):
    """Instance norm whose scale and shift per channel come from outside (ψ of Section 3.2), then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficients = 2 * channels

    def forward(self, x: Tensor, coefficients: Tensor) -> Tensor:
        """x [N, C, H, W], coefficients [N, 2C] float32: scales, then shifts -> [N, C, H, W]"""
        scale, shift = coefficients.chunk(2, dim=1)
        return norm_relu(x, scale, shift)


class DownBlock(nn.Module):
    """Pre-activation residual block: ReLU, 3x3, ReLU, 3x3, then 2x average pooling if `down`.

    `norm`: affine instance norm before each ReLU, which makes the biases of the 3x3 convolutions idle: they have none
    then. `first`: no ReLU at the start, since pictures are not features.
    """

    def __init__(
        self, channels_in: int, channels_out: int, down: bool = True, norm: bool = False, first: bool = False
    ) -> None:
        super().__init__()
        self.down, self.first = down, first
        self.norm1 = InstanceNormRelu(channels_in) if norm and not first else None
        self.norm2 = InstanceNormRelu(channels_out) if norm else None
        self.conv1 = Convolution(channels_in, channels_out, 3, bias=not norm)
        self.conv2 = Convolution(channels_out, channels_out, 3, bias=not norm, step="down" if down else "same")
        self.skip = Convolution(channels_in, channels_out, 1) if down or channels_in != channels_out else None

    def forward(self, x: Tensor) -> Tensor:  # [N, Cin, H, W] -> [N, Cout, H/2, W/2]
        if self.first:
            x = active = padded(x)
            x = half(x) if self.down else x
        elif self.norm1 is not None:
            active, x = self.norm1(x), half(x) if self.down else x
        elif self.down:
            active, x = relu_and_half(x)
        else:
            active = F.relu(x)
        if self.norm2 is None:
            assert self.conv1.bias is not None
            y = convolve_relu(active, self.conv1.kernel(x.dtype), self.conv1.bias)
        else:
            y = self.norm2(self.conv1(active))
        biases: list[Tensor] = [
            layer.bias for layer in (self.conv2, self.skip) if layer is not None and layer.bias is not None
        ]
        bias = torch.stack(biases).sum(dim=0) if biases else None
        return join(self.conv2.bare(y), x if self.skip is None else self.skip.bare(x), bias)


class AdaINBlock(nn.Module):
    """Residual block with adaptive instance norm before each ReLU; 2x nearest up-sampling if `up`."""

    def __init__(self, channels_in: int, channels_out: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.norm1 = AdaptiveInstanceNormRelu(channels_in)
        self.norm2 = AdaptiveInstanceNormRelu(channels_out)
        self.conv1 = Convolution(channels_in, channels_out, 3, bias=False, step="up" if up else "same")
        self.conv2 = Convolution(channels_out, channels_out, 3, bias=False)
        self.skip = Convolution(channels_in, channels_out, 1) if up or channels_in != channels_out else None
        self.coefficients = self.norm1.coefficients + self.norm2.coefficients

    def forward(self, x: Tensor, coefficients: Tensor) -> Tensor:  # [N, Cin, H, W], [N, coefficients]
        first, second = coefficients.split([self.norm1.coefficients, self.norm2.coefficients], dim=1)
        y = self.conv2.bare(self.norm2(self.conv1.bare(self.norm1(x, first)), second))
        if self.skip is None:
            return join(y, x, None)
        return join(y, self.skip.bare(x), self.skip.bias, up=self.up)


def pool(x: Tensor) -> Tensor:
    """Sum over space, then ReLU: [N, C, H, W] -> [N, C] in float32 (sums of bfloat16 lose small parts)."""
    return F.relu(x.sum(dim=(2, 3), dtype=torch.float32))
