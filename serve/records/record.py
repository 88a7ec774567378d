"""The records of avatars and films, as they lie in storage."""

from datetime import datetime
from typing import Literal

import pydantic

Mode = Literal["FF", "FT"]
State = Literal["queued", "learning", "ready", "failed"]
FilmState = Literal["queued", "making", "ready", "failed"]
JobKind = Literal["introduce", "learn", "film"]


class _Record(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Photo(_Record):
    """One file of an avatar's material, and what became of it."""

    file: str
    """name below the avatar's `material/`: 000.jpg, made by the service; never a name that a user gave"""
    label: str
    """what the user called it, for messages alone; at most 80 printable characters"""
    used: bool | None = None
    """None until it was looked at"""
    code: str = ""
    """why it is not used: no-face, two-faces, face-too-small, face-cut-off, blurred, not-a-picture, somebody-else, …"""
    reason: str = ""
    """the same for a person"""
    crop: str = ""
    """name below `crops/` of a JPEG with crop and drawing side by side, if a face was found"""


class Failure(_Record):
    """Why something failed."""

    code: str
    """for programs"""
    detail: str
    """for people: what was wrong and what to do"""


class Version(_Record):
    """Names what renders now: it changes when a fine-tuned avatar takes the place of a feed-forward one."""

    mode: Mode
    folder: str
    """of the avatar, below the record's folder: ff-ATTEMPT or ft-ATTEMPT (ff in older records)"""


class Attempt(_Record):
    """A worker's hold on a job. Only who shows the newest token may report."""

    token: str
    worker: str
    number: int
    """1 for the first"""
    expires_at: datetime
    """if nothing is heard until then, the job is given to another"""


class Avatar(_Record):
    """A person's avatar: avatars/ID/record.json."""

    id: str
    """32 hexadecimal digits, random"""
    owner: str
    name: str
    mode: Mode
    """what was asked for"""
    state: State
    consent: str
    """the statement that was given; never empty"""
    created_at: datetime
    changed_at: datetime
    revision: int = 0
    """grows by one with every change"""
    progress: float = 0.0
    """0..1 of what is asked for; goes back to what is true when work is begun anew"""
    step: int = 0
    steps: int = 0
    """of fine-tuning"""
    preview_ready: bool = False
    """whether the feed-forward avatar can be driven"""
    previews: int = 0
    """how often preview.jpg was replaced, so that a page knows when to fetch it again"""
    version: Version | None = None
    """what renders now"""
    reason: Failure | None = None
    material: Literal["photos", "video"] = "photos"
    photos: tuple[Photo, ...] = ()
    """the files of the material: photographs, or the one video"""
    material_deleted: bool = False
    """by policy, after learning"""
    quality: dict[str, int | float] = {}
    """figures such as ssim_ff and ssim_ft on the learning images; photos_used"""
    resolution: int = 0
    """pixels of what is rendered; 0 until the feed-forward avatar is there"""
    detector: str = ""
    """whose landmarks drive it"""
    attempts: dict[str, int] = {}
    """begun so often, by kind of job"""
    interrupted: int = 0
    """begun so often in vain through no fault of the work: a worker was told to stop, or the whole service did"""
    attempt: Attempt | None = None
    """the hold of whoever works on it now"""
    introduced: bool = False
    """whether the introduction is done: what is left is learning, if anything"""
    kept_progress: float = 0.0
    """what is left of progress if the work at hand is begun anew"""
    asked: str = ""
    """SHA-256 of owner and idempotency key, a colon, SHA-256 of what was asked for; empty without a key"""


class Film(_Record):
    """A video of an avatar: films/ID/record.json, driver.bin (or driver.npz) and, when ready, film.mp4."""

    id: str
    owner: str
    avatar: str
    state: FilmState
    created_at: datetime
    changed_at: datetime
    revision: int = 0
    progress: float = 0.0
    adapt: Literal["auto", "true", "false"] = "auto"
    reason: Failure | None = None
    driver: str = ""
    """name of the kept driver below the record's folder; empty when it was deleted by policy, after use"""
    frames: int = 0
    fps: float = 0.0
    attempts: int = 0
    interrupted: int = 0
    attempt: Attempt | None = None
    asked: str = ""
    """as an avatar's"""


class Job(_Record):
    """What a worker is given."""

    kind: JobKind
    id: str
    """of the avatar or film"""
    token: str
    """to show with every report"""
    avatar: Avatar
    film: Film | None = None


class Change(_Record):
    """What a worker says of its job: every field that is not None replaces the record's."""

    progress: float | None = None
    step: int | None = None
    steps: int | None = None
    preview_ready: bool | None = None
    new_preview: bool = False
    """preview.jpg was replaced"""
    version: Version | None = None
    photos: tuple[Photo, ...] | None = None
    quality: dict[str, int | float] | None = None
    resolution: int | None = None
    detector: str | None = None
    frames: int | None = None
    fps: float | None = None
