"""Landmark adaptation: one person's motion on another person's face.

The model of `face_shapes.py` is fitted to both. Each landmark of the driver then moves by what lies between the two
faces at rest, turned and scaled as the driver's head is in that frame. What the driver does stays as it was observed,
to the last wrinkle of the detector's output, because only the faces at rest are ever exchanged: a person whose mouth
corners hang becomes no sad person. Eyes and lips are closed where the driver's are.

The paper (Section 5) names the mismatch of faces as a limitation of driving by landmarks; how to mend it is raytalk's.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raytalk.faces.face_fit import Frames, Likeness, fit_frames, fit_likeness, follow_frames, sizes
from raytalk.faces.face_shapes import JAW, LIDS, FaceShapes, Points, load_face_shapes

Landmarks = npt.NDArray[np.floating]

_MOST_FRAMES = 48
"""of a track that the person is learned from"""
_TOGETHER = 1024
"""frames that are adapted together"""
LEAST_SIZE = 1e-3
"""pixels: landmarks that lie closer together show no face"""
_EYE_RATIO = 0.4, 2.5
"""of the target's rest opening to the driver's; what lies beyond is an error of the fit"""
_LIPS = (((49, 50), (61,), (67,), (59, 58)), ((51,), (62,), (66,), (57,)), ((53, 52), (63,), (65,), (55, 56)))
"""outer and inner upper lip, inner and outer lower lip, from the picture's left to its right"""


@dataclass(frozen=True, eq=False)
class Adapted:
    """Landmarks of the target's face in the driver's pixels."""

    landmarks: npt.NDArray[np.float32]
    """[n, 68, 2]"""
    pupils: npt.NDArray[np.float32] | None
    """[n, 2, 2], the eye of points 36-41 first; NaN where the driver's are"""


def adapt(
    driver: Landmarks, target: Landmarks, times: Landmarks | None = None, pupils: Landmarks | None = None
) -> Adapted:
    """The driver's pose and expression on the target's face.

    driver: [n, 68, 2] pixels of frames; target: [T, 68, 2], T >= 1, pixels of any square pictures, each its own;
    times: [n] seconds, ascending, so that the driver's face is learned from all of the time evenly; pupils: [n, 2, 2]
    in the driver's pixels, NaN where unknown. The result is in the driver's pixels; frames whose landmarks are all in
    one place stay as they are. Raises ValueError for other shapes, numbers that are not finite, or if nothing shows a
    face.
    """
    frames, own = _checked("driver", driver, least=0), learn_face(target)
    if not len(frames):
        return Adapted(np.zeros((0, 68, 2), np.float32), None if pupils is None else np.zeros((0, 2, 2), np.float32))
    return Adaptation(learn_face(frames, times), own).apply(frames, pupils)


def learn_face(landmarks: Landmarks, times: Landmarks | None = None) -> Likeness:
    """The face of one person, of n >= 1 sets of landmarks [n, 68, 2], each in pixels of its own picture.

    times: [n] seconds, ascending; without them every set counts as much as the next. Raises ValueError for other
    shapes, numbers that are not finite, or if no set has any extent.
    """
    faces = _checked("face", landmarks, least=1)
    clock = np.arange(len(faces), dtype=np.float64) if times is None else np.asarray(times, np.float64)
    if clock.shape != (len(faces),) or not (np.diff(clock) >= 0).all():
        raise ValueError(f"{len(faces)} frames need as many ascending times")
    good = sizes(faces) > LEAST_SIZE
    if not good.any():
        raise ValueError("the landmarks show no face: all points lie in one place")
    return fit_likeness(load_face_shapes(), faces[good][_spread(clock[good])])


class Adaptation:
    """From one person's face to another's, made once; `apply` takes frames as they come."""

    def __init__(self, driver: Likeness, target: Likeness) -> None:
        """Both from `learn_face`."""
        self._shapes = load_face_shapes()
        self._driver = driver
        rest, own = _rest(self._shapes, driver), _rest(self._shapes, target)
        self._openings = tuple(
            float(np.clip(_opening(own, *eye) / max(_opening(rest, *eye), 1e-3), *_EYE_RATIO)) for eye in LIDS
        )
        change = self._shapes.shape(target.identity) - self._shapes.shape(driver.identity)
        self._change, self._offset = change, target.offset - driver.offset + _lips_kept_shut(own - rest)

    def apply(self, landmarks: Landmarks, pupils: Landmarks | None = None) -> Adapted:
        """Frames [n, 68, 2] of the driver, any n; each for itself, so that pieces give what the whole gives.

        pupils: as in `adapt`. Raises ValueError as `adapt` does.
        """
        faces = _checked("driver", landmarks, least=0)
        if pupils is not None and np.shape(pupils) != (len(faces), 2, 2):
            raise ValueError(f"pupils must have the shape {[len(faces), 2, 2]}, not {list(np.shape(pupils))}")
        result = np.empty(faces.shape, np.float32)
        placed = None if pupils is None else np.empty(np.shape(pupils), np.float32)
        # An hour has 90,000 frames, each of them some hundred points that are computed with.
        for start in range(0, len(faces), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            moved, good = self._piece(faces[part])
            result[part] = moved
            if pupils is not None and placed is not None:
                placed[part] = _pupils(faces[part], moved, np.asarray(pupils[part], np.float64), good)
        return Adapted(result, placed)

    def follow(self, face: Landmarks, before: Frames | None) -> tuple[Points, Frames | None]:
        """The next frame [68, 2] of a driver, as `apply` does in less time; and how the head is held in it.

        before: what was returned for the last frame, None at the start and after a cut. Raises ValueError as `adapt`.
        """
        faces = _checked("driver", np.asarray(face)[None], least=1)
        if sizes(faces)[0] <= LEAST_SIZE:
            return faces[0], None
        if before is None:
            frames = fit_frames(self._shapes, self._driver, faces)
        else:
            frames = follow_frames(self._shapes, self._driver, faces, before)
        return self._moved(faces, frames)[0], frames

    def _piece(self, faces: Points) -> tuple[Points, npt.NDArray[np.bool_]]:
        """The faces moved [n, 68, 2], and which of them were [n]."""
        good = sizes(faces) > LEAST_SIZE
        moved = faces.copy()
        if good.any():
            moved[good] = self._moved(faces[good], fit_frames(self._shapes, self._driver, faces[good]))
        return moved, good

    def _moved(self, faces: Points, frames: Frames) -> Points:
        shapes = self._shapes
        points = shapes.shape(self._driver.identity) + np.tensordot(frames.expression, shapes.expressions, 1)
        moved = faces + _seen(shapes, frames, points + self._change, self._offset) - _seen(shapes, frames, points, None)
        for (*pairs, corners), ratio in zip(LIDS, self._openings, strict=True):
            across = moved[:, corners[1]] - moved[:, corners[0]]
            across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
            down = np.stack([-across[:, 1], across[:, 0]], axis=1)
            for upper, lower in pairs:
                wanted = ratio * ((faces[:, lower] - faces[:, upper]) * down).sum(axis=1)
                more = wanted - ((moved[:, lower] - moved[:, upper]) * down).sum(axis=1)
                # It is the upper lid that moves.
                moved[:, upper] -= more[:, None] * down
        return np.asarray(moved)


def _checked(whose: str, landmarks: Landmarks, least: int) -> Points:
    faces = np.asarray(landmarks, np.float64)
    if faces.ndim != 3 or faces.shape[1:] != (68, 2) or len(faces) < least:
        raise ValueError(f"the {whose}'s landmarks must have the shape [n, 68, 2], not {list(faces.shape)}")
    if not np.isfinite(faces).all():
        raise ValueError(f"the {whose}'s landmarks must be finite numbers")
    return faces


def _spread(clock: Points) -> npt.NDArray[np.intp]:
    """At most _MOST_FRAMES of the frames at these seconds, evenly in time."""
    if len(clock) <= _MOST_FRAMES:
        return np.arange(len(clock))
    wanted = np.linspace(clock[0], clock[-1], _MOST_FRAMES)
    return np.unique(np.clip(np.searchsorted(clock, wanted), 0, len(clock) - 1))


def _rest(shapes: FaceShapes, likeness: Likeness) -> Points:
    """[68, 3] of which the contour is left out (zeros)."""
    inner = shapes.shape(likeness.identity)[: 68 - JAW] + likeness.offset[JAW:]
    return np.concatenate([np.zeros((JAW, 3)), inner])


def _opening(rest: Points, *eye: tuple[int, int]) -> float:
    """How far an eye of LIDS is open."""
    *pairs, _ = eye
    return float(np.mean([rest[lower, 1] - rest[upper, 1] for upper, lower in pairs]))


def _lips_kept_shut(change: Points) -> Points:
    """[68, 3] to add to a change between faces at rest, so that it neither parts lips nor presses them together."""
    added = np.zeros((68, 3))
    for outer_upper, upper, lower, outer_lower in _LIPS:
        parted = (change[lower[0]] - change[upper[0]]) * [0, 1, 1]
        added[[*outer_upper, *upper]] += parted / 2
        added[[*lower, *outer_lower]] -= parted / 2
    return added


def _seen(shapes: FaceShapes, frames: Frames, points: Points, offset: Points | None) -> Points:
    """[n, 68, 2]"""
    share = shapes.choice(frames.project(points))
    seen = shapes.visible(share, points)
    return frames.project(seen if offset is None else seen + offset)


def _pupils(faces: Points, moved: Points, pupils: Points, good: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Pupils keep their place between the corners of their eye."""
    result = pupils.copy()
    for eye, (*_, (first, second)) in enumerate(LIDS):
        old, new = faces[:, second] - faces[:, first], moved[:, second] - moved[:, first]
        # As complex numbers: a turn and a stretch is one factor.
        length = np.maximum((old**2).sum(axis=1), 1e-12)
        real, turn = (old * new).sum(axis=1) / length, (old[:, 0] * new[:, 1] - old[:, 1] * new[:, 0]) / length
        off = pupils[:, eye] - faces[:, [first, second]].mean(axis=1)
        placed = np.stack([real * off[:, 0] - turn * off[:, 1], turn * off[:, 0] + real * off[:, 1]], axis=1)
        placed += moved[:, [first, second]].mean(axis=1)
        result[good, eye] = placed[good]
    return result.astype(np.float32)
