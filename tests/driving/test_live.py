"""Live driving against what is done to the same track when all of it is known."""

import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faces.test_retarget import person, played, seen

from raytalk.driving.live import AvatarFace, LiveMotion
from raytalk.driving.live_adaptation import LiveAdaptation
from raytalk.driving.motion import motion_of
from raytalk.errors import AvatarError
from raytalk.faces.crop import SIDE
from raytalk.faces.track import Track

FPS = 25
COUNT = 400
OWN = (0.4 * seen(person(2), played(2, 8, yaw=8))).astype(np.float32)
ADA = AvatarFace(OWN, 256, "dlib")
DRIVER = seen(person(1), played(1, COUNT))
CLOCK = np.arange(COUNT) / FPS


class AtOnce(Executor):
    """What is handed in is done before anything else; counts it."""

    def __init__(self) -> None:
        self.done = 0

    def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(work(*args, **kwargs))
        self.done += 1
        return future


def live(
    adapt: Any = "auto", smooth: Any = "none", faces: np.ndarray = DRIVER, clock: np.ndarray = CLOCK
) -> np.ndarray:
    motion = LiveMotion(ADA, adapt, smooth, AtOnce())
    return np.stack([motion.feed(face, float(moment)) for face, moment in zip(faces, clock, strict=True)])


def offline(adapted: bool, smooth: Any = "none") -> np.ndarray:
    avatar: Any = SimpleNamespace(card=SimpleNamespace(resolution=256, pupils=False), landmarks=OWN)
    track = Track(DRIVER.astype(np.float32), CLOCK, FPS, "dlib", 640, 480, "model")
    return motion_of(track, avatar, adapted, smooth).landmarks


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """[n] mean distance of landmarks, pixels."""
    return np.asarray(np.linalg.norm(one.astype(np.float64) - other, axis=2).mean(axis=1))


def shape(faces: np.ndarray) -> np.ndarray:
    return np.asarray(faces - faces.mean(axis=1, keepdims=True))


@pytest.mark.parametrize("adapt", ["true", "false"])
def test_it_comes_near_to_what_is_made_of_the_whole_track(adapt: str) -> None:
    """Of pictures of 256 pixels: 1.0 pixels on average, .6 after two seconds, faces themselves .05 after ten."""
    made, whole = live(adapt), offline(adapt == "true")
    assert made.shape == (COUNT, 68, 2)
    assert made.dtype == np.float32
    away = apart(made, whole)
    assert away.mean() < 1.5
    assert away[2 * FPS :].mean() < 0.8
    assert apart(shape(made), shape(whole))[10 * FPS :].mean() < 0.1


def test_adaptation_is_what_makes_it_near() -> None:
    """Otherwise the test above would not see it."""
    assert apart(shape(live("false")), shape(offline(True)))[10 * FPS :].mean() > 0.7


def test_nothing_jumps_when_the_face_is_learned_anew() -> None:
    made, whole = live("true"), offline(True)
    second = [np.linalg.norm(np.diff(faces, 2, axis=0), axis=2).mean(axis=1) for faces in (made, whole)]
    assert second[0].max() < 1.2 * second[1].max()
    # All of the difference between what was known before and after would come at once.
    assert np.abs(second[0] - second[1]).max() < 0.15


def test_a_driver_is_learned_now_and_then() -> None:
    learner = AtOnce()
    adaptation = LiveAdaptation(OWN, learner)
    moments: dict[int, float] = {}
    for index, moment in enumerate(np.arange(0, 100, 0.1)):
        adaptation.apply(DRIVER[index % COUNT], float(moment))
        moments.setdefault(learner.done, round(float(moment), 1))
    assert list(moments.values()) == [0.0, 1.0, 2.5, 6.0, 15.0, 45.0, 75.0]
    assert len(adaptation._kept) <= 24
    assert adaptation._kept[0][0] == 0
    assert adaptation._kept[-1][0] > 90


def test_a_face_that_cannot_be_learned_is_learned_another_time() -> None:
    class FailsOnce(AtOnce):
        def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = super().submit(work, *args, **kwargs)
            if self.done == 1:
                future = Future()
                future.set_exception(ValueError("no face"))
            return future

    learner = FailsOnce()
    adaptation = LiveAdaptation(OWN, learner)
    errors = 0
    for index, moment in enumerate(np.arange(0, 4, 0.1)):
        try:
            adaptation.apply(DRIVER[index % COUNT], float(moment))
        except ValueError:
            errors += 1
    assert (errors, learner.done) == (1, 2)


def test_the_square_stays_where_it_is_while_a_head_plays_in_it() -> None:
    """A face that moves a little moves in the picture, at once and by as much."""
    still = np.repeat(DRIVER[:1], 50, axis=0)
    size = float(np.ptp(still[0], axis=0).max())
    still[25:] += [0.1 * size, 0]
    made = live("false", faces=still, clock=CLOCK[:50])
    step = made[25, :, 0] - made[24, :, 0]
    np.testing.assert_allclose(step, 0.1 * 256 / SIDE, rtol=0.05)
    assert np.abs(made[24] - made[0]).max() < 1e-3


def test_a_head_that_goes_far_stays_in_the_picture() -> None:
    gone = DRIVER[:100] + np.linspace(0, 400, 100)[:, None, None] * [1, 0.5]
    made = live("false", faces=gone, clock=CLOCK[:100])
    assert made.min() > 0
    assert made.max() < 255
    # Ever nearer, too.
    grown = DRIVER[:1] * np.linspace(1, 4, 200)[:, None, None]
    made = live("false", faces=grown, clock=np.arange(200) / FPS)
    assert np.ptp(made[-1], axis=0).max() < 256 / SIDE * 1.5


def test_one_wrong_detection_is_not_shown_and_a_cut_is() -> None:
    faces = DRIVER[:40].copy()
    faces[10] += 500
    faces[20:] = faces[20:] * 0.5 + 300
    made = live("false", faces=faces, clock=CLOCK[:40])
    np.testing.assert_array_equal(made[10], made[9])
    right = live("false", clock=CLOCK[:40], faces=DRIVER[:40])
    assert apart(made[11:20], right[11:20]).max() < 1
    np.testing.assert_array_equal(made[20], made[19])
    # The first frame that is believed is cropped for itself.
    assert made[21, :, 0].min() + made[21, :, 0].max() == pytest.approx(255, abs=1)
    assert np.ptp(made[21], axis=0).max() == pytest.approx(256 / SIDE, rel=0.02)


def test_smoothing_takes_out_jitter_and_keeps_the_motion() -> None:
    noise = np.random.default_rng(0).normal(0, 0.8, (100, 68, 2))
    jitter = []
    for how in ("none", "light"):
        made = live("false", how, DRIVER[:1] + noise, CLOCK[:100])
        jitter.append(np.linalg.norm(np.diff(made, 2, axis=0), axis=2).mean())
    assert jitter[1] < 0.5 * jitter[0]
    assert apart(live("false", "light"), live("false")).mean() < 1.5


def test_odd_clocks_do_no_harm() -> None:
    clock = CLOCK[:60].copy()
    clock[20:] -= 5
    clock[30] = clock[29]
    made = live("true", "light", DRIVER[:60], clock)
    assert np.isfinite(made).all()
    assert apart(made[1:], made[:-1]).max() < 8


def test_what_is_no_face_is_refused() -> None:
    motion = LiveMotion(ADA, "false")
    with pytest.raises(ValueError, match=r"\[68, 2\], not \[68, 3\]"):
        motion.feed(np.zeros((68, 3)), 0.0)
    with pytest.raises(ValueError, match="finite"):
        motion.feed(np.full((68, 2), np.nan), 0.0)
    assert np.isfinite(LiveMotion(ADA, "true").feed(np.full((68, 2), 5.0), 0.0)).all()


def test_an_avatar_without_landmarks_is_driven_unadapted() -> None:
    nobody = AvatarFace(np.zeros((0, 68, 2), np.float32), 256, "dlib")
    assert not LiveMotion(nobody).adapted
    assert LiveMotion(ADA).adapted
    with pytest.raises(AvatarError, match="adapt=true needs"):
        LiveMotion(nobody, "true")


def test_faces_are_the_same_by_what_they_say() -> None:
    assert AvatarFace(OWN.copy(), 256, "dlib") == ADA
    assert AvatarFace(OWN + 1, 256, "dlib") != ADA
    assert AvatarFace(OWN[:3], 256, "dlib") != ADA
    assert AvatarFace(OWN, 128, "dlib") != ADA


def test_a_frame_takes_little_time() -> None:
    """1.4 ms on a core that others use too: the faster frames count, the machine may be busy."""
    motion = LiveMotion(ADA, "true", "light")
    taken = []
    for index in range(200):
        begun = time.perf_counter()
        motion.feed(DRIVER[index], index / FPS)
        taken.append(time.perf_counter() - begun)
    assert np.quantile(taken, 0.25) < 4e-3


def test_a_web_server_needs_no_torch_for_it() -> None:
    code = "import sys, raytalk.driving.live, raytalk.driving.pose; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
