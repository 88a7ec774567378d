"""What `jobs/puppeteer.py` takes."""

from typing import Any, Literal, Self

import pydantic

from raytalk.config import JobSettings
from raytalk.faces.smooth import CUTOFF, SPEED_GAIN
from raytalk.storage import path_part

Smoothing = Literal["none", "light", "strong"]
SMOOTHING: dict[str, tuple[float, float]] = {"light": (CUTOFF, SPEED_GAIN), "strong": (1.0, 8.0)}
"""cutoff and gain with speed of `one_euro`, in Hz"""


class PuppeteerSettings(JobSettings):
    """An avatar, what drives it, and where the video goes."""

    avatar: str
    """URI of the avatar's folder"""
    driver: str = ""
    """URI of what drives it: a video, a folder of pictures in the order of their names, a picture, a kept track
    (.npz), or a clips folder together with clip="""
    output: str
    """the video, FILE.mp4; or a folder of PNG pictures, written with a slash at its end"""
    clip: str = ""
    """id of the clip in a clips folder that drives"""
    drivers: str = ""
    """instead of driver: a folder of videos and kept tracks, of which the one is taken that keeps the person's
    identity best"""
    portrait: str = ""
    """a photograph or painting that the person is compared with when a driver is chosen; empty: what the avatar
    remembers of its learning images"""
    candidate_frames: int = pydantic.Field(8, ge=1, le=200)
    """frames of each driver that are tried when one is chosen"""
    track: str = ""
    """keep the driver's landmarks in this file (.npz), which can drive from then on"""
    adapt: Literal["auto", "true", "false"] = "auto"
    """bring the driver's landmarks to the shape of the avatar's face; auto: unless driver and avatar are the same
    person by their descriptors"""
    smooth: Smoothing = "none"
    """filter the landmarks against jitter"""
    fps: float = pydantic.Field(0.0, ge=0, le=240)
    """frames per second of the output, and of pictures that drive; 0: the driver's, 25 for pictures"""
    side_by_side: bool = False
    """show the driver and the drawing beside the output"""
    sheet: str = ""
    """a picture for judging, FILE.png: some moments of driver, drawing and output"""
    detector: Literal["", "auto", "face-alignment", "dlib"] = ""
    """landmark detector for the driver; empty: the one that the avatar was learned with"""
    accept_detector: bool = False
    """drive even with the landmarks of another detector than the avatar was learned with"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where frames are rendered, and face-alignment runs; auto: a GPU if there is one"""
    batch_size: int = pydantic.Field(8, ge=1)
    """frames rendered together"""
    checkpoint: str = ""
    """model of a feed-forward avatar, where it has moved since; empty: as the avatar says"""
    tracking_uri: str = ""
    """MLflow's tracking store, for a model named models:/NAME@ALIAS; empty: MLFLOW_TRACKING_URI"""

    @pydantic.field_validator("adapt", mode="before")
    @classmethod
    def _as_word(cls, value: Any) -> Any:
        return str(value).lower() if isinstance(value, bool | str) else value

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if bool(self.driver) == bool(self.drivers):
            raise ValueError("give driver= or drivers=, one of them")
        if self.drivers and self.clip:
            raise ValueError("clip= names a clip of driver=, not of drivers=")
        if self.portrait and not self.drivers:
            raise ValueError("portrait= is what drivers= are compared by: give drivers= too, or leave it out")
        if not path_part(self.output).endswith(("/", ".mp4")):
            raise ValueError(f"output={self.output} must end with .mp4, or with / for a folder of pictures")
        for key, suffix in (("sheet", ".png"), ("track", ".npz")):
            value = getattr(self, key)
            if value and not path_part(value).endswith(suffix):
                raise ValueError(f"{key}={value} must end with {suffix}")
        return self
