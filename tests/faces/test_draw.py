import time

import cv2
import numpy as np
import pytest

from raytalk.faces.draw import GROUPS, PUPIL, draw_batch, draw_landmarks


@pytest.fixture
def face() -> np.ndarray:
    """Landmarks of a plausible face in a picture of 256 pixels: groups do not touch each other."""
    points = np.zeros((68, 2), dtype=np.float32)
    angle = np.linspace(0, np.pi, 17)
    points[:17] = np.stack([128 - 90 * np.cos(angle), 110 + 120 * np.sin(angle)], axis=1)
    points[17:22] = np.stack([np.linspace(60, 110, 5), np.full(5, 70)], axis=1)
    points[22:27] = np.stack([np.linspace(146, 196, 5), np.full(5, 70)], axis=1)
    points[27:31] = np.stack([np.full(4, 128), np.linspace(90, 125, 4)], axis=1)
    points[31:36] = np.stack([np.linspace(112, 144, 5), np.full(5, 140)], axis=1)
    ring = np.linspace(0, 2 * np.pi, 7)[:6]
    for first, centre in ((36, (85, 95)), (42, (171, 95))):
        points[first : first + 6] = np.stack([centre[0] + 15 * np.cos(ring), centre[1] + 8 * np.sin(ring)], axis=1)
    for first, count, wide, high in ((48, 12, 40, 20), (60, 8, 25, 8)):
        ring = np.linspace(0, 2 * np.pi, count + 1)[:count]
        points[first : first + count] = np.stack([128 + wide * np.cos(ring), 180 + high * np.sin(ring)], axis=1)
    return points


def test_the_groups_cover_every_landmark_once_in_the_spec_s_order() -> None:
    bounds = [(first, last, ring) for _, first, last, ring, _ in GROUPS]
    assert bounds == [
        (0, 16, False),
        (17, 21, False),
        (22, 26, False),
        (27, 30, False),
        (31, 35, False),
        (36, 41, True),
        (42, 47, True),
        (48, 59, True),
        (60, 67, True),
    ]
    assert len({colour for *_, colour in GROUPS}) == len(GROUPS)


def test_every_landmark_is_drawn_in_its_group_s_colour_as_rgb(face: np.ndarray) -> None:
    picture = draw_landmarks(face, 256)
    assert picture.shape == (256, 256, 3)
    assert picture.dtype == np.uint8
    for _, first, last, _, colour in GROUPS:
        for x, y in np.rint(face[first : last + 1]).astype(int):
            near = picture[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).astype(int)
            assert np.abs(near - colour).sum(axis=1).min() < 60


def test_the_background_is_black(face: np.ndarray) -> None:
    picture = draw_landmarks(face, 256)
    assert not picture[:40].any()
    assert not picture[:, :30].any()
    assert 0.02 < picture.any(axis=2).mean() < 0.2


def test_rings_are_closed_and_lines_are_not(face: np.ndarray) -> None:
    picture = draw_landmarks(face, 256).any(axis=2)
    closing = (face[41] + face[36]) / 2
    assert picture[round(closing[1]), round(closing[0])]
    chord = (face[0] + face[16]) / 2
    assert not picture[round(chord[1]) - 2 : round(chord[1]) + 3, round(chord[0]) - 30 : round(chord[0]) - 20].any()


@pytest.mark.parametrize("shift", [0.25, 0.5, 0.75])
def test_a_shift_of_less_than_a_pixel_moves_the_drawing_by_as_much(face: np.ndarray, shift: float) -> None:
    def centre_of_bridge(landmarks: np.ndarray) -> float:
        column = draw_landmarks(landmarks, 256)[95:120, 115:141].sum(axis=(0, 2)).astype(float)
        return float((column * np.arange(len(column))).sum() / column.sum())

    moved = centre_of_bridge(face + np.array([shift, 0])) - centre_of_bridge(face)
    assert moved == pytest.approx(shift, abs=0.1)


def test_lines_keep_their_proportion_to_the_picture(face: np.ndarray) -> None:
    shares = [draw_landmarks((face + 0.5) * size / 256 - 0.5, size).mean() for size in (256, 512, 1024)]
    assert max(shares) / min(shares) < 1.3
    small = cv2.resize(draw_landmarks((face + 0.5) * 4 - 0.5, 1024), (256, 256), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - draw_landmarks(face, 256)).mean() < 4


def test_a_batch_is_the_single_pictures(face: np.ndarray) -> None:
    faces = np.stack([face, face + 3.3, face * 0.7])
    assert np.array_equal(draw_batch(faces, 128), np.stack([draw_landmarks(each, 128) for each in faces]))
    assert draw_batch(faces[:0], 128).shape == (0, 128, 128, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(face: np.ndarray, bad: float) -> None:
    face[3, 1] = bad
    with pytest.raises(ValueError, match="finite"):
        draw_landmarks(face, 256)


def test_another_number_of_points_is_refused(face: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\[68, 2\].*\[67, 2\]"):
        draw_landmarks(face[:67], 256)


@pytest.mark.parametrize("far", [1e3, 1e6, 1e30, -1e30])
def test_landmarks_far_outside_neither_crash_nor_disturb_the_rest(face: np.ndarray, far: float) -> None:
    alone = face.copy()
    alone[:17] = -50
    face[:17] = -50
    face[5] = far
    picture = draw_landmarks(face, 256)
    assert np.array_equal(picture[60:80, 50:200] > 0, draw_landmarks(alone, 256)[60:80, 50:200] > 0) or far > 0
    assert not draw_landmarks(np.full((68, 2), far), 256).any()


def test_it_is_fast_enough_for_the_training_data_path(face: np.ndarray) -> None:
    draw_landmarks(face, 256)

    def run() -> float:
        start = time.process_time()
        for _ in range(50):
            draw_landmarks(face, 256)
        return (time.process_time() - start) / 50

    assert min(run() for _ in range(5)) < 0.6e-3


EYES = np.array([[85.25, 95.5], [171.0, 94.0]])
"""pupils of `face`"""


def discs(face: np.ndarray, pupils: np.ndarray, size: int = 256) -> np.ndarray:
    """[size, size]: where a drawing differs from the one without pupils."""
    return (draw_landmarks(face, size, pupils) != draw_landmarks(face, size)).any(axis=2)


def test_pupils_are_discs_of_a_colour_of_their_own(face: np.ndarray) -> None:
    picture = draw_landmarks(face, 256, EYES)
    for x, y in np.rint(EYES).astype(int):
        assert (picture[y - 1 : y + 2, x - 1 : x + 2] == PUPIL).all()
    assert min(np.abs(np.subtract(PUPIL, colour)).sum() for *_, colour in GROUPS) > 150
    assert 2 * np.pi * 3**2 < discs(face, EYES).sum() < 2 * np.pi * 5**2


@pytest.mark.parametrize("size", [64, 256, 1024])
def test_a_pupil_is_where_it_was_asked_for_at_any_size(size: int) -> None:
    scale = size / 256
    pupils = (EYES + 0.5) * scale - 0.5
    away = np.full((68, 2), -50.0 * size)
    light = draw_landmarks(away, size, pupils).sum(axis=2).astype(float)
    rows, columns = np.mgrid[:size, :size]
    for side, half in enumerate((columns < size / 2, columns >= size / 2)):
        weight = light * half
        centre = (columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()
        np.testing.assert_allclose(centre, pupils[side], atol=0.1)
    radius = (light.sum() / sum(PUPIL) / (2 * np.pi)) ** 0.5
    assert size / 96 < radius < size / 96 + 0.8, "OpenCV adds some half a pixel around"


@pytest.mark.parametrize("unknown", [(np.nan, np.nan), (np.nan, 95.0), (85.0, np.nan)])
def test_an_unknown_pupil_is_not_drawn(face: np.ndarray, unknown: tuple[float, float]) -> None:
    one = discs(face, np.array([unknown, EYES[1]]))
    assert not one[:, :128].any()
    assert one[:, 128:].any()
    nobody = np.full((2, 2), np.nan)
    assert np.array_equal(draw_landmarks(face, 256, nobody), draw_landmarks(face, 256))


def test_a_batch_has_the_pupils_of_the_single_pictures(face: np.ndarray) -> None:
    faces = np.stack([face, face + 3.3, face * 0.7])
    pupils = np.stack([EYES, EYES + 3.3, np.full((2, 2), np.nan)])
    singles = [draw_landmarks(points, 256, eyes) for points, eyes in zip(faces, pupils, strict=True)]
    assert np.array_equal(draw_batch(faces, 256, pupils), np.stack(singles))
    assert np.array_equal(singles[2], draw_landmarks(faces[2], 256))
    assert draw_batch(faces[:0], 128, pupils[:0]).shape == (0, 128, 128, 3)


def test_pupils_of_another_shape_or_infinitely_far_are_refused(face: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"pupils must have the shape \[2, 2\], not \[1, 2\]"):
        draw_landmarks(face, 256, EYES[:1])
    with pytest.raises(ValueError, match=r"pupils must have the shape \[1, 2, 2\], not \[2, 2\]"):
        draw_batch(face[None], 256, EYES)
    with pytest.raises(ValueError, match="pupils must be finite"):
        draw_landmarks(face, 256, EYES + np.inf)


@pytest.mark.parametrize("far", [1e6, 1e30, -1e30])
def test_a_pupil_far_outside_neither_crashes_nor_shows(face: np.ndarray, far: float) -> None:
    assert not discs(face, np.full((2, 2), far)).any()
