"""When trials are stopped."""

from pathlib import Path
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from raytalk.storage import Storage
from raytalk.sweep.records import Record, Records
from raytalk.sweep.scheduling import Halving

GO_ON, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


class Trial:
    def __init__(self, number: int) -> None:
        self.config, self.trial_id = {"trial": number}, f"id-{number}"


@pytest.fixture
def records(tmp_path: Path) -> Records:
    made = Records(Storage(str(tmp_path)))
    for number in range(8):
        made.write(Record(number, {}))
    return made


def halving(records: Records) -> Halving:
    return Halving(1600, grace=0.25, reduction=2.0, records=records, spared={0}, looks=4)


def decide(scheduler: Halving, number: int, episodes: int, score: float) -> str:
    trial: Any = Trial(number)
    scheduler.on_trial_add(None, trial)
    return scheduler.on_trial_result(None, trial, {"episodes": episodes, "score": score})


def test_the_worse_half_is_stopped_at_a_rung_and_the_decision_is_kept(records: Records) -> None:
    scheduler = halving(records)
    assert [decide(scheduler, number, 400, score) for number, score in ((1, 0.5), (2, 0.6), (3, 0.4))] == [
        GO_ON,
        GO_ON,
        STOP,
    ]
    assert [records.read(number).state for number in (1, 2, 3)] == ["begun", "begun", "stopped"]
    assert decide(scheduler, 4, 200, 0.0) == GO_ON, "before the first rung nobody is judged"
    assert decide(scheduler, 1, 800, 0.7) == GO_ON
    assert decide(scheduler, 2, 800, 0.6) == STOP


def test_the_defaults_are_never_stopped_and_a_whole_trial_ends_by_itself(records: Records) -> None:
    scheduler = halving(records)
    for number in (1, 2, 3):
        decide(scheduler, number, 400, 0.9)
    assert decide(scheduler, 0, 400, 0.1) == GO_ON
    assert records.read(0).state == "begun"
    assert decide(scheduler, 4, 1600, 0.0) == GO_ON


def test_trials_of_an_earlier_session_count(records: Records) -> None:
    fresh, after = halving(records), halving(records)
    after.remember(
        [
            Record(1, {}, "finished", "", {400: {"score": 0.8}, 1600: {"score": 0.9}}),
            Record(2, {}, "begun", "", {400: {"score": 0.7}}),
        ]
    )
    assert decide(fresh, 3, 400, 0.5) == GO_ON, "there is nobody to compare with"
    assert decide(after, 4, 400, 0.5) == STOP
    # The one that was begun was judged at its first rung, and is not judged there again.
    assert decide(after, 2, 400, 0.1) == GO_ON
