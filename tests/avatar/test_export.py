"""Exports run without raytalk and render what the avatar does."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from avatar.toy_avatar import landmarks, random_avatar

from raytalk.avatar import export as exporting
from raytalk.avatar.export import export
from raytalk.errors import AvatarError, SettingsError, StorageError
from raytalk.faces.draw import draw_batch

JOB = Path(__file__).parents[2] / "jobs" / "export.py"


def farthest(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


@pytest.mark.parametrize("count", [1, 5])
def test_onnx_renders_the_person(count: int, onnx_file: Path) -> None:
    session = onnxruntime.InferenceSession(str(onnx_file))
    drawings = draw_batch(landmarks(count), 32)
    frames = session.run(None, {"drawings": drawings})[0]
    expected = random_avatar().render(landmarks(count))
    assert frames.dtype == np.uint8
    assert farthest(frames, expected) <= 1
    assert farthest(frames, random_avatar(1).render(landmarks(count))) > 20


def test_onnx_says_who_it_is(onnx_file: Path) -> None:
    model = onnx.load(onnx_file)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["name"] == "Ada"
    assert said["detector"] == "dlib"
    assert said["consent"] == "given in writing"
    assert json.loads(said["networks"])["resolution"] == 32
    assert model.opset_import[0].version >= 18
    assert [entry.name for entry in (*model.graph.input, *model.graph.output)] == ["drawings", "frames"]


def test_torch_renders_the_person(tmp_path: Path) -> None:
    avatar = random_avatar()
    size, difference = export(avatar, str(tmp_path / "ada.pt2"), "torch")
    assert [file.name for file in tmp_path.iterdir()] == ["ada.pt2"]
    assert (tmp_path / "ada.pt2").stat().st_size == size
    assert difference <= 1
    extra = {"avatar.json": ""}
    program = torch.export.load(tmp_path / "ada.pt2", extra_files=extra).module()
    for count in (1, 4):
        frames = program(torch.from_numpy(draw_batch(landmarks(count), 32))).numpy()
        assert farthest(frames, avatar.render(landmarks(count))) <= 1
    assert json.loads(extra["avatar.json"])["name"] == "Ada"


def test_what_renders_something_else_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_torch", lambda *given: (b"program", lambda drawings: drawings))
    with pytest.raises(AvatarError, match=r"grey levels beside the avatar.*was not written"):
        export(random_avatar(), str(tmp_path / "ada.pt2"), "torch")
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(SettingsError, match=r"format=onnx needs onnxscript: pip install 'raytalk\[export\]'"):
        export(random_avatar(), str(tmp_path / "ada.onnx"))


@pytest.mark.parametrize("uri", ["s3://bucket", "/"])
def test_no_file_is_said_so(uri: str) -> None:
    with pytest.raises(StorageError, match="is no file"):
        export(random_avatar(), uri, "torch")


def test_the_job(tmp_path: Path) -> None:
    random_avatar().save(str(tmp_path / "ada"))
    options = [f"avatar={tmp_path / 'ada'}", f"output={tmp_path / 'ada.pt2'}", "format=torch"]
    done = subprocess.run([sys.executable, str(JOB), *options], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"Ada: {tmp_path / 'ada.pt2'}, ")
    assert (tmp_path / "ada.pt2").exists()
    wrong = subprocess.run([sys.executable, str(JOB), f"avatar={tmp_path}", "output=x"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "is no avatar" in wrong.stderr


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("onnx") / "ada.onnx"
    export(random_avatar(), str(file))
    return file
