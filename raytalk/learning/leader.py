"""What rank 0 does for all: the log, validation, checkpoints, the MLflow run and the meters."""

import cv2
import numpy as np
import numpy.typing as npt
import torch

from raytalk.errors import RaytalkError
from raytalk.learning import checkpoint
from raytalk.learning.attempts import Attempt
from raytalk.learning.checkpoint_writer import CheckpointWriter
from raytalk.learning.dealing import shares
from raytalk.learning.job import Ended, Job
from raytalk.learning.meta import MetaLearner, rate_of
from raytalk.learning.meters import RunMeters
from raytalk.learning.progress import line
from raytalk.learning.validation import People, load_people, validate
from raytalk.networks.operations import fused_kernels
from raytalk.storage import Storage
from raytalk.tracking import Tracker


class Leader:
    """One for each start of the workers."""

    def __init__(
        self, job: Job, learner: MetaLearner, device: torch.device, perceptual: list[dict[str, object]]
    ) -> None:
        """perceptual: the networks of the content loss, with digests."""
        self.job, self.settings, self.perceptual = job, job.settings, perceptual
        self.learner, self.device = learner, device
        self.say, self.run = job.console.say, Storage(job.run)
        self.figures: dict[str, float] = {}
        """of the last validation"""
        # A sweep sees to its trials itself, and who tries the preset debug looks on.
        self.meters = RunMeters(self.settings.name, watched=job.part.watch is None and self.settings.preset != "debug")
        self.people = self._load_people()
        self.writer = CheckpointWriter(self.run, self.settings.keep_checkpoints, self.meters.published)
        self.tracker = Tracker.open(job.tracking, say=lambda text, *values: self.say(text % values))
        self._faults = 0.0

    def begin(self, ranks: int, start: int) -> None:
        """Say how the workers begin, and where the data is to begin."""
        attempts = self.job.attempts.begin(ranks, start)
        before = attempts[-2] if len(attempts) > 1 else None
        # More workers than before: none has died, there is room for another one.
        self.meters.began(ranks, again=before is not None and ranks <= before.ranks)
        if start:
            again = f": {attempts[-1].repeated:,} episodes are shown again" if attempts[-1].repeated else ""
            self.say(f"going on from the checkpoint at episode {start:,}{again}")
        if before is not None or ranks > 1 or self.settings.worker_range[0] < self.settings.worker_range[1]:
            self.say(_share_out(before, ranks, self.settings.batch_size))

    def log(self, figures: dict[str, float], shown: int, episodes: int) -> None:
        """The figures of a window of so many `episodes`, of `shown` in all."""
        epoch = self._epoch(shown)
        self.job.attempts.shown(shown)
        self.say(line(figures, shown, self.settings.episodes, epoch))
        rows = {
            "epoch": epoch,
            "rate/generator": rate_of(self.learner.talker_optimizer),
            "rate/discriminator": rate_of(self.learner.discriminator_optimizer),
        }
        self.tracker.metrics(figures | rows, shown)
        self.meters.window(figures, episodes, figures["data/faults"] - self._faults, epoch)
        self._faults = figures["data/faults"]

    def validate(self, shown: int) -> None:
        """Look at people held out of training, and at as many of training beside them."""
        for name, people in self.people.items():
            with fused_kernels(self.settings.speed.fused_kernels):
                figures, grid = validate(self.learner.average, self.learner.content, people, self.device)
            named = {f"{name}/{key}": value for key, value in figures.items()}
            self.figures |= named
            self.tracker.metrics(named, shown)
            self.tracker.image(name, grid, shown)
            self.meters.validated(name, figures)
            self.run.write(f"grids/{name}-{shown:08d}.png", _png(grid))
            self.say(
                f"  {name}: SSIM {figures['ssim']:.3f} (wrong identity {figures['ssim_wrong']:.3f}) "
                f"L1 {figures['l1']:.3f} ({figures['l1_wrong']:.3f}) content {figures['content']:.3g} "
                f"({figures['content_wrong']:.3g}) spread of e {figures['spread']:.0%}"
            )
        if self.job.part.watch is not None:
            measured = self.job.part.watch.measure(self.learner, shown)
            self.figures |= measured
            self.tracker.metrics(measured, shown)
            self.job.part.watch.report(measured, shown)

    def keep(self, shown: int) -> None:
        """Hand a checkpoint over to be written while training goes on."""
        state = checkpoint.State(
            shown,
            self._epoch(shown),
            self.learner.steps,
            self.settings.seed,
            self.job.catalog.detector,
            self.perceptual,
            self.job.tracking.run_id,
        )
        self.writer.save(checkpoint.Snapshot.take(self.learner, state))

    def close(self) -> None:
        """Wait until everything handed over is written."""
        self.tracker.close()
        self.writer.close()

    def tell_end(self, ended: Ended) -> None:
        """Say that the run is over, after everything else. With an error it says nothing, and is taken for dead."""
        if ended.error is None:
            self.meters.ended("stopped" if ended.collapsed else "finished")

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

    def _epoch(self, shown: int) -> float:
        return shown / self.job.catalog.clips


def _share_out(before: Attempt | None, ranks: int, batch_size: int) -> str:
    """'2 workers instead of 3 share the 8 episodes of a step: 4 + 4'."""
    who = f"{ranks} worker{'s' * (ranks > 1)}"
    if before is not None:
        who += " again" if before.ranks == ranks else f" instead of {before.ranks}"
    verb = "share" if ranks > 1 else "shows"
    return f"{who} {verb} the {batch_size} episodes of a step: {' + '.join(map(str, shares(batch_size, ranks)))}"


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
