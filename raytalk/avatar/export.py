"""An avatar as a file that runs without raytalk: ONNX, or a program of torch.export.

Input `drawings` and output `frames` are [N, H, W, 3] uint8 RGB, N as it comes: what `raytalk.faces.draw` draws, and
what `Avatar.render` returns. A file is tried before it is published.
"""

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from raytalk.avatar.avatar import Avatar
from raytalk.avatar.drawing import Pictures
from raytalk.avatar.lean import Lean
from raytalk.command import absolute_uri
from raytalk.config import JobSettings
from raytalk.errors import AvatarError, SettingsError, StorageError
from raytalk.faces.draw import draw_batch
from raytalk.learning.pretrained import load_pretrained
from raytalk.storage import Storage

Format = Literal["onnx", "torch"]
OPSET = 18
TOLERANCE = 1
"""grey levels by which no value of a frame may differ from what the avatar renders"""


class ExportSettings(JobSettings):
    """An avatar and the file it becomes."""

    avatar: str
    """URI of the avatar's folder"""
    output: str
    """the file, FILE.onnx or FILE.pt2: a path or s3://bucket/NAME"""
    format: Format = "onnx"
    """onnx: for ONNX Runtime and others; torch: for torch.export.load"""
    checkpoint: str = ""
    """model of a feed-forward avatar, where it has moved since; empty: as the avatar says"""
    tracking_uri: str = ""
    """MLflow's tracking store, for a model named models:/NAME@ALIAS; empty: MLFLOW_TRACKING_URI"""


class Baked(nn.Module):
    """Drawings become frames of one person, whose ψ' is a constant."""

    coefficients: Tensor

    def __init__(self, lean: Lean, coefficients: Tensor) -> None:
        super().__init__()
        self.lean = lean
        self.register_buffer("coefficients", coefficients)

    def forward(self, drawings: Tensor) -> Tensor:
        """[N, H, W, 3] uint8 -> the same"""
        frames: Tensor = self.lean(drawings, self.coefficients)
        return frames


def export_job(settings: ExportSettings) -> None:
    """Load, export, say so on stdout. Raises RaytalkError for what a person can mend."""
    pretrained = load_pretrained(settings.checkpoint, settings.tracking_uri) if settings.checkpoint else None
    avatar = Avatar.load(settings.avatar, settings.tracking_uri, pretrained)
    size, difference = export(avatar, settings.output, settings.format)
    print(
        f"{avatar.card.name}: {settings.output}, {size / 1e6:.1f} MB, at most {difference} grey levels from the avatar"
    )


def export(avatar: Avatar, uri: str, form: Format = "onnx") -> tuple[int, int]:
    """Write the file; returns its bytes and the largest difference in grey levels that was seen.

    Arithmetic is float32. Raises AvatarError if the file does not render what the avatar does, SettingsError if a
    package is missing; nothing is published then.
    """
    _check_packages(form)
    place, name = _file(uri)
    baked = Baked(Lean(avatar.body.generator, torch.float32), avatar.coefficients).eval()
    drawings = _trial(avatar)
    note = asdict(avatar.card) | {"input": "drawings [N, H, W, 3] uint8 RGB", "output": "frames, likewise"}
    with _quiet():
        data, run = (_onnx if form == "onnx" else _torch)(baked, note, avatar.card.resolution)
    truth = np.empty_like(drawings)
    avatar.body.engine("cpu", torch.float32, "eager").render([drawings], avatar.coefficients, truth)
    # One alone too: the number of frames must be free.
    made = np.concatenate([run(drawings[:1]), run(drawings[1:])])
    difference = int(np.abs(made.astype(int) - truth).max())
    if difference > TOLERANCE:
        raise AvatarError(
            f"the exported file renders {difference} grey levels beside the avatar (allowed: {TOLERANCE}) and was not "
            f"written to {uri}: try format={'torch' if form == 'onnx' else 'onnx'}"
        )
    place.write(name, data)
    return len(data), difference


def _onnx(baked: Baked, note: dict[str, Any], size: int) -> tuple[bytes, Callable[[Pictures], Pictures]]:
    import onnxruntime

    program = torch.onnx.export(
        baked, (_blank(size),), dynamo=True, opset_version=OPSET, input_names=["drawings"], output_names=["frames"],
        dynamic_shapes={"drawings": {0: torch.export.Dim("N", min=1)}}, verbose=False,
    )  # fmt: skip
    assert program is not None
    model = program.model_proto
    for key, value in note.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    data: bytes = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, lambda drawings: session.run(["frames"], {"drawings": drawings})[0]


def _torch(baked: Baked, note: dict[str, Any], size: int) -> tuple[bytes, Callable[[Pictures], Pictures]]:
    count = torch.export.Dim("N", min=1)
    program = torch.export.export(baked, (_blank(size),), dynamic_shapes={"drawings": {0: count}})
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"avatar.json": json.dumps(note)})
    data = buffer.getvalue()
    loaded = torch.export.load(io.BytesIO(data)).module()
    return data, lambda drawings: loaded(torch.from_numpy(drawings)).numpy()


def _blank(size: int) -> Tensor:
    return torch.zeros((2, size, size, 3), dtype=torch.uint8)


def _trial(avatar: Avatar) -> Pictures:
    """Three drawings to try a file with: the learning images' where they are known."""
    size = avatar.card.resolution
    random = np.random.default_rng(0).uniform(0, size, (3, 68, 2))
    return draw_batch(np.concatenate([avatar.landmarks, random])[:3], size)


def _check_packages(form: Format) -> None:
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if form == "onnx" and missing:
        raise SettingsError(f"format=onnx needs {', '.join(missing)}: pip install 'raytalk[export]', or format=torch")


def _file(uri: str) -> tuple[Storage, str]:
    whole = absolute_uri(uri)
    base, question, query = whole.partition("?") if "://" in whole else (whole, "", "")
    folder, _, name = base.rpartition("/")
    if not name or folder.endswith(":/"):
        raise StorageError(f"{uri} is no file: give FOLDER/NAME or s3://bucket/NAME")
    return Storage((folder or "/") + question + query), name


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters talk about what they skip."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
