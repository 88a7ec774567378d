"""Layers that the three networks share (paper, Section 4: implementation details).

Spectral norm is on every convolution and every fully connected layer. Shapes: N batch, C channels, H = W height.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


def convolution(channels_in: int, channels_out: int, kernel: int, bias: bool = True) -> nn.Module:
    """A same-size convolution with spectral norm."""
    layer = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return spectral_norm(layer)


class SelfAttention(nn.Module):
    """Self-attention over positions as in SAGAN and BigGAN: query and key have C/8 channels, the gain starts at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = convolution(channels, channels // 8, 1)
        self.key = convolution(channels, channels // 8, 1)
        self.value = convolution(channels, channels, 1)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> same
        height, width = x.shape[2:]
        query = self.query(x).flatten(2).transpose(1, 2)  # [N, HW, C/8]
        key = F.max_pool2d(self.key(x), 2).flatten(2).transpose(1, 2)  # [N, HW/4, C/8]
        value = F.max_pool2d(self.value(x), 2).flatten(2).transpose(1, 2)  # [N, HW/4, C]
        attended: Tensor = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        change: Tensor = attended.transpose(1, 2).unflatten(2, (height, width))
        return x + self.gain * change


class AdaptiveInstanceNorm(nn.Module):
    """Instance norm whose scale and shift per channel come from outside: ψ of Section 3.2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficients = 2 * channels

    def forward(self, x: Tensor, coefficients: Tensor) -> Tensor:
        """x [N, C, H, W], coefficients [N, 2C]: scales, then shifts -> [N, C, H, W]"""
        scale, shift = coefficients[:, :, None, None].chunk(2, dim=1)
        return F.instance_norm(x) * scale + shift


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
        self.norm1 = nn.InstanceNorm2d(channels_in, affine=True) if norm and not first else nn.Identity()
        self.norm2 = nn.InstanceNorm2d(channels_out, affine=True) if norm else nn.Identity()
        self.conv1 = convolution(channels_in, channels_out, 3, bias=not norm)
        self.conv2 = convolution(channels_out, channels_out, 3, bias=not norm)
        self.skip = convolution(channels_in, channels_out, 1) if down or channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:  # [N, Cin, H, W] -> [N, Cout, H/2, W/2]
        y = self.conv1(x if self.first else F.relu(self.norm1(x)))
        y = self.conv2(F.relu(self.norm2(y)))
        if self.down:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        out: Tensor = self.skip(x) + y
        return out


class AdaINBlock(nn.Module):
    """Residual block with adaptive instance norm before each ReLU; 2x nearest up-sampling if `up`."""

    def __init__(self, channels_in: int, channels_out: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.norm1 = AdaptiveInstanceNorm(channels_in)
        self.norm2 = AdaptiveInstanceNorm(channels_out)
        self.conv1 = convolution(channels_in, channels_out, 3, bias=False)
        self.conv2 = convolution(channels_out, channels_out, 3, bias=False)
        self.skip = convolution(channels_in, channels_out, 1) if up or channels_in != channels_out else nn.Identity()
        self.coefficients = self.norm1.coefficients + self.norm2.coefficients

    def forward(self, x: Tensor, coefficients: Tensor) -> Tensor:  # [N, Cin, H, W], [N, coefficients]
        first, second = coefficients.split([self.norm1.coefficients, self.norm2.coefficients], dim=1)
        y = F.relu(self.norm1(x, first))
        if self.up:
            y = F.interpolate(y, scale_factor=2, mode="nearest")
        y = self.conv2(F.relu(self.norm2(self.conv1(y), second)))
        skip = self.skip(x)
        out: Tensor = y + (F.interpolate(skip, scale_factor=2, mode="nearest") if self.up else skip)
        return out


def pool(x: Tensor) -> Tensor:
    """Sum over space, then ReLU: [N, C, H, W] -> [N, C] in float32 (sums of bfloat16 lose small parts)."""
    return F.relu(x.float().sum(dim=(2, 3)))
