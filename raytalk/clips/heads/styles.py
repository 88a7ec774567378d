"""What a hair style is made of. `cuts.py` and `long_cuts.py` say what each of `person.CUTS` is like.

Places are those of `Scalp.place`: radians from the top of the head, to its
left and to its back; the forehead's hairline is near (0, -0.8), the crown near (0, 0.4), ears near (+-1.5, 0)."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from raytalk.clips.heads.anatomy import Array
from raytalk.clips.heads.scalp import smooth

Map = Callable[[Array], Array]
"""from places [n, 2] to values [n]"""


@dataclass(frozen=True)
class Flow:
    """Combed away from a line between two places (a parting; a point if both are the same), or towards it."""

    front: tuple[float, float]
    back: tuple[float, float]
    sweep: float = 0.0
    """how far it turns to the back on its way, 0 square to the line"""
    gather: bool = False

    def way(self, place: Array) -> Array:
        """[n, 2] unit vectors."""
        off, _, _ = self._from(place)
        off = off / np.maximum(np.linalg.norm(off, axis=1, keepdims=True), 1e-3)
        off[:, 1] += self.sweep
        off = off / np.maximum(np.linalg.norm(off, axis=1, keepdims=True), 1e-3)
        return np.asarray(-off if self.gather else off, np.float32)

    def over(self, place: Array, side: Array) -> Array:
        """[n] radians across the way of the hair. side: [n] -1 or 1, of the line, to which each place is reckoned."""
        off, share, middle = self._from(place)
        turn = np.arctan2(np.abs(off[:, 1]), np.maximum(side * off[:, 0], 1e-3))
        size = max(0.7, float(np.hypot(*self.front)))
        past = np.where((share > 0) & (share < 1), 0.0, turn * size) * np.sign(off[:, 1])
        return np.asarray(middle + past - self.sweep * np.abs(off[:, 0]) + 40 * side, np.float32)

    def _from(self, place: Array) -> tuple[Array, Array, Array]:
        start, end = np.array(self.front), np.array(self.back)
        long = end - start
        share = np.clip((place - start) @ long / max(float(long @ long), 1e-6), 0, 1)
        near = start + share[:, None] * long
        return place - near, share, near[:, 1]


@dataclass(frozen=True)
class Layer:
    """Locks of one kind. Lengths in metres, for a face as tall as the template's."""

    flow: Flow
    count: int
    length: Map
    width: float = 0.006
    """half of a lock's, at its widest"""
    where: Map = field(default=lambda place: np.ones(len(place), np.float32))
    edge: float = 1.5
    """how much denser at the hairline"""
    lift: tuple[float, float] = (0.001, 0.006)
    """least and greatest height above the hair below"""
    rise: float = 0.25
    """how steeply it leaves the scalp"""
    hold: float = 0.5
    weight: float = 0.35
    hug: float = 0.0
    """see `locks.grow`"""
    mess: float = 0.2
    """radians that neighbours differ by"""
    uneven: float = 0.2
    """share of their length that locks differ by"""
    wave: float = 0.0
    """metres to either side, `wavelength` apart; `curl` as much out of the plane, 0..1"""
    wavelength: float = 0.06
    curl: float = 0.0
    taper: float = 0.7
    steps: int = 12
    rings: int = 7
    steer: bool = True
    """keep out of the face"""


@dataclass(frozen=True)
class Style:
    """One person's hair."""

    layers: list[Layer]
    flow: Flow
    """of the cap under the locks"""
    cap: Map
    """its thickness, metres"""
    slope: float = 0.16
    """how far within the hairline it reaches that, in face heights"""
    rough: float = 0.0
    """metres by which the cap is uneven, and how fine, radians"""
    grain: float = 0.25
    frizz: float = 0.0
    """how far the cap's strands point anywhere"""
    lower: float = 0.12
    """how far under the painted hairline it begins, in face heights"""
    recedes: float = 1.0
    ears: float = 0.0
    """0 free, 1 covered"""
    knot: tuple[float, float] | None = None
    """where it is gathered: in a bun if there is no `tail`"""
    tail: Layer | None = None
    crest: float | None = None
    """grows only below this height, 0 chin, 1 top of the head"""


def top(place: Array) -> Array:
    """[n] 1 on top of the head, 0 on its sides and nape."""
    return 1 - smooth(0.72, 1.12, np.hypot(place[:, 0], 0.85 * place[:, 1]))


def two(upper: float, sides: float) -> Map:
    """One value on top of the head, another on its sides and nape."""
    return lambda place: sides + (upper - sides) * top(place)


def even(value: float) -> Map:
    """The same value everywhere."""
    return lambda place: np.full(len(place), value, np.float32)


def behind_temples(place: Array) -> Array:
    """[n] 0 before the ears, from where hair combed back would cross them."""
    return 1 - smooth(1.3, 1.5, from_top(place)) * (place[:, 1] < 0.1)


def from_top(place: Array) -> Array:
    """[n] radians from the top of the head."""
    return np.asarray(np.hypot(place[:, 0], place[:, 1]), np.float32)


@dataclass(frozen=True)
class Taste:
    """What is drawn for every person, whatever their cut."""

    rng: np.random.Generator
    female: bool
    side: float
    """-1 or 1"""
    crown: tuple[float, float]
    full: float
    """volume, about 1"""
    mess: float
    """see `Layer.mess`"""

    @classmethod
    def draw(cls, rng: np.random.Generator, female: bool) -> "Taste":
        side = float(rng.choice([-1.0, 1.0]))
        crown = (side * rng.uniform(0.0, 0.15), rng.uniform(0.3, 0.5))
        return cls(rng, female, side, crown, rng.uniform(0.6, 1.4), rng.uniform(0.1, 0.4))
