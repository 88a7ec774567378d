"""LPIPS (Zhang et al. 2018): a distance of pictures that follows what people call alike; lower is better.

Features of VGG16 under the weights that the authors fitted to people's judgements (their v0.1 heads). Without
torchvision's VGG16 the HED trunk stands in under the same heads, which is named `lpips-hed` and is not LPIPS.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from raytalk.errors import WeightsError
from raytalk.networks.perceptual import SPECS, VGG16_PLAN, PerceptualNetwork, PerceptualSpec, load_features
from raytalk.networks.weights import (
    WeightsFile,
    checked_tensor,
    found_weights,
    has_weights,
    read_torch,
    unlike_its_name,
)

LPIPS = "lpips"
STAND_IN = "lpips-hed"
NETWORKS = (LPIPS, STAND_IN)
TITLES = {LPIPS: "LPIPS (VGG16, v0.1)", STAND_IN: "LPIPS heads on the HED trunk, not LPIPS"}

_TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
_TRUNKS = {
    LPIPS: PerceptualSpec(
        "vgg16",
        "VGG16, torchvision's ImageNet training",
        VGG16_PLAN,
        "RGB",
        1.0,
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        file="vgg16-397923af.pth",
        source="https://download.pytorch.org/models/vgg16-397923af.pth",
        keys="features",
        taps=_TAPS,
    ),
    STAND_IN: replace(SPECS["hed"], taps=_TAPS),
}
VGG16_FILE = _TRUNKS[LPIPS].weights
HEADS_FILE = WeightsFile(
    "LPIPS v0.1's heads",
    ("vgg.pth",),
    "the Python package lpips 0.1.4 (pip install --no-deps lpips)",
    package="lpips/weights/v0.1",
)
_LEAST = 1e-10
"""added to the length of a pixel's features"""


class Lpips(nn.Module):
    """A frozen network of two pictures. It runs on the device it is moved to, in float32."""

    def __init__(self, name: str, trunk: PerceptualNetwork, heads: list[Tensor]) -> None:
        """heads: a weight per channel of each of the trunk's maps."""
        super().__init__()
        self.name = name
        warning = unlike_its_name(trunk.file, trunk.sha256)
        self.title = TITLES[name] + (f" ({warning})" if warning else "")
        self.trunk = trunk
        self.heads = nn.ParameterList(nn.Parameter(head, requires_grad=False) for head in heads)

    def forward(self, output: Tensor, truth: Tensor) -> Tensor:
        """Distances [N] of pictures [N, 3, H, W] float RGB in [-1, 1], H and W at least 16."""
        maps = zip(self.trunk(output), self.trunk(truth), self.heads, strict=True)
        return torch.stack([_distance(ours, real, head) for ours, real, head in maps]).sum(dim=0)


def load_lpips(name: str = "auto", weights: str = "") -> Lpips:
    """`lpips`, `lpips-hed`, or `auto`: the first if VGG16's file is found or given, otherwise the stand-in.

    `weights` is the trunk's published file, the folder that holds it, or the URI of either; without it the file is
    looked for where weights are kept (`networks/weights.py`). Raises WeightsError for an unknown name or what is
    missing or damaged, the heads among it.
    """
    if name not in ("auto", *NETWORKS):
        raise WeightsError(f"unknown kind of LPIPS '{name}': choose one of auto, {', '.join(NETWORKS)}")
    if name == "auto":
        name = LPIPS if weights or has_weights(_TRUNKS[LPIPS].weights) else STAND_IN
    trunk = load_features(_TRUNKS[name], weights)
    with found_weights(HEADS_FILE) as found:
        tensors = read_torch(found.path)
        heads = []
        for place, channels in enumerate((64, 128, 256, 512, 512)):
            shape = torch.Size((1, channels, 1, 1))
            key = f"lin{place}.model.1.weight"
            heads.append(checked_tensor(tensors, key, shape, HEADS_FILE, HEADS_FILE.owner, found.shown).flatten())
    return Lpips(name, trunk, heads)


def _distance(ours: Tensor, real: Tensor, head: Tensor) -> Tensor:
    """[N, C, H, W] twice and [C] -> [N]"""
    apart = (_unit(ours) - _unit(real)).square().mean(dim=(2, 3))
    return (apart * head).sum(dim=1)


def _unit(x: Tensor) -> Tensor:
    return x.div(torch.linalg.vector_norm(x, dim=1, keepdim=True) + _LEAST)
