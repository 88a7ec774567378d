"""Sliders: what each does to the face, and that it does nothing else."""

from typing import Any

import numpy as np
import pytest
from faces.test_retarget import EYES, LIPS, opening, person, played, seen

from raytalk.driving.live import AvatarFace
from raytalk.driving.pose import RANGES, Pose, Poser
from raytalk.errors import AvatarError
from raytalk.faces.crop import square_map, steady_squares, to_crop
from raytalk.faces.face_fit import Frames

SIZE = 256


def cropped(faces: np.ndarray) -> np.ndarray:
    return np.stack(
        [to_crop(face, square_map(square, SIZE)) for face, square in zip(faces, steady_squares(faces), strict=True)]
    )


def poser(seed: int = 2) -> Poser:
    return Poser(AvatarFace(cropped(seen(person(seed), played(seed, 8, yaw=12))), SIZE, "dlib"))


ADA = poser()


def face(**pose: Any) -> np.ndarray:
    return ADA.landmarks(Pose(**pose)).astype(np.float64)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other, axis=-1).mean())


def test_at_rest_it_is_the_persons_own_face_looking_ahead() -> None:
    rest = face()
    assert rest.shape == (68, 2)
    assert ADA.landmarks(Pose()).dtype == np.float32
    upright = Frames(np.eye(3)[None], np.array([90.0]), np.array([[320.0, 240.0]]), np.zeros((1, 24)))
    distances = []
    for seed in (2, 3, 4, 5):
        truth = cropped(seen(person(seed), upright))[0]
        outside_mouth = [*range(48)]
        move = rest[outside_mouth].mean(axis=0) - truth[outside_mouth].mean(axis=0)
        distances.append(apart(rest[outside_mouth], truth[outside_mouth] + move))
    assert distances[0] < 2.5
    assert distances[0] < 0.7 * min(distances[1:])
    assert opening(rest[None], LIPS)[0] < 0.5
    assert opening(rest[None], EYES)[0] > 3


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_it_lies_where_the_learning_images_have_it(seed: int) -> None:
    own = cropped(seen(person(seed), played(seed, 8, yaw=12)))
    rest = Poser(AvatarFace(own, SIZE, "dlib")).landmarks(Pose())
    assert np.abs(rest.mean(axis=0) - own.mean(axis=(0, 1))).max() < 10
    assert np.ptp(rest, axis=0)[1] == pytest.approx(np.ptp(own, axis=1)[:, 1].mean(), rel=0.15)


def test_a_head_turns_the_way_it_is_told() -> None:
    rest, nose, chin, bridge = face(), 30, 8, 27
    assert face(yaw=30)[nose, 0] > rest[nose, 0] + 10
    assert face(yaw=-30)[nose, 0] < rest[nose, 0] - 10
    # Not only as a whole: the nose goes further than the eyes.
    assert face(yaw=30)[nose, 0] - face(yaw=30)[[36, 45], 0].mean() > 5
    assert face(pitch=20)[nose, 1] < rest[nose, 1] - 5
    assert face(pitch=-20)[nose, 1] > rest[nose, 1] + 5
    assert face(roll=20)[bridge, 0] - face(roll=20)[chin, 0] > 15
    assert face(roll=-20)[bridge, 0] - face(roll=-20)[chin, 0] < -15


def test_it_turns_as_much_as_it_is_told() -> None:
    for angle in (-30, -10, 15):
        eyes = face(roll=angle)[45] - face(roll=angle)[36]
        assert np.degrees(np.arctan2(eyes[1], eyes[0])) == pytest.approx(angle, abs=2)
    width = np.linalg.norm(face(yaw=35)[45] - face(yaw=35)[36]) / np.linalg.norm(face()[45] - face()[36])
    assert width == pytest.approx(np.cos(np.radians(35)), abs=0.08)


def test_a_mouth_opens_steadily() -> None:
    gaps = [float(opening(face(mouth=share)[None], LIPS)[0]) for share in np.linspace(0, 1, 11)]
    assert (np.diff(gaps) > 0.5).all()
    assert gaps[0] < 0.5
    assert gaps[-1] > 12
    assert face(mouth=1)[8, 1] > face()[8, 1] + 3
    assert apart(face(mouth=1)[36:48], face()[36:48]) < 1.5


def test_eyes_shut_steadily() -> None:
    gaps = [float(opening(face(eyes=share)[None], EYES)[0]) for share in np.linspace(0, 1, 6)]
    assert gaps[0] < 0.01
    assert (np.diff(gaps) > 0.3).all()
    assert apart(face(eyes=0)[48:], face()[48:]) < 1e-3


def test_a_smile_widens_the_mouth_and_lifts_its_corners() -> None:
    def mouth(points: np.ndarray) -> tuple[float, float]:
        return float(points[54, 0] - points[48, 0]), float(points[[51, 57], 1].mean() - points[[48, 54], 1].mean())

    sad, rest, glad = (mouth(face(smile=share)) for share in (-1, 0, 1))
    assert sad[0] < rest[0] - 2 < glad[0] - 4
    assert sad[1] < rest[1] - 1 < glad[1] - 2


def test_brows_go_up_and_down() -> None:
    heights = [face(brows=share)[17:27, 1].mean() for share in (-1, 0, 1)]
    assert heights[0] > heights[1] + 1.5
    assert heights[1] > heights[2] + 1.5


def test_everything_at_once_stays_inside_the_picture() -> None:
    large = AvatarFace(cropped(seen(person(6), played(6, 4))) * np.float32(1.9) - 115, SIZE, "dlib")
    for one in (ADA, Poser(large)):
        for seed in range(40):
            random = np.random.default_rng(seed)
            pose = Pose(**{name: float(random.choice([low, high])) for name, (low, high) in RANGES.items()})
            points = one.landmarks(pose)
            assert np.isfinite(points).all()
            assert points.min() >= 0
            assert points.max() <= SIZE - 1


@pytest.mark.parametrize("wrong", [{"yaw": 36}, {"mouth": -0.1}, {"smile": float("nan")}, {"eyes": float("inf")}])
def test_a_slider_beyond_its_end_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be from"):
        Pose(**wrong)


def test_an_avatar_without_landmarks_cannot_be_posed() -> None:
    with pytest.raises(AvatarError, match="keeps no landmarks"):
        Poser(AvatarFace(np.zeros((0, 68, 2), np.float32), SIZE, "dlib"))
