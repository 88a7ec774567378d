"""Hair that is tied: a ponytail's roots, and a bun."""

import numpy as np

from raytalk.clips.heads.anatomy import Array
from raytalk.clips.heads.attach import HEAD_ONLY, Attachment
from raytalk.clips.heads.layers import Setting, noise
from raytalk.clips.heads.locks import Roots, ribbons, unit_rows
from raytalk.clips.heads.shading import HAIR
from raytalk.clips.heads.styles import Layer


def _at(setting: Setting, knot: tuple[float, float]) -> tuple[Array, Array]:
    """The cap's point nearest to a place, and its normal."""
    cap = setting.cap
    nearest = int(np.argmin(np.linalg.norm(setting.scalp.place(cap.points) - np.array(knot), axis=1)))
    return cap.points[nearest], setting.ground.normals[-len(cap.points) :][nearest]


def tail_roots(setting: Setting, knot: tuple[float, float], layer: Layer, rng: np.random.Generator) -> Roots:
    """A bundle that leaves the head at the knot."""
    point, normal = _at(setting, knot)
    count, size = layer.count, setting.size
    off = rng.normal(0, 1, (count, 3))
    off -= normal * (off @ normal)[:, None]
    off *= (
        0.007
        * size
        * np.sqrt(rng.random(count))[:, None]
        / np.maximum(np.linalg.norm(off, axis=1, keepdims=True), 1e-6)
    )
    ways = unit_rows(normal + 45 * off / size + np.array([0, 0, 0.25]))
    length = layer.length(np.zeros((count, 2), np.float32)) * (1 + layer.uneven * rng.standard_normal(count)) * size
    low, high = layer.lift
    return Roots(
        points=(point + off).astype(np.float32),
        ways=ways,
        lengths=length.astype(np.float32),
        lift=(rng.uniform(low, high, count) * size).astype(np.float32),
        weights=np.tile(HEAD_ONLY, (count, 1)),
        clump=noise(rng, np.asarray(off[:, :2] * 100, np.float32), 0.7),
    )


def bun(setting: Setting, knot: tuple[float, float], rng: np.random.Generator) -> Attachment:
    """Hair wound around a ball: wide bands inside, locks over them."""
    point, normal = _at(setting, knot)
    radius = float(rng.uniform(0.026, 0.042)) * setting.size
    flat = float(rng.uniform(0.75, 1.0))
    middle = point + normal * radius * 0.7
    bands, count, rings = 50, 150, 9
    # Winding axes lean off the knot's own by up to `wild`: coiled neatly, or rolled up anyhow.
    wild = float(rng.uniform(0.35, 1.1))
    axes = unit_rows(normal + rng.normal(0, wild, (count, 3)))
    first = unit_rows(np.cross(axes, rng.normal(0, 1, (count, 3))))
    second = np.cross(axes, first)
    latitude = rng.uniform(-0.9, 0.9, count)
    turn = rng.uniform(0, 6.28, count)[:, None] + np.linspace(0, 1, rings) * rng.uniform(1.3, 2.4, count)[:, None]
    level = np.cos(latitude)[:, None, None]
    way = first[:, None] * np.cos(turn)[..., None] * level + second[:, None] * np.sin(turn)[..., None] * level
    way = way + axes[:, None] * np.sin(latitude)[:, None, None]
    inner = np.arange(count) < bands
    far = radius * np.where(inner, 0.88, 1.0) * rng.uniform(0.95, 1.05, count)
    share = np.linspace(-1, 1, rings)
    far = far[:, None] * (1 - 0.12 * np.abs(share) ** 3)
    way = way - normal * ((1 - flat) * (way @ normal))[..., None]
    lines = (middle + way * far[..., None]).astype(np.float32)
    widths = (np.where(inner, 0.011, 0.0045) * setting.size)[:, None] * np.sqrt(1.02 - np.abs(share) ** 3)
    grown = np.broadcast_to(np.linspace(0.3, 0.8, rings, dtype=np.float32), (count, rings))
    points, triangles, corners, strands = ribbons(lines, unit_rows(way), np.asarray(widths, np.float32), grown)
    still = np.full(len(points), -1, np.int32)
    return Attachment(points, triangles, HAIR, corners, strands, still, np.tile(HEAD_ONLY, (len(points), 1)))
