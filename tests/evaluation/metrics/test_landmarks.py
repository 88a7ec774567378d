"""Landmarks found again: by hand, and a real face that is moved a known way."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from raytalk.evaluation.metrics.landmarks import detect_again, jitter, landmark_error
from raytalk.faces.detect import make_detector
from raytalk.faces.video import sample_frames


def faces(count: int, between_eyes: float = 50) -> np.ndarray:
    """[count, 68, 2] with the outer eye corners so far apart."""
    points = np.random.default_rng(0).uniform(20, 90, (count, 68, 2))
    points[:, 36], points[:, 45] = (30, 40), (30 + between_eyes * 0.6, 40 + between_eyes * 0.8)
    return points.astype(np.float32)


def test_the_error_is_a_share_of_the_distance_between_the_eyes() -> None:
    wanted = faces(3)
    found = wanted.copy()
    found[0] += [3, 4]
    found[1, 8] += [68, 0]
    found[2] = np.nan
    np.testing.assert_allclose(landmark_error(found, wanted), [5 / 50, 1 / 50, np.nan], rtol=1e-5)


def test_jitter_is_what_trembles_and_not_what_moves_or_stays_off() -> None:
    wanted = faces(5) + np.arange(5, dtype=np.float32)[:, None, None] * [2, 1]
    assert jitter(wanted + np.float32([4, -3]), wanted) == pytest.approx(0, abs=1e-6)
    found = wanted.copy()
    found[1::2] += [3, 4]
    assert jitter(found, wanted) == pytest.approx(5 / 50)
    nearer = wanted.copy()
    nearer[1:, 45] += (nearer[0, 45] - nearer[0, 36]) * np.float32(1)
    assert jitter(nearer[:2] + np.array([[[0, 0]], [[3, 4]]]), nearer[:2]) == pytest.approx(5 / 75, rel=1e-2)
    half = wanted.copy()
    half[1::2, :34] += [3, 4]
    assert jitter(half, wanted) == pytest.approx(2.5 / 50)


def test_jitter_leaves_out_frames_without_a_face() -> None:
    wanted = faces(6)
    found = wanted.copy()
    found[1] += [3, 4]  # steps of 5 before and after it
    found[3] = np.nan  # frames 2 and 4 are no neighbours
    found[4] += [6, 8]
    assert jitter(found, wanted) == pytest.approx((5 + 5 + 10) / 3 / 50, rel=1e-5)
    found[1::2] = np.nan
    assert np.isnan(jitter(found, wanted))
    assert np.isnan(jitter(found[:1], wanted[:1]))


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[2, 68, 2\] and \[3, 68, 2\]"):
        landmark_error(faces(2), faces(3))
    with pytest.raises(ValueError, match="must both be"):
        jitter(faces(2)[:, :5], faces(2)[:, :5])


def test_a_real_face_is_found_again_where_it_was_moved_to(carphone: Path) -> None:
    detector = make_detector("dlib")
    frames = [frame.image for frame in sample_frames(carphone, 3)]
    pictures = np.stack([*(cv2.resize(frame, (528, 432)) for frame in frames), np.full((432, 528, 3), 90, np.uint8)])
    found = detect_again(pictures, detector)
    assert found.dtype == np.float32
    assert np.isnan(found[3]).all()
    assert np.isfinite(found[:3]).all()
    moved = detect_again(np.roll(pictures[:3], (6, 9), axis=(1, 2)), detector)
    error = landmark_error(moved, found[:3])
    between = np.linalg.norm(found[:3, 36] - found[:3, 45], axis=1)
    np.testing.assert_allclose(error, np.hypot(6, 9) / between, rtol=0.3)
    assert (landmark_error(moved, found[:3] + np.float32([9, 6])) < 0.4 * error).all()


def test_the_largest_face_counts(carphone: Path) -> None:
    (frame,) = (frame.image for frame in sample_frames(carphone, 1))
    large, small = cv2.resize(frame, (528, 432)), cv2.resize(frame, (352, 288))
    picture = np.zeros((432, 880, 3), np.uint8)
    picture[:288, :352], picture[:, 352:] = small, large
    (points,) = detect_again(picture[None], make_detector("dlib"))
    assert points[:, 0].min() > 352
