"""What deployments have in common: where they are placed, and how their figures are counted."""

import os
from typing import Any

from serve.settings import PlaceSettings

LONG_POLLS = 10_000
"""calls at the desk that wait for news, and connections of a front: they cost next to nothing while they wait"""
MILLISECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 1000.0, 5000.0)
"""bounds of histograms"""
_HEALTH_CHECK_S = 2.0
"""Ray Serve learns with a health check that a replica is dead, and starts another"""


def cores() -> int:
    """Of this machine, for this process."""
    return len(os.sched_getaffinity(0))


def placed(deployment: Any, settings: PlaceSettings, gpus: float = 0.0, surges: bool = False) -> Any:
    """A deployment with these options. gpus: of a replica, where the settings leave it open. surges: when another
    version is deployed, a new replica starts before an old one ends, so that it needs room for one more."""
    actor = {"num_cpus": settings.cpus, "num_gpus": gpus if settings.gpus < 0 else settings.gpus}
    return deployment.options(
        num_replicas=settings.replicas,
        ray_actor_options=actor,
        health_check_period_s=_HEALTH_CHECK_S,
        # Of how many there are, rounded up: one.
        max_surge_percent=1 if surges else 0,
    )
