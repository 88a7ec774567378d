"""The 68 iBUG landmarks, the pupils and the gaze of a rendered person, read off the posed mesh.

`landmark_points.json` says where they lie on the template's skin, in millimetres: points 17 to 67 one by one, and for
each point 0 to 8 of the jaw a line from the ear's side towards the front, with the way that is outwards there (to the
person's left and up). 9 to 16 mirror them. Positions and not vertex numbers, because numbers change with what
`anatomy.py` keeps. They were fitted to dlib's predictor on 780 renders of 130 people, lids and inner lips along the
rims that lids and lips have in the mesh; `benchmarks/heads_landmarks.py` measures the result.
"""

import json
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.anatomy import SKIN, Anatomy, Array
from raytalk.clips.heads.camera import Camera, eye_centre
from raytalk.clips.heads.pose import aim

Points = npt.NDArray[np.float64]

_OFF_SKIN = 5e-4
"""metres: further away than this, a point of the file does not belong to this template"""
_SOFTNESS = 0.006
"""how gradually one point of a contour's line takes over from the next, in distances between the outer eye corners"""
_LIDS = (((37, 41), (38, 40), (36, 39)), ((43, 47), (44, 46), (42, 45)))
"""of each eye: two pairs of upper and lower lid, and the corners, from the picture's left to its right"""


@dataclass(frozen=True)
class Spots:
    """n points on a mesh's surface."""

    corners: npt.NDArray[np.int32]
    """[n, 3] vertices"""
    weights: Points
    """[n, 3] rows sum to 1"""

    def on(self, vertices: Array) -> Points:
        """[n, 3] where they are on posed vertices [V, 3]."""
        return np.asarray(np.einsum("nc,ncx->nx", self.weights, vertices[self.corners].astype(np.float64)))


@dataclass(frozen=True)
class _Layout:
    face: Spots
    """points 17-67"""
    jaw: Spots
    """the lines of points 0-16, one after the other"""
    starts: tuple[int, ...]
    """where each line begins"""
    outward: Points
    """[17, 2] in the picture, of a head that is upright: to the right and down"""


_layouts: list[tuple[Anatomy, _Layout]] = []


def landmarks(anatomy: Anatomy, vertices: Array, camera: Camera) -> Points:
    """[68, 2] pixels of the camera's frame, iBUG order. vertices: [V, 3] posed, metres.

    Points 0-16 are the visible contour: the silhouette on the side that is turned away, the edge of the jaw on the
    other. Lids that have met share one line.
    """
    layout = _layout(anatomy)
    points = np.empty((68, 2))
    points[17:] = camera.project(layout.face.on(vertices))
    across = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
    across /= np.linalg.norm(across)
    apart = float(np.linalg.norm(points[45] - points[36]))
    lines = camera.project(layout.jaw.on(vertices))
    for index, line in enumerate(np.split(lines, layout.starts[1:])):
        right, down = layout.outward[index]
        reach = line @ (right * across + down * _below(across))
        share = np.exp((reach - reach.max()) / (_SOFTNESS * apart))
        points[index] = share @ line / share.sum()
    for *pairs, corners in _LIDS:
        _meet(points, pairs, corners)
    return points


def pupils(anatomy: Anatomy, vertices: Array, moves: Array, gaze: npt.NDArray[np.floating], camera: Camera) -> Points:
    """[2, 2] pupil centres, the eye of points 36-41 first, in pixels of the camera's frame.

    vertices: [V, 3] posed; moves: [5, 3, 4] `pose.turns`; gaze: yaw and pitch relative to the head, radians.
    """
    way = _way(moves, gaze)
    eyes = [vertices[ids] for ids in anatomy.eyes]
    # Width, depth and height of an eyeball differ little; in a turned head their mean stays a good radius.
    return camera.project(np.stack([eye_centre(eye) + way * float(np.ptp(eye, axis=0).mean()) / 2 for eye in eyes]))


def gaze_in_camera(moves: Array, gaze: npt.NDArray[np.floating], camera: Camera) -> Points:
    """[2] yaw and pitch of the eyes relative to the camera's axis, radians: positive to the picture's right, and up.

    moves and gaze: see `pupils`. (0, 0) is the gaze of somebody who looks against the axis.
    """
    right, up, forward = camera.axes @ _way(moves, gaze)
    return np.array([np.arctan2(right, -forward), np.arctan2(up, np.hypot(right, forward))])


def _way(moves: Array, gaze: npt.NDArray[np.floating]) -> Points:
    """[3] the unit vector in which the eyes look (`camera.aim_eyes`)."""
    return np.asarray(moves[-1][:, :3].astype(np.float64) @ aim(float(gaze[0]), float(gaze[1])) @ [0.0, -1.0, 0.0])


def _below(across: Points) -> Points:
    """[2] down in the face, of the way across it from the picture's left to its right."""
    return np.array([-across[1], across[0]])


def _meet(points: Points, pairs: list[tuple[int, int]], corners: tuple[int, int]) -> None:
    """Where anny's upper lid passes the lower one, as far as 3 mm in a blink, the lids meet halfway."""
    across = points[corners[1]] - points[corners[0]]
    down = _below(across / np.linalg.norm(across))
    for upper, lower in pairs:
        passed = max(0.0, float((points[upper] - points[lower]) @ down))
        points[upper] -= passed / 2 * down
        points[lower] += passed / 2 * down


def _layout(anatomy: Anatomy) -> _Layout:
    """Found once for each Anatomy; arrays have no hash, so it is looked up by identity."""
    for known, layout in _layouts:
        if known is anatomy:
            return layout
    stored = json.loads(resources.files(__package__).joinpath("landmark_points.json").read_text())
    lines = [np.array(part["line"]) / 1000 for part in stored["contour"]]
    lines += [line * [-1, 1, 1] for line in lines[7::-1]]
    outward = np.array([part["outward"] for part in stored["contour"]]) * [1, -1]
    layout = _Layout(
        face=locate(anatomy, np.array(stored["points"]) / 1000),
        jaw=locate(anatomy, np.concatenate(lines)),
        starts=tuple(int(start) for start in np.cumsum([0, *(len(line) for line in lines[:-1])])),
        outward=np.concatenate([outward, outward[7::-1] * [-1, 1]]),
    )
    _layouts[:] = [*_layouts[-1:], (anatomy, layout)]
    return layout


def locate(anatomy: Anatomy, points: Points) -> Spots:
    """The spots of the skin at points [n, 3] of the template, metres. Raises ValueError for one that is not on it."""
    triangles = anatomy.triangles[anatomy.materials == SKIN]
    a, b, c = (anatomy.template[triangles[:, corner]].astype(np.float64) for corner in range(3))
    side, other = b - a, c - a
    normal = np.cross(side, other)
    area = np.maximum((normal**2).sum(axis=1), 1e-24)
    corners, weights = np.empty((len(points), 3), np.int32), np.empty((len(points), 3))
    for index, point in enumerate(points):
        second = (np.cross(point - a, other) * normal).sum(axis=1) / area
        third = (np.cross(side, point - a) * normal).sum(axis=1) / area
        shares = np.clip(np.stack([1 - second - third, second, third], axis=1), 0, None)
        shares /= shares.sum(axis=1, keepdims=True)
        off = np.linalg.norm(shares[:, :1] * a + shares[:, 1:2] * b + shares[:, 2:] * c - point, axis=1)
        best = int(off.argmin())
        if off[best] > _OFF_SKIN:
            raise ValueError(
                f"{point} is {off[best]} m off the template's skin: landmark_points.json is for another one"
            )
        corners[index], weights[index] = triangles[best], shares[best]
    return Spots(corners, weights)
