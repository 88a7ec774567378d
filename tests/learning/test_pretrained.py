"""What those who go on from a checkpoint learn about it."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from toy import TINY_NETWORKS, RandomContent

from raytalk.learning.checkpoint import Snapshot, State
from raytalk.learning.meta import MetaLearner
from raytalk.learning.pretrained import load_pretrained
from raytalk.learning.settings import MetatrainSettings


def kept(folder: Path, **data: float) -> Path:
    """A checkpoint of an untrained model; its folder."""
    settings = MetatrainSettings.resolve("debug", {"networks": TINY_NETWORKS, "data": data})
    learner = MetaLearner(settings, ["a"], RandomContent(), None, torch.device("cpu"))  # type: ignore[arg-type]
    folder.mkdir()
    Snapshot.take(learner, State(8, 1.0, 2, 0, "dlib", [])).write(folder)
    return folder


def rewrite(folder: Path, data: dict[str, float] | None) -> None:
    """Give config.yaml another `data`, or none, and note its new size."""
    path, marker = folder / "config.yaml", folder / "state.json"
    config = yaml.safe_load(path.read_text())
    del config["data"]
    path.write_text(yaml.safe_dump(config | ({} if data is None else {"data": data})))
    state = json.loads(marker.read_text())
    state["files"]["config.yaml"] = path.stat().st_size
    marker.write_text(json.dumps(state))


@pytest.mark.parametrize(("share", "pupils"), [(0.0, False), (0.5, True), (1.0, True)])
def test_whether_drawings_carried_pupils(tmp_path: Path, share: float, pupils: bool) -> None:
    assert load_pretrained(str(kept(tmp_path / "kept", pupils=share))).pupils is pupils


@pytest.mark.parametrize("data", [None, {"shots": 8}])
def test_checkpoints_of_older_versions_had_none(tmp_path: Path, data: dict[str, float] | None) -> None:
    folder = kept(tmp_path / "kept", pupils=1.0)
    rewrite(folder, data)
    assert load_pretrained(str(folder)).pupils is False
