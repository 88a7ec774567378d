"""An evaluation's work on a Ray cluster: actors perform, tasks judge and write."""

import time
from functools import lru_cache
from typing import Any

import ray

from raytalk.connect import StorageEnvironment, storage_environment
from raytalk.console import console
from raytalk.crowd import Crowd
from raytalk.enrolment.room import room_for
from raytalk.errors import RaytalkError
from raytalk.evaluation.judge import Judge, to_parquet
from raytalk.evaluation.performer import Performance, Performer, load_models
from raytalk.evaluation.protocol import Trial
from raytalk.evaluation.settings import EvaluateSettings
from raytalk.storage import Storage
from raytalk.threads import use_threads

_PATIENCE = 15.0
"""seconds without a judgement after which it is seen to that there can be one"""


class _Actor:
    """The methods in memory, on a device."""

    def __init__(self, settings: EvaluateSettings, environment: StorageEnvironment, cpus: int) -> None:
        environment.apply()
        use_threads(cpus)
        self._performer = Performer(settings, load_models(settings))

    def ready(self) -> None:
        """Returns when there is room for the actor and everything is loaded."""

    def perform(self, trial: Trial) -> tuple[tuple[float, RaytalkError | None], Performance | None]:
        """Seconds and what a person can mend; and what was made."""
        start = time.perf_counter()
        try:
            performance = self._performer.perform(trial)
        except RaytalkError as error:
            return (time.perf_counter() - start, error), None
        return (time.perf_counter() - start, None), performance


class Cast:
    """Actors perform, tasks judge; what is judged is written."""

    def __init__(self, settings: EvaluateSettings, about: dict[str, str]) -> None:
        self._settings = settings
        self._cpus, self._gpus, room = room_for(settings.table, settings.device)
        self._everywhere = everywhere = ray.cluster_resources().get("CPU", 1.0)
        # Performing must not take the CPUs that judging needs.
        most = settings.table.actors or int((everywhere - 1) // self._cpus)
        self._actors = max(1, min(room, most))
        left = everywhere - self._actors * self._cpus
        self._judges = max(1, int(left))
        self._judge = ray.remote(_judge).options(num_cpus=1 if left >= 1 else 0)
        self._about = about
        self._given: Any = None
        """what a judge is given besides, kept by Ray"""
        self._waiting: dict[Any, tuple[Trial, Any]] = {}
        """judgements that are awaited: of which trial, and the reference of what was made"""
        self._failed: dict[Trial, str] = {}
        self._lost: list[Trial] = []
        """performed, but a machine died before it was judged"""

    def play(self, work: list[Trial]) -> dict[Trial, str]:
        """Every trial; those that failed, with the reason."""
        with console() as lines:
            return self._play(work, storage_environment(lines.say_once))

    def _play(self, work: list[Trial], environment: StorageEnvironment) -> dict[Trial, str]:
        self._given = ray.put((self._settings, self._about, environment))
        actor: Any = ray.remote(_Actor).options(num_cpus=self._cpus, num_gpus=self._gpus)
        arguments = self._settings, environment, max(1, int(self._cpus))
        each = f"{self._gpus:g} GPU" if self._gpus else f"{self._cpus:g} CPUs"
        count = min(self._actors, len(work))
        print(f"{len(work)} to perform, {count} at a time, each with {each}; {self._judges} judges", flush=True)

        def give(performer: Any, trial: Trial) -> Any:
            return performer.perform.options(num_returns=2).remote(trial)

        tries = self._settings.table.tries
        for attempt in range(1, tries + 1):
            self._round(Crowd(actor, arguments, give, lambda trial: trial.person, tries), work, count)
            work, self._lost = self._lost, []
            if not work:
                break
            if attempt == tries:
                for trial in work:
                    self._fail(trial, RuntimeError(f"what was made of it was lost {tries} times before it was judged"))
            else:
                print(f"{len(work)} were lost with a machine before they were judged; begun anew", flush=True)
        return self._failed

    def _round(self, crowd: Crowd[Trial], work: list[Trial], count: int) -> None:
        start = time.perf_counter()
        for number, done in enumerate(crowd.work(work, count), 1):
            seconds, error = (0.0, RuntimeError(done.died)) if done.died else done.said
            if error is not None:
                self._fail(done.item, error)
                continue
            self._waiting[self._judge.remote(self._given, done.more[0])] = done.item, done.more[0]
            left = (time.perf_counter() - start) / number * (len(work) - number)
            who = f"{done.item.person}, {done.item.split}"
            print(f"{number}/{len(work)} {who}: {seconds:.1f} s, {left / 60:.0f} min left", flush=True)
            self._collect(at_most=2 * self._judges)  # else pictures would fill the object store
        self._collect(at_most=0)

    def _collect(self, at_most: int) -> None:
        """Wait until no more than so many judgements are awaited."""
        while len(self._waiting) > at_most:
            ended, _ = ray.wait(list(self._waiting), num_returns=1, timeout=_PATIENCE)
            if not ended:
                self._make_do()
                continue
            trial, _ = self._waiting.pop(ended[0])
            try:
                error = ray.get(ended[0])
            except ray.exceptions.RayTaskError as raised:
                if isinstance(raised.cause, ray.exceptions.RayError):
                    self._lost.append(trial)
                    continue
                error = raised
            except ray.exceptions.RayError:
                self._lost.append(trial)
                continue
            if error is not None:
                self._fail(trial, error)

    def _make_do(self) -> None:
        """When machines are gone, actors may hold all CPUs that are left: judge beside them, or nobody ever would."""
        if ray.cluster_resources().get("CPU", 0.0) >= self._everywhere:
            return
        self._judge = ray.remote(_judge).options(num_cpus=0, scheduling_strategy="SPREAD")
        waiting, self._waiting = self._waiting, {}
        for reference, (trial, made) in waiting.items():
            ray.cancel(reference)
            self._waiting[self._judge.remote(self._given, made)] = trial, made
        self._everywhere = 0.0

    def _fail(self, trial: Trial, error: Exception) -> None:
        self._failed[trial] = " ".join(str(error).split())[-500:]
        print(f"{trial.person}, {trial.split}: failed: {self._failed[trial]}", flush=True)


def _judge(
    given: tuple[EvaluateSettings, dict[str, str], StorageEnvironment], performance: Performance
) -> RaytalkError | None:
    """Judge and write a trial's rows; what a person can mend."""
    settings, about, environment = given
    environment.apply()
    try:
        use_threads(1)
        table = _loaded_judge(settings.model_dump_json()).rows(performance)
        Storage(settings.output).write(performance.sitting.trial.path, to_parquet(table, about))
    except RaytalkError as error:
        return error
    return None


@lru_cache(maxsize=1)
def _loaded_judge(settings: str) -> Judge:
    return Judge.of(EvaluateSettings.model_validate_json(settings))
