"""Styles of curly hair, of hair that falls over the ears, and of hair that is tied; lengths in metres."""

from dataclasses import replace

import numpy as np

from raytalk.clips.heads.scalp import smooth
from raytalk.clips.heads.styles import Flow, Layer, Map, Style, Taste, behind_temples, even, from_top, top, two


def curly(taste: Taste) -> Style:
    """A shock of curls; women's fall on over ears and nape."""
    u = taste.rng.uniform
    flow = Flow(taste.crown, taste.crown)
    size = u(0.03, 0.05)
    short = Layer(
        flow,
        560,
        even(size * u(1.1, 1.6)),
        width=0.0045,
        lift=(0.0, 0.004),
        rise=1.0,
        hold=0.6,
        weight=0.5,
        mess=1.2,
        uneven=0.35,
        wave=0.17 * size,
        wavelength=size,
        curl=1.0,
        taper=0.5,
        steps=7,
        rings=8,
        edge=0.8,
        steer=False,
    )
    thick = u(0.014, 0.03) * taste.full
    style = Style([short], flow, two(thick, 0.6 * thick), rough=0.006, grain=0.16, frizz=0.5, slope=0.12)
    if not taste.female:
        return style
    reach = 0.09 + u(0.0, 0.1)
    fall = Layer(
        flow,
        190,
        lambda place: reach + 0.05 * top(place),
        width=0.0055,
        lift=(0.004, 0.02),
        rise=0.6,
        weight=0.7,
        mess=0.5,
        wave=0.2 * size,
        wavelength=1.3 * size,
        curl=1.0,
        taper=0.4,
        steps=16,
        rings=18,
        where=lambda place: 0.15 + smooth(0.5, 1.2, from_top(place)) * (place[:, 1] > -0.6),
    )
    return replace(style, layers=[replace(short, count=330), fall], ears=0.7)


def ponytail(taste: Taste) -> Style:
    """Combed back and tied."""
    u = taste.rng.uniform
    style = _tied(taste, u(0.8, 1.7))
    tail = Layer(
        style.flow,
        110,
        even(u(0.16, 0.32)),
        width=0.006,
        lift=(0.004, 0.03),
        hold=0.72,
        weight=0.6,
        uneven=0.25,
        taper=0.9,
        wave=u(0, 0.008),
        wavelength=u(0.07, 0.15),
        curl=0.3,
        steps=18,
        rings=11,
    )
    return replace(style, tail=tail)


def bun(taste: Taste) -> Style:
    """Combed up or back, and wound."""
    return _tied(taste, taste.rng.uniform(0.3, 1.6))


def _tied(taste: Taste, back: float) -> Style:
    """Combed to a knot `back` radians behind the top of the head."""
    u = taste.rng.uniform
    knot = (0.0, back)
    flow = Flow(knot, knot, gather=True)
    layer = Layer(
        flow,
        380,
        lambda place: 0.09 * from_top(place - np.array(knot, np.float32)),
        width=0.005,
        lift=(0.0005, 0.0025),
        rise=0.08,
        hold=0.3,
        weight=0.0,
        hug=0.85,
        mess=0.25 * taste.mess,
        uneven=0.06,
        edge=4.0,
        where=behind_temples,
    )
    return Style([layer], flow, even(u(0.004, 0.009)), knot=knot)


def bob(taste: Taste) -> Style:
    """To the chin, cut straight; some with a fringe."""
    style = _falling(taste, taste.rng.uniform(-0.02, 0.045), uneven=0.05, taper=0.3)
    return _with_fringe(style, taste) if taste.rng.random() < 0.35 else style


def long(taste: Taste) -> Style:
    """To the chest."""
    return _falling(taste, taste.rng.uniform(0.08, 0.2), uneven=0.12, taper=0.7)


def long_with_fringe(taste: Taste) -> Style:
    """Below the shoulders, and down to the brows."""
    return _with_fringe(_falling(taste, taste.rng.uniform(0.05, 0.2), uneven=0.12, taper=0.7), taste)


def wavy(taste: Taste) -> Style:
    """Long, fuller, in waves."""
    u = taste.rng.uniform
    style = _falling(taste, u(0.08, 0.2), uneven=0.12, taper=0.7)
    fall, under = style.layers
    wave, wavelength = u(0.008, 0.016), u(0.085, 0.13)
    lift = (0.001, 0.018 * taste.full)
    fall = replace(fall, wave=wave, wavelength=wavelength, curl=0.5, lift=lift, rings=18, count=250)
    under = replace(under, wave=wave, wavelength=wavelength, curl=0.5, rings=13, count=60)
    cap = style.cap
    return replace(style, layers=[fall, under], cap=lambda place: 1.5 * cap(place))


def _falling(taste: Taste, low: float, uneven: float, taper: float) -> Style:
    """Hair that ends `low` metres below the chin."""
    u = taste.rng.uniform
    parting = float(taste.rng.choice([0.0, taste.side * u(0.15, 0.4)]))
    flow = Flow((parting, -1.0), (parting * 0.7, taste.crown[1]), sweep=u(0.15, 0.45))
    cap = u(0.007, 0.013) * taste.full
    fall = Layer(
        flow,
        360,
        _to(low),
        width=0.0075,
        lift=(0.001, 0.011 * taste.full),
        rise=0.3,
        hold=0.45,
        weight=0.55,
        mess=0.5 * taste.mess,
        uneven=uneven,
        taper=taper,
        wave=u(0, 0.0025),
        wavelength=0.11,
        steps=20,
        rings=10,
    )
    # Without them one sees between the locks in front to what is behind the neck.
    under = Layer(
        flow,
        90,
        _to(low - 0.03),
        width=0.014,
        where=lambda place: smooth(0.9, 1.3, from_top(place)),
        lift=(0.0, 0.002),
        rise=0.1,
        hold=0.3,
        weight=0.7,
        hug=0.1,
        mess=0.1,
        uneven=0.1,
        taper=0.6,
        steps=14,
        rings=8,
    )
    return Style([fall, under], flow, two(1.3 * cap, cap), ears=1.0, recedes=0.3)


def _with_fringe(style: Style, taste: Taste) -> Style:
    u = taste.rng.uniform
    spot, width = (taste.side * u(0, 0.5), u(0.2, 2.0)), u(0.45, 0.75)
    fringe = Layer(
        Flow(spot, spot),
        150,
        even(0.12),
        width=0.0055,
        where=_brow_side(width),
        edge=0.5,
        lift=(0.001, 0.007),
        rise=0.3,
        weight=0.3,
        mess=0.5 * taste.mess,
        uneven=0.03,
        taper=0.4,
        steps=24,
        rings=8,
        steer=False,
    )
    return replace(style, layers=[*style.layers, fringe])


def _brow_side(width: float) -> Map:
    """Where a fringe grows: the front of the head, most of it within `width` radians to either side."""
    return lambda place: smooth(-width - 0.35, -width + 0.35, -np.abs(place[:, 0])) * smooth(0.3, 0.6, -place[:, 1])


def _to(below: float) -> Map:
    """Lengths that end at one height, `below` the chin in metres."""
    # From a place at an angle the way to the ear is 0.1 m of arc per radian, and then straight down.
    return lambda place: 0.13 + below + 0.1 * np.maximum(1.5 - from_top(place), -0.3)
