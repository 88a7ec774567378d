"""The square of a live picture: `raytalk.faces.crop.steady_squares` without a look at what comes."""

from collections import deque

import numpy as np
import numpy.typing as npt

from raytalk.faces.crop import PLAY_X, PLAY_Y, RAISE, SIDE

_WINDOW, _EVERY = 10.0, 0.1
"""seconds that are remembered, and between two faces of them"""
_DRIFT = 1.5
"""seconds within which the square comes nearer to where it should be"""
_QUARTILE = 75


class LiveSquare:
    """Holds still while the head stays inside; slowly comes back to the middle of where the head has been."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, npt.NDArray[np.float64]]] = deque()
        self._now: npt.NDArray[np.float64] | None = None
        self._time = 0.0

    def follow(self, landmarks: npt.NDArray[np.floating], seconds: float) -> npt.NDArray[np.float64]:
        """[3] centre x, centre y and side in frame pixels, of the next frame's landmarks [68, 2]; seconds ascend."""
        low, high = landmarks.min(axis=0), landmarks.max(axis=0)
        size = max(float((high - low).max()), 1.0)
        head = (low + high) / 2 - [0, RAISE * size]
        if not self._seen or seconds - self._seen[-1][0] >= _EVERY:
            self._remember(seconds, np.array([*head, size]))
        if self._now is None:
            self._now = np.array([*head, size])
        else:
            share = 1 - np.exp(-max(seconds - self._time, 0.0) / _DRIFT)
            self._now = self._now + share * (self._wanted - self._now)
        self._time = seconds
        play = np.array([PLAY_X, PLAY_Y]) * self._now[2]
        self._now[:2] = np.clip(self._now[:2], head - play, head + play)
        return np.array([*self._now[:2], SIDE * self._now[2]])

    def _remember(self, seconds: float, place: npt.NDArray[np.float64]) -> None:
        self._seen.append((seconds, place))
        while self._seen[0][0] < seconds - _WINDOW:
            self._seen.popleft()
        places = np.stack([place for _, place in self._seen])
        middle = (places[:, :2].min(axis=0) + places[:, :2].max(axis=0)) / 2
        self._wanted = np.array([*middle, np.percentile(places[:, 2], _QUARTILE)])
