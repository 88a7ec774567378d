"""Damaged clips are left out, counted and named, and stop nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from faults.data import damaged_in_evaluation, damaged_in_synthesis, damaged_in_training
from faults.outcome import Outcome

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]


@pytest.mark.parametrize("scenario", [damaged_in_training, damaged_in_evaluation, damaged_in_synthesis])
def test_damaged_clips_stop_nothing(scenario: Callable[[Path], Outcome], tmp_path: Path) -> None:
    outcome = scenario(tmp_path)
    assert outcome.held, outcome
