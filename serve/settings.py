"""What the service can be told: `serve run serve.app:app key=value`, or `args:` in a YAML for `serve deploy`."""

from typing import Literal, Self

import pydantic

from raytalk.config import JobSettings, Settings
from raytalk.enrolment.settings import LearnedPerceptualSettings
from raytalk.learning.settings import FewShotSettings


class LimitSettings(Settings):
    """What an owner may do. Each is refused with a clear 4xx."""

    photo_bytes: int = pydantic.Field(20 << 20, ge=1024)
    """of one photograph"""
    photo_pixels: int = pydantic.Field(80_000_000, ge=4096)
    """width x height of one photograph, before it is decoded"""
    video_bytes: int = pydantic.Field(200 << 20, ge=1024)
    """of one video"""
    video_pixels: int = pydantic.Field(3840 * 2160, ge=4096)
    """width x height of a video"""
    video_seconds: float = pydantic.Field(120.0, gt=0)
    """length of a video"""
    upload_bytes: int = pydantic.Field(256 << 20, ge=1024)
    """of one request"""
    frame_bytes: int = pydantic.Field(2 << 20, ge=1024)
    """of one driving picture or live message"""
    avatars: int = pydantic.Field(100, ge=1)
    """kept at a time"""
    waiting: int = pydantic.Field(20, ge=1)
    """avatars and films of an owner that are not done"""
    requests_per_minute: float = pydantic.Field(600.0, gt=0)
    """of an owner, live messages apart"""
    live: int = pydantic.Field(8, ge=1)
    """live connections of an owner and front replica"""
    live_frames_per_second: float = pydantic.Field(60.0, gt=0)
    """taken on one live connection; what comes faster is skipped, newest wins"""


class WorkSettings(Settings):
    """How jobs are worked on."""

    lease_s: float = pydantic.Field(30.0, ge=1)
    """a job is given to another worker if nothing is heard of it for so many seconds"""
    tries: int = pydantic.Field(3, ge=1)
    """how often a job is begun before it counts as failed"""
    delete_material: bool = False
    """delete photographs and videos of a person once the avatar is learned, and what drove a film once that is done"""
    preview_steps: int = pydantic.Field(50, ge=1)
    """steps of learning between two preview pictures"""


class RenderSettings(Settings):
    """How people are held and rendered."""

    people: int = pydantic.Field(32, ge=1)
    """avatars that a replica holds in memory; the one not driven for longest goes first"""
    batch_wait_ms: float = pydantic.Field(2.0, ge=0)
    """how long frames of feed-forward avatars wait for others to be rendered with"""
    batch_size: int = pydantic.Field(16, ge=1)
    """frames rendered together at most"""
    jpeg_quality: int = pydantic.Field(90, ge=30, le=100)
    encoders: int = pydantic.Field(-1, ge=-1)
    """processes beside each renderer that encode and sign pictures; 0: its own threads; -1: three on a GPU, else 0"""
    visible_mark: bool = False
    """draw a small mark "AI" into a corner of everything generated"""


class PlaceSettings(Settings):
    """How a deployment is placed on a cluster."""

    replicas: int = pydantic.Field(1, ge=1)
    cpus: float = pydantic.Field(0.1, ge=0)
    """logical, of one replica"""
    gpus: float = pydantic.Field(-1.0, ge=-1)
    """of one replica; -1: a share of one where the cluster has any (deployments that use torch alone)"""
    threads: int = pydantic.Field(0, ge=0)
    """of arithmetic in one replica; 0: all cores of the machine but for the learner, which takes half of them"""


class ServiceSettings(JobSettings):
    """Everything. Nothing needs to be given but a checkpoint."""

    storage: str = "~/raytalk/service"
    """where everything is kept: a folder or s3://bucket/prefix"""
    checkpoint: str = "base"
    """the meta-learned model: URI of a run or checkpoint, models:/name@alias, or base, which comes with raytalk"""
    detector: Literal["auto", "face-alignment", "dlib"] = "auto"
    """for photographs, videos and driving pictures"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    min_face: float = pydantic.Field(64, gt=0)
    """least size of a face in photographs, pixels"""
    shots: int = pydantic.Field(8, ge=1, le=32)
    """frames taken of a video"""
    keys: str = ""
    """file of API keys, a line `OWNER SHA256-OF-KEY` each (`python -m serve.keys OWNER` makes one); empty:
    RAYTALK_API_KEYS in the environment, the same lines separated by commas; with neither, no key is asked for and only
    this machine is served"""
    origins: tuple[str, ...] = ()
    """other web origins whose pages may call the API"""
    certificate: str = ""
    """PEM files CHAIN,KEY that sign what is generated; empty: a pair is made on first start and kept in storage"""
    tracking_uri: str = ""
    """MLflow's tracking store, for a checkpoint models:/name@alias"""
    fewshot: FewShotSettings = FewShotSettings()
    perceptual: LearnedPerceptualSettings = LearnedPerceptualSettings()
    limits: LimitSettings = LimitSettings()
    work: WorkSettings = WorkSettings()
    render: RenderSettings = RenderSettings()
    front: PlaceSettings = PlaceSettings()
    desk_cpus: float = pydantic.Field(0.1, ge=0)
    """logical, of the desk, of which there is always one"""
    faces: PlaceSettings = PlaceSettings()
    learner: PlaceSettings = PlaceSettings()
    renderer: PlaceSettings = PlaceSettings()
    films: PlaceSettings = PlaceSettings()

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if self.certificate and len(self.certificate.split(",")) != 2:
            raise ValueError("certificate= takes two files, CHAIN,KEY")
        return self
