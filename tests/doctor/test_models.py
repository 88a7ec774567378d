from pathlib import Path

import pytest
from toy_run import write_toy_run

from raytalk.doctor import models
from raytalk.errors import CheckpointError, SettingsError
from raytalk.faces.face import Face
from raytalk.learning.checkpoint import newest
from raytalk.storage import Storage


def test_the_checkpoint_that_ships_is_whole() -> None:
    (found,) = models.checkpoint("base", "", "")
    assert found.kind == "ok", found
    assert "128 px" in found.text


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    run = write_toy_run(tmp_path / "run")
    assert models.checkpoint(str(run), "", "")[0].kind == "ok"
    place = newest(Storage(str(run))).local_root
    assert place is not None
    weights = place / "ema.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"ema\.safetensors"):
        models.checkpoint(str(run), "", "")
    with pytest.raises(CheckpointError):
        models.checkpoint(str(tmp_path / "nowhere"), "", "")


def test_a_checkpoint_whose_content_network_is_not_here(tmp_path: Path) -> None:
    run = write_toy_run(tmp_path / "run")
    (found,) = models.checkpoint(str(run), "", weights=str(tmp_path))
    assert found.kind == "mend"
    assert "people cannot be learned without" in found.text


def test_which_weights_are_here(tmp_path: Path) -> None:
    everything = models.published("")
    assert any(found.kind == "ok" and "hed" in found.text for found in everything)
    (nothing,) = models.published(str(tmp_path))
    assert nothing.kind == "note"
    assert "vgg19-dcbb9e9d.pth" in nothing.text


def test_the_detector_finds_a_face() -> None:
    (found,) = models.detector("dlib", "cpu")
    assert found.kind == "ok", found
    assert found.text.startswith("dlib on cpu: a face of ")
    with pytest.raises(SettingsError, match="unknown detector"):
        models.detector("eyes", "cpu")


def test_a_detector_that_finds_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind:
        def detect(self, frames: list[object]) -> list[list[Face]]:
            return [[] for _ in frames]

    monkeypatch.setattr(models, "make_detector", lambda name, device: Blind())
    (found,) = models.detector("dlib", "cpu")
    assert found.kind == "mend"
    assert "finds 0 faces" in found.text
