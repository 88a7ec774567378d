"""An expression and a turn of the head become vertices."""

import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.anatomy import Anatomy, Array

_SHARES = (0.12, 0.16, 0.17, 0.55)
"""of a turn, by `anatomy.JOINTS`"""


def rotation(vector: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """[3, 3] of an axis times an angle in radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def aim(yaw: float, pitch: float) -> npt.NDArray[np.float64]:
    """[3, 3] turns what looks along -y to the person's own left, and up; radians."""
    return np.asarray(rotation(np.array([0, 0, yaw])) @ rotation(np.array([-pitch, 0, 0])))


def head_turn(yaw: float, pitch: float, roll: float) -> npt.NDArray[np.float64]:
    """Axis times angle, radians, of a head that turns to its own left, lifts its chin, tilts to its own left."""
    turned = aim(yaw, pitch) @ rotation(np.array([0, roll, 0]))
    angle = np.arccos(np.clip((np.trace(turned) - 1) / 2, -1, 1))
    if angle < 1e-9:
        return np.zeros(3)
    axis = np.array([turned[2, 1] - turned[1, 2], turned[0, 2] - turned[2, 0], turned[1, 0] - turned[0, 1]])
    return np.asarray(axis / (2 * np.sin(angle)) * angle)


def turns(joints: Array, head: npt.NDArray[np.floating], sway: npt.NDArray[np.floating]) -> Array:
    """[5, 3, 4] by the chest and JOINTS. head: yaw, pitch, roll; sway: metres (x, y up, z forward, as `motion.py`)."""
    whole = np.eye(4)
    whole[:3, 3] = sway[0], -sway[2], sway[1]
    chain = [whole]
    vector = head_turn(*(float(angle) for angle in head))
    for joint, share in zip(joints, _SHARES, strict=True):
        step = np.eye(4)
        step[:3, :3] = rotation(vector * share)
        step[:3, 3] = joint - step[:3, :3] @ joint
        chain.append(chain[-1] @ step)
    return np.asarray(np.stack(chain)[:, :3], np.float32)


def express(anatomy: Anatomy, rest: Array, actions: Array, scale: float) -> Array:
    """[V, 3] the resting face with facial actions [52] on it. scale: the head's size beside the template's."""
    used = np.flatnonzero(actions > 1e-4)
    return np.asarray(rest + scale * np.einsum("n,nvx->vx", actions[used], anatomy.actions[used]), np.float32)


def follow(points: Array, weights: Array, moves: Array) -> Array:
    """[N, 3] points moved by the joints they follow (linear blend skinning). weights: [N, 5]; moves: [5, 3, 4]."""
    blended = np.einsum("nj,jxy->nxy", weights, moves)
    return np.asarray(np.einsum("nij,nj->ni", blended[:, :, :3], points) + blended[:, :, 3], np.float32)
