"""Actors that take one item after the other, and die."""

import os
import time
from pathlib import Path

import pytest
import ray

from raytalk.crowd import Crowd, Done


def worker_class() -> type:
    """Sent to Ray's workers whole: they cannot import tests."""

    class Worker:
        """Dies over some items: over `once` the first time, over `always` every time."""

        def __init__(self, marks: str) -> None:
            self.marks = Path(marks)

        def ready(self) -> None:
            pass

        def do(self, item: str) -> tuple[str, str]:
            mark = self.marks / item
            if item == "always" or (item == "once" and not mark.exists()):
                mark.touch()
                os._exit(1)
            return f"{item} done", f"{item} made"

    return Worker


def all_of(marks: Path, items: list[str], count: int) -> dict[str, Done[str]]:
    actor = ray.remote(worker_class()).options(num_cpus=0)

    def give(worker: object, item: str) -> object:
        return worker.do.options(num_returns=2).remote(item)  # type: ignore[attr-defined]

    crowd = Crowd(actor, [str(marks)], give, str, tries=2)
    return {done.item: done for done in crowd.work(items, count)}


@pytest.mark.ray
def test_every_item_ends_whoever_dies(tmp_path: Path, ray_session: None, capsys: pytest.CaptureFixture[str]) -> None:
    done = all_of(tmp_path, ["a", "once", "b", "always", "c"], 2)
    assert sorted(done) == ["a", "always", "b", "c", "once"]
    for item in ("a", "b", "c", "once"):
        assert done[item].said == f"{item} done"
        assert ray.get(done[item].more[0]) == f"{item} made", "what it returned outlives the actor"
        assert not done[item].died
    assert done["always"].died
    assert done["always"].said is None
    said = capsys.readouterr().out
    assert "once: a worker died; begun anew (2 of 2)" in said


@pytest.mark.ray
def test_nobody_is_left_when_the_caller_stops(tmp_path: Path, ray_session: None) -> None:
    actor = ray.remote(worker_class()).options(num_cpus=0, name="left-over")
    crowd = Crowd(actor, [str(tmp_path)], lambda worker, item: worker.do.remote(item), str, tries=1)
    work = crowd.work(["a", "b", "c"], 1)
    next(work)
    work.close()
    for _ in range(100):
        try:
            ray.get_actor("left-over")
        except ValueError:
            return
        time.sleep(0.1)
    raise AssertionError("the actor lives on")
