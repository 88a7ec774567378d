"""Spectral norm through Triton kernels, for autograd."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from raytalk.networks.fused import weight_kernels as kernels

MODES = {"same": 0, "down": 1, "up": 2}


class SpectralKernel(torch.autograd.Function):
    """weight [O, k, k, I] float32 over sigma, as the kernel of a convolution in another dtype.

    left [O] and right [k * k * I] are the singular vectors of sigma [1]; `outputs` and `inputs` are the kernel's
    channels, with zeros for those that the weight lacks. The result is [outputs, inputs, k, k], and [inputs, outputs,
    4, 4] for the mode `up`, channels last in memory.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, left: Tensor, right: Tensor, sigma: Tensor, mode: str, outputs: int, inputs: int,
        dtype: torch.dtype,
    ) -> Tensor:  # fmt: skip
        size = weight.shape[1] if mode == "same" else 4
        shape = (inputs, outputs, size, size) if mode == "up" else (outputs, inputs, size, size)
        kernel = torch.empty(shape, dtype=dtype, device=weight.device, memory_format=torch.channels_last)
        rows = outputs * size * size
        grid, block = _grid(rows, inputs)
        kernels.make_kernel[grid](
            weight, sigma, kernel, rows, weight.shape[0], weight.shape[3], inputs, *_strides(kernel, mode),
            MODE=MODES[mode], SIZE=weight.shape[1], **block,
        )  # fmt: skip
        ctx.save_for_backward(weight, left, right, sigma)
        ctx.mode = mode
        return kernel

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, left, right, sigma = ctx.saved_tensors
        outputs, size, _, inputs = weight.shape
        rows, strides = outputs * size * size, _strides(gradient, ctx.mode)
        grid, block = _grid(rows, inputs)
        options = {"MODE": MODES[ctx.mode], "SIZE": size, **block}
        sums = weight.new_empty(grid)
        kernels.product[grid](weight, gradient, sums, rows, inputs, *strides, **options)
        out = torch.empty_like(weight)
        kernels.weight_gradient[grid](gradient, sigma, left, right, sums.sum(), out, rows, inputs, *strides, **options)
        return out, *[None] * 7


def _grid(rows: int, inputs: int) -> tuple[tuple[int, int], dict[str, int]]:
    wide = min(128, max(16, 1 << (inputs - 1).bit_length()))
    high = 4096 // wide
    return (-(-rows // high), -(-inputs // wide)), {"ROWS": high, "INPUTS": wide}


def _strides(kernel: Tensor, mode: str) -> tuple[int, int, int, int]:
    """Of outputs, rows, columns and inputs."""
    first, second, down, right = kernel.stride()
    return (second, down, right, first) if mode == "up" else (first, down, right, second)
