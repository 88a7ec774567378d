"""The one-euro filter on landmarks."""

import numpy as np
import pytest
from toy import face_landmarks

from raytalk.faces.smooth import one_euro

TIMES = np.arange(100) / 25
FACE = face_landmarks(200)


def jitter(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (100, 68, 2))


def roughness(landmarks: np.ndarray) -> float:
    """High frequencies: the mean size of the second difference."""
    return float(np.abs(np.diff(landmarks, 2, axis=0)).mean())


def test_a_face_that_holds_still_is_smoothed() -> None:
    shaky = FACE + jitter()
    smooth = one_euro(shaky, TIMES, cutoff=1, speed_gain=4)
    assert smooth.shape == (100, 68, 2)
    assert smooth.dtype == np.float32
    assert roughness(smooth) < 0.35 * roughness(shaky)
    assert np.abs(smooth[20:] - FACE).mean() < 0.6 * np.abs(shaky[20:] - FACE).mean()


def test_fast_motion_is_kept_more_than_slow() -> None:
    """A blink of 0.2 s must still close the eye."""
    shut = np.exp(-(((TIMES - 2) / 0.08) ** 2))
    eyes = np.tile(FACE.astype(float), (100, 1, 1))
    middle = eyes[:, 36:48, 1].mean()
    eyes[:, 36:48, 1] += (middle - eyes[:, 36:48, 1]) * shut[:, None]

    def closure(landmarks: np.ndarray) -> float:
        opening = np.ptp(landmarks[:, 36:42, 1], axis=1)
        return float(1 - opening.min() / opening[:20].mean())

    assert closure(eyes) == pytest.approx(1, abs=0.01)
    steady = closure(one_euro(eyes, TIMES, cutoff=1.5, speed_gain=0, both_ways=True))
    adaptive = closure(one_euro(eyes, TIMES, cutoff=1.5, speed_gain=40, both_ways=True))
    assert adaptive > steady + 0.1
    assert adaptive > 0.7


def test_both_ways_does_not_lag() -> None:
    path = np.sin(2 * np.pi * 0.5 * TIMES)[:, None, None] * 20
    moving = FACE + np.concatenate([path, np.zeros_like(path)], axis=2)

    def lag(landmarks: np.ndarray) -> int:
        seen = landmarks[25:75, 30, 0] - landmarks[25:75, 30, 0].mean()
        return int(np.argmax([np.corrcoef(seen, moving[25 - s : 75 - s, 30, 0])[0, 1] for s in range(10)]))

    assert lag(one_euro(moving, TIMES, speed_gain=0.5)) >= 1
    assert lag(one_euro(moving, TIMES, speed_gain=0.5, both_ways=True)) == 0


def test_time_counts_and_not_the_number_of_frames() -> None:
    """At twice the frame rate the same noise per second is smoothed alike: the weight of a frame is halved."""
    step = np.concatenate([np.tile(FACE, (1, 1, 1)), np.tile(FACE + 5, (60, 1, 1))])
    slow = one_euro(step, np.arange(61) / 25, speed_gain=0)
    fast = one_euro(step, np.arange(61) / 50, speed_gain=0)
    # Half of the way is done after the same time.
    done = [np.searchsorted(path[:, 30, 0] - FACE[30, 0], 2.5) * s for path, s in ((slow, 1 / 25), (fast, 1 / 50))]
    assert done[0] == pytest.approx(done[1], abs=0.045)
    assert 0 < done[0] < 0.3


def test_nothing_is_carried_over_a_scene_cut() -> None:
    moved = FACE + np.where(TIMES < 2, 0, 400)[:, None, None]
    np.testing.assert_allclose(one_euro(moved, TIMES, both_ways=True), moved, atol=0.01)


def test_size_does_not_matter() -> None:
    shaky = FACE + jitter()
    np.testing.assert_allclose(one_euro(shaky * 3, TIMES), one_euro(shaky, TIMES) * 3, rtol=1e-4)


def test_few_frames() -> None:
    assert one_euro(np.empty((0, 68, 2)), np.empty(0)).shape == (0, 68, 2)
    np.testing.assert_array_equal(one_euro(FACE[None], np.zeros(1)), FACE[None])


@pytest.mark.parametrize(
    ("landmarks", "times", "options"),
    [
        (np.zeros((3, 68)), np.arange(3.0), {}),
        (np.full((3, 68, 2), np.nan), np.arange(3.0), {}),
        (np.zeros((3, 68, 2)), np.arange(2.0), {}),
        (np.zeros((3, 68, 2)), np.zeros(3), {}),
        (np.zeros((3, 68, 2)), np.arange(3.0), {"cutoff": 0}),
    ],
)
def test_what_cannot_be_filtered_is_refused(landmarks: np.ndarray, times: np.ndarray, options: dict) -> None:
    with pytest.raises(ValueError, match=r"landmarks must|ascending|cutoff"):
        one_euro(landmarks, times, **options)
