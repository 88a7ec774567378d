"""The step that trains the warping network: L1 and L_CNT, nothing adversarial. Plain torch."""

import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from raytalk.learning.losses import content_loss
from raytalk.learning.meta import Episodes, Metrics, arithmetic, fixed_shapes, frozen, to_unit
from raytalk.networks.operations import check_fused_kernels, fused_kernels
from raytalk.networks.perceptual import PerceptualNetwork
from raytalk.warping.network import WarpNetwork, mix
from raytalk.warping.settings import WarpingSettings

_LAST_RATE = 0.1
"""of the others': Adam's first steps have their full size, and would throw pixels across the picture"""


class WarpLearner:
    """The network, its optimizer and its average, and the step that trains it."""

    def __init__(self, settings: WarpingSettings, content: PerceptualNetwork | None, device: torch.device) -> None:
        """content: may be None where losses.content is 0. Raises SettingsError if kernels cannot be compiled."""
        if content is None and settings.losses.content > 0:
            raise ValueError("losses.content is not 0: a content network is needed")
        self.settings, self.device = settings, device
        torch.manual_seed(settings.seed)
        self.layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        self.network: WarpNetwork = WarpNetwork(settings.network).to(device, memory_format=self.layout)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.dtype = arithmetic(settings.precision, device)
        self.content = frozen(content, device, self.dtype) if content is not None else None
        rates, fused = settings.optimization, device.type == "cuda"
        last = list(self.network.last.parameters())
        others = [own for name, own in self.network.named_parameters() if not name.startswith("last.")]
        groups: list[dict[str, Any]] = [{"params": others}, {"params": last, "lr": rates.rate * _LAST_RATE}]
        self.optimizer = torch.optim.Adam(groups, lr=rates.rate, betas=(rates.beta1, rates.beta2), fused=fused)
        if fused and settings.fused_kernels and content is not None:
            check_fused_kernels(device)
        self.steps = 0

    def step(self, episodes: Episodes) -> Metrics:
        """One step of Adam on a batch, from the first 1 to K of its sources. Returns scalars on the device."""
        frames = episodes.frames.to(self.device, non_blocking=True)
        drawings = episodes.drawings.to(self.device, non_blocking=True)
        # A share of the steps for each number of sources, the same after a restart: people have one learning frame
        # as well as many.
        shots = int(np.random.default_rng((self.settings.seed, self.steps)).integers(1, frames.shape[1]))
        truth, drawing = to_unit(frames[:, 0]), to_unit(drawings[:, 0])
        sources, source_drawings = to_unit(frames[:, 1 : 1 + shots]), to_unit(drawings[:, 1 : 1 + shots])
        with fused_kernels(self.settings.fused_kernels), fixed_shapes():
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                flow, confidence = self.network.pairs(sources, source_drawings, drawing)
            picture = mix(sources, flow, confidence)
            l1 = F.l1_loss(picture, truth)
            content = self._content(picture, truth)
            weights = self.settings.losses
            loss = weights.l1 * l1 + weights.content * content
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.steps += 1
        self._update_average()
        with torch.no_grad():
            copied = F.l1_loss(sources.mean(dim=1), truth)
        return {
            "loss/warping": loss.detach(),
            "loss/l1": l1.detach(),
            "loss/content": content.detach(),
            "loss/l1_mean_source": copied,
            "flow/size": flow.detach().abs().mean(),
        }

    def _content(self, picture: Tensor, truth: Tensor) -> Tensor:
        if self.content is None:
            return picture.new_zeros(())
        with torch.no_grad():
            real = self.content(truth)
        # The content network's kernels on a GPU want channels last.
        return content_loss(self.content(picture.contiguous(memory_format=self.layout)), real)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.settings.optimization.ema_decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
