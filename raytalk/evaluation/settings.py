"""What `jobs/evaluate.py` takes."""

import re
from typing import Any, Literal, Self

import pydantic

from raytalk.clips.schema import Split
from raytalk.config import JobSettings, Settings
from raytalk.enrolment.settings import LearnedPerceptualSettings, TableSettings
from raytalk.learning.settings import FewShotSettings, SpeedSettings
from raytalk.tracking import TrackingSettings

Arrangement = Literal["block", "interleaved"]
MethodName = Literal[
    "nearest",
    "mean",
    "ff",
    "ft",
    "ft/no-feature-matching",
    "ft/no-identity",
    "ft/random-start",
]


def words(value: Any) -> Any:
    """`1,8,32` as a list; a validator of settings that are lists."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


class MetricSettings(Settings):
    """The networks that judge, and where their weights are."""

    lpips: Literal["auto", "lpips", "lpips-hed", "none"] = "auto"
    """lpips: the published one; lpips-hed: its heads on the HED trunk, a stand-in; auto: the first that is here"""
    frechet: Literal["auto", "inception", "efficientnet-lite0", "none"] = "auto"
    """what the Fréchet distance sees: inception (that is FID) or a stand-in; auto: the first that is here"""
    faces: Literal["auto", "csim-arcface", "csim-dlib", "none"] = "auto"
    """the recognition network of CSIM; auto: ArcFace if its file is here, else dlib's"""
    weights: str = ""
    """folder, or its URI, with the published files; empty: $RAYTALK_WEIGHTS, ~/.cache/raytalk/weights, torch hub's"""
    detector: Literal["auto", "face-alignment", "dlib", "none"] = "auto"
    """finds the landmarks again in what was made; none: no landmark error"""


class EvaluateSettings(JobSettings):
    """Self-reenactment of people whom the model has not seen (paper, Section 4)."""

    checkpoint: str = "base"
    """the model: URI of a run or of a checkpoint, models:/name@alias, or base, the one that comes with raytalk"""
    clips: str
    """where the clips are: a folder or s3://bucket/prefix"""
    output: str
    """where results are kept: a folder or s3://bucket/prefix; the same again goes on"""
    clips_split: Split = "test"
    """which clips: train, val or test. Nobody in them may have been trained on"""
    people: int = pydantic.Field(50, ge=1)
    """people to evaluate, one clip each, drawn with `seed`"""
    shots: tuple[int, ...] = (1, 8, 32)
    """T, the numbers of learning frames"""
    hold_out: int = pydantic.Field(32, ge=2)
    """frames of each clip to reenact; none of them is learned from"""
    splits: tuple[Arrangement, ...] = ("block", "interleaved")
    """how they lie in time: block, hold-out after learning frames; interleaved, between them, which flatters copying"""
    methods: tuple[MethodName, ...] = ("nearest", "mean", "ff", "ft")
    """what is compared. nearest, mean: copies of learning frames; ff, ft: the checkpoint; ft/...: learned otherwise"""
    against: tuple[str, ...] = ()
    """other checkpoints beside it, each NAME=URI: meta-learned otherwise (losses.match=0, data.shots=1 ...); by the
    methods ff and ft, as far as these are asked for"""
    translation: str = ""
    """a checkpoint meta-trained with networks.embedder=false: the image-to-image baseline"""
    translation_epochs: int = pydantic.Field(40, ge=0)
    """passes over the learning images of the image-to-image baseline; the paper's are 40. 0: learn as `fewshot` says"""
    warping: str = ""
    """what jobs/warping.py made: the warping baseline"""
    steps_shown: tuple[int, ...] = ()
    """steps of `ft` before its last one that are measured too: quality over fine-tuning steps"""
    pictures: int = pydantic.Field(4, ge=0)
    """hold-out frames whose pictures are kept of each method, for grids and the study"""
    seed: int = pydantic.Field(0, ge=0)
    """decides who is evaluated and which frames are held out"""
    accept_detector: bool = False
    """evaluate on clips whose landmarks are by another detector than the model was trained with; a model of rendered
    people takes any"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: one GPU for each person at a time where the cluster has GPUs"""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """of the arithmetic of learning and rendering. auto: bf16 on GPUs that have it"""
    again: bool = False
    """begin anew over an evaluation with other settings, instead of refusing"""
    fewshot: FewShotSettings = FewShotSettings()
    perceptual: LearnedPerceptualSettings = LearnedPerceptualSettings()
    metrics: MetricSettings = MetricSettings()
    speed: SpeedSettings = SpeedSettings()
    table: TableSettings = TableSettings()
    tracking: TrackingSettings = TrackingSettings()

    _lists = pydantic.field_validator("shots", "splits", "methods", "against", "steps_shown", mode="before")(words)

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.shots or min(self.shots) < 1 or max(self.shots) > 32:
            raise ValueError(f"shots={self.shots} must name numbers from 1 to 32")
        for name in ("shots", "splits", "methods"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name}={values} must name at least one, and none twice")
        for word in self.against:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*=.+", word):
                raise ValueError(f"against={word} must be NAME=URI, the name of letters, digits, . _ -")
        names = [word.partition("=")[0] for word in self.against]
        if len(set(names)) < len(names) or set(names) & {"ft", "ff"}:
            raise ValueError(f"against names {names}: each once, and none ft or ff")
        if names and not {"ff", "ft"} & set(self.methods):
            raise ValueError(f"against names {names}, which are compared by ff and ft: add one to methods")
        if self.steps_shown and self.fewshot.hold_out:
            raise ValueError(
                "steps_shown needs fewshot.hold_out=0: people who stop early would be missing in later steps"
            )
        if any(step < 1 for step in self.steps_shown):
            raise ValueError(f"steps_shown={self.steps_shown} must be 1 or more; ff is the state before the first step")
        return self

    @property
    def others(self) -> dict[str, str]:
        """Name and URI of each other checkpoint."""
        return {name: uri for name, _, uri in (word.partition("=") for word in self.against)}
