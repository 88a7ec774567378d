"""All that is looked at on one machine. What runs in a Ray task on each node, and here where there is no Ray."""

import os
from dataclasses import dataclass
from functools import partial

from raytalk.connect import StorageEnvironment
from raytalk.doctor import gpus, models, places, software, tracker
from raytalk.doctor.finding import Check, Finding, bounded
from raytalk.doctor.settings import DoctorSettings


@dataclass(frozen=True)
class Visit:
    """What a machine is asked."""

    settings: DoctorSettings
    environment: StorageEnvironment
    """the driver's"""
    word: str = ""
    """what the driver left in the storage"""
    gpus: float = 0.0
    """how many Ray counts on this machine"""


def look_around(visit: Visit) -> list[Finding]:
    """Every check of one machine, each within `settings.timeout`."""
    visit.environment.apply()
    found: list[Finding] = []
    for name, check in _checks(visit).items():
        found += bounded(name, check, visit.settings.timeout)
    return found


def checks_in_all(settings: DoctorSettings) -> int:
    """How many checks `look_around` makes: each may take `settings.timeout`."""
    return len(_checks(Visit(settings, StorageEnvironment({}))))


def tracked(settings: DoctorSettings) -> bool:
    """Whether a tracking store is named."""
    return bool(settings.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI"))


def _checks(visit: Visit) -> dict[str, Check]:
    settings = visit.settings
    checks: dict[str, Check] = {"machine": software.machine, "gpu": partial(gpus.seen, visit.gpus)}
    if settings.storage:
        checks["storage"] = partial(places.usable, settings.storage, visit.word)
    if tracked(settings):
        checks["mlflow"] = partial(tracker.reachable, settings.tracking)
    if settings.checkpoint:
        checks["checkpoint"] = partial(models.checkpoint, settings.checkpoint, settings.tracking.uri, settings.weights)
        checks["weights"] = partial(models.published, settings.weights)
    if settings.detector != "none":
        checks["detector"] = partial(models.detector, settings.detector, "cpu")
    return checks
