"""Tracks of motion: one and the same at any rate, within what people do, and varied enough to learn from."""

import numpy as np
import numpy.typing as npt
import pytest

from raytalk.clips.heads.expressions import columns, settle
from raytalk.clips.heads.motion import ACTIONS, Motion, Track, draw_motion, draw_temper
from raytalk.clips.heads.signals import soft_limit

SECONDS = 8.0
FPS = 25
FRAMES = np.arange(0.0, SECONDS, 1 / FPS)
CLIPS = 200


def track(seed: int) -> Track:
    return draw_motion(np.random.default_rng(seed), SECONDS)


def arrays(motion: Motion) -> list[npt.NDArray[np.float32]]:
    return [motion.actions, motion.head, motion.sway, motion.gaze]


@pytest.fixture(scope="module")
def many() -> dict[str, npt.NDArray[np.float32]]:
    """200 clips at 25 frames/s, each array [200, 200, ...]; angles in degrees."""
    motions = [track(seed).sample(FRAMES) for seed in range(CLIPS)]
    actions, head, sway, gaze = (np.stack(parts) for parts in zip(*map(arrays, motions), strict=True))
    return {"actions": actions, "head": np.degrees(head), "sway": sway, "gaze": np.degrees(gaze)}


def of(many: dict[str, npt.NDArray[np.float32]], *names: str) -> npt.NDArray[np.float32]:
    """[200, 200, names (and sides)]"""
    return many["actions"][..., columns(*names)]


def test_the_same_seed_moves_the_same_and_another_differently() -> None:
    first, again, other = (arrays(track(seed).sample(FRAMES)) for seed in (7, 7, 8))
    for one, same, different in zip(first, again, other, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, same)
        assert np.abs(one - different).max() > 0.01


def test_clips_of_one_person_differ() -> None:
    generator = np.random.default_rng(0)
    temper = draw_temper(generator)
    one, other = (draw_motion(generator, SECONDS, temper).sample(FRAMES).head for _ in range(2))
    assert np.degrees(np.abs(one - other).max()) > 3


def test_a_habit_shows_in_the_clips_of_its_person() -> None:
    smiles = []
    for smile in (0.0, 0.35):
        generator = np.random.default_rng(1)
        clips = []
        for _ in range(20):
            temper = draw_temper(generator)
            temper = type(temper)(**{**vars(temper), "smile": smile, "smile_asymmetry": 0.2})
            clips.append(draw_motion(generator, SECONDS, temper).sample(FRAMES).actions[:, columns("mouthSmile")])
        smiles.append(np.concatenate(clips).mean(0))
    assert (smiles[1] > smiles[0] + 0.1).all()
    assert smiles[1][0] > 1.2 * smiles[1][1]


def test_sampling_rate_does_not_change_the_motion() -> None:
    moved = track(3)
    dense = moved.sample(np.arange(0, 200) / 25)
    sparse = moved.sample(np.arange(0, 40) / 5)
    shuffled = moved.sample(np.array([4.0, 0.2, 7.96]))
    for often, seldom, few in zip(arrays(dense), arrays(sparse), arrays(shuffled), strict=True):
        np.testing.assert_allclose(often[::5], seldom, atol=1e-6)
        np.testing.assert_allclose(often[[100, 5, 199]], few, atol=1e-6)


@pytest.mark.parametrize("moment", [-0.01, SECONDS + 0.01, np.nan])
def test_moments_outside_the_clip_are_refused(moment: float) -> None:
    moved = track(0)
    assert len(moved.sample([0.0, SECONDS]).times) == 2
    with pytest.raises(ValueError, match=r"outside the clip of 8.0 s"):
        moved.sample([1.0, moment])


@pytest.mark.parametrize("seconds", [0.0, -1.0, np.nan, np.inf])
def test_a_clip_has_a_length(seconds: float) -> None:
    with pytest.raises(ValueError, match="a clip of"):
        draw_motion(np.random.default_rng(0), seconds)


@pytest.mark.parametrize("seconds", [0.04, 1.0, 60.0])
def test_short_and_long_clips(seconds: float) -> None:
    for seed in range(5):
        motion = draw_motion(np.random.default_rng(seed), seconds).sample([0.0, seconds])
        assert all(np.isfinite(values).all() for values in arrays(motion))


def test_bounds(many: dict[str, npt.NDArray[np.float32]]) -> None:
    assert len(ACTIONS) == many["actions"].shape[-1] == 52
    assert many["actions"].min() >= 0
    assert many["actions"].max() <= 1
    assert (np.abs(many["head"]).max((0, 1)) < (46, 25, 18)).all()
    assert (np.abs(many["gaze"]).max((0, 1)) < (30.01, 20.01)).all()
    assert np.abs(many["sway"]).max() < 0.08


def test_every_action_is_used_but_the_tongue(many: dict[str, npt.NDArray[np.float32]]) -> None:
    most = many["actions"].max((0, 1))
    assert {name for name, value in zip(ACTIONS, most, strict=True) if value < 0.2} == {"tongueOut"}


def test_heads_move_smoothly(many: dict[str, npt.NDArray[np.float32]]) -> None:
    speed = np.abs(np.diff(many["head"], axis=1)) * FPS
    bend = np.abs(np.diff(many["head"], 2, axis=1)) * FPS**2
    assert speed.max() < 200
    assert (np.percentile(speed, 99.9, axis=(0, 1)) < 150).all()
    assert bend.max() < 1500
    # A clamp with a corner, or steps between internal samples, would show here: the second differences do not jump.
    dense = np.degrees(np.stack([track(seed).sample(np.arange(480) / 60).head for seed in range(40)]))
    assert (np.abs(np.diff(dense, 3, axis=1)) * 60**3).max() < 25000


def test_faces_move_smoothly(many: dict[str, npt.NDArray[np.float32]]) -> None:
    change = dict(zip(ACTIONS, (np.abs(np.diff(many["actions"], axis=1)) * FPS).max((0, 1)), strict=True))
    assert max(change.values()) < 24.5, "a step from 0 to 1 within a frame would be 25"
    slow = ("brow", "cheek", "nose", "mouthFrown", "mouthSmile", "mouthShrug")
    assert max(value for name, value in change.items() if name.startswith(slow)) < 10


def test_heads_turn_as_far_as_on_video(many: dict[str, npt.NDArray[np.float32]]) -> None:
    yaw, pitch, roll = many["head"].std((0, 1))
    assert 15 < yaw < 18.5
    assert 6 < pitch < 8
    assert 4 < roll < 6
    assert np.abs(many["head"][..., 0]).max() > 40
    assert (np.abs(many["head"].mean((0, 1))) < (4, 2, 1.5)).all(), "no side is preferred"
    ranges = np.ptp(many["head"][..., 0], axis=1)
    assert 20 < np.median(ranges) < 40
    middle = np.abs(many["head"][..., 0].mean(1))
    assert (middle < 6).mean() > 0.2, "rather frontal clips"
    assert (middle > 18).mean() > 0.1, "clips that look to one side"


def test_blinks(many: dict[str, npt.NDArray[np.float32]]) -> None:
    left, right = np.moveaxis(of(many, "eyeBlink"), -1, 0)
    assert np.abs(left - right).max() < 0.3
    closed = left > 0.5
    per_minute = (closed[:, 1:] & ~closed[:, :-1]).sum(1) * 60 / SECONDS
    assert 12 < per_minute.mean() < 24
    assert left.max() > 0.99
    assert 0.03 < (left > 0.8).mean() < 0.12
    runs = [max(map(len, "".join("x" if shut else " " for shut in clip).split()), default=0) for clip in closed]
    assert 0.05 < (np.array(runs) > 0.5 * FPS).mean() < 0.35, "some clips have a long closing of the eyes"


def test_mouths_open_and_close(many: dict[str, npt.NDArray[np.float32]]) -> None:
    jaw = of(many, "jawOpen")[..., 0]
    assert (jaw < 0.05).mean() > 0.15
    assert (jaw > 0.4).mean() > 0.06
    assert (jaw > 0.8).any()
    assert 0.03 < (jaw.max(1) < 0.2).mean() < 0.3, "some clips are silent"
    spectrum = np.square(np.abs(np.fft.rfft(jaw - jaw.mean(1, keepdims=True), axis=1))).mean(0)
    hertz = np.fft.rfftfreq(jaw.shape[1], 1 / FPS)
    syllables, faster = spectrum[(hertz > 1.5) & (hertz < 6)].sum(), spectrum[hertz > 8].sum()
    assert syllables > 0.25 * spectrum.sum()
    assert faster < 0.05 * spectrum.sum()
    sealed = (of(many, "mouthClose") > 0.03)[..., 0]
    assert (sealed & (of(many, "mouthPress")[..., 0] > 0.1)).sum() > 100, "p, b and m press the lips"


def test_contradictions_are_resolved(many: dict[str, npt.NDArray[np.float32]]) -> None:
    for one, other in (
        ("jawLeft", "jawRight"),
        ("mouthLeft", "mouthRight"),
        ("eyeLookUp", "eyeLookDown"),
        ("eyeLookIn", "eyeLookOut"),
    ):
        assert of(many, one).max() > 0.02
        assert np.minimum(of(many, one), of(many, other)).max() == 0
    assert (of(many, "mouthClose") <= of(many, "jawOpen") + 1e-6).all()
    assert (of(many, "eyeWide") <= 1 - of(many, "eyeBlink") + 1e-6).all()


def test_a_face_asked_for_everything_stays_a_face() -> None:
    asked = np.full((3, len(ACTIONS)), 1.7)
    done = settle(asked, seal=np.array([0.0, 0.5, 1.0]), blink=np.array([0.0, 0.5, 1.0]))
    assert done.min() >= 0
    assert done.max() <= 1
    np.testing.assert_allclose(done[2, columns("mouthClose")], done[2, columns("jawOpen")])
    assert done[2, columns("eyeWide", "mouthLowerDown", "jawLeft", "jawRight")].max() == 0
    np.testing.assert_array_equal(done[2, columns("eyeBlink")], 1)


def test_gaze_moves_the_lids(many: dict[str, npt.NDArray[np.float32]]) -> None:
    yaw, pitch = np.moveaxis(many["gaze"], -1, 0)
    for names, angle in (
        (("eyeLookOutLeft", "eyeLookInRight"), yaw),
        (("eyeLookInLeft", "eyeLookOutRight"), -yaw),
        (("eyeLookUp",), pitch),
        (("eyeLookDown",), -pitch),
    ):
        followed = of(many, *names)
        assert (followed[angle < -1] == 0).all()
        assert followed[angle > 12].min() > 0.3
        assert np.corrcoef(followed[..., 0].ravel(), np.maximum(angle, 0).ravel())[0, 1] > 0.98


def test_eyes_rest_while_the_head_turns() -> None:
    """Between saccades the eyes turn against the head: what they look at stands still."""
    for seed in range(10):
        motion = track(seed).sample(np.arange(0, SECONDS, 1 / 60))
        still = np.abs(np.diff(motion.head[:, 0] + motion.gaze[:, 0])) < np.radians(0.1)
        assert still.mean() > 0.85


def test_the_soft_limit_has_no_corner() -> None:
    values = np.linspace(-3, 3, 6001)
    limited = soft_limit(values, 1.0)
    np.testing.assert_allclose(limited[np.abs(values) < 0.7], values[np.abs(values) < 0.7])
    assert np.abs(limited).max() <= 1
    assert (np.diff(limited) >= 0).all()
    assert np.abs(np.diff(limited, 2)).max() < 1e-5
