"""The whole job: choose people, have them performed and judged over a Ray cluster, and tell how it went.

A trial (one person under one split) is done when its file of rows is there; the same command again does the others.
"""

import csv
import io
import json
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import cv2
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch
import yaml

from raytalk.command import absolute_uri
from raytalk.connect import StorageEnvironment, connect, storage_environment
from raytalk.console import Console, console
from raytalk.crowd import Crowd
from raytalk.enrolment.room import room_for
from raytalk.errors import RaytalkError, SettingsError
from raytalk.evaluation.judge import Judge, to_parquet
from raytalk.evaluation.labels import labels_of, resolved
from raytalk.evaluation.performer import Models, Performance, Performer, check_detectors, load_models
from raytalk.evaluation.protocol import Choice, Trial, choose
from raytalk.evaluation.report import keep_report
from raytalk.evaluation.settings import EvaluateSettings
from raytalk.storage import Storage, explained, join
from raytalk.tracking import store_uri

SETTINGS_FILE, FAILED_FILE = "evaluation.yaml", "failed.csv"
_MAY_DIFFER = ("preset", "people", "again", "device", "table", "tracking", "speed", "output")
"""settings that another run over the same output may change"""


def evaluate(settings: EvaluateSettings) -> pd.DataFrame:
    """Evaluate, write everything below `output` and into MLflow, and print the table; returns the summary.

    Raises RaytalkError for what a person can mend, and if nobody at all could be evaluated. A person who fails is
    reported, in failed.csv and in the summary.
    """
    settings = _with_absolute_places(settings)
    store_uri(settings.tracking, settings.output)  # what is wrong with it is told now, not after everything is done
    output, models = Storage(settings.output), load_models(settings)
    choice = _choose(settings)
    check_detectors(models, choice.detectors, settings.accept_detector)
    settings = settings.model_copy(update={"metrics": resolved(settings.metrics)})
    labels, about = labels_of(settings.metrics), _about(settings, models)
    _begin(output, settings, about)
    settings = _pinned(settings, models)
    work = [trial for trial in choice.trials if settings.again or not _kept(output, trial, about)]
    done = len(choice.trials) - len(work)
    print(
        f"{choice.people} people, {len(choice.trials)} trials" + (f", {done} done before" if done else ""),
        flush=True,
    )
    failed: dict[Trial, str] = {}
    if work:
        connect()
        with console() as lines:
            failed = _Cast(settings, lines, about).play(work)
    output.write(FAILED_FILE, _failures(failed))
    rows = read_rows(output, [trial for trial in choice.trials if trial not in failed])
    if not len(rows):
        raise RaytalkError(f"nobody could be evaluated; why is in {output.uri}/{FAILED_FILE}")
    return keep_report(
        output, settings, rows, labels, choice, {f"{t.person} ({t.split})": why for t, why in failed.items()}
    )


def read_rows(output: Storage, trials: list[Trial]) -> pd.DataFrame:
    """All rows of these trials, with features, without pictures of more than was kept."""
    tables = []
    for trial in trials:
        place = join(output.uri, trial.path)
        with explained(place, "read"), output.filesystem.open_input_file(output.path(trial.path)) as file:
            tables.append(pq.read_table(file).replace_schema_metadata(None))
    return pa.concat_tables(tables).to_pandas() if tables else pd.DataFrame()


class _Actor:
    """The methods in memory, on a device."""

    def __init__(self, settings: EvaluateSettings, lines: Console, environment: StorageEnvironment, cpus: int) -> None:
        environment.apply()
        _use_threads(cpus)
        self._performer = Performer(settings, load_models(settings), lines.say)

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


class _Cast:
    """Actors perform, tasks judge; what is judged is written."""

    def __init__(self, settings: EvaluateSettings, lines: Console, about: dict[str, str]) -> None:
        self._settings, self._lines = settings, lines
        self._cpus, self._gpus, room = room_for(settings.table, settings.device)
        everywhere = ray.cluster_resources().get("CPU", 1.0)
        # Performing must not take the CPUs that judging needs.
        self._actors = max(1, min(room, int((everywhere - 1) // self._cpus)))
        left = everywhere - self._actors * self._cpus
        self._judges = max(1, int(left))
        self._judge = ray.remote(_judge).options(num_cpus=1 if left >= 1 else 0)
        self._given = ray.put((settings, about, storage_environment()))
        self._waiting: dict[Any, Trial] = {}
        self._failed: dict[Trial, str] = {}

    def play(self, work: list[Trial]) -> dict[Trial, str]:
        """Every trial; those that failed, with the reason."""
        actor: Any = ray.remote(_Actor).options(num_cpus=self._cpus, num_gpus=self._gpus)
        arguments = self._settings, self._lines, storage_environment(), max(1, int(self._cpus))
        each = f"{self._gpus:g} GPU" if self._gpus else f"{self._cpus:g} CPUs"
        count = min(self._actors, len(work))
        print(f"{len(work)} to perform, {count} at a time, each with {each}; {self._judges} judges", flush=True)

        def give(performer: Any, trial: Trial) -> Any:
            return performer.perform.options(num_returns=2).remote(trial)

        crowd = Crowd(actor, arguments, give, lambda trial: trial.person, self._settings.table.tries)
        start = time.perf_counter()
        for number, done in enumerate(crowd.work(work, count), 1):
            seconds, error = (0.0, RuntimeError(done.died)) if done.died else done.said
            if error is not None:
                self._fail(done.item, error)
                continue
            self._waiting[self._judge.remote(self._given, done.more[0])] = done.item
            left = (time.perf_counter() - start) / number * (len(work) - number)
            who = f"{done.item.person}, {done.item.split}"
            print(f"{number}/{len(work)} {who}: {seconds:.1f} s, {left / 60:.0f} min left", flush=True)
            self._collect(at_most=2 * self._judges)  # else pictures would fill the object store
        self._collect(at_most=0)
        return self._failed

    def _collect(self, at_most: int) -> None:
        """Wait until no more than so many judgements are awaited."""
        while len(self._waiting) > at_most:
            ended, _ = ray.wait(list(self._waiting), num_returns=1)
            trial = self._waiting.pop(ended[0])
            try:
                error = ray.get(ended[0])
            except ray.exceptions.RayError as died:
                error = died
            if error is not None:
                self._fail(trial, error)

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
        _use_threads(1)
        table = _loaded_judge(settings.model_dump_json()).rows(performance)
        Storage(settings.output).write(performance.sitting.trial.path, to_parquet(table, about))
    except RaytalkError as error:
        return error
    return None


def _use_threads(count: int) -> None:
    """OpenCV takes every core otherwise, in each of many processes."""
    torch.set_num_threads(count)
    cv2.setNumThreads(count)


@lru_cache(maxsize=1)
def _loaded_judge(settings: str) -> Judge:
    return Judge.of(EvaluateSettings.model_validate_json(settings))


def _choose(settings: EvaluateSettings) -> Choice:
    needed = max(settings.shots) + settings.hold_out
    choice = choose(
        Storage(settings.clips), settings.clips_split, settings.people, needed, settings.splits, settings.seed
    )
    if choice.people < settings.people:
        short = f", and {len(choice.too_short)} more have fewer than {needed} frames" if choice.too_short else ""
        print(f"there are {choice.people} people to evaluate, not {settings.people}{short}", flush=True)
    return choice


def _about(settings: EvaluateSettings, models: Models) -> dict[str, str]:
    """With what rows are made: rows made otherwise do not belong beside them."""
    kept = {key: value for key, value in settings.model_dump(mode="json").items() if key not in _MAY_DIFFER}
    used = [(model.uri, model.state.episodes) for model in models.all]
    if models.warping is not None:
        used.append((models.warping.uri, models.warping.state.episodes))
    kept["models"] = [f"{uri} after {episodes} episodes" for uri, episodes in used]
    return {key: json.dumps(value) for key, value in kept.items()}


def _pinned(settings: EvaluateSettings, models: Models) -> EvaluateSettings:
    """With the very checkpoints that were found: a run may go on while it is evaluated."""
    return settings.model_copy(
        update={
            "checkpoint": models.main.uri,
            "against": tuple(f"{name}={model.uri}" for name, model in models.others.items()),
            "translation": models.translation.uri if models.translation else "",
            "warping": models.warping.uri if models.warping else "",
        }
    )


def _begin(output: Storage, settings: EvaluateSettings, about: dict[str, str]) -> None:
    """Raises SettingsError if the place holds an evaluation of something else."""
    if output.exists(SETTINGS_FILE):
        before = yaml.safe_load(output.read(SETTINGS_FILE)).get("about", {})
        different = [key for key in about if before.get(key) != about[key]]
        if different and settings.again:
            for folder in ("people", "figures"):
                output.delete(folder)
        elif different:
            key = different[0]
            raise SettingsError(
                f"{output.uri} holds an evaluation with another {key} ({before.get(key)}, now {about[key]}): give "
                "another output=, or again=true to begin anew"
            )
    written = {"settings": settings.model_dump(mode="json"), "about": about}
    output.write(SETTINGS_FILE, yaml.safe_dump(written, sort_keys=False).encode())


def _kept(output: Storage, trial: Trial, about: dict[str, str]) -> bool:
    if not output.is_file(trial.path):
        return False
    try:
        with output.filesystem.open_input_file(output.path(trial.path)) as file:
            metadata = pq.read_schema(file).metadata or {}
    except pa.ArrowInvalid:
        return False  # damaged: made again
    return all(metadata.get(key.encode()) == value.encode() for key, value in about.items())


def _failures(failed: dict[Trial, str]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["split", "person", "clip", "reason"])
    table.writerows(_lines(failed))
    return text.getvalue().encode()


def _lines(failed: dict[Trial, str]) -> Iterator[list[str]]:
    for trial, reason in failed.items():
        yield [trial.split, trial.person, trial.clip, reason]


def _with_absolute_places(settings: EvaluateSettings) -> EvaluateSettings:
    """Actors run in other folders."""

    def absolute(uri: str) -> str:
        return uri if not uri or uri.startswith("models:/") else absolute_uri(uri)

    places = {
        name: absolute(getattr(settings, name)) for name in ("checkpoint", "clips", "output", "translation", "warping")
    }
    changes: dict[str, Any] = dict(places)
    changes["against"] = tuple(f"{name}={absolute(uri)}" for name, uri in settings.others.items())
    for group in ("perceptual", "metrics"):
        inner = getattr(settings, group)
        changes[group] = inner.model_copy(update={"weights": absolute(inner.weights)})
    return settings.model_copy(update=changes)
