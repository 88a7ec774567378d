"""Fits the face model to landmarks: pose and expression of each frame, and one identity for all of them.

n frames, 68 landmarks, M points, I and E shapes of identity and expression of `FaceShapes`. Lengths are in distances
between the outer eye corners unless they are in pixels. Everything is least squares with the model's own spread as
prior (Gauss-Newton, all frames at once), so a face that cannot be one ends up near the mean instead of far off.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from raytalk.faces.face_shapes import INNER, JAW, MIRROR, TWINS, FaceShapes, Points

_NEARNESS = 0.08
"""one over the camera's distance: about a metre, as people sit before theirs"""
_SIGMA = 0.02
"""how far landmarks lie from the model's"""
_GROSS = 4.0
"""in sigmas: beyond this a landmark counts less and less"""
_EVIDENCE = 8.0
"""as many frames' worth of evidence at most: further ones repeat the same errors"""
_OFFSET, _OFFSET_NOISE = 0.03, 0.04
"""spread of what the identity's shapes leave of a face, and of what one frame shows of it"""
_STEPS, _FOLLOWING_STEPS, _IDENTITY_STEPS = 5, 2, 8
_LOST = 0.06
"""of the scale: where half of a face's landmarks lie further away than this it was not found"""
_CHUNK = 128


@dataclass(frozen=True, eq=False)
class Frames:
    """How n faces are held and what they do."""

    rotation: Points
    """[n, 3, 3]"""
    scale: Points
    """[n] pixels"""
    shift: Points
    """[n, 2] pixels"""
    expression: Points
    """[n, E]"""

    def project(self, points: Points) -> Points:
        """[n, P, 2] pixels of points [n or 1, P, 3]."""
        turned = points @ self.rotation.swapaxes(1, 2)
        near = self.scale[:, None, None] / (1 + _NEARNESS * turned[..., 2:])
        return np.asarray(turned[..., :2] * near + self.shift[:, None])

    def slopes(self, points: Points) -> tuple[Points, Points]:
        """The turned points [n, P, 3], and [n, P, 2, 3] what a small move of each in space does in the picture."""
        turned = points @ self.rotation.swapaxes(1, 2)
        near = (1 / (1 + _NEARNESS * turned[..., 2]))[..., None, None]
        by = np.zeros((*turned.shape[:2], 2, 3))
        by[..., 0, 0] = by[..., 1, 1] = 1
        by[..., 2] = -_NEARNESS * near[..., 0] * turned[..., :2]
        return turned, by * near * self.scale[:, None, None, None]


@dataclass(frozen=True, eq=False)
class Likeness:
    """One person's face at rest."""

    identity: Points
    """[I]"""
    offset: Points
    """[68, 3] what the identity's shapes do not say of the landmarks"""


def sizes(faces: Points) -> Points:
    """[n] root mean square distance of the inner landmarks from their middle, pixels."""
    inner = faces[:, JAW:]
    return np.asarray(np.sqrt(((inner - inner.mean(axis=1, keepdims=True)) ** 2).sum(axis=2).mean(axis=1)))


def fit_frames(shapes: FaceShapes, likeness: Likeness, faces: Points) -> Frames:
    """Pose and expression of each of faces [n, 68, 2], none of them without extent."""
    parts = [_fit_chunk(shapes, likeness, chunk) for chunk in _chunks(faces)]
    return Frames(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("rotation", "scale", "shift", "expression")
        )
    )


def follow_frames(shapes: FaceShapes, likeness: Likeness, faces: Points, before: Frames) -> Frames:
    """As `fit_frames` for faces that moved little since `before`, of as many faces: in less than half the time."""
    frames = before
    for _ in range(_FOLLOWING_STEPS):
        frames = _improved(shapes, likeness, frames, faces)
    points = shapes.shape(likeness.identity) + np.tensordot(frames.expression, shapes.expressions, 1)
    away = frames.project(points[:, :INNER] + likeness.offset[JAW:]) - faces[:, JAW:]
    missed = np.median(np.linalg.norm(away, axis=2), axis=1) / frames.scale
    # From where a face was last a fit may run into the wrong valley, and would stay there.
    return frames if (missed < _LOST).all() else fit_frames(shapes, likeness, faces)


def fit_likeness(shapes: FaceShapes, faces: Points) -> Likeness:
    """The person of all faces [n, 68, 2], n >= 1, none of them without extent."""
    count = len(shapes.identities)
    identity, offset = np.zeros(count), np.zeros((68, 3))
    frames = _start(shapes, faces)
    evidence = min(len(faces), _EVIDENCE) / len(faces)
    for _ in range(_IDENTITY_STEPS):
        likeness = Likeness(identity, offset)
        local, of_identity, missed, weight = _linear(shapes, likeness, frames, faces, with_identity=True)
        own, prior = _normal(local, missed, weight, frames)
        weighted = of_identity * weight[..., None]
        cross = local.swapaxes(1, 2) @ weighted
        # What pose and expression explain as well is no evidence of identity.
        explained = np.linalg.solve(own, np.concatenate([cross, prior[..., None]], axis=2))
        both = (of_identity.swapaxes(1, 2) @ weighted - cross.swapaxes(1, 2) @ explained[..., :-1]).sum(axis=0)
        gain = (weighted.swapaxes(1, 2) @ missed[..., None])[..., 0].sum(axis=0)
        gain -= np.einsum("nli,nl->i", cross, explained[..., -1])
        step = np.linalg.solve(evidence * both + np.eye(count), evidence * gain - identity)
        identity = identity + step
        frames = _moved(frames, np.asarray(explained[..., -1] - explained[..., :-1] @ step, np.float64))
    frames = fit_frames(shapes, Likeness(identity, offset), faces)
    return Likeness(identity, _left_over(shapes, Likeness(identity, offset), frames, faces, evidence))


def _chunks(faces: Points) -> Iterator[Points]:
    for first in range(0, len(faces), _CHUNK):
        yield faces[first : first + _CHUNK]


def _fit_chunk(shapes: FaceShapes, likeness: Likeness, faces: Points) -> Frames:
    frames = _start(shapes, faces)
    for _ in range(_STEPS):
        frames = _improved(shapes, likeness, frames, faces)
    return frames


def _improved(shapes: FaceShapes, likeness: Likeness, frames: Frames, faces: Points) -> Frames:
    local, _, missed, weight = _linear(shapes, likeness, frames, faces)
    own, gain = _normal(local, missed, weight, frames)
    return _moved(frames, np.asarray(np.linalg.solve(own, gain[..., None])[..., 0], np.float64))


def _start(shapes: FaceShapes, faces: Points) -> Frames:
    """The rotation nearest to an affine map of the mean face."""
    inner = shapes.mean[:INNER]
    middle = inner.mean(axis=0)
    seen = faces[:, JAW:].mean(axis=1)
    flat = np.linalg.pinv(inner - middle) @ (faces[:, JAW:] - seen[:, None])
    left, stretch, right = np.linalg.svd(flat.swapaxes(1, 2), full_matrices=False)
    rows = left @ right
    rotation = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], axis=1)
    scale = np.maximum(stretch.mean(axis=1), 0.2 * sizes(faces))
    shift = seen - scale[:, None] * (rotation[:, :2] @ middle)
    return Frames(rotation, scale, shift, np.zeros((len(faces), len(shapes.expressions))))


def _linear(
    shapes: FaceShapes, likeness: Likeness, frames: Frames, faces: Points, with_identity: bool = False
) -> tuple[Points, Points, Points, Points]:
    """Around these frames: [n, 136, 6 + E] what pose and expression do, [n, 136, I] what identity does (I = 0 unless
    asked for), [n, 136] what is missed and [n, 136] its weight; all in units of the frame's scale."""
    count = len(faces)
    points = shapes.shape(likeness.identity) + np.tensordot(frames.expression, shapes.expressions, 1)
    share = shapes.choice(frames.project(points))
    seen = shapes.visible(share, points) + likeness.offset
    turned, by = frames.slopes(seen)
    by = by / frames.scale[:, None, None, None]
    missed = (faces - frames.project(seen)) / frames.scale[:, None, None]

    spin = np.zeros((*turned.shape[:2], 3, 3))
    x, y, z = np.moveaxis(turned, -1, 0)
    spin[..., 0, 1], spin[..., 0, 2], spin[..., 1, 2] = z, -y, x
    spin -= spin.swapaxes(2, 3)
    rigid = np.zeros((count, 68, 2, 6))
    rigid[..., :3] = by @ spin
    rigid[..., 3] = (frames.project(seen) - frames.shift[:, None]) / frames.scale[:, None, None]
    rigid[..., 0, 4] = rigid[..., 1, 5] = 1

    space = by @ frames.rotation[:, None]
    moves = _in_picture(shapes, share, space, shapes.expressions)
    identities = shapes.identities if with_identity else shapes.identities[:0]
    local = np.concatenate([rigid, moves], axis=3).reshape(count, 136, -1)
    off = np.linalg.norm(missed, axis=2) / _SIGMA
    weight = 1 / (_SIGMA**2 * (1 + (off / _GROSS) ** 2))
    return (
        local,
        _in_picture(shapes, share, space, identities).reshape(count, 136, -1),
        missed.reshape(count, 136),
        np.repeat(weight, 2, axis=1),
    )


def _in_picture(shapes: FaceShapes, share: Points, space: Points, basis: Points) -> Points:
    """[n, 68, 2, B] of basis [B, M, 3]; space: [n, 68, 2, 3] from `slopes`, before the rotation."""
    each = np.moveaxis(basis, 0, -1)
    lines = each[shapes.lines].reshape(*shapes.lines.shape, -1)
    jaw = (share.swapaxes(0, 1) @ lines).reshape(JAW, len(share), 3, len(basis)).swapaxes(0, 1)
    return np.concatenate([space[:, :JAW] @ jaw, space[:, JAW:] @ each[:INNER]], axis=1)


def _normal(local: Points, missed: Points, weight: Points, frames: Frames) -> tuple[Points, Points]:
    """Left and right side [n, L, L] and [n, L] of each frame's normal equations, prior and damping included."""
    weighted = (local * weight[..., None]).swapaxes(1, 2)
    own, gain = weighted @ local, (weighted @ missed[..., None])[..., 0]
    # For pose this is mere damping.
    own += np.eye(own.shape[1])
    gain[:, 6:] -= frames.expression
    return own, gain


def _moved(frames: Frames, step: Points) -> Frames:
    """step: [n, 6 + E] a turn, log of scale, a shift in scales, expressions. Clipped: Gauss-Newton may overshoot."""
    turn = np.clip(step[:, :3], -0.5, 0.5)
    angle = np.linalg.norm(turn, axis=1)[:, None, None]
    safe = np.maximum(angle, 1e-9)
    cross = np.zeros((len(step), 3, 3))
    cross[:, 2, 1], cross[:, 0, 2], cross[:, 1, 0] = turn.T
    cross -= cross.swapaxes(1, 2)
    spun = np.eye(3) + np.sin(angle) / safe * cross + (1 - np.cos(angle)) / safe**2 * cross @ cross
    scale = frames.scale * np.exp(np.clip(step[:, 3], -0.3, 0.3))
    return Frames(
        spun @ frames.rotation,
        scale,
        frames.shift + frames.scale[:, None] * step[:, 4:6],
        frames.expression + step[:, 6:],
    )


def _left_over(shapes: FaceShapes, likeness: Likeness, frames: Frames, faces: Points, evidence: float) -> Points:
    """[68, 3] what all frames show besides the identity's shapes."""
    points = shapes.shape(likeness.identity) + np.tensordot(frames.expression, shapes.expressions, 1)
    seen = shapes.visible(shapes.choice(frames.project(points)), points)
    missed = (faces - frames.project(seen)) / frames.scale[:, None, None]
    space = frames.slopes(seen)[1] / frames.scale[:, None, None, None] @ frames.rotation[:, None]
    off = np.linalg.norm(missed, axis=2) / _SIGMA
    weight = (evidence / (_OFFSET_NOISE**2 * (1 + (off / _GROSS) ** 2)))[..., None]
    known = np.einsum("npxa,npxb->pab", space * weight[..., None], space) + np.eye(3) / _OFFSET**2
    left = np.linalg.solve(known, np.einsum("npxa,npx->pa", space * weight[..., None], missed)[..., None])[..., 0]
    # What is not the same on both sides is rather an expression, or the detector's error in a turned face.
    return np.asarray((left + (left * MIRROR)[list(TWINS)]) / 2)
