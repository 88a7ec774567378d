"""When trials are stopped: Ray Tune's ASHA, which here knows trials by their numbers, spares some and remembers."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from raytalk.sweep.records import Record, Records
from raytalk.sweep.trial import EPISODES, SCORE, TRIAL


@dataclass(frozen=True)
class _Numbered:
    """All that ASHA wants to know of a trial."""

    trial_id: str


class Halving(AsyncHyperBandScheduler):
    """ASHA over episodes. A decision to stop is kept before anybody acts on it."""

    def __init__(
        self, episodes: int, grace: float, reduction: float, records: Records, spared: Iterable[int], looks: int
    ) -> None:
        """spared: trials that are never stopped, though others are compared with them; looks: of a whole trial."""
        super().__init__(
            time_attr=EPISODES,
            metric=SCORE,
            mode="max",
            # A look may come some steps before the even division of the episodes that rungs go by.
            grace_period=max(1, int(grace * episodes * (1 - 0.5 / looks))),
            max_t=episodes,
            reduction_factor=reduction,
            stop_last_trials=False,
        )
        self._whole, self._records, self._spared = episodes, records, frozenset(spared)

    def remember(self, records: Iterable[Record]) -> None:
        """Trials of an earlier session: others are compared with them as if they had been here."""
        for record in records:
            trial = _Numbered(record.name)
            super().on_trial_add(None, trial)  # type: ignore[arg-type]
            for episodes in sorted(record.curve):
                score = record.curve[episodes]["score"]
                super().on_trial_result(None, trial, {EPISODES: episodes, SCORE: score})  # type: ignore[arg-type]
            if record.state != "begun":
                super().on_trial_remove(None, trial)  # type: ignore[arg-type]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        numbered = self._numbered(trial)
        if numbered.trial_id not in self._trial_info:
            super().on_trial_add(tune_controller, numbered)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if result[EPISODES] >= self._whole:
            return str(TrialScheduler.CONTINUE)  # it ends by itself, and says how
        decision = str(super().on_trial_result(tune_controller, self._numbered(trial), result))
        number = int(trial.config[TRIAL])
        if decision != TrialScheduler.STOP:
            return decision
        if number in self._spared:
            return str(TrialScheduler.CONTINUE)
        self._records.write(replace(self._records.read(number), state="stopped"))
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, self._numbered(trial), result)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._trial_info.pop(self._numbered(trial).trial_id, None)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._trial_info.pop(self._numbered(trial).trial_id, None)

    def _numbered(self, trial: Any) -> Any:
        return _Numbered(f"{int(trial.config[TRIAL]):03d}")
