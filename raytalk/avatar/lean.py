"""The generator as it renders: what only learning needs is gone, and the same function takes fewer operations.

N pictures, C channels, H = W height.
"""

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raytalk.learning.meta import to_unit
from raytalk.networks.blocks import DownBlock, InstanceNormRelu, SelfAttention
from raytalk.networks.generator import Generator
from raytalk.networks.operations import norm_relu
from raytalk.networks.spectral import Convolution, convolved


class Lean(nn.Module):
    """Drawings and ψ' become frames. Spectral norm is in the kernels; weights are buffers."""

    last_bias: Tensor
    sizes: list[int]
    """of the parts of ψ', one for each block and the last norm"""

    def __init__(self, generator: Generator, dtype: torch.dtype) -> None:
        """The generator is copied. dtype: of the arithmetic."""
        super().__init__()
        self.dtype = dtype
        body = copy.deepcopy(generator)
        with torch.no_grad():
            _replace(body, dtype)
            for block in body.modules():
                if isinstance(block, DownBlock):
                    _merge_biases(block)
        self.down, self.adaptive = body.down, nn.ModuleList([*body.middle, *body.up])
        self.attention = nn.ModuleDict(
            {str(len(body.middle) + int(index)): attention for index, attention in body.attention.items()}
        )
        self.last_norm, self.last = body.last_norm, body.last
        assert generator.last.bias is not None
        self.register_buffer("last_bias", generator.last.bias.detach().clone())
        self.sizes = [block.coefficients for block in (*body.middle, *body.up, body.last_norm)]
        self.eval().requires_grad_(False)

    def forward(self, drawings: Tensor, coefficients: Tensor) -> Tensor:
        """drawings [N, H, W, 3] uint8, ψ' [C] of all or [N, C] of each float32 -> frames [N, H, W, 3] uint8"""
        x = to_unit(drawings, self.dtype)
        for block in self.down:
            x = block(x)
        each = coefficients if coefficients.dim() == 2 else coefficients[None].expand(drawings.shape[0], -1)
        *parts, last = each.split(self.sizes, dim=1)
        for index, (block, part) in enumerate(zip(self.adaptive, parts, strict=True)):
            x = block(x, part)
            if str(index) in self.attention:
                x = self.attention[str(index)](x)
        output = torch.tanh(self.last.bare(self.last_norm(x, last)) + self.last_bias[:, None, None])
        # From -1 ... 1 to 0.5 ... 255.5, of which the whole part is kept.
        return (output * 127.5 + 128.0).to(torch.uint8).movedim(1, -1).contiguous()


class Kernel(nn.Module):
    """A convolution whose kernel is made."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: Convolution, dtype: torch.dtype) -> None:
        super().__init__()
        weight = layer.make_kernel(dtype).to(memory_format=torch.channels_last)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.step, self.channels_out = layer.step, layer.channels_out

    def kernel(self, dtype: torch.dtype) -> Tensor:
        """What it multiplies with."""
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        """[N, I, H, W] -> [N, O, H, W], or half or double that size"""
        y = self.bare(x)
        return y if self.bias is None else y + self.bias.to(x.dtype)[:, None, None]

    def bare(self, x: Tensor) -> Tensor:
        """The same without the bias."""
        return convolved(x, self.weight, self.step, self.channels_out)


class Norm(nn.Module):
    """`InstanceNormRelu`, for any number of pictures: `len` would fix it in an export."""

    weight: Tensor
    bias: Tensor

    def __init__(self, norm: InstanceNormRelu) -> None:
        super().__init__()
        self.register_buffer("weight", norm.weight.detach()[None])
        self.register_buffer("bias", norm.bias.detach()[None])

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> same
        return norm_relu(x, self.weight.expand(x.shape[0], -1), self.bias.expand(x.shape[0], -1))


class Attention(nn.Module):
    """`SelfAttention` with one product for query, key and value."""

    weight: Tensor
    bias: Tensor
    gain: Tensor

    def __init__(self, attention: SelfAttention, dtype: torch.dtype) -> None:
        super().__init__()
        layers = (attention.query, attention.key, attention.value)
        kernels = [layer.make_kernel(dtype)[: layer.channels_out, :, 0, 0] for layer in layers]
        self.register_buffer("weight", torch.cat(kernels))
        biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
        self.register_buffer("bias", torch.cat(biases).detach().to(dtype))
        self.register_buffer("gain", attention.gain.detach().to(dtype))
        self.sizes = [layer.channels_out for layer in layers]

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> same
        positions = x.permute(0, 2, 3, 1)
        query, key, value = (part[:, None] for part in self.project(positions))
        attended = attend(query, key, value)[:, 0].unflatten(1, positions.shape[1:3])
        return torch.addcmul(positions, self.gain, attended).permute(0, 3, 1, 2)

    def project(self, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, H, W, C] -> queries [N, P, C/8], keys [N, P/4, C/8], values [N, P/4, C]"""
        made = F.linear(positions, self.weight, self.bias)
        pooled = F.max_pool2d(made.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1).flatten(1, 2)
        _, key, value = pooled.split(self.sizes, dim=-1)
        return made[..., : self.sizes[0]].flatten(1, 2), key, value


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """[N, 1, P, C/8], [N, 1, Q, C/8], [N, 1, Q, C] -> [N, 1, P, C]"""
    if query.is_cuda:
        return F.scaled_dot_product_attention(query, key, value, scale=1.0)
    # On CPUs PyTorch's fused attention takes three to four times as long with heads of these sizes.
    return torch.softmax(query @ key.mT, dim=-1) @ value


def _replace(module: nn.Module, dtype: torch.dtype) -> None:
    for name, child in module.named_children():
        if isinstance(child, Convolution):
            setattr(module, name, Kernel(child, dtype))
        elif isinstance(child, SelfAttention):
            setattr(module, name, Attention(child, dtype))
        elif isinstance(child, InstanceNormRelu):
            setattr(module, name, Norm(child))
        else:
            _replace(child, dtype)


def _merge_biases(block: DownBlock) -> None:
    """Both are added in the join."""
    last, skip = cast(Kernel, block.conv2), cast(Kernel | None, block.skip)
    if skip is not None and skip.bias is not None and last.bias is not None:
        last.bias, skip.bias = last.bias + skip.bias, None
