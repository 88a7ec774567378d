"""Which rank shows which episodes: a step's batch is the same episodes whatever the number of ranks.

Step number i of a run that begins at episode `start` shows the `batch_size` episodes from `start + i * batch_size` on,
the first ones on rank 0. What a task draws becomes one row for each rank and each chunk of steps that it touches, in
the order of the ranks and even where a rank has nothing in it: Ray deals rows to ranks by turns, so each gets its own.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raytalk.clips.episodes import Episode

COLUMNS = pa.schema(
    [
        ("frames", pa.large_binary()),
        ("drawings", pa.large_binary()),
        ("shape", pa.list_(pa.int64())),
        ("video", pa.list_(pa.int64())),
        ("number", pa.list_(pa.int64())),
        ("faults", pa.list_(pa.int64())),
    ]
)
"""`frames` and `drawings`: bytes of uint8 [n, 1 + K, H, W, 3], whose `shape` is [1 + K, H, W, 3]"""


def shares(batch_size: int, ranks: int) -> list[int]:
    """How many of a step's episodes each rank shows: as even as can be, the first ones have one more."""
    even, more = divmod(batch_size, ranks)
    return [even + (number < more) for number in range(ranks)]


@dataclass(frozen=True)
class Dealing:
    """Among so many ranks."""

    start: int
    """episode number with which the first step begins"""
    batch_size: int
    """episodes of a step over all ranks"""
    ranks: int
    steps: int
    """of a chunk, which becomes one row for each rank"""

    @property
    def shares(self) -> list[int]:
        """Episodes of a step for each rank."""
        return shares(self.batch_size, self.ranks)

    def expected(self, rank: int, step: int) -> range:
        """The numbers of the episodes that a rank shows at a step."""
        ends = [0, *accumulate(self.shares)]
        first = self.start + step * self.batch_size
        return range(first + ends[rank], first + ends[rank + 1])

    def deal(self, episodes: Iterable[Episode]) -> Iterator[list[Episode]]:
        """Of consecutive episodes: for each chunk that they touch, what falls to each rank, in the order of ranks."""
        ends = list(accumulate(self.shares))
        chunk = self.batch_size * self.steps

        def owner(episode: Episode) -> int:
            return bisect_right(ends, (episode.number - self.start) % self.batch_size)

        for _, of_chunk in groupby(episodes, lambda episode: (episode.number - self.start) // chunk):
            if self.steps > 1:
                piles: list[list[Episode]] = [[] for _ in ends]
                for episode in of_chunk:
                    piles[owner(episode)].append(episode)
                yield from piles
            else:  # those of a rank follow each other: they need not wait for the others'
                ready = 0
                for rank, own in groupby(of_chunk, owner):
                    yield from ([] for _ in range(ready, rank))
                    yield list(own)
                    ready = rank + 1
                yield from ([] for _ in range(ready, self.ranks))


def to_row(episodes: list[Episode], videos: dict[str, int], shape: tuple[int, ...]) -> pa.Table:
    """One row of COLUMNS. videos: video_id to row of W; shape: of an episode's frames [1 + K, H, W, 3]."""
    pixels = int(np.prod(shape)) * len(episodes)
    frames = [_one_value([episode.frames for episode in episodes], pixels)]
    drawings = [_one_value([episode.drawings for episode in episodes], pixels)]
    lists = [
        list(shape),
        [videos[episode.video] for episode in episodes],
        [episode.number for episode in episodes],
        [episode.faults for episode in episodes],
    ]
    columns = [*frames, *drawings, *(pa.array([values], pa.list_(pa.int64())) for values in lists)]
    return pa.Table.from_arrays(columns, schema=COLUMNS)


def _one_value(pictures: list[npt.NDArray[np.uint8]], size: int) -> pa.Array:
    """An array of one binary value, without a copy more than that which makes the pictures lie side by side."""
    joined = np.stack(pictures) if pictures else np.empty(0, np.uint8)
    offsets = pa.py_buffer(np.array([0, size], np.int64))
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(joined)])
