"""What `jobs/finetune.py` takes."""

from typing import Literal, Self

import pydantic

from raytalk.config import JobSettings, Settings
from raytalk.learning.settings import FewShotSettings, PerceptualSettings, SpeedSettings
from raytalk.storage import path_part

Mode = Literal["FF", "FT"]


class LearnedPerceptualSettings(PerceptualSettings):
    """The networks of L_CNT, if others than those of meta-learning."""

    content: str = ""
    """content network; empty: the one that the checkpoint was trained with"""
    identity: str = ""
    """identity network, or none; empty: the one that the checkpoint was trained with"""


class TableSettings(Settings):
    """How the people of a table are spread over a cluster."""

    gpus_per_person: float = pydantic.Field(-1.0, ge=-1)
    """GPUs for each person that is learned at a time; -1: one where the cluster has any, 0: none"""
    cpus_per_person: float = pydantic.Field(0, ge=0)
    """CPUs likewise; 0: one beside a GPU, else half of the cluster's but at most 4"""
    actors: int = pydantic.Field(0, ge=0)
    """people at a time; 0: for as many as there is room now. With a number a cluster that grows makes room for them"""
    tries: int = pydantic.Field(3, ge=1)
    """how often somebody is begun anew when a worker or node dies"""


class FinetuneSettings(JobSettings):
    """Make avatars of new people from a meta-learned model."""

    checkpoint: str = "base"
    """the model: URI of a run or of a checkpoint, models:/name@alias, or base, the one that comes with raytalk"""
    output: str
    """where the avatar is kept: a folder or s3://bucket/prefix; of a table the folder for all avatars"""
    images: str = ""
    """what shows the person: a folder of photographs, one photograph, a video, or a clips folder with clip="""
    clip: str = ""
    """id of the clip, where images= is a clips folder"""
    people: str = ""
    """instead of images: a CSV file with a line for each person and the columns name, images, and, if wanted, id,
    clip, mode, consent"""
    name: str = ""
    """the person's; empty: the last part of images="""
    mode: Mode = "FT"
    """FF: feed-forward, ready at once; FT: fine-tuned after that"""
    consent: str = ""
    """what the person has agreed to, kept with the avatar"""
    shots: int = pydantic.Field(8, ge=1, le=32)
    """T, frames taken of a video or clip; of photographs all are taken, 32 at most"""
    min_face: float = pydantic.Field(64, gt=0)
    """least size of a face, in pixels of the photograph or video"""
    accept_detector: bool = False
    """find landmarks with another detector than the model was trained with; a model of rendered people takes any"""
    detector: Literal["", "auto", "face-alignment", "dlib"] = ""
    """landmark detector; empty: the one of the model, auto for a model of rendered people"""
    again: bool = False
    """make an avatar anew that is there already"""
    sheet: str = ""
    """a picture for judging, FILE.png: learning images, what the model made of them at once, and after learning"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU if there is one"""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """of the arithmetic of learning; weights are float32. auto: bf16 on GPUs that have it"""
    tracking_uri: str = ""
    """MLflow's tracking store, for a checkpoint models:/name@alias; empty: MLFLOW_TRACKING_URI"""
    fewshot: FewShotSettings = FewShotSettings()
    perceptual: LearnedPerceptualSettings = LearnedPerceptualSettings()
    speed: SpeedSettings = SpeedSettings()
    table: TableSettings = TableSettings()

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if bool(self.images) == bool(self.people):
            raise ValueError("give images= (one person) or people= (a table), one of them")
        if self.people and (self.clip or self.name or self.sheet):
            raise ValueError("clip=, name= and sheet= are for one person: a table has columns for the first two")
        if self.sheet and not path_part(self.sheet).endswith(".png"):
            raise ValueError(f"sheet={self.sheet} must end with .png")
        return self
