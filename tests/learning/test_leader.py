"""What rank 0 tells of the beginnings and the end of a run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raytalk.errors import RaytalkError
from raytalk.learning import leader as module
from raytalk.learning.attempts import Attempt
from raytalk.learning.job import Ended
from raytalk.learning.leader import Leader
from raytalk.learning.part import Part
from raytalk.learning.settings import MetatrainSettings
from raytalk.tracking import RunHandle


class Heard:
    """In place of the meters."""

    def __init__(self, run: str = "first", watched: bool = True) -> None:
        self.watched = watched
        self.restarts: list[bool] = []
        self.ends: list[str] = []

    def began(self, ranks: int, again: bool) -> None:
        self.restarts.append(again)

    def ended(self, how: str) -> None:
        self.ends.append(how)

    def published(self, seconds: float) -> None:
        pass


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A leader of a run of a preset, as a part of something or not."""
    monkeypatch.setattr(module, "RunMeters", Heard)

    def make(preset: str = "base", part: Part | None = None, attempts: Any = None) -> Leader:
        job: Any = SimpleNamespace(
            settings=MetatrainSettings.resolve(preset, {"clips": str(tmp_path / "clips")}),
            console=SimpleNamespace(say=lambda _: None),
            run=str(tmp_path / "run"),
            validation={},
            tracking=RunHandle("", ""),
            part=part or Part(),
            attempts=attempts,
        )
        nothing: Any = None
        return Leader(job, nothing, nothing, [])

    return make


def test_workers_that_died_are_restarts_and_more_of_them_are_none(made: Any) -> None:
    begun: list[Attempt] = []

    def begin(ranks: int, start: int) -> list[Attempt]:
        begun.append(Attempt(ranks, start, start))
        return begun

    leader = made(attempts=SimpleNamespace(begin=begin))
    for ranks in (2, 2, 1, 3, 3):  # one of two dies, a node is lost, two come
        leader.begin(ranks, 0)
    leader.close()
    assert leader.meters.restarts == [False, True, True, False, True]


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        (Ended(8, {}), ["finished"]),
        (Ended(8, {}, "the output is flat"), ["stopped"]),
        (Ended(8, {}, error=RaytalkError("the disk is full")), []),
        (Ended(8, {}, "the output is flat", RaytalkError("the disk is full")), []),
    ],
)
def test_what_ends_by_itself_says_so_and_an_error_is_taken_for_a_death(
    ended: Ended, told: list[str], made: Any
) -> None:
    leader = made()
    leader.tell_end(ended)
    leader.close()
    assert leader.meters.ends == told


def test_trials_of_a_sweep_and_the_preset_debug_are_not_watched(made: Any) -> None:
    watch: Any = object()
    leaders = [made(), made("paper"), made("debug"), made(part=Part(watch=watch))]
    for leader in leaders:
        leader.close()
    assert [leader.meters.watched for leader in leaders] == [True, True, False, False]
