"""Records and settings of sweeps that nobody ran."""

from typing import Any

from toy import TINY_NETWORKS

from raytalk.sweep.records import Record
from raytalk.sweep.settings import SweepSettings
from raytalk.sweep.space import Space, read_space

TINY: dict[str, Any] = {
    "trials": 3,
    "train": {
        "networks": TINY_NETWORKS,
        "data": {"shots": 2, "shuffle_files": 2},
        "validation": {"people": 2, "targets": 2},
        "batch_size": 4,
        "episodes": 32,
        "log_every": 2,
    },
    "objective": {"looks": 2, "people": 2, "shots": 3, "steps": 2, "targets": 3},
    "tracking": {"uri": "none"},
}


def sweep_settings(*layers: dict[str, Any], **changes: Any) -> SweepSettings:
    """Of preset debug, tiny."""
    places = {"clips": "/nowhere/clips", "output": "/nowhere/sweeps"}
    return SweepSettings.resolve("debug", TINY, places, *layers, changes)


def default_space(settings: SweepSettings | None = None) -> Space:
    """What is searched without a file."""
    return read_space("", (settings or sweep_settings()).train)


def record(
    number: int, score: float, state: Any = "finished", episodes: int = 32, space: Space | None = None
) -> Record:
    """A trial that was looked at twice."""
    point = (space or default_space()).draw(0, number)
    curve = {
        at: {"score": value, "ssim": value, "look_seconds": 1.0} for at, value in ((16, score / 2), (episodes, score))
    }
    return Record(number, point, state, "the output is flat" if state == "collapsed" else "", curve, 60.0, 15.0)
