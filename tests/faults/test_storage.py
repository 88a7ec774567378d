"""Storage that fails loses nothing. RAYTALK_OUTAGE_S: how long the outages are; `make faults` takes 60."""

import os
from pathlib import Path

import pytest

from faults.faulty_s3 import Kind
from faults.storage import (
    full_while_publishing,
    job_through_outage,
    outage,
    refused_for_good,
    training_through_outage,
)

pytestmark = [pytest.mark.slow, pytest.mark.s3]
SECONDS = float(os.environ.get("RAYTALK_OUTAGE_S", 12))


@pytest.mark.parametrize("kind", ["unavailable", "reset", "half", "slow", "silent"])
def test_an_outage_is_waited_for(kind: Kind) -> None:
    outcome = outage(kind, SECONDS)
    assert outcome.held, outcome


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["unavailable", "reset"])
def test_a_job_goes_through_an_outage(kind: Kind, tmp_path: Path) -> None:
    outcome = job_through_outage(kind, SECONDS, tmp_path)
    assert outcome.held, outcome


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_training_goes_through_an_outage(tmp_path: Path) -> None:
    outcome = training_through_outage("unavailable", SECONDS, tmp_path)
    assert outcome.held, outcome


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["full", "forbidden"])
def test_what_a_person_must_mend_is_said_and_costs_nothing(kind: Kind, tmp_path: Path) -> None:
    outcome = refused_for_good(kind, tmp_path)
    assert outcome.held, outcome


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before_it(tmp_path: Path) -> None:
    outcome = full_while_publishing(tmp_path)
    assert outcome.held, outcome
