"""Winograd's F(4x4, 3x3) between maps with channels last in memory (Lavin and Gray 2015, arXiv:1509.09308).

A 4x4 tile of the output of a 3x3 convolution follows from a 6x6 tile of its input, transformed, with 36 products of
channels instead of 144. Behind nearest up-sampling one of the six transformed rows (and columns) is always zero, and
in front of 2x average pooling one is not used: 25 products are enough there. `spread` makes the transformed tiles of
a map, with instance norm and ReLU on the way in; `gather` makes the map from the products, with bias and skip on the
way out, and sums of it for the next norm.

Arrays are flat. B channels are done at a time, so that compilers make vectors of them.
"""

import numba
import numpy as np

from raytalk.avatar.winograd.fitting import BLOCK

B = BLOCK
SAME, UP, DOWN = 0, 1, 2
_f = np.float32
_options = {"nogil": True, "fastmath": True, "boundscheck": False, "error_model": "numpy", "cache": True}


@numba.njit(inline="always", **_options)
def _transform(a, o, step, r, p0, p1, p2, p3, p4, p5):
    """Six rows of B values in `a` become six rows in `r`."""
    a0, a1, a2 = a[o : o + B], a[o + step : o + step + B], a[o + 2 * step : o + 2 * step + B]
    a3, a4 = a[o + 3 * step : o + 3 * step + B], a[o + 4 * step : o + 4 * step + B]
    a5 = a[o + 5 * step : o + 5 * step + B]
    r0, r1, r2, r3, r4, r5 = (
        r[p0 : p0 + B], r[p1 : p1 + B], r[p2 : p2 + B], r[p3 : p3 + B], r[p4 : p4 + B], r[p5 : p5 + B]
    )  # fmt: skip
    for c in range(B):
        r0[c] = _f(4) * a0[c] - _f(5) * a2[c] + a4[c]
        even, odd = a4[c] - _f(4) * a2[c], a3[c] - _f(4) * a1[c]
        r1[c] = even + odd
        x = even - odd
        even, odd = a4[c] - a2[c], _f(2) * (a3[c] - a1[c])
        y = _f(4) * a1[c] - _f(5) * a3[c] + a5[c]
        r3[c] = even + odd
        r4[c] = even - odd
        r2[c] = x
        r5[c] = y


@numba.njit(inline="always", **_options)
def _transform_up(a, o, step, r, p0, p1, p3, p4, p5):
    """Four rows, of which the two in the middle count twice, become five: the third of six would be zero."""
    a0, a1 = a[o : o + B], a[o + step : o + step + B]
    a2, a3 = a[o + 2 * step : o + 2 * step + B], a[o + 3 * step : o + 3 * step + B]
    r0, r1, r3, r4, r5 = r[p0 : p0 + B], r[p1 : p1 + B], r[p3 : p3 + B], r[p4 : p4 + B], r[p5 : p5 + B]
    for c in range(B):
        x = a1[c] - a2[c]
        r0[c] = _f(4) * a0[c] - _f(5) * a1[c] + a2[c]
        r1[c] = _f(2) * a2[c] - _f(8) * a1[c]
        y = _f(4) * a1[c] - _f(5) * a2[c] + a3[c]
        r3[c] = _f(-3) * x
        r4[c] = x
        r5[c] = y


@numba.njit(inline="always", **_options)
def _back(a, o0, o1, o2, o3, o4, o5, r, p, step):
    """Six rows become four."""
    a0, a1, a2, a3, a4, a5 = (
        a[o0 : o0 + B], a[o1 : o1 + B], a[o2 : o2 + B], a[o3 : o3 + B], a[o4 : o4 + B], a[o5 : o5 + B]
    )  # fmt: skip
    r0, r1 = r[p : p + B], r[p + step : p + step + B]
    r2, r3 = r[p + 2 * step : p + 2 * step + B], r[p + 3 * step : p + 3 * step + B]
    for c in range(B):
        x, y, z, w = a1[c] + a2[c], a1[c] - a2[c], a3[c] + a4[c], a3[c] - a4[c]
        first, last = a0[c], a5[c]
        r0[c] = first + x + z
        r1[c] = y + _f(2) * w
        r2[c] = x + _f(4) * z
        r3[c] = y + _f(8) * w + last


@numba.njit(inline="always", **_options)
def _back_down(a, o0, o1, o3, o4, o5, r, p, step):
    """Five rows become two, which are means of two: the third of six would cancel out."""
    a0, a1, a3, a4, a5 = a[o0 : o0 + B], a[o1 : o1 + B], a[o3 : o3 + B], a[o4 : o4 + B], a[o5 : o5 + B]
    r0, r1 = r[p : p + B], r[p + step : p + step + B]
    for c in range(B):
        z = a3[c] * _f(3) - a4[c]
        x, last = a1[c], a5[c]
        r0[c] = _f(0.5) * (a0[c] + z) + x
        r1[c] = x + _f(2) * z + _f(0.5) * last


@numba.njit(**_options)
def spread(x, height, width, channels, scale, shift, tiles, stride, first, last, mode):
    """relu(x * scale + shift), zeros around it, becomes transformed tiles.

    x [N * height * width * channels]; scale, shift [N * channels]; rows of tiles first ... last of all N pictures.
    tiles [products + 1][stride]: tile number t of product k begins at k * stride + t * channels; the part behind the
    last product takes what is not needed.
    """
    across, down = (width // 2, height // 2) if mode == UP else (width // 4, height // 4)
    size = 4 if mode == UP else 6
    pace = 2 if mode == UP else 4
    d, t = np.zeros(36 * B, np.float32), np.empty(36 * B, np.float32)
    for row in range(first, last):
        picture, above = row // down, (row % down) * pace - 1
        for column in range(across):
            left = column * pace - 1
            tile = ((row - first) * across + column) * channels
            for c0 in range(0, channels, B):
                factor = scale[picture * channels + c0 : picture * channels + c0 + B]
                offset = shift[picture * channels + c0 : picture * channels + c0 + B]
                for i in range(size):
                    for j in range(size):
                        value = d[(i * 6 + j) * B : (i * 6 + j) * B + B]
                        v, u = above + i, left + j
                        if v < 0 or u < 0 or v >= height or u >= width:
                            for c in range(B):
                                value[c] = _f(0)
                        else:
                            place = ((picture * height + v) * width + u) * channels + c0
                            source = x[place : place + B]
                            for c in range(B):
                                value[c] = max(source[c] * factor[c] + offset[c], _f(0))
                o = tile + c0
                if mode == UP:
                    for j in range(4):
                        k, q = j * B, 6 * B
                        _transform_up(d, k, q, t, k, k + q, k + 2 * q, k + 3 * q, k + 4 * q)
                    for i in range(5):
                        k = o + i * 5 * stride
                        _transform_up(
                            t, i * 6 * B, B, tiles, k, k + stride, k + 2 * stride, k + 3 * stride, k + 4 * stride
                        )
                elif mode == DOWN:
                    for j in range(6):
                        k, q = j * B, 6 * B
                        _transform(d, k, q, t, k, k + q, k + 5 * q, k + 2 * q, k + 3 * q, k + 4 * q)
                    for i in range(5):
                        k, spare = o + i * 5 * stride, 25 * stride
                        _transform(
                            t, i * 6 * B, B, tiles,
                            k, k + stride, spare, k + 2 * stride, k + 3 * stride, k + 4 * stride,
                        )  # fmt: skip
                else:
                    for j in range(6):
                        k, q = j * B, 6 * B
                        _transform(d, k, q, t, k, k + q, k + 2 * q, k + 3 * q, k + 4 * q, k + 5 * q)
                    for i in range(6):
                        k = o + i * 6 * stride
                        _transform(
                            t, i * 6 * B, B, tiles,
                            k, k + stride, k + 2 * stride, k + 3 * stride, k + 4 * stride, k + 5 * stride,
                        )  # fmt: skip


@numba.njit(**_options)
def gather(products, stride, y, height, width, channels, bias, skip, halved, sums, first, last, mode):
    """Products become a map y [N * height * width * channels], with bias [channels] and skip added.

    products as `tiles` of `spread`. skip: a map like y, of half its height and width if `halved` (nearest), or empty.
    sums [N * 2 * channels] float64: sums of y and of its squares are added.
    """
    side = 2 if mode == DOWN else 4
    across, down = width // side, height // side
    t, u = np.empty(24 * B, np.float32), np.empty(16 * B, np.float32)
    joined = skip.size > 0
    of_row = np.empty(2 * channels, np.float32)
    for row in range(first, last):
        picture, top = row // down, (row % down) * side
        of_row[:] = _f(0)
        for column in range(across):
            tile = ((row - first) * across + column) * channels
            for c0 in range(0, channels, B):
                o = tile + c0
                if mode == DOWN:
                    for j in range(5):
                        k, q = o + j * stride, 5 * stride
                        _back_down(products, k, k + q, k + 2 * q, k + 3 * q, k + 4 * q, t, j * B, 6 * B)
                    for i in range(2):
                        k = i * 6 * B
                        _back_down(t, k, k + B, k + 2 * B, k + 3 * B, k + 4 * B, u, i * 2 * B, B)
                elif mode == UP:
                    empty = 25 * stride
                    for j in range(5):
                        k, q = o + j * stride, 5 * stride
                        _back(products, k, k + q, empty, k + 2 * q, k + 3 * q, k + 4 * q, t, j * B, 6 * B)
                    for i in range(4):
                        k = i * 6 * B
                        for c in range(B):
                            t[k + 5 * B + c] = _f(0)
                        _back(t, k, k + B, k + 5 * B, k + 2 * B, k + 3 * B, k + 4 * B, u, i * 4 * B, B)
                else:
                    for j in range(6):
                        k, q = o + j * stride, 6 * stride
                        _back(products, k, k + q, k + 2 * q, k + 3 * q, k + 4 * q, k + 5 * q, t, j * B, 6 * B)
                    for i in range(4):
                        k = i * 6 * B
                        _back(t, k, k + B, k + 2 * B, k + 3 * B, k + 4 * B, k + 5 * B, u, i * 4 * B, B)
                of_values, of_squares = of_row[c0 : c0 + B], of_row[channels + c0 : channels + c0 + B]
                added = bias[c0 : c0 + B]
                for i in range(side):
                    for j in range(side):
                        value = u[(i * side + j) * B : (i * side + j) * B + B]
                        v, w = top + i, column * side + j
                        place = ((picture * height + v) * width + w) * channels + c0
                        out = y[place : place + B]
                        if joined:
                            if halved:
                                place = ((picture * (height // 2) + v // 2) * (width // 2) + w // 2) * channels + c0
                            other = skip[place : place + B]
                            for c in range(B):
                                value[c] += other[c]
                        for c in range(B):
                            total = value[c] + added[c]
                            out[c] = total
                            of_values[c] += total
                            of_squares[c] += total * total
        # Sums over a whole map would lose too much in float32.
        place = picture * 2 * channels
        for c in range(2 * channels):
            sums[place + c] += of_row[c]
