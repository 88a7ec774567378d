"""What is known about an avatar: `avatar.json`."""

import json
import re
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
    episodes: int = 0
    """that the model had seen; an FF avatar is rendered by that state of it alone"""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    format: int = FORMAT

    @property
    def resolution(self) -> int:
        """Height and width of the frames, and of the square in which landmarks are measured, in pixels."""
        return int(self.networks["resolution"])


def is_weights(name: str) -> bool:
    """Whether a file beside `avatar.json` is an avatar's weights, of this or another version."""
    return re.fullmatch(r"weights-[0-9a-f]+\.safetensors", name) is not None


def read_card(place: Storage) -> AvatarCard:
    """Raises AvatarError if there is none, it cannot be read or its format is another."""
    return read_marker(place)[0]


def read_marker(place: Storage) -> tuple[AvatarCard, str]:
    """The card and the name of the weights' file. Raises as `read_card`."""
    if not place.exists(MARKER):
        raise AvatarError(f"{place.uri} is no avatar: {MARKER} is missing")
    try:
        loaded = json.loads(place.read(MARKER))
        if loaded.get("format") != FORMAT:
            raise AvatarError(
                f"{place.uri} has format {loaded.get('format')}; this version reads format {FORMAT}: make it again"
            )
        weights = str(loaded.pop("weights"))
        if not is_weights(weights):
            raise ValueError(f"weights is {weights!r}")
        card = AvatarCard(**loaded)
        NetworkSettings(**card.networks)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise AvatarError(f"{place.uri}/{MARKER} cannot be read: {error}") from None
    if card.mode not in ("FF", "FT"):
        raise AvatarError(f"{place.uri}/{MARKER} cannot be read: mode is {card.mode!r}")
    return card, weights
