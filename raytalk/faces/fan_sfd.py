"""S3FD, face-alignment's network that finds faces (Zhang et al. 2017), for batches and half precision.

The package's trained layers in the package's order; bias and ReLU are in the convolution's epilogue on a GPU, and the
scores and offsets of a level come out of one convolution. n pictures of H x W pixels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STAGES = (
    ("conv1_1", "conv1_2"),
    ("conv2_1", "conv2_2"),
    ("conv3_1", "conv3_2", "conv3_3"),
    ("conv4_1", "conv4_2", "conv4_3"),
    ("conv5_1", "conv5_2", "conv5_3"),
)
_LEVELS = ("conv3_3_norm", "conv4_3_norm", "conv5_3_norm", "fc7", "conv6_2", "conv7_2")
"""what the heads are named after, from the finest level to the coarsest"""
_HEAD = 8
"""channels of a head: tensor cores take eights, so that some are left unused"""


class Sfd(nn.Module):
    """Takes the layers of `face_alignment.detection.sfd.net_s3fd.s3fd` over."""

    def __init__(self, package: nn.Module) -> None:
        super().__init__()
        self._layers = package
        self._heads = nn.ModuleList(
            _joined(getattr(package, f"{level}_mbox_conf"), getattr(package, f"{level}_mbox_loc")) for level in _LEVELS
        )

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """[n, 3, H, W] BGR less the mean -> for each level scores [n, 2, h, w] and the boxes' offsets [n, 4, h, w]."""
        maps = []
        for level, (features, head) in enumerate(zip(self._features(pictures), self._heads, strict=True)):
            values = head(features)
            scores = values[:, :-4]
            if level == 0:
                # The finest level has three scores for "no face", of which the highest counts.
                scores = torch.cat([scores[:, :3].amax(1, keepdim=True), scores[:, 3:]], 1)
            maps += [scores[:, :2], values[:, -4:]]
        return maps

    def _features(self, x: Tensor) -> list[Tensor]:
        layers: Any = self._layers
        levels = []
        for stage in _STAGES:
            for name in stage:
                x = _convolve_relu(x, getattr(layers, name))
            levels.append(x)
            x = F.max_pool2d(x, 2)
        x = _convolve_relu(_convolve_relu(x, layers.fc6), layers.fc7)
        levels.append(x)
        for narrow, halving in ((layers.conv6_1, layers.conv6_2), (layers.conv7_1, layers.conv7_2)):
            x = _convolve_relu(_convolve_relu(x, narrow), halving)
            levels.append(x)
        normalised = (layers.conv3_3_norm, layers.conv4_3_norm, layers.conv5_3_norm)
        return [norm(level) for norm, level in zip(normalised, levels[2:5], strict=True)] + levels[5:]


def _convolve_relu(x: Tensor, layer: nn.Conv2d) -> Tensor:
    # cuDNN's fused kernels of half precision want channels in eights, which a picture has not.
    if x.is_cuda and layer.in_channels % 8 == 0:
        stride, padding = list(layer.stride), [int(side) for side in layer.padding]
        return torch.cudnn_convolution_relu(x, layer.weight, layer.bias, stride, padding, [1, 1], 1)
    return F.relu_(layer(x))


def _joined(scores: nn.Conv2d, offsets: nn.Conv2d) -> nn.Conv2d:
    """One convolution of two: scores first, offsets last, zeros in between."""
    head = nn.Conv2d(scores.in_channels, _HEAD, 3, padding=1)
    for name, whole in list(head.named_parameters()):
        first, last = getattr(scores, name).detach(), getattr(offsets, name).detach()
        unused = last.new_zeros(len(whole) - len(first) - len(last), *last.shape[1:])
        setattr(head, name, nn.Parameter(torch.cat([first, unused, last])))
    return head
