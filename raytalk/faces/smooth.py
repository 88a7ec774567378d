"""Landmarks without the detector's jitter: the one-euro filter.

Casiez, Roussel, Vogel: "1€ filter: a simple speed-based low-pass filter for noisy input in interactive systems", CHI
2012. What holds still is smoothed much, what moves fast hardly at all.
"""

import numpy as np
import numpy.typing as npt

from raytalk.faces.people import cuts

CUTOFF = 2.0
"""of points that hold still, in Hz"""
SPEED_GAIN = 20.0
"""what the cutoff gains per face size and second of a point's speed, in Hz"""
_SPEED_CUTOFF = 2.0
"""of the estimate of the speed, in Hz"""


def one_euro(
    landmarks: npt.NDArray[np.floating],
    times: npt.NDArray[np.floating],
    cutoff: float = CUTOFF,
    speed_gain: float = SPEED_GAIN,
    both_ways: bool = False,
) -> npt.NDArray[np.float32]:
    """Filter every point by its own speed; begins anew at scene cuts.

    landmarks: [n, P, 2] in pixels of frames that do not move with the face (P = 68); times: [n] seconds, ascending;
    cutoff, speed_gain: in Hz, see CUTOFF and SPEED_GAIN; both_ways: filter also backwards in time and take the mean,
    which does not lag behind but needs the whole clip. Returns [n, P, 2] float32. Raises ValueError for other shapes,
    numbers that are not finite or times that do not ascend.
    """
    points = np.asarray(landmarks, np.float64)
    clock = np.asarray(times, np.float64)
    if points.ndim != 3 or points.shape[2] != 2 or not np.isfinite(points).all():
        raise ValueError(f"landmarks must be finite and of the shape [n, 68, 2], not {list(points.shape)}")
    if clock.shape != (len(points),) or not (np.diff(clock) > 0).all():
        raise ValueError(f"{len(points)} frames need as many ascending times")
    if cutoff <= 0 or speed_gain < 0:
        raise ValueError(f"cutoff must be above 0 and speed_gain at least 0, not {cutoff} and {speed_gain}")
    smooth = np.empty(points.shape, np.float32)
    if not len(points):
        return smooth
    for shot in np.split(np.arange(len(points)), np.flatnonzero(cuts(points, clock))[1:]):
        size = max(float(np.median(np.ptp(points[shot], axis=1).max(axis=1))), 1.0)
        faces, seconds = points[shot] / size, clock[shot]
        filtered = _forwards(faces, seconds, cutoff, speed_gain)
        if both_ways:
            filtered = (filtered + _forwards(faces[::-1], -seconds[::-1], cutoff, speed_gain)[::-1]) / 2
        smooth[shot] = filtered * size
    return smooth


class OneEuro:
    """The filter itself, for frames as they come."""

    def __init__(self, cutoff: float = CUTOFF, speed_gain: float = SPEED_GAIN) -> None:
        """In Hz, as `one_euro`."""
        self._cutoff, self._gain = cutoff, speed_gain
        self._given: npt.NDArray[np.float64] | None = None

    def step(self, points: npt.NDArray[np.floating], passed: float, size: float) -> npt.NDArray[np.float64]:
        """The next frame's points [P, 2], filtered. passed: seconds since the last one, above 0; size: of the face."""
        given = np.array(points, np.float64)
        if self._given is None:
            self._speed, self._filtered = np.zeros_like(given), given
        else:
            change = (given - self._given) / (passed * size)
            self._speed = self._speed + _weight(np.array(_SPEED_CUTOFF), passed) * (change - self._speed)
            limit = self._cutoff + self._gain * np.linalg.norm(self._speed, axis=-1, keepdims=True)
            self._filtered = self._filtered + _weight(limit, passed) * (given - self._filtered)
        self._given = given
        return self._filtered.copy()


def _forwards(
    faces: npt.NDArray[np.float64], clock: npt.NDArray[np.float64], cutoff: float, speed_gain: float
) -> npt.NDArray[np.float64]:
    """faces: [n, P, 2] in face sizes."""
    one = OneEuro(cutoff, speed_gain)
    passed = [1.0, *np.diff(clock).tolist()]
    return np.stack([one.step(face, seconds, 1.0) for face, seconds in zip(faces, passed, strict=True)])


def _weight(cutoff: npt.NDArray[np.float64], passed: float) -> npt.NDArray[np.float64]:
    """Share of the new value in a first-order low-pass filter; cutoff in Hz, passed in seconds."""
    angle = 2 * np.pi * cutoff * passed
    return np.asarray(angle / (angle + 1))
