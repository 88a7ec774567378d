"""What is tried next, and what is remembered from one session to the next."""

from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher
from sweep.toy_sweep import default_space, record, sweep_settings

from raytalk.storage import Storage
from raytalk.sweep.records import Record, Records
from raytalk.sweep.searching import Drawn, Gridded, Optuna, Search, suggestions
from raytalk.sweep.space import Dimension, Space, default_point

SPACE = default_space()
DEFAULTS = default_point(SPACE, sweep_settings().train)


def search(records: Records, source: Any, trials: int = 4) -> Search:
    return Search(source, records, records.all(), DEFAULTS, trials)


def test_the_defaults_come_first_and_every_trial_is_kept_before_it_begins(tmp_path: Path) -> None:
    records = Records(Storage(str(tmp_path)))
    made = search(records, Drawn(SPACE, 0), trials=3)
    assert [made.suggest(name) for name in "abc"] == [{"trial": 0}, {"trial": 1}, {"trial": 2}]
    assert made.suggest("d") == Searcher.FINISHED
    kept = records.all()
    assert kept[0].point == DEFAULTS
    assert [each.state for each in kept] == ["begun"] * 3
    assert kept[1].point == SPACE.draw(0, 1)


def test_another_session_goes_on_with_what_was_begun_and_repeats_nothing(tmp_path: Path) -> None:
    records = Records(Storage(str(tmp_path)))
    for each in (record(0, 0.5), Record(1, SPACE.draw(0, 1)), record(2, 0.2, "stopped"), Record(3, SPACE.draw(0, 3))):
        records.write(each)
    made = search(records, Drawn(SPACE, 0), trials=5)
    assert [made.suggest(name) for name in "abc"] == [{"trial": 1}, {"trial": 3}, {"trial": 4}]
    assert made.suggest("d") == Searcher.FINISHED


def test_a_grid_ends_when_it_is_through(tmp_path: Path) -> None:
    small = Space((Dimension("losses.match", choices=(1.0, 10.0)),))
    made = search(Records(Storage(str(tmp_path))), Gridded(small), trials=100)
    assert [made.suggest(name) for name in "abc"] == [{"trial": 0}, {"trial": 1}, {"trial": 2}]
    assert made.suggest("d") == Searcher.FINISHED
    assert Records(Storage(str(tmp_path))).read(2).point == {"losses.match": 10.0}


def studied(source: Optuna) -> list[tuple[str, float | None]]:
    return [(trial.state.name, trial.value) for trial in source._search._ot_study.trials]


def test_optuna_learns_how_trials_ended_in_this_session_and_in_earlier_ones(tmp_path: Path) -> None:
    records = Records(Storage(str(tmp_path)))
    for each in (record(0, 0.5), record(1, 0.9, "collapsed"), record(2, 0.3, "stopped", 16), record(3, 0.7, "failed")):
        records.write(each)
    source = Optuna(SPACE, seed=1)
    made = search(records, source, trials=6)
    assert studied(source) == [("COMPLETE", 0.5), ("COMPLETE", 0.0), ("COMPLETE", 0.3)]
    assert [made.suggest("a"), made.suggest("b")] == [{"trial": 4}, {"trial": 5}]
    point = records.read(4).point
    assert SPACE.contains(point)
    assert set(point) == {dimension.key for dimension in SPACE.dimensions}
    records.write(Record(4, point, "finished", "", {32: {"score": 0.8}}))
    made.on_trial_complete("a", {"score": 0.8})
    records.write(Record(5, records.read(5).point, "failed", "it died"))
    made.on_trial_complete("b", None, error=True)
    assert studied(source)[3:] == [("COMPLETE", 0.8), ("FAIL", None)]


def test_optuna_prefers_what_was_good(tmp_path: Path) -> None:
    """On a score that one setting alone decides, its later suggestions lie nearer to the best than random ones."""
    line = Space((Dimension("losses.match", low=0.0, high=1.0),))
    source = Optuna(line, seed=0)
    tried = []
    for number in range(1, 41):
        point = source.next(number)
        assert point is not None
        tried.append(point["losses.match"])
        source.learn(Record(number, point, "finished", "", {32: {"score": 1 - abs(point["losses.match"] - 0.8)}}))
    late = [abs(value - 0.8) for value in tried[20:]]
    assert sum(late) / len(late) < 0.15, "0.34 for random ones"


@pytest.mark.parametrize(("name", "kind"), [("optuna", Optuna), ("random", Drawn), ("grid", Gridded)])
def test_the_setting_names_who_suggests(name: str, kind: type) -> None:
    assert isinstance(suggestions(sweep_settings(search=name), SPACE), kind)
