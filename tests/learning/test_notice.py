"""Notice of a node that is taken away: asked for rarely, at the same step on every rank, and told once."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import leave
from ray.train import PreemptionInfo

from raytalk.learning import notice
from raytalk.learning.notice import Notice, describe

SPOT = PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={"a": [1, 3]})


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(notice, "time", made)
    return made


def looks(clock: Clock, seconds_per_step: float, steps: int) -> list[int]:
    """The steps at which Ray was asked."""
    asked: list[int] = []
    now = [0]
    watched = Notice(lambda: asked.append(now[0]))
    for step in range(1, steps + 1):
        clock.now += seconds_per_step
        now[0] = step
        watched.look(step)
    return asked


def test_ray_is_asked_every_five_seconds_or_so(clock: Clock) -> None:
    assert looks(clock, 0.1, 120) == [1, 51, 101]
    assert looks(clock, 2.0, 6) == [1, 3, 5]
    assert looks(clock, 30.0, 3) == [1, 2, 3]
    assert looks(clock, 1e-4, 2500) == [1, 1001, 2001]


def test_each_node_is_told_of_once(clock: Clock) -> None:
    answers = iter([None, SPOT, SPOT, PreemptionInfo(None, {"a": [1, 3], "b": [0]}), SPOT])
    watched = Notice(lambda: next(answers))
    told = []
    for step in range(1, 6):
        clock.now += 10
        told.append(watched.look(step))
    assert [sorted(info.preempted_node_ids) if info else [] for info in told] == [[], ["a"], [], ["a", "b"], []]


def test_what_is_said(clock: Clock) -> None:
    clock.now = 100.0
    assert describe(SPOT) == "1 node with ranks 1, 3 will be taken away"
    soon = PreemptionInfo(125_000, {"a": [0], "b": [1]})
    assert describe(soon) == "2 nodes with ranks 0, 1 will be taken away in 25 s"


def _rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    clock = Clock()
    notice.time = clock  # type: ignore[assignment]
    # Rank 1 believes that steps take ten times as long.
    torch.save(looks(clock, 0.5 if rank == 0 else 5.0, 60), f"{folder}/asked{rank}.pt")
    leave()


def test_ranks_whose_clocks_differ_ask_at_the_same_steps(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"asked{rank}.pt") for rank in range(2))
    assert first == second == [1, 11, 21, 31, 41, 51]
