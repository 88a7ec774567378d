"""What each Ray Train worker runs: an adapter between the cluster and the step."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist

from raytalk.clips.catalog import Catalog
from raytalk.clips.schema import RENDERED, Split
from raytalk.connect import StorageEnvironment
from raytalk.console import Console
from raytalk.errors import CheckpointError, RaytalkError
from raytalk.learning import checkpoint
from raytalk.learning.arrival import batches, to_episodes
from raytalk.learning.checkpoint_writer import CheckpointWriter
from raytalk.learning.health import Guard, Window
from raytalk.learning.meta import MetaLearner
from raytalk.learning.naming import found
from raytalk.learning.progress import Stopwatch, line
from raytalk.learning.settings import MetatrainSettings
from raytalk.learning.validation import People, load_people, validate
from raytalk.networks.operations import fused_kernels
from raytalk.networks.perceptual import PerceptualNetwork, load_perceptual
from raytalk.storage import Storage
from raytalk.tracking import RunHandle, Tracker

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """What the driver hands to every worker."""

    settings: MetatrainSettings
    run: str
    """URI of the run's folder"""
    catalog: Catalog = field(repr=False)
    validation: dict[str, Split]
    """name of a set of people to its split"""
    tracking: RunHandle = field(repr=False)
    console: Console
    environment: StorageEnvironment
    """what the driver's environment says of the object store"""


@dataclass(frozen=True)
class Ended:
    """How the loop ended, the same on every rank."""

    episodes: int
    figures: dict[str, float]
    collapsed: str = ""
    error: RaytalkError | None = None


def train_worker(config: dict[str, Any]) -> Ended:
    """Ray Train's worker function; rank 0's return value becomes the result.

    A RaytalkError is returned, not raised: restarting would only meet it again.
    """
    job: Job = config["job"]
    try:
        job.environment.apply()
        # Before anything that needs all ranks: a file may be missing on one node alone.
        networks, error = _attempt(lambda: _perceptual(job.settings))
        if (error := _first_error(error)) is not None or networks is None:
            return Ended(0, {}, error=error)
        worker, error = _attempt(lambda: _Worker(job, *networks))
        if (error := _first_error(error)) is not None or worker is None:
            return Ended(0, {}, error=error)
        return worker.train()
    except Exception as unexpected:
        job.console.say(f"a worker failed: {type(unexpected).__name__}: {str(unexpected)[:500]}")
        raise


class _Worker:
    """One rank. Rank 0 also validates, keeps checkpoints, tracks and talks."""

    def __init__(self, job: Job, content: PerceptualNetwork, identity: PerceptualNetwork | None) -> None:
        context = ray.train.get_context()
        self.job, self.settings, self.say = job, job.settings, job.console.say
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        assert isinstance(self.device, torch.device)
        if self.device.type == "cpu":
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
        self.perceptual = [network.describe() for network in (content, identity) if network is not None]
        self.learner = MetaLearner(self.settings, job.catalog.videos, content, identity, self.device)
        self.run = Storage(job.run)
        self.episodes = self._resume()
        if self.rank == 0 and self.episodes:
            self.say(f"going on from the checkpoint at episode {self.episodes:,}")
        self.figures: dict[str, float] = {}
        if self.rank == 0:
            for network in (content, identity):
                if network is not None:
                    self.say(network.announcement())
            self.people = self._load_people()
            self.writer = CheckpointWriter(self.run, self.settings.keep_checkpoints)
            self.tracker = Tracker.open(job.tracking, say=lambda text, *values: self.say(text % values))

    def train(self) -> Ended:
        """Show episodes until all have been shown or something stops the run; what was handed over is still written."""
        try:
            ended = self._show_episodes()
        except BaseException:
            self._attempt(self._close)
            raise
        closing = self._attempt(self._close)
        return replace(ended, error=_first_error(ended.error or closing))

    def _show_episodes(self) -> Ended:
        settings = self.settings
        window, stopwatch = Window(), Stopwatch()
        networks = settings.networks
        guard = Guard(settings.guard, networks.embedding_scale, len(self.job.catalog.videos), networks.embedder)
        kept = validated = lap = self.episodes
        faults = torch.zeros((), dtype=torch.int64, device=self.device)
        for batch in self._batches(stopwatch):
            window.add(self.learner.step(to_episodes(batch)))
            self.episodes += settings.batch_size
            faults += batch["faults"].sum()
            done = self.episodes >= settings.episodes
            if self.learner.steps % settings.log_every and not done:
                continue
            figures = window.reduce() | stopwatch.lap(self.episodes - lap) | {"data/faults": _total(faults)}
            lap = self.episodes
            collapsed = guard.check(figures) or ""
            error = self._attempt(self._log, figures)
            if not collapsed and (done or self.episodes - validated >= settings.validation.every):
                error = error or self._attempt(self._validate)
                validated = self.episodes
            due = not guard.suspicious and self.episodes - kept >= settings.checkpoint_every
            if not collapsed and (done or due):
                error = error or self._attempt(self._keep)
                kept = self.episodes
            error = _first_error(error)
            if done or collapsed or error is not None:
                return Ended(self.episodes, self.figures, collapsed, error)
        raise RuntimeError(f"the clips ended at episode {self.episodes} of {settings.episodes}")

    def _batches(self, stopwatch: Stopwatch) -> Iterator[dict[str, torch.Tensor]]:
        shard, size = ray.train.get_dataset_shard("train"), self.settings.batch_size // self.world
        began = self.episodes
        for batch in batches(shard, size, self.settings.data.prefetch_batches, self.device, stopwatch.waited):
            if self.episodes == began and int(batch["number"].min()) < began:
                raise RuntimeError(f"the data begins before episode {began}: does another process write to this run?")
            yield batch

    def _resume(self) -> int:
        """Load the newest checkpoint, or the one to start from; returns the episodes shown so far."""
        place = self._newest_checkpoint()
        if place is not None:
            state = checkpoint.load(place, self.learner)
            self._check_fit(place, state)
            return state.episodes
        if self.settings.checkpoint:
            with found(self.settings.checkpoint, self.job.tracking.uri) as start:
                self._check_fit(start, checkpoint.load(start, self.learner, weights_only=True))
        return 0

    def _newest_checkpoint(self) -> Storage | None:
        """Rank 0 chooses for all: a listing may differ from node to node."""
        chosen: list[Any] = [None, None]
        if self.rank == 0:
            found, chosen[1] = _attempt(lambda: checkpoint.latest(self.run)[0])
            chosen[0] = found.uri if found else None
        if self.world > 1:
            dist.broadcast_object_list(chosen, src=0)
        if chosen[1] is not None:
            raise chosen[1]
        return Storage(chosen[0]) if chosen[0] else None

    def _check_fit(self, place: Storage, state: checkpoint.State) -> None:
        """Refuse drawings of another kind, and say where losses stop being comparable."""
        left_behind = self.learner.rows.left_behind
        if self.rank == 0 and left_behind:
            self.say(
                f"{left_behind:,} videos of {place.uri} are no longer among the clips: their rows of W are dropped"
            )
        detector = self.job.catalog.detector
        if state.detector != detector and not self.settings.accept_detector:
            mend = "" if RENDERED in (state.detector, detector) else "preprocess with that detector, or "
            raise CheckpointError(
                f"{place.uri} was trained on landmarks by {state.detector} and these clips have them by {detector}: "
                f"{mend}give accept_detector=true"
            )
        before = [(network["name"], network["sha256"]) for network in state.perceptual]
        if self.rank == 0 and before != [(network["name"], network["sha256"]) for network in self.perceptual]:
            self.say(f"the networks of the content loss differ from those of {place.uri}: its losses do not compare")

    def _load_people(self) -> dict[str, People]:
        settings, storage = self.settings, Storage(self.settings.clips)
        want, data, resolution = settings.validation, settings.data, settings.networks.resolution
        sets = {}
        for name, split in self.job.validation.items():
            try:
                sets[name] = load_people(
                    storage, split, want.people, data.shots, want.targets, resolution, with_pupils=data.pupils > 0
                )
            except RaytalkError as error:
                self.say(f"no validation on '{name}': {error}")
        return sets

    def _log(self, figures: dict[str, float]) -> None:
        epoch = self._epoch()
        rates = self.settings.optimization
        self.say(line(figures, self.episodes, self.settings.episodes, epoch))
        rows = {"epoch": epoch, "rate/generator": rates.generator_rate, "rate/discriminator": rates.discriminator_rate}
        self.tracker.metrics(figures | rows, self.episodes)

    def _validate(self) -> None:
        for name, people in self.people.items():
            with fused_kernels(self.settings.speed.fused_kernels):
                figures, grid = validate(self.learner.average, self.learner.content, people, self.device)
            named = {f"{name}/{key}": value for key, value in figures.items()}
            self.figures |= named
            self.tracker.metrics(named, self.episodes)
            self.tracker.image(name, grid, self.episodes)
            self.run.write(f"grids/{name}-{self.episodes:08d}.png", _png(grid))
            self.say(
                f"  {name}: SSIM {figures['ssim']:.3f} (wrong identity {figures['ssim_wrong']:.3f}) "
                f"L1 {figures['l1']:.3f} ({figures['l1_wrong']:.3f}) content {figures['content']:.3g} "
                f"({figures['content_wrong']:.3g}) spread of e {figures['spread']:.0%}"
            )

    def _keep(self) -> None:
        state = checkpoint.State(
            self.episodes,
            self._epoch(),
            self.learner.steps,
            self.settings.seed,
            self.job.catalog.detector,
            self.perceptual,
            self.job.tracking.run_id,
        )
        self.writer.save(checkpoint.Snapshot.take(self.learner, state))

    def _close(self) -> None:
        self.tracker.close()
        self.writer.close()

    def _epoch(self) -> float:
        return self.episodes / self.job.catalog.clips

    def _attempt(self, action: Callable[..., None], *arguments: Any) -> RaytalkError | None:
        """Run something that only rank 0 does; what goes wrong is told to the other ranks by `_first_error`."""
        return _attempt(lambda: action(*arguments))[1] if self.rank == 0 else None


def _attempt(action: Callable[[], T]) -> tuple[T | None, RaytalkError | None]:
    try:
        return action(), None
    except RaytalkError as error:
        return None, error


def _perceptual(settings: MetatrainSettings) -> tuple[PerceptualNetwork, PerceptualNetwork | None]:
    names = settings.perceptual
    identity = None
    if names.identity != "none" and settings.losses.identity > 0:
        identity = load_perceptual(names.identity, names.weights)
    return load_perceptual(names.content, names.weights), identity


def _total(count: torch.Tensor) -> float:
    """The sum over all ranks."""
    total = count.clone()
    if dist.is_initialized():
        dist.all_reduce(total)
    return float(total)


def _first_error(error: RaytalkError | None) -> RaytalkError | None:
    """The error of the lowest rank that has one: the same on every rank."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return error
    everywhere: list[RaytalkError | None] = [None] * dist.get_world_size()
    dist.all_gather_object(everywhere, error)
    return next((found for found in everywhere if found is not None), None)


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
