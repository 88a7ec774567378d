"""What `jobs/study.py` takes."""

from typing import Self

import pydantic

from raytalk.config import JobSettings, Settings
from raytalk.evaluation.settings import Arrangement, words


class TripletSettings(Settings):
    """Which pictures a study shows."""

    triplets: int = pydantic.Field(120, ge=1)
    """triplets in the study, spread evenly over methods and T"""
    shown: int = pydantic.Field(40, ge=1)
    """of them, how many one participant sees, attention checks included"""
    attention: float = pydantic.Field(0.1, ge=0, le=0.5)
    """share of what is shown that is an attention check: a triplet whose false picture nobody can miss"""
    methods: tuple[str, ...] = ()
    """methods to compare; empty: all that generate pictures, but for those learned otherwise (ft/...)"""
    shots: tuple[int, ...] = ()
    """T to compare; empty: all"""
    split: Arrangement = "block"
    """how learning and hold-out frames lie in time"""
    size: int = pydantic.Field(0, ge=0, le=1024)
    """pixels of a picture's side; 0: as they were made"""
    quality: int = pydantic.Field(90, ge=50, le=100)
    """JPEG quality of all pictures, real and generated"""
    seed: int = pydantic.Field(0, ge=0)
    """decides what is drawn and where the generated picture stands"""

    _lists = pydantic.field_validator("methods", "shots", mode="before")(words)


class AnalysisSettings(Settings):
    """Whose answers count."""

    attention: float = pydantic.Field(0.75, ge=0, le=1)
    """a participant who finds a smaller share of the attention checks is left out"""
    confidence: float = pydantic.Field(0.95, gt=0.5, lt=1)
    """of the intervals"""


class StudyJobSettings(JobSettings):
    """Make a study of an evaluation, or analyse the answers to it."""

    evaluation: str = ""
    """make a study: where an evaluation is kept (what jobs/evaluate.py called output)"""
    answers: str = ""
    """analyse: where the participants' result files are"""
    key: str = ""
    """analyse: the study's key.json"""
    output: str
    """where the study, or the analysis, is written: a folder or s3://bucket/prefix"""
    study: TripletSettings = TripletSettings()
    analysis: AnalysisSettings = AnalysisSettings()

    @pydantic.model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if bool(self.evaluation) == bool(self.answers):
            raise ValueError("give evaluation=URI to make a study, or answers=FOLDER key=FILE to analyse one")
        if self.answers and not self.key:
            raise ValueError("give key=FILE too: the key.json that was made with the study")
        if self.key and not self.answers:
            raise ValueError("key=FILE is for analysing: give answers=FOLDER instead of evaluation=URI")
        return self
