"""Training outlives workers, nodes, damaged checkpoints and the tracking server."""

from pathlib import Path

import pytest

from faults import training

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1800)]


def test_a_worker_killed_ten_times_costs_time_alone(tmp_path: Path) -> None:
    outcome = training.workers_killed(tmp_path)
    assert outcome.held, outcome


def test_a_killed_node_is_done_without_and_a_new_one_is_used(tmp_path: Path) -> None:
    outcome = training.node_killed(tmp_path)
    assert outcome.held, outcome


def test_notice_of_a_node_brings_one_checkpoint_in_time(tmp_path: Path) -> None:
    outcome = training.node_taken_away(tmp_path)
    assert outcome.held, outcome


def test_a_damaged_checkpoint_is_refused_by_name_and_the_one_before_is_used(tmp_path: Path) -> None:
    outcome = training.checkpoint_damaged(tmp_path)
    assert outcome.held, outcome


def test_a_tracking_server_that_is_away_stops_nothing(tmp_path: Path) -> None:
    outcome = training.tracking_down(tmp_path)
    assert outcome.held, outcome
