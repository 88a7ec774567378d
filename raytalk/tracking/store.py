"""What the parts of `raytalk.tracking` share: a client that stays quiet, and errors in words."""

import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from raytalk.errors import RaytalkError, TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

UNAVAILABLE = ("", "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")
"""error codes of a store that does not answer"""
SHORT_TIMES = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
_QUIET = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
CHANGE = "give tracking.uri=URI (http://host:port, sqlite:////folder/mlflow.db) or tracking.uri=none"

warn = logging.getLogger("raytalk.tracking").warning


def client_of(uri: str) -> "MlflowClient":
    for key, value in {**_QUIET, **SHORT_TIMES}.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if not uri.startswith("sqlite:///"):
        return MlflowClient(tracking_uri=uri)
    folder = Path(uri.removeprefix("sqlite:///")).parent
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        return MlflowClient(tracking_uri=uri)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time makes the tables: two at once would fail on each other's."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every network file system locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def explained(uri: str) -> Iterator[None]:
    try:
        yield
    except RaytalkError:
        raise
    except ImportError as error:
        raise TrackingError(f"MLflow cannot be imported ({error}): install it or give tracking.uri=none") from error
    except Exception as error:
        raise TrackingError(f"tracking {shown(uri)} cannot be used ({brief(error)}): start it, or {CHANGE}") from error


def log_params(client: "MlflowClient", run_id: str, params: Mapping[str, object]) -> None:
    from mlflow.entities import Param, RunTag
    from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, MAX_PARAMS_TAGS_PER_BATCH

    known = client.get_run(run_id).data.params
    texts = {key: str(value)[:MAX_PARAM_VAL_LENGTH] for key, value in params.items()}
    fresh = [Param(key, text) for key, text in texts.items() if key not in known]
    changed = [RunTag(f"resumed.{key}", text) for key, text in texts.items() if known.get(key, text) != text]
    for start in range(0, max(len(fresh), len(changed)), MAX_PARAMS_TAGS_PER_BATCH):
        part = slice(start, start + MAX_PARAMS_TAGS_PER_BATCH)
        client.log_batch(run_id, params=fresh[part], tags=changed[part])


def code(error: Exception) -> str:
    return str(getattr(error, "error_code", ""))


def brief(error: Exception) -> str:
    return shown(" ".join(str(error).split()))[:200]


def shown(uri: str) -> str:
    """The URI without a password."""
    return re.sub(r"//[^/@]*@", "//", uri)
