"""Variants of learning images: landmarks stay on what they mark."""

import cv2
import numpy as np
import pytest
from toy import face_landmarks

from raytalk.faces.face_shapes import TWINS
from raytalk.learning.learning_images import LearningImages, varied


def dotted(points: np.ndarray, size: int) -> np.ndarray:
    """A picture with a bright dot at some landmarks."""
    picture = np.zeros((size, size, 3), np.uint8)
    for index in (8, 30, 36, 45, 48, 54):
        cv2.circle(picture, tuple(int(v) * 16 for v in np.rint(points[index])), 3 * 16, (255, 255, 255), -1, shift=4)
    return picture


def people(count: int, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    points = np.stack([face_landmarks(size, (0.02 * n, 0.0), 0.3) for n in range(count)])
    return np.stack([dotted(np.rint(each), size) for each in points]), np.rint(points)


def test_a_mirrored_mirror_is_the_first() -> None:
    order = np.array(TWINS)
    assert sorted(TWINS) == list(range(68))
    np.testing.assert_array_equal(order[order], np.arange(68))


def test_a_mirror_image_has_the_same_layout() -> None:
    """The toy face is symmetric: mirrored about its own middle it is itself, point by point."""
    face = face_landmarks(128).astype(np.float64)
    mirrored = (face * [-1, 1] + [2 * 64, 0])[list(TWINS)]
    assert np.abs(mirrored - face)[:36].max() < 1e-3
    assert np.abs(mirrored - face).max() < 128 * 0.06  # eyes and mouth are drawn from one side on


@pytest.mark.parametrize("flip", [False, True])
def test_landmarks_follow_the_picture(flip: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, points = people(2)
    seen = {}

    def drawn(cls: type, pictures: np.ndarray, landmarks: np.ndarray, pupils: np.ndarray | None = None) -> None:
        seen["pictures"], seen["points"], seen["pupils"] = pictures, landmarks, pupils

    monkeypatch.setattr(LearningImages, "drawn", classmethod(drawn))
    eyes = points[:, [36, 45]]
    varied(frames, points, eyes, variants=3, flip=flip)
    assert len(seen["pictures"]) == (2 + 2 * 3) * (2 if flip else 1) - 2
    for picture, face, pupils in zip(seen["pictures"], seen["points"], seen["pupils"], strict=True):
        for index in (8, 30, 36, 45, 48, 54):
            x, y = np.rint(face[index]).astype(int)
            assert picture[y, x].min() > 200
        np.testing.assert_allclose(pupils, face[[36, 45]], atol=1e-9)


def test_variants_differ_and_follow_from_the_seed() -> None:
    frames, points = people(2)
    one, again, other = (varied(frames, points, None, 2, False, seed) for seed in (0, 0, 1))
    assert one is not None
    assert again is not None
    assert other is not None
    np.testing.assert_array_equal(one.frames, again.frames)
    assert (one.frames != other.frames).any()
    assert (one.frames[0] != one.frames[1]).any()
    assert one.drawings.any()


def test_no_more_than_fit_and_none_if_none_are_wanted() -> None:
    frames, points = people(3)
    assert varied(frames, points, None, 0, False) is None
    many = varied(frames, points, None, 1000, True)
    assert many is not None
    assert 55 < len(many) + 3 <= 64
    assert varied(*(np.repeat(each, 22, axis=0) for each in (frames, points)), None, 5, False) is None  # type: ignore[arg-type]
