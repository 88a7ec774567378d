"""Eyes: where they look, and when they close.

T samples of a timeline; K fixations. Angles in radians, positive to the person's own left and up.
"""

from dataclasses import dataclass

import numpy as np

from raytalk.clips.heads.expressions import ACTIONS, columns
from raytalk.clips.heads.signals import Array, blur, draw_holds, draw_moments, pulse, soft_limit

FULL_YAW, FULL_PITCH = np.radians([30.0, 20.0])
"""as far as eyes turn in their head; also where the eyeLook actions reach 1"""

_SACCADE = 0.014
"""seconds, standard deviation: nine tenths of a saccade take about 45 ms"""
_COMFORT = 0.6
"""share of the full turn, in the middle of a fixation"""
_CLOSURES_PER_SECOND = 0.02
_SHORTEST_OPEN = 0.45


@dataclass(frozen=True)
class Gaze:
    """Where the eyes of one clip look."""

    angles: Array
    """[T, 2] yaw and pitch relative to the head"""
    saccades: Array
    """[K] seconds"""


def draw_gaze(generator: np.random.Generator, times: Array, head: Array, base: Array, contact: float) -> Gaze:
    """Fixations on somebody nearby, on whatever the head faces, or elsewhere; the eyes make up for the head's movement.

    head: [T, 3] its angles; base: [2] the yaw and pitch it keeps coming back to; contact: 0..1, the share of fixations
    that rest on the partner, who stands about where the head mostly points or, rarer, more to the camera's side.
    """
    toward = generator.uniform(0.85, 1.0) if generator.random() < 0.7 else generator.uniform(0.2, 0.85)
    partner = base - soft_limit(base * (1 - toward), float(np.radians(14.0)))
    starts, which = draw_holds(generator, times, 0.3, 2.5)
    middles = np.searchsorted(times, (starts + np.append(starts[1:], times[-1])) / 2)
    facing = head[middles, :2]

    kinds = generator.choice(3, len(starts), p=(contact, 0.6 * (1 - contact), 0.4 * (1 - contact)))[:, None]
    near = partner + np.radians(generator.normal(0.0, (1.5, 1.0), (len(starts), 2)))
    faced = facing + np.radians(generator.normal(0.0, (4.0, 2.5), (len(starts), 2)))
    away = partner + np.radians(generator.normal((0.0, -3.0), (11.0, 7.0), (len(starts), 2)))
    aims = np.where(kinds == 0, near, np.where(kinds == 1, faced, away))
    # Nobody looks out of the corner of the eye for long: what is too far aside waits until the head has turned.
    aims = facing + _limit_turn(aims - facing, _COMFORT)
    return Gaze(_limit_turn(blur(aims[which], _SACCADE) - head[:, :2]), starts)


def _limit_turn(angles: Array, share: float = 1.0) -> Array:
    yaw, pitch = angles.T
    return np.stack([soft_limit(yaw, share * FULL_YAW), soft_limit(pitch, share * FULL_PITCH)], axis=1)


def look_actions(angles: Array) -> Array:
    """The eyeLook actions that turn the lids along with the eyes. [T, 2] -> [T, A]."""
    yaw, pitch = angles[:, 0] / FULL_YAW, angles[:, 1] / FULL_PITCH
    looked = np.zeros((len(angles), len(ACTIONS)))
    looked[:, columns("eyeLookOutLeft", "eyeLookInRight")] = np.maximum(yaw, 0.0)[:, None]
    looked[:, columns("eyeLookInLeft", "eyeLookOutRight")] = np.maximum(-yaw, 0.0)[:, None]
    looked[:, columns("eyeLookUp")] = np.maximum(pitch, 0.0)[:, None]
    looked[:, columns("eyeLookDown")] = np.maximum(-pitch, 0.0)[:, None]
    return looked


def draw_blinks(generator: np.random.Generator, times: Array, saccades: Array, per_minute: float) -> Array:
    """Blinks, half of them along with a saccade, and now and then a longer closing. [T] 0 open .. 1 closed."""
    closed = np.zeros(len(times))
    usual = 60 / per_minute - _SHORTEST_OPEN
    now = times[0] - _SHORTEST_OPEN + generator.gamma(2.0, usual / 2) * generator.random()
    while now < times[-1]:
        nearest = saccades[np.argmin(np.abs(saccades - now))]
        start = nearest if abs(nearest - now) < 0.3 and generator.random() < 0.6 else now
        hold = generator.uniform(0.1, 0.3) if generator.random() < 0.06 else generator.uniform(0.034, 0.06)
        blink = pulse(times, start, generator.uniform(0.1, 0.15), hold, generator.uniform(0.15, 0.25))
        closed = np.maximum(closed, blink)
        now += _SHORTEST_OPEN + generator.gamma(2.0, usual / 2)
    for start in draw_moments(generator, times, _CLOSURES_PER_SECOND):
        closure = pulse(times, start, generator.uniform(0.15, 0.3), generator.uniform(0.4, 0.9), 0.25)
        closed = np.maximum(closed, closure)
    return closed
