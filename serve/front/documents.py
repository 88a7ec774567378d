"""JSON as clients see it. Owners, attempts and file names never leave the service."""

from datetime import datetime
from typing import Annotated, Literal

import pydantic

from raytalk.driving.pose import LARGEST_TURN, Pose
from serve.records.record import Avatar, Film, FilmState, Mode, State

_ID = "0123456789abcdef0123456789abcdef"
_FAR = 20_000.0
Number = Annotated[float, pydantic.Field(ge=-_FAR, le=_FAR, allow_inf_nan=False)]
Points = Annotated[
    list[Annotated[list[Number], pydantic.Field(min_length=2, max_length=2)]],
    pydantic.Field(min_length=68, max_length=68),
]
"""68 pairs x, y in pixels, iBUG order"""
Turn = Annotated[float, pydantic.Field(ge=-LARGEST_TURN, le=LARGEST_TURN, allow_inf_nan=False)]
Share = Annotated[float, pydantic.Field(ge=0, le=1, allow_inf_nan=False)]
Swing = Annotated[float, pydantic.Field(ge=-1, le=1, allow_inf_nan=False)]


class _Document(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(use_attribute_docstrings=True)


class _Given(pydantic.BaseModel):
    """What a client sends: no unknown members, no strings for numbers."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class ReasonDocument(_Document):
    """Why something failed."""

    code: str
    """for programs"""
    detail: str
    """for people"""


class PhotoDocument(_Document):
    """One photograph or video, and what became of it."""

    label: str
    """what the client called it"""
    used: bool | None
    """null until it was looked at"""
    code: str
    """why it is not used, for programs: no-face, two-faces, blurred, ...; empty if it is"""
    reason: str
    """the same for people"""
    crop: str | None
    """URL of a JPEG: the crop and the drawing of its landmarks side by side"""


class AvatarLinks(_Document):
    """URLs of an avatar."""

    self: str
    events: str
    frames: str
    videos: str
    live: str
    preview: str | None
    """of a JPEG; another URL whenever there is a newer one; null before the first"""


class AvatarDocument(_Document):
    """An avatar."""

    model_config = pydantic.ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID,
                    "name": "Ada",
                    "mode": "FT",
                    "state": "learning",
                    "preview_ready": True,
                    "progress": 0.42,
                    "step": 200,
                    "steps": 500,
                    "reason": None,
                    "created_at": "2026-11-26T10:00:00Z",
                    "changed_at": "2026-11-26T10:00:31Z",
                    "revision": 7,
                    "photos": [{"label": "front.jpg", "used": True, "code": "", "reason": "", "crop": None}],
                    "quality": {},
                    "resolution": 256,
                    "version": "FF",
                    "links": {
                        "self": f"/v1/avatars/{_ID}",
                        "events": f"/v1/avatars/{_ID}/events",
                        "frames": f"/v1/avatars/{_ID}/frames",
                        "videos": f"/v1/avatars/{_ID}/videos",
                        "live": f"/v1/avatars/{_ID}/live",
                        "preview": f"/v1/avatars/{_ID}/preview.jpg?v=3",
                    },
                }
            ]
        }
    )

    id: str
    name: str
    mode: Mode
    """what was asked for"""
    state: State
    preview_ready: bool
    """whether it can be driven already, by its feed-forward version"""
    progress: float
    """0..1 of what was asked for"""
    step: int
    steps: int
    """of fine-tuning"""
    reason: ReasonDocument | None
    """of failure"""
    created_at: datetime
    changed_at: datetime
    revision: int
    """grows with every change"""
    photos: list[PhotoDocument]
    quality: dict[str, int | float]
    """ssim_ff, ssim_ft: likeness to the learning images themselves, 1 is the same; photos_used"""
    resolution: int
    """pixels; 0 until it can be driven"""
    version: Mode | None
    """what renders now"""
    links: AvatarLinks


class AvatarsDocument(_Document):
    """A page of avatars, the newest first."""

    avatars: list[AvatarDocument]
    next: str
    """give it as `after` for the next page; empty at the end"""


class FilmLinks(_Document):
    """URLs of a video of an avatar."""

    self: str
    avatar: str
    film: str | None
    """of the MP4; null until it is ready"""


class FilmDocument(_Document):
    """A video of an avatar."""

    id: str
    avatar: str
    state: FilmState
    progress: float
    adapt: Literal["auto", "true", "false"]
    reason: ReasonDocument | None
    created_at: datetime
    changed_at: datetime
    revision: int
    frames: int
    """0 until it is known"""
    fps: float
    links: FilmLinks


class FilmsDocument(_Document):
    """The videos of an avatar, the newest first."""

    videos: list[FilmDocument]


class PoseGiven(_Given):
    """Sliders; what is left out stays as the face is at rest."""

    yaw: Turn = 0
    """degrees; positive to the picture's right"""
    pitch: Turn = 0
    """degrees; positive up"""
    roll: Turn = 0
    """degrees; positive tilted to the picture's right"""
    mouth: Share = 0
    """0 shut .. 1 wide open"""
    eyes: Share = 1
    """0 shut .. 1 open"""
    smile: Swing = 0
    """-1 corners down .. 1 a broad smile"""
    brows: Swing = 0
    """-1 frowning .. 1 raised"""

    def pose(self) -> Pose:
        """For `Poser`."""
        return Pose(**self.model_dump())


class ByLandmarks(_Given):
    """One picture from landmarks in pixels of the avatar's resolution."""

    landmarks: Points


class ByPose(_Given):
    """One picture from sliders."""

    pose: PoseGiven


def schema_of(model: type[pydantic.BaseModel]) -> str:
    """Where the description of the API has the schema of a body."""
    return f"#/components/schemas/{model.__name__}"


def avatar_document(avatar: Avatar, root: str) -> AvatarDocument:
    """root: what stands before /v1 in the service's URLs."""
    url = f"{root}/v1/avatars/{avatar.id}"
    return AvatarDocument(
        photos=[
            PhotoDocument(
                **photo.model_dump(include={"label", "used", "code", "reason"}),
                crop=f"{url}/crops/{number}.jpg" if photo.crop and not avatar.material_deleted else None,
            )
            for number, photo in enumerate(avatar.photos)
        ],
        reason=_reason(avatar.reason),
        version=avatar.version.mode if avatar.version else None,
        links=AvatarLinks(
            self=url,
            events=f"{url}/events",
            frames=f"{url}/frames",
            videos=f"{url}/videos",
            live=f"{url}/live",
            preview=f"{url}/preview.jpg?v={avatar.previews}" if avatar.previews else None,
        ),
        **avatar.model_dump(include=_SAME_IN_AVATARS),
    )


def film_document(film: Film, root: str) -> FilmDocument:
    """root: as in `avatar_document`."""
    url = f"{root}/v1/videos/{film.id}"
    return FilmDocument(
        reason=_reason(film.reason),
        links=FilmLinks(
            self=url,
            avatar=f"{root}/v1/avatars/{film.avatar}",
            film=f"{url}/film.mp4" if film.state == "ready" else None,
        ),
        **film.model_dump(include=_SAME_IN_FILMS),
    )


def _reason(failure: pydantic.BaseModel | None) -> ReasonDocument | None:
    return None if failure is None else ReasonDocument(**failure.model_dump())


_SAME_IN_AVATARS = set(AvatarDocument.model_fields) & set(Avatar.model_fields) - {"photos", "reason", "version"}
_SAME_IN_FILMS = set(FilmDocument.model_fields) & set(Film.model_fields) - {"reason"}
