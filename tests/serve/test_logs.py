"""Logs of replicas hold what matters."""

import logging

import pytest

from serve.deployments.logs import keep_calm
from serve.errors import Problem, Unavailable, Unprocessable


@pytest.mark.parametrize(
    ("error", "logged"),
    [(Unprocessable("no face"), False), (Unavailable("storage"), True), (Problem("broken"), True), (OSError(), True)],
)
def test_refusals_are_not_logged_and_failures_are(error, logged):
    logger, written = logging.getLogger("ray.serve"), []
    before = list(logger.filters), list(logger.handlers), logger.propagate, logger.level
    keep_calm()
    handler = logging.Handler()
    handler.emit = lambda record: written.append(record.getMessage())
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    try:
        try:
            raise error
        except Exception:
            logger.exception("Request failed.")
        logger.warning("call", extra={"serve_access_log": True})
    finally:
        logger.filters, logger.handlers, logger.propagate, _ = before
        logger.setLevel(before[3])
    assert written == ["Request failed."] * logged
