"""The meta-learning step (Section 3.2): one E+G step, then D steps on the same frames.

B episodes of this worker, K source frames each, H = W pixels, N = embedding size.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raytalk.learning.losses import (
    adversarial_loss,
    content_loss,
    discriminator_loss,
    feature_matching_loss,
    match_loss,
)
from raytalk.learning.settings import MetatrainSettings
from raytalk.learning.video_embeddings import VideoEmbeddings
from raytalk.networks.discriminator import Discriminator
from raytalk.networks.embedder import Embedder
from raytalk.networks.generator import Generator
from raytalk.networks.perceptual import PerceptualNetwork
from raytalk.networks.settings import NetworkSettings

Metrics = dict[str, Tensor]


@dataclass(frozen=True)
class Episodes:
    """A batch as the data path delivers it, uint8 RGB until it is on the device."""

    frames: Tensor
    """[B, 1 + K, H, W, 3] uint8: the target first, then the K source frames"""
    drawings: Tensor
    """[B, 1 + K, H, W, 3] uint8: their landmark drawings"""
    videos: Tensor
    """[B] int64: row of W"""


class Talker(nn.Module):
    """E and G as one module, so that one data-parallel wrapper serves the E+G step."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.embedder = Embedder(settings)
        self.generator = Generator(settings)

    def forward(self, frames: Tensor, drawings: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """frames and drawings [B, K, 3, H, W], target drawing [B, 3, H, W], all in [-1, 1].

        Returns x̂ [B, 3, H, W] in [-1, 1] and the embeddings of each source frame [B, K, N].
        """
        shape = frames.shape[:2]
        embeddings = self.embedder(frames.flatten(0, 1), drawings.flatten(0, 1)).unflatten(0, shape)
        return self.generator(target, embeddings.mean(dim=1)), embeddings


class MetaLearner:
    """Networks, W, their optimizers and the average, and the step that trains them."""

    def __init__(
        self,
        settings: MetatrainSettings,
        video_ids: list[str],
        content: PerceptualNetwork,
        identity: PerceptualNetwork | None,
        device: torch.device,
        wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
    ) -> None:
        """`wrap` makes a module data-parallel; it must leave the module's own parameters in place."""
        self.settings, self.device = settings, device
        torch.manual_seed(settings.seed)
        layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        self.talker = Talker(settings.networks).to(device=device, memory_format=layout)  # type: ignore[call-overload]
        self.discriminator = Discriminator(settings.networks).to(device=device, memory_format=layout)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.talker).requires_grad_(False).eval()
        self.content = content.to(device)
        self.identity = identity.to(device) if identity is not None else None
        self._talker, self._discriminator = wrap(self.talker), wrap(self.discriminator)
        rates = settings.optimization
        betas = (rates.beta1, rates.beta2)
        self.rows = VideoEmbeddings(
            video_ids, settings.networks.embedding_size, rates.discriminator_rate, betas, device, settings.seed
        )
        fused = device.type == "cuda"
        self.talker_optimizer = torch.optim.Adam(
            self.talker.parameters(), lr=rates.generator_rate, betas=betas, fused=fused
        )
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=rates.discriminator_rate, betas=betas, fused=fused
        )
        self.steps = 0
        self.autocast = settings.precision == "bf16" or (
            settings.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
        )

    def step(self, episodes: Episodes) -> Metrics:
        """One E+G step and the D steps. Returns scalars on the device, and `embedding`, ê [B, N]."""
        frames, drawings = to_unit(episodes.frames), to_unit(episodes.drawings)
        truth, drawing = frames[:, 0], drawings[:, 0]
        output, match_gradient, metrics = self._talker_step(frames, drawings, truth, drawing, episodes.videos)
        for index in range(self.settings.optimization.discriminator_steps):
            extra = match_gradient if index == 0 else None
            metrics |= self._discriminator_step(output, truth, drawing, episodes.videos, extra)
        self.steps += 1
        self._update_average()
        return metrics

    def _talker_step(
        self, frames: Tensor, drawings: Tensor, truth: Tensor, drawing: Tensor, videos: Tensor
    ) -> tuple[Tensor, Tensor, Metrics]:
        """Eq. 2: E and G minimise L_CNT + L_ADV + L_MCH. Returns x̂, the gradient of L_MCH in W_i, and metrics."""
        weights = self.settings.losses
        self.discriminator.requires_grad_(False)
        with self._autocast():
            output, embeddings = self._talker(frames[:, 1:], drawings[:, 1:], drawing)
            mean = embeddings.detach().mean(dim=1)
            seen = self.rows.adopt(videos, mean)
            rows = self.rows.rows[videos].requires_grad_(weights.match_moves_rows)
            with torch.no_grad():
                _, real_activations = self.discriminator(truth, drawing, rows)
                real_content = self.content(truth)
                real_identity = self.identity(truth) if self.identity else []
            scores, activations = self.discriminator(output, drawing, rows.detach())
            content = content_loss(self.content(output), real_content)
            identity = content_loss(self.identity(output), real_identity) if self.identity else content.new_zeros(())
            adversarial = adversarial_loss(scores)
            feature_matching = feature_matching_loss(activations, real_activations)
            match = match_loss(embeddings, rows, seen)
            total = (
                weights.content * content
                + weights.identity * identity
                + adversarial
                + weights.feature_matching * feature_matching
                + weights.match * match
            )
        self.talker_optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.talker_optimizer.step()
        self.discriminator.requires_grad_(True)
        gradient = rows.grad if rows.grad is not None else torch.zeros_like(rows)
        return (
            output.detach(),
            gradient,
            {
                "loss/generator": total.detach(),
                "loss/content": content.detach(),
                "loss/identity": identity.detach(),
                "loss/adversarial": adversarial.detach(),
                "loss/feature_matching": feature_matching.detach(),
                "loss/match": match.detach(),
                "embedding/within": (embeddings.detach() - mean[:, None]).square().mean(),
                "contrast/output": output.detach().std(),
                "contrast/truth": truth.std(),
                "embedding": mean,
            },
        )

    def _discriminator_step(
        self, output: Tensor, truth: Tensor, drawing: Tensor, videos: Tensor, match_gradient: Tensor | None
    ) -> Metrics:
        """Eq. 6: D and W minimise L_DSC; real and generated frames in one forward pass."""
        rows = self.rows.rows[videos].requires_grad_(True)
        with self._autocast():
            scores, _ = self._discriminator(torch.cat([truth, output]), drawing.repeat(2, 1, 1, 1), rows.repeat(2, 1))
            real, fake = scores.chunk(2)
            loss = discriminator_loss(real, fake)
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.discriminator_optimizer.step()
        assert rows.grad is not None
        self.rows.step(videos, rows.grad if match_gradient is None else rows.grad + match_gradient)
        return {
            "loss/discriminator": loss.detach(),
            "score/real": real.detach().mean(),
            "score/fake": fake.detach().mean(),
        }

    @torch.no_grad()
    def _update_average(self) -> None:
        """EMA of E and G: parameters are averaged, buffers (spectral norm's vectors) are copied."""
        decay = min(self.settings.optimization.ema_decay, (1 + self.steps) / (10 + self.steps))
        own, live = list(self.average.parameters()), list(self.talker.parameters())
        torch._foreach_lerp_(own, live, 1 - decay)
        for ours, theirs in zip(self.average.buffers(), self.talker.buffers(), strict=True):
            ours.copy_(theirs)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast)


def to_unit(pictures: Tensor) -> Tensor:
    """[..., H, W, 3] uint8 -> [..., 3, H, W] float32 in [-1, 1]; a view with channels last in memory."""
    return (pictures.float() / 127.5 - 1).movedim(-1, -3)
