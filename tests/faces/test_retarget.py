"""Faces come from the model itself: identities and expressions of its own spread, in known poses."""

import numpy as np
import pytest

from raytalk.faces import retarget
from raytalk.faces.face_fit import Frames, Likeness, fit_frames
from raytalk.faces.face_shapes import LIDS, MIRROR, TWINS, FaceShapes, load_face_shapes
from raytalk.faces.retarget import Adaptation, adapt, learn_face

SHAPES = load_face_shapes()
TIMES = np.arange(50) / 25
LIPS = [(61, 67), (62, 66), (63, 65)]
EYES = [pair for *pairs, _ in LIDS for pair in pairs]


def person(seed: int, size: float = 0.8) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, size, len(SHAPES.identities))


def played(seed: int, count: int = len(TIMES), yaw: float = 20.0) -> Frames:
    """A head that turns to and fro and talks."""
    random = np.random.default_rng(seed)
    phases = random.uniform(0, 2 * np.pi, len(SHAPES.expressions) + 3)
    waves = np.sin(np.arange(count)[:, None] / 25 * random.uniform(3, 12, len(phases)) + phases)
    turns = np.radians([yaw, 8, 6]) * waves[:, :3]
    rotation = np.stack([about(1, y) @ about(0, p) @ about(2, r) for y, p, r in turns])
    scale = np.full(count, 90.0)
    return Frames(rotation, scale, np.array([320.0, 240.0]) + 10 * waves[:, 3:5], 0.9 * waves[:, 3:])


def about(axis: int, angle: float) -> np.ndarray:
    turned = np.eye(3)
    one, other = [place for place in range(3) if place != axis]
    turned[[one, other], [one, other]] = np.cos(angle)
    turned[one, other], turned[other, one] = -np.sin(angle), np.sin(angle)
    return turned


def seen(identity: np.ndarray, frames: Frames) -> np.ndarray:
    """[n, 68, 2] of a person of the model."""
    points = SHAPES.shape(identity) + np.tensordot(frames.expression, SHAPES.expressions, 1)
    return frames.project(SHAPES.visible(SHAPES.choice(frames.project(points)), points))


def opening(faces: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.mean([np.linalg.norm(faces[:, one] - faces[:, other], axis=1) for one, other in pairs], axis=0)


def error(faces: np.ndarray, truth: np.ndarray) -> float:
    apart = np.linalg.norm(truth[:, 45] - truth[:, 36], axis=1).mean()
    away = faces - truth
    return float(np.linalg.norm(away - away[:, 17:].mean(axis=1, keepdims=True), axis=2).mean() / apart)


@pytest.mark.parametrize("shots", [1, 8])
def test_the_result_has_the_targets_face_and_the_drivers_motion(shots: int) -> None:
    before, after = [], []
    for pair in range(6):
        driver, target, motion = person(pair), person(100 + pair), played(pair)
        track, truth = seen(driver, motion), seen(target, motion)
        made = adapt(track, 0.4 * seen(target, played(200 + pair, shots, yaw=5)) - 30, TIMES).landmarks
        assert made.dtype == np.float32
        before.append(error(track, truth))
        after.append(error(made, truth))
        assert np.corrcoef(opening(track, LIPS), opening(made, LIPS))[0, 1] > 0.98
        assert np.corrcoef(opening(track, EYES), opening(made, EYES))[0, 1] > 0.98
    assert np.mean(after) < 0.5 * np.mean(before)


def test_a_persons_own_photographs_leave_the_track_nearly_as_it_is() -> None:
    motion = played(1)
    track = seen(person(1), motion)
    assert error(adapt(track, track[::7], TIMES).landmarks, track) < 0.004


def test_shut_eyes_and_lips_stay_shut() -> None:
    track = seen(person(3), played(3))
    for upper, lower in (*EYES, *LIPS):
        track[10:20, upper] = track[10:20, lower]
    made = adapt(track, seen(person(4), played(4, 3)), TIMES).landmarks[10:20]
    apart = np.linalg.norm(made[:, 45] - made[:, 36], axis=1).mean()
    for *pairs, (first, second) in LIDS:
        across = made[:, second] - made[:, first]
        down = np.stack([-across[:, 1], across[:, 0]], axis=1) / np.linalg.norm(across, axis=1, keepdims=True)
        for upper, lower in pairs:
            assert np.abs(((made[:, lower] - made[:, upper]) * down).sum(axis=1)).max() < 1e-3 * apart
    upright = np.array([0.0, 1.0])
    for upper, lower in LIPS:
        assert np.abs((made[:, lower] - made[:, upper]) @ upright).max() < 0.015 * apart


def test_lips_of_a_target_that_never_shuts_them_are_shut_when_the_drivers_are() -> None:
    track, photographs = seen(person(3), played(3)), seen(person(4), played(4, 8))
    for upper, lower in LIPS:
        track[:, [upper, lower]] = track[:, [upper, lower]].mean(axis=1, keepdims=True)
    photographs[:, [65, 66, 67, 56, 57, 58]] += [0, 10]
    made = adapt(track, photographs, TIMES).landmarks
    gaps = np.stack([made[:, lower, 1] - made[:, upper, 1] for upper, lower in LIPS])
    assert np.abs(gaps).max() < 0.02 * np.linalg.norm(made[:, 45] - made[:, 36], axis=1).mean()


def test_eyes_open_by_the_targets_measure_when_the_drivers_are_at_their_rest() -> None:
    def with_eyes(factor: float, frames: Frames) -> np.ndarray:
        faces = seen(np.zeros(len(SHAPES.identities)), frames)
        for upper, lower in EYES:
            faces[:, upper] += (1 - factor) * (faces[:, lower] - faces[:, upper])
        return faces

    track = with_eyes(0.85, played(5))
    made = adapt(track, with_eyes(1.15, played(6, 8)), TIMES).landmarks
    grown = opening(made, EYES).mean() / opening(track, EYES).mean()
    assert 1.05 < grown < 1.45


def test_adaptation_adds_no_jitter() -> None:
    random = np.random.default_rng(0)
    track = seen(person(7), played(7)) + random.normal(0, 0.8, (len(TIMES), 68, 2))
    made = adapt(track, seen(person(8), played(8, 4)), TIMES).landmarks.astype(np.float64)
    energies = [(np.diff(faces, 2, axis=0) ** 2).sum() for faces in (track, made)]
    assert energies[1] < 1.15 * energies[0]


def test_a_few_gross_errors_hardly_change_what_is_learned() -> None:
    random = np.random.default_rng(1)
    faces = seen(person(9), played(9, 30))
    spoilt = faces.copy()
    spoilt[::10] += random.normal(0, 60, (3, 68, 2))
    clean, other = SHAPES.shape(learn_face(faces).identity), SHAPES.shape(learn_face(spoilt).identity)
    assert np.linalg.norm(clean - other, axis=1).mean() < 0.02


def test_frames_one_by_one_give_what_the_track_gives() -> None:
    track = seen(person(10), played(10, 140))
    adaptation = Adaptation(learn_face(track), learn_face(seen(person(11), played(11, 2))))
    whole = adaptation.apply(track).landmarks
    single = np.concatenate([adaptation.apply(track[index : index + 1]).landmarks for index in (0, 70, 139)])
    np.testing.assert_allclose(single, whole[[0, 70, 139]], atol=1e-3)


def test_a_long_track_is_adapted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    track = seen(person(10), played(10, 100))
    track[45] = 7.0
    pupils = track[:, [36, 42]] + 2.0
    adaptation = Adaptation(learn_face(track), learn_face(seen(person(11), played(11, 2))))
    whole = adaptation.apply(track, pupils)
    most = 0

    def watched(shapes: FaceShapes, likeness: Likeness, faces: np.ndarray) -> Frames:
        nonlocal most
        most = max(most, len(faces))
        return fit_frames(shapes, likeness, faces)

    monkeypatch.setattr(retarget, "fit_frames", watched)
    monkeypatch.setattr(retarget, "_TOGETHER", 32)
    pieces = adaptation.apply(track, pupils)
    assert most == 32
    np.testing.assert_allclose(pieces.landmarks, whole.landmarks, atol=1e-3)
    assert pieces.pupils is not None
    np.testing.assert_allclose(pieces.pupils, whole.pupils, atol=1e-3)


def test_the_result_moves_turns_and_grows_with_the_track() -> None:
    track, target = seen(person(12), played(12)), seen(person(13), played(13, 3))
    made = adapt(track, target, TIMES).landmarks
    turn = 1.7 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    moved = adapt(track @ turn.T + [500, -80], target, TIMES).landmarks
    np.testing.assert_allclose(moved, made @ turn.T + [500, -80], atol=0.2)


def test_pupils_keep_their_place_between_the_corners() -> None:
    track = seen(person(14), played(14))
    pupils = np.stack([0.7 * track[:, 36] + 0.3 * track[:, 39], track[:, [42, 45]].mean(axis=1)], axis=1)
    pupils[3, 1] = np.nan
    made = adapt(track, seen(person(15), played(15, 2)), TIMES, pupils)
    assert made.pupils is not None
    assert np.isnan(made.pupils[3, 1]).all()
    assert np.isnan(made.pupils).sum() == 2
    wanted = 0.7 * made.landmarks[:, 36] + 0.3 * made.landmarks[:, 39]
    np.testing.assert_allclose(made.pupils[:, 0], wanted, atol=1e-2)


@pytest.mark.parametrize("spoil", ["one place", "a line", "noise", "tiny", "upside down", "profile"])
def test_what_is_no_proper_face_does_not_blow_up(spoil: str) -> None:
    random = np.random.default_rng(2)
    track = seen(person(16), played(16))
    bad = {
        "one place": np.full((68, 2), 55.0),
        "a line": np.linspace([0, 0], [300, 200], 68),
        "noise": random.uniform(0, 400, (68, 2)),
        "tiny": 1e-2 * track[20],
        "upside down": -track[20],
        "profile": seen(person(16), played(16, 1)).mean(axis=0) * [0.1, 1],
    }[spoil]
    track[20] = bad
    made = adapt(track, seen(person(17), played(17, 2)), TIMES).landmarks
    assert np.isfinite(made).all()
    assert np.linalg.norm(made[20] - bad, axis=1).max() < 0.5 * np.ptp(bad, axis=0).max() + 1e-3
    if spoil == "one place":
        np.testing.assert_array_equal(made[20], bad)
    else:
        assert np.isfinite(adapt(track[:20], bad[None]).landmarks).all()


def test_wrong_input_is_refused() -> None:
    track = seen(person(18), played(18, 5))
    for driver, target in ((track[:, :67], track), (track, track[0]), (track, track[:0])):
        with pytest.raises(ValueError, match="shape"):
            adapt(driver, target)
    broken = track.copy()
    broken[2, 3, 1] = np.nan
    for driver, target in ((broken, track), (track, broken)):
        with pytest.raises(ValueError, match="finite"):
            adapt(driver, target)
    with pytest.raises(ValueError, match="no face"):
        adapt(track, np.ones((2, 68, 2)))
    with pytest.raises(ValueError, match="ascending times"):
        adapt(track, track, times=np.arange(5)[::-1])
    with pytest.raises(ValueError, match="pupils"):
        adapt(track, track, pupils=np.zeros((4, 2, 2)))


def test_an_empty_track_stays_empty() -> None:
    made = adapt(np.zeros((0, 68, 2)), seen(person(19), played(19, 1)), pupils=np.zeros((0, 2, 2)))
    assert made.landmarks.shape == (0, 68, 2)
    assert made.pupils is not None
    assert made.pupils.shape == (0, 2, 2)


def test_the_model_is_the_same_in_a_mirror() -> None:
    mirrored = (SHAPES.mean[:51] * MIRROR)[np.array(TWINS[17:]) - 17]
    np.testing.assert_allclose(mirrored, SHAPES.mean[:51], atol=1e-3)
    apart = np.linalg.norm(SHAPES.mean[45 - 17] - SHAPES.mean[36 - 17])
    assert apart == pytest.approx(1, abs=0.02)


def test_the_far_side_of_a_turned_face_shows_its_silhouette() -> None:
    """The same skin would wander into the face."""
    rest = SHAPES.mean[None]
    still = Frames(about(1, 0.0)[None], np.ones(1), np.zeros((1, 2)), np.zeros((1, len(SHAPES.expressions))))
    share = SHAPES.choice(still.project(rest))
    for angle in (0.6, -0.6):
        turned = Frames(about(1, angle)[None], still.scale, still.shift, still.expression)
        fixed = turned.project(SHAPES.visible(share, rest))[0]
        chosen = turned.project(SHAPES.visible(SHAPES.choice(turned.project(rest)), rest))[0]
        assert (chosen[:4, 0] <= fixed[:4, 0] + 1e-6).all()
        assert (chosen[13:17, 0] >= fixed[13:17, 0] - 1e-6).all()
        assert max((fixed[:8, 0] - chosen[:8, 0]).max(), (chosen[9:17, 0] - fixed[9:17, 0]).max()) > 0.03
