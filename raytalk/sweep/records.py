"""What is kept of a sweep, in storage, so that the same command goes on after anything: `SWEEP/trials/003/trial.json`.

A trial's record lies beside its run (`SWEEP/trials/003/checkpoints` ...), which resumes from its own checkpoints.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from raytalk.errors import StorageError
from raytalk.storage import Storage, join

State = Literal["begun", "finished", "stopped", "collapsed", "failed"]
"""stopped: by the scheduler, others are better; collapsed: the run stopped itself; failed: for another reason"""
TRIALS = "trials"
_FILE = "trial.json"


@dataclass(frozen=True)
class Record:
    """One trial."""

    number: int
    point: dict[str, Any]
    """its values of the dimensions, by dotted key"""
    state: State = "begun"
    reason: str = ""
    """why it collapsed or failed"""
    curve: dict[int, dict[str, float]] = field(default_factory=dict)
    """figures of each look, by episodes shown"""
    seconds: float = 0.0
    """it ran, restarts included"""
    gpu_seconds: float = 0.0
    """it held GPUs: seconds by their number"""

    @property
    def name(self) -> str:
        """Of its run."""
        return f"{self.number:03d}"

    @property
    def episodes(self) -> int:
        """Shown at the last look."""
        return max(self.curve, default=0)

    @property
    def score(self) -> float:
        """Of the last look; 0 for one that collapsed, NaN for one that was never looked at."""
        if self.state == "collapsed":
            return 0.0
        return self.curve[self.episodes]["score"] if self.curve else math.nan

    def looked(self, episodes: int, figures: dict[str, float]) -> "Record":
        """With another look."""
        return replace(self, curve={**self.curve, episodes: figures})


class Records:
    """All trials of a sweep. Every write is whole or not at all."""

    def __init__(self, sweep: Storage) -> None:
        self.storage = sweep

    def write(self, record: Record) -> None:
        """Keep it, instead of what was kept of this trial."""
        self.storage.write(f"{TRIALS}/{record.name}/{_FILE}", json.dumps(asdict(record), indent=1).encode())

    def read(self, number: int) -> Record:
        """Raises StorageError if there is none or it cannot be read."""
        return self._read(f"{TRIALS}/{number:03d}/{_FILE}")

    def all(self) -> list[Record]:
        """In the order of their numbers."""
        names = [entry.path.rsplit("/", 1)[-1] for entry in self.storage.entries(TRIALS) if entry.is_folder]
        paths = [f"{TRIALS}/{name}/{_FILE}" for name in sorted(names) if name.isdigit()]
        return [self._read(path) for path in paths if self.storage.is_file(path)]

    def _read(self, path: str) -> Record:
        try:
            kept = json.loads(self.storage.read(path))
            kept["curve"] = {int(episodes): figures for episodes, figures in kept["curve"].items()}
            return Record(**kept)
        except (ValueError, TypeError, KeyError) as error:
            raise StorageError(f"{join(self.storage.uri, path)} is no record of a trial ({error}): delete it") from None


def ranked(records: Iterable[Record], whole: int) -> list[Record]:
    """Best first: those that were shown all `whole` episodes before those that were not, then by score; runs that
    collapsed last, whose score tells a search where not to look."""
    scored = [record for record in records if record.curve and math.isfinite(record.score)]
    return sorted(
        scored,
        key=lambda record: (
            record.state != "collapsed",
            record.state == "finished",
            min(record.episodes, whole),
            record.score,
            -record.number,
        ),
        reverse=True,
    )


def best_of(records: Iterable[Record], whole: int) -> Record | None:
    """The first of `ranked`; None if there is none that did not collapse."""
    first = next(iter(ranked(records, whole)), None)
    return first if first is not None and first.state != "collapsed" else None
