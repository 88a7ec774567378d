"""Short locks over the painted ground of a moustache, goatee or beard. They move with the jaw."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.anatomy import SKIN, Anatomy, Array
from raytalk.clips.heads.attach import Attachment
from raytalk.clips.heads.locks import Ground, Roots, along, grow, ribbons, unit_rows
from raytalk.clips.heads.person import Person
from raytalk.clips.heads.scalp import Ints, at_vertices, smooth
from raytalk.clips.heads.shading import HAIR
from raytalk.clips.heads.skin import beard_area

_STEPS, _RINGS = 5, 4
_TALL = 0.112
"""metres from the root of the nose to the chin of the template"""


@dataclass(frozen=True)
class _Kind:
    """Ranges that a person's beard is drawn from, in metres."""

    count: int
    lip: tuple[float, float]
    """length of the moustache"""
    chin: tuple[float, float]
    """length on the chin; the cheeks have half"""


_KINDS = {
    "moustache": _Kind(240, (0.006, 0.011), (0.004, 0.004)),
    "goatee": _Kind(420, (0.005, 0.009), (0.006, 0.02)),
    "short beard": _Kind(620, (0.005, 0.008), (0.005, 0.010)),
    "full beard": _Kind(900, (0.007, 0.011), (0.014, 0.042)),
}


def beard(anatomy: Anatomy, rest: Array, normals: Array, person: Person) -> list[Attachment]:
    """Locks of the beard of the resting person: vertices [V, 3] with their normals. None for "none" and "stubble"."""
    kind = _KINDS.get(person.beard)
    if kind is None:
        return []
    rng = np.random.default_rng([person.seed, 8])
    marks = rest[anatomy.landmarks]
    size = float(np.linalg.norm(marks[8] - marks[27])) / _TALL
    lip = smooth(-0.002, 0.004, rest[:, 2] - marks[[48, 54], 2].mean())
    lip = lip * smooth(-0.046, -0.036, -np.abs(rest[:, 0] - marks[51, 0]))
    comb = _comb(rest - marks[51], normals, lip)
    near_chin = np.exp(-(np.linalg.norm((rest - marks[8]) * [1, 0.6, 0.8], axis=1) ** 2) / (0.034 * size) ** 2)
    long, upper = float(rng.uniform(*kind.chin)), float(rng.uniform(*kind.lip))
    length = size * ((0.4 + 0.6 * near_chin) * long * (1 - lip) + upper * lip)
    # The moustache is small: its own share of the locks would leave it thin. Far under the chin one shaves.
    behind = rest[:, 1] - marks[8, 1] > (0.05 if person.beard == "full beard" else 0.026) * size
    dense = (0.5 + 0.5 * lip) * ~(behind & (rest[:, 2] < marks[8, 2] - 0.002))
    area = beard_area(anatomy, person.beard)
    close = at_vertices(anatomy, np.asarray(cv2.dilate(area, np.ones((31, 31), np.uint8)), np.float32)) > 0.3
    near = np.flatnonzero((anatomy.materials == SKIN) & close[anatomy.triangles].any(axis=1))
    faces, mix = _pick(anatomy, rest, near, area, dense, kind.count, rng)
    count = len(faces)

    def mixed(values: Array) -> Array:
        return np.asarray((values[faces] * mix.reshape(count, 3, *[1] * (values.ndim - 1))).sum(axis=1), np.float32)

    anchors = faces[np.arange(count), mix.argmax(axis=1)].astype(np.int32)
    ways = mixed(comb) + mixed(normals) * rng.uniform(0.2, 0.8, (count, 1)) + rng.normal(0, 0.2, (count, 3))
    own = mixed(length) * np.maximum(1 + 0.25 * rng.standard_normal(count), 0.4)
    roots = Roots(
        points=mixed(rest) - 0.0006 * mixed(normals),
        ways=unit_rows(ways),
        lengths=own.astype(np.float32),
        lift=(own * rng.uniform(0.0, 0.28, count)).astype(np.float32),
        weights=anatomy.weights[anchors],
        clump=np.zeros(count, np.float32),
    )
    off = np.full(len(rest), 0.0006, np.float32)
    ground = Ground(rest, anatomy.triangles[near], normals, comb, lip, off, smooth(0.2, 0.9, anatomy.lips))
    lines, facing, ends = grow(ground, roots, _STEPS, hold=0.55, weight=0.25, hug=0.0)
    share = np.linspace(0, 1, _RINGS, dtype=np.float32)
    steps = share * ends[:, None]
    widths = np.array([0.8, 1.0, 0.75, 0.08]) * (rng.uniform(0.0011, 0.0021, count) * size)[:, None]
    widths = widths * np.clip(roots.lengths / (0.012 * size), 0.75, 1.5)[:, None]
    grown = np.broadcast_to(0.1 + 0.6 * share, widths.shape)
    points, triangles, corners, strands = ribbons(along(lines, steps), unit_rows(along(facing, steps)), widths, grown)
    each = len(points) // max(count, 1)
    weights = np.repeat(roots.weights, each, axis=0)
    return [Attachment(points, triangles, HAIR, corners, strands, np.repeat(anchors, each), weights)]


def _comb(from_lip: Array, normals: Array, lip: Array) -> Array:
    """[V, 3] unit vectors: down, and outwards from the middle of the lip. lip: [V] 1 where a moustache grows."""
    side = smooth(0.0, 0.012, np.abs(from_lip[:, 0])) * np.sign(from_lip[:, 0])
    way = np.stack([side * (0.25 + 0.6 * lip), np.full(len(lip), -0.1), -1 + 0.45 * lip], axis=1)
    return unit_rows(way - normals * (way * normals).sum(axis=1, keepdims=True))


def _pick(
    anatomy: Anatomy,
    rest: Array,
    near: npt.NDArray[np.int64],
    area: Array,
    dense: Array,
    count: int,
    rng: np.random.Generator,
) -> tuple[Ints, Array]:
    """Up to `count` random places on the triangles `near`: their vertices [n, 3], and each one's share [n, 3].

    area: a picture of the skin texture's size, 0..1; dense: [V] 0..1. Both say where hair grows.
    """
    corners = rest[anatomy.triangles[near]]
    sizes = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    tries = 40 * count
    picks = near[rng.choice(len(near), tries, p=sizes / sizes.sum())]
    faces, mix = anatomy.triangles[picks], rng.dirichlet([1.0, 1.0, 1.0], tries).astype(np.float32)
    spot = (anatomy.unwrapped[picks] * mix[..., None]).sum(axis=1) * [area.shape[1], area.shape[0]]
    column, row = (np.clip(spot[:, axis].astype(np.int64), 0, area.shape[1 - axis] - 1) for axis in (0, 1))
    grows = area[row, column] > rng.uniform(0.25, 0.75, tries)
    grows &= (anatomy.lips[faces] * mix).sum(axis=1) < 0.25
    grows &= rng.random(tries) < (dense[faces] * mix).sum(axis=1)
    kept = np.flatnonzero(grows)[:count]
    return faces[kept], mix[kept]
