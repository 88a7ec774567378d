"""The face's actions: their names, the expressions they combine to, and what cannot happen at once.

T samples of a timeline; A = 52 actions, each 0 (rest) to 1 (as far as a face goes).
"""

import numpy as np

from raytalk.clips.heads.signals import Array, blur, bump, draw_holds, draw_moments, drift, soft_limit

ACTIONS: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip

_PLACE = {name: place for place, name in enumerate(ACTIONS)}


def columns(*names: str) -> list[int]:
    """Where actions are; a name without its side, such as "browDown", stands for both."""
    found: list[int] = []
    for name in names:
        found += [_PLACE[name]] if name in _PLACE else [_PLACE[name + "Left"], _PLACE[name + "Right"]]
    return found


def combine(**amounts: float) -> Array:
    """[A] with the named actions set; names as in `columns`."""
    row = np.zeros(len(ACTIONS))
    for name, amount in amounts.items():
        row[columns(name)] = amount
    return row


SMILE = combine(mouthSmile=1.0, cheekSquint=0.55, eyeSquint=0.35, mouthDimple=0.2)
EMPHASIS = combine(browInnerUp=0.8, browOuterUp=0.9, eyeWide=0.2)

_EMOTIONS = {
    "happy": (0.3, SMILE * 0.9 + combine(mouthUpperUp=0.28, mouthLowerDown=0.15, jawOpen=0.06)),
    "beaming": (
        0.18,
        SMILE + combine(mouthUpperUp=0.8, mouthLowerDown=0.8, mouthStretch=0.4, jawOpen=0.14, cheekSquint=0.2),
    ),
    "surprised": (0.12, combine(browInnerUp=0.8, browOuterUp=0.8, eyeWide=0.8, jawOpen=0.3, mouthFunnel=0.1)),
    "sad": (0.11, combine(browInnerUp=0.8, mouthFrown=0.65, mouthShrugLower=0.4, eyeSquint=0.2, eyeBlink=0.1)),
    "angry": (
        0.09,
        combine(browDown=0.9, eyeSquint=0.4, noseSneer=0.4, mouthPress=0.4, mouthFrown=0.3, jawForward=0.2),
    ),
    "disgusted": (0.06, combine(noseSneer=0.85, mouthUpperUp=0.45, browDown=0.4, eyeSquint=0.4, mouthShrugUpper=0.3)),
    "thoughtful": (0.14, combine(browDown=0.35, eyeSquint=0.3, mouthPress=0.25, mouthPucker=0.2, eyeBlink=0.08)),
}
"""how often an emotional clip has it, and what it looks like"""
_CHANCES = np.array([chance for chance, _ in _EMOTIONS.values()])
_LOOKS = np.stack([look for _, look in _EMOTIONS.values()])
_NEUTRAL_CLIPS = 0.4
_TRACES = 0.35
"""chance that a clip has a little of any one emotion"""

_GESTURES = np.stack(
    [
        combine(mouthPress=0.6, mouthRollLower=0.2),
        combine(mouthRollLower=0.8, mouthRollUpper=0.6),
        combine(mouthPucker=0.7),
        combine(mouthLeft=0.5, mouthPucker=0.3),
        combine(mouthRight=0.5, mouthPucker=0.3),
        combine(mouthShrugLower=0.6, mouthShrugUpper=0.5, mouthFrown=0.35),
        combine(mouthDimple=0.6, mouthStretch=0.25),
        combine(mouthSmileLeft=0.6, mouthDimpleLeft=0.4),
        combine(mouthSmileRight=0.6, mouthDimpleRight=0.4),
        combine(cheekPuff=0.6, mouthPress=0.4),
        combine(jawLeft=0.4, mouthLeft=0.2),
        combine(jawRight=0.4, mouthRight=0.2),
        combine(browInnerUp=0.6, browOuterUp=0.7),
        combine(browOuterUpLeft=0.7, browDownRight=0.25),
        combine(browOuterUpRight=0.7, browDownLeft=0.25),
        combine(browDown=0.6, eyeSquint=0.3),
        combine(eyeSquint=0.6, cheekSquint=0.4),
        combine(eyeWide=0.7, browInnerUp=0.3),
        combine(noseSneer=0.6, mouthUpperUp=0.2),
    ]
)
_GESTURES_PER_SECOND = 0.18
_PARTED_CLIPS = 0.25

MOUTH = np.array([name.startswith(("mouth", "jaw", "cheekPuff")) for name in ACTIONS])
_SIGNED = [
    ("jawLeft", "jawRight"),
    ("mouthLeft", "mouthRight"),
    ("eyeLookUpLeft", "eyeLookDownLeft"),
    ("eyeLookUpRight", "eyeLookDownRight"),
    ("eyeLookInLeft", "eyeLookOutLeft"),
    ("eyeLookInRight", "eyeLookOutRight"),
]
_ONE_WAY, _OTHER_WAY = columns(*[one for one, _ in _SIGNED]), columns(*[other for _, other in _SIGNED])


def draw_emotions(generator: np.random.Generator, length: int, liveliness: float) -> Array:
    """One clip's slowly changing mood: mostly one emotion, a little of others. [T, A]."""
    strengths = generator.uniform(0.03, 0.15, len(_LOOKS)) * (generator.random(len(_LOOKS)) < _TRACES)
    if generator.random() > _NEUTRAL_CLIPS:
        strengths[generator.choice(len(_LOOKS), p=_CHANCES)] = generator.beta(2.5, 1.6) * min(1.1, liveliness)
    mood = np.zeros((length, len(ACTIONS)))
    for look, strength in zip(_LOOKS, strengths, strict=True):
        if strength > 0:
            mood += strength * np.outer(_swell(generator, length), look)
    return mood


def _swell(generator: np.random.Generator, length: int) -> Array:
    """0..1, mostly near 1 or near 0, changing over a second or two. [T]."""
    swell: Array = 0.5 + 0.5 * np.tanh(1.5 * (drift(generator, length, 0.7) + 0.5))
    return swell


def draw_gestures(generator: np.random.Generator, times: Array, liveliness: float) -> Array:
    """Lips pressed, a brow raised, a short smirk: what a face does between other things. [T, A]."""
    made = np.zeros((len(times), len(ACTIONS)))
    for moment in draw_moments(generator, times, _GESTURES_PER_SECOND * liveliness):
        size = generator.uniform(0.5, 1.2)
        made += size * np.outer(bump(times, moment, generator.uniform(0.13, 0.4)), generator.choice(_GESTURES))
    return made


def draw_jaw(generator: np.random.Generator, times: Array) -> Array:
    """A jaw that is never quite still: slightly aside or forward, lips hardly parted. [T, A]."""
    starts, which = draw_holds(generator, times, 0.8, 3.0)
    held = generator.normal(0.0, (0.03, 0.04, 0.03, 0.0), (len(starts), 4))
    held[:, 2] = np.abs(held[:, 2])
    if generator.random() < _PARTED_CLIPS:
        held[:, 3] = generator.uniform(0.02, 0.12) * generator.integers(0, 2, len(starts))
    jaw, mouth, ahead, parted = blur(held[which], 0.2).T
    moved = np.zeros((len(times), len(ACTIONS)))
    names = columns("jawLeft", "jawRight", "mouthLeft", "mouthRight", "jawForward", "jawOpen")
    moved[:, names] = np.stack([jaw, -jaw, mouth, -mouth, ahead, parted], axis=1)
    return np.maximum(moved, 0.0)


def settle(actions: Array, seal: Array, blink: Array) -> Array:
    """What a face can do of what was asked of it: [T, A], all >= 0, to 0..1 without contradictions.

    seal: [T] 0..1, how far the lips are held together over whatever gap the jaw makes; blink: [T] 0..1.
    """
    settled = soft_limit(actions, 1.0, knee=0.75)

    def fade(by: Array, *names: str) -> None:
        settled[:, columns(*names)] *= np.clip(1 - by, 0.0, 1.0)[:, None]

    def level(*names: str) -> Array:
        mean: Array = settled[:, columns(*names)].mean(1)
        return mean

    fade(0.6 * seal, "jawOpen")
    fade(seal, "mouthLowerDown", "mouthUpperUp", "mouthFunnel")
    settled[:, columns("mouthClose")] = settled[:, columns("jawOpen")] * seal[:, None]
    gap = level("jawOpen") - level("mouthClose")
    fade(1 - np.exp(-4 * gap), "mouthPress", "mouthRollLower", "mouthRollUpper", "cheekPuff", "mouthShrugUpper")
    fade(level("mouthSmile"), "mouthFrown")
    fade(0.8 * level("mouthPucker", "mouthFunnel"), "mouthStretch", "mouthSmile", "mouthDimple")
    fade(level("browOuterUp"), "browDown")
    fade(level("eyeSquint"), "eyeWide")
    fade(blink, "eyeWide")
    lids = columns("eyeBlink")
    settled[:, lids] = 1 - (1 - settled[:, lids]) * (1 - blink[:, None])
    return part(settled)


def part(actions: Array) -> Array:
    """Opposite movements, such as the jaw to the left and to the right, become their difference. [T, A]."""
    parted = actions.copy()
    common = np.minimum(parted[:, _ONE_WAY], parted[:, _OTHER_WAY])
    parted[:, _ONE_WAY] -= common
    parted[:, _OTHER_WAY] -= common
    return parted


def lopsided(smile: float, brows: float) -> Array:
    """[A] factors that make the left side stronger by `smile` (mouth and cheeks) and `brows`, the right weaker."""
    factors = np.ones(len(ACTIONS))
    for name in ("mouthSmile", "mouthDimple", "cheekSquint", "mouthUpperUp"):
        factors[columns(name)] = 1 + smile, 1 - smile
    for name in ("browOuterUp", "browDown"):
        factors[columns(name)] = 1 + brows, 1 - brows
    return factors
