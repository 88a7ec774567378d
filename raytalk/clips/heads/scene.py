"""What differs from clip to clip: light, background, camera, and what the person wears."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.anatomy import Array
from raytalk.clips.heads.backdrop import backdrop
from raytalk.clips.heads.film import Film, draw_film
from raytalk.clips.heads.person import Colour, linear


@dataclass(frozen=True)
class Light:
    """One lamp; `way` points to it."""

    way: Colour
    colour: Colour


@dataclass(frozen=True)
class Scene:
    """One clip's surroundings. Directions as in `shading.py`."""

    sky: Colour
    zenith: Colour
    key: Light
    fill: Light
    rim: Light
    exposure: Colour
    background: Array
    """[B, B, 3] linear: what lies behind, over the whole field of view"""
    distance: float
    """of the camera from the face, metres"""
    camera: Array
    """[2] how far the camera stands to the person's left and above the eyes, radians"""
    roll: float
    """of the camera, radians"""
    collar: str
    """crew, v, wide, turtleneck or shirt"""
    cloth: Colour
    cloth_second: Colour
    pattern: int
    pattern_scale: float
    grain: float
    """standard deviation of the sensor's noise, of 255"""
    film: Film


def draw_scene(rng: np.random.Generator) -> Scene:
    """The surroundings of one clip."""
    warm = float(rng.normal(0, 0.11))
    tint = np.array([1 + warm, 1.0, 1 - warm], np.float32)
    contrast = float(rng.beta(2.0, 2.0))
    level = 1.5 - 1.0 * contrast
    side = float(rng.choice([-1.0, 1.0]))
    key_way = _way(side * abs(rng.normal(0.6, 0.4)), rng.normal(0.5, 0.25))
    key_tint = np.array([1 + rng.normal(0.04, 0.08), 1.0, 1 + rng.normal(-0.04, 0.10)])
    fill_tint = np.array([1 + rng.normal(0, 0.12), 1.0, 1 + rng.normal(0, 0.14)])
    rim_on = float(rng.random() < 0.5)
    return Scene(
        sky=_f(0.26 * level * tint * rng.uniform(0.7, 1.1)),
        zenith=_f(0.34 * level * tint * rng.uniform(0.5, 1.1)),
        key=Light(key_way, _f((0.45 + 0.85 * contrast) * key_tint)),
        fill=Light(
            _way(-side * abs(rng.normal(0.9, 0.3)), rng.normal(0.1, 0.25)), _f(rng.uniform(0.08, 0.42) * fill_tint)
        ),
        rim=Light(
            _way(-side * rng.uniform(2.1, 2.8), rng.uniform(0.1, 0.8)), _f(rim_on * rng.uniform(0.3, 1.5) * tint)
        ),
        exposure=_f(
            np.exp(rng.normal(-0.27, 0.2)) * np.array([1 + rng.normal(0.03, 0.05), 1, 1 + rng.normal(-0.03, 0.08)])
        ),
        background=backdrop(rng, 384),
        distance=float(np.exp(rng.uniform(np.log(0.65), np.log(2.2)))),
        camera=_f([rng.normal(0, 0.07), rng.normal(0.02, 0.07)]),
        roll=float(rng.normal(0, 0.025)),
        collar=str(rng.choice(["crew", "v", "wide", "turtleneck", "shirt"], p=[0.34, 0.18, 0.12, 0.1, 0.26])),
        cloth=_cloth(rng),
        cloth_second=_cloth(rng),
        pattern=int(rng.choice(4, p=[0.62, 0.16, 0.1, 0.12])),
        pattern_scale=float(rng.uniform(14, 45)),
        grain=float(rng.gamma(1.2, 0.4)),
        film=draw_film(rng),
    )


def _way(turn: float, lift: float) -> Colour:
    """A unit vector to a light: `turn` radians to the person's left of the camera, `lift` above it."""
    lift = float(np.clip(lift, -0.4, 1.2))
    return _f([np.sin(turn) * np.cos(lift), -np.cos(turn) * np.cos(lift), np.sin(lift)])


def _cloth(rng: np.random.Generator) -> Colour:
    plain = ["#101114", "#1c2333", "#2d2f34", "#e9e7e2", "#c9ccd1", "#7d8590", "#34465e", "#5a2328", "#3f4f3a"]
    bright = ["#a8322d", "#2f5f9e", "#c9a13b", "#3d8a6b", "#8a4f9a", "#d06a8a", "#d9722e", "#4aa3b5"]
    colour = linear(str(rng.choice(plain if rng.random() < 0.66 else bright)))
    return _f(colour * rng.uniform(0.8, 1.2))


def _f(values: npt.ArrayLike) -> Colour:
    return np.asarray(values, np.float32)
