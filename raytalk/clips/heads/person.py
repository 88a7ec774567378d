"""Who a rendered person is: the traits that stay the same in all of their clips."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.anatomy import Anatomy, Array

Colour = npt.NDArray[np.float32]
"""[3] linear RGB"""

_SPREADS = {
    "head-": 0.22, "forehead-": 0.25, "eyebrows-": 0.18, "nose-": 0.27, "mouth-": 0.23, "cheek-": 0.27, "chin-": 0.25,
    "ear-": 0.3, "eye-": 0.21, "neck-": 0.2,
}  # fmt: skip
"""standard deviation of anny's local changes, by the start of their names without the side"""
_CALM = {
    "head-trans-out": 0.0, "head-trans-forward": 0.15, "head-trans-up": 0.15, "head-angle-out": 0.1,
    "head-age-incr": 0.2,
    "nose-trans-out": 0.05, "mouth-trans-out": 0.05, "neck-trans-out": 0.0, "neck-trans-up": 0.1,
    "neck-trans-forward": 0.15, "neck-double-incr": 0.3, "eye-push1-out": 0.15, "eye-push2-out": 0.15,
    "eye-scale-incr": 0.18, "eye-trans-out": 0.2, "eye-trans-up": 0.2, "eye-height1-incr": 0.22,
    "eye-height2-incr": 0.22, "eye-height3-incr": 0.22, "mouth-trans-forward": 0.15, "mouth-scale-depth-incr": 0.2,
    "ear-shape-triangle": 0.2, "ear-wing-incr": 0.3, "head-scale-vert-incr": 0.22, "head-scale-horiz-incr": 0.22,
    "head-scale-depth-incr": 0.22, "mouth-lowerlip-middle-up": 0.12, "mouth-upperlip-middle-up": 0.12,
    "mouth-lowerlip-height-incr": 0.25, "mouth-upperlip-height-incr": 0.25, "nose-septumangle-incr": 0.3,
}  # fmt: skip
"""changes that break a face, or move it as a whole, if they are taken further"""

_TONES = (
    "#eccfba", "#e6c3a6", "#deb393", "#d6a583", "#c48f6b", "#ad7751", "#8d5b3b", "#70452c", "#553322", "#3f261b",
)  # fmt: skip
"""skin from fair to dark"""
_HAIRS = {
    "black": ("#0d0a09", 1.0), "dark brown": ("#1e130d", 1.0), "brown": ("#3a2416", 0.9), "chestnut": ("#4a2413", 0.7),
    "light brown": ("#644426", 0.7), "dark blond": ("#8a6840", 0.6), "blond": ("#bb935c", 0.6),
    "light blond": ("#d9bd8c", 0.4), "red": ("#7d2f12", 0.3), "ginger": ("#a9541f", 0.3), "grey": ("#77736f", 0.0),
    "white": ("#c9c5bf", 0.0),
}  # fmt: skip
_IRISES = ("#2b170c", "#3a210f", "#553416", "#6d5a2a", "#5e6b3c", "#5b7480", "#6c8fae", "#8aa0a8")
_DYES = ("#7a1f4d", "#1c4a7a", "#5a2b83", "#b3394f", "#2f6b57")

CUTS = (
    "bald", "fringe of hair", "buzz", "crop", "side part", "slick", "quiff", "curly", "afro", "bob", "long",
    "long with fringe", "wavy", "ponytail", "bun",
)  # fmt: skip
BEARDS = ("none", "stubble", "moustache", "goatee", "short beard", "full beard")


def linear(code: str) -> Colour:
    """`#rrggbb` (sRGB) as linear light."""
    values = np.array([int(code[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.asarray(values**2.2, np.float32)


@dataclass(frozen=True)
class Person:
    """Colours are linear RGB."""

    female: bool
    coefficients: Array
    """[S] of `Anatomy.shapes`"""
    skin: Colour
    darkness: float
    """of the skin, 0 fair to 1 dark"""
    ruddiness: float
    freckles: float
    moles: int
    wrinkles: float
    gloss: float
    lips: Colour
    lip_gloss: float
    brow_width: float
    brow_density: float
    brow: Colour
    eyeliner: float
    iris: Colour
    iris_inner: Colour
    sclera: Colour
    teeth: Colour
    cut: str
    hair: Colour
    hair_tip: Colour
    hairline: float
    """how far it has receded, 0..1"""
    beard: str
    beard_colour: Colour
    shadow: float
    """of a shaven beard, 0..1"""
    glasses: str
    """none, round, square, oval or rimless"""
    frame: Colour
    earrings: bool
    seed: int
    """for everything drawn from these traits: freckles, locks of hair"""


def draw_person(anatomy: Anatomy, seed: int, number: int) -> Person:
    """Person `number` of the population `seed`; the same in every run."""
    rng = np.random.default_rng([seed, number, 1])
    female = bool(rng.random() < 0.5)
    age = float(np.clip(rng.beta(1.3, 2.0), 0, 1))
    origin = rng.dirichlet([0.35, 0.35, 0.45])
    darkness = float(np.clip(origin @ [0.78, 0.34, 0.14] + rng.normal(0, 0.09), 0, 1))
    phenotypes = {
        "gender": float(np.clip((0.9 if female else 0.1) + rng.normal(0, 0.09), 0, 1)),
        "age": 0.64 + 0.33 * age,
        "muscle": float(np.clip(rng.normal(0.5, 0.18), 0.1, 0.9)),
        "weight": float(np.clip(rng.normal(0.5, 0.2), 0.05, 0.95)),
        "african": float(origin[0]),
        "asian": float(origin[1]),
        "caucasian": float(origin[2]),
    }
    coefficients = anatomy.coefficients(phenotypes, _changes(anatomy, rng))
    skin = _skin(rng, darkness)
    hair, tip, grey, name = _hair(rng, darkness, age, female)
    cut, hairline = _cut(rng, female, age)
    beard = "none"
    if not female:
        beard = str(rng.choice(BEARDS, p=[0.42, 0.2, 0.07, 0.09, 0.13, 0.09]))
    make_up = female and rng.random() < 0.45
    lips = skin * np.array([0.82, 0.55, 0.55]) + np.array([0.03, 0.004, 0.010])
    if make_up:
        lips = 0.35 * lips + 0.65 * linear(str(rng.choice(["#9e1b2f", "#b5485a", "#8a2a3c", "#c2604f", "#6e1f33"])))
    iris = linear(_IRISES[int(np.clip(rng.normal(5.2 - 6.5 * darkness - 3.0 * origin[1], 1.5), 0, len(_IRISES) - 1))])
    glasses = "none"
    if rng.random() < 0.13 + 0.15 * age:
        glasses = str(rng.choice(["round", "square", "oval", "rimless"], p=[0.2, 0.35, 0.25, 0.2]))
    frames = ["#16161a", "#2a1d14", "#4b2f1b", "#2a3850", "#77777c", "#9a7b3f", "#6a2a2f", "#8f6f58"]
    return Person(
        female=female,
        coefficients=coefficients,
        skin=skin,
        darkness=darkness,
        ruddiness=float(np.clip(rng.normal(0.5, 0.25), 0, 1)),
        freckles=float(max(0.0, rng.normal(0.1, 0.35) - 0.6 * darkness)) + (0.5 if name in ("red", "ginger") else 0.0),
        moles=int(rng.poisson(1.6)),
        wrinkles=float(np.clip(1.25 * age**1.4 + rng.normal(0, 0.08), 0, 1)),
        gloss=float(rng.uniform(0.55, 1.15)),
        lips=np.asarray(lips, np.float32),
        lip_gloss=float(rng.uniform(1.2, 2.6) if make_up else rng.uniform(0.8, 1.4)),
        brow_width=float(np.clip(rng.normal(0.85 if female else 1.15, 0.22), 0.5, 1.7)),
        brow_density=float(np.clip(rng.normal(0.8, 0.15), 0.4, 1.0)),
        brow=np.asarray(hair * 0.75 + 0.002, np.float32) if grey < 0.8 else hair * 0.6,
        eyeliner=float(rng.uniform(0.4, 1.0)) if make_up else (0.25 if female else 0.0),
        iris=iris,
        iris_inner=np.asarray(
            iris * rng.uniform(1.1, 1.9) + rng.uniform(0, 0.06) * np.array([1.0, 0.6, 0.15]), np.float32
        ),
        sclera=np.array([0.76, 0.72, 0.69], np.float32) * float(rng.uniform(0.85, 1.05)),
        teeth=np.array([0.95, 0.85, 0.69], np.float32) * float(rng.uniform(0.8, 1.05)),
        cut=cut,
        hair=hair,
        hair_tip=tip,
        hairline=hairline,
        beard=beard,
        beard_colour=np.asarray(hair * np.array([1.05, 0.9, 0.8]), np.float32),
        shadow=0.0
        if female
        else float(rng.uniform(0.0, 0.55) * (1.0 if name in ("black", "dark brown", "brown") else 0.35)),
        glasses=glasses,
        frame=linear(str(rng.choice(frames))),
        earrings=bool(female and rng.random() < 0.35),
        seed=int(rng.integers(2**31)),
    )


def _changes(anatomy: Anatomy, rng: np.random.Generator) -> dict[str, float]:
    """Local changes of the face; the two sides differ a little, as they do."""
    changes: dict[str, float] = {}
    for label in anatomy.labels:
        name = label[2:] if label[:2] in ("l-", "r-") else label
        spread = _CALM.get(name)
        if spread is None:
            spread = next((value for start, value in _SPREADS.items() if name.startswith(start)), 0.0)
        if label.startswith("r-") and f"l-{name}" in changes:
            changes[label] = changes[f"l-{name}"] + float(rng.normal(0, 0.12 * spread))
        else:
            changes[label] = float(np.clip(rng.normal(0, spread), -2.2 * spread, 2.2 * spread))
    return {label: float(np.clip(value, -1, 1)) for label, value in changes.items() if abs(value) > 1e-3}


def _skin(rng: np.random.Generator, darkness: float) -> Colour:
    place = darkness * (len(_TONES) - 1)
    low = min(int(place), len(_TONES) - 2)
    tone = linear(_TONES[low]) * (1 - place + low) + linear(_TONES[low + 1]) * (place - low)
    warmth = rng.normal(0, 0.04)
    blood = np.array([1.04, 0.97, 1.06])
    return np.asarray(tone * blood * rng.uniform(0.92, 1.04) * np.array([1 + warmth, 1, 1 - 1.5 * warmth]), np.float32)


def _hair(rng: np.random.Generator, darkness: float, age: float, female: bool) -> tuple[Colour, Colour, float, str]:
    names = list(_HAIRS)[:-2]
    dark = darkness > 0.28
    odds = np.array(
        [0.62, 0.3, 0.06, 0.01, 0.004, 0, 0, 0, 0.003, 0]
        if dark
        else [0.07, 0.15, 0.18, 0.08, 0.12, 0.13, 0.13, 0.08, 0.03, 0.03]
    )
    name = str(rng.choice(names, p=odds / odds.sum()))
    colour = linear(_HAIRS[name][0]) * float(rng.uniform(0.8, 1.2))
    grey = float(np.clip((age - rng.uniform(0.3, 0.9)) * 2.2, 0, 1)) * (0.6 if female and rng.random() < 0.5 else 1.0)
    aged = linear(_HAIRS["grey" if rng.random() < 0.6 else "white"][0])
    colour = colour * (1 - grey) + aged * grey
    tip = colour * float(rng.uniform(0.9, 1.35))
    if rng.random() < 0.03:
        colour = 0.25 * colour + 0.75 * linear(str(rng.choice(_DYES)))
        tip = colour * 1.2
    elif female and rng.random() < 0.12:
        tip = 0.4 * tip + 0.6 * linear(_HAIRS["blond"][0])
    return np.asarray(colour, np.float32), np.asarray(tip, np.float32), grey, name


def _cut(rng: np.random.Generator, female: bool, age: float) -> tuple[str, float]:
    if female:
        odds = [0.005, 0, 0.02, 0.07, 0.06, 0.03, 0.03, 0.09, 0.06, 0.16, 0.18, 0.09, 0.1, 0.07, 0.04]
    else:
        bald = 0.05 + 0.16 * age
        odds = [bald, 0.13 * age, 0.13, 0.24, 0.14, 0.08, 0.1, 0.09, 0.06, 0.01, 0.03, 0.0, 0.02, 0.01, 0.01]
    weights = np.array(odds) / np.sum(odds)
    cut = str(rng.choice(CUTS, p=weights))
    receded = float(rng.uniform(0, 0.15)) if female else float(np.clip(rng.normal(0.15 + 0.5 * age, 0.2), 0, 1))
    return cut, receded
