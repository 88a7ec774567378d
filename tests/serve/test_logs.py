"""Logs of replicas hold what matters."""

import logging

import pytest

from serve.deployments.logs import keep_calm
from serve.errors import Problem, Unavailable, Unprocessable


@pytest.mark.parametrize(
    ("error", "logged"),
    [(Unprocessable("no face"), False), (Unavailable("storage"), True), (Problem("broken"), True), (OSError(), True)],
)
def test_refusals_are_not_logged_and_failures_are(caplog, error, logged):
    logger = logging.getLogger("ray.serve")
    before = list(logger.filters)
    keep_calm()
    logger.propagate, was = True, logger.propagate
    try:
        try:
            raise error
        except Exception:
            logger.exception("Request failed.")
        logger.warning("call", extra={"serve_access_log": True})
    finally:
        logger.filters, logger.propagate = before, was
    assert [record.message for record in caplog.records] == ["Request failed."] * logged
