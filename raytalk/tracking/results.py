"""A run for something that is measured once: figures and files, written when they are there."""

import time
from collections.abc import Mapping
from pathlib import Path

from raytalk.tracking.run import RunHandle, TrackingSettings, start_run
from raytalk.tracking.store import client_of, explained

_BATCH = 1000
"""metrics that MLflow takes in one request"""


def log_files(handle: RunHandle, folder: Path) -> None:
    """Keep the files of a local folder with the run. Raises TrackingError."""
    if handle.enabled:
        with explained(handle.uri):
            client_of(handle.uri).log_artifacts(handle.run_id, str(folder))


def log_results(
    settings: TrackingSettings,
    output_folder_uri: str,
    name: str,
    params: Mapping[str, object],
    metrics: Mapping[str, float],
    folder: Path,
) -> str:
    """A finished run `name` with these settings, figures and the files of a local folder; its id, "" if not tracked.

    Raises TrackingError.
    """
    handle = start_run(settings, output_folder_uri, name, params)
    if not handle.enabled:
        return ""
    with explained(handle.uri):
        from mlflow.entities import Metric

        client, now = client_of(handle.uri), int(time.time() * 1000)
        values = [Metric(key, value, now, 0) for key, value in metrics.items()]
        status = "FAILED"
        try:
            for start in range(0, len(values), _BATCH):
                client.log_batch(handle.run_id, metrics=values[start : start + _BATCH])
            client.log_artifacts(handle.run_id, str(folder))
            status = "FINISHED"
        finally:
            client.set_terminated(handle.run_id, status)
    return handle.run_id
