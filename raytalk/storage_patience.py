"""An object store that does not answer is asked again, for as long as is sensible, and whoever waits is told.

Object stores answer 503 when they are busy, and are away while they are updated. What is asked of them can be asked
again: a file is put whole or not at all, and deleting twice deletes once.
"""

import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from raytalk.errors import StorageError

T = TypeVar("T")
PATIENCE = "RAYTALK_STORAGE_PATIENCE_S"
"""environment variable: seconds for which a store that fails is asked again; 0: not at all"""
_DEFAULT_PATIENCE = 300.0
_UNKNOWN_PATIENCE = 20.0
"""for an address at which nothing was ever found: it may be mistyped"""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
_UNREACHABLE = re.compile(r"curlCode: (5|6|7),")
"""no such host, or nobody listens there"""
_PASSING = re.compile(
    r"HTTP STATUS (429|500|502|503|504)|SLOW_?DOWN|SERVICE_?UNAVAILABLE|INTERNAL_?(FAILURE|ERROR)"
    r"|THROTTL|TOO_?MANY_?REQUESTS|REQUEST_?TIMEOUT|NETWORK_?CONNECTION|CURLCODE"
)

logger = logging.getLogger("raytalk.storage")


def is_passing(error: BaseException) -> bool:
    """Whether an object store's error may be gone a moment later."""
    if isinstance(error, FileNotFoundError | PermissionError) or not isinstance(error, OSError):
        return False
    return bool(_PASSING.search(" ".join(str(error).split()).upper()))


def patience() -> float:
    """Seconds, as the environment has them. Raises StorageError if that is no number."""
    given = os.environ.get(PATIENCE, "")
    try:
        return float(given) if given else _DEFAULT_PATIENCE
    except ValueError:
        raise StorageError(f"{PATIENCE}={given} must be a number of seconds") from None


class Outages:
    """What is said of stores that fail: once when one begins to, and once when it is over, for all threads together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}
        self._answered: set[str] = set()
        self.tell: Callable[[str], None] = logger.warning
        """where lines go; workers have them said by the driver"""

    def failed(self, store: str, error: BaseException, until: float) -> None:
        """A store failed and is asked again until then (time.monotonic)."""
        with self._lock:
            if store in self._since:
                return
            self._since[store] = time.monotonic()
        why = " ".join(str(error).split())[-200:]
        left = until - time.monotonic()
        self.tell(f"{store} does not answer as it should; it is asked again for up to {left:.0f} s ({why})")

    def answered(self, store: str) -> None:
        """A store did what it was asked."""
        if store in self._answered and store not in self._since:
            return
        with self._lock:
            self._answered.add(store)
            since = self._since.pop(store, None)
        if since is not None:
            self.tell(f"{store} answers again, after {time.monotonic() - since:.0f} s")

    def knows(self, store: str) -> bool:
        """Whether a store ever answered this process, or another one that vouches for it."""
        return store in self._answered or _ANY in self._answered

    def vouch(self) -> None:
        """The stores in use have answered whoever sent this process."""
        self._answered.add(_ANY)


_ANY = ""
OUTAGES = Outages()


def patiently(store: str, action: Callable[[], T], seconds: float | None = None) -> T:
    """What `action` returns; done again while `store` fails in a way that passes, for so many seconds.

    store: `s3://bucket`, with its endpoint if that is not AWS; seconds: None for what the environment says. Raises what
    `action` raised last.
    """
    longest = patience() if seconds is None else seconds
    first, pause = time.monotonic(), _FIRST_PAUSE
    while True:
        try:
            result = action()
        except OSError as error:
            if not is_passing(error):
                raise
            now = time.monotonic()
            mistyped = _UNREACHABLE.search(str(error)) and not OUTAGES.knows(store)
            until = first + (min(longest, _UNKNOWN_PATIENCE) if mistyped else longest)
            if now + pause > until:
                raise
            OUTAGES.failed(store, error, until)
            # Spread, so that a store that comes back does not get everything at the same moment.
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            OUTAGES.answered(store)
            return result
