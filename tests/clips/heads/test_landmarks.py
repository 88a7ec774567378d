"""Stored landmarks lie where an annotator would put them, whatever the pose and the expression."""

import numpy as np
import numpy.typing as npt
import pytest

from raytalk.clips.heads.anatomy import SKIN, Anatomy, Array
from raytalk.clips.heads.camera import FRAME, Camera
from raytalk.clips.heads.expressions import combine
from raytalk.clips.heads.landmarks import gaze_in_camera, landmarks, locate, pupils
from raytalk.clips.heads.pose import express, follow, turns

Points = npt.NDArray[np.float64]

AHEAD = np.zeros(2)
MIRRORED = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46, 39, 38, 37, 36,
     41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]
)  # fmt: skip


@pytest.fixture(scope="module")
def camera(anatomy: Anatomy) -> Camera:
    """A metre before the template's face, as Camera.before puts it; the face is some 300 pixels high."""
    face = anatomy.template[anatomy.landmarks[27:36]].astype(np.float64).mean(axis=0)
    return Camera(np.array([0.0, face[1] - 1.0, face[2]]), np.array([[1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0]]), 2500.0)


def moved(anatomy: Anatomy, yaw: float = 0.0, pitch: float = 0.0) -> Array:
    return turns(anatomy.joints, np.radians([yaw, pitch, 0.0]), np.zeros(3))


def posed(anatomy: Anatomy, yaw: float = 0.0, pitch: float = 0.0, **actions: float) -> Array:
    face = express(anatomy, anatomy.template, combine(**actions).astype(np.float32), 1.0)
    return follow(face, anatomy.weights, moved(anatomy, yaw, pitch))


def apart(points: Points) -> float:
    """The unit of what follows: between the outer eye corners, of a face from the front."""
    return float(np.linalg.norm(points[45] - points[36]))


def gap(points: Points, one: int, other: int) -> float:
    return float(np.linalg.norm(points[one] - points[other]))


LIDS = [(37, 41), (38, 40), (43, 47), (44, 46)]


def test_a_symmetric_face_has_symmetric_points(anatomy: Anatomy, camera: Camera) -> None:
    points = landmarks(anatomy, posed(anatomy), camera)
    mirror = points[MIRRORED] * [-1, 1] + [FRAME - 1, 0]
    assert np.abs(points - mirror).max() < 0.01 * apart(points)
    assert np.all(np.diff(points[:17, 0]) > 0), "the contour runs from the picture's left to its right"
    assert points[:9, 1].tolist() == sorted(points[:9, 1].tolist())


def test_lids_close(anatomy: Anatomy, camera: Camera) -> None:
    unit = apart(landmarks(anatomy, posed(anatomy), camera))
    opened, half, closed = (landmarks(anatomy, posed(anatomy, eyeBlink=amount), camera) for amount in (0.0, 0.4, 1.0))
    for upper, lower in LIDS:
        assert gap(opened, upper, lower) > 0.08 * unit
        assert 0.3 < gap(half, upper, lower) / gap(opened, upper, lower) < 0.8
        assert gap(closed, upper, lower) < 0.03 * unit
        fallen, raised = closed[upper, 1] - opened[upper, 1], opened[lower, 1] - closed[lower, 1]
        assert fallen > 4 * abs(raised), "it is the upper lid that moves"
    one_eye = landmarks(anatomy, posed(anatomy, eyeBlinkRight=1.0), camera)
    assert gap(one_eye, 37, 41) < 0.03 * unit
    assert gap(one_eye, 44, 46) > 0.07 * unit


def test_lips_part_as_the_jaw_opens(anatomy: Anatomy, camera: Camera) -> None:
    closed, opened = (landmarks(anatomy, posed(anatomy, jawOpen=amount), camera) for amount in (0.0, 0.6))
    unit = apart(closed)
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        assert gap(closed, upper, lower) < 0.02 * unit
        assert opened[lower, 1] - opened[upper, 1] > 0.12 * unit
        assert gap(opened, upper, upper - 11) < 1.2 * gap(closed, upper, upper - 11), "lips keep their thickness"
    assert opened[8, 1] - closed[8, 1] > 0.08 * unit, "the chin goes along"


@pytest.mark.parametrize("yaw", [-30.0, 30.0])
def test_the_far_contour_is_the_silhouette(anatomy: Anatomy, camera: Camera, yaw: float) -> None:
    vertices = posed(anatomy, yaw)
    points = landmarks(anatomy, vertices, camera)
    # The ears and the neck are no part of the face's outline.
    skin = np.unique(anatomy.triangles[anatomy.materials == SKIN])
    skin = skin[(anatomy.ears[skin] < 0.1) & (anatomy.weights[skin, 4] > 0.9)]
    outline = camera.project(vertices[skin].astype(np.float64))
    face = float(np.ptp(points, axis=0).max())
    out = np.sign(yaw)
    for index in range(10, 17) if yaw > 0 else range(7):
        beside = np.abs(outline[:, 1] - points[index, 1]) < 0.015 * face
        assert abs((outline[beside, 0] * out).max() - points[index, 0] * out) < 0.02 * face, f"point {index}"


@pytest.mark.parametrize("pitch", [-15.0, 0.0, 15.0])
def test_nothing_jumps_as_the_head_turns(anatomy: Anatomy, camera: Camera, pitch: float) -> None:
    track = np.stack([landmarks(anatomy, posed(anatomy, yaw, pitch), camera) for yaw in range(-40, 41)])
    jerks = np.linalg.norm(np.diff(track, n=2, axis=0), axis=2)
    assert jerks.max() < 0.004 * apart(track[40]), f"point {jerks.max(axis=0).argmax()}"


def test_pupils_lie_between_the_lids(anatomy: Anatomy, camera: Camera) -> None:
    for yaw in (-25.0, 0.0, 25.0):
        vertices = posed(anatomy, yaw)
        points = landmarks(anatomy, vertices, camera)
        for pupil, (first, last) in zip(
            pupils(anatomy, vertices, moved(anatomy, yaw), AHEAD, camera), ((36, 42), (42, 48)), strict=True
        ):
            lids = points[first:last]
            assert lids[:, 0].min() < pupil[0] < lids[:, 0].max()
            assert lids[1:3, 1].mean() < pupil[1] < lids[4:6, 1].mean()


def test_pupils_follow_the_gaze(anatomy: Anatomy, camera: Camera) -> None:
    vertices, still = posed(anatomy), moved(anatomy)
    ahead = pupils(anatomy, vertices, still, AHEAD, camera)
    aside = pupils(anatomy, vertices, still, np.array([0.3, 0.0]), camera)
    up = pupils(anatomy, vertices, still, np.array([0.0, 0.3]), camera)
    assert np.all(aside[:, 0] > ahead[:, 0] + 5), "the own left is the picture's right"
    assert np.all(up[:, 1] < ahead[:, 1] - 5)
    # An eyeball is 24 mm wide: 12 mm times the sine of the angle.
    assert (aside - ahead)[:, 0] == pytest.approx(2500 * 0.012 * np.sin(0.3), rel=0.3)


def test_gaze_is_told_relative_to_the_camera(anatomy: Anatomy, camera: Camera) -> None:
    assert gaze_in_camera(moved(anatomy), AHEAD, camera) == pytest.approx([0, 0], abs=1e-6)
    assert gaze_in_camera(moved(anatomy), np.array([0.2, 0.1]), camera) == pytest.approx([0.2, 0.1], abs=0.005)
    turned = moved(anatomy, yaw=20.0)
    assert gaze_in_camera(turned, AHEAD, camera)[0] == pytest.approx(np.radians(20), abs=0.005)
    assert gaze_in_camera(turned, np.array([-np.radians(20), 0.0]), camera) == pytest.approx([0, 0], abs=0.005)
    # A camera that looks at the face from the picture's right sees the same eyes look to its left.
    right = np.array([np.cos(0.2), np.sin(0.2), 0.0])
    beside = Camera(camera.origin, np.stack([right, [0, 0, 1.0], [-np.sin(0.2), np.cos(0.2), 0]]), camera.focal)
    assert gaze_in_camera(moved(anatomy), AHEAD, beside)[0] == pytest.approx(-0.2, abs=1e-6)


def test_a_point_off_the_skin_is_an_error(anatomy: Anatomy) -> None:
    nose = anatomy.template[anatomy.landmarks[30]].astype(np.float64)
    spot = locate(anatomy, nose[None])
    assert spot.on(anatomy.template)[0] == pytest.approx(nose, abs=1e-6)
    with pytest.raises(ValueError, match="off the template"):
        locate(anatomy, nose[None] - [0, 0.01, 0])
