"""Meta-learning on a cluster: Ray Data feeds Ray Train workers, which run the step of `raytalk.learning.meta`.

The driver looks over the clips, opens the run and starts the trainer; each worker runs `_Worker`. Every rank takes
the same decisions at the same step, so that a run ends, stops or fails everywhere at once.
"""

import contextlib
import json
import tempfile
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.data
import ray.train
import yaml
from ray.train import TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from raytalk.clips.catalog import Catalog, scan
from raytalk.clips.schema import Split
from raytalk.command import absolute_uri
from raytalk.config import flatten
from raytalk.connect import connect, storage_environment
from raytalk.console import console
from raytalk.errors import CheckpointError, ClipsError, RaytalkError, TrainingCollapsed, TrainingStopped
from raytalk.learning import checkpoint
from raytalk.learning.attempts import Attempt, Attempts
from raytalk.learning.feed import ByRank, Feed, rest_of_run, stand_in
from raytalk.learning.job import Ended, Job
from raytalk.learning.naming import absolute_checkpoint
from raytalk.learning.part import Part
from raytalk.learning.placement import Placement, place, wait_for_nodes
from raytalk.learning.settings import MetatrainSettings
from raytalk.learning.worker import train_worker
from raytalk.storage import Storage, join
from raytalk.tracking import RunHandle, Tracker, register_checkpoint, start_run


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    checkpoint: str
    """URI of its last checkpoint"""
    episodes: int
    figures: dict[str, float]
    """of the last validation"""
    attempts: tuple[Attempt, ...] = ()
    """the starts of the workers, one if nothing stopped them"""


def metatrain(settings: MetatrainSettings, part: Part | None = None) -> Outcome:
    """Train, or resume, the run `settings.name`; returns when all episodes have been shown.

    part: what the run has from a sweep. Raises TrainingCollapsed if the run stopped itself, TrainingStopped if the
    sweep ended it, another RaytalkError for what the user can mend.
    """
    part = part or Part()
    settings = _with_absolute_places(settings)
    run = Storage(join(settings.output, settings.name))
    catalog = scan(Storage(settings.clips), "train")
    resumed = _resumed_state(run)
    _describe(settings, catalog, resumed)
    done = resumed is not None and resumed.episodes >= settings.episodes
    notes, wanted = _notes(run), settings.tracking.register_as
    if done and notes.get("finished") and wanted in ("", notes.get("registered")):
        print(f"nothing to do: {run.uri} has shown all {settings.episodes:,} episodes already", flush=True)
        return Outcome(checkpoint.newest(run).uri, settings.episodes, {})
    if not done:
        connect()
        wait_for_nodes(
            settings.wait_for_nodes,
            settings.worker_range[0],
            settings.gpus_per_worker if settings.device == "cuda" else 0,
            settings.cpus_per_worker or 1,
        )
        placement = place(
            settings.device,
            settings.cpus_per_worker,
            "cpus_per_worker",
            settings.worker_range[0],
            settings.gpus_per_worker,
            part.share,
            settings.worker_range[1],
        )
        _say_what_changed(run, settings)
    known = notes.get("tracking_run") or (resumed.tracking_run if resumed else None)
    tracking = settings.tracking
    if part.tracking_uri:
        tracking = tracking.model_copy(update={"uri": part.tracking_uri})
    handle = start_run(tracking, run.uri, settings.name, _flat(settings), known, part.parent_run)
    run.write("run.json", json.dumps({"tracking_run": handle.run_id}).encode())
    status = "FAILED"
    try:
        if resumed is not None and done:  # only the end was missed
            outcome = Outcome(checkpoint.newest(run).uri, resumed.episodes, {})
        else:
            run.write("config.yaml", settings.to_yaml().encode())
            splits = _validation_splits(settings)
            with contextlib.nullcontext(part.console) if part.console else console() as lines:
                attempts = Attempts.open()
                job = Job(
                    settings,
                    run.uri,
                    catalog,
                    splits,
                    handle,
                    lines,
                    storage_environment(lines.say_once),
                    attempts,
                    part,
                )
                try:
                    outcome = _fit(job, run, placement)
                finally:
                    attempts.close()
        status = "FINISHED"
    except TrainingStopped:
        status = "KILLED"
        raise
    finally:
        with Tracker.open(handle) as tracker:
            tracker.finish(status)
    if wanted:
        _register(settings, handle, run)
    ended = {"tracking_run": handle.run_id, "finished": True, "registered": wanted or notes.get("registered", "")}
    run.write("run.json", json.dumps(ended).encode())
    print(f"finished: {outcome.episodes:,} episodes, checkpoint {outcome.checkpoint}", flush=True)
    return outcome


def _register(settings: MetatrainSettings, handle: RunHandle, run: Storage) -> None:
    with tempfile.TemporaryDirectory(prefix="raytalk-register-") as folder:
        version = register_checkpoint(handle, checkpoint.newest(run).fetch("", Path(folder)))
    name, alias = settings.tracking.register_as, settings.tracking.alias
    print(f"registered models:/{name}/{version}, now models:/{name}@{alias}", flush=True)


def _fit(job: Job, run: Storage, placement: Placement) -> Outcome:
    settings = job.settings
    fewest, most = settings.worker_range
    # Ray keeps notes of its own about a run and would resume from them; ours are the checkpoints.
    notes = f"ray/{uuid.uuid4().hex}"
    trainer = TorchTrainer(
        train_worker,  # type: ignore[arg-type]
        train_loop_config={"job": job},
        datasets={"train": stand_in},
        dataset_config=ByRank(partial(_rest_of_run, job, placement.cpus_per_task), placement.for_data),
        torch_config=TorchConfig(backend="nccl" if placement.gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=most if fewest == most else (fewest, most),  # type: ignore[arg-type]
            use_gpu=placement.gpu,
            resources_per_worker={"CPU": placement.cpus} | ({"GPU": settings.gpus_per_worker} if placement.gpu else {}),
            elastic_resize_monitor_interval_s=settings.resize_every,  # type: ignore[call-arg]
        ),
        run_config=ray.train.RunConfig(
            name=notes,
            storage_path=run.root,
            storage_filesystem=run.lasting_filesystem,
            failure_config=ray.train.FailureConfig(max_failures=settings.max_failures),
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as failure:
        raise _mendable(failure) from failure
    finally:
        run.delete("ray")
    ended: Ended = result.return_value  # type: ignore[attr-defined]
    if ended.error is not None:
        raise ended.error
    if ended.collapsed:
        raise TrainingCollapsed(f"training stopped itself: {ended.collapsed}. {_last_good(run)}")
    return Outcome(checkpoint.newest(run).uri, ended.episodes, ended.figures, tuple(job.attempts.all()))


def _mendable(failure: BaseException) -> RaytalkError:
    """What a person can mend among the causes of a failure, or its last words."""
    waiting, seen = [failure], []
    while waiting:
        error = waiting.pop()
        if isinstance(error, RaytalkError):
            return error
        if error not in seen:
            seen.append(error)
            inner = [error.__cause__, getattr(error, "cause", None), getattr(error, "controller_failure", None)]
            inner += getattr(error, "worker_failures", {}).values()
            waiting += [cause for cause in inner if isinstance(cause, BaseException)]
    words = " ".join(str(failure).split())[-500:]
    return RaytalkError(f"training failed, and the same command goes on from the last checkpoint: {words}")


def _rest_of_run(job: Job, cpus_per_task: float, ranks: int) -> ray.data.Dataset:
    """Called whenever workers have started or restarted: the episodes that their checkpoint has not seen."""
    job.environment.apply()
    settings, start = job.settings, job.attempts.all()[-1].start
    feed = Feed.of(
        job.catalog, settings.data, settings.seed, settings.networks.resolution, job.console, job.environment
    )
    return rest_of_run(feed, start, settings.episodes, settings.batch_size, cpus_per_task, ranks)


def _resumed_state(run: Storage) -> checkpoint.State | None:
    place, refused = checkpoint.latest(run)
    for text in refused:
        print(f"left out: {text}", flush=True)
    return checkpoint.read_state(place) if place else None


def _say_what_changed(run: Storage, settings: MetatrainSettings) -> None:
    """What differs from the settings that the run was given last; what cannot be changed is refused by `load`."""
    if not run.exists("config.yaml"):
        return
    try:
        given = flatten(yaml.safe_load(run.read("config.yaml")))
    except (yaml.YAMLError, AttributeError, UnicodeDecodeError):
        print(f"{run.uri}/config.yaml cannot be read: what changed since then is not known", flush=True)
        return
    # What a run of an older version was not given yet was as it is by default.
    before, now = _flat(MetatrainSettings()) | given, _flat(settings)
    changed = [f"{key} {before[key]} -> {now[key]}" for key in now if before[key] != now[key]]
    if changed:
        print(f"changed since this run began: {', '.join(changed)}", flush=True)


def _notes(run: Storage) -> dict[str, Any]:
    """The run's own notes: its MLflow run, and how it finished."""
    if not run.exists("run.json"):
        return {}
    try:
        loaded: dict[str, Any] = json.loads(run.read("run.json"))
    except ValueError:
        print(f"{run.uri}/run.json cannot be read: a new MLflow run is made", flush=True)
        return {}
    return loaded


def _with_absolute_places(settings: MetatrainSettings) -> MetatrainSettings:
    """Workers run in other folders."""
    perceptual, start = settings.perceptual, absolute_checkpoint(settings.checkpoint)
    if perceptual.weights:
        perceptual = perceptual.model_copy(update={"weights": absolute_uri(perceptual.weights)})
    places = {"clips": absolute_uri(settings.clips), "output": absolute_uri(settings.output)}
    return settings.model_copy(update={**places, "checkpoint": start, "perceptual": perceptual})


def _validation_splits(settings: MetatrainSettings) -> dict[str, Split]:
    """Which people to look at under which name."""
    splits: dict[str, Split] = {"seen": "train"}
    try:
        held_out = scan(Storage(settings.clips), "val")
    except ClipsError:
        held_out = None
    if held_out is not None and held_out.people >= 2:
        return {"val": "val", **splits}
    people = held_out.people if held_out else 0
    print(f"{people} people are held out of training and 2 are needed: validation looks at training people only")
    return splits


def _describe(settings: MetatrainSettings, catalog: Catalog, resumed: checkpoint.State | None) -> None:
    for text in catalog.left_out:
        print(f"left out: {text}", flush=True)
    where = f"resuming at episode {resumed.episodes:,}" if resumed else "a new run"
    print(
        f"meta-learning '{settings.name}' ({settings.preset}, {settings.networks.resolution} px): {where}; "
        f"{catalog.clips:,} clips of {len(catalog.videos):,} videos of {catalog.people:,} people, "
        f"landmarks by {catalog.detector}; {settings.episodes:,} episodes of {settings.data.shots} shots",
        flush=True,
    )


def _flat(settings: MetatrainSettings) -> dict[str, Any]:
    """Dotted keys and values, without the places that say nothing about the run and may hold a password."""
    left_out = ("output", "tracking.uri")
    return {key: value for key, value in flatten(settings.model_dump(mode="json")).items() if key not in left_out}


def _last_good(run: Storage) -> str:
    try:
        return f"The last good checkpoint is {checkpoint.newest(run).uri}"
    except CheckpointError:
        return "There is no checkpoint yet"
