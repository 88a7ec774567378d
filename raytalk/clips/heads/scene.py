"""What differs from clip to clip: light, background, camera, and what the person wears."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.anatomy import Array
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
    blur: float
    """of the lens, as a share of the picture's side"""


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
        exposure=_f(rng.uniform(0.86, 1.12) * np.array([1 + rng.normal(0, 0.02), 1.0, 1 + rng.normal(0, 0.025)])),
        background=background(rng, 384),
        distance=float(np.exp(rng.uniform(np.log(0.65), np.log(2.2)))),
        camera=_f([rng.normal(0, 0.07), rng.normal(0.02, 0.07)]),
        roll=float(rng.normal(0, 0.025)),
        collar=str(rng.choice(["crew", "v", "wide", "turtleneck", "shirt"], p=[0.34, 0.18, 0.12, 0.1, 0.26])),
        cloth=_cloth(rng),
        cloth_second=_cloth(rng),
        pattern=int(rng.choice(4, p=[0.62, 0.16, 0.1, 0.12])),
        pattern_scale=float(rng.uniform(14, 45)),
        grain=float(rng.gamma(2.0, 0.7)),
        blur=float(rng.choice([0.0, 0.0, rng.uniform(0.0008, 0.0022)])),
    )


def background(rng: np.random.Generator, side: int) -> Array:
    """[side, side, 3] linear: a wall, a gradient, an interior or a street out of focus."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    picture = np.empty((side, side, 3), np.float32)
    first, second = _wall(rng), _wall(rng)
    kind = rng.choice(["wall", "gradient", "shapes", "lights", "noise"], p=[0.2, 0.2, 0.32, 0.13, 0.15])
    turn = rng.uniform(0, 2 * np.pi)
    slope = np.clip(0.5 + (x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn), 0, 1)
    if kind == "wall":
        second = first * rng.uniform(0.6, 1.0)
    picture[:] = first + slope[..., None] * (second - first)
    if kind in ("shapes", "lights"):
        for _ in range(rng.integers(4, 14)):
            colour = (_wall(rng) * rng.uniform(0.4, 1.3)).tolist()
            x0, y0 = rng.integers(-side // 4, side, 2)
            wide, high = rng.integers(side // 12, side // 2, 2)
            if rng.random() < 0.75:
                cv2.rectangle(picture, (int(x0), int(y0)), (int(x0 + wide), int(y0 + 2 * high)), colour, -1)
            else:
                cv2.ellipse(
                    picture,
                    (int(x0), int(y0)),
                    (int(wide // 2), int(high // 2)),
                    rng.uniform(0, 180),
                    0,
                    360,
                    colour,
                    -1,
                )
    if kind == "lights":
        for _ in range(rng.integers(6, 22)):
            colour = (rng.uniform(0.6, 2.5) * np.array([1, rng.uniform(0.6, 1), rng.uniform(0.3, 1)])).tolist()
            cv2.circle(
                picture,
                tuple(int(v) for v in rng.integers(0, side, 2)),
                int(rng.integers(2, 9)),
                colour,
                -1,
                cv2.LINE_AA,
            )
    picture[:] = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(1.5, 9)))
    rough = cv2.resize(rng.standard_normal((9, 9)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    strength = 0.35 if kind == "noise" else 0.08
    picture *= np.exp(strength * rough)[..., None]
    middle, radius = rng.uniform(0.2, 0.8, 2), rng.uniform(0.5, 1.2)
    glow = np.exp(-((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / radius**2)
    return np.asarray(np.clip(picture * (0.75 + 0.4 * glow[..., None]), 0, 4), np.float32)


def _way(turn: float, lift: float) -> Colour:
    """A unit vector to a light: `turn` radians to the person's left of the camera, `lift` above it."""
    lift = float(np.clip(lift, -0.4, 1.2))
    return _f([np.sin(turn) * np.cos(lift), -np.cos(turn) * np.cos(lift), np.sin(lift)])


def _wall(rng: np.random.Generator) -> Colour:
    grey = float(np.exp(rng.uniform(np.log(0.03), np.log(0.85))))
    hue = rng.dirichlet(np.full(3, 40.0 if rng.random() < 0.75 else 4.0)) * 3
    return _f(np.clip(grey * hue, 0, 0.95))


def _cloth(rng: np.random.Generator) -> Colour:
    plain = ["#101114", "#1c2333", "#2d2f34", "#e9e7e2", "#c9ccd1", "#7d8590", "#34465e", "#5a2328", "#3f4f3a"]
    bright = ["#a8322d", "#2f5f9e", "#c9a13b", "#3d8a6b", "#8a4f9a", "#d06a8a", "#d9722e", "#4aa3b5"]
    colour = linear(str(rng.choice(plain if rng.random() < 0.66 else bright)))
    return _f(colour * rng.uniform(0.8, 1.2))


def _f(values: npt.ArrayLike) -> Colour:
    return np.asarray(values, np.float32)
