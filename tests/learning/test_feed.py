"""Episodes through Ray Data: their order, where they begin, and how much of a long run is planned at once."""

from itertools import islice

import pytest
import ray
import torch
from toy import write_toy_clips

from raytalk.clips.episodes import Plan, scan
from raytalk.connect import storage_environment
from raytalk.console import console
from raytalk.learning.arrival import batches
from raytalk.learning.feed import Feed, training_dataset
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


def numbers(clips: str, start: int, stop: int, size: int, count: int) -> tuple[list[list[int]], float]:
    """The numbers of the first batches, and the seconds that were waited for them."""
    catalog, waited = scan(Storage(clips), "train"), [0.0]
    plan = Plan(tuple(catalog.files), tuple(catalog.counts), seed=0, shuffle_files=2)
    videos = {name: row for row, name in enumerate(catalog.videos)}
    with console() as lines:
        feed = Feed(clips, plan, videos, SHOTS, SIZE, lines, storage_environment())
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


def test_a_run_of_millions_begins_at_once_on_two_cpus(clips: str) -> None:
    found, waited = numbers(clips, start=0, stop=10_900_000, size=8, count=2)
    assert found == [list(range(8)), list(range(8, 16))]
    assert waited < 60
