"""Clothes, glasses and earrings."""

import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.anatomy import SKIN, Anatomy, Array
from raytalk.clips.heads.attach import HEAD_ONLY, Attachment, cut, quartered, tube
from raytalk.clips.heads.person import Person
from raytalk.clips.heads.shading import CLOTH, FRAME, LENS

_COLLARS = {
    # height behind and slope to the front, depth and half width of the opening: metres, of the template
    "crew": (0.588, 0.50, 0.0, 1.0),
    "v": (0.590, 0.50, 0.115, 0.075),
    "wide": (0.582, 0.42, 0.035, 0.15),
    "turtleneck": (0.634, 0.35, 0.0, 1.0),
    "shirt": (0.606, 0.62, 0.055, 0.045),
}
_BANDS = {"shirt": (0.034, 0.013), "crew": (0.013, 0.0095), "v": (0.012, 0.0095), "turtleneck": (0.042, 0.011)}
"""how wide a collar is and how far it stands off, metres"""


def covered(own: Array, collar: str) -> Array:
    """How far points of the template [n, 3] lie under clothes with this collar, metres; negative where skin shows."""
    back, slope, depth, width = _COLLARS[collar]
    forward = np.clip((0.02 - own[:, 1]) / 0.05, 0, 1)
    opening = depth * forward * np.clip(1 - np.abs(own[:, 0]) / width, 0, 1)
    shoulder = 0.5 * np.maximum(np.abs(own[:, 0]) - 0.075, 0)
    return np.asarray(back + slope * np.minimum(own[:, 1], 0.03) + shoulder - opening - own[:, 2], np.float32)


def clothes(anatomy: Anatomy, rest: Array, normals: Array, collar: str) -> list[Attachment]:
    """A top with this collar (`scene.Scene.collar`), over the resting person [V, 3]."""
    triangles = anatomy.triangles[
        (anatomy.materials == SKIN) & (anatomy.template[anatomy.triangles][..., 2].max(axis=1) < 0.66)
    ]
    arrays = [rest, normals, anatomy.weights, anatomy.template]
    for _ in range(2):
        field = covered(arrays[3], collar)[triangles]
        arrays, triangles = quartered(arrays, triangles, (field.min(axis=1) < 0.002) & (field.max(axis=1) > -0.002))
    # Hair-thin shells flicker: the cloth stands off by some millimetres.
    field = covered(arrays[3], collar)
    layers = [_layer(arrays, triangles, field, 0.007 if collar != "turtleneck" else 0.006)]
    if collar in _BANDS:
        wide, stands = _BANDS[collar]
        layers.append(_layer(arrays, triangles, np.minimum(field, wide - field), stands))
    return layers


def _layer(arrays: list[Array], triangles: npt.NDArray[np.int32], field: Array, off: float) -> Attachment:
    points, normals, weights, _ = arrays
    patch = cut(points, normals, field, weights, triangles)
    outer = patch.points + patch.normals * off
    # Metres around and down: good enough for stripes and weave.
    flat = np.stack([outer[:, 0], outer[:, 2]], axis=-1).astype(np.float32)
    still = np.full(len(outer), -1, np.int32)
    none = np.zeros_like(outer)
    return Attachment(
        np.asarray(outer, np.float32), patch.triangles, CLOTH, flat[patch.triangles], none, still, patch.weights
    )


def glasses(anatomy: Anatomy, rest: Array, person: Person) -> list[Attachment]:
    """Frame and lenses before the eyes, temples to the ears."""
    if person.glasses == "none":
        return []
    rng = np.random.default_rng([person.seed, 5])
    centres = [rest[ids].mean(axis=0) for ids in anatomy.eyes]
    bridge = rest[anatomy.landmarks[28]] + [0, -0.004, 0.006]
    apart = float(np.linalg.norm(centres[1] - centres[0]))
    wide, high = apart * rng.uniform(0.37, 0.43), apart * rng.uniform(0.27, 0.36)
    power = {"round": 2.0, "oval": 2.3, "square": 4.5, "rimless": 3.2}[person.glasses]
    if person.glasses == "round":
        high = wide * 0.95
    thick = 0.0007 if person.glasses == "rimless" else float(rng.uniform(0.0009, 0.0017))
    face = float(min(rest[anatomy.landmarks[[17, 26, 36, 45]], 1].min(), bridge[1] + 0.011))
    parts: list[Attachment] = []
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    for side, centre in zip((-1, 1), centres, strict=True):
        x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** (2 / power) * wide
        z = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** (2 / power) * high
        y = face - 0.006 + 0.16 * np.abs(x + side * wide) * (side * x > -wide) * 0.35
        rim = np.stack([centre[0] + side * 0.0015 + x, y, centre[2] - 0.003 + z], axis=1)
        facing = np.tile([0.0, -1.0, 0.0], (len(rim), 1))
        parts.append(_rigid(*tube(rim, np.full(len(rim), thick), 1.0, 6, facing, closed=True), FRAME))
        lens = np.concatenate([rim.mean(axis=0, keepdims=True) + [0, -0.0015, 0], rim])
        fan = np.array([[0, 1 + step, 1 + (step + 1) % len(rim)] for step in range(len(rim))], np.int32)
        parts.append(_rigid(lens.astype(np.float32), fan, np.zeros((len(fan), 3, 2), np.float32), LENS))
        outer = rim[np.argmax(side * rim[:, 0] + 0.4 * rim[:, 2])]
        ear = rest[anatomy.ears > 0.5]
        ear = ear[np.sign(ear[:, 0]) == side]
        top = ear[np.argmax(ear[:, 2])]
        reach = np.array([top[0] * 0.96, ear[:, 1].min() + 0.012, top[2] - 0.009])
        hinge = outer + [side * 0.004, 0.006, 0]
        behind = reach + [-side * 0.004, 0.03, -0.014]
        parts.append(
            _bar([outer, hinge, (hinge + reach) / 2 + [side * 0.004, 0, 0], reach, behind], max(thick, 0.0011))
        )
    inner = [
        part.points[np.argmin(np.abs(part.points[:, 0]) + 0.6 * np.abs(part.points[:, 2] - bridge[2]))]
        for part in (parts[0], parts[3])
    ]
    arch = np.array([0, bridge[1] - 0.003, bridge[2] + 0.001])
    parts.append(_bar([inner[0], arch + [inner[0][0] * 0.4, 0, 0], arch + [inner[1][0] * 0.4, 0, 0], inner[1]], thick))
    return parts


def earrings(anatomy: Anatomy, rest: Array, person: Person) -> list[Attachment]:
    """A bead at each lobe."""
    if not person.earrings:
        return []
    rng = np.random.default_rng([person.seed, 6])
    size = float(rng.uniform(0.0022, 0.0055))
    parts = []
    for side in (-1, 1):
        ear = rest[(anatomy.ears > 0.5) & (np.sign(rest[:, 0]) == side)]
        lobe = ear[np.argmin(ear[:, 2])] + [side * 0.002, -0.002, -size * rng.uniform(0.2, 0.9)]
        line = lobe + np.linspace(-1, 1, 7)[:, None] * [0, 0, size]
        widths = size * np.sqrt(np.maximum(1 - np.linspace(-1, 1, 7) ** 2, 0.002))
        parts.append(
            _rigid(
                *tube(line.astype(np.float32), widths.astype(np.float32), 1.0, 8, np.tile([0.0, -1.0, 0.0], (7, 1))),
                FRAME,
            )
        )
    return parts


def _bar(stops: list[npt.NDArray[np.floating]], thick: float) -> Attachment:
    line = np.array(stops)
    facing = np.tile([0.0, -0.3, 1.0], (len(line), 1))
    return _rigid(*tube(line, np.full(len(line), thick), 1.0, 5, facing), FRAME)


def _rigid(points: Array, triangles: npt.NDArray[np.int32], corners: Array, material: int) -> Attachment:
    count = len(points)
    still = np.full(count, -1, np.int32)
    return Attachment(
        points, triangles, material, corners, np.zeros((count, 3), np.float32), still, np.tile(HEAD_ONLY, (count, 1))
    )
