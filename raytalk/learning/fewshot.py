"""Few-shot learning (Section 3.3, Eq. 7-10): a person's own generator and discriminator from a few images.

T learning images, N = embedding size, C = number of adaptive coefficients, H = W pixels. The person's ψ' and w' are
parameters from the start: ψ' begins at P ê_NEW and w' at w0 + ê_NEW, so that before the first step the output is the
feed-forward one.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from raytalk.learning.learning_images import LearningImages
from raytalk.learning.losses import (
    LossSettings,
    adversarial_loss,
    content_loss,
    discriminator_loss,
    feature_matching_loss,
)
from raytalk.learning.meta import Metrics, Talker, descend, fixed_shapes, frozen, set_rate, to_unit
from raytalk.learning.replay import Recorder, Replayed
from raytalk.learning.settings import FewShotSettings, SpeedSettings
from raytalk.networks.discriminator import Discriminator
from raytalk.networks.generator import Generator
from raytalk.networks.operations import check_fused_kernels, fused_kernels, shared_forward
from raytalk.networks.perceptual import PerceptualNetwork
from raytalk.networks.spectral import normalised, resize

_SHARE_OF_FIRST_SIZE = 0.5
"""of weights under spectral norm before a person is learned: rates mean the same however long a model was trained"""


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


@dataclass(frozen=True)
class _Batch:
    """The places in memory of what a step works on."""

    frames: Tensor
    drawings: Tensor
    features: list[list[Tensor]]
    """of the frames, by each perceptual network"""


class FewShotLearner:
    """ψ, ψ', θ, w' and b of one person at a time, and the step that trains them.

    The generator's down-sampling, middle and up-sampling weights are ψ; its projection P is no longer used. What costs
    time once (kernels, recordings) serves all people who are learned one after the other with batches of one size.
    """

    def __init__(
        self,
        settings: FewShotSettings,
        losses: LossSettings,
        talker: Talker,
        discriminator: Discriminator,
        content: PerceptualNetwork,
        identity: PerceptualNetwork | None,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        speed: SpeedSettings | None = None,
    ) -> None:
        """talker and discriminator are copied, not changed; they may be on any device."""
        self.settings, self.losses, self.device, self.dtype = settings, losses, device, dtype
        self.speed = speed or SpeedSettings()
        self.talker = copy.deepcopy(talker).to(device).requires_grad_(False).eval()
        self._start = copy.deepcopy(discriminator).to(device).requires_grad_(False)
        for network in (self.talker.generator, self._start):
            resize(network, _SHARE_OF_FIRST_SIZE)
        self.generator: Generator = copy.deepcopy(self.talker.generator).requires_grad_(True).train()
        self.discriminator: Discriminator = copy.deepcopy(self._start).requires_grad_(True).train()
        self.content = frozen(content, device, dtype)
        self.identity = frozen(identity, device, dtype) if identity is not None else None
        self.embedding = torch.zeros_like(self._start.w0)
        self.coefficients = nn.Parameter(self.generator.projection.bias.detach().clone())
        self.weight = nn.Parameter(self.discriminator.w0.detach().clone())
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
        self._phases: dict[int, _Phases] = {}
        if device.type == "cuda" and self.speed.fused_kernels:
            check_fused_kernels(device)

    @torch.no_grad()
    def begin(self, images: LearningImages, more: LearningImages | None = None) -> None:
        """Forget whoever was learned before and start with this person.

        more: further images to learn from that do not shape ê_NEW, such as variants of the first.
        """
        embedding = embed(self.talker, images)
        self._start_over(embedding, self.talker.generator.projection(embedding[None])[0])
        parts = [images] if more is None else [images, more]
        self._frames = torch.cat([part.frames for part in parts]).to(self.device)
        self._drawings = torch.cat([part.drawings for part in parts]).to(self.device)
        self._features = [self._seen_by(network) for network in self._networks]
        self.batch_size = min(self.settings.batch_size, len(self._frames))

    @torch.no_grad()
    def forget(self) -> None:
        """Nothing of whoever was learned last stays in memory; what costs time once does."""
        self._start_over(torch.zeros_like(self._start.w0), self.talker.generator.projection.bias)
        self._frames, self._drawings = torch.empty(0), torch.empty(0)
        self._features = []
        for phases in self._phases.values():
            phases.forget()

    def learn(self, report: Callable[[int, int, Metrics], bool | None] | None = None) -> int:
        """All steps; returns how many were made.

        `report` gets the step's number, how many there are, and metrics, which the next step overwrites; learning ends
        when it returns True.
        """
        total = self.settings.total_steps(len(self._frames))
        for number, chosen in zip(range(1, total + 1), self._order(), strict=False):
            metrics = self.step(chosen, self.settings.rate_at(number - 1, total))
            if report is not None and report(number, total, metrics):
                return number
        return total

    def step(self, chosen: Tensor, rate: float = 1.0) -> Metrics:
        """One step of ψ and ψ' and the D steps, with this share of the rates, on these learning images.

        chosen: their numbers [B] int64.
        """
        set_rate(self.generator_optimizer, rate * self.settings.generator_rate)
        set_rate(self.discriminator_optimizer, rate * self.settings.discriminator_rate)
        phases = self._phases.get(len(chosen)) or self._prepare(len(chosen))
        self._fill(phases.batch, chosen.to(self.device))
        if phases.recorder is not None:
            phases.recorder.begin_step()
        with fused_kernels(self.speed.fused_kernels), fixed_shapes():
            made = phases.generate()
            metrics = dict(made.metrics)
            for index in range(self.settings.discriminator_steps):
                judged = phases.judge() if index == 0 else phases.judge_again()
                descend(self.discriminator_optimizer, judged.weights)
                metrics |= judged.metrics
            descend(self.generator_optimizer, made.weights)
        return metrics

    def warm_up(self, images: LearningImages, steps: int = 4) -> None:
        """Compile and record what learning from batches like these needs, before somebody waits for it."""
        self.begin(images)
        for _ in range(steps):
            self.step(torch.arange(self.batch_size))

    @torch.no_grad()
    def miss(self, images: LearningImages) -> float:
        """L_CNT with the content network between images and what the generator makes of their drawings now."""
        truth = self.content(to_unit(images.frames.to(self.device), self.dtype))
        return float(content_loss(self.content(self.render(images.drawings).to(self.dtype)), truth))

    def state(self) -> list[Tensor]:
        """A copy of ψ and ψ' as they are now, for `restore`."""
        return [tensor.detach().clone() for tensor in self._own()]

    @torch.no_grad()
    def restore(self, state: list[Tensor]) -> None:
        """Go back to what `state` gave."""
        torch._foreach_copy_(self._own(), state)

    @torch.no_grad()
    def render(self, drawings: Tensor) -> Tensor:
        """drawings [N, H, W, 3] uint8 -> frames [N, 3, H, W] float32 in [-1, 1] by the generator as it is now."""
        pictures = to_unit(drawings.to(self.device), self.dtype)
        return self.generator.render(pictures, self.coefficients.expand(len(drawings), -1))

    def _start_over(self, embedding: Tensor, coefficients: Tensor) -> None:
        self.embedding = embedding
        self.generator.load_state_dict(self.talker.generator.state_dict())
        self.discriminator.load_state_dict(self._start.state_dict())
        self.coefficients.copy_(coefficients)
        self.weight.copy_(self._start.w0 + embedding)
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            for moments in optimizer.state.values():
                for moment in moments.values():
                    moment.zero_()

    def _own(self) -> list[Tensor]:
        return [*self.generator.parameters(), *self.generator.buffers(), self.coefficients]

    @property
    def _networks(self) -> list[PerceptualNetwork]:
        return [network for network in (self.content, self.identity) if network is not None]

    def _order(self) -> Iterator[Tensor]:
        """Numbers of images, batch after batch: every image once before any comes again."""
        random = torch.Generator().manual_seed(self.settings.seed)
        waiting = torch.empty(0, dtype=torch.int64)
        while True:
            while len(waiting) < self.batch_size:
                waiting = torch.cat([waiting, torch.randperm(len(self._frames), generator=random)])
            yield waiting[: self.batch_size]
            waiting = waiting[self.batch_size :]

    def _prepare(self, size: int) -> "_Phases":
        """Make room for batches of this size; the phases, on a GPU as CUDA graphs."""
        features = [[tap[:1].expand(size, -1, -1, -1).clone() for tap in taps] for taps in self._features]
        frames, drawings = (each[:1].expand(size, -1, -1, -1).clone() for each in (self._frames, self._drawings))
        phases = _Phases(self, _Batch(frames, drawings, features))
        self._phases[size] = phases
        return phases

    def _fill(self, batch: _Batch, chosen: Tensor) -> None:
        batch.frames.copy_(self._frames[chosen])
        batch.drawings.copy_(self._drawings[chosen])
        for places, taps in zip(batch.features, self._features, strict=True):
            for place, tap in zip(places, taps, strict=True):
                place.copy_(tap[chosen])

    @torch.no_grad()
    def _seen_by(self, network: PerceptualNetwork) -> list[Tensor]:
        """The features of all learning images: they never change."""
        parts = [network(to_unit(frames, self.dtype)) for frames in self._frames.split(8)]
        return [torch.cat(taps) for taps in zip(*parts, strict=True)]


class _Phases:
    """The parts of a step between which weights move, for batches of one size; on a GPU as CUDA graphs."""

    def __init__(self, learner: FewShotLearner, batch: _Batch) -> None:
        self.batch, self._learner = batch, learner
        self.recorder: Recorder | None = None
        self.generate: Callable[[], _Gradients] = self._generate
        self.judge: Callable[[], _Gradients] = self._judge
        self.judge_again: Callable[[], _Gradients] = self._judge_again
        if learner.device.type == "cuda" and learner.speed.graphs:
            recorder = self.recorder = Recorder(learner.device)
            self.generate, self.judge, self.judge_again = (
                Replayed(phase, recorder) for phase in (self._generate, self._judge, self._judge_again)
            )

    def forget(self) -> None:
        """Blank what was worked on last, in its places."""
        last = [getattr(self, name) for name in ("_truth", "_drawing", "_output") if hasattr(self, name)]
        seen = [tap for taps in self.batch.features for tap in taps]
        for tensor in (self.batch.frames, self.batch.drawings, *seen, *last):
            tensor.zero_()

    def _generate(self) -> _Gradients:
        """Eq. 8 with L_CNT and L_ADV: the person's generator; D's scores serve the first D step too."""
        learner, batch = self._learner, self.batch
        weights, dtype = learner.losses, learner.dtype
        self._truth, self._drawing = to_unit(batch.frames, dtype), to_unit(batch.drawings, dtype)
        with normalised(learner.generator, dtype):
            output = learner.generator.render(self._drawing, learner.coefficients.expand(len(self._drawing), -1))
        picture = output.detach().to(dtype).requires_grad_()
        distances = [
            content_loss(network(picture), features)
            for network, features in zip(learner._networks, batch.features, strict=True)
        ]
        content, identity = distances[0], distances[1] if len(distances) > 1 else distances[0].new_zeros(())
        perceptual = weights.content * content + weights.identity * identity
        of_picture = torch.autograd.grad(perceptual, picture)[0].float()
        with normalised(learner.discriminator, dtype), shared_forward() as of_discriminator:
            vectors, activations = learner.discriminator.look(picture, self._drawing)
            real_vectors, real_activations = learner.discriminator.look(self._truth, self._drawing)
        self._scores = self._score(vectors), self._score(real_vectors)
        adversarial = adversarial_loss(self._scores[0])
        feature_matching = feature_matching_loss(activations, real_activations)
        judged = adversarial + weights.feature_matching * feature_matching
        of_discriminator.wanted = False
        of_picture += torch.autograd.grad(judged, picture, retain_graph=True)[0]
        of_discriminator.wanted = True
        gradients = torch.autograd.grad(output, _parameters(learner.generator_optimizer), of_picture)
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
        learner = self._learner
        frames = torch.cat([self._output.to(learner.dtype), self._truth])
        with normalised(learner.discriminator, learner.dtype):
            vectors, _ = learner.discriminator.look(frames, self._drawing.repeat(2, 1, 1, 1))
        fake, real = self._score(vectors).chunk(2)
        return self._discriminate(fake, real)

    def _discriminate(self, fake: Tensor, real: Tensor) -> _Gradients:
        loss = discriminator_loss(real, fake)
        gradients = torch.autograd.grad(loss, _parameters(self._learner.discriminator_optimizer))
        metrics = {
            "loss/discriminator": loss.detach(),
            "score/real": real.detach().mean(),
            "score/fake": fake.detach().mean(),
        }
        return _Gradients(list(gradients), metrics)

    def _score(self, vectors: Tensor) -> Tensor:
        """Eq. 9: r = V·w' + b [B] float32"""
        return (vectors * self._learner.weight).sum(dim=1) + self._learner.discriminator.bias


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
