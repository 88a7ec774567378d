"""The operations of `raytalk.networks.operations` through Triton kernels, for autograd.

Maps are [N, C, H, W], channels last in memory (others are copied into that order); the gradients of maps have their
dtype, those of biases and affine parameters are float32.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from raytalk.networks.fused import map_kernels as kernels
from raytalk.networks.fused import norm_kernels
from raytalk.networks.operations import WeightGradients

_VALUES = 4096
_PROGRAMS = 528
"""programs that share a sum: four for each of 132 multiprocessors"""


class ConvolveRelu(torch.autograd.Function):
    """relu(x * kernel + bias): bias and ReLU are in the convolution's epilogue."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, bias: Tensor, weights: WeightGradients) -> Tensor:
        padding = [kernel.shape[2] // 2] * 2
        y = torch.cudnn_convolution_relu(x, kernel, bias.to(x.dtype), [1, 1], padding, [1, 1], 1)
        ctx.save_for_backward(x, kernel, y)
        ctx.padding, ctx.weights = padding, weights
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, kernel, y = ctx.saved_tensors
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1] and ctx.weights.wanted, False]
        if ctx.needs_input_grad[2] and ctx.weights.wanted:
            masked, of_bias = _mask_and_sum(gradient, y)
        else:
            masked, of_bias = torch.ops.aten.threshold_backward(_dense(gradient), y, 0), None
        of_x, of_kernel, _ = torch.ops.aten.convolution_backward(
            masked, x, kernel, None, [1, 1], ctx.padding, [1, 1], False, [0, 0], 1, wanted
        )
        return of_x, of_kernel, of_bias, None


class ReluAndHalf(torch.autograd.Function):
    """relu(x) and x at half the size; without `rectify` the second alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rectify: bool) -> tuple[Tensor, Tensor]:
        x = _dense(x)
        rectified = torch.empty_like(x) if rectify else x.new_empty(0)
        halved = _half(x)
        _launch_half(kernels.relu_and_half, halved, x, rectified, halved, RELU=rectify)
        ctx.save_for_backward(rectified)
        ctx.rectify = rectify
        return rectified, halved

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_rectified: Tensor, of_halved: Tensor) -> tuple[Tensor, None]:
        (rectified,) = ctx.saved_tensors
        of_rectified, of_halved = _dense(of_rectified), _dense(of_halved)
        n, channels, height, width = of_halved.shape
        of_x = _empty(n, channels, 2 * height, 2 * width, of_halved)
        kernel = kernels.relu_and_half_backward
        _launch_half(kernel, of_halved, rectified, of_rectified, of_halved, of_x, RELU=ctx.rectify)
        return of_x, None


class MaxHalf(torch.autograd.Function):
    """2x2 max pooling without indices."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = _dense(x)
        halved = _half(x)
        _launch_half(kernels.max_half, halved, x, halved)
        ctx.save_for_backward(x, halved)
        return halved

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_halved: Tensor) -> Tensor:
        x, halved = ctx.saved_tensors
        of_x = torch.empty_like(x)
        _launch_half(kernels.max_half_backward, halved, x, halved, _dense(of_halved), of_x)
        return of_x


class Join(torch.autograd.Function):
    """y + skip + bias, where skip may have half the size."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, skip: Tensor, bias: Tensor | None, up: bool, weights: WeightGradients) -> Tensor:
        y, skip = _dense(y), _dense(skip)
        out = torch.empty_like(y)
        n, channels, height, width = y.shape
        block = _block(channels)
        grid = (_ceil(n * height * width, block["PIXELS"]), _ceil(channels, block["CHANNELS"]))
        kernels.join[grid](
            y, skip, y if bias is None else bias, out, n * height * width, width, channels,
            UP=up, BIAS=bias is not None, **block,
        )  # fmt: skip
        ctx.up, ctx.bias, ctx.weights = up, bias is not None, weights
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = of_skip = _dense(gradient)
        if ctx.up:
            of_skip = _half(gradient)
            _launch_half(kernels.sum_of_four, of_skip, gradient, of_skip)
        of_bias = _mask_and_sum(of_skip, None)[1] if ctx.bias and ctx.weights.wanted else None
        return gradient, of_skip, of_bias, None, None


class NormRelu(torch.autograd.Function):
    """relu(instance_norm(x) * scale + shift); scale and shift [N, C], of any row stride."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        x = _dense(x)
        n, channels, height, width = x.shape
        pixels, parts = height * width, _parts(n, height * width, channels)
        block = _block(channels)
        columns = _ceil(channels, block["CHANNELS"])
        sums = x.new_empty((n, parts, 2, channels), dtype=torch.float32)
        norm_kernels.moments[(n * parts, columns)](x, sums, pixels, channels, PARTS=parts, **block)
        y, statistics = torch.empty_like(x), x.new_empty((n, 2, channels), dtype=torch.float32)
        tiles = _tiles(pixels, block["PIXELS"])
        norm_kernels.norm_relu[(n * tiles, columns)](
            x, sums, scale, shift, y, statistics, scale.stride(0), shift.stride(0), pixels, channels,
            PARTS=parts, TILES=tiles, **block,
        )  # fmt: skip
        ctx.save_for_backward(x, statistics, scale, shift)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, statistics, scale, shift = ctx.saved_tensors
        gradient = _dense(gradient)
        n, channels, height, width = x.shape
        pixels, parts = height * width, _parts(n, height * width, channels)
        block = _block(channels)
        columns = _ceil(channels, block["CHANNELS"])
        sums = x.new_empty((n, parts, 2, channels), dtype=torch.float32)
        strides = scale.stride(0), shift.stride(0)
        norm_kernels.norm_relu_sums[(n * parts, columns)](
            x, gradient, statistics, scale, shift, sums, *strides, pixels, channels, PARTS=parts, **block
        )
        of_x, of_affine = torch.empty_like(x), x.new_empty((n, 2, channels), dtype=torch.float32)
        tiles = _tiles(pixels, block["PIXELS"])
        norm_kernels.norm_relu_backward[(n * tiles, columns)](
            x, gradient, statistics, scale, shift, sums, of_x, of_affine, *strides, pixels, channels,
            PARTS=parts, TILES=tiles, **block,
        )  # fmt: skip
        return of_x, of_affine[:, 0], of_affine[:, 1]


class Difference(torch.autograd.Function):
    """Mean of |a - b|, float32; only a gets a gradient."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        assert a.shape == b.shape
        a, b = _dense(a), _dense(b)
        programs = min(_PROGRAMS, _ceil(a.numel(), _VALUES))
        sums = a.new_empty(programs, dtype=torch.float32)
        kernels.difference[(programs,)](a, b, sums, a.numel(), VALUES=_VALUES)
        ctx.save_for_backward(a, b)
        return sums.sum() / a.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        a, b = ctx.saved_tensors
        of_a = torch.empty_like(a)
        grid = (_ceil(a.numel(), _VALUES),)
        kernels.difference_backward[grid](a, b, gradient.float(), of_a, a.numel(), VALUES=_VALUES)
        return of_a, None


def _mask_and_sum(gradient: Tensor, output: Tensor | None) -> tuple[Tensor, Tensor]:
    """The gradient where output is positive (everywhere if there is none), and its sums over N, H and W [C] float32."""
    gradient = _dense(gradient)
    n, channels, height, width = gradient.shape
    block = _block(channels)
    columns = _ceil(channels, block["CHANNELS"])
    programs = min(_ceil(_PROGRAMS, columns), _ceil(n * height * width, block["PIXELS"]))
    sums = gradient.new_empty((programs, channels), dtype=torch.float32)
    masked = gradient if output is None else torch.empty_like(gradient)
    kernels.mask_and_sum[(programs, columns)](
        gradient, gradient if output is None else output, masked, sums, n * height * width, channels,
        MASK=output is not None, **block,
    )  # fmt: skip
    return masked, sums.sum(dim=0)


def _launch_half(kernel: Any, halved: Tensor, *tensors: Tensor, **options: bool) -> None:
    """Run a kernel with a thread block for some pixels of the map that is half as large."""
    n, channels, height, width = halved.shape
    block = _block(channels, pixels=16)
    grid = (_ceil(n * height * width, block["PIXELS"]), _ceil(channels, block["CHANNELS"]))
    kernel[grid](*tensors, n * height * width, width, channels, **options, **block)


def _block(channels: int, pixels: int = 64) -> dict[str, int]:
    """Pixels and channels of a block: 4,096 values for `pixels=64`."""
    wide = min(64, max(8, 1 << (channels - 1).bit_length()))
    return {"PIXELS": pixels * 64 // wide, "CHANNELS": wide}


def _parts(n: int, pixels: int, channels: int) -> int:
    """Into how many parts, a power of two, each picture's sums are split to fill the device."""
    block = _block(channels)
    wanted = _PROGRAMS // max(1, n * _ceil(channels, block["CHANNELS"]))
    most = min(32, _ceil(pixels, block["PIXELS"]), max(1, wanted))
    return 1 << (most.bit_length() - 1)


def _tiles(pixels: int, block: int) -> int:
    return min(64, _ceil(pixels, block))


def _ceil(count: int, size: int) -> int:
    return -(-count // size)


def _dense(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x.contiguous()


def _half(x: Tensor) -> Tensor:
    n, channels, height, width = x.shape
    return _empty(n, channels, height // 2, width // 2, x)


def _empty(n: int, channels: int, height: int, width: int, like: Tensor) -> Tensor:
    return torch.empty(
        (n, channels, height, width), dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )
