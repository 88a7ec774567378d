"""The hair of a person: a cap along the hairline, and locks that grow over it."""

import numpy as np

from raytalk.clips.heads.anatomy import Anatomy, Array
from raytalk.clips.heads.attach import Attachment
from raytalk.clips.heads.beard import beard
from raytalk.clips.heads.cuts import draw_style
from raytalk.clips.heads.knots import bun, tail_roots
from raytalk.clips.heads.layers import TALL, Setting, lay, lead, noise, plant
from raytalk.clips.heads.locks import Ground
from raytalk.clips.heads.person import Person
from raytalk.clips.heads.scalp import Ints, Scalp, find_scalp, grown, hairline, obstacle, smooth
from raytalk.clips.heads.shading import HAIR
from raytalk.clips.heads.styles import Flow, Style

_STRAND = 11.0
"""locks to a radian of the cap"""


def hair(anatomy: Anatomy, rest: Array, normals: Array, person: Person) -> list[Attachment]:
    """Hair and beard of the resting person: vertices [V, 3] with their normals. A buzz cut is on the skin alone."""
    if person.cut in ("bald", "buzz"):
        return beard(anatomy, rest, normals, person)
    rng = np.random.default_rng([person.seed, 7])
    style = draw_style(person.cut, rng, person.female)
    outline = hairline(anatomy, person.hairline * style.recedes, style.lower)
    if style.crest is not None:
        outline = np.minimum(outline, _under(anatomy, style.crest))
    scalp = find_scalp(anatomy, rest, normals, outline)
    cap, rim = _cap(scalp, style, rng)
    setting = Setting(scalp, cap, rim, _ground(anatomy, rest, scalp, cap, style), rest[anatomy.landmarks])
    parts = [cap]
    for layer in style.layers:
        roots = plant(setting, layer, rng)
        parts.append(lay(lead(setting, layer), setting, layer, roots, rng))
    if style.knot is not None and style.tail is not None:
        parts.append(lay(setting.ground, setting, style.tail, tail_roots(setting, style.knot, style.tail, rng), rng))
    elif style.knot is not None:
        parts.append(bun(setting, style.knot, rng))
    return parts + beard(anatomy, rest, normals, person)


def _under(anatomy: Anatomy, share: float) -> Array:
    """[V] positive under a line around the head that sinks to the back; share: its height from chin to top."""
    height = anatomy.template[:, 2]
    chin = height[anatomy.landmarks[8]]
    line = chin + share * (height.max() - chin) - 0.2 * np.maximum(anatomy.template[:, 1] + 0.02, 0)
    return np.asarray((line - height) / TALL, np.float32)


def _cap(scalp: Scalp, style: Style, rng: np.random.Generator) -> tuple[Attachment, Array]:
    """A shell that thickens from the hairline on, and 0..1 how near each of its vertices is to that line."""
    all_places = scalp.place(scalp.points)
    ragged = 0.008 * noise(rng, all_places, 0.12) + 0.006 * noise(rng, all_places, 0.04)
    patch, normals = grown(scalp, scalp.inside + ragged)
    place = scalp.place(patch.points)
    size = scalp.face / TALL
    thick = style.cap(place) * smooth(-0.02, style.slope, patch.values) * size
    if style.rough:
        bumps = noise(rng, place, style.grain) + 0.6 * noise(rng, place, style.grain / 2.3)
        thick = thick + style.rough * size * np.abs(bumps) * smooth(0.0, 0.12, patch.values)
    points = (patch.points + normals * thick[:, None]).astype(np.float32)
    strands = scalp.comb(patch.points, normals, style.flow.way)
    if style.frizz:
        corners = np.concatenate([place[:, :1] * 45, 0.55 + 0 * place[:, 1:]], axis=1)[patch.triangles]
        corners[..., 1] += 14 * place[patch.triangles, 1]
        strands = strands + style.frizz * np.stack([noise(rng, place, 0.12) for _ in range(3)], axis=1)
    else:
        corners = _cap_corners(place, normals, strands, points, patch.triangles, style.flow)
    still = np.full(len(points), -1, np.int32)
    rim = np.exp(-((patch.values / 0.05) ** 2)).astype(np.float32)
    corners, strands = corners.astype(np.float32), strands.astype(np.float32)
    return Attachment(points, patch.triangles, HAIR, corners, strands, still, patch.weights), rim


def _cap_corners(place: Array, normals: Array, strands: Array, points: Array, triangles: Ints, flow: Flow) -> Array:
    """[m, 3, 2] see `render.Surface`: strips along the combing, as if the cap were made of locks."""
    middle = place[triangles].mean(axis=1)
    side = np.where(middle[:, 0] < flow.front[0], -1.0, 1.0)
    over = np.stack([flow.over(place[triangles[:, corner]], side) for corner in range(3)], axis=1) * _STRAND
    # The shading bends normals outwards to either side of a lock: across must go the same way as there.
    across = np.cross(strands, normals)[triangles[:, 0]]
    edges = points[triangles[:, 1:]] - points[triangles[:, :1]]
    agree = ((over[:, 1:] - over[:, :1]) * (edges * across[:, None]).sum(axis=2)).sum(axis=1)
    over = over * np.where(agree < 0, -1.0, 1.0)[:, None]
    down = np.linalg.norm(place[triangles] - np.array(flow.front), axis=2) * 0.3
    return np.stack([over, np.clip(down, 0, 1)], axis=-1).astype(np.float32)


def _ground(anatomy: Anatomy, rest: Array, scalp: Scalp, cap: Attachment, style: Style) -> Ground:
    """Cap, skin and clothes. Combing is set by each layer."""
    points, triangles, normals = obstacle(anatomy, rest, scalp, cap.points, cap.triangles, style.ears == 0)
    chin = rest[anatomy.landmarks[8], 2]
    scalp_only = smooth(-0.12, 0.0, scalp.outline) * (rest[:, 2] > chin)
    firm = np.concatenate([scalp_only, np.ones(len(cap.points))])
    clear = np.where(firm > 0.99, 0.0, 0.003) + 0.017 * smooth(chin - 0.02, chin - 0.07, points[:, 2])
    for side in (-1, 1):
        ear = rest[(anatomy.ears > 0.5) & (np.sign(rest[:, 0]) == side)]
        far = np.linalg.norm((points - ear.mean(axis=0)) * [0.5, 1, 0.8], axis=1)
        clear = clear + style.ears * 0.017 * np.exp(-((far / 0.035) ** 2))
    bare = np.concatenate([anatomy.ears * (style.ears == 0), np.zeros(len(cap.points))])
    clear, bare, firm = (values.astype(np.float32) for values in (clear, bare, firm))
    return Ground(points, triangles, normals, np.zeros_like(points), firm, clear, bare)
