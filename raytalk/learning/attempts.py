"""What outlives the workers of a run: how often they were started, with how many ranks, and from where.

An actor on the driver's node. The driver's data begins where it says, so that workers and data cannot start from
different checkpoints.
"""

import time
from dataclasses import dataclass, replace
from typing import Any, Self

import ray

_TIMEOUT = 120.0
"""seconds; only a node that is gone takes so long"""


@dataclass(frozen=True)
class Attempt:
    """One start of the workers."""

    ranks: int
    start: int
    """episodes shown before it"""
    shown: int
    """episodes shown when it was last heard of"""
    repeated: int = 0
    """episodes that the attempt before had shown and this one shows again"""
    away_s: float = 0.0
    """seconds from the last word of the attempt before to the first of this one"""


class _Book:
    def __init__(self) -> None:
        self._attempts: list[Attempt] = []
        self._heard = 0.0
        self._silent = False

    def begin(self, ranks: int, start: int) -> list[Attempt]:
        before = self._attempts[-1].shown if self._attempts else start
        self._attempts.append(Attempt(ranks, start, start, max(0, before - start)))
        self._silent = len(self._attempts) > 1
        self._heard = self._heard or time.monotonic()
        return self._attempts

    def shown(self, episodes: int) -> None:
        now = time.monotonic()
        away = now - self._heard if self._silent else self._attempts[-1].away_s
        self._attempts[-1] = replace(self._attempts[-1], shown=episodes, away_s=away)
        self._heard, self._silent = now, False

    def all(self) -> list[Attempt]:
        return self._attempts


class Attempts:
    """The handle, for the driver, its data and the workers."""

    def __init__(self, book: Any) -> None:
        self._book = book

    @classmethod
    def open(cls) -> Self:
        """A new book on this node. Ray takes a soft affinity for a hint, and another node may be taken away."""
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        return cls(ray.remote(_Book).options(num_cpus=0, scheduling_strategy=here).remote())

    def begin(self, ranks: int, start: int) -> list[Attempt]:
        """Rank 0 says that the workers begin; all attempts so far, this one last."""
        attempts: list[Attempt] = ray.get(self._book.begin.remote(ranks, start), timeout=_TIMEOUT)
        return attempts

    def shown(self, episodes: int) -> None:
        """Rank 0 says how far it is; waits for nothing."""
        self._book.shown.remote(episodes)

    def all(self) -> list[Attempt]:
        """In their order."""
        attempts: list[Attempt] = ray.get(self._book.all.remote(), timeout=_TIMEOUT)
        return attempts

    def close(self) -> None:
        """Forget them."""
        ray.kill(self._book)
