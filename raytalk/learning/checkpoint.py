"""Checkpoints: written aside, published whole, refused by name when they do not fit or are not complete.

A checkpoint is a folder `checkpoints/episodes-000012345` of a run. `state.json` is its marker: it goes last and lists
the size of every other file, so a half-written or truncated checkpoint is told from a good one.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from raytalk.errors import CheckpointError, TrainingCollapsed
from raytalk.learning.meta import MetaLearner
from raytalk.networks.settings import NetworkSettings
from raytalk.storage import Storage, join

FORMAT = 2
MARKER = "state.json"
FOLDER = "checkpoints"
RELEASED = ("ema", "discriminator")
"""parts of a checkpoint as it is given to others (`raytalk.learning.release`)"""
_PARTS = ("embedder", "generator", *RELEASED, "video_embeddings")


class DamagedCheckpoint(CheckpointError):
    """A checkpoint that is not what was written: an older one may be whole."""


@dataclass(frozen=True)
class State:
    """What `state.json` holds beside the sizes of the files."""

    episodes: int
    """episodes shown so far"""
    epoch: float
    """passes over the clips so far"""
    steps: int
    seed: int
    detector: str
    """landmark detector of the clips; another one must not drive this model"""
    perceptual: list[dict[str, Any]]
    """the networks of the content loss, with the digest of their weights"""
    tracking_run: str = ""
    """MLflow run"""
    format: int = FORMAT
    files: dict[str, int] = field(default_factory=dict)
    """bytes of each other file"""


@dataclass(frozen=True)
class Snapshot:
    """A learner's tensors copied to the CPU at one step; writing it can take its time."""

    state: State
    config: str
    parts: dict[str, dict[str, Tensor]]
    optimizer: dict[str, Any]

    @staticmethod
    def take(learner: MetaLearner, state: State) -> "Snapshot":
        """Copy now, so that training can go on."""
        parts = {
            "embedder": _copy(learner.talker.embedder.state_dict()),
            "generator": _copy(learner.talker.generator.state_dict()),
            "discriminator": _copy(learner.discriminator.state_dict()),
            "ema": _copy(learner.average.state_dict()),
            "video_embeddings": learner.rows.state(),
        }
        optimizer = {
            "talker": _to_cpu(learner.talker_optimizer.state_dict()),
            "discriminator": _to_cpu(learner.discriminator_optimizer.state_dict()),
        }
        return Snapshot(state, learner.settings.to_yaml(), parts, optimizer)

    def write(self, folder: Path) -> None:
        """Write the files into a local folder, the marker last. Raises TrainingCollapsed if a number is not finite."""
        for name, tensors in self.parts.items():
            for key, tensor in tensors.items():
                if not torch.isfinite(tensor).all():
                    raise TrainingCollapsed(f"{name}.{key} is not finite: no checkpoint of it is kept")
        (folder / "config.yaml").write_text(self.config)
        for name, tensors in self.parts.items():
            save_file(tensors, folder / f"{name}.safetensors")
        torch.save(self.optimizer, folder / "optimizer.pt")
        sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
        (folder / MARKER).write_text(json.dumps(asdict(self.state) | {"files": sizes}, indent=1))


def names(checkpoints: Storage) -> list[str]:
    """The checkpoints below a run's `checkpoints` folder, oldest first, whether complete or not."""
    found = {entry.path.split("/")[0] for entry in checkpoints.entries() if entry.is_folder}
    return sorted(name for name in found if name.startswith("episodes-"))


def latest(run: Storage, damaged: Mapping[str, str] | None = None) -> tuple[Storage | None, list[str]]:
    """The newest complete checkpoint of a run, None if there is none yet, and what was wrong with newer ones.

    damaged: checkpoints whose files turned out not to be what was written, by their URI, and why. Raises
    CheckpointError if there are whole ones and none can be used: a run must not start over on top of them.
    """
    checkpoints = run.below(FOLDER)
    known = damaged or {}
    refused = []
    for name in reversed(names(checkpoints)):
        place = checkpoints.below(name)
        if place.uri in known:
            refused.append(known[place.uri])
            continue
        try:
            read_state(place)
        except CheckpointError as error:
            refused.append(str(error))
            continue
        return place, refused
    if any(checkpoints.exists(f"{name}/{MARKER}") for name in names(checkpoints)):
        why = "; ".join(refused)
        raise CheckpointError(
            f"no checkpoint in {checkpoints.uri} can be used ({why}): move them away or give another name"
        )
    return None, refused


def newest(run: Storage) -> Storage:
    """The newest complete checkpoint of a run. Raises CheckpointError if there is none."""
    place, refused = latest(run)
    if place is None:
        raise CheckpointError(f"no complete checkpoint in {join(run.uri, FOLDER)}" + "".join(f"; {t}" for t in refused))
    return place


def read_state(place: Storage) -> State:
    """`state.json` of one checkpoint. Raises CheckpointError if it is missing, of another format or not complete."""
    sizes = {entry.path: entry.size for entry in place.entries() if not entry.is_folder}
    if MARKER not in sizes:
        raise DamagedCheckpoint(f"{place.uri} is not a complete checkpoint: {MARKER} is missing")
    try:
        loaded = json.loads(place.read(MARKER))
        version = loaded.get("format")
        if version != FORMAT:
            raise CheckpointError(
                f"{place.uri} has format {version}; this version reads format {FORMAT}: "
                "use the version that wrote it, or train anew"
            )
        state = State(**loaded)
        expected = dict(state.files.items())
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedCheckpoint(f"{place.uri}/{MARKER} cannot be read: {error}") from None
    for name, size in expected.items():
        if sizes.get(name) != size:
            raise DamagedCheckpoint(
                f"{place.uri} is not complete: {name} has {sizes.get(name, 0)} bytes instead of {size}"
            )
    return state


def is_released(state: State) -> bool:
    """Whether a checkpoint has the released parts alone."""
    return "optimizer.pt" not in state.files


def load(place: Storage, learner: MetaLearner, weights_only: bool = False) -> State:
    """Load all of a checkpoint into `learner`, or nothing: everything is compared before anything is copied.

    `weights_only` starts another run: networks and rows, not optimizers and counters; from a released checkpoint E and
    G start as their averages, and no rows are known. Raises CheckpointError naming
    the file or the field that differs.
    """
    state = read_state(place)
    released = is_released(state)
    if released and not weights_only:
        raise CheckpointError(f"{place.uri} is a released checkpoint, without what a run needs to go on: start from it")
    with tempfile.TemporaryDirectory(prefix="raytalk-checkpoint-") as temporary:
        folder = place.fetch("", Path(temporary))
        _compare_networks(place.uri, folder / "config.yaml", learner.settings.networks)
        if released:
            parts = {name: load_part(place.uri, folder / f"{name}.safetensors") for name in RELEASED}
            parts |= _halves(parts["ema"])
        else:
            parts = {name: load_part(place.uri, folder / f"{name}.safetensors") for name in _PARTS}
            try:
                optimizer = torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True)
            except Exception as error:  # noqa: BLE001 - damage makes the unpickler raise nearly anything
                raise DamagedCheckpoint(f"{place.uri}/optimizer.pt cannot be read: {error}") from None
    modules = {
        "embedder": learner.talker.embedder,
        "generator": learner.talker.generator,
        "discriminator": learner.discriminator,
        "ema": learner.average,
    }
    for name, module in modules.items():
        compare_tensors(f"{place.uri}/{name}.safetensors", parts[name], module.state_dict())
    if not released:
        _compare_keys(f"{place.uri}/video_embeddings.safetensors", parts["video_embeddings"], learner.rows.state())
    optimizers = {"talker": learner.talker_optimizer, "discriminator": learner.discriminator_optimizer}
    if not weights_only:
        for name, own in optimizers.items():
            _compare_optimizer(f"{place.uri}/optimizer.pt", name, optimizer, own)
    if not released:
        learner.rows.load(parts["video_embeddings"], rows_only=weights_only)
    for name, module in modules.items():
        module.load_state_dict(parts[name])
    if not weights_only:
        for name, own in optimizers.items():
            load_moments(own, optimizer[name])
        learner.steps = state.steps
    return state


def load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Adam's moments from the checkpoint; rates and decays as this run's settings say."""
    options = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, options, strict=True):
        group.update(own)


def _halves(average: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """E and G of their average."""
    return {
        part: {key.removeprefix(f"{part}."): value for key, value in average.items() if key.startswith(f"{part}.")}
        for part in ("embedder", "generator")
    }


def _compare_networks(uri: str, file: Path, here: NetworkSettings) -> None:
    try:
        there = yaml.safe_load(file.read_text())["networks"]
        if not isinstance(there, dict):
            raise TypeError("networks are missing")
    except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DamagedCheckpoint(f"{uri}/config.yaml cannot be read: {error}") from None
    for key, value in here.model_dump(mode="json").items():
        if there.get(key) != value:
            raise CheckpointError(
                f"{uri} does not fit: networks.{key} is {there.get(key)} in the checkpoint and {value} here"
            )


def load_part(uri: str, file: Path) -> dict[str, Tensor]:
    """The tensors of one file. Raises CheckpointError if it cannot be read."""
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise DamagedCheckpoint(f"{uri}/{file.name} cannot be read: {error}") from None


def compare_tensors(what: str, there: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError naming the first tensor that only one side has, or that has another shape."""
    _compare_keys(what, there, here)
    for name, tensor in here.items():
        if there[name].shape != tensor.shape:
            shapes = f"{list(there[name].shape)} in the checkpoint and {list(tensor.shape)} here"
            raise CheckpointError(f"{what} does not fit: {name} is {shapes}")


def _compare_keys(what: str, there: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> None:
    different = sorted(set(there) ^ set(here))
    if different:
        raise CheckpointError(f"{what} does not fit: {different[0]} is in only one of the checkpoint and this model")


def _compare_optimizer(what: str, name: str, there: Any, here: torch.optim.Optimizer) -> None:
    """Whether the moments belong to these parameters: their number, names and shapes."""
    parameters = [parameter for group in here.param_groups for parameter in group["params"]]
    try:
        groups, moments = there[name]["param_groups"], there[name]["state"]
        fits = [len(group["params"]) for group in groups] == [len(group["params"]) for group in here.param_groups]
        fits = fits and all(
            moments[index][key].shape == parameters[index].shape
            for index in moments
            for key in ("exp_avg", "exp_avg_sq")
        )
    except (KeyError, IndexError, TypeError, AttributeError):
        fits = False
    if not fits:
        raise CheckpointError(f"{what} does not fit: '{name}' is not of this model's parameters")


def _copy(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def _to_cpu(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, dict):
        return {key: _to_cpu(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_to_cpu(value) for value in tree]
    return tree
