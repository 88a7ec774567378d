"""What replicas write into their logs."""

import logging

from serve.errors import Problem


def keep_calm() -> None:
    """In a replica that other replicas ask: no line for each call, of which live driving makes thousands, and no
    traceback for a refusal, such as a driving picture without a face, which is an answer and no failure of the replica.

    Errors of our own (5xx) are still logged. A filter, because `logging_config` of a deployment would take the place
    of what whoever runs the service has configured.
    """
    logging.getLogger("ray.serve").addFilter(_matters)


def _matters(record: logging.LogRecord) -> bool:
    if getattr(record, "serve_access_log", False):
        return False
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return not isinstance(error, Problem) or error.status >= 500
