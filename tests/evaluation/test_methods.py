"""What is compared, on toy people."""

from pathlib import Path

import numpy as np
import pytest
import torch
from toy import TINY_NETWORKS, RandomContent

from raytalk.evaluation.methods.copying import MeanFrame, NearestFrame
from raytalk.evaluation.methods.ours import FeedForward, FineTuned, random_start
from raytalk.evaluation.protocol import Sitting, choose, sit
from raytalk.learning.fewshot import FewShotLearner
from raytalk.learning.losses import LossSettings
from raytalk.learning.pretrained import Pretrained, load_pretrained
from raytalk.learning.settings import FewShotSettings
from raytalk.storage import Storage

CPU = torch.device("cpu")


@pytest.fixture
def sitting(long_clips: Path) -> Sitting:
    storage = Storage(str(long_clips))
    trial = choose(storage, "val", 1, 10, ["interleaved"], 0).trials[0]
    return sit(storage, trial, TINY_NETWORKS["resolution"], 6, 4, 0)


@pytest.fixture
def pretrained(run: Path) -> Pretrained:
    return load_pretrained(str(run))


def learner(pretrained: Pretrained, steps: int) -> FewShotLearner:
    few = FewShotSettings(steps=steps, batch_size=2)
    content = RandomContent()
    return FewShotLearner(few, LossSettings(), pretrained.talker, pretrained.discriminator, content, None, CPU)  # type: ignore[arg-type]


def test_nearest_frame(sitting: Sitting) -> None:
    made = NearestFrame().make(sitting, 4)[0]
    for place, index in enumerate(sitting.hold_out):
        gaps = [np.abs(sitting.landmarks[own] - sitting.landmarks[index]).mean() for own in sitting.pool[:4]]
        options = np.argsort(gaps)[:2]  # mean distance and mean absolute difference may disagree at the top
        assert any(np.array_equal(made.pictures[place], sitting.frames[sitting.pool[option]]) for option in options)
    one = NearestFrame().make(sitting, 1)[0]
    assert all(np.array_equal(picture, sitting.frames[sitting.pool[0]]) for picture in one.pictures)


def test_a_learning_frame_itself_would_be_copied(sitting: Sitting) -> None:
    wanted = Sitting(**(vars(sitting) | {"hold_out": sitting.pool[:3]}))
    assert np.array_equal(NearestFrame().make(wanted, 6)[0].pictures, wanted.truth)


def test_mean_frame(sitting: Sitting) -> None:
    made = MeanFrame().make(sitting, 2)[0]
    expected = (sitting.frames[sitting.pool[0]].astype(float) + sitting.frames[sitting.pool[1]]) / 2
    assert len(made.pictures) == 4
    assert np.abs(made.pictures - expected).max() <= 0.5


def test_feed_forward_is_fine_tuned_before_its_first_step(sitting: Sitting, pretrained: Pretrained) -> None:
    first = FeedForward("ff", pretrained, CPU, torch.float32).make(sitting, 3)[0]
    tuned = FineTuned("ft", learner(pretrained, 0), False).make(sitting, 3)[0]
    assert first.pictures.shape == (4, 32, 32, 3)
    assert np.abs(first.pictures.astype(int) - tuned.pictures).max() <= 1
    assert (first.method, first.shots, first.steps) == ("ff", 3, 0)
    other = FeedForward("ff", pretrained, CPU, torch.float32).make(sitting, 1)[0]
    assert not np.array_equal(other.pictures, first.pictures), "T matters"


def test_states_are_shown_on_the_way_and_showing_changes_nothing(sitting: Sitting, pretrained: Pretrained) -> None:
    shown = FineTuned("ft", learner(pretrained, 4), False, shown=(1, 3, 4, 9)).make(sitting, 3)
    plain = FineTuned("ft", learner(pretrained, 4), False).make(sitting, 3)
    assert [made.steps for made in shown] == [1, 3, 4]
    assert [made.steps for made in plain] == [4]
    assert np.array_equal(shown[-1].pictures, plain[-1].pictures)
    assert not np.array_equal(shown[0].pictures, shown[1].pictures)
    assert shown[0].learning_seconds < shown[1].learning_seconds < shown[2].learning_seconds


def test_one_learner_for_person_after_person(sitting: Sitting, pretrained: Pretrained) -> None:
    method = FineTuned("ft", learner(pretrained, 2), False)
    first = method.make(sitting, 3)[0]
    method.make(sitting, 1)
    assert np.array_equal(method.make(sitting, 3)[0].pictures, first.pictures)


def test_a_random_start_knows_nothing_of_the_checkpoint(pretrained: Pretrained) -> None:
    state = torch.get_rng_state()
    talker, discriminator = random_start(pretrained, 0)
    assert torch.equal(torch.get_rng_state(), state)
    again, _ = random_start(pretrained, 0)
    for key, value in talker.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])
    weight = next(name for name, value in talker.named_parameters() if value.ndim == 4)
    assert not torch.equal(talker.state_dict()[weight], pretrained.talker.state_dict()[weight])
    assert discriminator.w0.shape == pretrained.discriminator.w0.shape
