"""What `jobs/tune.py` takes, and its presets."""

from typing import Any, ClassVar, Literal, Self

import pydantic

from raytalk.config import JobSettings, Settings
from raytalk.learning.settings import MetatrainSettings
from raytalk.tracking import TrackingSettings

_SET_BY_THE_SWEEP = ("clips", "output", "name", "tracking", "gpus_per_worker", "cpus_per_worker")
"""settings of meta-learning that every trial gets from the sweep"""


class ObjectiveSettings(Settings):
    """How a trial is scored (raytalk/sweep/objective.py). The same people and frames in every trial."""

    looks: int = pydantic.Field(4, ge=1)
    """times that a whole trial is scored, evenly over its episodes; the last one counts"""
    people: int = pydantic.Field(6, ge=1)
    """people held out of training by whom trials are chosen; at most half of those there are"""
    confirmation: int = pydantic.Field(24, ge=1)
    """other people held out, on whom the winner is compared with the defaults in the end"""
    shots: int = pydantic.Field(8, ge=1, le=32)
    """T, frames that a person is learned from"""
    steps: int = pydantic.Field(25, ge=0)
    """steps of few-shot learning; 0: feed-forward"""
    targets: int = pydantic.Field(6, ge=2)
    """frames reenacted per person"""
    faces: Literal["auto", "csim-arcface", "csim-dlib", "none"] = "auto"
    """the recognition network of CSIM; auto: ArcFace if its file is here, else dlib's; none: no such term"""
    detector: Literal["face-alignment", "dlib", "none"] = "dlib"
    """finds the landmarks again in what was made; none: no such term"""
    weights: str = ""
    """folder, or its URI, with ArcFace's file; empty: where weights are kept"""


class AshaSettings(Settings):
    """When a trial is stopped: at each rung it must be among the best 1/reduction of those that came there before."""

    grace: float = pydantic.Field(0.25, gt=0, le=1)
    """first rung, as a share of a whole trial's episodes"""
    reduction: float = pydantic.Field(2.0, gt=1)
    """each rung lies so many times later than the one before"""


class SweepSettings(JobSettings):
    """Search over the settings of meta-learning."""

    clips: str
    """where the clips are: a folder or s3://bucket/prefix"""
    output: str
    """where sweeps are kept: a folder or s3://bucket/prefix"""
    name: str = pydantic.Field("sweep", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """the sweep: the same name again resumes it"""
    space: str = ""
    """YAML file of what is searched (docs/sweeps.md); empty: loss weights, rates, EMA decay and D steps around the
    preset's"""
    trials: int = pydantic.Field(8, ge=1)
    """trials in all; number 0 is the settings as they are without the sweep, and is never stopped early"""
    concurrent: int = pydantic.Field(2, ge=1)
    """trials at a time; each gets an equal share of the cluster"""
    search: Literal["optuna", "random", "grid"] = "optuna"
    """who suggests: optuna (TPE), plain random, or every combination of the space's values"""
    scheduler: Literal["asha", "none"] = "asha"
    """asha: bad trials are stopped early; none: every trial is shown all its episodes"""
    seconds: float = pydantic.Field(0, ge=0)
    """after so long no trial goes on, and the answer is made of what is there; 0: no limit"""
    seed: int = 0
    """of what is suggested and of who is looked at"""
    max_failures: int = pydantic.Field(1, ge=0)
    """how often a trial whose driver died begins again, from its last checkpoint"""
    keep: Literal["best", "all"] = "best"
    """whose checkpoints stay at the end: of the winner and the defaults, or of all"""
    asha: AshaSettings = AshaSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    tracking: TrackingSettings = TrackingSettings()
    train: MetatrainSettings = MetatrainSettings()
    """what jobs/metatrain.py takes, for every trial"""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"train": {**MetatrainSettings.presets["paper"], "preset": "paper", "episodes": 200_000}},
        "base": {"train": {**MetatrainSettings.presets["base"], "preset": "base", "episodes": 24_000}},
        "debug": {
            "objective": {"people": 3, "confirmation": 8, "targets": 4, "steps": 5},
            "train": {**MetatrainSettings.presets["debug"], "preset": "debug", "episodes": 1600},
        },
    }

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        for key in _SET_BY_THE_SWEEP:
            if getattr(self.train, key) != MetatrainSettings.model_fields[key].get_default():
                instead = key if key in type(self).model_fields else "concurrent"
                raise ValueError(f"train.{key} follows from the sweep: give {instead}= instead")
        return self
