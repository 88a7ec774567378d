"""What is kept of trials."""

import math
from pathlib import Path

import pytest
from sweep.toy_sweep import record

from raytalk.errors import StorageError
from raytalk.storage import Storage
from raytalk.sweep.records import Record, Records, best_of, ranked


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    records = Records(Storage(str(tmp_path)))
    assert records.all() == []
    kept = [record(1, 0.5), record(0, 0.25, "stopped", 16), Record(2, {"losses.content": 1.0})]
    for each in kept:
        records.write(each)
    assert records.all() == [kept[1], kept[0], kept[2]]
    assert records.read(1) == kept[0]
    assert (kept[0].episodes, kept[0].score) == (32, 0.5)
    assert math.isnan(kept[2].score)
    again = kept[2].looked(16, {"score": 0.5}).looked(16, {"score": 0.75})
    assert again.curve == {16: {"score": 0.75}}, "a look that is repeated after a restart is no second one"


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    Records(Storage(str(tmp_path))).write(record(4, 0.5))
    (tmp_path / "trials" / "004" / "trial.json").write_text("{")
    with pytest.raises(StorageError, match=r"004/trial.json is no record of a trial"):
        Records(Storage(str(tmp_path))).all()


def test_whole_trials_rank_before_better_ones_that_were_not_whole() -> None:
    trials = [
        record(0, 0.4),
        record(1, 0.9, "stopped", 24),
        record(2, 0.6),
        record(3, 0.9, "collapsed"),
        Record(4, {}),
        record(5, 0.6),
    ]
    assert [each.number for each in ranked(trials, 32)] == [2, 5, 0, 1, 3]
    assert best_of(trials, 32) == trials[2]
    assert best_of(trials[3:5], 32) is None, "what collapsed is nobody's answer"
    assert trials[3].score == 0.0, "one that collapsed is worth nothing, whatever it was before"
