"""Triton kernels for what lies between the convolutions, on maps with channels last in memory.

A convolution on a GPU is bound by arithmetic, everything between two of them by memory: each kernel reads and writes a
map once where PyTorch's own operations would do so three to ten times. Sums are in float32 and in a fixed order.
A value that is not a number stays one, as in PyTorch (`tl.maximum` would hide it).
`raytalk.networks.fused.maps` wraps them for autograd.

P pixels (N * H * W), C channels; a block is PIXELS x CHANNELS.
"""

import triton
import triton.language as tl


@triton.jit
def relu_and_half(
    x, rectified, halved, pixels, width, C, RELU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr
):
    """x [N, 2h, 2w, C] -> relu(x) if RELU, and 2x2 means [N, h, w, C]; `pixels` = N * h * w, `width` = w."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (pixel < pixels)[:, None] & (channel < C)[None, :]
    first = (pixel // width) * 4 * width + (pixel % width) * 2
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for row in tl.static_range(2):
        for column in tl.static_range(2):
            place = (first + row * 2 * width + column)[:, None] * C + channel[None, :]
            value = tl.load(x + place, mask=inside, other=0.0)
            total += value.to(tl.float32)
            if RELU:
                tl.store(rectified + place, tl.where(value < 0, 0.0, value), mask=inside)
    out = pixel[:, None] * C + channel[None, :]
    tl.store(halved + out, (total * 0.25).to(halved.dtype.element_ty), mask=inside)


@triton.jit
def relu_and_half_backward(
    rectified,
    of_rectified,
    of_halved,
    of_x,
    pixels,
    width,
    C,
    RELU: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Gradients of both outputs -> gradient of x."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (pixel < pixels)[:, None] & (channel < C)[None, :]
    first = (pixel // width) * 4 * width + (pixel % width) * 2
    quarter = tl.load(of_halved + pixel[:, None] * C + channel[None, :], mask=inside, other=0.0).to(tl.float32) * 0.25
    for row in tl.static_range(2):
        for column in tl.static_range(2):
            place = (first + row * 2 * width + column)[:, None] * C + channel[None, :]
            gradient = quarter
            if RELU:
                value = tl.load(rectified + place, mask=inside, other=0.0)
                passed = tl.load(of_rectified + place, mask=inside, other=0.0).to(tl.float32)
                gradient += tl.where(value > 0, passed, 0.0)
            tl.store(of_x + place, gradient.to(of_x.dtype.element_ty), mask=inside)


@triton.jit
def max_half(x, halved, pixels, width, C, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """x [N, 2h, 2w, C] -> 2x2 maxima [N, h, w, C]."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (pixel < pixels)[:, None] & (channel < C)[None, :]
    first = ((pixel // width) * 4 * width + (pixel % width) * 2)[:, None] * C + channel[None, :]
    down = 2 * width * C
    largest = tl.load(x + first, mask=inside, other=0.0)
    for place in tl.static_range(1, 4):
        value = tl.load(x + first + (place // 2) * down + (place % 2) * C, mask=inside, other=0.0)
        largest = tl.where((value > largest) | (value != value), value, largest)
    tl.store(halved + pixel[:, None] * C + channel[None, :], largest, mask=inside)


@triton.jit
def max_half_backward(x, halved, of_halved, of_x, pixels, width, C, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """The gradient goes to the first of the four that equals the maximum."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (pixel < pixels)[:, None] & (channel < C)[None, :]
    first = (pixel // width) * 4 * width + (pixel % width) * 2
    out = pixel[:, None] * C + channel[None, :]
    largest = tl.load(halved + out, mask=inside, other=0.0)
    gradient = tl.load(of_halved + out, mask=inside, other=0.0)
    for row in tl.static_range(2):
        for column in tl.static_range(2):
            place = (first + row * 2 * width + column)[:, None] * C + channel[None, :]
            hit = tl.load(x + place, mask=inside, other=0.0) == largest
            tl.store(of_x + place, tl.where(hit, gradient, 0.0), mask=inside)
            gradient = tl.where(hit, 0.0, gradient)


@triton.jit
def mask_and_sum(
    gradient, output, masked, sums, pixels, C, MASK: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr
):
    """Backward of bias and ReLU: zero where output is not positive (if MASK), and sums over pixels [programs, C]."""
    program = tl.program_id(0)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    total = tl.zeros((CHANNELS,), tl.float32)
    start = program.to(tl.int64) * PIXELS
    while start < pixels:
        pixel = start + tl.arange(0, PIXELS)
        inside = (pixel < pixels)[:, None] & (channel < C)[None, :]
        place = pixel[:, None] * C + channel[None, :]
        value = tl.load(gradient + place, mask=inside, other=0.0)
        if MASK:
            value = tl.where(tl.load(output + place, mask=inside, other=0.0) > 0, value, 0.0)
            tl.store(masked + place, value, mask=inside)
        total += tl.sum(value.to(tl.float32), axis=0)
        start += tl.num_programs(0).to(tl.int64) * PIXELS
    tl.store(sums + program * C + channel, total, mask=channel < C)


@triton.jit
def join(
    y,
    skip,
    bias,
    out,
    pixels,
    width,
    C,
    UP: tl.constexpr,
    BIAS: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """out = y + skip + bias [C] float32; if UP, skip is half as high and wide, each pixel counts four times."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (pixel < pixels)[:, None] & (channel < C)[None, :]
    place = pixel[:, None] * C + channel[None, :]
    source = (pixel // width // 2) * (width // 2) + pixel % width // 2 if UP else pixel
    total = tl.load(y + place, mask=inside, other=0.0).to(tl.float32)
    total += tl.load(skip + source[:, None] * C + channel[None, :], mask=inside, other=0.0).to(tl.float32)
    if BIAS:
        total += tl.load(bias + channel, mask=channel < C, other=0.0)[None, :]
    tl.store(out + place, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def sum_of_four(x, summed, pixels, width, C, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """x [N, 2h, 2w, C] -> 2x2 sums [N, h, w, C]."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (pixel < pixels)[:, None] & (channel < C)[None, :]
    first = (pixel // width) * 4 * width + (pixel % width) * 2
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for row in tl.static_range(2):
        for column in tl.static_range(2):
            place = (first + row * 2 * width + column)[:, None] * C + channel[None, :]
            total += tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(summed + pixel[:, None] * C + channel[None, :], total.to(summed.dtype.element_ty), mask=inside)


@triton.jit
def difference(a, b, sums, count, VALUES: tl.constexpr):
    """Sums of |a - b| over the share of each program, [programs] float32."""
    program = tl.program_id(0)
    total = tl.zeros((VALUES,), tl.float32)
    start = program.to(tl.int64) * VALUES
    while start < count:
        place = start + tl.arange(0, VALUES)
        inside = place < count
        ours = tl.load(a + place, mask=inside, other=0.0).to(tl.float32)
        total += tl.abs(ours - tl.load(b + place, mask=inside, other=0.0).to(tl.float32))
        start += tl.num_programs(0).to(tl.int64) * VALUES
    tl.store(sums + program, tl.sum(total, axis=0))


@triton.jit
def difference_backward(a, b, gradient, of_a, count, VALUES: tl.constexpr):
    """of_a = sign(a - b) * gradient / count; gradient is one float32."""
    place = tl.program_id(0).to(tl.int64) * VALUES + tl.arange(0, VALUES)
    inside = place < count
    ours = tl.load(a + place, mask=inside, other=0.0).to(tl.float32)
    theirs = tl.load(b + place, mask=inside, other=0.0).to(tl.float32)
    step = tl.load(gradient) / count
    sign = tl.where(ours > theirs, step, tl.where(ours < theirs, -step, 0.0))
    tl.store(of_a + place, sign.to(of_a.dtype.element_ty), mask=inside)
