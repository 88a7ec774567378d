"""What a ray sees: the kernels that warp compiles for the CPU or CUDA.

Colours are linear RGB until `develop`. Directions are unit vectors in the world (x to the person's left, y away from
the camera, z up).
"""

import warp as wp

from raytalk.clips.heads.anatomy import LASH

HAIR, CLOTH, FRAME, LENS = range(LASH + 1, LASH + 5)
"""what a face of the mesh is made of, going on from `anatomy.py`"""


@wp.struct
class Look:
    """One frame: camera, light, and the colours of the person."""

    origin: wp.vec3
    right: wp.vec3
    up: wp.vec3
    forward: wp.vec3
    corner_x: float
    """the picture's left and upper edge on the plane one metre ahead, and a pixel's size there"""
    corner_y: float
    pixel: float
    size: int
    back: wp.vec2
    """where the picture's upper left corner lies on the background (0..1), and a pixel's size there"""
    back_step: float

    sky: wp.vec3
    """light from everywhere, and what more of it comes from above"""
    zenith: wp.vec3
    key: wp.vec3
    key_colour: wp.vec3
    fill: wp.vec3
    fill_colour: wp.vec3
    rim: wp.vec3
    rim_colour: wp.vec3

    gloss: float
    roughness: float
    lips: wp.vec3
    lip_gloss: float
    ears: wp.vec3
    eye_right: wp.vec3
    eye_left: wp.vec3
    turn_right: wp.mat33
    """from world to the eyeball's own axes: y out of the pupil, z up"""
    turn_left: wp.mat33
    iris: wp.vec3
    iris_inner: wp.vec3
    iris_angle: float
    pupil_angle: float
    sclera: wp.vec3
    teeth: wp.vec3
    tongue: wp.vec3
    lash: wp.vec3
    lash_cover: float
    hair: wp.vec3
    hair_tip: wp.vec3
    hair_shine: float
    hair_streaks: float
    cloth: wp.vec3
    cloth_second: wp.vec3
    cloth_pattern: int
    cloth_scale: float
    frame: wp.vec3
    frame_gloss: float
    lens: wp.vec3
    lens_cover: float


@wp.func
def bilinear(picture: wp.array2d(dtype=wp.vec3), u: float, v: float) -> wp.vec3:
    """Sample at 0..1; u goes round, v stops at the edges."""
    height, width = picture.shape[0], picture.shape[1]
    x = (u - wp.floor(u)) * float(width) - 0.5
    y = wp.clamp(v * float(height) - 0.5, 0.0, float(height) - 1.001)
    x0, y0 = int(wp.floor(x)), int(wp.floor(y))
    fx, fy = x - float(x0), y - float(y0)
    left, right = (x0 + width) % width, (x0 + 1) % width
    upper = picture[y0, left] * (1.0 - fx) + picture[y0, right] * fx
    lower = picture[y0 + 1, left] * (1.0 - fx) + picture[y0 + 1, right] * fx
    return upper * (1.0 - fy) + lower * fy


@wp.func
def ambient(look: Look, n: wp.vec3) -> wp.vec3:
    """Light of the surroundings on a surface that faces n."""
    return look.sky + look.zenith * (0.5 + 0.5 * n[2])


@wp.func
def glint(n: wp.vec3, view: wp.vec3, light: wp.vec3, roughness: float) -> float:
    """Specular reflection of one light (GGX, Schlick's Fresnel at 4 %), cosine included."""
    half = wp.normalize(view + light)
    nl = wp.max(wp.dot(n, light), 0.0)
    nh = wp.max(wp.dot(n, half), 0.0)
    nv = wp.max(wp.dot(n, view), 0.05)
    a = roughness * roughness
    d = nh * nh * (a * a - 1.0) + 1.0
    k = a * 0.5
    shape = (a * a) / (3.1416 * d * d + 1.0e-6) / ((nl * (1.0 - k) + k) * (nv * (1.0 - k) + k) * 4.0)
    fresnel = 0.04 + 0.96 * wp.pow(1.0 - wp.max(wp.dot(half, view), 0.0), 5.0)
    return wp.min(shape * fresnel * nl, 4.0)


@wp.func
def wrapped(cosine: float, wrap: float) -> float:
    """Diffuse light that reaches round the edge, as it does under skin."""
    return wp.max((cosine + wrap) / (1.0 + wrap), 0.0)


@wp.func
def soft(cosine: float) -> wp.vec3:
    """`wrapped` for red, green and blue: red goes deepest into skin."""
    return wp.vec3(wrapped(cosine, 0.34), wrapped(cosine, 0.16), wrapped(cosine, 0.10))


@wp.func
def matte(look: Look, albedo: wp.vec3, n: wp.vec3, open: float, sun: float) -> wp.vec3:
    """Diffuse surface. open: share of the surroundings seen; sun: share of the key light."""
    light = ambient(look, n) * open
    light = light + look.key_colour * (wp.max(wp.dot(n, look.key), 0.0) * sun)
    light = light + look.fill_colour * (wrapped(wp.dot(n, look.fill), 0.3) * open)
    light = light + look.rim_colour * (wp.max(wp.dot(n, look.rim), 0.0) * open)
    return wp.cw_mul(albedo, light)


@wp.func
def enamel(look: Look, albedo: wp.vec3, n: wp.vec3, open: float, sun: float) -> wp.vec3:
    """Teeth: light goes round in them, and lips let it pass."""
    light = ambient(look, n) * open + look.key_colour * (wrapped(wp.dot(n, look.key), 0.7) * wp.max(sun, 0.5) * open)
    light = light + look.fill_colour * (wrapped(wp.dot(n, look.fill), 0.7) * open)
    return wp.cw_mul(albedo, light)


@wp.func
def skin(
    look: Look, tone: wp.vec3, relief: wp.vec3, tint: wp.vec2, flat: wp.vec3, view: wp.vec3, open: float, sun: float
) -> wp.vec3:
    """Skin, lips and ears: light seeps through, occlusion is reddish, a broad highlight.

    relief: see `render.Surface`; tint: how much it is lip and ear; flat: the normal without the relief.
    """
    side_way = wp.normalize(wp.cross(wp.vec3(0.0, 0.0, 1.0), flat))
    n = wp.normalize(flat + side_way * relief[0] + wp.cross(flat, side_way) * relief[1])
    lip = wp.smoothstep(0.25, 0.75, tint[0])
    albedo = tone * (1.0 - lip) + look.lips * (lip * (1.0 + 0.12 * relief[2]))
    albedo = wp.cw_mul(albedo, wp.vec3(1.0, 1.0, 1.0) * (1.0 - 0.6 * tint[1]) + look.ears * (0.6 * tint[1]))
    gloss = wp.max(look.gloss * (1.0 - lip) + look.lip_gloss * lip + relief[2] * 0.4, 0.1)
    roughness = look.roughness * (1.0 - 0.3 * lip)
    depth = wp.vec3(0.5 * (wp.sqrt(open) + open), open, open)
    shadow = wp.vec3(wp.sqrt(sun), sun, sun)
    light = wp.cw_mul(ambient(look, n), depth)
    light = light + wp.cw_mul(wp.cw_mul(look.key_colour, soft(wp.dot(n, look.key))), shadow)
    light = light + wp.cw_mul(look.fill_colour, wp.cw_mul(soft(wp.dot(n, look.fill)), depth))
    light = light + look.rim_colour * (wp.max(wp.dot(n, look.rim), 0.0) * open)
    shine = look.key_colour * (glint(n, view, look.key, roughness) * sun)
    shine = shine + look.fill_colour * (glint(n, view, look.fill, roughness) * open)
    shine = shine + look.rim_colour * (glint(n, view, look.rim, roughness) * open)
    grazing = 1.0 - wp.max(wp.dot(n, view), 0.0)
    shine = shine + ambient(look, n) * (grazing * grazing * grazing * grazing * open * 0.35)
    return wp.cw_mul(albedo, light) + shine * gloss


@wp.func
def eyeball(look: Look, p: wp.vec3, centre: wp.vec3, turn: wp.mat33, view: wp.vec3, open: float, sun: float) -> wp.vec3:
    """Sclera, iris and pupil by the angle from the eye's axis; a wet highlight."""
    n = wp.normalize(p - centre)
    own = turn * n
    angle = wp.acos(wp.clamp(own[1], -1.0, 1.0))
    around = wp.atan2(own[2], own[0])
    fibre = wp.noise(wp.uint32(7), wp.vec2(wp.cos(around) * 9.0, wp.sin(around) * 9.0)) * 0.5
    fibre = fibre + wp.noise(wp.uint32(11), wp.vec2(wp.cos(around) * 22.0 + angle * 9.0, wp.sin(around) * 22.0)) * 0.4
    inner = wp.smoothstep(look.pupil_angle, look.iris_angle, angle)
    iris = look.iris_inner * (1.0 - inner) + look.iris * inner
    iris = iris * (1.0 + 0.8 * fibre)
    ring = wp.smoothstep(look.iris_angle * 0.78, look.iris_angle, angle)
    iris = iris * (1.0 - 0.75 * ring)
    pupil = wp.smoothstep(look.pupil_angle * 1.12, look.pupil_angle * 0.88, angle)
    iris = iris * (1.0 - pupil) + wp.vec3(0.004, 0.004, 0.004) * pupil
    white = look.sclera * (1.0 - 0.25 * wp.smoothstep(0.7, 1.25, angle))
    edge = wp.smoothstep(look.iris_angle * 1.05, look.iris_angle * 0.95, angle)
    albedo = white * (1.0 - edge) + iris * edge
    # The lids keep most of the sky off the upper part.
    shade = open * (1.0 - 0.55 * wp.smoothstep(0.05, 0.55, n[2]))
    colour = matte(look, albedo, wp.normalize(n + wp.vec3(0.0, -0.6, 0.0)), shade, sun)
    bulge = wp.normalize(n + wp.transpose(turn) * wp.vec3(0.0, 0.35 * edge, 0.0))
    shine = look.key_colour * glint(bulge, view, look.key, 0.16) * sun
    shine = shine + look.fill_colour * glint(bulge, view, look.fill, 0.22) * 0.6
    bright = wp.min(wp.max(shine[0], wp.max(shine[1], shine[2])), 1.6) / wp.max(
        1.0e-4, wp.max(shine[0], wp.max(shine[1], shine[2]))
    )
    return colour + shine * bright * 0.9


@wp.func
def strands(look: Look, n: wp.vec3, along: wp.vec3, uv: wp.vec2, view: wp.vec3, open: float, sun: float) -> wp.vec3:
    """Hair (Kajiya-Kay, two lobes as Marschner et al. 2003 describe): highlights across the strands. uv: see
    `Surface.corners`."""
    number = wp.floor(uv[0])
    across = wp.clamp((uv[0] - number) * 2.222 - 1.0, -1.0, 1.0)
    line = wp.noise(wp.uint32(3), wp.vec2(uv[0] * 5.0, uv[1] * 1.6))
    line = line + 0.7 * wp.noise(wp.uint32(5), wp.vec2(uv[0] * 16.0, uv[1] * 3.1))
    lock = wp.noise(wp.uint32(9), wp.vec2(number * 7.31 + 0.37, 0.5))
    tip = wp.smoothstep(0.1, 1.0, uv[1] + 0.3 * lock)
    albedo = look.hair * (1.0 - tip) + look.hair_tip * tip
    # Locks are flat: they look round by their normals, and part from each other by a shadow.
    streak = wp.exp(look.hair_streaks * (2.0 * line + 0.9 * lock - 0.45 * across * across))
    albedo = albedo * streak + wp.vec3(0.0015, 0.0013, 0.0012)
    t = wp.normalize(along)
    round = wp.normalize(n + wp.cross(t, n) * (0.35 * across))
    tl = wp.dot(t, look.key)
    tv = wp.dot(t, view)
    sine = wp.sqrt(wp.max(1.0 - tl * tl, 0.0))
    facing = wrapped(wp.dot(round, look.key), 0.4)
    light = ambient(look, round) * open + look.key_colour * (sine * facing * sun * 0.9)
    light = light + look.fill_colour * (wrapped(wp.dot(round, look.fill), 0.4) * open)
    light = light + look.rim_colour * (wp.max(wp.dot(round, look.rim), 0.0) * open * 1.3)
    shift = wp.normalize(t - round * (0.10 - 0.35 * line))
    half = wp.normalize(look.key + view)
    one = wp.dot(shift, half)
    two = wp.dot(wp.normalize(t + round * (0.16 + 0.3 * line)), half)
    first = wp.pow(wp.max(1.0 - one * one, 0.0), 55.0) * 0.17
    second = wp.pow(wp.max(1.0 - two * two, 0.0), 11.0) * 0.85
    shine = look.key_colour * (sun * facing * look.hair_shine)
    shine = shine * (first * streak) + wp.cw_mul(shine, albedo) * second
    # What light the sky reflects off the strands: it keeps black hair from being a hole.
    sheen = ambient(look, round) * (0.032 * look.hair_shine * wp.sqrt(wp.max(1.0 - tv * tv, 0.0)) * streak)
    return wp.cw_mul(albedo, light) + (shine + sheen) * open


@wp.func
def cloth_colour(look: Look, uv: wp.vec2) -> wp.vec3:
    """Plain, stripes or checks with a little weave. uv in metres on the body."""
    weave = 1.0 + 0.10 * wp.noise(wp.uint32(21), uv * 900.0) + 0.12 * wp.noise(wp.uint32(23), uv * 60.0)
    pick = float(0.0)
    x, y = uv[0] * look.cloth_scale, uv[1] * look.cloth_scale
    if look.cloth_pattern == 1:
        pick = wp.smoothstep(0.15, 0.25, wp.abs(y - wp.floor(y) - 0.5))
    elif look.cloth_pattern == 2:
        pick = wp.smoothstep(0.35, 0.4, wp.abs(x - wp.floor(x) - 0.5))
    elif look.cloth_pattern == 3:
        pick = 0.5 * wp.smoothstep(0.2, 0.26, wp.abs(x - wp.floor(x) - 0.5))
        pick = pick + 0.5 * wp.smoothstep(0.2, 0.26, wp.abs(y - wp.floor(y) - 0.5))
    return (look.cloth * (1.0 - pick) + look.cloth_second * pick) * weave
