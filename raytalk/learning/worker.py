"""What each Ray Train worker runs: an adapter between the cluster and the step."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import ray.train
import ray.train.torch
import torch

from raytalk.errors import RaytalkError
from raytalk.learning.arrival import Batch, batches, to_episodes
from raytalk.learning.dealing import Dealing
from raytalk.learning.health import Guard, Window
from raytalk.learning.job import Ended, Job
from raytalk.learning.leader import Leader
from raytalk.learning.meta import MetaLearner
from raytalk.learning.meters import RankMeters
from raytalk.learning.notice import Notice, describe
from raytalk.learning.progress import Stopwatch
from raytalk.learning.ranks import attempt, first_error, total
from raytalk.learning.resuming import Resumption
from raytalk.learning.settings import MetatrainSettings
from raytalk.networks.perceptual import PerceptualNetwork, load_perceptual
from raytalk.storage import Storage


def train_worker(config: dict[str, Any]) -> Ended:
    """Ray Train's worker function; rank 0's return value becomes the result.

    A RaytalkError is returned, not raised: restarting would only meet it again.
    """
    job: Job = config["job"]
    try:
        job.environment.apply()
        # Before anything that needs all ranks: a file may be missing on one node alone.
        networks, error = attempt(lambda: _perceptual(job.settings))
        if (error := first_error(error)) is not None or networks is None:
            return Ended(0, {}, error=error)
        worker, error = attempt(lambda: _Worker(job, *networks))
        if (error := first_error(error)) is not None or worker is None:
            return Ended(0, {}, error=error)
        return worker.train()
    except Exception as unexpected:
        job.console.say(f"a worker failed: {type(unexpected).__name__}: {str(unexpected)[:500]}")
        raise


class _Worker:
    """One rank. Rank 0 has a leader's duties beside."""

    def __init__(self, job: Job, content: PerceptualNetwork, identity: PerceptualNetwork | None) -> None:
        context = ray.train.get_context()
        self.job, self.settings, self.say = job, job.settings, job.console.say
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        assert isinstance(self.device, torch.device)
        if self.device.type == "cpu":
            own = job.part.share * (os.cpu_count() or 1) / context.get_local_world_size()
            torch.set_num_threads(max(1, int(own)))
        networks = [network for network in (content, identity) if network is not None]
        perceptual = [network.describe() for network in networks]
        self.learner = MetaLearner(self.settings, job.catalog.videos, content, identity, self.device)
        self.episodes = Resumption(
            self.learner, self.settings, job.catalog.detector, perceptual, job.tracking.uri, self.say
        ).episodes(Storage(job.run))
        self.meters = RankMeters(self.settings.name, self.rank, self.device)
        self.notice = Notice(steps=self.learner.steps)
        self.leader: Leader | None = None
        if self.rank == 0:
            for network in networks:
                self.say(network.announcement())
            self.leader = Leader(job, self.learner, self.device, perceptual)
            self.leader.begin(self.world, self.episodes)

    def train(self) -> Ended:
        """Show episodes until all have been shown or something stops the run; what was handed over is still written."""
        try:
            ended = self._show_episodes()
        except BaseException:
            self._lead(Leader.close)
            raise
        closing = self._lead(Leader.close)
        ended = replace(ended, error=first_error(ended.error or closing))
        self._lead(Leader.tell_end, ended)
        return ended

    def _show_episodes(self) -> Ended:
        settings = self.settings
        if self.episodes >= settings.episodes:  # started anew when only the end was left
            return Ended(self.episodes, {})
        window, stopwatch = Window(), Stopwatch()
        networks = settings.networks
        guard = Guard(settings.guard, networks.embedding_scale, len(self.job.catalog.videos), networks.embedder)
        kept = validated = lap = self.episodes
        faults = torch.zeros((), dtype=torch.int64, device=self.device)
        for batch in self._batches(stopwatch):
            window.add(self.learner.step(to_episodes(batch), settings.rate_at(self.episodes)))
            self.episodes += settings.batch_size
            faults += batch["faults"].sum()
            done = self.episodes >= settings.episodes
            error = None
            if self._must_save_now() and kept < self.episodes and not guard.suspicious:
                error = first_error(self._lead(Leader.keep, self.episodes))
                kept = self.episodes
            if self.learner.steps % settings.log_every and not done and error is None:
                continue
            figures = window.reduce() | stopwatch.lap(self.episodes - lap) | {"data/faults": total(faults)}
            collapsed = guard.check(figures) or ""
            self.meters.window()
            error = error or self._lead(Leader.log, figures, self.episodes, self.episodes - lap)
            lap = self.episodes
            if not collapsed and (done or _passed(settings.validation.every, validated, self.episodes)):
                error = error or self._lead(Leader.validate, self.episodes)
                validated = self.episodes
            due = not guard.suspicious and _passed(settings.checkpoint_every, kept, self.episodes)
            if not collapsed and kept < self.episodes and (done or due):
                error = error or self._lead(Leader.keep, self.episodes)
                kept = self.episodes
            error = first_error(error)
            if done or collapsed or error is not None:
                return Ended(self.episodes, self.leader.figures if self.leader else {}, collapsed, error)
        raise RuntimeError(f"the clips ended at episode {self.episodes} of {settings.episodes}")

    def _batches(self, stopwatch: Stopwatch) -> Iterator[Batch]:
        dealing = Dealing(self.episodes, self.settings.batch_size, self.world, steps=1)
        ahead, expected = self.settings.data.prefetch_batches, partial(dealing.expected, self.rank)
        shard = ray.train.get_dataset_shard("train")
        return batches(shard, dealing.shares[self.rank], ahead, self.device, stopwatch.waited, expected)

    def _must_save_now(self) -> bool:
        """Whether a node was just said to be taken away; training goes on until it is."""
        info = self.notice.look(self.learner.steps)
        if info is not None and self.leader is not None:
            self.say(f"{describe(info)}: a checkpoint is kept at episode {self.episodes:,}, and training goes on")
        return info is not None

    def _lead(self, duty: Callable[..., None], *arguments: Any) -> RaytalkError | None:
        """Do something that only rank 0 does; what goes wrong is told to the other ranks by `first_error`."""
        leader = self.leader
        return attempt(lambda: duty(leader, *arguments))[1] if leader is not None else None


def _passed(every: int, before: int, now: int) -> bool:
    """Whether a multiple of `every` lies behind: where a run was restarted does not move what it does when."""
    return now // every > before // every


def _perceptual(settings: MetatrainSettings) -> tuple[PerceptualNetwork, PerceptualNetwork | None]:
    names = settings.perceptual
    identity = None
    if names.identity != "none" and settings.losses.identity > 0:
        identity = load_perceptual(names.identity, names.weights)
    return load_perceptual(names.content, names.weights), identity
