"""Rates and counts of an owner, in one replica of the front. Refusals are `TooMany` with `Retry-After`."""

import contextlib
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator

from serve.errors import TooMany

_MOST_KNOWN = 10_000
"""buckets that are kept; who was seen longest ago is forgotten, which is as if the bucket were full"""


class TokenBuckets:
    """Lets each key do something `per_minute` times a minute, and as many at once after a minute of rest."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._size, self._clock = per_minute / 60, max(1.0, per_minute), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """0 if it may be done now, else in how many seconds."""
        now = self._clock()
        tokens, seen = self._buckets.pop(key, (self._size, now))
        tokens = min(self._size, tokens + (now - seen) * self._rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[key] = (tokens if wait else tokens - 1, now)
        if len(self._buckets) > _MOST_KNOWN:
            self._buckets.popitem(last=False)
        return wait

    def check(self, key: str, detail: str) -> None:
        """Raises TooMany (`too-fast`) if it may not be done now."""
        wait = self.take(key)
        if wait:
            seconds = math.ceil(wait)
            raise TooMany(f"{detail}; try again in {seconds} s", "too-fast", {"Retry-After": str(seconds)})


class Places:
    """So many at a time for each owner."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """By all owners together."""
        return self._taken.total()

    @contextlib.contextmanager
    def one(self, owner: str, code: str, what: str) -> Iterator[None]:
        """A place while the block lasts. Raises TooMany with this code if the owner has none left."""
        if self._taken[owner] >= self.most:
            raise TooMany(f"{self.most} {what} at a time are the most; end one first", code, {"Retry-After": "5"})
        self._taken[owner] += 1
        try:
            yield
        finally:
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]
