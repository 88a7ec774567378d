"""What is tried next: trials that an earlier session began, then the defaults, then whatever the search suggests."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from ray.tune import choice, loguniform, randint, uniform
from ray.tune.search import Searcher

from raytalk.errors import SettingsError
from raytalk.sweep.records import Record, Records
from raytalk.sweep.settings import SweepSettings
from raytalk.sweep.space import Dimension, Point, Space
from raytalk.sweep.trial import SCORE, TRIAL

DEFAULTS = 0
"""the trial of the settings as they are"""

_SESSION = 1_000_003
"""between the seeds of two sessions"""


class Suggestions(Protocol):
    """Who suggests points."""

    def next(self, number: int) -> Point | None:
        """For a trial of this number; None: there are no more."""

    def learn(self, record: Record) -> None:
        """How a trial ended."""


class Drawn:
    """Plain random: a trial's point depends on its number alone."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed

    def next(self, number: int) -> Point | None:
        """See Suggestions."""
        return self._space.draw(self._seed, number)

    def learn(self, record: Record) -> None:
        """Nothing is learned."""


class Gridded:
    """Every combination, one after the other."""

    def __init__(self, space: Space) -> None:
        self._points = list(space.grid())

    def next(self, number: int) -> Point | None:
        """See Suggestions; the first is that of trial 1."""
        return self._points[number - 1] if number <= len(self._points) else None

    def learn(self, record: Record) -> None:
        """Nothing is learned."""


class Optuna:
    """Optuna's TPE, by Ray Tune's `OptunaSearch`."""

    def __init__(self, space: Space, seed: int) -> None:
        """Raises SettingsError if Optuna is not installed."""
        try:
            import optuna
            from ray.tune.search.optuna import OptunaSearch
        except ImportError:
            raise SettingsError(
                "search=optuna needs the Python package optuna (pip install 'raytalk[tune]'); or give search=random"
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        domains = {dimension.key: _domain(dimension) for dimension in space.dimensions}
        self._search = OptunaSearch(OptunaSearch.convert_search_space(domains), metric=SCORE, mode="max", seed=seed)
        self._space = space
        self._asked: set[int] = set()

    def next(self, number: int) -> Point | None:
        """See Suggestions."""
        self._asked.add(number)
        return dict(self._search.suggest(f"{number}") or {})

    def learn(self, record: Record) -> None:
        """What failed teaches nothing; what collapsed has the score 0."""
        failed = record.state == "failed" or record.score != record.score
        if record.number in self._asked:
            result = None if failed else {SCORE: record.score}
            self._search.on_trial_complete(f"{record.number}", result, error=failed)
        elif not failed and self._space.contains(record.point):
            self._search.add_evaluated_point(record.point, record.score)


def suggestions(settings: SweepSettings, space: Space, earlier: int = 0) -> Suggestions:
    """As `settings.search` says. earlier: trials of other sessions. Raises SettingsError."""
    if settings.search == "grid":
        return Gridded(space)
    # Every session would draw the first points again.
    seed = settings.seed + _SESSION * earlier
    return Optuna(space, seed) if settings.search == "optuna" else Drawn(space, settings.seed)


class Search(Searcher):
    """Ray Tune's side of it. A trial is kept before it is begun, so that no session forgets one."""

    def __init__(
        self, source: Suggestions, records: Records, earlier: Iterable[Record], defaults: Point, trials: int
    ) -> None:
        super().__init__(metric=SCORE, mode="max")
        earlier = list(earlier)
        self._source, self._records, self._defaults, self._trials = source, records, defaults, trials
        self._begun = [record.number for record in earlier if record.state == "begun"]
        self._next = max((record.number for record in earlier), default=DEFAULTS - 1) + 1
        self._numbers: dict[str, int] = {}
        for record in earlier:
            if record.state != "begun":
                source.learn(record)

    def suggest(self, trial_id: str) -> Any:
        """The configuration of the next trial, or that there is none."""
        if self._begun:
            number = self._begun.pop(0)
        else:
            number = self._next
            point = self._defaults if number == DEFAULTS else self._source.next(number)
            if number >= self._trials or point is None:
                return Searcher.FINISHED
            self._next += 1
            self._records.write(Record(number, point))
        self._numbers[trial_id] = number
        return {TRIAL: number}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the source; a trial whose process died too often has failed."""
        record = self._records.read(self._numbers[trial_id])
        if error and record.state == "begun":
            record = replace(record, state="failed")  # it is kept so, with the reason, by who is told that
        if record.state != "begun":
            self._source.learn(record)

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
        """All is known already."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; what is to be remembered is in the records."""
        Path(checkpoint_path).write_text(json.dumps({"next": self._next}))

    def restore(self, checkpoint_path: str) -> None:
        """Nothing of it is needed."""


def _domain(dimension: Dimension) -> Any:
    if dimension.choices:
        return choice(list(dimension.choices))
    if dimension.integer:
        return randint(int(dimension.low), int(dimension.high) + 1)
    return (loguniform if dimension.log else uniform)(dimension.low, dimension.high)
