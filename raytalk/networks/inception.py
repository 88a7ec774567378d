"""Inception v3 as FID knows it: TensorFlow's network of 2015-12-05, ported; the last pool's 2048 features.

It differs from torchvision's: averages leave out the padding, the last block pools by maximum, pictures are resized as
TensorFlow 1 did and scaled by (x - 128) / 128. The published file, of pytorch-fid and torch-fidelity alike, names its
tensors as the modules here.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raytalk.networks.weights import WeightsFile, found_weights, load_into

INCEPTION_FILE = WeightsFile(
    "FID's Inception v3",
    ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth"),
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
)
FEATURES = 2048
"""numbers per picture"""

_SIDE = 299

# Branches of a block by the names in the file. A word is CHANNELS:KERNEL with /2 for a stride of 2 without padding; two
# kernels are two layers side by side. The last branch begins with a pool of 3x3, `mean` or `max`.
_Branches = dict[str, str]


def _block_a(pooled: int) -> _Branches:
    return {
        "branch1x1": "64:1",
        "branch5x5": "48:1 64:5",
        "branch3x3dbl": "64:1 96:3 96:3",
        "branch_pool": f"mean {pooled}:1",
    }


def _block_c(width: int) -> _Branches:
    return {
        "branch1x1": "192:1",
        "branch7x7": f"{width}:1 {width}:1x7 192:7x1",
        "branch7x7dbl": f"{width}:1 {width}:7x1 {width}:1x7 {width}:7x1 192:1x7",
        "branch_pool": "mean 192:1",
    }


def _block_e(pool: str) -> _Branches:
    return {
        "branch1x1": "320:1",
        "branch3x3": "384:1 384:1x3|3x1",
        "branch3x3dbl": "448:1 384:3 384:1x3|3x1",
        "branch_pool": f"{pool} 192:1",
    }


_BLOCK_B = {"branch3x3": "384:3/2", "branch3x3dbl": "64:1 96:3 96:3/2", "branch_pool": "max/2"}
_BLOCK_D = {
    "branch3x3": "192:1 320:3/2",
    "branch7x7x3": "192:1 192:1x7 192:7x1 192:3/2",
    "branch_pool": "max/2",
}

_BLOCKS: dict[str, tuple[int, _Branches]] = {
    "Mixed_5b": (192, _block_a(32)),
    "Mixed_5c": (256, _block_a(64)),
    "Mixed_5d": (288, _block_a(64)),
    "Mixed_6a": (288, _BLOCK_B),
    "Mixed_6b": (768, _block_c(128)),
    "Mixed_6c": (768, _block_c(160)),
    "Mixed_6d": (768, _block_c(160)),
    "Mixed_6e": (768, _block_c(192)),
    "Mixed_7a": (768, _BLOCK_D),
    "Mixed_7b": (1280, _block_e("mean")),
    "Mixed_7c": (2048, _block_e("max")),
}
"""input channels and branches"""


class Inception(nn.Module):
    """Frozen, always in evaluation mode, with random weights until they are loaded."""

    warning = ""
    """what to tell whoever uses it, if its file is not the published one"""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Layer(3, 32, (3, 3), stride=2)
        self.Conv2d_2a_3x3 = _Layer(32, 32, (3, 3), padded=False)
        self.Conv2d_2b_3x3 = _Layer(32, 64, (3, 3))
        self.Conv2d_3b_1x1 = _Layer(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = _Layer(80, 192, (3, 3), padded=False)
        for name, (channels, branches) in _BLOCKS.items():
            self.add_module(name, _Block(channels, branches))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Inception":
        """Stay in evaluation mode, whatever a parent module is switched to."""
        return super().train(False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Features [N, 2048] float32 of pictures [N, 3, H, W] RGB, 0 to 255, uint8 or float, of any size."""
        x = (resize_as_tensorflow(pictures.float(), _SIDE) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name in _BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean(dim=(2, 3))


def load_inception(weights: str = "") -> Inception:
    """The network with its weights, on the CPU in float32.

    `weights`: the published file, the folder that holds it, or the URI of either; without it the file is looked for
    where weights are kept (`networks/weights.py`). Raises WeightsError for a missing, damaged or other file.
    """
    network = Inception()
    with found_weights(INCEPTION_FILE, weights) as found:
        load_into(network, INCEPTION_FILE, INCEPTION_FILE.owner, found)
        network.warning = found.warning()
    return network


def resize_as_tensorflow(x: Tensor, side: int) -> Tensor:
    """Bilinear as in TensorFlow 1: pixel i of the result is taken at i * size / side.

    [N, C, H, W] float -> [N, C, side, side]. Nothing is smoothed before it is made smaller.
    Source: tf.image.resize_bilinear without align_corners.
    """
    for axis in (3, 2):
        size = x.shape[axis]
        places = torch.arange(side, device=x.device, dtype=torch.float32) * (size / side)
        low = places.long().clamp(max=size - 1)
        share = (places - low).to(x.dtype).view([side if axis == other else 1 for other in range(4)])
        near = x.index_select(axis, low)
        x = near + (x.index_select(axis, (low + 1).clamp(max=size - 1)) - near) * share
    return x


class _Layer(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self, incoming: int, outgoing: int, kernel: tuple[int, int], stride: int = 1, padded: bool = True
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if padded and stride == 1 else (0, 0)
        self.conv = nn.Conv2d(incoming, outgoing, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outgoing, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class _Block(nn.Module):
    """Branches side by side; their outputs are joined along the channels."""

    def __init__(self, channels: int, branches: _Branches) -> None:
        super().__init__()
        self.branches: list[tuple[str, list[list[str]]]] = []
        """of each: its pool, and its layers by their names, those side by side together"""
        for branch, text in branches.items():
            words = text.split()
            pool = words.pop(0) if not words[0][0].isdigit() else ""
            widths = [channels, *(int(word.partition(":")[0]) for word in words)]
            steps = []
            for place, (word, (incoming, outgoing)) in enumerate(zip(words, pairwise(widths), strict=True), start=1):
                kernels, _, stride = word.partition(":")[2].partition("/")
                name = branch if len(words) == 1 else f"{branch}_{place}"
                beside = kernels.split("|")
                names = [name] if len(beside) == 1 else [f"{name}{letter}" for letter in "ab"]
                for own, kernel in zip(names, beside, strict=True):
                    high, _, wide = kernel.partition("x")
                    self.add_module(own, _Layer(incoming, outgoing, (int(high), int(wide or high)), int(stride or 1)))
                steps.append(names)
            self.branches.append((pool, steps))

    def forward(self, x: Tensor) -> Tensor:
        joined = []
        for pool, steps in self.branches:
            y = _pooled(x, pool)
            for names in steps:
                y = torch.cat([self.get_submodule(name)(y) for name in names], dim=1)
            joined.append(y)
        return torch.cat(joined, dim=1)


def _pooled(x: Tensor, pool: str) -> Tensor:
    if pool == "mean":
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    if pool == "max":
        return F.max_pool2d(x, 3, 1, 1)
    return F.max_pool2d(x, 3, 2) if pool == "max/2" else x
