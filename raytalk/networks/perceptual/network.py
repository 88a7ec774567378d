"""A frozen feature network: pictures in, the maps of its taps out."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from raytalk.networks.operations import convolve_relu, max_half
from raytalk.networks.perceptual.spec import PerceptualSpec
from raytalk.networks.weights import unlike_its_name


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
        """The maps of the taps, of images [N, 3, H, W] float RGB in [-1, 1], H and W at least 16.

        Five, one from each block, for every network that is known by name. Map i is [N, C_i, H / 2^i, W / 2^i]
        (rounded up or down as the network's pools do), C = 64, 128, 256, 512, 512.
        """
        x = self._scaled(images)
        taps = []
        layers = iter(self.convolutions)
        for block, stage in enumerate(self.spec.stages):
            if block:
                x = max_half(x, ceil=self.spec.ceil_pools)
            for is_tap, convolution in zip(stage, layers, strict=False):
                assert isinstance(convolution, nn.Conv2d)
                assert convolution.bias is not None
                x = convolve_relu(x, convolution.weight, convolution.bias)
                if is_tap:
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
        warning = unlike_its_name(self.file, self.sha256)
        return f"{line}; {warning}" if warning else line

    def _scaled(self, images: Tensor) -> Tensor:
        # In float32 whatever comes in: bfloat16 has 8 bits, and 0..255 minus a mean would lose the shades.
        x = images.float().flip(1) if self.spec.channels == "BGR" else images.float()
        x = ((x + 1) * (self.spec.scale / 2) - self.mean.float()) / self.deviation.float()
        return x.to(next(self.convolutions.parameters()).dtype)
