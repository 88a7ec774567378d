"""Triton kernels of instance norm with ReLU behind it, on maps with channels last in memory.

A map is read twice forwards, once for its moments and once to be normalised, and as often backwards. N pictures of
`pixels` = H * W, C channels; a picture's sums are made in PARTS by as many programs, and collected by those that need
them. A block is PIXELS x CHANNELS.
"""

import triton
import triton.language as tl


@triton.jit
def moments(x, sums, pixels, C, PARTS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """Sums [N, PARTS, 2, C] of x - a and of its square over the parts of each picture; a is the picture's first pixel.

    `pixels` = H * W. Without a, a mean far from zero would drown the deviation.
    """
    picture = (tl.program_id(0) // PARTS).to(tl.int64)
    part = tl.program_id(0) % PARTS
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < C
    base = picture * pixels * C
    offset = tl.load(x + base + channel, mask=known, other=0.0).to(tl.float32)
    first = tl.zeros((CHANNELS,), tl.float32)
    second = tl.zeros((CHANNELS,), tl.float32)
    start = part * PIXELS
    while start < pixels:
        pixel = start + tl.arange(0, PIXELS)
        inside = (pixel < pixels)[:, None] & known[None, :]
        value = tl.load(x + base + pixel[:, None] * C + channel[None, :], mask=inside, other=0.0).to(tl.float32)
        value = tl.where(inside, value - offset[None, :], 0.0)
        first += tl.sum(value, axis=0)
        second += tl.sum(value * value, axis=0)
        start += PARTS * PIXELS
    place = sums + tl.program_id(0).to(tl.int64) * 2 * C + channel
    tl.store(place, first, mask=known)
    tl.store(place + C, second, mask=known)


@triton.jit
def _collected(sums, picture, channel, known, C, PARTS: tl.constexpr):
    """The two sums of one picture over its parts, [CHANNELS] each."""
    part = tl.arange(0, PARTS)
    place = sums + (picture * PARTS + part)[:, None] * 2 * C + channel[None, :]
    first = tl.sum(tl.load(place, mask=known[None, :], other=0.0), axis=0)
    return first, tl.sum(tl.load(place + C, mask=known[None, :], other=0.0), axis=0)


@triton.jit
def norm_relu(
    x,
    sums,
    scale,
    shift,
    y,
    statistics,
    scale_stride,
    shift_stride,
    pixels,
    C,
    PARTS: tl.constexpr,
    TILES: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """y = relu(normal(x) * scale + shift); statistics [N, 2, C] float32 become mean and 1 / deviation."""
    picture = (tl.program_id(0) // TILES).to(tl.int64)
    tile = tl.program_id(0) % TILES
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < C
    base = picture * pixels * C
    first, second = _collected(sums, picture, channel, known, C, PARTS)
    first /= pixels
    variance = second / pixels - first * first
    variance = tl.where(variance < 0, 0.0, variance)
    mean = tl.load(x + base + channel, mask=known, other=0.0).to(tl.float32) + first
    inverse = 1.0 / tl.sqrt(variance + 1e-5)
    if tile == 0:
        kept = statistics + picture * 2 * C + channel
        tl.store(kept, mean, mask=known)
        tl.store(kept + C, inverse, mask=known)
    factor = tl.load(scale + picture * scale_stride + channel, mask=known, other=0.0).to(tl.float32) * inverse
    offset = tl.load(shift + picture * shift_stride + channel, mask=known, other=0.0).to(tl.float32) - mean * factor
    start = tile * PIXELS
    while start < pixels:
        pixel = start + tl.arange(0, PIXELS)
        inside = (pixel < pixels)[:, None] & known[None, :]
        place = base + pixel[:, None] * C + channel[None, :]
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        value = value * factor[None, :] + offset[None, :]
        value = tl.where(value < 0, 0.0, value)
        tl.store(y + place, value.to(y.dtype.element_ty), mask=inside)
        start += TILES * PIXELS


@triton.jit
def norm_relu_sums(
    x,
    gradient,
    statistics,
    scale,
    shift,
    sums,
    scale_stride,
    shift_stride,
    pixels,
    C,
    PARTS: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Sums [N, PARTS, 2, C] of the gradient behind the ReLU, and of its product with normal(x)."""
    picture = (tl.program_id(0) // PARTS).to(tl.int64)
    part = tl.program_id(0) % PARTS
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < C
    base = picture * pixels * C
    mean = tl.load(statistics + picture * 2 * C + channel, mask=known, other=0.0)
    inverse = tl.load(statistics + picture * 2 * C + C + channel, mask=known, other=0.0)
    factor = tl.load(scale + picture * scale_stride + channel, mask=known, other=0.0).to(tl.float32)
    offset = tl.load(shift + picture * shift_stride + channel, mask=known, other=0.0).to(tl.float32)
    first = tl.zeros((CHANNELS,), tl.float32)
    second = tl.zeros((CHANNELS,), tl.float32)
    start = part * PIXELS
    while start < pixels:
        pixel = start + tl.arange(0, PIXELS)
        inside = (pixel < pixels)[:, None] & known[None, :]
        place = base + pixel[:, None] * C + channel[None, :]
        normal = (tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - mean[None, :]) * inverse[None, :]
        value = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
        value = tl.where(normal * factor[None, :] + offset[None, :] > 0, value, 0.0)
        first += tl.sum(value, axis=0)
        second += tl.sum(value * normal, axis=0)
        start += PARTS * PIXELS
    place = sums + tl.program_id(0).to(tl.int64) * 2 * C + channel
    tl.store(place, first, mask=known)
    tl.store(place + C, second, mask=known)


@triton.jit
def norm_relu_backward(
    x,
    gradient,
    statistics,
    scale,
    shift,
    sums,
    of_x,
    of_affine,
    scale_stride,
    shift_stride,
    pixels,
    C,
    PARTS: tl.constexpr,
    TILES: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Gradient of x, and of scale and shift as of_affine [N, 2, C] float32."""
    picture = (tl.program_id(0) // TILES).to(tl.int64)
    tile = tl.program_id(0) % TILES
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < C
    base = picture * pixels * C
    mean = tl.load(statistics + picture * 2 * C + channel, mask=known, other=0.0)
    inverse = tl.load(statistics + picture * 2 * C + C + channel, mask=known, other=0.0)
    factor = tl.load(scale + picture * scale_stride + channel, mask=known, other=0.0).to(tl.float32)
    offset = tl.load(shift + picture * shift_stride + channel, mask=known, other=0.0).to(tl.float32)
    first, second = _collected(sums, picture, channel, known, C, PARTS)
    if tile == 0:
        kept = of_affine + picture * 2 * C + channel
        tl.store(kept, second, mask=known)
        tl.store(kept + C, first, mask=known)
    first /= pixels
    second /= pixels
    start = tile * PIXELS
    while start < pixels:
        pixel = start + tl.arange(0, PIXELS)
        inside = (pixel < pixels)[:, None] & known[None, :]
        place = base + pixel[:, None] * C + channel[None, :]
        normal = (tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - mean[None, :]) * inverse[None, :]
        value = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
        value = tl.where(normal * factor[None, :] + offset[None, :] > 0, value, 0.0)
        value = (value - first[None, :] - normal * second[None, :]) * (factor * inverse)[None, :]
        tl.store(of_x + place, value.to(of_x.dtype.element_ty), mask=inside)
        start += TILES * PIXELS
