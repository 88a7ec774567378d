"""The skin of a person, painted onto the unwrapped head: tone, blush, freckles, wrinkles, brows, stubble, scalp.

Everything is drawn in the texture's own pixels, where `Anatomy.front` says where eyes, nose and mouth lie.
"""

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.anatomy import Anatomy, Array
from raytalk.clips.heads.person import Person

WIDTH, HEIGHT = 1024, 768
"""of the texture, in pixels: half a millimetre each on the face"""

_HAIRLINE = np.array([
    (0, -0.49), (14, -0.50), (30, -0.47), (42, -0.38), (50, -0.21), (57, 0.02), (62, 0.25), (67, 0.33), (73, 0.20),
    (80, -0.02), (95, -0.06), (104, 0.22), (112, 0.50), (130, 0.70), (180, 0.76),
])  # fmt: skip
"""angle from the nose in degrees, and height below the brows in face heights: where hair begins"""


def paint(anatomy: Anatomy, person: Person) -> tuple[Array, Array]:
    """(texture, relief) of `render.Surface`: both [HEIGHT, WIDTH, 3]."""
    rng = np.random.default_rng(person.seed)
    marks = anatomy.front * [WIDTH, HEIGHT]
    canvas = np.tile(person.skin, (HEIGHT, WIDTH, 1)).astype(np.float32)
    height = np.zeros((HEIGHT, WIDTH), np.float32)
    gloss = 0.25 * noise(rng, 10) + 0.35 * noise(rng, 2)
    gloss += 0.8 * spot(marks[30], 16, 26) + 0.5 * spot(marks[27] + [0, -60], 60, 30) + 0.3 * spot(marks[8], 20, 14)
    canvas *= (1 + 0.045 * noise(rng, 60) + 0.02 * noise(rng, 14) + 0.008 * noise(rng, 3))[..., None]
    height += 0.06 * noise(rng, 2.5) + 0.04 * noise(rng, 5)
    _blush(canvas, person, marks)
    _spots(canvas, person, marks, rng)
    _wrinkles(canvas, height, person, marks, rng)
    _stubble(canvas, anatomy, person, rng)
    _scalp(canvas, anatomy, person, rng)
    _eye_make_up(canvas, person, marks)
    _brows(canvas, person, marks, rng)
    tilt_x, tilt_y = cv2.Sobel(height, -1, 1, 0, scale=0.125), cv2.Sobel(height, -1, 0, 1, scale=0.125)
    relief = np.stack([-0.55 * tilt_x, 0.55 * tilt_y, gloss], axis=-1)
    return np.clip(canvas, 0.002, 1.0).astype(np.float32), relief.astype(np.float32)


def noise(rng: np.random.Generator, size: float) -> Array:
    """[HEIGHT, WIDTH] smooth, of unit deviation, with blobs of about `size` pixels; it closes at the back."""
    columns, rows = max(4, round(WIDTH / size)), max(4, round(HEIGHT / size))
    grid = rng.standard_normal((rows, columns)).astype(np.float32)
    grid = np.concatenate([grid[:, -2:], grid, grid[:, :2]], axis=1)
    wide = cv2.resize(grid, (round(WIDTH * (columns + 4) / columns), HEIGHT), interpolation=cv2.INTER_CUBIC)
    start = round(WIDTH * 2 / columns)
    return np.asarray(wide[:, start : start + WIDTH] * 1.35, np.float32)


_Y, _X = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)


def spot(centre: npt.NDArray[np.floating], radius_x: float, radius_y: float) -> Array:
    """[HEIGHT, WIDTH] a soft spot, 1 in the middle."""
    across, down = np.exp(-(((_X[0] - centre[0]) / radius_x) ** 2)), np.exp(-(((_Y[:, 0] - centre[1]) / radius_y) ** 2))
    return np.asarray(down[:, None] * across, np.float32)


def scalp(anatomy: Anatomy, hairline: float) -> Array:
    """[HEIGHT, WIDTH] how far a texel lies inside the hair, in face heights (negative: on the face or neck).

    hairline: 0 as in youth, 1 receded far.
    """
    front = anatomy.front
    brow, chin = float(front[17:27, 1].mean()), float(front[8, 1])
    angle = np.abs(_X[0] / WIDTH - 0.5) * 360
    line = np.interp(angle, _HAIRLINE[:, 0], _HAIRLINE[:, 1])
    line -= np.exp(-(((angle - 38) / 15) ** 2)) * 0.42 * hairline + np.exp(-((angle / 26) ** 2)) * 0.12 * hairline
    below = (_Y[:, 0] / HEIGHT - brow) / (chin - brow)
    return np.asarray(line - below[:, None], np.float32)


def beard_area(anatomy: Anatomy, kind: str) -> Array:
    """[HEIGHT, WIDTH] 0..1: where a beard of this kind grows (see `person.BEARDS`)."""
    marks = anatomy.front * [WIDTH, HEIGHT]
    area = np.zeros((HEIGHT, WIDTH), np.float32)
    upper = _around(
        marks[[48, 49, 50, 51, 52, 53, 54]], [(-10, 6), (-4, -9), (0, -17), (0, -17), (0, -17), (4, -9), (10, 6)]
    )
    lower = [*marks[[54, 53, 52, 51, 50, 49, 48]]]
    if kind in ("moustache", "goatee", "short beard", "full beard", "stubble"):
        cv2.fillPoly(area, [np.rint([*upper, *lower]).astype(np.int32)], 1.0)
    if kind in ("goatee", "short beard", "full beard", "stubble"):
        chin = [marks[48] + [-14, 8], marks[59], marks[58], marks[57], marks[56], marks[55], marks[54] + [14, 8]]
        chin += [marks[10] + [-14, -4], marks[8] + [0, 16], marks[6] + [14, -4]]
        cv2.fillPoly(area, [np.rint(chin).astype(np.int32)], 1.0)
    if kind in ("short beard", "full beard", "stubble"):
        for side, jaw in ((1, range(0, 9)), (-1, range(16, 7, -1))):
            line = [marks[index] for index in jaw]
            cheek = marks[48 if side == 1 else 54] + [-8 * side, 2]
            inner = [
                marks[8] + [0, -8],
                marks[57] + [-16 * side, 8],
                cheek,
                cheek + [-44 * side, -10],
                line[1] + [26 * side, 8],
            ]
            outer = [point + [-10 * side, 14] for point in line[::-1]]
            polygon = [*inner, line[0] + [8 * side, -4], line[0] + [-14 * side, 0], *outer[::-1]]
            cv2.fillPoly(area, [np.rint(polygon).astype(np.int32)], 1.0)
    return np.asarray(cv2.GaussianBlur(area, (0, 0), 11 if kind == "stubble" else 5), np.float32)


def _around(points: npt.NDArray[np.floating], shifts: list[tuple[float, float]]) -> list[npt.NDArray[np.floating]]:
    return [point + np.array(shift) for point, shift in zip(points, shifts, strict=True)]


def _tint(canvas: Array, amount: npt.NDArray[np.floating], colour: npt.ArrayLike) -> None:
    """Multiply by `colour` where `amount` is 1."""
    where = _box(amount)
    canvas[where] *= 1 + amount[where][..., None] * (np.asarray(colour, np.float32) - 1)


def _cover(canvas: Array, amount: npt.NDArray[np.floating], colour: npt.ArrayLike) -> None:
    """Paint over with `colour` where `amount` is 1."""
    where = _box(amount)
    canvas[where] += amount[where][..., None] * (np.asarray(colour, np.float32) - canvas[where])


def _box(amount: npt.NDArray[np.floating]) -> tuple[slice, slice]:
    """Where there is anything to paint."""
    rows, columns = np.flatnonzero(amount.max(axis=1) > 0.004), np.flatnonzero(amount.max(axis=0) > 0.004)
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _blush(canvas: Array, person: Person, marks: npt.NDArray[np.floating]) -> None:
    strength = 0.35 + 0.65 * person.ruddiness
    red = np.array([1.06, 0.80, 0.80]) if person.darkness < 0.5 else np.array([1.05, 0.90, 0.88])
    cheeks = spot((marks[2] + marks[31]) / 2 + [8, 0], 42, 40) + spot((marks[14] + marks[35]) / 2 - [8, 0], 42, 40)
    _tint(canvas, strength * np.minimum(cheeks, 1), red)
    _tint(canvas, strength * (spot(marks[33], 22, 20) + 0.5 * spot(marks[8], 26, 18)), red)
    for eye in (marks[36:42], marks[42:48]):
        middle = eye.mean(axis=0)
        _tint(canvas, 0.55 * spot(middle, 34, 20), [0.88, 0.76, 0.78])
        _tint(canvas, (0.25 + 0.5 * person.wrinkles) * spot(middle + [0, 22], 26, 9), [0.86, 0.74, 0.78])
    around = spot(marks[48:60].mean(axis=0), 44, 26)
    _tint(canvas, 0.25 * around, [1.0, 0.9, 0.88])
    _tint(canvas, spot(marks[27] + [0, -110], 150, 60) * 0.4, [1.02, 1.03, 1.0])


def _spots(canvas: Array, person: Person, marks: npt.NDArray[np.floating], rng: np.random.Generator) -> None:
    """Freckles over nose and cheeks, and a few moles."""
    layer = np.zeros((HEIGHT, WIDTH), np.float32)
    for _ in range(int(420 * min(person.freckles, 1.4))):
        x, y = rng.normal(marks[29], [95, 42])
        cv2.circle(
            layer, (int(x * 8), int(y * 8)), int(rng.uniform(6, 15)), float(rng.uniform(0.2, 0.75)), -1, cv2.LINE_AA, 3
        )
    _tint(canvas, np.asarray(cv2.GaussianBlur(layer, (0, 0), 0.8), np.float32), [0.74, 0.58, 0.48])
    layer[:] = 0
    for _ in range(person.moles):
        x, y = rng.normal(marks[33], [95, 75])
        cv2.circle(layer, (int(x * 8), int(y * 8)), int(rng.uniform(12, 26)), 1.0, -1, cv2.LINE_AA, 3)
    _tint(canvas, 0.85 * cv2.GaussianBlur(layer, (0, 0), 0.9), [0.30, 0.20, 0.16])


def _wrinkles(
    canvas: Array, height: Array, person: Person, marks: npt.NDArray[np.floating], rng: np.random.Generator
) -> None:
    """Lines beside nose and mouth, on the forehead, between the brows and beside the eyes."""
    lines: list[tuple[list[npt.NDArray[np.floating]], float]] = []
    age = person.wrinkles
    for side, wing, corner, eye in ((-1, 31, 48, 36), (1, 35, 54, 45)):
        fold = [
            marks[wing] + [11 * side, -10],
            marks[wing] + [21 * side, 8],
            (marks[wing] + marks[corner]) / 2 + [19 * side, 6],
            marks[corner] + [17 * side, 6],
        ]
        lines.append((fold, 0.35 + 0.9 * age))
        lines.append(([marks[corner] + [9 * side, 12], marks[corner] + [12 * side, 34]], 0.9 * age))
        for step in range(3):
            start = marks[eye] + [10 * side, -6 + 7 * step]
            lines.append(([start, start + [22 * side, (step - 1) * 9.0 + rng.normal(0, 2)]], 0.95 * age))
        below = marks[40 if side < 0 else 47]
        lines.append(([below + [-22, 15], below + [0, 20], below + [20, 14]], 0.25 + 0.7 * age))
        lines.append(([marks[27] + [7 * side, -22], marks[27] + [8 * side, 2]], 0.8 * age))
    for row in range(4):
        y = marks[17:27, 1].mean() - 34 - 21 * row
        drift = rng.normal(0, 3, 5)
        lines.append(
            (
                [np.array([marks[27, 0] + x, y + d]) for x, d in zip((-78, -40, 0, 40, 78), drift, strict=True)],
                1.0 * age,
            )
        )
    layer = np.zeros((HEIGHT, WIDTH), np.float32)
    for points, strength in lines:
        if strength > 0.05:
            one = np.zeros_like(layer)
            cv2.polylines(
                one, [np.rint(_curve(points) * 8).astype(np.int32)], False, float(min(strength, 1.2)), 2, cv2.LINE_AA, 3
            )
            layer = np.maximum(layer, one)
    groove = cv2.GaussianBlur(layer, (0, 0), 1.6) * 1.6
    _tint(canvas, 0.42 * np.clip(groove, 0, 1), [0.72, 0.58, 0.55])
    height -= 4.5 * cv2.GaussianBlur(layer, (0, 0), 2.2)
    rough = noise(rng, 5)
    canvas *= (1 - 0.03 * age * np.abs(rough))[..., None]


def _curve(points: list[npt.NDArray[np.floating]]) -> npt.NDArray[np.float64]:
    """A smooth line through a few points."""
    stops = np.arange(len(points))
    steps = np.linspace(0, len(points) - 1, 12 * len(points))
    if len(points) < 3:
        return np.stack([np.interp(steps, stops, np.array(points)[:, axis]) for axis in (0, 1)], axis=1)
    fits = [np.polynomial.Polynomial.fit(stops, np.array(points)[:, axis], min(3, len(points) - 1)) for axis in (0, 1)]
    return np.stack([fit(steps) for fit in fits], axis=1)


def _stubble(canvas: Array, anatomy: Anatomy, person: Person, rng: np.random.Generator) -> None:
    """The shadow of a shaven beard, stubble, and the ground under a real one."""
    strength = {"none": 0.4 * person.shadow, "stubble": 0.6, "full beard": 0.9, "short beard": 0.95}.get(
        person.beard, 0.7
    )
    if person.female or strength < 0.03:
        return
    kind = "stubble" if person.beard == "none" else person.beard
    area = beard_area(anatomy, kind)
    if person.beard != "none":
        # What is shaven around a moustache or goatee still shows.
        _cover(
            canvas,
            0.35 * person.shadow * beard_area(anatomy, "stubble"),
            person.beard_colour * 0.6 + person.skin * 0.35,
        )
    grain = np.clip(0.74 + 0.30 * noise(rng, 1.6), 0, 1)
    colour = person.beard_colour * 0.8 + person.skin * (0.25 if person.beard == "none" else 0.08)
    _cover(canvas, np.clip(strength * area * grain, 0, 0.94), colour)


def _scalp(canvas: Array, anatomy: Anatomy, person: Person, rng: np.random.Generator) -> None:
    """Hair close to the skin: all there is of a buzz cut, the ground under locks."""
    if person.cut == "bald":
        inside = scalp(anatomy, 0.3)
        _cover(canvas, 0.16 * person.shadow * np.clip(inside * 9, 0, 1), person.hair)
        return
    inside = scalp(anatomy, person.hairline)
    edge = np.clip(
        (inside + 0.016 * noise(rng, 5) + 0.012 * noise(rng, 2)) * (16 if person.cut == "buzz" else 22), 0, 1
    )
    if person.cut == "fringe of hair":
        edge *= np.clip((_Y / HEIGHT - 0.2) * 18 + 0.6 * noise(rng, 6), 0.06, 1)
    grain = np.clip((0.86 if person.cut == "buzz" else 0.95) + 0.14 * noise(rng, 1.6), 0, 1)
    _cover(canvas, np.clip(edge * grain, 0, 0.97), person.hair * 0.85)


def _eye_make_up(canvas: Array, person: Person, marks: npt.NDArray[np.floating]) -> None:
    layer = np.zeros((HEIGHT, WIDTH), np.float32)
    for upper in (marks[[36, 37, 38, 39]], marks[[42, 43, 44, 45]]):
        cv2.polylines(layer, [np.rint(_curve(list(upper)) * 8).astype(np.int32)], False, 1.0, 2, cv2.LINE_AA, 3)
    _cover(
        canvas, np.clip(0.75 * person.eyeliner * cv2.GaussianBlur(layer, (0, 0), 1.0), 0, 0.9), [0.015, 0.011, 0.010]
    )
    if person.eyeliner > 0.5:
        lids = spot(marks[[37, 38]].mean(axis=0) + [0, -8], 24, 9) + spot(marks[[43, 44]].mean(axis=0) + [0, -8], 24, 9)
        _tint(canvas, 0.6 * person.eyeliner * lids, [0.68, 0.52, 0.52])


def _brows(canvas: Array, person: Person, marks: npt.NDArray[np.floating], rng: np.random.Generator) -> None:
    """Two brows of single hairs that fan outwards along the brow."""
    arch, lift = rng.normal(0, 2.0), rng.normal(0, 1.5)
    layer = np.zeros((HEIGHT, WIDTH), np.float32)
    for points in (marks[17:22][::-1], marks[22:27]):
        middle = _curve([*points + np.array([0.0, 1.0]) * np.array([0, 0, -1, 0, 0])[:, None] * arch + [0, 3 + lift]])
        along = np.gradient(middle, axis=0)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        for _ in range(int(330 * person.brow_density)):
            place = rng.beta(1.15, 1.3)
            index = int(place * (len(middle) - 1))
            width = person.brow_width * 9.5 * (1 - 0.72 * place**1.5) * min(1.0, 0.55 + place * 3)
            root = middle[index] + [0, width * rng.uniform(-0.5, 0.6)]
            steep = (0.95 - 1.25 * place) + rng.normal(0, 0.15)
            way = along[index] + np.array([0, -1.0]) * steep
            tip = root + way / np.linalg.norm(way) * rng.uniform(7, 14) * (0.8 + 0.2 * person.brow_width)
            ends = np.rint(np.stack([root, tip]) * 8).astype(np.int32)
            cv2.line(layer, ends[0].tolist(), ends[1].tolist(), float(rng.uniform(0.45, 1.0)), 1, cv2.LINE_AA, 3)
    dense = np.clip(0.75 * cv2.GaussianBlur(layer, (0, 0), 2.2) + 0.75 * layer, 0, 1)
    _cover(canvas, 0.93 * person.brow_density * dense, person.brow)
