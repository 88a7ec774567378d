"""What a run is given by the sweep that it is one trial of. Without one, all of it is as it is here by default."""

from dataclasses import dataclass, field
from typing import Protocol

from raytalk.console import Console
from raytalk.learning.meta import MetaLearner


class Watch(Protocol):
    """Looks on at each validation of a run, on rank 0. Can be sent to another process."""

    def measure(self, learner: MetaLearner, episodes: int) -> dict[str, float]:
        """Figures of the model as it is now; they are tracked beside those of validation."""

    def report(self, figures: dict[str, float], episodes: int) -> None:
        """Hand on what `measure` gave. Raises TrainingStopped if the run is to end here."""


@dataclass(frozen=True)
class Part:
    """One run among several on a cluster."""

    share: float = 1.0
    """of the cluster's CPUs and of the memory for objects that this run may use, 0 to 1"""
    watch: Watch | None = None
    parent_run: str = ""
    """MLflow run that this one is a child of"""
    console: Console | None = None
    """where its lines go instead of this process's output"""
    tracking_uri: str = field(default="", repr=False)
    """MLflow's store, not among the settings that are kept: it may hold a password"""
