"""Episodes on a cluster: Ray Data draws and decodes them in parallel and hands every training worker its share.

One dataset covers the rest of the run, so there is no pause between epochs, and after a failure a new one starts at
the last checkpoint's episode.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import ray.data
import torch

from raytalk.clips.episodes import Plan, draw_window
from raytalk.connect import StorageEnvironment
from raytalk.console import Console
from raytalk.learning.meta import Episodes
from raytalk.storage import Storage

Columns = dict[str, npt.NDArray[Any]]

_EPISODES_PER_BLOCK = 8
_EPISODES_PER_TASK = 64
"""at least, so that small windows do not cost a task each"""
_WINDOWS_PER_RANGE = 1000


@dataclass(frozen=True)
class Feed:
    """What a task needs to draw any window of a run."""

    clips: str
    plan: Plan
    videos: dict[str, int]
    """video_id to row of W"""
    shots: int
    resolution: int
    console: Console
    environment: StorageEnvironment
    """what the driver's environment says of the object store"""


def training_dataset(feed: Feed, start: int, stop: int, cpus_per_task: float) -> ray.data.Dataset:
    """Episodes number `start` to at least `stop` of the run, a row each, in order.

    Columns: `frames` and `drawings` [1 + K, H, W, 3] uint8, `video` int64, `number` int64 of the run, `faults` int64.
    """
    first, last = feed.plan.locate(start), feed.plan.locate(stop)
    windows = ray.data.range(last - first + 1, override_num_blocks=1 + (last - first) // _WINDOWS_PER_RANGE)
    per_window = feed.plan.episodes_per_epoch / feed.plan.windows_per_epoch
    per_task = max(1, round(_EPISODES_PER_TASK / per_window))
    draw = partial(_draw, ray.put(feed), first, start)
    return windows.repartition(target_num_rows_per_block=per_task).map_batches(
        draw, batch_size=per_task, num_cpus=cpus_per_task
    )


def to_episodes(batch: dict[str, torch.Tensor]) -> Episodes:
    """A batch of `iter_torch_batches` as the step takes it."""
    return Episodes(batch["frames"], batch["drawings"], batch["video"])


def _draw(feed: "ray.ObjectRef[Feed]", first: int, start: int, batch: Columns) -> Iterator[Columns]:
    job = _fetched(feed)
    storage = _storage(job.clips)
    block: list[tuple[Any, ...]] = []
    for index in batch["id"]:
        number = first + int(index)
        for episode in draw_window(
            storage, job.plan, number, job.shots, job.resolution, start, say=job.console.say_once
        ):
            row = (episode.frames, episode.drawings, job.videos[episode.video], episode.number, episode.faults)
            block.append(row)
            if len(block) == _EPISODES_PER_BLOCK:
                yield _columns(block)
                block = []
    if block:
        yield _columns(block)


def _columns(rows: list[tuple[Any, ...]]) -> Columns:
    frames, drawings, videos, numbers, faults = zip(*rows, strict=True)
    return {
        "frames": np.stack(frames),
        "drawings": np.stack(drawings),
        "video": np.array(videos, np.int64),
        "number": np.array(numbers, np.int64),
        "faults": np.array(faults, np.int64),
    }


@lru_cache(maxsize=2)
def _fetched(feed: "ray.ObjectRef[Feed]") -> Feed:
    job = ray.get(feed)
    job.environment.apply()
    return job


@lru_cache(maxsize=2)
def _storage(uri: str) -> Storage:
    return Storage(uri)
