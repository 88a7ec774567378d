"""A warping model in a folder, and as those use it who draw with it.

The folder has `config.yaml`, `warping.safetensors` (the average, which draws) and, where training is to go on,
`network.safetensors` and `optimizer.pt`. `warping.json` is its marker: it is published last and lists the size of every
other file, so half a folder is told from a whole one.
"""

import json
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from raytalk.command import absolute_uri
from raytalk.errors import CheckpointError, TrainingCollapsed
from raytalk.learning.checkpoint import FOLDER, compare_tensors, load_moments, load_part, names
from raytalk.learning.meta import to_unit
from raytalk.learning.validation import to_pictures
from raytalk.storage import Storage
from raytalk.warping.learner import WarpLearner
from raytalk.warping.network import WarpNetwork, mix
from raytalk.warping.settings import WarpNetworkSettings

Pictures = npt.NDArray[np.uint8]

FORMAT = 1
MARKER = "warping.json"
_PIXELS = 1 << 20
"""of source and target pairs that go through the network together"""


@dataclass(frozen=True)
class WarpState:
    """What `warping.json` holds beside the sizes of the files."""

    episodes: int
    """episodes shown so far"""
    steps: int
    detector: str = ""
    """landmark detector of the clips; empty: not known"""
    perceptual: list[dict[str, Any]] = field(default_factory=list)
    """the network of the content loss, with the digest of its weights"""
    format: int = FORMAT
    files: dict[str, int] = field(default_factory=dict)
    """bytes of each other file"""


@dataclass(frozen=True)
class Warping:
    """A trained network, in evaluation mode."""

    uri: str
    network: WarpNetwork
    settings: WarpNetworkSettings
    state: WarpState

    @torch.no_grad()
    def draw(
        self,
        frames: Pictures,
        drawings: Pictures,
        driving_drawings: Pictures,
        device: torch.device | str = "cpu",
    ) -> Pictures:
        """Warp a person's frames [T, H, W, 3] towards driving_drawings [M, H, W, 3] -> [M, H, W, 3].

        drawings [T, H, W, 3] are those of the frames. All uint8 RGB of the network's resolution, drawn like its clips;
        raises ValueError for pictures of another size.
        """
        size = self.settings.resolution
        for pictures in (frames, drawings, driving_drawings):
            if pictures.shape[1:] != (size, size, 3) or not len(pictures):
                raise ValueError(f"pictures must be [N, {size}, {size}, 3], not {list(pictures.shape)}")
        if len(frames) != len(drawings):
            raise ValueError(f"{len(frames)} frames and {len(drawings)} drawings of them")
        network = self.network.to(device)
        sources, source_drawings = (to_unit(torch.tensor(given, device=device)) for given in (frames, drawings))
        pairs = max(1, _PIXELS // size**2)
        targets = max(1, pairs // len(frames))
        drawn = [
            _draw(network, sources, source_drawings, to_unit(torch.tensor(some, device=device)), pairs)
            for some in (
                driving_drawings[start : start + targets] for start in range(0, len(driving_drawings), targets)
            )
        ]
        return np.concatenate([to_pictures(pictures) for pictures in drawn])


def _draw(network: WarpNetwork, sources: Tensor, source_drawings: Tensor, drawings: Tensor, pairs: int) -> Tensor:
    """Sources [T, ...] towards drawings [m, 3, H, W] -> [m, 3, H, W]; so many `pairs` at most go through at once."""
    shape = len(drawings), len(sources)
    frames = sources.expand(*shape, *sources.shape[1:])
    every = zip(
        *(
            pictures.flatten(0, 1).split(pairs)
            for pictures in (
                frames,
                source_drawings.expand(*shape, *sources.shape[1:]),
                drawings[:, None].expand(*shape, *sources.shape[1:]),
            )
        ),
        strict=True,
    )
    flows, confidences = zip(*(network(*some) for some in every), strict=True)
    return mix(frames, torch.cat(flows).unflatten(0, shape), torch.cat(confidences).unflatten(0, shape))


def save_warping(
    uri: str, learner: WarpLearner, episodes: int, detector: str = "", with_optimizer: bool = False
) -> WarpState:
    """Publish the folder of a model at `uri`. with_optimizer: with what training needs to go on.

    Raises TrainingCollapsed if a number is not finite, CheckpointError or StorageError if it cannot be written.
    """
    parts = {"warping": learner.average.state_dict()}
    if with_optimizer:
        parts["network"] = learner.network.state_dict()
    for tensors in parts.values():
        for name, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise TrainingCollapsed(f"{name} is not finite: no checkpoint of it is kept")
    content = learner.content
    described = [content.describe()] if content is not None else []
    place = Storage(uri)
    try:
        with tempfile.TemporaryDirectory(prefix="raytalk-warping-") as temporary:
            folder = Path(temporary)
            (folder / "config.yaml").write_text(learner.settings.to_yaml())
            for part, tensors in parts.items():
                save_file(
                    {name: tensor.contiguous() for name, tensor in tensors.items()}, folder / f"{part}.safetensors"
                )
            if with_optimizer:
                torch.save(learner.optimizer.state_dict(), folder / "optimizer.pt")
            sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
            state = WarpState(episodes, learner.steps, detector, described, files=sizes)
            (folder / MARKER).write_text(json.dumps(asdict(state), indent=1))
            place.publish(folder, "", MARKER)
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save raises RuntimeError for a full disk
        where = tempfile.gettempdir()
        raise CheckpointError(f"cannot write {uri} to {where} (is that disk full?): {error}") from error
    return state


def load_warping(uri: str) -> Warping:
    """The model of a checkpoint's folder, or of a run: its newest one. On the CPU.

    Raises CheckpointError if it is missing, not complete or damaged.
    """
    place = Storage(absolute_uri(uri))
    if not place.exists(MARKER):
        found = newest_warping(place)
        if found is None:
            raise CheckpointError(f"no complete warping model at {uri}: give the folder that has {MARKER}, or its run")
        place = found
    state = read_state(place)
    with tempfile.TemporaryDirectory(prefix="raytalk-warping-") as temporary:
        folder = place.fetch("", Path(temporary))
        settings = _network_settings(place.uri, folder)
        network = WarpNetwork(settings)
        _fill(network, place.uri, folder / "warping.safetensors")
    return Warping(place.uri, network.requires_grad_(False).eval(), settings, state)


def resume(place: Storage, learner: WarpLearner) -> WarpState:
    """Put a checkpoint with its optimizer into `learner`, so that the next step is the one that would have come.

    Raises CheckpointError if it does not fit or is damaged.
    """
    state = read_state(place)
    if "optimizer.pt" not in state.files:
        raise CheckpointError(f"{place.uri} was kept without its optimizer: training cannot go on from it")
    with tempfile.TemporaryDirectory(prefix="raytalk-warping-") as temporary:
        folder = place.fetch("", Path(temporary))
        there, here = _network_settings(place.uri, folder).model_dump(), learner.settings.network.model_dump()
        for key, value in here.items():
            if there[key] != value:
                raise CheckpointError(
                    f"{place.uri} does not fit: network.{key} is {there[key]} in the checkpoint and {value} here"
                )
        _fill(learner.average, place.uri, folder / "warping.safetensors")
        _fill(learner.network, place.uri, folder / "network.safetensors")
        try:
            load_moments(learner.optimizer, torch.load(folder / "optimizer.pt", "cpu", weights_only=True))
        except Exception as error:  # noqa: BLE001 - damage makes the unpickler raise nearly anything
            raise CheckpointError(f"{place.uri}/optimizer.pt cannot be read: {error}") from None
    learner.steps = state.steps
    return state


def newest_warping(run: Storage) -> Storage | None:
    """The newest complete checkpoint of a run; None if there is none yet.

    Raises CheckpointError if there are whole ones and none can be used: a run must not start over on top of them.
    """
    checkpoints = run.below(FOLDER)
    refused = []
    for name in reversed(names(checkpoints)):
        place = checkpoints.below(name)
        if not place.exists(MARKER):
            continue
        try:
            read_state(place)
        except CheckpointError as error:
            refused.append(str(error))
            continue
        return place
    if refused:
        raise CheckpointError(
            f"no checkpoint in {checkpoints.uri} can be used ({'; '.join(refused)}): "
            "move them away or give another name"
        )
    return None


def read_state(place: Storage) -> WarpState:
    """`warping.json` of one folder. Raises CheckpointError if it is missing, of another format or not complete."""
    sizes = {entry.path: entry.size for entry in place.entries() if not entry.is_folder}
    if MARKER not in sizes:
        raise CheckpointError(f"{place.uri} is not a complete warping model: {MARKER} is missing")
    try:
        loaded = json.loads(place.read(MARKER))
        if loaded.get("format") != FORMAT:
            raise CheckpointError(
                f"{place.uri} has format {loaded.get('format')}; this version reads format {FORMAT}: train anew"
            )
        state = WarpState(**loaded)
        expected = dict(state.files.items())
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{place.uri}/{MARKER} cannot be read: {error}") from None
    for name, size in expected.items():
        if sizes.get(name) != size:
            raise CheckpointError(
                f"{place.uri} is not complete: {name} has {sizes.get(name, 0)} bytes instead of {size}"
            )
    return state


def _network_settings(uri: str, folder: Path) -> WarpNetworkSettings:
    try:
        return WarpNetworkSettings(**yaml.safe_load((folder / "config.yaml").read_text())["network"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError, pydantic.ValidationError) as error:
        raise CheckpointError(f"{uri}/config.yaml cannot be read: {error}") from None


def _fill(network: WarpNetwork, uri: str, file: Path) -> None:
    tensors = load_part(uri, file)
    compare_tensors(f"{uri}/{file.name}", tensors, network.state_dict())
    network.load_state_dict(tensors)
