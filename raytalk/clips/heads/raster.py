"""Which triangle each sample of the picture shows, and the colour of it.

Kernels that warp compiles for the CPU or CUDA.
"""

import warp as wp

from raytalk.clips.heads.anatomy import CAVITY, EYE, LASH, SKIN, TEETH, TONGUE
from raytalk.clips.heads.shading import (
    CLOTH,
    HAIR,
    LENS,
    Look,
    ambient,
    bilinear,
    cloth_colour,
    enamel,
    eyeball,
    glint,
    matte,
    skin,
    strands,
)

_SKIN, _CAVITY, _EYE, _TEETH = wp.constant(SKIN), wp.constant(CAVITY), wp.constant(EYE), wp.constant(TEETH)
_TONGUE, _LASH, _HAIR, _CLOTH = wp.constant(TONGUE), wp.constant(LASH), wp.constant(HAIR), wp.constant(CLOTH)
_LENS = wp.constant(LENS)
SUBSAMPLES = 2
"""samples of a pixel, to the side and down"""
_SUB = wp.constant(SUBSAMPLES)
_NEAREST = wp.constant(0.15)
"""metres from the camera; nothing comes closer"""
_STEPS = wp.constant(6.0e8)
"""of depth: 32 bits hold the inverse of _NEAREST times this"""


@wp.struct
class Scenery:
    """What there is to see: arrays of `render.Surface` and `render.Stage` on the device."""

    points: wp.array(dtype=wp.vec3)
    triangles: wp.array(dtype=int)
    materials: wp.array(dtype=int)
    corners: wp.array(dtype=wp.vec2)
    normals: wp.array(dtype=wp.vec3)
    strands: wp.array(dtype=wp.vec3)
    tints: wp.array(dtype=wp.vec2)
    openness: wp.array(dtype=float)
    sunlight: wp.array(dtype=float)
    texture: wp.array2d(dtype=wp.vec3)
    relief: wp.array2d(dtype=wp.vec3)
    background: wp.array2d(dtype=wp.vec3)
    projected: wp.array(dtype=wp.vec3)
    """x and y in pixels of the picture, and one over the distance"""


@wp.kernel
def project(scenery: Scenery, look: Look):
    """Fill `projected`."""
    i = wp.tid()
    p = scenery.points[i] - look.origin
    inverse = 1.0 / wp.max(wp.dot(p, look.forward), _NEAREST)
    x = (wp.dot(p, look.right) * inverse - look.corner_x) / look.pixel
    y = (-wp.dot(p, look.up) * inverse - look.corner_y) / look.pixel
    scenery.projected[i] = wp.vec3(x, y, inverse)


@wp.func
def inside(a: wp.vec3, b: wp.vec3, c: wp.vec3, x: float, y: float) -> wp.vec3:
    """Barycentric coordinates in the picture; all the same sign as each other inside the triangle."""
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    scale = 1.0 / wp.where(wp.abs(area) < 1.0e-9, 1.0e-9, area)
    v = ((x - a[0]) * (c[1] - a[1]) - (y - a[1]) * (c[0] - a[0])) * scale
    w = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) * scale
    return wp.vec3(1.0 - v - w, v, w)


@wp.kernel
def cover(scenery: Scenery, look: Look, opaque: wp.array2d(dtype=wp.uint64), clear: wp.array2d(dtype=wp.uint64)):
    """The nearest triangle of each sample: depth in the upper 32 bits, triangle in the lower; lenses and lashes apart.

    opaque, clear: [size * SUBSAMPLES squared], 0 where there is nothing.
    """
    f = wp.tid()
    a = scenery.projected[scenery.triangles[f * 3]]
    b = scenery.projected[scenery.triangles[f * 3 + 1]]
    c = scenery.projected[scenery.triangles[f * 3 + 2]]
    side = look.size * _SUB
    sub = float(_SUB)
    x0 = wp.max(int(wp.ceil(wp.min(a[0], wp.min(b[0], c[0])) * sub - 0.5)), 0)
    x1 = wp.min(int(wp.floor(wp.max(a[0], wp.max(b[0], c[0])) * sub - 0.5)), side - 1)
    y0 = wp.max(int(wp.ceil(wp.min(a[1], wp.min(b[1], c[1])) * sub - 0.5)), 0)
    y1 = wp.min(int(wp.floor(wp.max(a[1], wp.max(b[1], c[1])) * sub - 0.5)), side - 1)
    if x0 > x1 or y0 > y1:
        return
    material = scenery.materials[f]
    see_through = material == _LENS or material == _LASH
    # The coordinates are linear in the picture: one value and two slopes each.
    here = inside(a, b, c, (float(x0) + 0.5) / sub, (float(y0) + 0.5) / sub)
    right = inside(a, b, c, (float(x0) + 1.5) / sub, (float(y0) + 0.5) / sub) - here
    down = inside(a, b, c, (float(x0) + 0.5) / sub, (float(y0) + 1.5) / sub) - here
    for y in range(y0, y1 + 1):
        row = here + down * float(y - y0)
        for x in range(x0, x1 + 1):
            t = row + right * float(x - x0)
            if t[0] >= 0.0 and t[1] >= 0.0 and t[2] >= 0.0:
                inverse = t[0] * a[2] + t[1] * b[2] + t[2] * c[2]
                key = (wp.uint64(inverse * _STEPS) << wp.uint64(32)) | wp.uint64(f + 1)
                if see_through:
                    wp.atomic_max(clear, y, x, key)
                else:
                    wp.atomic_max(opaque, y, x, key)


@wp.func
def triangle_of(key: wp.uint64) -> int:
    """-1 where there is none."""
    return int(key & wp.uint64(0xFFFFFFFF)) - 1


@wp.func
def spread(scenery: Scenery, f: int, x: float, y: float) -> wp.vec3:
    """Barycentric coordinates in space at a place of the picture, in pixels."""
    a = scenery.projected[scenery.triangles[f * 3]]
    b = scenery.projected[scenery.triangles[f * 3 + 1]]
    c = scenery.projected[scenery.triangles[f * 3 + 2]]
    flat = inside(a, b, c, x, y)
    t = wp.vec3(
        wp.clamp(flat[0], 0.0, 1.0) * a[2], wp.clamp(flat[1], 0.0, 1.0) * b[2], wp.clamp(flat[2], 0.0, 1.0) * c[2]
    )
    return t / wp.max(t[0] + t[1] + t[2], 1.0e-9)


@wp.func
def normal_at(scenery: Scenery, f: int, t: wp.vec3, ray: wp.vec3) -> wp.vec3:
    """Smooth normal, turned to the viewer."""
    va, vb, vc = scenery.triangles[f * 3], scenery.triangles[f * 3 + 1], scenery.triangles[f * 3 + 2]
    n = wp.normalize(scenery.normals[va] * t[0] + scenery.normals[vb] * t[1] + scenery.normals[vc] * t[2])
    return wp.where(wp.dot(n, ray) > 0.15, -n, n)


@wp.func
def opaque_colour(scenery: Scenery, look: Look, f: int, x: float, y: float, ray: wp.vec3) -> wp.vec3:
    """Linear colour of triangle f at a place of the picture."""
    t = spread(scenery, f, x, y)
    a, b, c = f * 3, f * 3 + 1, f * 3 + 2
    va, vb, vc = scenery.triangles[a], scenery.triangles[b], scenery.triangles[c]
    p = scenery.points[va] * t[0] + scenery.points[vb] * t[1] + scenery.points[vc] * t[2]
    n = normal_at(scenery, f, t, ray)
    view = -ray
    uv = scenery.corners[a] * t[0] + scenery.corners[b] * t[1] + scenery.corners[c] * t[2]
    open = scenery.openness[va] * t[0] + scenery.openness[vb] * t[1] + scenery.openness[vc] * t[2]
    sun = scenery.sunlight[va] * t[0] + scenery.sunlight[vb] * t[1] + scenery.sunlight[vc] * t[2]
    material = scenery.materials[f]
    shade = wp.vec3(0.0, 0.0, 0.0)
    if material == _SKIN:
        tint = scenery.tints[va] * t[0] + scenery.tints[vb] * t[1] + scenery.tints[vc] * t[2]
        relief = bilinear(scenery.relief, uv[0], uv[1])
        shade = skin(look, bilinear(scenery.texture, uv[0], uv[1]), relief, tint, n, view, open, sun)
    elif material == _EYE:
        if wp.length(p - look.eye_right) < wp.length(p - look.eye_left):
            shade = eyeball(look, p, look.eye_right, look.turn_right, view, open, sun)
        else:
            shade = eyeball(look, p, look.eye_left, look.turn_left, view, open, sun)
    elif material == _HAIR:
        along = scenery.strands[va] * t[0] + scenery.strands[vb] * t[1] + scenery.strands[vc] * t[2]
        shade = strands(look, n, wp.normalize(along), uv, view, open, sun)
    elif material == _TEETH:
        place = uv[0] * 62.0
        gap = wp.smoothstep(0.36, 0.5, wp.abs(place - wp.floor(place) - 0.5))
        shade = enamel(look, look.teeth * (1.0 - 0.3 * gap), n, open, sun)
        shade = shade + look.key_colour * (glint(n, view, look.key, 0.25) * sun * 0.3)
    elif material == _TONGUE:
        shade = matte(look, look.tongue, n, open, sun)
        shade = shade + look.key_colour * (glint(n, view, look.key, 0.4) * sun * 0.4)
    elif material == _CAVITY:
        shade = matte(look, look.tongue * 0.35, n, open * 0.5, sun * 0.5)
    elif material == _CLOTH:
        shade = matte(look, cloth_colour(look, uv), n, open, sun)
    else:
        shade = matte(look, look.frame, n, open, sun)
        shade = shade + look.key_colour * (glint(n, view, look.key, 0.3) * sun * look.frame_gloss)
        shade = shade + look.fill_colour * (glint(n, view, look.fill, 0.3) * look.frame_gloss)
    # One glint must not outshine the other samples of its pixel.
    return wp.vec3(wp.min(shade[0], 3.0), wp.min(shade[1], 3.0), wp.min(shade[2], 3.0))


@wp.func
def through(scenery: Scenery, look: Look, f: int, x: float, y: float, ray: wp.vec3, behind: wp.vec3) -> wp.vec3:
    """A lens or a lash before a colour."""
    if scenery.materials[f] == _LASH:
        return behind * (1.0 - look.lash_cover) + look.lash * look.lash_cover
    n = normal_at(scenery, f, spread(scenery, f, x, y), ray)
    grazing = 1.0 - wp.abs(wp.dot(n, ray))
    glass = ambient(look, n) * (0.25 * grazing * grazing * grazing + 0.012)
    glass = glass + look.key_colour * (glint(n, -ray, look.key, 0.12) * 0.12)
    return behind * (1.0 - look.lens_cover) + glass + wp.cw_mul(look.lens, ambient(look, n)) * look.lens_cover


@wp.kernel
def shade(
    scenery: Scenery,
    look: Look,
    opaque: wp.array2d(dtype=wp.uint64),
    clear: wp.array2d(dtype=wp.uint64),
    grain: wp.array2d(dtype=wp.vec3),
    exposure: wp.vec3,
    picture: wp.array3d(dtype=wp.uint8),
):
    """Colour of each pixel: its samples' triangles, each shaded once; developed to sRGB, 8 bits.

    Skin next to skin of the same depth is shaded once for the whole pixel, as multisampling does.
    """
    y, x = wp.tid()
    total = wp.vec3(0.0, 0.0, 0.0)
    last = int(-2)
    last_clear = int(-2)
    last_depth = float(0.0)
    colour = wp.vec3(0.0, 0.0, 0.0)
    seen = wp.vec3(0.0, 0.0, 0.0)
    for sample in range(_SUB * _SUB):
        sy, sx = y * _SUB + sample // _SUB, x * _SUB + sample % _SUB
        px, py = (float(sx) + 0.5) / float(_SUB), (float(sy) + 0.5) / float(_SUB)
        ray = (
            look.forward + look.right * (look.corner_x + px * look.pixel) - look.up * (look.corner_y + py * look.pixel)
        )
        ray = wp.normalize(ray)
        key = opaque[sy, sx]
        f = triangle_of(key)
        depth = float(key >> wp.uint64(32))
        again = f == last
        if f >= 0 and last >= 0 and not again:
            both = scenery.materials[f] == _SKIN and scenery.materials[last] == _SKIN
            again = both and wp.abs(depth - last_depth) < 0.006 * depth
        if not again:
            if f < 0:
                u = wp.clamp(look.back[0] + px * look.back_step, 0.001, 0.999)
                v = wp.clamp(look.back[1] + py * look.back_step, 0.001, 0.999)
                colour = bilinear(scenery.background, u, v)
            else:
                colour = opaque_colour(scenery, look, f, px, py, ray)
        g = triangle_of(clear[sy, sx])
        if not again or g != last_clear:
            seen = colour
            if g >= 0 and clear[sy, sx] > key:
                seen = through(scenery, look, g, px, py, ray, colour)
        last, last_clear, last_depth = f, g, depth
        total = total + seen
    total = total / float(_SUB * _SUB)
    noise = grain[y % grain.shape[0], x % grain.shape[1]]
    for channel in range(3):
        value = tone(total[channel] * exposure[channel]) * 255.0 + noise[channel]
        picture[y, x, channel] = wp.uint8(wp.clamp(value + 0.5, 0.0, 255.0))


@wp.func
def tone(c: float) -> float:
    """Linear to display: a shoulder for what is bright, then sRGB's curve as a power."""
    x = wp.max(c, 0.0)
    x = x * (1.0 + x * 0.06) / (1.0 + x * 0.28)
    return wp.pow(x, 1.0 / 2.2)
