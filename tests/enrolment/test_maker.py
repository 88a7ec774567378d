"""An avatar from material: at once, and learned."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raytalk.avatar import Avatar
from raytalk.enrolment.maker import About, AvatarMaker, detector_name
from raytalk.enrolment.material import Material, gather
from raytalk.enrolment.settings import FinetuneSettings
from raytalk.errors import CheckpointError, SettingsError, WeightsError
from raytalk.faces.draw import draw_batch
from raytalk.learning.fewshot import FewShotLearner
from raytalk.learning.pretrained import load_pretrained
from raytalk.learning.validation import to_pictures


def maker(run: Path, **more: Any) -> AvatarMaker:
    options = {"fewshot.steps": 4, "fewshot.batch_size": 2, "fewshot.generator_rate": 1e-3} | more
    given = {"checkpoint": str(run), "output": "unused", "images": "unused"}
    return AvatarMaker(FinetuneSettings.resolve(None, given, options), load_pretrained(str(run)))


def material(clips: Path, person: int = 1, shots: int = 4) -> Material:
    def unused() -> Any:
        raise AssertionError

    return gather(str(clips), f"person{person}/video0/0", shots, 32, 20, unused)


def away(avatar: Avatar, those: Material) -> float:
    return float(np.abs(avatar.render(those.landmarks).astype(float) - those.frames).mean())


def test_the_feed_forward_avatar_comes_first_and_learning_leads_from_there(run: Path, clips: Path) -> None:
    those = material(clips)
    made = maker(run, **{"fewshot.steps": 60})
    about = About("Ada", "by mail")
    first = made.feed_forward(those, about)
    told: list[tuple[int, int]] = []
    learned = made.fine_tuned(those, about, lambda step, total, losses: told.append((step, total)))
    assert first.card.mode == "FF"
    assert learned.card.mode == "FT"
    assert first.card.id == learned.card.id == about.id
    assert learned.card.name == "Ada"
    assert learned.card.consent == "by mail"
    assert learned.card.learned["steps"] == 60
    assert learned.card.learned["images"] == 4
    assert learned.card.learned["fewshot"]["generator_rate"] == 1e-3
    assert [network["name"] for network in learned.card.learned["perceptual"]] == ["hed"]
    assert told[0] == (1, 60)
    assert told[-1] == (60, 60)
    assert 10 <= len(told) <= 12
    assert away(learned, those) < 0.8 * away(first, those)
    np.testing.assert_allclose(learned.landmarks, those.landmarks)
    assert learned.identity is not None


def test_without_steps_both_are_one(run: Path, clips: Path) -> None:
    those, made = material(clips), maker(run, **{"fewshot.steps": 0})
    first, learned = made.feed_forward(those, About("Ada")), made.fine_tuned(those, About("Ada"))
    apart = np.abs(first.render(those.landmarks).astype(int) - learned.render(those.landmarks))
    assert apart.max() <= 1


def test_the_second_person_is_as_if_they_were_the_first(run: Path, clips: Path) -> None:
    one, two = material(clips, 1), material(clips, 2, shots=2)
    both = maker(run)
    both.fine_tuned(two, About("Bob"))
    after, alone = both.fine_tuned(one, About("Ada")), maker(run).fine_tuned(one, About("Ada"))
    np.testing.assert_array_equal(after.render(one.landmarks), alone.render(one.landmarks))


def test_who_looks_on_changes_nothing(run: Path, clips: Path) -> None:
    those, steps, seen = material(clips), [], []

    def look(step: int, total: int, learner: FewShotLearner) -> None:
        steps.append((step, total))
        drawings = torch.from_numpy(draw_batch(those.landmarks, 32))
        seen.append(to_pictures(learner.render(drawings)))

    alone, watched = maker(run).fine_tuned(those, About("Ada")), maker(run)
    learned = watched.fine_tuned(those, About("Ada"), each_step=look)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    np.testing.assert_array_equal(learned.render(those.landmarks), alone.render(those.landmarks))
    # The last look is what is kept, and those before it are on the way there.
    final = learned.render(those.landmarks).astype(int)
    misses = [float(np.abs(picture - final).mean()) for picture in seen]
    assert misses[-1] < 0.6
    assert misses == sorted(misses, reverse=True)


def test_who_looks_on_can_end_it_and_the_next_person_does_not_notice(run: Path, clips: Path) -> None:
    class Enough(Exception):
        pass

    def stop(step: int, total: int, learner: FewShotLearner) -> None:
        if step == 2:
            raise Enough

    one, two = material(clips, 1), material(clips, 2)
    made = maker(run)
    with pytest.raises(Enough):
        made.fine_tuned(two, About("Bob"), each_step=stop)
    after, alone = made.fine_tuned(one, About("Ada")), maker(run).fine_tuned(one, About("Ada"))
    np.testing.assert_array_equal(after.render(one.landmarks), alone.render(one.landmarks))


def test_images_kept_aside_end_learning(run: Path, clips: Path) -> None:
    options = {"fewshot.hold_out": 1, "fewshot.check_every": 2, "fewshot.patience": 1, "fewshot.generator_rate": 0.5}
    learned = maker(run, **options, **{"fewshot.steps": 100}).fine_tuned(material(clips), About("Ada"))
    how = learned.card.learned
    assert how["kept_aside"] == [2]
    assert how["steps"] < 100
    assert how["best_step"] <= how["steps"] - 2


def test_landmarks_of_another_detector_are_refused(run: Path, clips: Path) -> None:
    other = replace(material(clips), detector="rendered")
    with pytest.raises(CheckpointError, match=r"by dlib and those of .* are by rendered: give accept_detector=true"):
        maker(run).feed_forward(other, About("Ada"))
    with pytest.raises(CheckpointError, match="accept_detector"):
        maker(run).fine_tuned(other, About("Ada"))
    assert maker(run, accept_detector=True).feed_forward(other, About("Ada")).card.detector == "rendered"


def test_a_model_of_rendered_people_takes_any_detector(run: Path, clips: Path) -> None:
    made = maker(run)
    made.pretrained = replace(made.pretrained, state=replace(made.pretrained.state, detector="rendered"))
    assert made.feed_forward(material(clips), About("Ada")).card.detector == "dlib"


def test_the_models_detector_is_taken_unless_another_is_asked_for(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import raytalk.enrolment.maker as module

    monkeypatch.setattr(module, "resolve_detector", lambda name: "face-alignment" if name != "dlib" else name)
    pretrained = load_pretrained(str(run))
    settings = maker(run).settings
    assert detector_name(settings, pretrained) == "dlib"
    other = settings.model_copy(update={"detector": "face-alignment"})
    with pytest.raises(CheckpointError, match="trained on landmarks by dlib and detector=face-alignment"):
        detector_name(other, pretrained)
    assert detector_name(other.model_copy(update={"accept_detector": True}), pretrained) == "face-alignment"
    rendered = replace(pretrained, state=replace(pretrained.state, detector="rendered"))
    assert detector_name(settings, rendered) == "face-alignment"
    assert detector_name(settings.model_copy(update={"detector": "dlib"}), rendered) == "dlib"


def test_pupils_are_drawn_only_for_a_model_that_knows_them(run: Path, clips: Path) -> None:
    plain = material(clips)
    seeing = replace(plain, pupils=plain.landmarks[:, [37, 44]])
    made = maker(run)
    without = made.feed_forward(seeing, About("Ada"))
    assert not without.card.pupils
    knowing = AvatarMaker(made.settings, replace(made.pretrained, pupils=True))
    assert not knowing.feed_forward(plain, About("Ada")).card.pupils
    with_them = knowing.feed_forward(seeing, About("Ada"))
    assert with_them.card.pupils
    assert knowing.fine_tuned(seeing, About("Ada")).card.pupils
    points = plain.landmarks
    assert (with_them.render(points, pupils=seeing.pupils) != without.render(points, pupils=seeing.pupils)).any()


def test_weights_that_are_not_here_are_said_so(run: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match="vgg19"):
        maker(run, **{"perceptual.content": "vgg19", "perceptual.weights": str(clips)}).learner()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SettingsError, match="sees no GPU"):
        maker(run, device="cuda")
