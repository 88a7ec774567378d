import cv2
import numpy as np
import pytest

from raytalk.faces.crop import RAISE, SIDE, crop_frame, crop_frames, steady_squares, to_crop


def face_at(x: float, y: float, size: float = 100.0) -> np.ndarray:
    """68 points whose bounding box is `size` square around x, y."""
    angle = np.linspace(0, 2 * np.pi, 69)[:68]
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ring /= np.ptp(ring, axis=0) / 2
    return np.array([x, y]) + ring * size / 2


def clip(xs: np.ndarray, ys: np.ndarray | float = 300.0, sizes: np.ndarray | float = 100.0) -> np.ndarray:
    values = np.broadcast_arrays(xs, ys, sizes)
    return np.stack([face_at(*place) for place in zip(*values, strict=True)])


TIMES = np.arange(75) / 25


def test_a_face_with_trembling_landmarks_gets_one_square() -> None:
    random = np.random.default_rng(0)
    landmarks = clip(400 + random.normal(0, 2, 75), 300 + random.normal(0, 2, 75), 100 + random.normal(0, 2, 75))
    squares = steady_squares(landmarks, TIMES)
    assert np.ptp(squares, axis=0).max() == 0
    assert squares[0] == pytest.approx([400, 300 - RAISE * 100, SIDE * 100], abs=12)


def test_a_nodding_head_that_stays_inside_gets_one_square() -> None:
    squares = steady_squares(clip(400 + 25 * np.sin(4 * TIMES), 300 + 15 * np.sin(9 * TIMES)), TIMES)
    assert np.ptp(squares, axis=0).max() == 0


def test_a_head_that_walks_away_is_followed_smoothly_and_stays_inside() -> None:
    random = np.random.default_rng(1)
    walk = 200 + 150 * TIMES
    squares = steady_squares(clip(walk + random.normal(0, 1.5, 75)), TIMES)
    assert np.ptp(squares[:, 2]) == 0
    assert np.abs(squares[:, 0] - walk).max() < 30
    steps = np.diff(squares[:, 0])
    assert steps == pytest.approx(np.full(74, 6.0), abs=0.8)
    assert np.abs(np.diff(steps)).max() < 0.3


def test_a_quick_turn_keeps_the_head_inside() -> None:
    path = 400 + 120 * np.tanh((TIMES - 1.5) * 8)
    squares = steady_squares(clip(path), TIMES)
    assert (np.abs(squares[:, 0] - path) < 40).mean() > 0.97


def test_a_scene_cut_is_not_smoothed_over() -> None:
    xs = np.where(np.arange(75) < 40, 200.0, 600.0)
    sizes = np.where(np.arange(75) < 40, 100.0, 180.0)
    squares = steady_squares(clip(xs, sizes=sizes), TIMES)
    assert squares[:40, 0] == pytest.approx(np.full(40, 200.0))
    assert squares[40:, 0] == pytest.approx(np.full(35, 600.0))
    assert squares[[0, -1], 2] == pytest.approx([SIDE * 100, SIDE * 180])


def test_one_wrong_detection_does_not_tear_the_clip_apart() -> None:
    xs = np.full(75, 400.0)
    xs[30] = 520
    squares = steady_squares(clip(xs), TIMES)
    near = np.delete(squares[:, 0], 30)
    assert np.ptp(near) < 15
    assert np.ptp(squares[:, 2]) == 0


def test_frames_far_apart_are_not_averaged() -> None:
    times = np.arange(8) * 20.0
    xs = np.array([200, 320, 180, 420, 260, 500, 300, 150.0])
    squares = steady_squares(clip(xs), times)
    assert squares[:, 0] == pytest.approx(xs, abs=1)


def test_frames_far_apart_of_a_quiet_head_share_one_square() -> None:
    squares = steady_squares(clip(np.array([400, 405, 398, 402.0])), np.arange(4) * 20.0)
    assert np.ptp(squares, axis=0).max() == 0


def test_photographs_are_cropped_each_for_itself() -> None:
    landmarks = clip(np.array([100.0, 110.0]), sizes=np.array([80.0, 60.0]))
    together = steady_squares(landmarks)
    assert np.array_equal(together, np.concatenate([steady_squares(each[None]) for each in landmarks]))


def test_a_photograph_shows_hair_and_chin() -> None:
    photo = np.zeros((600, 800, 3), np.uint8)
    crops, landmarks = crop_frames([photo], face_at(400, 300)[None], 256)
    assert crops.shape == (1, 256, 256, 3)
    assert landmarks.dtype == np.float32
    low, high = landmarks[0].min(axis=0), landmarks[0].max(axis=0)
    face = 256 / SIDE
    assert low[1] > 0.6 * face
    assert 256 - high[1] > 0.3 * face
    assert low[0] == pytest.approx(255 - high[0], abs=1.5)


@pytest.mark.parametrize("size", [64, 128, 256, 512])
@pytest.mark.parametrize("place", [(400, 300), (401.37, 300.71), (30, 20), (790, 590)])
def test_landmarks_stay_on_what_they_mark(size: int, place: tuple[float, float]) -> None:
    """A bright blob under each of four landmarks lies under them in the crop too, at any scale."""
    face = face_at(*place)
    frame = np.zeros((600, 800, 3), np.float32)
    marked = [index for index in (0, 17, 34, 51) if 8 < face[index, 0] < 791 and 8 < face[index, 1] < 591]
    assert marked
    rows, columns = np.mgrid[:600, :800]
    for index in marked:
        x, y = face[index]
        frame += (255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18))[..., None]
    crops, landmarks = crop_frames([frame.clip(0, 255).astype(np.uint8)], face[None], size)
    picture = crops[0, ..., 0].astype(float)
    reach = max(2, round(7 * size / (SIDE * 100)))
    for index in marked:
        x, y = landmarks[0, index]
        left, top = round(float(x)) - reach, round(float(y)) - reach
        window = picture[max(top, 0) : top + 2 * reach + 1, max(left, 0) : left + 2 * reach + 1]
        ys, xs = np.mgrid[: window.shape[0], : window.shape[1]]
        centre = np.array([(window * xs).sum(), (window * ys).sum()]) / window.sum() + [max(left, 0), max(top, 0)]
        assert centre == pytest.approx([x, y], abs=0.3)


@pytest.mark.parametrize("size", [64, 300])
def test_edge_pixels_are_repeated_outside_the_picture(size: int) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (120, 100, 3), dtype=np.uint8)
    frame[:, 0] = (200, 100, 50)
    frame[-1] = (10, 20, 30)
    crop, forward = crop_frame(frame, np.array([0.0, 60.0, 200.0]), size)
    middle = to_crop(np.array([[-60.0, 60.0], [50.0, 150.0]]), forward)
    for (x, y), colour in zip(middle, [(200, 100, 50), (10, 20, 30)], strict=True):
        assert crop[round(float(y)), round(float(x))] == pytest.approx(colour, abs=1)


def test_a_face_wholly_outside_gives_the_edge_not_a_crash() -> None:
    frame = np.full((50, 60, 3), 77, np.uint8)
    for place in [(-500.0, -500.0), (900.0, 20.0), (30.0, 900.0)]:
        for side in (40.0, 200.0):
            crop, _ = crop_frame(frame, np.array([*place, side]), 100)
            assert (crop == 77).all()


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    frame = (np.indices((800, 800)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    crop, _ = crop_frame(frame, np.array([400.0, 400.0, 640.0]), 64)
    assert np.ptp(crop) <= 2
    assert crop.mean() == pytest.approx(127.5, abs=2)


def test_a_still_background_stays_still_while_the_landmarks_tremble() -> None:
    random = np.random.default_rng(2)
    frame = cv2.GaussianBlur(random.integers(0, 255, (600, 800, 3), dtype=np.uint8), (0, 0), 3)
    crops, _ = crop_frames([frame] * 30, clip(400 + random.normal(0, 3, 30)), 128, np.arange(30) / 25)
    assert (crops == crops[0]).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        steady_squares(np.full((2, 68, 2), np.nan))
    with pytest.raises(ValueError, match="68"):
        steady_squares(np.zeros((2, 5, 2)))
    with pytest.raises(ValueError, match="times"):
        steady_squares(clip(np.zeros(3)), [0.0, 1.0])
    with pytest.raises(ValueError, match="2 frames"):
        crop_frames([np.zeros((9, 9, 3), np.uint8)] * 2, clip(np.zeros(3)), 64)
    assert crop_frames([], np.zeros((0, 68, 2)), 64)[0].shape == (0, 64, 64, 3)
