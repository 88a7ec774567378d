"""What lies behind a rendered person: a wall, a room, lamps, trees, a landscape, a studio.

Pictures are linear RGB, [B, B, 3], over the camera's whole frame. How bright and how plain they are follows real
videos of talking people (benchmarks/README.md, "From rendered to real").
"""

import cv2
import numpy as np

from raytalk.clips.heads.anatomy import Array

_KINDS = {"wall": 0.27, "gradient": 0.09, "room": 0.27, "lights": 0.08, "trees": 0.1, "landscape": 0.08, "studio": 0.11}
_INDOORS = np.array([1.07, 1.0, 0.86], np.float32)
"""what lamps and painted walls make of white, on average"""


def backdrop(rng: np.random.Generator, side: int) -> Array:
    """[side, side, 3] linear."""
    kind = str(rng.choice(list(_KINDS), p=list(_KINDS.values())))
    if kind == "trees":
        picture = _trees(rng, side)
    elif kind == "landscape":
        picture = _landscape(rng, side)
    elif kind == "studio":
        picture = _studio(rng, side)
    else:
        picture = _slope(rng, side, colour(rng), colour(rng) if kind != "wall" else None)
        if kind == "wall":
            _panels(rng, picture)
        elif kind in ("room", "lights"):
            _things(rng, picture)
        if kind == "lights":
            _lamps(rng, picture)
    sharpest = 0.8 if kind == "wall" else 1.2
    blur = float(np.exp(rng.uniform(np.log(sharpest), np.log(8))))
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), np.float32)
    if kind != "studio":
        picture *= np.exp(0.07 * _blobs(rng, side, 9))[..., None]
        picture *= _glow(rng, side)[..., None]
    return np.asarray(np.clip(picture, 0, 4), np.float32)


def colour(rng: np.random.Generator) -> Array:
    """[3] of something that stands about: mostly a bright one, not far from white or grey."""
    kind = rng.random()
    if kind < 0.58:
        grey = rng.uniform(0.3, 1.05)
    elif kind < 0.8:
        grey = rng.uniform(0.09, 0.35)
    else:
        grey = np.exp(rng.uniform(np.log(0.008), np.log(0.1)))
    hue = rng.dirichlet(np.full(3, 70.0 if rng.random() < 0.8 else 6.0)) * 3 * _INDOORS
    return np.asarray(np.clip(grey * hue, 0, 1.1), np.float32)


def _slope(rng: np.random.Generator, side: int, first: Array, second: Array | None) -> Array:
    """From one colour to another, or a wall that a lamp lights from one side."""
    y, x = _places(side)
    turn = rng.uniform(0, 2 * np.pi)
    share = np.clip(0.5 + (x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn), 0, 1)
    end = first * rng.uniform(0.45, 1.0) if second is None else second
    return np.asarray(first + share[..., None] * (end - first), np.float32)


def _panels(rng: np.random.Generator, picture: Array) -> None:
    """Corners, doors and skirting of a room: straight edges, and a side in the shade."""
    side = len(picture)
    for _ in range(rng.integers(0, 4)):
        place, shade = int(rng.integers(side // 8, side - side // 8)), float(rng.uniform(0.5, 1.25))
        upright = rng.random() < 0.75
        part = picture if upright else picture.transpose(1, 0, 2)
        if rng.random() < 0.5:
            part[:, place:] *= shade
        else:
            wide = int(rng.integers(2, 12))
            part[:, place : place + wide] *= shade


def _things(rng: np.random.Generator, picture: Array) -> None:
    """Furniture, frames, shelves, and whatever else is out of focus."""
    side = len(picture)
    for _ in range(rng.integers(4, 14)):
        tone = (colour(rng) * rng.uniform(0.4, 1.2)).tolist()
        x, y = (int(value) for value in rng.integers(-side // 4, side, 2))
        wide, high = (int(value) for value in rng.integers(side // 12, side // 2, 2))
        kind = rng.random()
        if kind < 0.6:
            cv2.rectangle(picture, (x, y), (x + wide, y + 2 * high), tone, -1)
            if rng.random() < 0.4:
                frame = (np.array(tone) * rng.uniform(0.2, 1.6)).tolist()
                cv2.rectangle(picture, (x, y), (x + wide, y + 2 * high), frame, int(rng.integers(2, 8)))
        elif kind < 0.8:
            cv2.line(picture, (x, y), (x + 4 * wide, y + int(rng.integers(-20, 20))), tone, int(rng.integers(2, 14)))
        else:
            cv2.ellipse(picture, (x, y), (wide // 2, high // 2), rng.uniform(0, 180), 0, 360, tone, -1)


def _lamps(rng: np.random.Generator, picture: Array) -> None:
    side = len(picture)
    for _ in range(rng.integers(6, 22)):
        tone = (rng.uniform(0.6, 2.5) * np.array([1, rng.uniform(0.6, 1), rng.uniform(0.3, 1)])).tolist()
        place = tuple(int(value) for value in rng.integers(0, side, 2))
        cv2.circle(picture, place, int(rng.integers(2, 9)), tone, -1, cv2.LINE_AA)


def _trees(rng: np.random.Generator, side: int) -> Array:
    """Leaves in sun and shade, and the sky between them."""
    leaves = sum(_blobs(rng, side, cells) / weight for cells, weight in ((6, 1.0), (24, 1.2), (80, 1.5)))
    green = np.array([rng.uniform(0.08, 0.3), rng.uniform(0.14, 0.32), rng.uniform(0.03, 0.12)], np.float32)
    picture = green * np.exp(rng.uniform(0.4, 0.9) * leaves)[..., None]
    sky = np.clip((_blobs(rng, side, 12) - rng.uniform(0.6, 2.5)) * 3, 0, 1)[..., None]
    return np.asarray(picture * (1 - sky) + sky * np.array([0.8, 0.9, 1.0]) * rng.uniform(0.6, 1.4), np.float32)


def _landscape(rng: np.random.Generator, side: int) -> Array:
    """Sky above, hills or houses, ground below."""
    x = np.arange(side)
    picture = np.empty((side, side, 3), np.float32)
    picture[:] = np.array([0.62, 0.75, 0.9]) * rng.uniform(0.5, 1.3)
    horizon = rng.uniform(0.3, 0.75) * side
    for step in range(rng.integers(1, 4)):
        ridge = np.interp(x, np.linspace(0, side, 9), rng.normal(0, 0.07 * side, 9)) + horizon + step * 0.12 * side
        tone = colour(rng) * np.array([0.55, 0.6, 0.5], np.float32)
        picture[np.arange(side)[:, None] > ridge] = tone
    return np.asarray(picture * np.exp(0.06 * _blobs(rng, side, 30))[..., None], np.float32)


def _studio(rng: np.random.Generator, side: int) -> Array:
    """Paper or cloth of one colour, evenly lit or falling off to the edges; green and blue screens among them."""
    plain = [
        (0.85, 0.85, 0.85),
        (0.4, 0.4, 0.42),
        (0.12, 0.12, 0.13),
        (0.01, 0.01, 0.01),
        (0.06, 0.35, 0.13),
        (0.1, 0.2, 0.5),
    ]
    tone = np.array(plain[int(rng.choice(len(plain), p=[0.3, 0.24, 0.14, 0.12, 0.12, 0.08]))]) * rng.uniform(0.75, 1.15)
    y, x = _places(side) - 0.5
    fall = np.exp(-rng.choice([0.0, rng.uniform(0.5, 5.0)]) * (x**2 + y**2))
    return np.asarray(tone * fall[..., None], np.float32)


def _glow(rng: np.random.Generator, side: int) -> Array:
    y, x = _places(side)
    middle, radius = rng.uniform(0.1, 0.9, 2), rng.uniform(0.4, 1.2)
    return np.asarray(0.7 + 0.5 * np.exp(-((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / radius**2), np.float32)


def _places(side: int) -> Array:
    """[2, side, side] y and x of each pixel, 0..1."""
    return np.asarray(np.mgrid[:side, :side].astype(np.float32) / side, np.float32)


def _blobs(rng: np.random.Generator, side: int, cells: int) -> Array:
    """[side, side] smooth noise of unit deviation."""
    grid = rng.standard_normal((cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC) * 1.35, np.float32)
