"""The score: what it is for real frames, for other frames, for another person and for rubbish."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from toy import TINY_NETWORKS, write_toy_clips

from raytalk.evaluation.protocol import Sitting
from raytalk.faces.face import Face
from raytalk.learning.meta import MetaLearner
from raytalk.learning.settings import MetatrainSettings
from raytalk.networks.perceptual import load_perceptual
from raytalk.storage import Storage
from raytalk.sweep.making import by_learner
from raytalk.sweep.objective import Judges, Scale, Yardstick, divide_people, measure_yardstick, score, seat
from raytalk.sweep.settings import ObjectiveSettings

SETTINGS = ObjectiveSettings(people=3, shots=4, targets=4, steps=2, detector="none")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    folder = str(tmp_path_factory.mktemp("clips"))
    write_toy_clips(folder, people=2, held_out=6, frames=12, size=64)
    return Storage(folder)


@pytest.fixture(scope="module")
def sittings(clips: Storage) -> list[Sitting]:
    chosen, _ = divide_people(clips, SETTINGS, seed=0)
    return seat(clips, tuple(chosen), 64, SETTINGS, seed=0)


class TrueDetector:
    """Finds the landmarks that frames were drawn from; toy faces are no faces to a real one."""

    name = "true"

    def __init__(self, sittings: list[Sitting], known: float = 1.0) -> None:
        frames = [(frame, points) for s in sittings for frame, points in zip(s.frames, s.landmarks, strict=True)]
        kept = frames[: int(known * len(frames))]
        self.known = {frame.tobytes(): points for frame, points in kept}

    def detect(self, frames: list[npt.NDArray[np.uint8]]) -> list[list[Face]]:
        found = [self.known.get(frame.tobytes()) for frame in frames]
        return [[] if points is None else [Face(np.zeros(4, np.float32), points, 1.0)] for points in found]


class Colours:
    """Tells toy people by their colours; a real network sees no faces in them."""

    name = title = "colours"

    def describe(self, pictures: npt.NDArray[np.uint8], landmarks: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        rows = []
        for picture, points in zip(pictures, landmarks, strict=True):
            x, y = points[30].astype(int)
            rows.append(np.concatenate([picture[2, 2], picture[y - 3, x + 5]]).astype(np.float32) - 140)
        return np.stack(rows)


def judging(sittings: list[Sitting], known: float = 1.0) -> Judges:
    judges = Judges(SETTINGS)
    judges.faces, judges.detector = Colours(), TrueDetector(sittings, known)  # type: ignore[assignment]
    return judges


def test_choosing_and_confirming_people_are_others_and_always_the_same(clips: Storage) -> None:
    chosen, others = divide_people(clips, SETTINGS, seed=0)
    assert len(chosen) == len(others) == 3
    assert not {trial.person for trial in chosen} & {trial.person for trial in others}
    assert divide_people(clips, SETTINGS, seed=0) == (chosen, others)
    few = SETTINGS.model_copy(update={"people": 50})
    assert [len(part) for part in divide_people(clips, few, seed=0)] == [3, 3], "half of them confirm"


def test_real_frames_score_one_and_others_one_half(sittings: list[Sitting]) -> None:
    judges = judging(sittings)
    yardstick = measure_yardstick(sittings, judges)
    assert set(yardstick.scales) == {"ssim", "likeness", "pose"}
    figures, rows = score(lambda sitting: sitting.truth, sittings, yardstick, judges)
    assert figures["score"] == pytest.approx(1.0, abs=0.01)
    assert [row["person"] for row in rows] == [sitting.trial.person for sitting in sittings]
    figures, _ = score(lambda sitting: sitting.frames[sitting.pool[:4]], sittings, yardstick, judges)
    assert figures["term_ssim"] == pytest.approx(0.5, abs=0.05)
    assert figures["term_pose"] == pytest.approx(0.5, abs=0.05)
    assert figures["term_likeness"] > 0.8, "they show the right person"
    assert Yardstick.from_json(yardstick.to_json()) == yardstick


def test_somebody_else_is_no_likeness_and_rubbish_is_worth_nothing(sittings: list[Sitting]) -> None:
    judges = judging(sittings)
    yardstick = measure_yardstick(sittings, judges)
    after = {id(s): other for s, other in zip(sittings, sittings[1:] + sittings[:1], strict=True)}
    figures, _ = score(lambda sitting: after[id(sitting)].truth, sittings, yardstick, judges)
    assert figures["term_likeness"] < 0.75
    noise = np.random.default_rng(0).integers(0, 255, sittings[0].truth.shape).astype(np.uint8)
    figures, _ = score(lambda sitting: noise, sittings, yardstick, judges)
    assert figures["not_found"] == 1.0
    assert figures["term_pose"] == 0.0
    assert 0 <= figures["score"] < 0.3
    assert np.isnan(figures["landmark_error"])


def test_a_term_that_real_frames_do_not_give_is_left_out(sittings: list[Sitting]) -> None:
    judges = judging(sittings, known=0.2)
    yardstick = measure_yardstick(sittings, judges)
    assert set(yardstick.scales) == {"ssim", "likeness"}
    without = Judges(SETTINGS.model_copy(update={"faces": "none"}))
    assert set(measure_yardstick(sittings, without).scales) == {"ssim"}


def test_a_scale_takes_what_is_not_finite_for_nothing() -> None:
    made = Scale(0.4, 0.8)(np.array([0.4, 0.8, 0.0, 2.0, np.nan, -np.inf]))
    np.testing.assert_allclose(made, [0.5, 1.0, 0.0, 1.0, 0.0, 0.0])
    errors = Scale(0.2, 0.04)(np.array([0.2, 0.04, 0.36, 1.0]))
    np.testing.assert_allclose(errors, [0.5, 1.0, 0.0, 0.0], atol=1e-12)


def test_a_run_is_scored_without_a_trace_and_the_same_twice(clips: Storage) -> None:
    chosen, _ = divide_people(clips, SETTINGS, seed=0)
    sittings = seat(clips, tuple(chosen[:2]), 32, SETTINGS, seed=0)
    run = MetatrainSettings.resolve("debug", {"networks": TINY_NETWORKS})
    torch.manual_seed(0)
    learner = MetaLearner(run, ["a", "b"], load_perceptual("hed", ""), None, torch.device("cpu"))
    modules = (learner.average, learner.talker, learner.discriminator, learner.content)
    before = [tensor.clone() for module in modules for tensor in module.state_dict().values()]
    judges = Judges(SETTINGS)
    yardstick = measure_yardstick(sittings, judges)
    torch.manual_seed(5)
    one, _ = score(by_learner(learner, SETTINGS), sittings, yardstick, judges)
    after = torch.rand(1)
    two, _ = score(by_learner(learner, SETTINGS), sittings, yardstick, judges)
    assert one == two
    assert 0 <= one["score"] <= 1
    now = [tensor for module in modules for tensor in module.state_dict().values()]
    assert all(torch.equal(earlier, later) for earlier, later in zip(before, now, strict=True))
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1)), "no random number of the run was drawn"
    longer = SETTINGS.model_copy(update={"steps": 5})
    three, _ = score(by_learner(learner, longer), sittings, yardstick, judges)
    assert three["ssim"] != one["ssim"], "few-shot learning is part of it"
