"""One line that says how far preprocessing is."""

import sys
import time
from collections.abc import Sequence

from raytalk.clips.chunks import ACCEPTED, Outcome

_INTERVAL = 5.0


class Progress:
    """Counts outcomes; rewrites its line on a terminal, prints one every few seconds elsewhere."""

    def __init__(self, total: int) -> None:
        self.total = total
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
        """Videos done, clips, rejected, speed, time left."""
        done = self.accepted + self.rejected
        seconds = max(time.monotonic() - self._start, 1e-6)
        left = (self.total - done) * seconds / done if done else 0.0
        return (
            f"{done}/{self.total} videos · {self.accepted} clips · {self.rejected} rejected · "
            f"{done / seconds:.2f} videos/s · {self.frames / seconds:.0f} frames kept/s · {_clock(left)} left"
        )


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}h{minutes:02}" if hours else f"{minutes}:{whole % 60:02}"
