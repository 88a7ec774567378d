import multiprocessing
from typing import Any

import pytest

from raytalk.doctor.exchange import Exchanged, exchange, meeting_place


def _rank(results: Any, *arguments: Any) -> None:
    results.put(exchange(*arguments))


def test_processes_exchange_numbers() -> None:
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    place = meeting_place()
    ranks = [context.Process(target=_rank, args=(results, rank, 2, place, "gloo", 1, 60.0)) for rank in range(2)]
    for process in ranks:
        process.start()
    told: list[Exchanged] = [results.get(timeout=90) for _ in ranks]
    for process in ranks:
        process.join(30)
    assert all(each.right and each.ranks == 2 for each in told)
    assert all(each.gigabytes_per_second > 0 for each in told)


def test_a_rank_that_waits_for_nobody_gives_up() -> None:
    with pytest.raises((RuntimeError, TimeoutError)):
        exchange(0, 2, meeting_place(), "gloo", 1, 1.0)


def test_bandwidth_counts_as_nccl_counts_it() -> None:
    assert Exchanged("nccl", 2, 1024, 0.01, True).gigabytes_per_second == pytest.approx(107.37, abs=0.01)
    assert Exchanged("nccl", 4, 1024, 0.01, True).gigabytes_per_second == pytest.approx(161.06, abs=0.01)
