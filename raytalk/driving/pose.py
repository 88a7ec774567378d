"""Sliders become landmarks: a pose and a few expressions on the avatar's own face at rest. numpy alone.

An expression is the least that the model of `raytalk.faces.face_shapes` has to do so that a measure of the face (how
far lips are apart, how wide the mouth is, ...) becomes what is wanted while the other measures stay. Lengths are in
distances between the outer eye corners.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from raytalk.driving.live import AvatarFace
from raytalk.errors import AvatarError
from raytalk.faces.face_fit import Frames, fit_frames
from raytalk.faces.face_shapes import JAW, LIDS, Points, load_face_shapes
from raytalk.faces.retarget import learn_face

LARGEST_TURN = 35.0
"""degrees"""

_PIVOT = np.array([0.0, 0.45, 0.8])
"""what a head turns around: between the ears, below and behind the middle of the face"""
_LIPS = ((61, 67), (62, 66), (63, 65))
_OPEN = 0.32
"""between the lips of a mouth that is wide open"""
_WIDTH, _LIFT = 0.085, 0.05
"""how much wider a smiling mouth is, and how much higher its corners"""
_BROWS = 0.06
"""how far raised brows go"""
_MARGIN = 0.02
"""of the picture, that landmarks stay away from its edges"""


@dataclass(frozen=True)
class Pose:
    """What the sliders say; left alone, the face at rest."""

    yaw: float = 0.0
    """degrees, at most LARGEST_TURN either way; positive: to the picture's right"""
    pitch: float = 0.0
    """likewise; positive: up"""
    roll: float = 0.0
    """likewise; positive: tilted to the picture's right"""
    mouth: float = 0.0
    """0 shut .. 1 wide open"""
    eyes: float = 1.0
    """0 shut .. 1 as open as the person's are"""
    smile: float = 0.0
    """-1 mouth corners down .. 1 a broad smile"""
    brows: float = 0.0
    """-1 frowning .. 1 raised"""

    def __post_init__(self) -> None:
        """Raises ValueError naming the first number that is out of its range."""
        for field in fields(self):
            low, high = RANGES[field.name]
            value = getattr(self, field.name)
            # A NaN compares false.
            if not low <= value <= high:
                raise ValueError(f"{field.name} must be from {low:g} to {high:g}, not {value}")


RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("yaw", "pitch", "roll"), (-LARGEST_TURN, LARGEST_TURN)),
    **dict.fromkeys(("mouth", "eyes"), (0.0, 1.0)),
    **dict.fromkeys(("smile", "brows"), (-1.0, 1.0)),
}
"""least and largest value of each field of `Pose`"""


class Poser:
    """One avatar's face, to be posed; may be used from several threads at once."""

    def __init__(self, face: AvatarFace) -> None:
        """Takes some 50 ms. Raises AvatarError if the avatar keeps no landmarks of its learning images."""
        if not len(face.landmarks):
            raise AvatarError("the avatar keeps no landmarks of its learning images, which posing needs: make it again")
        self._resolution, self._shapes = face.resolution, load_face_shapes()
        likeness = learn_face(face.landmarks)
        frames = fit_frames(self._shapes, likeness, np.asarray(face.landmarks, np.float64))
        self._scale = float(np.median(frames.scale))
        self._neck = np.median(frames.project(_PIVOT[None, None])[:, 0], axis=0)
        self._rest, self._offset = self._shapes.shape(likeness.identity), likeness.offset
        self._expressing = np.linalg.pinv(_measures(self._shapes.expressions))

    def landmarks(self, pose: Pose) -> npt.NDArray[np.float32]:
        """[68, 2] in pixels of the avatar's resolution, all of them inside the picture."""
        lips, *_ = _measures(self._rest + np.concatenate([self._offset[JAW:], np.zeros_like(self._rest[68 - JAW :])]))
        wanted = np.array(
            [pose.mouth * _OPEN - lips, 0.0, 0.0, pose.smile * _WIDTH, pose.smile * _LIFT, pose.brows * _BROWS]
        )
        expression = self._expressing @ wanted
        points = (self._rest + np.tensordot(expression, self._shapes.expressions, 1))[None]
        frames = self._held(pose)
        seen = self._shapes.visible(self._shapes.choice(frames.project(points)), points) + self._offset
        for upper, lower in _LIPS:
            # Lips that would pass each other meet halfway.
            passed = max(0.0, float(seen[0, upper, 1] - seen[0, lower, 1]))
            seen[0, [upper, lower], 1] += np.array([-passed / 2, passed / 2])
        for *pairs, _ in LIDS:
            for upper, lower in pairs:
                seen[0, upper] += (1 - pose.eyes) * (seen[0, lower] - seen[0, upper])
        return self._inside(frames.project(seen)[0]).astype(np.float32)

    def _held(self, pose: Pose) -> Frames:
        yaw, pitch, roll = (math.radians(angle) for angle in (pose.yaw, pose.pitch, pose.roll))
        rotation = _turn(0, 2, yaw) @ _turn(1, 2, -pitch) @ _turn(0, 1, roll)
        frames = Frames(rotation[None], np.array([self._scale]), np.zeros((1, 2)), np.zeros((1, 0)))
        shift = self._neck - frames.project(_PIVOT[None, None])[0, 0]
        return Frames(frames.rotation, frames.scale, shift[None], frames.expression)

    def _inside(self, face: Points) -> Points:
        """Moved as little as need be; made smaller where the face is larger than the picture."""
        room = (1 - 2 * _MARGIN) * (self._resolution - 1)
        low, high = face.min(axis=0), face.max(axis=0)
        shrunk = min(1.0, room / float((high - low).max()))
        middle = (low + high) / 2
        reach = shrunk * (high - low) / 2
        least, most = _MARGIN * (self._resolution - 1) + reach, (1 - _MARGIN) * (self._resolution - 1) - reach
        return np.asarray((face - middle) * shrunk + np.clip(middle, least, np.maximum(least, most)))


def _turn(one: int, other: int, angle: float) -> Points:
    """[3, 3] so that what lies at -1 of the other axis goes to the first one's positive side."""
    turn = np.eye(3)
    turn[[one, other], [one, other]] = math.cos(angle)
    turn[one, other], turn[other, one] = -math.sin(angle), math.sin(angle)
    return turn


def _measures(points: Points) -> Points:
    """[6, ...] of points [..., M, 3]: how far lips and either eye are open, the mouth's width, the height of its
    corners and of the brows."""

    def at(*landmarks: int) -> Points:
        return np.asarray(points[..., np.array(landmarks) - JAW, :].mean(axis=-2))

    def gap(pairs: tuple[tuple[int, int], ...]) -> Points:
        return np.asarray((at(*(low for _, low in pairs)) - at(*(high for high, _ in pairs)))[..., 1])

    (*right, _), (*left, _) = LIDS
    corners = at(48, 54)[..., 1]
    return np.stack(
        [
            gap(_LIPS),
            gap(tuple(right)),
            gap(tuple(left)),
            (at(54) - at(48))[..., 0],
            at(51, 62, 66, 57)[..., 1] - corners,
            at(36, 39, 42, 45)[..., 1] - at(*range(17, 27))[..., 1],
        ]
    )
