"""The whole job: trials under Ray Tune, then their answer. Everything is kept in storage; the same command goes on."""

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import yaml
from ray import tune
from ray.tune.schedulers import FIFOScheduler

from raytalk.clips.catalog import scan
from raytalk.command import absolute_uri
from raytalk.config import flatten
from raytalk.connect import connect, storage_environment
from raytalk.console import Console, console
from raytalk.errors import RaytalkError, SettingsError
from raytalk.learning.naming import absolute_checkpoint
from raytalk.learning.placement import place
from raytalk.storage import Storage, join
from raytalk.sweep.answer import Answer, keep_answer
from raytalk.sweep.board import Board
from raytalk.sweep.confirm import confirm
from raytalk.sweep.driver import Driver
from raytalk.sweep.groups import clear_groups, remove_orphaned_groups
from raytalk.sweep.objective import Judges, People, Yardstick, divide_people, measure_yardstick, seat
from raytalk.sweep.plan import Plan, gpus_per_worker
from raytalk.sweep.records import TRIALS, Record, Records, best_of
from raytalk.sweep.scheduling import Halving
from raytalk.sweep.searching import DEFAULTS, Search, suggestions
from raytalk.sweep.settings import SweepSettings
from raytalk.sweep.space import Space, default_point, read_entries, to_space
from raytalk.sweep.trial import TRIAL, Trial
from raytalk.tracking import RunHandle, Tracker, start_run, store_uri

SETTINGS_FILE, SPACE_FILE, PEOPLE_FILE, NOTES_FILE = "sweep.yaml", "space.yaml", "people.json", "sweep.json"
_MAY_DIFFER = ("trials", "concurrent", "seconds", "keep", "max_failures", "output", "tracking", "preset", "space")
"""settings that a sweep that goes on may change; the space itself is compared"""
_TUNE_VARIABLES = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}


@dataclass(frozen=True)
class Cast:
    """By whom trials are scored, and on whom the winner is confirmed."""

    selection: People
    confirmation: People | None
    """None: too few people are held out"""


def sweep(settings: SweepSettings) -> Answer:
    """Search, or go on searching; returns the answer, which is also written to storage and tracking.

    Raises RaytalkError for what a person can mend, and if no trial could be scored at all.
    """
    settings = _with_absolute_places(settings)
    place_of_all = Storage(join(settings.output, settings.name))
    with Driver(place_of_all.uri) as driver:
        return _driven(settings, place_of_all, driver)


def _driven(settings: SweepSettings, place_of_all: Storage, driver: Driver) -> Answer:
    entries = read_entries(settings.space, settings.train)
    space = to_space(entries, settings.train, settings.space)
    source = suggestions(settings, space, len(Records(place_of_all).all()))
    store_uri(settings.tracking, place_of_all.uri)  # what is wrong with it is told now
    scan(Storage(settings.clips), "train")
    _begin(place_of_all, settings, space)
    place_of_all.write(SPACE_FILE, yaml.safe_dump(entries, sort_keys=False).encode())
    cast = _cast(place_of_all, settings)
    records = Records(place_of_all)
    earlier = records.all()
    begun = sum(record.state == "begun" for record in earlier)
    print(
        f"sweep '{settings.name}': {settings.trials} trials of {settings.train.episodes:,} episodes, "
        f"{settings.concurrent} at a time, over {len(space.dimensions)} settings; {len(earlier) - begun} ended before"
        + (f", {begun} go on" if begun else ""),
        flush=True,
    )
    handle = _tracked(place_of_all, settings)
    connect()
    status = "FAILED"
    try:
        if begun or len(earlier) < settings.trials:
            _search(settings, cast, space, source, records, handle, driver)
        best = best_of(records.all(), settings.train.episodes)
        if best is None:
            raise RaytalkError(f"no trial could be scored: {_reasons(records.all())}")
        confirmed = confirm(settings, records, best, cast.confirmation, _gpus(settings))
        answer = keep_answer(place_of_all, settings, space, records.all(), best, confirmed, cast.selection, handle)
        if settings.keep == "best":
            _delete_others(records, {best.number, DEFAULTS})
        status = "FINISHED"
    finally:
        # The run in tracking is that of the command that works on the sweep.
        if not driver.replaced:
            with Tracker.open(handle) as tracker:
                tracker.finish(status)
    return answer


def _search(
    settings: SweepSettings,
    cast: Cast,
    space: Space,
    source: Any,
    records: Records,
    handle: RunHandle,
    driver: Driver,
) -> None:
    gpus, (fewest, most) = _gpus(settings), settings.train.worker_range
    # What cannot be had is told once, not by every trial.
    place(settings.train.device, 0, "train.workers", fewest, gpus or 1.0, 1 / settings.concurrent, most)
    earlier = records.all()
    scheduler: Any = FIFOScheduler()
    if settings.scheduler == "asha":
        asha, looks = settings.asha, settings.objective.looks
        scheduler = Halving(settings.train.episodes, asha.grace, asha.reduction, records, {DEFAULTS}, looks)
        scheduler.remember(earlier)
    search = Search(source, records, earlier, default_point(space, settings.train), settings.trials)
    board = Board()
    with console() as lines, _quiet_tune():
        plan = Plan(
            settings, cast.selection, gpus, board, lines, storage_environment(lines.say_once), handle.uri, handle.run_id
        )  # fmt: skip
        notes = f"tune/{uuid.uuid4().hex}"
        storage = records.storage
        # On the head, which outlives workers; a trial's own process does next to nothing.
        resources = tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}])
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(Trial, plan=plan), resources),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=scheduler,
                num_samples=-1,
                max_concurrent_trials=settings.concurrent,
                time_budget_s=settings.seconds or None,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name=notes,
                stop=driver.stopper(),
                storage_path=storage.root,
                storage_filesystem=storage.lasting_filesystem,
                failure_config=tune.FailureConfig(max_failures=settings.max_failures),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the run keeps its own
                callbacks=[_Order(records, lines)],
                verbose=0,
            ),
        )
        try:
            tuner.fit()
            driver.check()
        finally:
            clear_groups()
            storage.delete(notes)
            if not storage.entries("tune"):
                storage.delete("tune")
            board.close()


class _Order(tune.Callback):
    """What the driver does when trials end: nothing of them stays on the cluster, and what died is kept as failed."""

    def __init__(self, records: Records, lines: Console) -> None:
        self._records, self._lines, self._last = records, lines, 0.0

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if time.monotonic() - self._last > 5:
            self._last = time.monotonic()
            if count := remove_orphaned_groups():
                self._lines.say(f"{count} placement groups were left by trials that died, and are removed")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = int(trial.config[TRIAL])
        record = self._records.read(number)
        if record.state == "begun":
            words = " ".join(str(trial.get_error() or "its process died").split())[-300:]
            self._records.write(replace(record, state="failed", reason=words))
            self._lines.say(f"[{record.name}] failed: {words}")


def _name(trial: Any) -> str:
    return f"{int(trial.config[TRIAL]):03d}-{trial.trial_id}"


def _gpus(settings: SweepSettings) -> float:
    return gpus_per_worker(settings.train, settings.concurrent, settings.train.worker_range[1])


def _begin(place_of_all: Storage, settings: SweepSettings, space: Space) -> None:
    """Raises SettingsError if the place holds another sweep."""
    tree = settings.model_copy(update={"tracking": settings.tracking.without_password()}).model_dump(mode="json")
    about = {key: value for key, value in flatten(tree).items() if key.split(".")[0] not in _MAY_DIFFER}
    about["space"] = [repr(dimension) for dimension in space.dimensions]
    if place_of_all.exists(SETTINGS_FILE):
        before = yaml.safe_load(place_of_all.read(SETTINGS_FILE)).get("about", {})
        different = [key for key in about if before.get(key) != about[key]]
        if different:
            key = different[0]
            raise SettingsError(
                f"{place_of_all.uri} holds a sweep with another {key} ({before.get(key)}, now {about[key]}): trials of "
                "both cannot be compared; give another name="
            )
    written = {"settings": tree, "about": about}
    place_of_all.write(SETTINGS_FILE, yaml.safe_dump(written, sort_keys=False).encode())


def _cast(place_of_all: Storage, settings: SweepSettings) -> Cast:
    """The same people, frames and yardstick whenever the sweep goes on. Raises ClipsError, WeightsError."""
    clips, objective, size = Storage(settings.clips), settings.objective, settings.train.networks.resolution
    chosen, others = divide_people(clips, objective, settings.seed)
    kept = json.loads(place_of_all.read(PEOPLE_FILE)) if place_of_all.exists(PEOPLE_FILE) else {}
    judges: Judges | None = None
    cast: dict[str, People] = {}
    for name, trials in (("selection", chosen), ("confirmation", others)):
        if kept.get(name, {}).get("people") == [trial.person for trial in trials]:
            yardstick = Yardstick.from_json(kept[name]["yardstick"])
        elif trials:
            judges = judges or Judges(objective)
            yardstick = measure_yardstick(seat(clips, tuple(trials), size, objective, settings.seed), judges)
        else:
            continue
        cast[name] = People(tuple(trials), yardstick)
        kept[name] = {"people": [trial.person for trial in trials], "yardstick": yardstick.to_json()}
    place_of_all.write(PEOPLE_FILE, json.dumps(kept, indent=1).encode())
    terms = ", ".join(cast["selection"].yardstick.scales)
    print(
        f"scored by {terms} on {len(chosen)} people held out, T = {objective.shots}, after {objective.steps} steps; "
        f"{len(others)} more are kept for the comparison in the end",
        flush=True,
    )
    return Cast(cast["selection"], cast.get("confirmation"))


def _tracked(place_of_all: Storage, settings: SweepSettings) -> RunHandle:
    known = json.loads(place_of_all.read(NOTES_FILE)).get("tracking_run") if place_of_all.exists(NOTES_FILE) else None
    left_out = ("output", "tracking.uri", "train.output")
    params = {k: v for k, v in flatten(settings.model_dump(mode="json")).items() if k not in left_out}
    tracking = settings.tracking.model_copy(update={"register_as": ""})
    handle = start_run(tracking, place_of_all.uri, settings.name, params, known)
    place_of_all.write(NOTES_FILE, json.dumps({"tracking_run": handle.run_id}).encode())
    return handle


def _delete_others(records: Records, kept: set[int]) -> None:
    for record in records.all():
        if record.number not in kept and record.state != "begun":  # those go on with the next command
            records.storage.delete(f"{TRIALS}/{record.name}/checkpoints")


def _reasons(records: list[Record]) -> str:
    reasons = sorted({record.reason for record in records if record.reason})
    return "; ".join(reasons)[:500] or "none came to its first look"


def _with_absolute_places(settings: SweepSettings) -> SweepSettings:
    """Workers run in other folders."""
    train = settings.train
    perceptual = train.perceptual
    if perceptual.weights:
        perceptual = perceptual.model_copy(update={"weights": absolute_uri(perceptual.weights)})
    train = train.model_copy(update={"checkpoint": absolute_checkpoint(train.checkpoint), "perceptual": perceptual})
    objective = settings.objective
    if objective.weights:
        objective = objective.model_copy(update={"weights": absolute_uri(objective.weights)})
    places = {"clips": absolute_uri(settings.clips), "output": absolute_uri(settings.output)}
    return settings.model_copy(update={**places, "train": train, "objective": objective})


@contextlib.contextmanager
def _quiet_tune() -> Iterator[None]:
    """Without Tune's own tables, files and signal handler."""
    before = {key: os.environ.get(key) for key in _TUNE_VARIABLES}
    os.environ.update(_TUNE_VARIABLES)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key)
            else:
                os.environ[key] = value
