"""Locks of hair: lines that grow out of the scalp and lie down on what is below, and ribbons along them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import warp as wp

from raytalk.clips.heads.anatomy import Array
from raytalk.clips.heads.growth import grow_locks
from raytalk.clips.heads.scalp import Ints


@dataclass(frozen=True)
class Ground:
    """What locks lie on, N vertices, and how it guides them."""

    points: Array
    """[N, 3] metres"""
    triangles: Ints
    normals: Array
    comb: Array
    """[N, 3] the way hair is led there; its length says how firmly, 0..1"""
    firm: Array
    """[N] 1 on the scalp, 0 elsewhere"""
    clear: Array
    """[N] metres by which hair keeps off"""
    bare: Array
    """[N] more than 0.5 where a lock ends"""


@dataclass(frozen=True)
class Roots:
    """Where L locks start."""

    points: Array
    """[L, 3] metres"""
    ways: Array
    """[L, 3] unit vectors"""
    lengths: Array
    """[L] metres"""
    lift: Array
    """[L] metres above `Ground.clear` that each settles at"""
    weights: Array
    """[L, 5] see `Anatomy.weights`"""
    clump: Array
    """[L] alike for neighbours, of unit deviation"""


def grow(
    ground: Ground, roots: Roots, steps: int, hold: float, weight: float, hug: float
) -> tuple[Array, Array, Array]:
    """Lines [L, steps + 1, 3] of locks, the normals of what is nearest to them, and the step [L] where each ends.

    hold: 0 limp, 1 straight on; weight: of gravity beside combing; hug: 0 free, 1 kept on the ground.
    """
    count = len(roots.points)
    with wp.ScopedDevice("cpu"):
        mesh = wp.Mesh(_put(ground.points, wp.vec3), _put(ground.triangles.reshape(-1), int))
        lines = wp.zeros((count, steps + 1), dtype=wp.vec3)
        facing = wp.zeros((count, steps + 1), dtype=wp.vec3)
        ends = wp.zeros(count, dtype=float)
        wp.launch(
            grow_locks,
            dim=count,
            inputs=[
                *(mesh.id, _put(ground.normals, wp.vec3), _put(ground.comb, wp.vec3)),
                *(_put(ground.clear, float), _put(ground.bare, float)),
                *(_put(roots.points, wp.vec3), _put(roots.ways, wp.vec3)),
                *(_put(roots.lengths, float), _put(roots.lift, float), hold, weight, hug, steps),
                *(lines, facing, ends),
            ],
        )
        return tuple(np.array(out.numpy(), np.float32) for out in (lines, facing, ends))  # type: ignore[return-value]


def along(lines: Array, places: Array) -> Array:
    """Lines [L, S, 3] at `places` [L, K] in steps: [L, K, 3], smooth between them (Catmull-Rom)."""
    low = np.clip(places.astype(np.int64), 0, lines.shape[1] - 2)
    t = (places - low)[..., None]
    each = np.arange(len(lines))[:, None]
    a, b, c, d = (lines[each, np.clip(low + step, 0, lines.shape[1] - 1)] for step in (-1, 0, 1, 2))
    return np.asarray(b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))), np.float32)


def frames(lines: Array, facing: Array) -> tuple[Array, Array, Array]:
    """Unit vectors along, across and out of lines [L, K, 3]; out is near `facing`."""
    ahead = unit_rows(np.gradient(lines, axis=1))
    across = unit_rows(np.cross(ahead, facing))
    return ahead, across, np.cross(across, ahead)


def ribbons(lines: Array, facing: Array, widths: Array, grown: Array) -> tuple[Array, Ints, Array, Array]:
    """A flat ribbon along each line [L, K, 3]. widths: [L, K] half, metres; grown: [L, K] 0 root to 1 tip.

    Returns points [2 L K, 3], triangles, corners [m, 3, 2] and strands [2 L K, 3]; a lock's points are together.
    """
    ahead, across, _ = frames(lines, facing)
    wide = across * widths[..., None]
    points = np.stack([lines - wide, lines + wide], axis=2)
    number = np.arange(points.size // 3, dtype=np.int32).reshape(points.shape[:3])
    a, b, c, d = (
        grid.reshape(-1) for grid in (number[:, :-1, 0], number[:, :-1, 1], number[:, 1:, 1], number[:, 1:, 0])
    )
    triangles = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    over = np.broadcast_to(np.arange(len(lines))[:, None, None] + np.array([0.001, 0.899]), number.shape)
    down = np.broadcast_to(grown[:, :, None], number.shape)
    corner = np.stack([over, down], axis=-1).reshape(-1, 2).astype(np.float32)
    strands = np.repeat(ahead, 2, axis=1).reshape(-1, 3)
    return points.reshape(-1, 3).astype(np.float32), triangles, corner[triangles], strands.astype(np.float32)


def unit_rows(vectors: npt.NDArray[np.floating]) -> Array:
    """Vectors [..., 3] of length 1."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9), np.float32)


def _put(values: npt.NDArray[Any], dtype: Any) -> Any:
    return wp.array(np.ascontiguousarray(values, np.int32 if dtype is int else np.float32), dtype=dtype)
