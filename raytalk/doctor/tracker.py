"""Whether MLflow answers."""

import time

from raytalk.doctor.finding import Finding, note, ok
from raytalk.tracking import TrackingSettings, store_uri
from raytalk.tracking.store import client_of, explained, shown


def reachable(settings: TrackingSettings) -> list[Finding]:
    """The tracking store that runs are to be written to. Raises TrackingError."""
    uri = store_uri(settings, "")
    if uri == "none":
        return [note("mlflow", "tracking.uri=none: no run will be written down")]
    start = time.perf_counter()
    with explained(uri):
        found = client_of(uri).get_experiment_by_name(settings.experiment)
    text = f"{shown(uri)} answers in {1000 * (time.perf_counter() - start):.0f} ms"
    if found is None:
        return [ok("mlflow", f"{text}; the experiment '{settings.experiment}' will be made")]
    if found.lifecycle_stage != "active":
        return [
            note("mlflow", f"{text}; the experiment '{settings.experiment}' is deleted: restore it or give another")
        ]
    return [ok("mlflow", f"{text}; the experiment '{settings.experiment}' is there")]
