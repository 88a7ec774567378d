"""One trial as Ray Tune sees it: a run of `metatrain` in a thread of its process; each step is one look at it.

A stopped trial ends its run in good order, so that workers, data and placement group are gone before the process is.
"""

import threading
import time
from dataclasses import replace
from typing import Any
from uuid import uuid4

from ray import tune

from raytalk.console import Console
from raytalk.errors import RaytalkError, TrainingCollapsed, TrainingStopped
from raytalk.learning.metatrain import metatrain
from raytalk.learning.part import Part
from raytalk.storage import Storage
from raytalk.sweep.plan import Plan
from raytalk.sweep.records import Record, Records
from raytalk.sweep.watching import SweepWatch

TRIAL, EPISODES, SCORE = "trial", "episodes", "score"
"""keys of a trial's configuration and of its results"""
_POLL_SECONDS = 0.25
_ENDING_SECONDS = 60.0
"""for a run to end in good order before it is left to Ray"""


class Trial(tune.Trainable):
    """Its configuration names the trial, `TRIAL`; everything else is in its record and the plan."""

    _plan: Plan
    _records: Records
    _record: Record
    _before: Record
    """as it was when this attempt began"""
    _since: float
    _key: str
    """of this attempt, on the board"""
    _looked: bool
    """whether a look waits for its answer"""
    _errors: list[Exception]
    """of this run alone"""
    _thread: threading.Thread

    def setup(self, config: dict[str, Any], plan: Plan | None = None) -> None:
        """Start, or resume, the run. The plan comes by `tune.with_parameters`."""
        assert plan is not None
        self._plan = plan
        plan.environment.apply()
        self._records = Records(Storage(plan.uri))
        self._start(int(config[TRIAL]))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Another trial in the same process, which has loaded everything.

        What still runs was stopped and ends by itself: Tune forgets a trial that it cannot reset.
        """
        self._end()
        self._start(int(new_config[TRIAL]))
        return True

    def step(self) -> dict[str, Any]:
        """Wait for the next look; that this is called again means that the trial goes on."""
        if self._looked:
            self._plan.board.answer(self._key, go_on=True)
            self._looked = False
        if self._record.state != "begun":  # its process died after it had ended
            return self._result(done=True)
        while True:
            alive = self._thread.is_alive()
            look = self._plan.board.take(self._key)
            if look is not None:
                episodes, figures = look
                self._looked = True
                # A run that had to begin again has no later looks.
                curve = {at: score for at, score in self._record.curve.items() if at < episodes}
                self._keep(replace(self._record, curve=curve).looked(episodes, figures))
                return self._result(done=False)
            if not alive:
                self._keep(self._how_it_ended())
                return self._result(done=True)
            time.sleep(_POLL_SECONDS)

    def cleanup(self) -> None:
        """The run ends; nothing happens if it has."""
        self._end()

    def _start(self, number: int) -> None:
        plan = self._plan
        self._key, self._looked, self._errors = uuid4().hex, False, []
        self._record = self._records.read(number)
        self._before, self._since = self._record, time.monotonic()
        run = self._key, self._record, self._errors
        self._thread = threading.Thread(target=self._train, args=run, name="metatrain", daemon=True)
        if self._record.state != "begun":
            return
        verb = "goes on" if self._record.curve else "begins"
        plan.console.say(f"[{self._record.name}] {verb}: {shown(self._record)}")
        self._thread.start()

    def _train(self, key: str, record: Record, errors: list[Exception]) -> None:
        plan, sweep = self._plan, self._plan.settings
        watch = SweepWatch(
            key, sweep.clips, plan.people, sweep.objective, sweep.seed, plan.board, plan.environment
        )  # fmt: skip
        console = Tagged(plan.console, record.name)
        try:
            metatrain(
                plan.run_settings(record),
                Part(1 / sweep.concurrent, watch, plan.parent_run, console, plan.tracking_uri),
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - whatever it is, the sweep goes on; `_how_it_ended` tells it
            errors.append(error)

    def _how_it_ended(self) -> Record:
        error = self._errors[0] if self._errors else None
        if isinstance(error, TrainingCollapsed):
            record = replace(self._record, state="collapsed", reason=str(error))
        elif error is not None:
            kind = "" if isinstance(error, RaytalkError) else f"{type(error).__name__}: "
            record = replace(self._record, state="failed", reason=f"{kind}{error}")
        else:
            record = replace(self._record, state="finished")
        said = f": {record.reason}" if record.reason else f", score {record.score:.4f}"
        self._plan.console.say(f"[{record.name}] {record.state}{said}")
        return record

    def _keep(self, record: Record) -> None:
        seconds = time.monotonic() - self._since
        workers = self._plan.settings.train.worker_range[1]
        self._record = replace(
            record,
            seconds=self._before.seconds + seconds,
            gpu_seconds=self._before.gpu_seconds + seconds * self._plan.gpus * workers,
        )
        self._records.write(self._record)

    def _end(self) -> None:
        if self._thread.is_alive():
            self._plan.board.answer(self._key, go_on=False)
            self._thread.join(_ENDING_SECONDS)
        if self._errors and isinstance(self._errors[0], TrainingStopped):
            self._plan.console.say(f"[{self._record.name}] {self._errors[0]}, score {self._record.score:.4f}")

    def _result(self, done: bool) -> dict[str, Any]:
        score = self._record.score
        return {EPISODES: self._record.episodes, SCORE: score if score == score else 0.0, "done": done}


class Tagged(Console):
    """Lines that begin with the trial's name."""

    def __init__(self, console: Console, tag: str) -> None:
        super().__init__(console._lines)
        self._tag = tag

    def say(self, text: str) -> None:
        super().say(f"[{self._tag}] {text}")

    def say_once(self, text: str) -> None:
        super().say_once(f"[{self._tag}] {text}")


def shown(record: Record) -> str:
    """Its point, for a person."""
    words = (
        f"{key.rsplit('.', 1)[-1]} {value:.3g}" if isinstance(value, float) else f"{key.rsplit('.', 1)[-1]} {value}"
        for key, value in record.point.items()
    )
    return ", ".join(words)
