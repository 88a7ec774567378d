"""What every trial of a sweep has in common, and the settings of one: decided once by the driver."""

import math
from dataclasses import dataclass, field
from typing import Any

import ray

from raytalk.connect import StorageEnvironment
from raytalk.console import Console
from raytalk.errors import SettingsError
from raytalk.learning.settings import MetatrainSettings
from raytalk.storage import join
from raytalk.sweep.board import Board
from raytalk.sweep.objective import People
from raytalk.sweep.records import TRIALS, Record
from raytalk.sweep.settings import SweepSettings
from raytalk.sweep.space import with_point

_RESTARTS = 2
"""of a trial's workers at most: one whose settings do not fit the memory dies again and again"""


@dataclass(frozen=True)
class Plan:
    """Handed to the process of every trial."""

    settings: SweepSettings
    """with absolute places"""
    people: People
    """by whom trials are scored"""
    gpus: float
    """of a worker; 0: CPUs"""
    board: Board
    console: Console
    environment: StorageEnvironment = field(repr=False)
    tracking_uri: str = field(repr=False)
    parent_run: str

    @property
    def uri(self) -> str:
        """Of the sweep."""
        return join(self.settings.output, self.settings.name)

    def run_settings(self, record: Record) -> MetatrainSettings:
        """Of a trial's run. Raises SettingsError."""
        sweep = self.settings
        run = with_point(sweep.train, record.point)
        return run.model_copy(
            update={
                "clips": sweep.clips,
                "output": join(self.uri, TRIALS),
                "name": record.name,
                "gpus_per_worker": self.gpus or 1.0,
                "max_failures": min(_RESTARTS, run.max_failures),
                "tracking": sweep.tracking.model_copy(update={"register_as": ""}),
                **rhythm(run, sweep.objective.looks),
            }
        )


def rhythm(run: MetatrainSettings, looks: int) -> dict[str, Any]:
    """Settings by which a run is looked at `looks` times, the last time at its end, with a checkpoint each time."""
    steps = math.ceil(run.episodes / run.batch_size / looks)
    windows = max(1, round(steps / run.log_every))
    log_every = math.ceil(steps / windows)
    every = log_every * windows * run.batch_size
    return {
        "log_every": log_every,
        "checkpoint_every": every,
        "keep_checkpoints": 1,
        "validation": run.validation.model_copy(update={"every": every}),
    }


def gpus_per_worker(run: MetatrainSettings, concurrent: int, workers: int) -> float:
    """So that all trials that run together fit on the cluster's GPUs; 0 where they run on CPUs.

    Raises SettingsError if GPUs are asked for that there are not.
    """
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if run.device == "cpu" or (run.device == "auto" and not gpus):
        return 0.0
    if not gpus:
        raise SettingsError("train.device=cuda, and the cluster has no GPU: give train.device=auto")
    on_each = math.ceil(concurrent * workers / gpus)
    if on_each > 1 and workers > 1:
        raise SettingsError(
            f"concurrent={concurrent} trials of train.workers={workers} workers need {concurrent * workers} GPUs, and "
            f"there are {gpus}: only trials of one worker can share a GPU; lower one of them"
        )
    return math.floor(1000 / on_each) / 1000
