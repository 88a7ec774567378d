"""Episodes on a cluster: Ray Data draws and decodes them in parallel and hands every training worker its share.

One dataset covers the rest of the run, so there is no pause between epochs, and after a failure a new one starts at
the last checkpoint's episode. No torch here: every process that draws would have to load it.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import ray.data
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data.block import Block, BlockMetadata

from raytalk.clips.catalog import Catalog
from raytalk.clips.episodes import Plan, draw_window
from raytalk.connect import StorageEnvironment
from raytalk.console import Console
from raytalk.learning.settings import DataSettings
from raytalk.storage import Storage

Columns = dict[str, npt.NDArray[Any]]

_EPISODES_PER_BLOCK, _BYTES_PER_BLOCK = 8, 8 << 20
"""at least, in a power of two of episodes, but no more episodes than a small task has"""
_EPISODES_PER_TASK, _BYTES_PER_TASK = 64, 256 << 20
"""at least; at most, which is for long runs of small pictures: every task costs the scheduler the same"""
_TASKS = 2000
"""more than this only for the limit above"""
_TASKS_PER_DEAL = 1000
_SECONDS_PER_TURN = 0.05
"""of Ray Data's scheduler, at least; it waits twice as long by itself where a task has nothing to give"""


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
    pupils: float = 0.0
    """share of episodes whose drawings carry the pupils"""

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        data: DataSettings,
        seed: int,
        resolution: int,
        console: Console,
        environment: StorageEnvironment,
    ) -> Self:
        """What training on these clips draws."""
        plan = Plan(tuple(catalog.files), tuple(catalog.counts), seed, data.shuffle_files)
        rows = {name: row for row, name in enumerate(catalog.videos)}
        return cls(catalog.uri, plan, rows, data.shots, resolution, console, environment, data.pupils)


def rest_of_run(feed: Feed, shown: int, episodes: int, batch_size: int, cpus_per_task: float) -> ray.data.Dataset:
    """What a run of so many episodes has not `shown` yet, in whole batches on every rank: some more than asked for."""
    return training_dataset(feed, shown, episodes + 2 * batch_size, cpus_per_task)


def training_dataset(feed: Feed, start: int, stop: int, cpus_per_task: float) -> ray.data.Dataset:
    """Episodes number `start` to at least `stop` of the run, a row each, in order.

    Columns: `frames` and `drawings` [1 + K, H, W, 3] uint8, `video` int64, `number` int64 of the run, `faults` int64.
    """
    first, last = feed.plan.locate(start), feed.plan.locate(stop)
    per_window = feed.plan.episodes_per_epoch / feed.plan.windows_per_epoch
    per_task = max(_EPISODES_PER_TASK, min((stop - start) // _TASKS, _BYTES_PER_TASK // _bytes_per_episode(feed)))
    windows = max(1, round(per_task / per_window))
    tasks = -(-(last + 1 - first) // windows)
    dealt = ray.data.read_datasource(_Deal(tasks), override_num_blocks=tasks, num_cpus=0, concurrency=1)
    draw = partial(_draw, ray.put(feed), range(first, last + 1), windows, start)
    dataset: ray.data.Dataset = dealt.map_batches(draw, batch_size=1, num_cpus=cpus_per_task)
    # Else Ray Data gathers blocks of 128 MB in pieces, and every worker puts the pieces together with a copy.
    dataset.context.target_max_block_size = _episodes_per_block(feed) * _bytes_per_episode(feed)
    dataset.context.custom_execution_callback_classes = [_Paced]
    return dataset


class _Paced(ExecutionCallback):
    """Keeps Ray Data's scheduler from turning without a pause.

    It waits for its tasks until all of them have a block to give. Once enough is drawn ahead that is so at once and
    stays so, since it leaves the blocks where they are, and it takes most of a CPU for nothing.
    """

    def __init__(self) -> None:
        self.last = time.monotonic()

    def on_execution_step(self, executor: Any) -> None:
        """Wait for what is left of a turn's least time."""
        time.sleep(max(0.0, self.last + _SECONDS_PER_TURN - time.monotonic()))
        self.last = time.monotonic()


class _Deal(ray.data.Datasource):
    """The numbers of the drawing tasks, a row and a block each.

    A run of millions of episodes has too many tasks to list beforehand, and Ray's own `range` and `repartition` would
    reserve CPUs for as long as they deal: on a small cluster all of them.
    """

    def __init__(self, tasks: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tasks = tasks

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ray.data.ReadTask]:
        """Some equal deals; Ray splits each into the blocks that `override_num_blocks` asks for."""
        deals = -(-self.tasks // _TASKS_PER_DEAL)
        bounds = [self.tasks * deal // deals for deal in range(deals + 1)]
        return [
            ray.data.ReadTask(
                partial(_numbers, begin, end),
                BlockMetadata(num_rows=end - begin, size_bytes=8 * (end - begin), input_files=None, exec_stats=None),
            )
            for begin, end in pairwise(bounds)
        ]


def _numbers(begin: int, end: int) -> list[Block]:
    return [pa.table({"task": np.arange(begin, end)})]


def _draw(feed: "ray.ObjectRef[Feed]", of_run: range, windows: int, start: int, batch: Columns) -> Iterator[Columns]:
    """Blocks of the episodes of one task: so many windows of all."""
    job = _fetched(feed)
    storage, size = _storage(job.clips), _episodes_per_block(job)
    block: list[tuple[Any, ...]] = []
    begin = int(batch["task"][0]) * windows
    for number in of_run[begin : begin + windows]:
        for episode in draw_window(
            storage, job.plan, number, job.shots, job.resolution, start, job.pupils, job.console.say_once
        ):
            row = (episode.frames, episode.drawings, job.videos[episode.video], episode.number, episode.faults)
            block.append(row)
            if len(block) == size:
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


def _bytes_per_episode(feed: Feed) -> int:
    return 2 * (1 + feed.shots) * 3 * feed.resolution**2


def _episodes_per_block(feed: Feed) -> int:
    size = _EPISODES_PER_BLOCK
    while size < _EPISODES_PER_TASK and size * _bytes_per_episode(feed) < _BYTES_PER_BLOCK:
        size *= 2
    return size
