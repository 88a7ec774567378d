"""What a trial's rank 0 does at each look: score the model, and ask whether the trial goes on."""

import time
from dataclasses import dataclass, field
from typing import Any

from raytalk.connect import StorageEnvironment
from raytalk.errors import TrainingStopped
from raytalk.learning.meta import MetaLearner
from raytalk.storage import Storage
from raytalk.sweep.board import Board
from raytalk.sweep.making import by_learner
from raytalk.sweep.objective import Judges, People, score, seat
from raytalk.sweep.settings import ObjectiveSettings

PREFIX = "sweep/"
"""of the figures in tracking"""


@dataclass
class SweepWatch:
    """See `raytalk.learning.part.Watch`."""

    key: str
    """of this attempt at the trial"""
    clips: str
    people: People
    settings: ObjectiveSettings
    seed: int
    board: Board
    environment: StorageEnvironment
    _loaded: Any = field(default=None, repr=False)

    def measure(self, learner: MetaLearner, episodes: int) -> dict[str, float]:
        """`sweep/score` and what it is made of, and the seconds it took."""
        start = time.perf_counter()
        if self._loaded is None:
            self.environment.apply()
            sittings = seat(
                Storage(self.clips),
                self.people.trials,
                learner.settings.networks.resolution,
                self.settings,
                self.seed,
            )
            self._loaded = sittings, Judges(self.settings)
        sittings, judges = self._loaded
        figures, _ = score(by_learner(learner, self.settings), sittings, self.people.yardstick, judges)
        figures["look_seconds"] = time.perf_counter() - start
        return {f"{PREFIX}{name}": value for name, value in figures.items()}

    def report(self, figures: dict[str, float], episodes: int) -> None:
        """Leave them on the board. Raises TrainingStopped."""
        own = {name.removeprefix(PREFIX): value for name, value in figures.items()}
        if not self.board.post(self.key, episodes, own):
            raise TrainingStopped(f"stopped by the sweep at episode {episodes:,}")
