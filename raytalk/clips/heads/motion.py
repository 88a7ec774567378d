"""How a rendered person moves in one clip, as talking heads on video do.

A track is drawn once and is a function of continuous time: however densely it is sampled, it is the same motion.
T samples of its timeline; A = 52 actions. Angles in radians: yaw positive to the person's own left, pitch up, roll
tilted to the own left.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.expressions import (
    ACTIONS,
    EMPHASIS,
    MOUTH,
    SMILE,
    draw_emotions,
    draw_gestures,
    draw_jaw,
    lopsided,
    part,
    settle,
)
from raytalk.clips.heads.gaze import draw_blinks, draw_gaze, look_actions
from raytalk.clips.heads.signals import (
    LEAD,
    RATE,
    Array,
    blur,
    bump,
    draw_holds,
    draw_moments,
    drift,
    soft_limit,
    timeline,
)
from raytalk.clips.heads.speech import Speech, draw_speech

__all__ = ["ACTIONS", "Motion", "Temper", "Track", "draw_motion", "draw_temper"]

HEAD_LIMITS = np.radians([46.0, 25.0, 18.0])
"""yaw, pitch and roll never get there"""

_FRONTAL_CLIPS, _ASIDE_CLIPS = 0.4, 0.2
_PARTS = (len(ACTIONS), len(ACTIONS) + 3, len(ACTIONS) + 6)


@dataclass(frozen=True)
class Temper:
    """One person's habits; all clips of a person share them."""

    liveliness: float
    """1 is usual; scales how much head, brows and moods move"""
    speech_rate: float
    """syllables per second"""
    articulation: float
    """1 is usual, less is mumbling"""
    smile: float
    """0..1, how much the person smiles when nothing asks for it"""
    smile_asymmetry: float
    """-1..1, positive: the left corner goes further"""
    brow_asymmetry: float
    """-1..1, positive: the left brow goes further"""
    blink_rate: float
    """per minute"""
    lids: float
    """0..1, how far the eyes are closed at rest"""
    eye_contact: float
    """0..1, share of the time that the eyes rest on the partner"""
    pose: tuple[float, float, float]
    """yaw, pitch, roll in radians: how the head is usually held"""


def draw_temper(generator: np.random.Generator) -> Temper:
    """Habits of a new person."""
    yaw, pitch, roll = np.radians(generator.normal(0.0, (2.5, 3.0, 2.0)))
    return Temper(
        liveliness=float(np.clip(generator.lognormal(0.0, 0.22), 0.6, 1.6)),
        speech_rate=float(generator.uniform(3.2, 5.6)),
        articulation=float(generator.uniform(0.75, 1.2)),
        smile=float(0.35 * generator.beta(1.2, 3.0)),
        smile_asymmetry=float(np.clip(generator.normal(0.0, 0.1), -0.25, 0.25)),
        brow_asymmetry=float(np.clip(generator.normal(0.0, 0.08), -0.2, 0.2)),
        blink_rate=float(generator.uniform(11.0, 24.0)),
        lids=float(0.15 * generator.beta(1.0, 2.5)),
        eye_contact=float(generator.uniform(0.45, 0.75)),
        pose=(float(yaw), float(pitch), float(roll)),
    )


@dataclass(frozen=True)
class Motion:
    """A track at n moments."""

    times: npt.NDArray[np.float64]
    """[n] seconds from the clip's start"""
    actions: npt.NDArray[np.float32]
    """[n, 52] in the order of ACTIONS, 0..1"""
    head: npt.NDArray[np.float32]
    """[n, 3] yaw, pitch, roll"""
    sway: npt.NDArray[np.float32]
    """[n, 3] metres, of the whole upper body: to the own left, up, forward"""
    gaze: npt.NDArray[np.float32]
    """[n, 2] yaw and pitch of the eyes relative to the head"""


@dataclass(frozen=True)
class Track:
    """One clip's motion. Made by `draw_motion`."""

    seconds: float
    samples: npt.NDArray[np.float32]
    """[T, 52 + 3 + 3 + 2] actions, head, sway and gaze on the timeline"""

    def sample(self, times: npt.ArrayLike) -> Motion:
        """The motion at the given seconds, [n]; raises ValueError for moments outside the clip."""
        asked = np.asarray(times, np.float64)
        outside = asked[~((asked >= -1e-6) & (asked <= self.seconds + 1e-6))]
        if len(outside):
            raise ValueError(f"{outside[0]} s is outside the clip of {self.seconds} s")
        place = (asked + LEAD) * RATE
        before = np.floor(place).astype(np.int64)
        share = (place - before)[:, None]
        between = self.samples[before] * (1 - share) + self.samples[before + 1] * share
        actions, head, sway, gaze = np.split(between, _PARTS, axis=1)
        return Motion(
            asked,
            part(actions).astype(np.float32),
            head.astype(np.float32),
            sway.astype(np.float32),
            gaze.astype(np.float32),
        )


def draw_motion(generator: np.random.Generator, seconds: float, temper: Temper | None = None) -> Track:
    """A new clip, of a new person if there is no temper. Raises ValueError for a length that is not positive."""
    if not 0 < seconds < np.inf:
        raise ValueError(f"a clip of {seconds} s")
    temper = temper or draw_temper(generator)
    times = timeline(seconds)
    speech = draw_speech(generator, times, temper.speech_rate, temper.articulation)
    base = _draw_base(generator, temper)
    head = _draw_head(generator, times, temper, base, speech)
    gaze = draw_gaze(generator, times, head, base[:2], temper.eye_contact)
    blink = draw_blinks(generator, times, gaze.saccades, temper.blink_rate)
    actions = _draw_face(generator, times, temper, speech) + look_actions(gaze.angles)
    settled = settle(actions, speech.seal, 1 - (1 - blink) * (1 - temper.lids))
    samples = np.concatenate([settled, head, _draw_sway(generator, times, head), gaze.angles], axis=1)
    return Track(seconds, samples.astype(np.float32))


def _draw_base(generator: np.random.Generator, temper: Temper) -> Array:
    """[3] the pose a clip comes back to: near the camera, to one side of it, or anything."""
    kind = generator.random()
    if kind < _FRONTAL_CLIPS:
        yaw = generator.normal(0.0, 5.0)
    elif kind > 1 - _ASIDE_CLIPS:
        yaw = generator.choice((-1, 1)) * generator.uniform(14.0, 33.0)
    else:
        yaw = generator.normal(0.0, 12.0)
    pitch, roll = generator.normal(0.0, (5.2, 3.4))
    base: Array = np.radians([yaw, pitch, roll]) + np.array(temper.pose)
    return base


def _draw_head(generator: np.random.Generator, times: Array, temper: Temper, base: Array, speech: Speech) -> Array:
    """[T, 3] poses held and left again, never quite still, nodding in the rhythm of the speech."""
    starts, which = draw_holds(generator, times, 0.7, 2.8)
    spread = temper.liveliness * np.array([generator.uniform(6.0, 16.0), generator.uniform(2.0, 5.5), 2.8])
    held = generator.standard_normal((len(starts), 3)) * spread
    # Turning aside tilts the head a little, the same way each time.
    held[:, 2] += generator.normal(0.0, 0.15) * held[:, 0]
    degrees = blur(held[which], generator.uniform(0.18, 0.28))
    for axis, size in enumerate((2.0, 1.2, 0.9)):
        degrees[:, axis] += temper.liveliness * size * drift(generator, len(times), generator.uniform(0.3, 0.6))

    for stress in speech.stresses:
        dip = generator.gamma(2.0, 1.0) * temper.liveliness
        degrees[:, 1] -= min(dip, 5.0) * bump(times, stress, 0.11)
        degrees[:, 0] += generator.normal(0.0, 0.8) * bump(times, stress, 0.15)
    for axis, per_second, sizes in ((1, 0.06, (2.0, 5.0)), (0, 0.025, (2.5, 6.0))):
        for moment in draw_moments(generator, times, per_second):
            swing = np.sin(2 * np.pi * generator.uniform(1.3, 2.1) * (times - moment))
            degrees[:, axis] += generator.uniform(*sizes) * swing * bump(times, moment, generator.uniform(0.3, 0.6))
    degrees[:, 1] += blur(speech.laughing, 0.15) * generator.uniform(-6.0, 9.0)

    head = base + np.radians(degrees)
    return np.stack([soft_limit(head[:, axis], limit) for axis, limit in enumerate(HEAD_LIMITS)], axis=1)


def _draw_sway(generator: np.random.Generator, times: Array, head: Array) -> Array:
    """[T, 3] metres: a slow shift of weight, breathing, and shoulders that follow the head a little."""
    sizes = (0.009, 0.004, 0.012)
    sway = np.stack([size * drift(generator, len(times), generator.uniform(0.6, 1.1)) for size in sizes], axis=1)
    follow = blur(head - head.mean(0), 0.25)
    sway[:, 0] += 0.03 * follow[:, 0] - 0.04 * follow[:, 2]
    sway[:, 1] += 0.0012 * np.sin(2 * np.pi * generator.uniform(0.2, 0.35) * times + generator.uniform(0, 2 * np.pi))
    sway[:, 2] -= 0.05 * follow[:, 1]
    return sway


def _draw_face(generator: np.random.Generator, times: Array, temper: Temper, speech: Speech) -> Array:
    """[T, A] >= 0: speech, and what mood and habit add to it; all but the eyes' own movement."""
    mood = draw_emotions(generator, len(times), temper.liveliness)
    smiling = temper.smile * np.exp(0.6 * drift(generator, len(times), 0.8))
    mood += np.minimum(smiling, 0.8)[:, None] * SMILE
    gestures = draw_gestures(generator, times, temper.liveliness)
    # A mouth that talks has less room for anything else.
    mood[:, MOUTH] *= (1 - 0.45 * speech.talking)[:, None]
    gestures[:, MOUTH] *= (1 - speech.talking)[:, None]

    emphasis = np.zeros(len(times))
    for stress in speech.stresses:
        if generator.random() < 0.3 * temper.liveliness:
            emphasis += generator.uniform(0.15, 0.7) * bump(times, stress, generator.uniform(0.12, 0.25))
    face = speech.actions + mood + gestures + draw_jaw(generator, times) + emphasis[:, None] * EMPHASIS
    return np.maximum(face, 0.0) * lopsided(temper.smile_asymmetry, temper.brow_asymmetry)
