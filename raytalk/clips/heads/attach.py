"""What is put on a head: hair, clothes, glasses. Made on the resting person, it follows skin and joints."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.anatomy import Array

HEAD_ONLY = np.array([0, 0, 0, 0, 1], np.float32)
"""weights of what follows the skull alone"""


@dataclass(frozen=True)
class Attachment:
    """n vertices, m triangles."""

    points: Array
    """[n, 3] metres, on the resting person"""
    triangles: npt.NDArray[np.int32]
    """[m, 3]"""
    material: int
    corners: Array
    """[m, 3, 2] see `render.Surface`"""
    strands: Array
    """[n, 3] the way hair grows; 0 where there is none"""
    anchors: npt.NDArray[np.int32]
    """[n] the vertex of the anatomy whose movements of the face it shares; -1 for none"""
    weights: Array
    """[n, 5] see `Anatomy.weights`"""


def vertex_normals(points: Array, triangles: npt.NDArray[np.int32]) -> Array:
    """[N, 3] unit vectors."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.zeros(points.shape, np.float64)
    for axis in range(3):
        for corner in range(3):
            normals[:, axis] += np.bincount(triangles[:, corner], faces[:, axis], len(points))
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(normals / np.maximum(lengths, 1e-12), np.float32)


@dataclass(frozen=True)
class Patch:
    """A part of the skin: its triangles cut along a line."""

    points: Array
    normals: Array
    values: Array
    """[n] the field that it was cut by, 0 or more"""
    weights: Array
    anchors: npt.NDArray[np.int32]
    triangles: npt.NDArray[np.int32]


def cut(points: Array, normals: Array, field: Array, weights: Array, triangles: npt.NDArray[np.int32]) -> Patch:
    """The part of a mesh where `field` [N] is positive, cut exactly where it is zero."""
    positive = field > 0
    count = positive[triangles].sum(axis=1)
    whole = triangles[count == 3]
    new: list[list[int]] = []
    between: dict[tuple[int, int], int] = {}

    def crossing(inside: int, outside: int) -> int:
        return between.setdefault((inside, outside), len(points) + len(between))

    for triangle in triangles[(count == 1) | (count == 2)].tolist():
        while not (positive[triangle[0]] and (count_of(positive, triangle) == 1 or positive[triangle[1]])):
            triangle = triangle[1:] + triangle[:1]
        a, b, c = triangle
        if count_of(positive, triangle) == 1:
            new.append([a, crossing(a, b), crossing(a, c)])
        else:
            from_a, from_b = crossing(a, c), crossing(b, c)
            new += [[a, b, from_b], [a, from_b, from_a]]
    inside, outside = (np.array([pair[side] for pair in between], dtype=np.int64).reshape(-1) for side in (0, 1))
    share = (field[inside] / (field[inside] - field[outside]))[:, None]

    def extended(values: Array) -> Array:
        return np.concatenate([values, values[inside] * (1 - share) + values[outside] * share]).astype(np.float32)

    every = np.concatenate([whole.reshape(-1, 3), np.array(new, dtype=np.int64).reshape(-1, 3)])
    kept, renumbered = np.unique(every, return_inverse=True)
    return Patch(
        extended(points)[kept],
        extended(normals)[kept],
        np.concatenate([field, np.zeros(len(between), np.float32)])[kept],
        extended(weights)[kept],
        np.concatenate([np.arange(len(points)), inside])[kept].astype(np.int32),
        renumbered.reshape(-1, 3).astype(np.int32),
    )


def count_of(positive: npt.NDArray[np.bool_], triangle: Sequence[int]) -> int:
    """Corners of a triangle that are positive."""
    return int(positive[list(triangle)].sum())


def quartered(
    arrays: Sequence[Array], triangles: npt.NDArray[np.int32], chosen: npt.NDArray[np.bool_]
) -> tuple[list[Array], npt.NDArray[np.int32]]:
    """Split the chosen triangles in four at the middles of their sides; arrays [N, .] get the middles' means added.

    Neighbours that are not split keep their flat sides, so no gap opens.
    """
    split = triangles[chosen]
    ends, middles = halved_sides(split, len(arrays[0]))
    a, b, c = split.T
    ab, bc, ca = middles.T
    fine = [np.stack(corners, axis=1) for corners in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))]
    grown = [np.concatenate([values, values[ends].mean(axis=1)]).astype(np.float32) for values in arrays]
    return grown, np.concatenate([triangles[~chosen], *fine]).astype(np.int32)


def halved_sides(triangles: npt.NDArray[np.int32], first: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The two ends of each side of triangles [m, 3], [k, 2], and the vertices in the middles of sides ab, bc and ca of
    each triangle, [m, 3], if the middle of side number i becomes vertex `first` + i."""
    sides = np.sort(np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    ends, number = np.unique(sides, axis=0, return_inverse=True)
    return ends, (number.reshape(-1, 3) + first).astype(np.int32)


def tube(
    line: Array, widths: Array, flat: float, sides: int, facing: Array, closed: bool = False
) -> tuple[Array, npt.NDArray[np.int32], Array]:
    """A tube along a line. line: [k, 3] metres; widths: [k] radius; flat: thickness over width; facing: [k, 3] the flat
    side. Returns points [k * sides, 3], triangles and corners [., 3, 2]: 0..0.9 across and 0..1 along."""
    count = len(line)
    ahead = np.roll(line, -1, axis=0) - np.roll(line, 1, axis=0)
    if not closed:
        ahead[0], ahead[-1] = line[1] - line[0], line[-1] - line[-2]
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9)
    across = np.cross(ahead, facing)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    out = np.cross(across, ahead)
    turn = np.arange(sides) / sides * 2 * np.pi
    ring = (across[:, None] * np.cos(turn)[:, None] + out[:, None] * (flat * np.sin(turn))[:, None]) * widths[
        :, None, None
    ]
    points = (line[:, None] + ring).reshape(-1, 3)
    triangles, corners = [], []
    for step in range(count if closed else count - 1):
        after = (step + 1) % count
        for side in range(sides):
            beside = (side + 1) % sides
            a, b, c, d = step * sides + side, step * sides + beside, after * sides + beside, after * sides + side
            triangles += [[a, b, c], [a, c, d]]
            low, high = 0.9 * side / sides, 0.9 * (side + 1) / sides
            near, far = step / max(count - 1, 1), (step + 1) / max(count - 1, 1)
            corners += [[[low, near], [high, near], [high, far]], [[low, near], [high, far], [low, far]]]
    return points.astype(np.float32), np.array(triangles, np.int32), np.array(corners, np.float32)
