"""One layer of locks: where they are rooted, how they are led, and the ribbons they become."""

from dataclasses import dataclass, replace

import numpy as np

from raytalk.clips.heads.anatomy import Array
from raytalk.clips.heads.attach import HEAD_ONLY, Attachment
from raytalk.clips.heads.locks import Ground, Roots, along, frames, grow, ribbons, unit_rows
from raytalk.clips.heads.scalp import Scalp, smooth
from raytalk.clips.heads.shading import HAIR
from raytalk.clips.heads.styles import Layer

TALL = 0.124
"""metres from brow to chin of the template: sizes of a style are for it"""


@dataclass(frozen=True)
class Setting:
    """What the locks of one person grow on."""

    scalp: Scalp
    cap: Attachment
    rim: Array
    """of each vertex of the cap: 1 at the hairline, 0 within"""
    ground: Ground
    marks: Array
    """[68, 3] landmarks at rest"""

    @property
    def size(self) -> float:
        return self.scalp.face / TALL


def plant(setting: Setting, layer: Layer, rng: np.random.Generator) -> Roots:
    """Roots spread evenly over the cap, denser where `Layer.where` and `Layer.edge` say so."""
    scalp, cap, count = setting.scalp, setting.cap, layer.count
    corners = cap.points[cap.triangles]
    middle = corners.mean(axis=1)
    normals = setting.ground.normals[-len(cap.points) :][cap.triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    rim = setting.rim[cap.triangles].mean(axis=1)
    density = area * np.maximum(layer.where(scalp.place(middle)), 0) * (1 + layer.edge * rim)
    total = np.cumsum(density)
    picks = np.searchsorted(total, (np.arange(count) + rng.random(count)) / count * total[-1])
    picks = np.minimum(picks, len(total) - 1)
    mix = rng.dirichlet([1.0, 1.0, 1.0], count)[..., None]
    points = (corners[picks] * mix).sum(axis=1)
    normal = unit_rows((normals[picks] * mix).sum(axis=1))
    place = scalp.place(points)
    comb = scalp.comb(points, normal, layer.flow.way)
    # At the hairline locks begin in front of the cap, each elsewhere, so that its edge does not show.
    points = points - comb * (rim[picks] * rng.uniform(0, 0.010, count) * setting.size)[:, None]
    clump = noise(rng, place, 0.35)
    bend = layer.mess * (0.6 * noise(rng, place, 0.25) + 0.6 * rng.standard_normal(count))
    ways = comb * np.cos(bend)[:, None] + np.cross(comb, normal) * np.sin(bend)[:, None]
    rise = layer.rise * (1 + 0.25 * clump + 0.25 * rng.standard_normal(count))
    vary = 1 + layer.uneven * (0.45 * clump + 0.6 * rng.standard_normal(count))
    low, high = layer.lift
    return Roots(
        points=(points - normal * (0.0015 * (1 - rim[picks]))[:, None]).astype(np.float32),
        ways=unit_rows(ways + normal * np.maximum(rise, 0.05)[:, None]),
        lengths=np.maximum(layer.length(place) * setting.size * vary, 0.004).astype(np.float32),
        lift=((low + (high - low) * rng.beta(1.3, 1.6, count)) * setting.size).astype(np.float32),
        weights=(cap.weights[cap.triangles[picks]] * mix).sum(axis=1).astype(np.float32),
        clump=clump,
    )


def lead(setting: Setting, layer: Layer) -> Ground:
    """The ground, combed as the layer is on the scalp, and away from the face beside it."""
    ground, scalp, chin = setting.ground, setting.scalp, float(setting.marks[8, 2])
    comb = scalp.comb(ground.points, ground.normals, layer.flow.way) * ground.firm[:, None]
    if layer.steer:
        place = scalp.place(ground.points)
        before = smooth(-1.9, -1.5, -np.arctan2(np.abs(place[:, 0]), -place[:, 1])) * (1 - ground.firm)
        before = before * smooth(chin - 0.05, chin - 0.01, ground.points[:, 2])
        away = np.stack([0.7 * np.sign(place[:, 0]), np.full(len(place), 0.9), np.full(len(place), -0.5)], axis=1)
        away -= ground.normals * (away * ground.normals).sum(axis=1, keepdims=True)
        comb = comb + away * before[:, None]
        turn = np.arctan2(np.abs(place[:, 0]), -place[:, 1])
        face = (turn < 0.9) & (ground.firm < 0.35) & (ground.points[:, 2] > chin)
        ground = replace(ground, bare=np.maximum(ground.bare, face.astype(np.float32)))
    return replace(ground, comb=comb.astype(np.float32))


def lay(ground: Ground, setting: Setting, layer: Layer, roots: Roots, rng: np.random.Generator) -> Attachment:
    """Grow the locks, cut them where they would hide the face, wave them, and make them ribbons."""
    size = setting.size
    lines, facing, ends = grow(ground, roots, layer.steps, layer.hold, layer.weight, layer.hug)
    # A fringe ends above the brows at its sides too, where hair that falls past the face may go on.
    stop = np.minimum(ends, _out_of_face(lines, setting.marks, 0.93 if layer.steer else 1.2, rng))
    # A lone lock on a forehead that the others leave free would be seen.
    kept = stop > (0.6 * layer.steps if layer.steer else 0)
    share = np.linspace(0, 1, layer.rings, dtype=np.float32)
    lines, facing = along(lines, share * stop[:, None]), unit_rows(along(facing, share * stop[:, None]))
    left = np.asarray(stop / layer.steps, np.float32)
    if layer.wave:
        lines = _waved(lines, facing, left * roots.lengths, layer, roots, size, rng)
        kept &= ~_before_face(lines, setting.marks, 0.93).any(axis=1)
    lines, facing, left, weights = lines[kept], facing[kept], left[kept], roots.weights[kept]
    count = len(lines)
    shape = np.minimum(0.25 + 3.5 * share, 1) * (1 - layer.taper * share**1.5) * np.where(share > 0.99, 0.1, 1.0)
    own_width = rng.uniform(0.6, 1.25, count) * np.clip(left, 0.35, 1)
    widths = layer.width * size * shape * own_width[:, None]
    grown = np.broadcast_to(0.12 + 0.88 * share, widths.shape)
    points, triangles, corners, strands = ribbons(lines, facing, widths, grown)
    each = np.repeat(weights, len(points) // max(count, 1), axis=0)
    still = np.full(len(points), -1, np.int32)
    return Attachment(points, triangles, HAIR, corners, strands, still, hanging(points, each, setting.marks))


def _waved(
    lines: Array, facing: Array, lengths: Array, layer: Layer, roots: Roots, size: float, rng: np.random.Generator
) -> Array:
    """Lines [L, K, 3] of these lengths [L] with the layer's waves or curls."""
    _, across, out = frames(lines, facing)
    count, rings = lines.shape[:2]
    share = np.linspace(0, 1, rings, dtype=np.float32)
    period = layer.wavelength * size * rng.uniform(0.8, 1.25, count)
    turns = share * (lengths / period)[:, None] + layer.curl * rng.random((count, 1))
    phase = 2 * np.pi * turns + 3 * roots.clump[:, None]
    strength = np.asarray(layer.wave * size * np.minimum(share * 3, 1), np.float32)[:, None]
    aside = across * (strength * np.sin(phase)[..., None])
    return np.asarray(lines + aside + out * (layer.curl * strength * (1 + np.cos(phase)[..., None])), np.float32)


def _before_face(points: Array, marks: Array, share: float) -> Array:
    """[...] whether points [..., 3] hide brows, eyes, cheeks or mouth. share: of the face's width that counts."""
    wide = share * np.abs(marks[[0, 16], 0] - marks[27, 0]).mean()
    face = (np.abs(points[..., 0] - marks[27, 0]) < wide) & (points[..., 1] < marks[[0, 16], 1].mean() + 0.01)
    return np.asarray(face & (points[..., 2] < marks[17:27, 2].max() + 0.006) & (points[..., 2] > marks[8, 2] - 0.03))


def _out_of_face(lines: Array, marks: Array, share: float, rng: np.random.Generator) -> Array:
    """[L] the step at which a lock is cut so that it leaves the face free."""
    face = _before_face(lines, marks, share)
    first = face.argmax(axis=1) - rng.uniform(1.0, 2.0, len(lines))
    return np.asarray(np.where(face.any(axis=1), np.maximum(first, 0.5), lines.shape[1] - 1), np.float32)


def hanging(points: Array, weights: Array, marks: Array) -> Array:
    """[n, 5]: below the chin, hair lies on neck and chest; above the nose it is the skull's, though it may be rooted in
    the nape. weights: [n, 5] of the roots."""
    chin = marks[8, 2]
    slot = np.clip((points[:, 2] - (chin - 0.085)) / 0.085, 0, 1) * 4
    lower = np.maximum(1 - np.abs(slot[:, None] - np.arange(5)), 0)
    hangs = smooth(-chin - 0.02, -chin + 0.01, -points[:, 2])[:, None]
    skull = smooth(float(marks[33, 2]), float(marks[27, 2]), points[:, 2])[:, None]
    own = weights * (1 - skull) + HEAD_ONLY * skull
    return np.asarray(own * (1 - hangs) + lower * hangs, np.float32)


def noise(rng: np.random.Generator, place: Array, size: float) -> Array:
    """[n] smooth, of unit deviation, with blobs of about `size` radians on the map."""
    turns = rng.normal(0, 1.3 / size, (2, 10))
    return np.asarray(np.sin(place @ turns + rng.uniform(0, 6.28, 10)).sum(axis=1) / np.sqrt(5), np.float32)
