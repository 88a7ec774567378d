"""Each cut of `person.CUTS` as a style; this file has those that leave the ears free, lengths in metres."""

from collections.abc import Callable

import numpy as np

from raytalk.clips.heads.anatomy import Array
from raytalk.clips.heads.long_cuts import bob, bun, curly, long, long_with_fringe, ponytail, wavy
from raytalk.clips.heads.scalp import smooth
from raytalk.clips.heads.styles import Flow, Layer, Style, Taste, behind_temples, even, top, two


def draw_style(cut: str, rng: np.random.Generator, female: bool) -> Style:
    """A style of this cut (not "bald" or "buzz", which have no locks); no two are alike."""
    return _CUTS[cut](Taste.draw(rng, female))


def _crop(taste: Taste) -> Style:
    u = taste.rng.uniform
    flow = Flow(taste.crown, taste.crown)
    layer = Layer(
        flow,
        560,
        two(u(0.02, 0.045), u(0.008, 0.016)),
        width=0.0038,
        lift=(0.0, 0.006 * taste.full),
        rise=u(0.3, 0.9),
        hold=0.55,
        weight=0.2,
        mess=taste.mess + 0.2,
        uneven=0.3,
        steps=6,
        rings=5,
        steer=False,
    )
    return Style([layer], flow, two(0.009 * taste.full, 0.003))


def _side_part(taste: Taste) -> Style:
    u = taste.rng.uniform
    parting = taste.side * u(0.25, 0.5)
    flow = Flow((parting, -1.0), (parting * 0.6, taste.crown[1]), sweep=u(0.1, 0.4))
    layer = Layer(
        flow,
        500,
        two(u(0.05, 0.08), u(0.01, 0.018)),
        width=0.0045,
        lift=(0.0, 0.005 * taste.full),
        rise=u(0.2, 0.5),
        weight=0.2,
        hug=0.4,
        mess=taste.mess,
        steps=9,
        rings=6,
    )
    return Style([layer], flow, two(0.013 * taste.full, 0.004))


def _backwards(taste: Taste) -> Flow:
    lean = taste.side * taste.rng.uniform(0, 1.5)
    return Flow((lean, -4.0), (lean, -4.0))


def _slick(taste: Taste) -> Style:
    u = taste.rng.uniform
    flow = _backwards(taste)
    layer = Layer(
        flow,
        440,
        two(u(0.08, 0.12), u(0.03, 0.06)),
        width=0.005,
        lift=(0.0005, 0.003),
        rise=u(0.1, 0.35),
        weight=0.05,
        hug=0.6,
        mess=0.5 * taste.mess,
        uneven=0.15,
        edge=3.0,
        where=behind_temples,
    )
    return Style([layer], flow, two(u(0.005, 0.013), 0.004))


def _quiff(taste: Taste) -> Style:
    u = taste.rng.uniform
    flow, whorl = _backwards(taste), Flow(taste.crown, taste.crown)
    upper = Layer(
        flow,
        330,
        two(u(0.035, 0.06), 0.012),
        width=0.005,
        lift=(0.0, 0.006),
        rise=u(0.5, 1.1),
        hold=0.7,
        weight=0.0,
        hug=0.25,
        mess=taste.mess,
        where=lambda place: (top(place) + 0.15) * behind_temples(place),
        edge=2.5,
        steps=9,
    )
    sides = Layer(
        whorl,
        220,
        two(0.012, u(0.008, 0.013)),
        width=0.0038,
        lift=(0.0, 0.002),
        rise=0.3,
        weight=0.3,
        hug=0.4,
        mess=taste.mess,
        where=lambda place: 1.05 - top(place),
        steps=5,
        rings=4,
    )
    high = (0.016 + 0.014 * taste.full) * u(0.8, 1.2)

    def cap(place: Array) -> Array:
        front = smooth(-0.3, 0.6, -place[:, 1]) * np.exp(-((place[:, 0] / 0.6) ** 2))
        return np.asarray(0.003 + (0.008 + high * front) * top(place), np.float32)

    return Style([upper, sides], flow, cap, slope=0.1)


def _afro(taste: Taste) -> Style:
    u = taste.rng.uniform
    flow = Flow(taste.crown, taste.crown)
    thick = u(0.03, 0.075) if taste.female else u(0.015, 0.05)
    layer = Layer(
        flow,
        1000,
        even(u(0.012, 0.02)),
        width=0.0036,
        lift=(0.0, 0.003),
        rise=1.6,
        hold=0.85,
        weight=0.0,
        mess=1.6,
        uneven=0.5,
        wave=0.0045,
        wavelength=0.016,
        curl=1.0,
        taper=0.4,
        steps=4,
        rings=5,
        edge=0.5,
        steer=False,
    )
    cap = two(thick, thick * u(0.75, 0.95))
    return Style([layer], flow, cap, rough=0.004, grain=0.09, frizz=1.0, slope=0.1, recedes=0.5)


def _horseshoe(taste: Taste) -> Style:
    u = taste.rng.uniform
    flow = Flow(taste.crown, taste.crown)
    layer = Layer(
        flow,
        320,
        even(u(0.012, 0.028)),
        width=0.0032,
        lift=(0.0, 0.003),
        rise=u(0.3, 0.7),
        weight=0.3,
        hug=0.3,
        mess=0.4,
        uneven=0.4,
        steps=6,
        rings=5,
    )
    return Style([layer], flow, even(0.004), lower=0.0, crest=u(0.62, 0.76))


_CUTS: dict[str, Callable[[Taste], Style]] = {
    "fringe of hair": _horseshoe,
    "crop": _crop,
    "side part": _side_part,
    "slick": _slick,
    "quiff": _quiff,
    "curly": curly,
    "afro": _afro,
    "bob": bob,
    "long": long,
    "long with fringe": long_with_fringe,
    "wavy": wavy,
    "ponytail": ponytail,
    "bun": bun,
}
