"""Drawings are made by threads of their own while others are rendered."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from raytalk.faces.draw import draw_batch

_THREADS = 2
_CHUNK = 8
"""drawings of a thread's turn, at least: handing one over costs some of the time that drawing one takes"""
_AHEAD = 4
"""chunks that are drawn or wait to be rendered"""

Pictures = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.floating]


@contextmanager
def draw_ahead(landmarks: Numbers, pupils: Numbers | None, size: int, batch_size: int) -> Iterator[Iterator[Pictures]]:
    """Drawings [N, size, size, 3] of landmarks [M, 68, 2] in order, N <= batch_size.

    pupils: [M, 2, 2] or None. Raises ValueError as `draw_batch` does, before anything is drawn.
    """
    batch_size = max(1, batch_size)
    _check(landmarks, pupils)
    chunk = -(-_CHUNK // batch_size) * batch_size
    if len(landmarks) <= batch_size:
        yield iter([_draw(landmarks, pupils, size)] if len(landmarks) else [])
        return
    with ThreadPoolExecutor(_THREADS, "draw") as pool:

        def chunks() -> Iterator[Pictures]:
            waiting: deque[Future[Pictures]] = deque()
            for start in range(0, len(landmarks), chunk):
                part = slice(start, start + chunk)
                own = None if pupils is None else pupils[part]
                waiting.append(pool.submit(_draw, landmarks[part], own, size))
                if len(waiting) == _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        def batches() -> Iterator[Pictures]:
            for drawn in chunks():
                for start in range(0, len(drawn), batch_size):
                    yield drawn[start : start + batch_size]

        yield batches()


def _draw(landmarks: Numbers, pupils: Numbers | None, size: int) -> Pictures:
    return draw_batch(landmarks, size, pupils)


def _check(landmarks: Numbers, pupils: Numbers | None) -> None:
    if landmarks.ndim != 3 or landmarks.shape[1:] != (68, 2):
        raise ValueError(f"landmarks must have the shape [M, 68, 2], not {list(landmarks.shape)}")
    if not np.isfinite(landmarks).all():
        raise ValueError("landmarks must be finite numbers")
    if pupils is not None and pupils.shape != (len(landmarks), 2, 2):
        raise ValueError(f"pupils must have the shape {[len(landmarks), 2, 2]}, not {list(pupils.shape)}")
