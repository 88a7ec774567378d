"""A clip of a rendered person: who, where, how they move, and a camera that films it."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.anatomy import Anatomy, Array
from raytalk.clips.heads.camera import MIDDLE, Camera, aim_eyes, look
from raytalk.clips.heads.figure import Figure
from raytalk.clips.heads.landmarks import gaze_in_camera, landmarks, pupils
from raytalk.clips.heads.motion import Motion, draw_motion, draw_temper
from raytalk.clips.heads.person import Person, draw_person
from raytalk.clips.heads.pose import turns
from raytalk.clips.heads.render import Stage
from raytalk.clips.heads.scene import Scene, draw_scene
from raytalk.clips.heads.skin import paint
from raytalk.faces.crop import square_map, steady_squares, to_crop

_GRAIN = 128


@dataclass(frozen=True)
class Order:
    """Which clip. The same order gives the same clip, whoever renders it. With more frames, or at another resolution,
    it shows the same moments of the same motion; with more seconds the motion is another one."""

    seed: int
    """of the population"""
    person: int
    clip: int
    """of this person"""
    frames: int
    seconds: float
    resolution: int
    """side of the pictures, in pixels"""


@dataclass(frozen=True)
class Shot:
    """n frames, cropped as preprocessing crops real video."""

    pictures: npt.NDArray[np.uint8]
    """[n, s, s, 3] RGB"""
    landmarks: npt.NDArray[np.float32]
    """[n, 68, 2] pixels"""
    pupils: npt.NDArray[np.float32]
    """[n, 2, 2] pixels; the eye of points 36-41 first"""
    gaze: npt.NDArray[np.float32]
    """[n, 2] yaw and pitch relative to the camera's axis, radians; positive to the right of the picture, and up"""
    fps: float


class Studio:
    """Renders clips; one a process, because it holds a device's buffers."""

    def __init__(self, anatomy: Anatomy, device: str = "cpu") -> None:
        """device: cpu or cuda."""
        self._anatomy, self._device = anatomy, device
        self._painted: tuple[tuple[int, int], Person, tuple[Array, Array]] | None = None

    def shoot(self, order: Order) -> Shot:
        """Render one clip. The clips of one person are cheaper in a row."""
        person, painted = self._person(order)
        scene = draw_scene(np.random.default_rng([order.seed, order.person, 2, order.clip]))
        figure = Figure(self._anatomy, person, scene.collar, shrunk(painted, order.resolution))
        motion = motion_of(order)
        camera = Camera.before(figure, scene)
        posed, points, centres, ways = [], [], [], []
        for index in range(order.frames):
            moves = turns(figure.joints, motion.head[index], motion.sway[index])
            mesh, strands = figure.posed(motion.actions[index], moves)
            own = mesh[: len(figure.vertices)]
            posed.append((mesh, strands, moves))
            points.append(landmarks(self._anatomy, own, camera))
            centres.append(pupils(self._anatomy, own, moves, motion.gaze[index], camera))
            ways.append(gaze_in_camera(moves, motion.gaze[index], camera))
        squares = steady_squares(np.stack(points), motion.times)
        stage = Stage(figure.surface, figure.rest, self._device)
        stage.backdrop(scene.background)
        grain, shifts = _grain(order, scene)
        size, middle = order.resolution, np.full(2, MIDDLE)
        pictures = np.empty((order.frames, size, size, 3), np.uint8)
        crop_points, crop_pupils = (
            np.empty((order.frames, 68, 2), np.float32),
            np.empty((order.frames, 2, 2), np.float32),
        )
        for index, (mesh, strands, moves) in enumerate(posed):
            view = look(figure, scene, camera, squares[index], size)
            aim_eyes(view, figure, mesh[: len(figure.vertices)], moves, motion.gaze[index])
            stage.film(np.roll(grain, shifts[index], axis=(0, 1)))
            stage.pose(mesh, strands)
            forward = square_map(squares[index], size)
            reach = scene.film.reach(size, to_crop(middle, forward))
            pictures[index] = scene.film.develop(stage.picture(view, scene.exposure), reach)
            crop_points[index] = to_crop(points[index], forward)
            crop_pupils[index] = to_crop(centres[index], forward)
        fps = (order.frames - 1) / order.seconds if order.frames > 1 else 0.0
        return Shot(pictures, crop_points, crop_pupils, np.stack(ways).astype(np.float32), fps)

    def _person(self, order: Order) -> tuple[Person, tuple[Array, Array]]:
        key = (order.seed, order.person)
        if self._painted is None or self._painted[0] != key:
            person = draw_person(self._anatomy, *key)
            self._painted = key, person, paint(self._anatomy, person)
        return self._painted[1], self._painted[2]


def shrunk(painted: tuple[Array, Array], resolution: int) -> tuple[Array, Array]:
    """Skin for pictures of this resolution: some two texels a pixel, so that its grain does not glitter."""
    times = min(8, max(1, round(512 / resolution)))
    if times == 1:
        return painted
    texture, relief = (
        cv2.resize(each, None, fx=1 / times, fy=1 / times, interpolation=cv2.INTER_AREA) for each in painted
    )
    return np.asarray(texture, np.float32), np.asarray(relief, np.float32)


def motion_of(order: Order) -> Motion:
    """How the person moves in this clip."""
    temper = draw_temper(np.random.default_rng([order.seed, order.person, 3]))
    track = draw_motion(np.random.default_rng([order.seed, order.person, 4, order.clip]), order.seconds, temper)
    return track.sample(np.linspace(0, order.seconds, order.frames))


def _grain(order: Order, scene: Scene) -> tuple[Array, npt.NDArray[np.int64]]:
    """Noise of the sensor [h, w, 3], and how far to shift it in each frame [n, 2]."""
    rng = np.random.default_rng([order.seed, order.person, 5, order.clip])
    light, colour = rng.standard_normal((_GRAIN, _GRAIN, 1)), rng.standard_normal((_GRAIN, _GRAIN, 3))
    shifts = rng.integers(0, _GRAIN, (order.frames, 2))
    return np.asarray(scene.grain * (0.85 * light + 0.5 * colour), np.float32), shifts
