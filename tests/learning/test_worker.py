"""What a training worker does at the very end of a run; tests/learning/test_metatrain.py has the rest of it."""

from types import SimpleNamespace
from typing import Any

import pytest

from raytalk.errors import StorageError
from raytalk.learning.job import Ended
from raytalk.learning.settings import MetatrainSettings
from raytalk.learning.worker import _Worker


def worker(shown: int, leader: Any = None) -> Any:
    """A worker of a run of 8 episodes, without anything to train."""
    made: Any = object.__new__(_Worker)
    made.settings = MetatrainSettings.resolve("debug", {"episodes": 8})
    made.episodes, made.leader = shown, leader
    return made


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[Any]]:
    """A leader, and what it was told to do at the end."""
    duties: list[Any] = []
    monkeypatch.setattr("raytalk.learning.worker.Leader.close", lambda self: duties.append("close"))
    monkeypatch.setattr("raytalk.learning.worker.Leader.tell_end", lambda self, ended: duties.append(ended))
    return SimpleNamespace(), duties


def test_workers_started_anew_at_the_very_end_show_nothing_more(said: tuple[Any, list[Any]]) -> None:
    leader, duties = said
    assert worker(8, leader).train() == Ended(8, {})
    assert duties == ["close", Ended(8, {})]


def test_the_end_is_told_when_all_is_written_with_what_went_wrong_then(
    said: tuple[Any, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, duties = said
    full = StorageError("the disk is full")

    def close(self: Any) -> None:
        raise full

    monkeypatch.setattr("raytalk.learning.worker.Leader.close", close)
    assert worker(8, leader).train().error is full
    assert duties == [Ended(8, {}, error=full)]
