"""What is known about an avatar: `avatar.json`."""

import json
import uuid
from dataclasses import dataclass, field
from typing import Any, Literal

from raytalk.errors import AvatarError
from raytalk.networks.settings import NetworkSettings
from raytalk.storage import Storage

FORMAT = 2
MARKER = "avatar.json"


@dataclass(frozen=True)
class AvatarCard:
    """What `avatar.json` says."""

    name: str
    """the person's"""
    detector: str
    """whose landmarks it was learned with; another detector's must not drive it"""
    networks: dict[str, Any]
    """NetworkSettings of the generator"""
    checkpoint: str
    """URI of the model that it was made from"""
    mode: Literal["FF", "FT"]
    """feed-forward, or fine-tuned"""
    learned: dict[str, Any] = field(default_factory=dict)
    """how: number of images, steps, rates"""
    consent: str = ""
    """what is known about the person's consent"""
    pupils: bool = False
    """whether drawings carry pupils where they are known"""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    format: int = FORMAT

    @property
    def resolution(self) -> int:
        """Height and width of the frames, and of the square in which landmarks are measured, in pixels."""
        return int(self.networks["resolution"])


def read_card(place: Storage) -> AvatarCard:
    """Raises AvatarError if there is none, it cannot be read or its format is another."""
    if not place.exists(MARKER):
        raise AvatarError(f"{place.uri} is no avatar: {MARKER} is missing")
    try:
        loaded = json.loads(place.read(MARKER))
        if loaded.get("format") != FORMAT:
            raise AvatarError(
                f"{place.uri} has format {loaded.get('format')}; this version reads format {FORMAT}: make it again"
            )
        card = AvatarCard(**loaded)
        NetworkSettings(**card.networks)
    except (ValueError, TypeError, AttributeError) as error:
        raise AvatarError(f"{place.uri}/{MARKER} cannot be read: {error}") from None
    if card.mode not in ("FF", "FT"):
        raise AvatarError(f"{place.uri}/{MARKER} cannot be read: mode is {card.mode!r}")
    return card
