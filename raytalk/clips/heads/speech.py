"""Talking, laughing and the odd wide open mouth.

T samples of a timeline; A actions. A syllable is a consonant and a vowel, each a target for the mouth; the targets are
held in turn and smoothed, so that neighbours colour each other as in real speech.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from raytalk.clips.heads.expressions import ACTIONS, MOUTH, SMILE, columns, combine
from raytalk.clips.heads.signals import Array, blur, drift, pulse, smoothstep

_VOWELS = np.stack(
    [
        combine(jawOpen=0.58, mouthLowerDown=0.28, mouthUpperUp=0.15),
        combine(jawOpen=0.42, mouthLowerDown=0.3, mouthUpperUp=0.18, mouthStretch=0.12),
        combine(jawOpen=0.3, mouthStretch=0.3, mouthSmile=0.12, mouthLowerDown=0.25, mouthUpperUp=0.12),
        combine(jawOpen=0.14, mouthStretch=0.4, mouthSmile=0.2, mouthLowerDown=0.22, mouthUpperUp=0.12),
        combine(jawOpen=0.4, mouthFunnel=0.55, mouthPucker=0.2),
        combine(jawOpen=0.16, mouthPucker=0.7, mouthFunnel=0.3),
        combine(jawOpen=0.22, mouthLowerDown=0.15, mouthUpperUp=0.05),
    ]
)
_CONSONANTS = np.stack(
    [
        combine(jawOpen=0.08, mouthPress=0.35, mouthRollLower=0.3, mouthRollUpper=0.2),
        combine(jawOpen=0.08, mouthRollLower=0.4, mouthUpperUp=0.25, mouthLowerDown=0.05),
        combine(jawOpen=0.12, mouthLowerDown=0.22, mouthUpperUp=0.1),
        combine(jawOpen=0.04, mouthStretch=0.25, mouthLowerDown=0.32, mouthUpperUp=0.15),
        combine(jawOpen=0.08, mouthFunnel=0.5, mouthUpperUp=0.15, mouthLowerDown=0.2),
        combine(jawOpen=0.12, mouthPucker=0.5, mouthFunnel=0.25),
        combine(jawOpen=0.24, mouthLowerDown=0.1),
    ]
)
"""p b m; f v; t d n l; s z; sh ch; w r; k g h"""
_VOWELS_UP_TO = list(accumulate((0.18, 0.16, 0.17, 0.15, 0.11, 0.08, 0.15)))
_CONSONANTS_UP_TO = list(accumulate((0.17, 0.07, 0.33, 0.14, 0.05, 0.11, 0.13)))
"""cumulative chances"""
_BILABIAL = 0
_TARGETS = np.concatenate([np.zeros((1, len(ACTIONS))), _CONSONANTS, _VOWELS])
_REST = 0
_SPOKEN = np.flatnonzero(_TARGETS.any(0))

_COARTICULATION = 0.038
"""seconds, standard deviation"""
_STRESSED = 0.28
_LAUGH = SMILE + combine(mouthUpperUp=0.45, mouthLowerDown=0.3, jawOpen=0.4, cheekSquint=0.2, eyeSquint=0.3)
_CRY = combine(jawOpen=0.95, mouthLowerDown=0.35, mouthUpperUp=0.25, mouthStretch=0.2)
_OUTBURST_CLIPS = 0.14
"""share of clips with laughter, and the same with a wide open mouth"""


@dataclass(frozen=True)
class Speech:
    """What one clip says."""

    actions: Array
    """[T, A] >= 0, not limited"""
    seal: Array
    """[T] 0..1 lips held together"""
    talking: Array
    """[T] 0..1, 0 in pauses longer than a breath"""
    laughing: Array
    """[T] 0..1"""
    stresses: Array
    """[K] seconds, the middle of each stressed syllable"""


@dataclass
class _Script:
    """Targets in order: each holds from its time until the next one's."""

    starts: list[float]
    targets: list[int]
    gains: list[float]
    stresses: list[float]

    def add(self, start: float, target: int, gain: float) -> None:
        self.starts.append(start)
        self.targets.append(target)
        self.gains.append(gain)


def draw_speech(generator: np.random.Generator, times: Array, rate: float, articulation: float) -> Speech:
    """rate: syllables per second; articulation: 1 is usual, less is mumbling."""
    script = _draw_script(generator, times, rate, articulation)
    which = np.searchsorted(np.array(script.starts), times, side="right") - 1
    targets, gains = np.array(script.targets)[which], np.array(script.gains)[which]
    actions = np.zeros((len(times), len(ACTIONS)))
    actions[:, _SPOKEN] = blur(_TARGETS[targets][:, _SPOKEN] * gains[:, None], _COARTICULATION)
    seal = smoothstep(1.35 * blur((targets == 1 + _BILABIAL).astype(np.float64), 0.022))
    talking = smoothstep(1.6 * blur((targets != _REST).astype(np.float64), 0.15))

    laughing = _draw_outburst(generator, times, 0.9, 2.5)
    crying = _draw_outburst(generator, times, 0.4, 1.3)
    burst = np.maximum(laughing, crying)
    actions[:, MOUTH] *= (1 - burst)[:, None]
    if laughing.any():
        laugh = np.outer(generator.uniform(0.7, 1.1) * laughing, _LAUGH)
        shaking = 1 + 0.3 * np.sin(2 * np.pi * generator.uniform(3.8, 5.2) * times)
        laugh[:, columns("jawOpen", "mouthUpperUp")] *= shaking[:, None]
        actions += laugh
    if crying.any():
        actions += np.outer(generator.uniform(0.75, 1.1) * crying, _CRY)
    return Speech(np.maximum(actions, 0.0), seal * (1 - burst), talking, laughing, np.array(script.stresses))


def _draw_script(generator: np.random.Generator, times: Array, rate: float, articulation: float) -> _Script:
    """Most clips talk on, some listen with short replies, some are silent."""
    kind = generator.choice(3, p=(0.72, 0.18, 0.10))
    script = _Script([-math.inf], [_REST], [0.0], [])
    if kind == 2:
        return script
    pauses, phrases = ((0.15, 0.9), (0.9, 3.8)) if kind == 0 else ((1.5, 4.5), (0.4, 1.6))
    # The clip opens anywhere: in a phrase or in a pause.
    now = float(times[0]) - generator.uniform(0.0, phrases[1])
    while now < times[-1]:
        end = now + generator.uniform(*phrases)
        energy = articulation * generator.lognormal(0.0, 0.2)
        pace = rate * generator.uniform(0.85, 1.15)
        while now < end:
            now = _add_syllable(generator, script, now, pace, energy)
        script.add(now, _REST, 0.0)
        now += generator.uniform(*pauses)
    return script


def _add_syllable(generator: np.random.Generator, script: _Script, now: float, pace: float, energy: float) -> float:
    """Returns when the syllable is over."""
    stressed = generator.random() < _STRESSED
    length = min(max(generator.lognormal(0.0, 0.18), 0.7), 1.5) * (1.15 if stressed else 0.95) / pace
    gain = energy * (1.2 if stressed else generator.uniform(0.65, 1.0))
    vowel_start = now
    if generator.random() < 0.85:
        consonant = _pick(generator, _CONSONANTS_UP_TO)
        script.add(now, 1 + consonant, energy)
        vowel_start += max(0.06, 0.38 * length) if consonant else max(0.085, 0.42 * length)
    vowel = _pick(generator, _VOWELS_UP_TO)
    script.add(vowel_start, 1 + len(_CONSONANTS) + vowel, gain)
    if stressed:
        script.stresses.append(0.5 * (vowel_start + now + length))
    return now + length


def _pick(generator: np.random.Generator, up_to: list[float]) -> int:
    return bisect_right(up_to, generator.random() * up_to[-1], hi=len(up_to) - 1)


def _draw_outburst(generator: np.random.Generator, times: Array, shortest: float, longest: float) -> Array:
    """At most one in a clip, with an uneven top. [T] 0..1."""
    if generator.random() > _OUTBURST_CLIPS:
        return np.zeros(len(times))
    length = generator.uniform(shortest, longest)
    start = generator.uniform(times[0], max(times[-1] - length, times[0] + 0.1))
    shape = pulse(times, start, generator.uniform(0.25, 0.45), 0.5 * length, generator.uniform(0.35, 0.8))
    return shape * (0.9 + 0.1 * np.tanh(drift(generator, len(times), 0.15)))
