"""Episodes through Ray Data: their order, where they begin, and how much of a long run is planned at once."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from toy import write_toy_clips

from raytalk.clips.catalog import scan
from raytalk.clips.episodes import Plan
from raytalk.connect import storage_environment
from raytalk.console import Console, console
from raytalk.learning import feed as feed_module
from raytalk.learning.arrival import batches
from raytalk.learning.dealing import Dealing
from raytalk.learning.feed import ByRank, Feed, rest_of_run, stand_in, training_dataset
from raytalk.storage import Storage

pytestmark = pytest.mark.ray

SHOTS, SIZE = 2, 32


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("clips"))
    write_toy_clips(folder, people=8, held_out=0, frames=4, size=SIZE)
    return folder


@pytest.fixture(autouse=True)
def in_order(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the trainer asks for."""
    monkeypatch.setattr(ray.data.DataContext.get_current().execution_options, "preserve_order", True)


def feed_of(clips: str, lines: Console, pupils: float = 0.0) -> Feed:
    catalog = scan(Storage(clips), "train")
    plan = Plan(tuple(catalog.files), tuple(catalog.counts), seed=0, shuffle_files=2)
    videos = {name: row for row, name in enumerate(catalog.videos)}
    return Feed(clips, plan, videos, SHOTS, SIZE, lines, storage_environment(), pupils)


def numbers(clips: str, start: int, stop: int, size: int, count: int) -> tuple[list[list[int]], float]:
    """The numbers of the first batches, and the seconds that were waited for them."""
    waited = [0.0]
    with console() as lines:
        feed = feed_of(clips, lines)
        [shard] = training_dataset(feed, start, stop, cpus_per_task=0.5).streaming_split(1, equal=True)
        found = batches(shard, size, 2, torch.device("cpu"), waited.append)
        first = list(islice(found, count))
        found.close()
    shape = size, 1 + SHOTS, SIZE, SIZE, 3
    assert all(batch["frames"].shape == batch["drawings"].shape == shape for batch in first)
    return [batch["number"].tolist() for batch in first], sum(waited)


def test_episodes_come_in_order_from_where_a_run_goes_on(clips: str) -> None:
    found, waited = numbers(clips, start=13, stop=400, size=4, count=60)
    assert found == [list(range(13 + 4 * index, 17 + 4 * index)) for index in range(60)]
    assert waited > 0


def test_drawings_carry_as_many_pupils_as_the_feed_says(tmp_path: Path) -> None:
    write_toy_clips(str(tmp_path), people=4, held_out=0, frames=4, size=SIZE, pupils=True)
    drawings = []
    for share in (0.0, 1.0):
        with console() as lines:
            rows = training_dataset(feed_of(str(tmp_path), lines, share), 0, 8, cpus_per_task=0.5).iterator()
            found = batches(rows, 8, 0, torch.device("cpu"), lambda _: None)
            drawings.append(next(found)["drawings"].numpy())
            found.close()
    different = (drawings[0] != drawings[1]).any(axis=(2, 3, 4))
    assert different.shape == (8, 1 + SHOTS)
    assert different.all()


def test_a_run_of_millions_begins_at_once_on_two_cpus(clips: str) -> None:
    found, waited = numbers(clips, start=0, stop=10_900_000, size=8, count=2)
    assert found == [list(range(8)), list(range(8, 16))]
    assert waited < 60


def test_the_scheduler_rests_while_enough_is_drawn_ahead(clips: str, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[float] = []

    class Counted(feed_module._Paced):
        def on_execution_step(self, executor: Any) -> None:
            super().on_execution_step(executor)
            turns.append(time.monotonic())

    monkeypatch.setattr(feed_module, "_Paced", Counted)
    # Room for a few blocks, so that drawing is ahead at once.
    limit = ray.data.ExecutionResources(object_store_memory=1e6)
    monkeypatch.setattr(ray.data.DataContext.get_current().execution_options, "resource_limits", limit)
    assert after_a_rest(clips, seconds=6) == [0, 1, 2, 3]
    late = [turn for turn in turns if turn > turns[-1] - 3]
    assert 10 < len(late) <= 3 / 0.05 + 1  # some hundred a second without the pause


def after_a_rest(clips: str, seconds: float) -> list[int]:
    """The first four episodes, and none taken for so long afterwards: dealing ends and rows lie ready."""
    with console() as lines:
        rows = iter(training_dataset(feed_of(clips, lines), 0, 20_000, cpus_per_task=0.5).iter_rows())
        first = next(rows)["number"][:4]
        time.sleep(seconds)
        return first


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_rank_gets_its_share_of_each_step(clips: str, ranks: int) -> None:
    start, batch_size, steps = 5, 8, 30
    with console() as lines:
        feed = feed_of(clips, lines)
        dealt = ByRank(lambda world: rest_of_run(feed, start, 400, batch_size, 0.5, world))
        shards = [one["train"] for one in dealt.configure({"train": stand_in()}, ranks)]
        dealing = Dealing(start, batch_size, ranks, steps=1)

        def numbers_of(rank: int) -> list[list[int]]:
            size = dealing.shares[rank]
            found = batches(shards[rank], size, 2, torch.device("cpu"), lambda _: None, partial(dealing.expected, rank))
            first = [batch["number"].tolist() for batch in islice(found, steps)]
            found.close()
            return first

        with ThreadPoolExecutor(ranks) as threads:
            of_ranks = list(threads.map(numbers_of, range(ranks)))
    for step, of_step in enumerate(zip(*of_ranks, strict=True)):
        first = start + step * batch_size
        assert [*chain(*of_step)] == list(range(first, first + batch_size))
        assert [len(own) for own in of_step] == dealing.shares
