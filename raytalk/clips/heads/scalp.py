"""Where hair grows on a person, and the flat map of the head in which it is combed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.anatomy import SKIN, Anatomy, Array, unwrap
from raytalk.clips.heads.attach import Patch, cut, halved_sides, vertex_normals
from raytalk.clips.heads.signals import smoothstep
from raytalk.clips.heads.skin import scalp

Ints = npt.NDArray[np.int32]
Flow = Callable[[Array], Array]
"""map points [n, 2] to the way hair is combed there [n, 2]"""


@dataclass(frozen=True)
class Scalp:
    """A person's head from the nape up, finer than the anatomy. n vertices, m triangles."""

    points: Array
    """[n, 3] metres"""
    normals: Array
    weights: Array
    """[n, 5] see `Anatomy.weights`"""
    inside: Array
    """[n] how far a vertex lies within the hairline, in distances from brow to chin; negative outside"""
    triangles: Ints
    centre: Array
    """[3] of the head, metres"""
    face: float
    """distance from brows to chin, metres"""
    outline: Array
    """[V] `inside` of the anatomy's own vertices"""

    def place(self, points: Array) -> Array:
        """Points [..., 3] on the map [..., 2]: radians from the top of the head, to its left and to its back."""
        way = points - self.centre
        way = way / np.linalg.norm(way, axis=-1, keepdims=True)
        flat = way[..., :2] / np.maximum(np.linalg.norm(way[..., :2], axis=-1, keepdims=True), 1e-6)
        return np.asarray(np.arccos(np.clip(way[..., 2:], -1, 1)) * flat, np.float32)

    def comb(self, points: Array, normals: Array, flow: Flow) -> Array:
        """Unit vectors [n, 3] along the skin: the way of `flow` at points [n, 3] with normals [n, 3]."""
        place = self.place(points)
        step = 0.02
        ahead = _lift(place + step * flow(place)) - _lift(place)
        ahead -= normals * (ahead * normals).sum(axis=1, keepdims=True)
        return np.asarray(ahead / np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9), np.float32)


def hairline(anatomy: Anatomy, receded: float, lower: float) -> Array:
    """[V] see `Scalp.outline`. receded: `Person.hairline`; lower: by how much the hair begins below the painted one."""
    place = unwrap(anatomy.template, anatomy.axis)
    angle = np.abs(place[:, 0] - 0.5) * 360
    inside = at_vertices(anatomy, scalp(anatomy, receded))
    inside += lower * np.clip(1 - angle / 75, 0, 1) ** 0.5
    return np.asarray(np.minimum(inside, 0.5 - 1.5 * anatomy.ears), np.float32)


def at_vertices(anatomy: Anatomy, picture: Array) -> Array:
    """[V] what a picture of the skin texture's size shows at each vertex."""
    place = unwrap(anatomy.template, anatomy.axis)
    row = np.clip((place[:, 1] * picture.shape[0]).astype(np.int64), 0, picture.shape[0] - 1)
    column = np.clip((place[:, 0] * picture.shape[1]).astype(np.int64), 0, picture.shape[1] - 1)
    return np.asarray(picture[row, column])


def find_scalp(anatomy: Anatomy, rest: Array, normals: Array, outline: Array) -> Scalp:
    """The head of the resting person [V, 3] around this hairline, each triangle divided into four."""
    triangles = anatomy.triangles[anatomy.materials == SKIN]
    high = anatomy.template[:, 2] > anatomy.template[anatomy.landmarks[8], 2]
    near = (outline[triangles] > -0.06).any(axis=1) & high[triangles].all(axis=1)
    brows = rest[anatomy.landmarks[17:27]].mean(axis=0)
    face = float(np.linalg.norm(brows - rest[anatomy.landmarks[8]]))
    grown = rest[(outline > 0) & high]
    low, top = grown.min(axis=0), grown.max(axis=0)
    ears = rest[anatomy.ears > 0.5]
    centre = np.array([(low[0] + top[0]) / 2, (low[1] + top[1]) / 2, ears[:, 2].max() + 0.01], np.float32)
    used, local = np.unique(triangles[near], return_inverse=True)
    columns = np.concatenate([rest, normals, anatomy.weights, outline[:, None]], axis=1)[used]
    columns, divided = _divide(columns, local.reshape(-1, 3).astype(np.int32))
    ways = columns[:, 3:6] / np.linalg.norm(columns[:, 3:6], axis=1, keepdims=True)
    return Scalp(columns[:, :3], ways, columns[:, 6:11], columns[:, 11], divided, centre, face, outline)


def grown(scalp: Scalp, field: Array) -> tuple[Patch, Array]:
    """The part where `field` [n] is positive, and its smooth normals."""
    patch = cut(scalp.points, scalp.normals, field, scalp.weights, scalp.triangles)
    return patch, patch.normals / np.linalg.norm(patch.normals, axis=1, keepdims=True)


def obstacle(
    anatomy: Anatomy, rest: Array, scalp: Scalp, cap: Array, cap_triangles: Ints, ears: bool
) -> tuple[Array, Ints, Array]:
    """What locks lie on: the cap [k, 3] and the skin that it does not cover, with or without ears (their folds turn
    hair every way). Points, triangles, normals."""
    triangles = anatomy.triangles[anatomy.materials == SKIN]
    bare = triangles[(scalp.outline[triangles] < 0.02).any(axis=1)]
    if not ears:
        bare = bare[anatomy.ears[bare].max(axis=1) < 0.5]
    points = np.concatenate([rest, cap]).astype(np.float32)
    every = np.concatenate([bare, cap_triangles + len(rest)]).astype(np.int32)
    return points, every, vertex_normals(points, every)


def smooth(low: float, high: float, value: Array) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    return np.asarray(smoothstep((value - low) / (high - low)), np.float32)


def _lift(place: Array) -> Array:
    """Directions [n, 3] from the head's centre of places on the map [n, 2]."""
    angle = np.linalg.norm(place, axis=1, keepdims=True)
    return np.asarray(np.concatenate([place * np.sinc(angle / np.pi), np.cos(angle)], axis=1), np.float32)


def _divide(columns: Array, triangles: Ints) -> tuple[Array, Ints]:
    """Each triangle into four, edges bulging as the normals (columns 3 to 5) tell (Boubekeur and Alexa 2008)."""
    pairs, middles = halved_sides(triangles, len(columns))
    first, second = columns[pairs[:, 0]], columns[pairs[:, 1]]
    middle = (first + second) / 2
    flat = middle[:, :3].copy()
    for end in (first, second):
        off = ((flat - end[:, :3]) * end[:, 3:6]).sum(axis=1, keepdims=True)
        middle[:, :3] -= 0.375 * off * end[:, 3:6]
    a, b, c = triangles.T
    ab, bc, ca = middles.T
    parts = [np.stack(part, axis=1) for part in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    return np.concatenate([columns, middle]).astype(np.float32), np.concatenate(parts).astype(np.int32)
