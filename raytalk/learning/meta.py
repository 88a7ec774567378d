"""The meta-learning step (Section 3.2): one E+G step, then D steps on the same frames.

B episodes of this worker, K source frames each, H = W pixels, N = embedding size.

The step is made of phases with a fixed place in memory for everything, so that a GPU can replay each as one CUDA graph;
between them the ranks exchange rows, embeddings and gradients, and the optimizers move the weights.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from raytalk.errors import SettingsError
from raytalk.learning.losses import (
    adversarial_loss,
    content_loss,
    discriminator_loss,
    feature_matching_loss,
    match_loss,
)
from raytalk.learning.ranks import Averaging, broadcast, sizes
from raytalk.learning.replay import Recorder, Replayed
from raytalk.learning.settings import MetatrainSettings
from raytalk.learning.video_embeddings import VideoEmbeddings
from raytalk.networks.discriminator import Discriminator
from raytalk.networks.embedder import Embedder, SharedEmbedding
from raytalk.networks.generator import Generator
from raytalk.networks.operations import check_fused_kernels, fused_kernels, shared_forward
from raytalk.networks.perceptual import PerceptualNetwork
from raytalk.networks.settings import NetworkSettings
from raytalk.networks.spectral import normalised

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
    """E and G."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.embedder: nn.Module = Embedder(settings) if settings.embedder else SharedEmbedding(settings)
        self.generator = Generator(settings)


class Gradients(NamedTuple):
    """What a phase hands to an optimizer."""

    weights: list[Tensor]
    rows: Tensor
    """of W_i [B, N]"""
    metrics: Metrics


class MetaLearner:
    """Networks, W, their optimizers and the average, and the step that trains them."""

    def __init__(
        self,
        settings: MetatrainSettings,
        video_ids: list[str],
        content: PerceptualNetwork,
        identity: PerceptualNetwork | None,
        device: torch.device,
    ) -> None:
        self.settings, self.device = settings, device
        torch.manual_seed(settings.seed)
        self.talker = Talker(settings.networks).to(device)
        self.discriminator = Discriminator(settings.networks).to(device)
        for network in (self.talker, self.discriminator):
            broadcast([*network.parameters(), *network.buffers()])
        self.average = copy.deepcopy(self.talker).requires_grad_(False).eval()
        self.dtype = arithmetic(settings.precision, device)
        self.content = frozen(content, device, self.dtype)
        self.identity = frozen(identity, device, self.dtype) if identity is not None else None
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
        self.weight: float | None = None
        """of this rank's episodes among a step's, where ranks have more or fewer"""
        self._phases: _Phases | None = None
        self._recorder: Recorder | None = None

    def step(self, episodes: Episodes, rate: float = 1.0) -> Metrics:
        """One E+G step and the D steps, with this share of the learning rates.

        Returns scalars on the device, and `embedding`, ê [B, N].
        The tensors returned are overwritten by the next step. All batches must have the same shape.
        """
        if self._phases is None:
            self._phases = self._prepare(episodes)
        batch, phases, videos = self._batch, self._phases, episodes.videos.to(self.device)
        if episodes.frames.shape != batch.frames.shape:
            raise ValueError(f"a batch of {list(episodes.frames.shape)} after one of {list(batch.frames.shape)}")
        if self._recorder is not None:
            self._recorder.begin_step()
        self._set_rates(rate)
        with fused_kernels(self.settings.speed.fused_kernels), fixed_shapes():
            batch.frames.copy_(episodes.frames, non_blocking=True)
            batch.drawings.copy_(episodes.drawings, non_blocking=True)
            batch.seen.copy_(self.rows.adopt(videos, phases.embed()))
            batch.rows.copy_(self.rows.rows[videos])
            talker = phases.generate()
            averaging = Averaging(talker.weights, self.weight)
            metrics = dict(talker.metrics)
            for index in range(self.settings.optimization.discriminator_steps):
                judged = phases.judge() if index == 0 else phases.judge_again()
                Averaging(judged.weights, self.weight).wait()
                descend(self.discriminator_optimizer, judged.weights)
                if self.settings.networks.embedder:
                    # Eq. 6 moves W with D; L_MCH draws it to the embeddings beside the first D step.
                    self.rows.step(videos, judged.rows + talker.rows if index == 0 else judged.rows)
                    batch.rows.copy_(self.rows.rows[videos])
                metrics |= judged.metrics
            averaging.wait()
            descend(self.talker_optimizer, talker.weights)
        self.steps += 1
        self._update_average()
        return metrics

    def _prepare(self, episodes: Episodes) -> "_Phases":
        """Make room for batches like this one; the phases, on a GPU as CUDA graphs."""
        size = len(episodes.videos), self.settings.networks.embedding_size
        everywhere = sizes(size[0], self.device)
        if len(set(everywhere)) > 1:
            self.weight, self.rows.sizes = size[0] / sum(everywhere), everywhere
        self._batch = _Batch(
            torch.empty_like(episodes.frames, device=self.device),
            torch.empty_like(episodes.drawings, device=self.device),
            torch.empty(size, device=self.device),
            torch.empty(size[0], dtype=torch.bool, device=self.device),
        )
        if self.device.type == "cuda" and self.settings.speed.fused_kernels:
            check_fused_kernels(self.device)
        if self.device.type == "cuda" and self.settings.speed.graphs:
            recorder = self._recorder = Recorder(self.device)
            return _Phases(
                Replayed(self._embed, recorder),
                Replayed(self._generate, recorder),
                Replayed(self._judge, recorder),
                Replayed(self._judge_again, recorder),
            )
        return _Phases(self._embed, self._generate, self._judge, self._judge_again)

    def _embed(self) -> Tensor:
        """ê of every episode [B, N]; the embeddings of its frames wait for `_generate`."""
        batch = self._batch
        self._frames, self._drawings = to_unit(batch.frames, self.dtype), to_unit(batch.drawings, self.dtype)
        shape = self._frames[:, 1:].shape[:2]
        sources = self._frames[:, 1:].flatten(0, 1), self._drawings[:, 1:].flatten(0, 1)
        with normalised(self.talker.embedder, self.dtype):
            embeddings: Tensor = self.talker.embedder(*sources)
        self._embeddings: Tensor = embeddings.unflatten(0, shape)
        mean: Tensor = self._embeddings.detach().mean(dim=1)
        return mean

    def _generate(self) -> Gradients:
        """Eq. 2: E and G minimise L_CNT + L_ADV + L_MCH; the gradient of rows is that of L_MCH."""
        weights, batch, embeddings = self.settings.losses, self._batch, self._embeddings
        truth, drawing = self._frames[:, 0], self._drawings[:, 0]
        with normalised(self.talker.generator, self.dtype):
            output = self.talker.generator(drawing, embeddings.mean(dim=1))
        # The losses' gradient in the picture comes first: what D and the perceptual networks hold is free before G's.
        picture = output.detach().to(self.dtype).requires_grad_()
        content = self._distance(self.content, picture, truth)
        identity = self._distance(self.identity, picture, truth) if self.identity else content.new_zeros(())
        perceptual = weights.content * content + weights.identity * identity
        of_picture = torch.autograd.grad(perceptual, picture)[0].float()
        rows = self._rows = batch.rows.detach().requires_grad_()
        # Scores and activations serve this step and the first D step: D does not move between them.
        with normalised(self.discriminator, self.dtype), shared_forward() as of_discriminator:
            scores, activations = self.discriminator(picture, drawing, rows)
            real_scores, real_activations = self.discriminator(truth, drawing, rows)
        self._scores = scores, real_scores
        adversarial = adversarial_loss(scores)
        feature_matching = feature_matching_loss(activations, real_activations)
        judged = adversarial + weights.feature_matching * feature_matching
        of_discriminator.wanted = False
        of_picture += torch.autograd.grad(judged, picture, retain_graph=True)[0]
        of_discriminator.wanted = True
        matched = batch.rows.detach().requires_grad_(weights.match_moves_rows)
        match = match_loss(embeddings, matched, batch.seen)
        inputs = [*self.talker.parameters(), *([matched] if weights.match_moves_rows else [])]
        gradients = list(torch.autograd.grad([output, weights.match * match], inputs, [of_picture, None]))
        del self._embeddings  # and with it E's graph
        self._output, mean = output.detach(), embeddings.detach().mean(dim=1)
        metrics = {
            "loss/generator": (perceptual + judged + weights.match * match).detach(),
            "loss/content": content.detach(),
            "loss/identity": identity.detach(),
            "loss/adversarial": adversarial.detach(),
            "loss/feature_matching": feature_matching.detach(),
            "loss/match": match.detach(),
            "embedding/within": (embeddings.detach() - mean[:, None]).square().mean(),
            "contrast/output": self._output.std(),
            "contrast/truth": truth.float().std(),
            "embedding": mean,
        }
        of_rows = gradients.pop() if weights.match_moves_rows else torch.zeros_like(batch.rows)
        return Gradients(gradients, of_rows, metrics)

    def _judge(self) -> Gradients:
        """Eq. 6, the first D step: D and W minimise L_DSC, from the scores of `_generate`."""
        scores = self._scores
        del self._scores  # and with them D's graph, when this is done
        return self._discriminate(*scores)

    def _judge_again(self) -> Gradients:
        """Eq. 6 with D and W as they are now; real and generated frames in one forward pass."""
        batch, drawing = self._batch, self._drawings[:, 0]
        rows = self._rows = batch.rows.detach().requires_grad_()
        frames = torch.cat([self._output.to(self.dtype), self._frames[:, 0]])
        with normalised(self.discriminator, self.dtype):
            scores, _ = self.discriminator(frames, drawing.repeat(2, 1, 1, 1), rows.repeat(2, 1))
        fake, real = scores.chunk(2)
        return self._discriminate(fake, real)

    def _discriminate(self, fake: Tensor, real: Tensor) -> Gradients:
        loss = discriminator_loss(real, fake)
        *gradients, of_rows = torch.autograd.grad(loss, [*self.discriminator.parameters(), self._rows])
        metrics = {
            "loss/discriminator": loss.detach(),
            "score/real": real.detach().mean(),
            "score/fake": fake.detach().mean(),
        }
        return Gradients(gradients, of_rows, metrics)

    def _distance(self, network: PerceptualNetwork, picture: Tensor, truth: Tensor) -> Tensor:
        with torch.no_grad():
            real = network(truth)
        return content_loss(network(picture), real)

    def _set_rates(self, share: float) -> None:
        rates = self.settings.optimization
        set_rate(self.talker_optimizer, share * rates.generator_rate)
        set_rate(self.discriminator_optimizer, share * rates.discriminator_rate)
        self.rows.learning_rate = share * rates.discriminator_rate

    @torch.no_grad()
    def _update_average(self) -> None:
        """EMA of E and G: parameters are averaged, buffers (spectral norm's vectors) are copied."""
        decay = min(self.settings.optimization.ema_decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.talker.parameters()), 1 - decay)
        torch._foreach_copy_(list(self.average.buffers()), list(self.talker.buffers()))


class _Phases(NamedTuple):
    """The parts of a step between which ranks exchange something or weights move."""

    embed: Callable[[], Tensor]
    generate: Callable[[], Gradients]
    judge: Callable[[], Gradients]
    judge_again: Callable[[], Gradients]


@dataclass(frozen=True)
class _Batch:
    """The places in memory of what a step works on."""

    frames: Tensor
    drawings: Tensor
    rows: Tensor
    """W_i [B, N] as they are now"""
    seen: Tensor
    """[B] bool: whether W_i had been visited before"""


@contextmanager
def fixed_shapes() -> Iterator[None]:
    """Within the block cuDNN tries its algorithms for each new shape and keeps the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def to_unit(pictures: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """[..., H, W, 3] uint8 -> [..., 3, H, W] in [-1, 1]; a view with channels last in memory."""
    return (pictures.float() / 127.5 - 1).to(dtype).movedim(-1, -3)


def choose_device(name: str) -> torch.device:
    """auto: a GPU if there is one. Raises SettingsError for cuda without one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError("device=cuda, but PyTorch sees no GPU here: give device=cpu or auto")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def arithmetic(precision: str, device: torch.device) -> torch.dtype:
    """Of maps. precision: bf16, float32, or auto: bfloat16 on GPUs that have it."""
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if precision == "bf16" or (precision == "auto" and able) else torch.float32


def frozen(network: PerceptualNetwork, device: torch.device, dtype: torch.dtype) -> PerceptualNetwork:
    """The network itself, moved to the device; its convolutions in the precision of the step, and so in validation."""
    layout = torch.channels_last if device.type == "cuda" else torch.preserve_format
    network = network.to(device)
    network.convolutions.to(dtype=dtype, memory_format=layout)  # type: ignore[call-overload]
    return network


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of all parameters from now on."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def rate_of(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the last step."""
    return float(optimizer.param_groups[0]["lr"])


def descend(optimizer: torch.optim.Optimizer, gradients: list[Tensor]) -> None:
    """One step of the optimizer; the gradients are in the order of its parameters."""
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
