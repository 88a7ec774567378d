"""The winner against the defaults."""

from pathlib import Path

import numpy as np
import pytest
from sweep.toy_sweep import record, sweep_settings
from toy import write_toy_clips
from toy_run import write_toy_run

from raytalk.connect import StorageEnvironment
from raytalk.storage import Storage
from raytalk.sweep.confirm import Confirmation, confirm, measure_run
from raytalk.sweep.objective import Judges, People, Yardstick, divide_people, measure_yardstick, seat
from raytalk.sweep.records import Record, Records


def test_a_run_is_measured_on_other_people_and_always_alike(tmp_path: Path) -> None:
    clips = Storage(str(tmp_path / "clips"))
    write_toy_clips(clips.uri, people=2, held_out=6, frames=8, size=48)
    settings = sweep_settings(clips=clips.uri, output=str(tmp_path))
    objective = settings.objective
    others = divide_people(clips, objective, settings.seed)[1][:2]
    sittings = seat(clips, tuple(others), 32, objective, settings.seed)
    people = People(tuple(others), measure_yardstick(sittings, Judges(objective)))
    run = write_toy_run(tmp_path / "run")
    rows = measure_run(settings, str(run), people, StorageEnvironment({}))
    assert [row["person"] for row in rows] == [trial.person for trial in others]
    assert all(0 <= row["score"] <= 1 for row in rows)
    assert repr(measure_run(settings, str(run), people, StorageEnvironment({}))) == repr(rows)
    assert Confirmation(rows, rows).difference() == (0.0, 0.0, 0.0)


def test_a_difference_is_that_of_the_same_people() -> None:
    own = np.random.default_rng(0).uniform(0, 1, 24)
    gains = np.random.default_rng(1).normal(0.05, 0.02, 24)
    rows = [[{"score": float(value)} for value in values] for values in (own + gains, own)]
    gain, low, high = Confirmation(*rows).difference()
    assert gain == pytest.approx(gains.mean())
    assert 0.03 < low < gain < high < 0.07, "narrow, though people differ by far more"


@pytest.mark.parametrize(
    ("trials", "best", "reason"),
    [
        ([record(0, 0.5), record(1, 0.4)], 0, "the defaults themselves are best"),
        ([record(0, 0.5, "collapsed"), record(1, 0.4)], 1, "there is no whole trial of the defaults"),
        ([record(0, 0.5), record(1, 0.6, "stopped", 24)], 1, "no other trial was shown all its episodes"),
    ],
)
def test_where_there_is_nothing_to_compare_it_is_said(
    tmp_path: Path, trials: list[Record], best: int, reason: str
) -> None:
    records = Records(Storage(str(tmp_path)))
    for each in trials:
        records.write(each)
    people = People((), Yardstick({}))
    assert reason in confirm(sweep_settings(), records, trials[best], people, 0.0).missing
    assert "too few people" in confirm(sweep_settings(), records, trials[best], None, 0.0).missing
