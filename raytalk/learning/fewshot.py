"""Few-shot learning (Section 3.3, Eq. 7-10): a person's own generator and discriminator from a few images.

T learning images, N = embedding size, C = number of adaptive coefficients, H = W pixels. The person's ψ' and w' are
parameters from the start: ψ' begins at P ê_NEW and w' at w0 + ê_NEW, so that before the first step the output is the
feed-forward one.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pydantic
import torch
from torch import Tensor, nn

from raytalk.config import Settings
from raytalk.learning.losses import (
    LossSettings,
    adversarial_loss,
    content_loss,
    discriminator_loss,
    feature_matching_loss,
)
from raytalk.learning.meta import Metrics, Talker, descend, fixed_shapes, frozen, to_unit
from raytalk.learning.replay import Recorder, Replayed
from raytalk.learning.settings import SpeedSettings
from raytalk.networks.discriminator import Discriminator
from raytalk.networks.generator import Generator
from raytalk.networks.operations import check_fused_kernels, fused_kernels, shared_forward
from raytalk.networks.perceptual import PerceptualNetwork
from raytalk.networks.spectral import normalised


class FewShotSettings(Settings):
    """How a person is learned."""

    steps: int = pydantic.Field(250, ge=0)
    """steps of the generator; 0: feed-forward"""
    epochs: int = pydantic.Field(0, ge=0)
    """passes over the learning images instead of `steps`; the paper's are 40. 0: `steps` counts"""
    batch_size: int = pydantic.Field(8, ge=1)
    """images per step, drawn from the learning images without repetition until all were shown"""
    generator_rate: float = pydantic.Field(5e-5, gt=0)
    """learning rate of ψ and ψ'"""
    discriminator_rate: float = pydantic.Field(2e-4, gt=0)
    """learning rate of θ, w' and b"""
    beta1: float = pydantic.Field(0.0, ge=0, lt=1)
    """decay of Adam's first moment"""
    beta2: float = pydantic.Field(0.999, ge=0, lt=1)
    """decay of Adam's second moment"""
    discriminator_steps: int = pydantic.Field(2, ge=1)
    """D steps for each step of the generator, as in meta-learning"""
    seed: int = 0
    """seed of the order of the images"""

    def total_steps(self, images: int) -> int:
        """Steps of the generator for so many learning images."""
        if not self.epochs:
            return self.steps
        return -(-self.epochs * images // min(self.batch_size, images))


@dataclass(frozen=True)
class LearningImages:
    """What a person is learned from, uint8 RGB."""

    frames: Tensor
    """[T, H, W, 3] uint8"""
    drawings: Tensor
    """[T, H, W, 3] uint8: their landmark drawings"""


@torch.no_grad()
def embed(talker: Talker, images: LearningImages, dtype: torch.dtype = torch.float32) -> Tensor:
    """ê_NEW [N] float32: the mean of E over the learning images (Eq. 7), sixteen of them at a time."""
    device = talker.generator.projection.bias.device
    parts = [
        talker.embedder(to_unit(frames.to(device), dtype), to_unit(drawings.to(device), dtype))
        for frames, drawings in zip(images.frames.split(16), images.drawings.split(16), strict=True)
    ]
    return torch.cat(parts).mean(dim=0)


class _Gradients(NamedTuple):
    weights: list[Tensor]
    metrics: Metrics


class FewShotLearner:
    """ψ, ψ', θ, w' and b of one person, and the step that trains them.

    The generator's down-sampling, middle and up-sampling weights are ψ; its projection P is no longer used.
    """

    def __init__(
        self,
        settings: FewShotSettings,
        losses: LossSettings,
        talker: Talker,
        discriminator: Discriminator,
        images: LearningImages,
        content: PerceptualNetwork,
        identity: PerceptualNetwork | None,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        speed: SpeedSettings | None = None,
    ) -> None:
        """talker and discriminator are copied, not changed; they may be on any device."""
        self.settings, self.losses, self.device, self.dtype = settings, losses, device, dtype
        self.speed = speed or SpeedSettings()
        self.generator: Generator = copy.deepcopy(talker.generator).to(device).requires_grad_(True).train()
        self.discriminator: Discriminator = copy.deepcopy(discriminator).to(device).requires_grad_(True).train()
        self.content = frozen(content, device, dtype)
        self.identity = frozen(identity, device, dtype) if identity is not None else None
        self.embedding = embed(talker, images).to(device)
        with torch.no_grad():
            self.coefficients = nn.Parameter(self.generator.projection(self.embedding[None])[0].clone())
            self.weight = nn.Parameter(self.discriminator.w0 + self.embedding)
        projection = {id(parameter) for parameter in self.generator.projection.parameters()}
        own = [parameter for parameter in self.generator.parameters() if id(parameter) not in projection]
        of_discriminator = [*self.discriminator.blocks.parameters(), self.discriminator.bias]
        betas, fused = (settings.beta1, settings.beta2), device.type == "cuda"
        self.generator_optimizer = torch.optim.Adam(
            [*own, self.coefficients], lr=settings.generator_rate, betas=betas, fused=fused
        )
        self.discriminator_optimizer = torch.optim.Adam(
            [*of_discriminator, self.weight], lr=settings.discriminator_rate, betas=betas, fused=fused
        )
        self._images = LearningImages(images.frames.to(device), images.drawings.to(device))
        self._features = [self._seen_by(network) for network in (self.content, self.identity)]
        self.batch_size = min(settings.batch_size, len(images.frames))
        self._chosen = torch.zeros(self.batch_size, dtype=torch.int64, device=device)
        self._phases: list[Callable[[], _Gradients]] = [self._generate, self._judge, self._judge_again]
        self._recorder: Recorder | None = None
        if device.type == "cuda" and self.speed.fused_kernels:
            check_fused_kernels(device)
        if device.type == "cuda" and self.speed.graphs:
            recorder = self._recorder = Recorder(device)
            self._phases = [Replayed(phase, recorder) for phase in self._phases]

    def learn(self, report: Callable[[int, int, Metrics], None] | None = None) -> None:
        """All steps; `report` gets the step's number, how many there are, and metrics, which the next overwrites."""
        total = self.settings.total_steps(len(self._images.frames))
        for number, chosen in zip(range(1, total + 1), self._order(), strict=False):
            metrics = self.step(chosen)
            if report is not None:
                report(number, total, metrics)

    def step(self, chosen: Tensor) -> Metrics:
        """One step of ψ and ψ' and the D steps, on the learning images of these numbers [batch_size] int64."""
        generate, judge, judge_again = self._phases
        if self._recorder is not None:
            self._recorder.begin_step()
        with fused_kernels(self.speed.fused_kernels), fixed_shapes():
            self._chosen.copy_(chosen, non_blocking=True)
            made = generate()
            metrics = dict(made.metrics)
            for index in range(self.settings.discriminator_steps):
                judged = judge() if index == 0 else judge_again()
                descend(self.discriminator_optimizer, judged.weights)
                metrics |= judged.metrics
            descend(self.generator_optimizer, made.weights)
        return metrics

    @torch.no_grad()
    def render(self, drawings: Tensor) -> Tensor:
        """drawings [N, H, W, 3] uint8 -> frames [N, 3, H, W] float32 in [-1, 1] by the generator as it is now."""
        pictures = to_unit(drawings.to(self.device), self.dtype)
        return self.generator.render(pictures, self.coefficients.expand(len(drawings), -1))

    def _order(self) -> Iterator[Tensor]:
        """Numbers of images, batch after batch: every image once before any comes again."""
        random = torch.Generator().manual_seed(self.settings.seed)
        waiting = torch.empty(0, dtype=torch.int64)
        while True:
            while len(waiting) < self.batch_size:
                waiting = torch.cat([waiting, torch.randperm(len(self._images.frames), generator=random)])
            yield waiting[: self.batch_size]
            waiting = waiting[self.batch_size :]

    def _generate(self) -> _Gradients:
        """Eq. 8 with L_CNT and L_ADV: the person's generator; D's scores serve the first D step too."""
        self._truth = to_unit(self._images.frames[self._chosen], self.dtype)
        self._drawing = to_unit(self._images.drawings[self._chosen], self.dtype)
        weights = self.losses
        with normalised(self.generator, self.dtype):
            output = self.generator.render(self._drawing, self.coefficients.expand(self.batch_size, -1))
        picture = output.detach().to(self.dtype).requires_grad_()
        content = self._distance(self.content, 0, picture)
        identity = content.new_zeros(()) if self.identity is None else self._distance(self.identity, 1, picture)
        perceptual = weights.content * content + weights.identity * identity
        of_picture = torch.autograd.grad(perceptual, picture)[0].float()
        with normalised(self.discriminator, self.dtype), shared_forward() as of_discriminator:
            vectors, activations = self.discriminator.look(picture, self._drawing)
            real_vectors, real_activations = self.discriminator.look(self._truth, self._drawing)
        self._scores = self._score(vectors), self._score(real_vectors)
        adversarial = adversarial_loss(self._scores[0])
        feature_matching = feature_matching_loss(activations, real_activations)
        judged = adversarial + weights.feature_matching * feature_matching
        of_discriminator.wanted = False
        of_picture += torch.autograd.grad(judged, picture, retain_graph=True)[0]
        of_discriminator.wanted = True
        gradients = torch.autograd.grad(output, _parameters(self.generator_optimizer), of_picture)
        self._output = output.detach()
        metrics = {
            "loss/generator": (perceptual + judged).detach(),
            "loss/content": content.detach(),
            "loss/identity": identity.detach(),
            "loss/adversarial": adversarial.detach(),
            "loss/feature_matching": feature_matching.detach(),
        }
        return _Gradients(list(gradients), metrics)

    def _judge(self) -> _Gradients:
        """Eq. 10, the first D step, from the scores of `_generate`."""
        scores = self._scores
        del self._scores
        return self._discriminate(*scores)

    def _judge_again(self) -> _Gradients:
        """Eq. 10 with D as it is now."""
        frames = torch.cat([self._output.to(self.dtype), self._truth])
        with normalised(self.discriminator, self.dtype):
            vectors, _ = self.discriminator.look(frames, self._drawing.repeat(2, 1, 1, 1))
        fake, real = self._score(vectors).chunk(2)
        return self._discriminate(fake, real)

    def _discriminate(self, fake: Tensor, real: Tensor) -> _Gradients:
        loss = discriminator_loss(real, fake)
        gradients = torch.autograd.grad(loss, _parameters(self.discriminator_optimizer))
        metrics = {
            "loss/discriminator": loss.detach(),
            "score/real": real.detach().mean(),
            "score/fake": fake.detach().mean(),
        }
        return _Gradients(list(gradients), metrics)

    def _score(self, vectors: Tensor) -> Tensor:
        """Eq. 9: r = V·w' + b [B] float32"""
        return (vectors * self.weight).sum(dim=1) + self.discriminator.bias

    def _distance(self, network: PerceptualNetwork, index: int, picture: Tensor) -> Tensor:
        return content_loss(network(picture), [tap[self._chosen] for tap in self._features[index]])

    @torch.no_grad()
    def _seen_by(self, network: PerceptualNetwork | None) -> list[Tensor]:
        """The features of all learning images: they never change."""
        if network is None:
            return []
        parts = [network(to_unit(frames, self.dtype)) for frames in self._images.frames.split(8)]
        return [torch.cat(taps) for taps in zip(*parts, strict=True)]


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
