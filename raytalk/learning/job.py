"""What the driver of a training run hands to every worker, and what it gets back."""

from dataclasses import dataclass, field

from raytalk.clips.catalog import Catalog
from raytalk.clips.schema import Split
from raytalk.connect import StorageEnvironment
from raytalk.console import Console
from raytalk.errors import RaytalkError
from raytalk.learning.attempts import Attempts
from raytalk.learning.part import Part
from raytalk.learning.settings import MetatrainSettings
from raytalk.tracking import RunHandle


@dataclass(frozen=True)
class Job:
    """The run."""

    settings: MetatrainSettings
    run: str
    """URI of the run's folder"""
    catalog: Catalog = field(repr=False)
    validation: dict[str, Split]
    """name of a set of people to its split"""
    tracking: RunHandle = field(repr=False)
    console: Console
    environment: StorageEnvironment
    """what the driver's environment says of the object store"""
    attempts: Attempts
    part: Part = field(default_factory=Part)


@dataclass(frozen=True)
class Ended:
    """How the loop ended, the same on every rank."""

    episodes: int
    figures: dict[str, float]
    collapsed: str = ""
    error: RaytalkError | None = None
