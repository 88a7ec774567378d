"""A pinhole camera before the person, and the look it gives a frame."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import warp as wp

from raytalk.clips.heads.anatomy import Array
from raytalk.clips.heads.figure import Figure
from raytalk.clips.heads.pose import aim, rotation
from raytalk.clips.heads.scene import Scene
from raytalk.clips.heads.shading import Look

FRAME = 1000.0
"""side of the camera's square frame, in its own pixels"""
MIDDLE = FRAME / 2 - 0.5
"""x and y of the frame's middle, where the middle of the resting face is seen"""
_FACES = 3.4
"""what the frame is wide, in distances from brow to chin at the start: room for the head to move"""


@dataclass(frozen=True)
class Camera:
    """Where it stands, in metres; `axes` rows: right, up, forward (to the person)."""

    origin: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]
    focal: float
    """in pixels of its frame"""

    @classmethod
    def before(cls, figure: Figure, scene: Scene) -> "Camera":
        """Looks at the middle of the resting face."""
        face = figure.vertices[figure.anatomy.landmarks].astype(np.float64)
        target = face[27:36].mean(axis=0)
        turn = aim(float(scene.camera[0]), float(scene.camera[1]))
        forward = turn @ np.array([0.0, 1.0, 0.0])
        right, up = turn @ np.array([1.0, 0, 0]), turn @ np.array([0, 0, 1.0])
        tilt = rotation(forward * scene.roll)
        tall = float(np.linalg.norm(face[8] - face[27]))
        return cls(
            target - forward * scene.distance,
            np.stack([tilt @ right, tilt @ up, forward]),
            FRAME * scene.distance / (_FACES * tall * 1.45),
        )

    def project(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """[..., 3] metres to [..., 2] pixels of the frame, (0, 0) the centre of its upper left pixel."""
        seen = (points - self.origin) @ self.axes.T
        flat = seen[..., :2] / seen[..., 2:] * self.focal
        return np.stack([MIDDLE + flat[..., 0], MIDDLE - flat[..., 1]], axis=-1)


def look(figure: Figure, scene: Scene, camera: Camera, square: npt.NDArray[np.floating], size: int) -> Look:
    """All of a frame's look but the eyes. square: centre x, y and side in pixels of the camera's frame."""
    person = figure.person
    result = Look()
    right, up, forward = camera.axes
    result.origin, result.right, result.up, result.forward = (_v(x) for x in (camera.origin, right, up, forward))
    x, y, side = (float(value) for value in square)
    result.corner_x = (x - side / 2 - MIDDLE) / camera.focal
    result.corner_y = (y - side / 2 - MIDDLE) / camera.focal
    result.pixel = side / size / camera.focal
    result.size = size
    result.back, result.back_step = (
        wp.vec2((x - side / 2 + 0.5) / FRAME, (y - side / 2 + 0.5) / FRAME),
        side / size / FRAME,
    )
    result.sky, result.zenith = _v(scene.sky), _v(scene.zenith)
    result.key, result.key_colour = _v(scene.key.way), _v(scene.key.colour)
    result.fill, result.fill_colour = _v(scene.fill.way), _v(scene.fill.colour)
    result.rim, result.rim_colour = _v(scene.rim.way), _v(scene.rim.colour)
    result.gloss, result.roughness = person.gloss, 0.50
    result.lips, result.lip_gloss = _v(person.lips), person.lip_gloss
    result.ears = _v(np.array([1.05, 0.72, 0.70]))
    result.iris, result.iris_inner = _v(person.iris), _v(person.iris_inner)
    result.iris_angle, result.pupil_angle = 0.50, 0.17 + 0.06 * float(1 - min(1.0, scene.sky.mean() * 3))
    result.sclera, result.teeth = _v(person.sclera), _v(person.teeth)
    result.tongue = _v(np.array([0.36, 0.11, 0.11]))
    result.lash, result.lash_cover = _v(np.array([0.012, 0.009, 0.008])), 0.34 if person.female else 0.2
    result.hair, result.hair_tip = _v(person.hair), _v(person.hair_tip)
    result.hair_shine, result.hair_streaks = 0.55, 0.36
    result.cloth, result.cloth_second = _v(scene.cloth), _v(scene.cloth_second)
    result.cloth_pattern, result.cloth_scale = scene.pattern, scene.pattern_scale
    result.frame, result.frame_gloss = _v(person.frame), 0.8
    result.lens, result.lens_cover = _v(np.array([0.5, 0.55, 0.6])), 0.02
    return result


def aim_eyes(result: Look, figure: Figure, vertices: Array, moves: Array, gaze: npt.NDArray[np.floating]) -> None:
    """Set the eyes of a look. vertices: [V, 3] posed; moves: `pose.turns`; gaze: yaw and pitch relative to the head."""
    head = moves[-1][:, :3].astype(np.float64)
    turn = head @ aim(float(gaze[0]), float(gaze[1]))
    # The eye's own y axis looks out of the pupil: the face looks along -y.
    own = np.diag([-1.0, -1.0, 1.0]) @ turn.T
    right, left = (eye_centre(vertices[ids]) for ids in figure.anatomy.eyes)
    result.eye_right, result.eye_left = _v(right), _v(left)
    result.turn_right = result.turn_left = wp.mat33(*own.reshape(-1).tolist())


def eye_centre(vertices: Array) -> npt.NDArray[np.float64]:
    """Middle of an eyeball [n, 3]."""
    return np.asarray((vertices.min(axis=0).astype(np.float64) + vertices.max(axis=0)) / 2)


def _v(values: npt.NDArray[np.floating]) -> wp.vec3:
    return wp.vec3(*(float(value) for value in values))
