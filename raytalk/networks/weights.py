"""Published files of weights: found where people keep them, read, and refused by name when something is wrong."""

import hashlib
import importlib.util
import math
import os
import pickle
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from raytalk.errors import WeightsError
from raytalk.storage import Storage


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights that is published somewhere."""

    owner: str
    """whose weights: the short name of a network"""
    names: tuple[str, ...]
    """what the file is called where it is published, the usual name first"""
    source: str
    """where to get it: a URL, or which package to install"""
    package: str = ""
    """installed Python package that holds the file, and the folder in it, as `package/folder`"""

    @property
    def name(self) -> str:
        """The usual name."""
        return self.names[0]


@dataclass(frozen=True)
class FoundWeights:
    """A file of weights on this machine."""

    path: Path
    shown: str
    """the place to name for it, in messages and records"""

    def warning(self) -> str:
        """See `unlike_its_name`."""
        return unlike_its_name(self.shown, self.sha256())

    def sha256(self) -> str:
        """Of the whole file, in hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def unlike_its_name(file: str, sha256: str) -> str:
    """A warning about a file whose SHA-256 does not begin as its name says; "" if it does, or the name says nothing."""
    named = re.search(r"-([0-9a-f]{8})\.", Path(file).name)
    if named is None or sha256.startswith(named[1]):
        return ""
    return f"WARNING: the SHA-256 of {file} does not begin with {named[1]}, so it is not the published file"


@contextmanager
def found_weights(wanted: WeightsFile, weights: str = "") -> Iterator[FoundWeights]:
    """The file, for as long as the block lasts; one in a bucket is fetched.

    `weights` is a file, a folder that holds the published file, or the URI of either; without it the file is looked
    for in $RAYTALK_WEIGHTS, ~/.cache/raytalk/weights, torch hub's checkpoints and its package.
    Raises WeightsError saying what is missing, where to get it and where to put it.
    """
    place = _place(wanted, weights)
    with tempfile.TemporaryDirectory(prefix="raytalk-weights-") as scratch:
        if isinstance(place, Path):
            yield FoundWeights(place, str(place))
        else:
            storage, file = place
            yield FoundWeights(storage.fetch_file(file, Path(scratch)), f"{_bare(storage.uri)}/{file}")


def has_weights(wanted: WeightsFile, weights: str = "") -> bool:
    """Whether `found_weights` would find the file."""
    return any(_at(wanted, place) is not None for place in ([weights] if weights else _usual_places(wanted)))


def read_torch(path: Path) -> dict[str, Tensor]:
    """Named tensors as `torch.save` writes them. Raises WeightsError for anything else, and runs no code in it."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        text = " ".join(str(error).split())[:160]
        raise WeightsError(f"{path} is damaged or is not a file of PyTorch weights: get it again ({text})") from error
    if not isinstance(loaded, dict):
        raise WeightsError(f"{path} holds a {type(loaded).__name__} where named tensors were expected")
    return loaded


def read_keras(path: Path, keys: Iterator[str]) -> dict[str, Tensor]:
    """Those of the tensors `keys` that an HDF5 file of Keras holds, kernels as PyTorch has them.

    Raises WeightsError if the file is damaged or h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise WeightsError(f"reading {path} needs the Python package h5py (pip install h5py)") from None
    try:
        with h5py.File(path) as file:
            tensors = {key: torch.from_numpy(file[key][()]) for key in keys if key in file}
    except OSError as error:
        raise WeightsError(f"{path} is damaged or is not an HDF5 file: get it again ({error})") from error
    # Keras keeps kernels as height, width, input, output.
    return {key: tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor for key, tensor in tensors.items()}


def checked_tensor(
    tensors: dict[str, Tensor], key: str, shape: torch.Size, wanted: WeightsFile, title: str, shown: str
) -> Tensor:
    """The tensor `key` of a file. Raises WeightsError if it is missing, of another shape or not finite.

    title: how people are told about the network; shown: of FoundWeights.
    """
    tensor = tensors.get(key)
    if not isinstance(tensor, Tensor):
        raise WeightsError(f"{shown} has no tensor '{key}': it does not hold {title} ({wanted.name})")
    if tensor.shape != shape:
        raise WeightsError(
            f"{shown}: tensor '{key}' has the shape {list(tensor.shape)}, and {wanted.owner} needs {list(shape)}"
        )
    if not math.isfinite(float(tensor.sum(dtype=torch.float64))):
        raise WeightsError(f"{shown}: tensor '{key}' holds values that are not finite: get the file again")
    return tensor


def load_into(network: nn.Module, wanted: WeightsFile, title: str, found: FoundWeights) -> None:
    """Copy a file of PyTorch weights into a network that names its tensors as the file does.

    Tensors of the file that the network lacks are left out. Raises WeightsError as `read_torch` and `checked_tensor`.
    """
    tensors = read_torch(found.path)
    with torch.no_grad():
        for key, own in network.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                own.copy_(checked_tensor(tensors, key, own.shape, wanted, title, found.shown))


def _place(wanted: WeightsFile, weights: str) -> Path | tuple[Storage, str]:
    if weights:
        found = _at(wanted, weights)
        if found is None:
            raise WeightsError(
                f"no weights of {wanted.owner} at {weights}: get {wanted.name} from {wanted.source}, "
                "and give that file or the folder that holds it"
            )
        return found
    places = _usual_places(wanted)
    for place in places:
        found = _at(wanted, place)
        if found is not None:
            return found
    raise WeightsError(
        f"the weights of {wanted.owner} are missing: get {wanted.name} from {wanted.source}, and put it into "
        f"{_cache()}, into the folder that RAYTALK_WEIGHTS names, or give its path (looked in {', '.join(places)})"
    )


def _cache() -> Path:
    return Path("~/.cache/raytalk/weights").expanduser()


def _usual_places(wanted: WeightsFile) -> list[str]:
    places = [os.environ.get("RAYTALK_WEIGHTS", ""), str(_cache()), str(Path(torch.hub.get_dir()) / "checkpoints")]
    if wanted.package:
        package, _, folder = wanted.package.partition("/")
        found_package = importlib.util.find_spec(package)
        for location in (found_package.submodule_search_locations if found_package else None) or ():
            places.append(str(Path(location) / folder))
    return list(filter(None, places))


def _at(wanted: WeightsFile, place: str) -> Path | tuple[Storage, str] | None:
    """The file at a path or URI: on this machine, or in a bucket."""
    if "://" not in place:
        path = Path(place).expanduser()
        files = [path / name for name in wanted.names] if path.is_dir() else [path]
        return next((file for file in files if file.is_file()), None)
    folder, names = place, wanted.names
    address = urlsplit(place)
    if Path(address.path).suffix == Path(wanted.name).suffix:
        parent, _, file = address.path.rpartition("/")
        folder, names = address._replace(path=parent).geturl(), (file,)
    storage = Storage(folder)
    return next(((storage, name) for name in names if storage.exists(name)), None)


def _bare(uri: str) -> str:
    return uri.partition("?")[0].rstrip("/")
