"""Training the warping network on a cluster: one Ray task that draws episodes, steps, and keeps checkpoints.

A task whose process or node died is run again by Ray and goes on from the newest checkpoint, as a job does that is
given again.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.data
import torch

from raytalk.clips.catalog import Catalog, scan
from raytalk.clips.schema import RENDERED
from raytalk.command import absolute_uri
from raytalk.connect import StorageEnvironment, connect, storage_environment
from raytalk.console import Console, console
from raytalk.errors import CheckpointError, RaytalkError, TrainingCollapsed
from raytalk.learning.arrival import batches, to_episodes
from raytalk.learning.checkpoint import FOLDER, names
from raytalk.learning.feed import Feed, rest_of_run
from raytalk.learning.meta import choose_device
from raytalk.learning.placement import Placement, place
from raytalk.learning.progress import Stopwatch, duration
from raytalk.networks.perceptual import load_perceptual
from raytalk.storage import Storage, join
from raytalk.warping.learner import WarpLearner
from raytalk.warping.model import MARKER, newest_warping, read_state, resume, save_warping
from raytalk.warping.settings import WarpingSettings
from raytalk.warping.watch import Watch


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    checkpoint: str
    """URI of its last checkpoint"""
    episodes: int
    figures: dict[str, float]
    """means of the last progress line"""


@dataclass(frozen=True)
class _Job:
    """What the driver hands to the task."""

    settings: WarpingSettings
    run: str
    """URI of the run's folder"""
    catalog: Catalog = field(repr=False)
    placement: Placement
    console: Console
    environment: StorageEnvironment


def train_warping(settings: WarpingSettings) -> Outcome:
    """Train, or resume, the run `settings.name`; returns when all episodes have been shown.

    Raises TrainingCollapsed if a loss is no longer a number, another RaytalkError for what the user can mend.
    """
    settings = _with_absolute_places(settings)
    run = Storage(join(settings.output, settings.name))
    catalog = scan(Storage(settings.clips), "train")
    newest = newest_warping(run)
    shown = read_state(newest).episodes if newest else 0
    for text in catalog.left_out:
        print(f"left out: {text}", flush=True)
    print(
        f"warping '{settings.name}' ({settings.preset}, {settings.network.resolution} px): "
        f"{f'resuming at episode {shown:,}' if shown else 'a new run'}; {catalog.clips:,} clips of "
        f"{catalog.people:,} people, landmarks by {catalog.detector}; {settings.episodes:,} episodes of 1 to "
        f"{settings.data.shots} sources",
        flush=True,
    )
    if newest is not None and shown >= settings.episodes:
        print(f"nothing to do: {run.uri} has shown all {settings.episodes:,} episodes already", flush=True)
        return Outcome(newest.uri, shown, {})
    connect()
    placement = place(settings.device, settings.cpus, "cpus")
    run.write("config.yaml", settings.to_yaml().encode())
    with console() as lines:
        job = _Job(settings, run.uri, catalog, placement, lines, storage_environment(lines.say_once))
        task: Any = ray.remote(_train).options(
            num_cpus=placement.cpus, num_gpus=int(placement.gpu), max_retries=settings.max_failures
        )
        try:
            ended = ray.get(task.remote(job))
        except ray.exceptions.RayError as failure:
            words = " ".join(str(failure).split())[-500:]
            raise RaytalkError(
                f"training failed, and the same command goes on from the last checkpoint: {words}"
            ) from failure
    if isinstance(ended, RaytalkError):
        raise ended
    outcome: Outcome = ended
    print(f"finished: {outcome.episodes:,} episodes, checkpoint {outcome.checkpoint}", flush=True)
    return outcome


def _train(job: _Job) -> Outcome | RaytalkError:
    """The task. What a person must mend is returned, not raised: another try would only meet it again."""
    try:
        job.environment.apply()
        torch.set_num_threads(max(1, int(job.placement.cpus)))
        return _Training(job).show_episodes()
    except RaytalkError as error:
        return error


class _Training:
    """The learner, its checkpoints and what is said about it."""

    def __init__(self, job: _Job) -> None:
        settings = self.settings = job.settings
        self.job, self.say = job, job.console.say
        self.run, self.detector = Storage(job.run), job.catalog.detector
        self.device = choose_device("cuda" if job.placement.gpu else "cpu")
        content = None
        if settings.losses.content > 0:
            content = load_perceptual(settings.perceptual.content, settings.perceptual.weights)
            self.say(content.announcement())
        self.learner = WarpLearner(settings, content, self.device)
        self.episodes = self._resume()
        self.watch = Watch(Storage(settings.clips), self.run, settings, self.say)

    def show_episodes(self) -> Outcome:
        """Until all have been shown."""
        settings, learner, stopwatch = self.settings, self.learner, Stopwatch()
        kept = lap = self.episodes
        sums: dict[str, torch.Tensor] = {}
        steps = 0
        data = self._rest_of_run().iterator()
        ahead = settings.data.prefetch_batches
        for batch in batches(data, settings.batch_size, ahead, self.device, stopwatch.waited):
            for key, value in learner.step(to_episodes(batch)).items():
                sums[key] = sums[key] + value if key in sums else value.clone()
            steps += 1
            self.episodes += settings.batch_size
            done = self.episodes >= settings.episodes
            if learner.steps % settings.log_every and not done:
                continue
            figures = {key: float(value) / steps for key, value in sums.items()}
            speed = stopwatch.lap(self.episodes - lap)
            lap, steps, sums = self.episodes, 0, {}
            self._say_progress(figures, speed)
            if not math.isfinite(figures["loss/warping"]):
                raise TrainingCollapsed(f"the loss is not finite at episode {self.episodes:,}: lower optimization.rate")
            if done or self.episodes - kept >= settings.checkpoint_every:
                uri = self._keep()
                kept = self.episodes
                self.watch.look(learner.average, self.device, self.episodes)
            if done:
                return Outcome(uri, self.episodes, figures)
        raise RuntimeError(f"the clips ended at episode {self.episodes} of {settings.episodes}")

    def _rest_of_run(self) -> ray.data.Dataset:
        settings, job = self.settings, self.job
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order, context.enable_progress_bars = True, False
        feed = Feed.of(
            job.catalog, settings.data, settings.seed, settings.network.resolution, job.console, job.environment
        )
        cpus = job.placement.cpus_per_task
        return rest_of_run(feed, self.episodes, settings.episodes, settings.batch_size, cpus)

    def _resume(self) -> int:
        newest = newest_warping(self.run)
        if newest is None:
            return 0
        state = resume(newest, self.learner)
        if state.detector != self.detector:
            mend = "" if RENDERED in (state.detector, self.detector) else "preprocess with that detector, or "
            raise CheckpointError(
                f"{newest.uri} was trained on landmarks by {state.detector} and these clips have them by "
                f"{self.detector}: {mend}give another name"
            )
        self.say(f"going on from the checkpoint at episode {state.episodes:,}")
        return state.episodes

    def _keep(self) -> str:
        """Publish a checkpoint, delete the oldest and what a killed run left broken; the new one's URI."""
        checkpoints = self.run.below(FOLDER)
        checkpoints.clear_aside()
        place = checkpoints.below(f"episodes-{self.episodes:09d}")
        save_warping(place.uri, self.learner, self.episodes, self.detector, with_optimizer=True)
        complete = {name: checkpoints.exists(f"{name}/{MARKER}") for name in names(checkpoints)}
        whole = [name for name, there in complete.items() if there]
        old = whole[: max(0, len(whole) - self.settings.keep_checkpoints)]
        for name in [*old, *(name for name, there in complete.items() if not there)]:
            checkpoints.delete(name)
        return place.uri

    def _say_progress(self, figures: dict[str, float], speed: dict[str, float]) -> None:
        total = self.settings.episodes
        rate = speed["speed/episodes_per_second"]
        self.say(
            f"episodes {self.episodes:,}/{total:,} ({self.episodes / total:.0%}, "
            f"epoch {self.episodes / self.job.catalog.clips:.1f}) | "
            f"L1 {figures['loss/l1']:.3f} (mean of the sources {figures['loss/l1_mean_source']:.3f}) "
            f"content {figures['loss/content']:.3g} flow {figures['flow/size']:.3f} | "
            f"{rate:.3g} episodes/s, waiting {speed['speed/waiting']:.1%} | "
            f"{duration(max(0, total - self.episodes) / rate)} left"
        )


def _with_absolute_places(settings: WarpingSettings) -> WarpingSettings:
    """The task runs in another folder."""
    perceptual = settings.perceptual
    if perceptual.weights:
        perceptual = perceptual.model_copy(update={"weights": absolute_uri(perceptual.weights)})
    places = {"clips": absolute_uri(settings.clips), "output": absolute_uri(settings.output)}
    return settings.model_copy(update={**places, "perceptual": perceptual})
