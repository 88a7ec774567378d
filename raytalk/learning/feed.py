"""Episodes on a cluster: Ray Data draws and decodes them in parallel and hands every training worker its share.

One dataset covers the rest of the run, so there is no pause between epochs, and after a failure a new one starts at
the last checkpoint's episode. No torch here: every process that draws would have to load it.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import ray.data
import ray.train
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data.block import Block, BlockMetadata

from raytalk.clips.catalog import Catalog
from raytalk.clips.episodes import Episode, Plan, draw_window
from raytalk.connect import StorageEnvironment
from raytalk.console import Console
from raytalk.learning.dealing import Dealing, shares, to_row
from raytalk.learning.settings import DataSettings
from raytalk.storage import Storage

Columns = dict[str, npt.NDArray[Any]]

_EPISODES_PER_ROW, _BYTES_PER_ROW = 8, 8 << 20
"""at least one of them, where a few steps have that many; a row is a rank's share of one or more steps"""
_MOST_EPISODES_PER_ROW = 64
_BYTES_PER_CHUNK = 64 << 20
"""at most, for all ranks, where it is more than a step: a task holds it until all of it is drawn"""
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


class ByRank(ray.train.DataConfig):
    """Gives every Ray Train worker its share of each step, whatever their number is after a start or restart."""

    def __init__(
        self, build: Callable[[int], ray.data.Dataset], limits: ray.data.ExecutionResources | None = None
    ) -> None:
        """build: the dataset for so many ranks. limits: the most that drawing may take."""
        super().__init__(
            execution_options=ray.data.ExecutionOptions(preserve_order=True, resource_limits=limits),
        )
        self.build = build

    def configure(
        self, datasets: dict[str, ray.data.Dataset], world_size: int, *_: Any, **__: Any
    ) -> list[dict[str, ray.data.DataIterator]]:
        """Ray Train calls this with a stand-in for each dataset: what it is follows from the number of ranks alone."""
        [name] = datasets
        dataset = self.build(world_size)
        dataset.context.execution_options = self._resolve_execution_options(name)
        return [{name: share} for share in dataset.streaming_split(world_size, equal=True)]


def stand_in() -> ray.data.Dataset:
    """What the trainer is given in place of the dataset that `ByRank` builds."""
    return ray.data.range(1)


def rest_of_run(
    feed: Feed, shown: int, episodes: int, batch_size: int, cpus_per_task: float, ranks: int = 1
) -> ray.data.Dataset:
    """What a run of so many episodes has not `shown` yet, in whole batches on every rank: some more than asked for."""
    return training_dataset(feed, shown, episodes + 2 * batch_size, cpus_per_task, batch_size, ranks)


def training_dataset(
    feed: Feed, start: int, stop: int, cpus_per_task: float, batch_size: int = 1, ranks: int = 1
) -> ray.data.Dataset:
    """Episodes number `start` to at least `stop` of the run, in order; rows as `raytalk.learning.dealing` has them."""
    first, last = feed.plan.locate(start), feed.plan.locate(stop)
    per_window = feed.plan.episodes_per_epoch / feed.plan.windows_per_epoch
    per_task = max(_EPISODES_PER_TASK, min((stop - start) // _TASKS, _BYTES_PER_TASK // _bytes_per_episode(feed)))
    windows = max(1, round(per_task / per_window))
    tasks = -(-(last + 1 - first) // windows)
    dealt = ray.data.read_datasource(_Deal(tasks), override_num_blocks=tasks, num_cpus=0, concurrency=1)
    dealing = Dealing(start, batch_size, ranks, _steps_per_row(feed, batch_size, ranks))
    draw = partial(_draw, ray.put(feed), range(first, last + 1), windows, dealing)
    dataset: ray.data.Dataset = dealt.map_batches(draw, batch_size=1, num_cpus=cpus_per_task)
    # Every row a block of its own: Ray deals blocks to ranks, the next one to whom has the fewest rows.
    dataset.context.target_max_block_size = 1
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


def _draw(
    feed: "ray.ObjectRef[Feed]", of_run: range, windows: int, dealing: Dealing, batch: Columns
) -> Iterator[pa.Table]:
    """The rows of one task: so many windows of all."""
    job = _fetched(feed)
    begin = int(batch["task"][0]) * windows
    shape = 1 + job.shots, job.resolution, job.resolution, 3
    for episodes in dealing.deal(_episodes(job, of_run[begin : begin + windows], dealing.start)):
        yield to_row(episodes, job.videos, shape)


def _episodes(job: Feed, windows: range, start: int) -> Iterator[Episode]:
    storage = _storage(job.clips)
    for number in windows:
        yield from draw_window(
            storage, job.plan, number, job.shots, job.resolution, start, job.pupils, job.console.say_once
        )


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


def _steps_per_row(feed: Feed, batch_size: int, ranks: int) -> int:
    """How many steps of a rank are one row: small pictures are moved in larger numbers."""
    episodes = _EPISODES_PER_ROW
    while episodes < _MOST_EPISODES_PER_ROW and episodes * _bytes_per_episode(feed) < _BYTES_PER_ROW:
        episodes *= 2
    at_once = _BYTES_PER_CHUNK // (batch_size * _bytes_per_episode(feed))
    return max(1, min(episodes // max(shares(batch_size, ranks)), at_once))
