"""An MLflow run that survives restarts of the job and of the tracking server.

The job's driver calls `start_run` and hands the `RunHandle` to the worker of rank 0, which opens a `Tracker` on it.
"""

from raytalk.tracking.registry import fetch_registered, register_checkpoint
from raytalk.tracking.results import log_files, log_results
from raytalk.tracking.run import RunHandle, TrackingSettings, start_run, store_uri
from raytalk.tracking.tracker import Tracker

__all__ = [
    "RunHandle",
    "Tracker",
    "TrackingSettings",
    "fetch_registered",
    "log_files",
    "log_results",
    "register_checkpoint",
    "start_run",
    "store_uri",
]
