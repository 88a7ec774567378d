"""Moving pixels: the frames of a person are warped towards a drawing, and nothing is painted.

In the manner of X2Face (Wiles et al., ECCV 2018), with a landmark drawing in place of a driving frame: a U-Net tells
for every pixel of the target where in a source frame it comes from, and how sure it is; the sources are mixed by that.
B episodes, K sources, N = B K pairs of a source and a target.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raytalk.warping.settings import WarpNetworkSettings

_BOTTLENECK = 4
"""height of the innermost map: small, so that every pixel hears of the whole picture"""
_SLOPE = 0.1


class WarpNetwork(nn.Module):
    """A U-Net from a source frame, its drawing and the target's drawing to a flow and a confidence.

    At the start the flow is nothing and all confidences are alike: `warp` gives the mean of the sources. There is no
    normalisation over the picture, which would hide from the confidence how well a source suits as a whole.
    """

    def __init__(self, settings: WarpNetworkSettings) -> None:
        super().__init__()
        self.reach = settings.reach
        halvings = int(math.log2(settings.resolution // _BOTTLENECK))
        widths = [min(settings.max_channels, settings.min_channels << level) for level in range(halvings + 1)]
        self.first = nn.Conv2d(9, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(wide, narrow, 4, stride=2, padding=1) for wide, narrow in pairwise(widths))
        self.up = nn.ModuleList(
            nn.Conv2d(below + here, here, 3, padding=1) for here, below in reversed(list(pairwise(widths)))
        )
        self.last = nn.Conv2d(widths[0], 3, 3, padding=1)
        for layer in (self.first, *self.down, *self.up):
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            nn.init.kaiming_normal_(layer.weight, a=_SLOPE, nonlinearity="leaky_relu")
            nn.init.zeros_(layer.bias)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, sources: Tensor, source_drawings: Tensor, target_drawings: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [N, 3, H, W] in [-1, 1] -> flow [N, 2, H, W] and confidence [N, 1, H, W], both float32.

        The flow (x, y) leads from a pixel of the target to where it comes from in the source, in widths of the
        picture. H and W are multiples of resolution / 4.
        """
        x = torch.cat([sources, source_drawings, target_drawings], dim=1)
        x = F.leaky_relu(self.first(x), _SLOPE, inplace=True)
        maps = [x]
        for layer in self.down:
            x = F.leaky_relu(layer(x), _SLOPE, inplace=True)
            maps.append(x)
        x = maps.pop()
        for layer in self.up:
            x = torch.cat([F.interpolate(x, scale_factor=2.0), maps.pop()], dim=1)
            x = F.leaky_relu(layer(x), _SLOPE, inplace=True)
        # In float32: bfloat16 would put a flow of a third of a 256 px picture a quarter of a pixel off.
        with torch.autocast(x.device.type, enabled=False):
            out = self.last(x.float())
        return self.reach * torch.tanh(out[:, :2]), out[:, 2:]

    def warp(self, sources: Tensor, source_drawings: Tensor, target_drawing: Tensor) -> Tensor:
        """The sources [B, K, 3, H, W], moved and mixed towards target_drawing [B, 3, H, W] -> [B, 3, H, W].

        All in [-1, 1].
        """
        flow, confidence = self.pairs(sources, source_drawings, target_drawing)
        return mix(sources, flow, confidence)

    def pairs(self, sources: Tensor, source_drawings: Tensor, target_drawing: Tensor) -> tuple[Tensor, Tensor]:
        """Flow [B, K, 2, H, W] and confidence [B, K, 1, H, W] of every source, from what `warp` takes."""
        shape = sources.shape[:2]
        targets = target_drawing[:, None].expand_as(source_drawings)
        flow, confidence = self(sources.flatten(0, 1), source_drawings.flatten(0, 1), targets.flatten(0, 1))
        return flow.unflatten(0, shape), confidence.unflatten(0, shape)


def mix(sources: Tensor, flow: Tensor, confidence: Tensor) -> Tensor:
    """Sources [B, K, 3, H, W] moved by flow [B, K, 2, H, W], mixed by the softmax over K of confidence [B, K, 1, H, W].

    -> [B, 3, H, W] float32; each pixel is a weighted mean of pixels of the sources.
    """
    shape = sources.shape[:2]
    moved = move(sources.flatten(0, 1), flow.flatten(0, 1)).unflatten(0, shape)
    mixed: Tensor = (confidence.softmax(dim=1) * moved).sum(dim=1)
    return mixed


def move(pictures: Tensor, flow: Tensor) -> Tensor:
    """Each pixel of the result is taken from pictures [N, C, H, W] at its own place plus flow [N, 2, H, W].

    The flow (x, y) is in widths and heights of the picture; beyond its border lies the border's colour.
    """
    still = torch.eye(2, 3, device=flow.device).expand(len(flow), -1, -1)
    places = F.affine_grid(still, list(pictures.shape), align_corners=False) + 2 * flow.movedim(1, -1)
    return F.grid_sample(pictures.float(), places, padding_mode="border", align_corners=False)
