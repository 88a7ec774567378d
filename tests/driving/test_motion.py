"""From a driver's landmarks to what an avatar is rendered from."""

from pathlib import Path

import numpy as np
import pytest
from toy import face_landmarks

from raytalk.avatar import Avatar
from raytalk.driving.motion import motion_of, needs_adaptation
from raytalk.errors import AvatarError
from raytalk.faces.crop import SIDE, crop_frames
from raytalk.faces.track import Track

from .conftest import IDENTITY


def track(times: np.ndarray, fps: float = 25, identity: np.ndarray | None = None) -> Track:
    """A head that moves by 10 pixels a second, in frames of 200 pixels."""
    landmarks = np.stack([face_landmarks(100) + np.float32([30 + 10 * time, 40]) for time in times])
    return Track(landmarks, np.asarray(times, float), fps, "dlib", 200, 200, "toy", identity=identity)


@pytest.fixture(scope="module")
def ada(avatars: Path) -> Avatar:
    return Avatar.load(str(avatars / "ada"))


def test_landmarks_are_cropped_as_learning_images_are(ada: Avatar) -> None:
    driver = track(np.arange(10) / 25)
    motion = motion_of(driver, ada)
    assert motion.landmarks.shape == (10, 68, 2)
    assert motion.landmarks.dtype == np.float32
    assert motion.pupils is None
    pictures = [np.zeros((200, 200, 3), np.uint8)] * 10
    _, points = crop_frames(pictures, driver.landmarks, 32, driver.times)
    # Pictures are cut at whole pixels of the driver, of which there are some five in one here.
    assert np.abs(motion.landmarks - points).max() < 0.5 * 32 / motion.squares[0, 2] + 0.05
    assert np.ptp(motion.landmarks[0], axis=0).max() == pytest.approx(32 / SIDE, abs=0.2)


def test_every_frame_of_an_even_driver_is_shown_once(ada: Avatar) -> None:
    shaken = np.arange(50) / 30 + np.random.default_rng(0).uniform(-0.002, 0.002, 50)  # stamps in whole milliseconds
    shaken[0] = 0
    motion = motion_of(track(shaken, 30), ada)
    np.testing.assert_array_equal(motion.shown, np.arange(50))
    assert motion.fps == 30


def test_uneven_frames_come_at_even_times(ada: Avatar) -> None:
    """As phones film; otherwise the sound would run away from the picture."""
    times = np.array([0, 0.04, 0.08, 0.5, 0.54, 1.0, 1.04, 1.5, 1.96, 2.0])
    motion = motion_of(track(times, 5), ada)
    assert len(motion) == round(2.2 * 5)
    np.testing.assert_array_equal(motion.shown, [0, 2, 3, 4, 5, 5, 6, 7, 7, 8, 9])
    # In the driver's frames, the head is where it was at that time.
    scale = motion.squares[:, 2] / 32
    where = motion.squares[:, 0] + (motion.landmarks[:, 30, 0] + 0.5) * scale - motion.squares[:, 2] / 2
    moments = np.minimum(np.arange(11) / 5, 2.0)
    np.testing.assert_allclose(np.diff(where), np.diff(10 * moments), atol=0.05)


def test_another_rate(ada: Avatar) -> None:
    motion = motion_of(track(np.arange(10) / 10, 10), ada, fps=25)
    assert len(motion) == 25
    assert motion.shown.min() == 0
    assert motion.shown.max() == 9
    assert (np.diff(motion.shown) >= 0).all()
    assert motion_of(track(np.zeros(1)), ada).landmarks.shape == (1, 68, 2)


def test_adapted_landmarks_have_the_avatars_face(ada: Avatar) -> None:
    """The avatar's face is narrower than the driver's."""

    def narrowness(landmarks: np.ndarray) -> float:
        return float((np.ptp(landmarks[..., 0], axis=1) / np.ptp(landmarks[..., 1], axis=1)).mean())

    driver = track(np.arange(10) / 25)
    plain, adapted = (narrowness(motion_of(driver, ada, adapted=on).landmarks) for on in (False, True))
    own = narrowness(ada.landmarks)
    assert own < plain - 0.08
    assert abs(adapted - own) < 0.6 * abs(plain - own)


def test_whether_to_adapt(avatars: Path) -> None:
    ada, known, bare = (Avatar.load(str(avatars / name)) for name in ("ada", "known", "bare"))
    times = np.arange(3) / 25
    someone, stranger = track(times, identity=IDENTITY + 0.01), track(times, identity=IDENTITY + 0.1)
    assert needs_adaptation("auto", someone, known) == (
        False, "off, because driver and avatar are one person (distance 0.11 < 0.4)",
    )  # fmt: skip
    assert needs_adaptation("auto", stranger, known) == (
        True, "on, because the driver is somebody else (distance 1.13 >= 0.4)",
    )  # fmt: skip
    assert needs_adaptation("auto", someone, ada)[1].startswith("on, because the avatar's face has no descriptor")
    assert needs_adaptation("auto", track(times), known)[1].startswith("on, because the driver's face has no descr")
    assert needs_adaptation("true", someone, known) == (True, "on, as asked")
    assert needs_adaptation("false", stranger, known) == (False, "off, as asked")
    assert needs_adaptation("auto", stranger, bare)[0] is False
    with pytest.raises(AvatarError, match="keeps no landmarks"):
        needs_adaptation("true", stranger, bare)
