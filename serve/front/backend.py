"""What the front asks of the other parts. In production these are adapters over Serve handles, in tests fakes."""

from dataclasses import dataclass, field
from typing import Protocol

from raytalk.driving.live import AvatarFace
from serve.front.metrics import Metrics
from serve.keys import Keyring
from serve.parts import FaceFound, Landmarks, PersonKey, PictureFormat, Rendered
from serve.records.audit import Audit
from serve.records.desk_protocol import Desk
from serve.records.store import Store


class Faces(Protocol):
    """Finds the face of a driving picture."""

    async def landmarks(self, image: bytes, near: tuple[float, float, float, float] | None = None) -> FaceFound:
        """image: JPEG, PNG or WebP; near: the face's box in a picture of that size just before, to look there first.

        Raises Unprocessable (no-face, two-faces, ...) or WrongMediaType.
        """
        ...

    async def ready(self) -> bool: ...


class Renderer(Protocol):
    """Holds people and renders them."""

    async def render(self, key: PersonKey, landmarks: Landmarks, format: PictureFormat, quality: int) -> Rendered:
        """landmarks: [n, 68, 2] float32 in pixels of the avatar's resolution. Raises NotFound, Unavailable."""
        ...

    async def face(self, key: PersonKey) -> AvatarFace: ...

    async def ready(self) -> bool: ...


@dataclass
class Backend:
    """Everything that the front needs of others."""

    store: Store
    desk: Desk
    faces: Faces
    renderer: Renderer
    audit: Audit
    keyring: Keyring = field(default_factory=Keyring)
    """whose keys are valid; empty: nobody is asked for one, and only this machine is served"""
    metrics: Metrics = field(default_factory=Metrics)
