"""Smooth signals over a timeline: what every movement is made of.

A timeline is a ring of samples at RATE, LEAD seconds longer than the clip at both ends. Filtering runs round the ring;
the lead keeps the seam out of sight and lets movements begin before the clip does. T is the number of samples.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RATE = 60
"""samples per second: a saccade lasts two to four of them"""
LEAD = 1.2
"""seconds; no step is smoothed over more than a third of it"""


def timeline(seconds: float) -> Array:
    """[T] seconds from the clip's start: from -LEAD to at least seconds + LEAD."""
    return np.arange(math.ceil((seconds + 2 * LEAD) * RATE) + 1) / RATE - LEAD


def _response(length: int, seconds: float) -> Array:
    response: Array = np.exp(-2 * (np.pi * seconds * np.fft.rfftfreq(length, 1 / RATE)) ** 2)
    return response


def blur(values: Array, seconds: float) -> Array:
    """Gaussian smoothing along the first axis; seconds: the standard deviation. [T, ...] -> [T, ...]."""
    length = len(values)
    response = _response(length, seconds).reshape(-1, *[1] * (values.ndim - 1))
    return np.fft.irfft(np.fft.rfft(values, axis=0) * response, length, axis=0)


def drift(generator: np.random.Generator, length: int, seconds: float) -> Array:
    """Noise of unit variance and no change faster than about `seconds`. [T]."""
    response = _response(length, seconds)
    power = (2 * float(np.sum(response**2)) - 1) / length
    return np.fft.irfft(np.fft.rfft(generator.standard_normal(length)) * response, length) / math.sqrt(power)


def draw_holds(
    generator: np.random.Generator, times: Array, shortest: float, longest: float
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Cut the timeline into stretches of `shortest` to `longest` seconds.

    Returns when each begins, [K] seconds, the first before the timeline does, and which one holds at each sample, [T].
    """
    most = math.ceil((times[-1] - times[0]) / shortest) + 2
    starts = np.cumsum(generator.uniform(shortest, longest, most)) + times[0] - longest
    which = np.searchsorted(starts, times, side="right") - 1
    kept = int(which[-1]) + 1
    return starts[:kept], which


def draw_moments(generator: np.random.Generator, times: Array, per_second: float) -> Array:
    """Moments of a Poisson process, [K] seconds in no order."""
    count = generator.poisson(per_second * (times[-1] - times[0]))
    moments: Array = generator.uniform(times[0], times[-1], count)
    return moments


def bump(times: Array, centre: float, seconds: float) -> Array:
    """A Gaussian of height 1 and standard deviation `seconds`. [T]."""
    shape: Array = np.exp(-0.5 * ((times - centre) / seconds) ** 2)
    return shape


def smoothstep(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """0 below 0, 1 above 1, smooth between."""
    inside = np.clip(values, 0.0, 1.0)
    return np.asarray(inside * inside * (3 - 2 * inside))


def pulse(times: Array, start: float, rise: float, hold: float, fall: float) -> Array:
    """Up to 1 within `rise` seconds of `start`, there for `hold`, back to 0 within `fall`. [T]."""
    since = times - start
    shape: Array = smoothstep(since / rise) * smoothstep((rise + hold + fall - since) / fall)
    return shape


def soft_limit(values: Array, limit: float, knee: float = 0.7) -> Array:
    """Identity up to `knee` of the limit, then ever slower towards it; smooth, odd."""
    straight, rest = knee * limit, (1 - knee) * limit
    size = np.abs(values)
    bent = np.minimum(size, straight) + rest * np.tanh(np.maximum(size - straight, 0.0) / rest)
    limited: Array = np.copysign(bent, values)
    return limited
