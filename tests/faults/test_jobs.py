"""A machine or a driver that dies during a job costs time and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from faults.jobs import Work, driver_killed, evaluation, node_killed, preprocessing, synthesis

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]
JOBS = [preprocessing, synthesis, evaluation]


@pytest.mark.parametrize("make", JOBS)
def test_what_a_killed_node_did_is_done_by_the_others(make: Callable[[Path], Work], tmp_path: Path) -> None:
    outcome = node_killed(make(tmp_path), tmp_path)
    assert outcome.held, outcome


@pytest.mark.parametrize("make", JOBS)
def test_the_same_command_goes_on_after_the_driver_was_killed(make: Callable[[Path], Work], tmp_path: Path) -> None:
    outcome = driver_killed(make(tmp_path), tmp_path)
    assert outcome.held, outcome
