"""Triton kernels of spectral norm: a float32 weight [O, k, k, I] becomes the kernel of a convolution, and back.

MODE: 0 the same size; 1 followed by 2x mean pooling; 2 behind 2x nearest up-sampling. For 1 and 2 the kernel has 4x4
places, each a sum of up to four of the weight's 3x3 (see `raytalk.networks.spectral`). A row is one (o, y, x).
"""

import triton
import triton.language as tl


@triton.jit
def make_kernel(
    weight, sigma, kernel, rows, outputs, inputs, wide, stride_o, stride_y, stride_x, stride_i,
    MODE: tl.constexpr, SIZE: tl.constexpr, ROWS: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    """kernel = weight / sigma, spread for MODE, with zeros beyond the weight's outputs and inputs (of `wide`)."""
    OUT: tl.constexpr = SIZE if MODE == 0 else 4
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    i = tl.program_id(1) * INPUTS + tl.arange(0, INPUTS)
    o, y, x = row // (OUT * OUT), row // OUT % OUT, row % OUT
    known = (row < rows) & (o < outputs)
    total = tl.zeros((ROWS, INPUTS), tl.float32)
    for a in tl.static_range(1 if MODE == 0 else 2):
        for b in tl.static_range(1 if MODE == 0 else 2):
            v = y - a if MODE != 2 else 2 - y + a
            u = x - b if MODE != 2 else 2 - x + b
            inside = known & (v >= 0) & (v < SIZE) & (u >= 0) & (u < SIZE)
            place = ((o * SIZE + v) * SIZE + u)[:, None] * inputs + i[None, :]
            total += tl.load(weight + place, mask=inside[:, None] & (i < inputs)[None, :], other=0.0)
    factor = (0.25 if MODE == 1 else 1.0) / tl.load(sigma)
    out = (o * stride_o + y * stride_y + x * stride_x)[:, None] + i[None, :] * stride_i
    tl.store(
        kernel + out, (total * factor).to(kernel.dtype.element_ty), mask=(row < rows)[:, None] & (i < wide)[None, :]
    )


@triton.jit
def _collected(gradient, o, y, x, i, mask, stride_o, stride_y, stride_x, stride_i, MODE: tl.constexpr):
    """The gradient of the kernel, brought back to the places of the weight."""
    if MODE == 0:
        place = (o * stride_o + y * stride_y + x * stride_x)[:, None] + i[None, :] * stride_i
        total = tl.load(gradient + place, mask=mask, other=0.0).to(tl.float32)
    else:
        total = tl.zeros(mask.shape, tl.float32)
        for a in tl.static_range(2):
            for b in tl.static_range(2):
                v = y + a if MODE == 1 else 2 - y + a
                u = x + b if MODE == 1 else 2 - x + b
                place = (o * stride_o + v * stride_y + u * stride_x)[:, None] + i[None, :] * stride_i
                total += tl.load(gradient + place, mask=mask, other=0.0).to(tl.float32)
        if MODE == 1:
            total *= 0.25
    return total


@triton.jit
def product(
    weight, gradient, sums, rows, inputs, stride_o, stride_y, stride_x, stride_i,
    MODE: tl.constexpr, SIZE: tl.constexpr, ROWS: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    """Sums of gradient * weight over the share of each program."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    i = tl.program_id(1) * INPUTS + tl.arange(0, INPUTS)
    mask = (row < rows)[:, None] & (i < inputs)[None, :]
    o, y, x = row // (SIZE * SIZE), row // SIZE % SIZE, row % SIZE
    ours = tl.load(weight + row[:, None] * inputs + i[None, :], mask=mask, other=0.0)
    theirs = _collected(gradient, o, y, x, i, mask, stride_o, stride_y, stride_x, stride_i, MODE)
    tl.store(sums + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), tl.sum(ours * theirs))


@triton.jit
def weight_gradient(
    gradient, sigma, left, right, product, out, rows, inputs, stride_o, stride_y, stride_x, stride_i,
    MODE: tl.constexpr, SIZE: tl.constexpr, ROWS: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    """out = (gradient - product / sigma * left right^T) / sigma: spectral norm's own derivative included."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    i = tl.program_id(1) * INPUTS + tl.arange(0, INPUTS)
    mask = (row < rows)[:, None] & (i < inputs)[None, :]
    o, y, x = row // (SIZE * SIZE), row // SIZE % SIZE, row % SIZE
    inverse = 1.0 / tl.load(sigma)
    along = tl.load(left + o, mask=row < rows, other=0.0) * tl.load(product) * inverse
    across = tl.load(right + (row % (SIZE * SIZE))[:, None] * inputs + i[None, :], mask=mask, other=0.0)
    total = _collected(gradient, o, y, x, i, mask, stride_o, stride_y, stride_x, stride_i, MODE)
    tl.store(out + row[:, None] * inputs + i[None, :], (total - along[:, None] * across) * inverse, mask=mask)
