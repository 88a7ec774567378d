"""One line that says how far a job that makes clips is."""

import sys
import time
from collections.abc import Sequence

from raytalk.clips.actors import ACCEPTED, Outcome

_INTERVAL = 5.0


class Progress:
    """Counts outcomes; rewrites its line on a terminal, prints one every few seconds elsewhere.

    what: what there are `total` of; anything else than "clips" may become a clip or be rejected.
    """

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what = total, what
        self.accepted = self.rejected = self.frames = 0
        self._start = time.monotonic()
        self._printed, self._shown = 0.0, 0
        self._in_place = sys.stdout.isatty()

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count what a chunk reports and show it."""
        for outcome in outcomes:
            accepted = outcome.reason == ACCEPTED
            self.accepted += accepted
            self.rejected += not accepted
            self.frames += outcome.frames
        now = time.monotonic()
        if self._in_place:
            print(f"\r\x1b[K{self.line()}", end="", flush=True)
        elif now - self._printed >= _INTERVAL:
            print(self.line(), flush=True)
            self._printed, self._shown = now, self.accepted + self.rejected

    def end(self) -> None:
        """Leave the last state of the line behind."""
        if self._in_place:
            print(flush=True)
        elif self._shown < self.accepted + self.rejected:
            print(self.line(), flush=True)

    def line(self) -> str:
        """How many are done, speed, time left."""
        done = self.accepted + self.rejected
        seconds = max(time.monotonic() - self._start, 1e-6)
        left = (self.total - done) * seconds / done if done else 0.0
        kinds, kept = "", ""
        if self.what != "clips":
            kinds, kept = f"{self.accepted} clips · {self.rejected} rejected · ", " kept"
        return (
            f"{done}/{self.total} {self.what} · {kinds}{done / seconds:.2f} {self.what}/s · "
            f"{self.frames / seconds:.0f} frames{kept}/s · {_clock(left)} left"
        )


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}h{minutes:02}" if hours else f"{minutes}:{whole % 60:02}"
