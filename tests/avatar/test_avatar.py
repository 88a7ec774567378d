"""Avatars: feed-forward and fine-tuned, kept and loaded, driven by landmarks."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import TINY_NETWORKS, RandomContent, face_landmarks, toy_frame

from raytalk.avatar import Avatar, AvatarCard, folder
from raytalk.errors import AvatarError, CheckpointError
from raytalk.faces.draw import draw_landmarks
from raytalk.learning.checkpoint import Snapshot, State
from raytalk.learning.checkpoint_writer import CheckpointWriter
from raytalk.learning.fewshot import FewShotLearner, embed
from raytalk.learning.learning_images import LearningImages
from raytalk.learning.meta import MetaLearner, to_unit
from raytalk.learning.pretrained import Pretrained, load_pretrained
from raytalk.learning.settings import FewShotSettings, MetatrainSettings
from raytalk.storage import Storage

CPU = torch.device("cpu")
IDENTITY = np.linspace(-1, 1, 128, dtype=np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one checkpoint of tiny networks."""
    folder = tmp_path_factory.mktemp("run")
    settings = MetatrainSettings.resolve("debug", {"networks": TINY_NETWORKS})
    content: Any = RandomContent()
    made = MetaLearner(settings, ["a", "b"], content, None, CPU)
    for parameter in made.average.parameters():  # not what a fresh network of this seed would have
        parameter.add_(torch.randn_like(parameter) * 0.02)
    writer = CheckpointWriter(Storage(str(folder)), keep=1)
    writer.save(Snapshot.take(made, State(8, 1.0, 1, 0, "dlib", [])))
    writer.close()
    return folder


def points(count: int = 5, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.stack([face_landmarks(32, tuple(random.uniform(-0.1, 0.1, 2)), random.uniform()) for _ in range(count)])


def images(count: int = 3) -> LearningImages:
    faces = points(count, 1)
    frames = np.stack([toy_frame(2, face, 32) for face in faces])
    return LearningImages(torch.from_numpy(frames), torch.from_numpy(np.stack([draw_landmarks(f, 32) for f in faces])))


def card(pretrained: Pretrained, mode: Any) -> AvatarCard:
    networks = pretrained.networks.model_dump()
    episodes = pretrained.state.episodes
    return AvatarCard(
        "Ada", pretrained.state.detector, networks, pretrained.uri, mode, consent="given", episodes=episodes
    )


def weights_of(place: str | Path) -> Path:
    [file] = Path(place).glob("weights-*.safetensors")
    return file


def feed_forward(run: Path) -> Avatar:
    pretrained = load_pretrained(str(run))
    embedding = embed(pretrained.talker, images())
    return Avatar.feed_forward(card(pretrained, "FF"), pretrained, embedding, points(3, 1), IDENTITY)


def fine_tuned(run: Path, steps: int) -> tuple[Avatar, FewShotLearner]:
    pretrained = load_pretrained(str(run))
    content: Any = RandomContent()
    learner = FewShotLearner(
        FewShotSettings(steps=steps, generator_rate=1e-3), pretrained.losses, pretrained.talker,
        pretrained.discriminator, content, None, CPU,
    )  # fmt: skip
    learner.begin(images())
    learner.learn()
    return Avatar.fine_tuned(card(pretrained, "FT"), learner, points(3, 1), IDENTITY), learner


def plain(avatar: Avatar, landmarks: np.ndarray) -> np.ndarray:
    """By the generator as it is, nothing folded, not rounded to whole numbers."""
    drawings = torch.from_numpy(np.stack([draw_landmarks(face, 32) for face in landmarks]))
    with torch.no_grad():
        output = avatar.body.generator.render(to_unit(drawings), avatar.coefficients.expand(len(drawings), -1))
    return ((output + 1) * 127.5).movedim(1, -1).numpy()


def test_the_model_of_a_run_is_its_average(run: Path) -> None:
    pretrained = load_pretrained(str(run))
    from safetensors.torch import load_file

    kept = load_file(run / "checkpoints" / "episodes-000000008" / "ema.safetensors")
    for key, value in pretrained.talker.state_dict().items():
        torch.testing.assert_close(value, kept[key], atol=0, rtol=0)
    assert pretrained.networks.resolution == 32
    assert pretrained.state.detector == "dlib"
    assert not pretrained.talker.training


def test_frames_are_what_the_generator_draws(run: Path) -> None:
    avatar = feed_forward(run)
    frames = avatar.render(points(5), batch_size=2)
    assert frames.shape == (5, 32, 32, 3)
    assert frames.dtype == np.uint8
    assert np.abs(frames - plain(avatar, points(5))).max() < 0.51  # rounding to whole numbers
    assert frames.std() > 1
    assert avatar.render(np.empty((0, 68, 2))).shape == (0, 32, 32, 3)


@pytest.mark.parametrize("mode", ["FF", "FT"])
def test_an_avatar_kept_and_loaded_renders_the_same(mode: str, run: Path, tmp_path: Path) -> None:
    avatar = feed_forward(run) if mode == "FF" else fine_tuned(run, 3)[0]
    place = str(tmp_path / "people" / "ada")
    avatar.save(place)
    loaded = Avatar.load(place)
    assert loaded.card == avatar.card
    difference = np.abs(loaded.render(points()).astype(int) - avatar.render(points()))
    assert difference.max() <= (0 if mode == "FF" else 2)  # half precision
    np.testing.assert_array_equal(loaded.landmarks, points(3, 1).astype(np.float32))
    np.testing.assert_array_equal(loaded.identity, IDENTITY)
    assert {file.name for file in Path(place).iterdir()} == {"avatar.json", weights_of(place).name}
    assert [entry.name for entry in (tmp_path / "people").iterdir()] == ["ada"]
    if mode == "FF":
        assert weights_of(place).stat().st_size < 4000
    (Path(place) / "notes.txt").write_text("mine")
    avatar.save(place)
    assert {file.name for file in Path(place).iterdir()} == {"avatar.json", "notes.txt", weights_of(place).name}


def test_before_the_first_step_fine_tuned_is_feed_forward(run: Path) -> None:
    np.testing.assert_array_equal(fine_tuned(run, 0)[0].render(points()), feed_forward(run).render(points()))


def test_a_fine_tuned_avatar_shows_what_was_learned(run: Path) -> None:
    avatar, learner = fine_tuned(run, 40)
    truth = images().frames.numpy().astype(float)
    errors = [np.abs(a.render(points(3, 1)) - truth).mean() for a in (feed_forward(run), avatar)]
    assert errors[1] < 0.8 * errors[0]
    before = avatar.render(points())
    learner.step(torch.arange(3))
    np.testing.assert_array_equal(avatar.render(points()), before)  # the learner's next steps are not the avatar's


def test_bfloat16_stays_within_some_grey_levels(run: Path) -> None:
    avatar = feed_forward(run)
    exact = avatar.render(points()).astype(float)
    rounded = avatar.to("cpu", torch.bfloat16).render(points()).astype(float)
    assert np.abs(rounded - exact).mean() < 3
    assert np.abs(rounded - exact).max() > 0


@pytest.mark.parametrize("landmarks", [np.zeros((1, 67, 2)), np.zeros((68, 2)), np.full((1, 68, 2), np.nan)])
def test_landmarks_of_another_shape_are_refused(landmarks: np.ndarray, run: Path) -> None:
    with pytest.raises(ValueError, match="landmarks must"):
        feed_forward(run).render(landmarks)


def test_no_avatar_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match=r"is no avatar: avatar\.json is missing"):
        Avatar.load(str(tmp_path))


def test_damage_is_said_so(run: Path, tmp_path: Path) -> None:
    fine_tuned(run, 0)[0].save(str(tmp_path / "a"))
    weights, text = weights_of(tmp_path / "a"), (tmp_path / "a" / "avatar.json").read_text()
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AvatarError, match=r"weights-.*\.safetensors cannot be read.*make the avatar again"):
        Avatar.load(str(tmp_path / "a"))
    weights.unlink()
    with pytest.raises(AvatarError, match="make the avatar again"):
        Avatar.load(str(tmp_path / "a"))
    weights.write_bytes(whole)
    for spoilt, said in (
        (text[: len(text) // 2], "cannot be read"),
        (json.dumps(json.loads(text) | {"format": 99}), "has format 99; this version reads format 2"),
        (json.dumps(json.loads(text) | {"mode": "XX"}), "mode is 'XX'"),
        (json.dumps(json.loads(text) | {"weights": "../../secret"}), "cannot be read: weights is"),
        (json.dumps(json.loads(text) | {"networks": {"resolution": 33}}), "cannot be read"),
        (json.dumps(json.loads(text) | {"networks": TINY_NETWORKS | {"min_channels": 16}}), "does not fit"),
    ):
        (tmp_path / "a" / "avatar.json").write_text(spoilt)
        with pytest.raises(AvatarError, match=said):
            Avatar.load(str(tmp_path / "a"))


@pytest.mark.s3
def test_nothing_of_a_person_is_laid_down_by_who_loads_them(
    run: Path, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    avatar = fine_tuned(run, 0)[0]
    avatar.save(f"{s3_server}/a")
    # A process that is killed cannot clear away what it has put there.
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **options: pytest.fail("a temporary folder is made"))
    loaded = Avatar.load(f"{s3_server}/a").render(points()).astype(int)
    assert np.abs(loaded - avatar.render(points())).max() <= 2, "half precision"
    place = Storage(f"{s3_server}/a")
    place.delete(next(entry.path for entry in place.entries() if entry.path.endswith(".safetensors")))
    with pytest.raises(AvatarError, match="is not there: make the avatar again"):
        Avatar.load(f"{s3_server}/a")


def test_a_feed_forward_avatar_needs_its_checkpoint(run: Path, tmp_path: Path) -> None:
    avatar = feed_forward(run)
    avatar.save(str(tmp_path / "a"))
    known = load_pretrained(str(run))
    text = json.loads((tmp_path / "a" / "avatar.json").read_text())
    (tmp_path / "a" / "avatar.json").write_text(json.dumps(text | {"checkpoint": str(tmp_path / "gone")}))
    with pytest.raises(CheckpointError, match="gone"):
        Avatar.load(str(tmp_path / "a"))
    np.testing.assert_array_equal(
        Avatar.load(str(tmp_path / "a"), pretrained=known).render(points()), avatar.render(points())
    )


def test_a_model_that_has_learned_on_is_another(run: Path, tmp_path: Path) -> None:
    feed_forward(run).save(str(tmp_path / "a"))
    known = load_pretrained(str(run))
    later = replace(known, state=replace(known.state, episodes=16))
    with pytest.raises(CheckpointError, match="after 8 episodes, this one after 16"):
        Avatar.load(str(tmp_path / "a"), pretrained=later)
    other = replace(known, networks=known.networks.model_copy(update={"adain_blocks": 2}))
    with pytest.raises(CheckpointError, match="is not the model"):
        Avatar.load(str(tmp_path / "a"), pretrained=other)


def test_a_reader_meets_one_version_or_the_other(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The avatar is replaced between the reading of its card and that of its weights."""
    place = str(tmp_path / "a")
    feed_forward(run).save(place)
    first = folder.read_marker(Storage(place))
    learned = fine_tuned(run, 1)[0]
    learned.save(place)
    seen = iter([first])
    real = folder.read_marker
    monkeypatch.setattr(folder, "read_marker", lambda storage: next(seen, None) or real(storage))
    assert Avatar.load(place).card == learned.card


def test_avatars_of_one_model_share_its_generator(run: Path) -> None:
    pretrained = load_pretrained(str(run))
    embedding = embed(pretrained.talker, images())
    ada, bob = (Avatar.feed_forward(card(pretrained, "FF"), pretrained, factor * embedding) for factor in (1, 3))
    assert ada.body is bob.body
    assert ada.to("cpu")._engine is bob.to("cpu")._engine
    assert np.abs(ada.render(points()).astype(int) - bob.render(points())).max() > 1
    assert feed_forward(run).body is not ada.body


@pytest.mark.parametrize("wanted", [True, False])
def test_pupils_are_drawn_if_the_card_wants_them(wanted: bool, run: Path) -> None:
    pretrained = load_pretrained(str(run))
    own = replace(card(pretrained, "FF"), pupils=wanted)
    avatar = Avatar.feed_forward(own, pretrained, embed(pretrained.talker, images()))
    pupils = points(3)[:, [36, 42]] + 1
    same = np.array_equal(avatar.render(points(3), pupils=pupils), avatar.render(points(3)))
    assert same != wanted
    # Batches take their own pupils with them.
    np.testing.assert_array_equal(
        avatar.render(points(3), 1, pupils=pupils), avatar.render(points(3), 3, pupils=pupils)
    )
    if wanted:
        with pytest.raises(ValueError, match="pupils must have the shape"):
            avatar.render(points(3), pupils=pupils[:2])


@pytest.mark.parametrize(
    "given", [{"landmarks": np.zeros((3, 5, 2))}, {"identity": np.zeros(64)}], ids=["landmarks", "identity"]
)
def test_what_is_kept_must_have_its_shape(given: dict[str, np.ndarray], run: Path) -> None:
    pretrained = load_pretrained(str(run))
    with pytest.raises(ValueError, match="must have the shape"):
        Avatar.feed_forward(card(pretrained, "FF"), pretrained, embed(pretrained.talker, images()), **given)
