"""Who is driven live, and a driving message on its way to a picture."""

from dataclasses import dataclass
from typing import Literal

from raytalk.driving.live import AvatarFace
from serve.front.live_messages import Driving
from serve.parts import Landmarks, PersonKey


@dataclass(frozen=True, eq=False)
class Person:
    """Who is driven now."""

    key: PersonKey
    mode: Literal["FF", "FT"]
    face: AvatarFace


@dataclass(eq=False)
class Frame:
    """A driving message on its way."""

    driving: Driving
    came: float
    landmarks: Landmarks
    person: Person
    detect_ms: float
    wait_ms: float
