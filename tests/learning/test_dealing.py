"""Which rank shows which episodes, without a cluster."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch

from raytalk.clips.episodes import Episode
from raytalk.learning.arrival import Batch, _FromRow, _in_batches
from raytalk.learning.dealing import Dealing, shares, to_row

SHAPE = (3, 4, 4, 3)
VIDEOS = {f"video {number}": number for number in range(5)}


def episodes(numbers: range) -> Iterator[Episode]:
    for number in numbers:
        frames = np.full(SHAPE, number % 256, np.uint8)
        yield Episode(number, f"video {number % 5}", frames, 255 - frames, faults=number % 2)


def arrived(dealing: Dealing, cuts: list[int]) -> list[list[Batch]]:
    """What each rank makes of the rows of tasks that draw the episodes between these numbers."""
    to_tensors = _FromRow(pinned=False)
    rows: list[list[Batch]] = [[] for _ in range(dealing.ranks)]
    turn = 0
    for begin, end in pairwise(cuts):
        for pile in dealing.deal(episodes(range(begin, end))):
            rows[turn % dealing.ranks].append(to_tensors(to_row(pile, VIDEOS, SHAPE)))
            turn += 1
    return [list(_in_batches(iter(own), size)) for own, size in zip(rows, dealing.shares, strict=True)]


def test_shares_are_as_even_as_can_be() -> None:
    assert shares(8, 1) == [8]
    assert shares(8, 3) == [3, 3, 2]
    assert shares(7, 7) == [1] * 7


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_a_step_shows_the_same_episodes_whatever_the_number_of_ranks(ranks: int, steps: int) -> None:
    start, batch_size = 13, 8
    dealing = Dealing(start, batch_size, ranks, steps)
    # Windows end anywhere, some of them within a step of the one before.
    of_ranks = arrived(dealing, [start, 14, 40, 43, 44, 101, 180])
    assert min(len(found) for found in of_ranks) == (180 - start) // batch_size
    for step, of_step in enumerate(zip(*of_ranks, strict=False)):
        together = {name: torch.cat([batch[name] for batch in of_step]) for name in of_step[0]}
        wanted = range(start + step * batch_size, start + (step + 1) * batch_size)
        assert together["number"].tolist() == list(wanted)
        assert together["video"].tolist() == [number % 5 for number in wanted]
        assert together["faults"].tolist() == [number % 2 for number in wanted]
        pictures = torch.tensor(wanted, dtype=torch.uint8).reshape(-1, 1, 1, 1, 1).expand(-1, *SHAPE)
        assert torch.equal(together["frames"], pictures)
        assert torch.equal(together["drawings"], 255 - pictures)
        for rank, batch in enumerate(of_step):
            assert batch["number"].tolist() == list(dealing.expected(rank, step))
