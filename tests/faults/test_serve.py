"""Parts of the service that are killed under load cost their clients some seconds, and nobody what was accepted.

The other parts are killed by tests/serve/test_service_kills.py, one at a time, and by `make faults`.
"""

from pathlib import Path

import pytest

from faults import head
from faults.serve import everything_killed, replica_killed, storage_away

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1500)]


@pytest.mark.parametrize("part", ["front", "learner"])
def test_a_replica_killed_under_load(part: str, tmp_path: Path) -> None:
    outcome = replica_killed(part, tmp_path)
    assert outcome.held, outcome


def test_everything_killed_under_load(tmp_path: Path) -> None:
    outcome = everything_killed(tmp_path)
    assert outcome.held, outcome


@pytest.mark.s3
def test_storage_away_under_load(tmp_path: Path) -> None:
    outcome = storage_away("unavailable", 12.0, tmp_path)
    assert outcome.held, outcome


@pytest.mark.skipif(head.redis_program() is None, reason="no Redis here (Debian: apt-get install redis-server)")
def test_a_head_that_is_started_again(tmp_path: Path) -> None:
    outcome = head.head_killed(tmp_path)
    assert outcome.held, outcome
