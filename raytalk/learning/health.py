"""Watches training over windows of steps: figures for the log, and a stop when going on makes no sense.

Figures stay on the device until the window ends; then one small all-reduce makes them the same on every rank, so that
every rank takes the same decision.
"""

import math

import torch
import torch.distributed as dist
from torch import Tensor

from raytalk.learning.meta import Metrics
from raytalk.learning.settings import GuardSettings


class Window:
    """Means of the step's metrics over a window of steps and all ranks."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps = self._episodes = 0

    def add(self, metrics: Metrics) -> None:
        """Take one step's metrics; `embedding` [B, N] becomes its rms and its spread between videos."""
        scalars = {key: value.float() for key, value in metrics.items() if key != "embedding"}
        embedding = metrics["embedding"].double()
        scalars["_mean"], scalars["_square"] = embedding.mean(dim=0), embedding.square().mean(dim=0)
        for key, value in scalars.items():
            self._sums[key] = self._sums[key] + value if key in self._sums else value.clone()
        self._steps += 1
        self._episodes += len(embedding)

    def reduce(self) -> dict[str, float]:
        """The window's means over all ranks; starts the next window. The same on every rank."""
        keys = sorted(self._sums)
        flat = torch.cat([self._sums[key].reshape(-1).double() for key in keys]) / self._steps
        if dist.is_initialized():
            # A rank counts by its episodes. Their number goes along, so that one message is enough.
            flat = torch.cat([flat * self._episodes, flat.new_tensor([self._episodes])])
            dist.all_reduce(flat)
            flat = flat[:-1] / flat[-1]
        sizes = [self._sums[key].numel() for key in keys]
        means = dict(zip(keys, flat.cpu().split(sizes), strict=True))
        self._sums, self._steps, self._episodes = {}, 0, 0
        mean, square = means.pop("_mean"), means.pop("_square")
        figures = {key: float(value) for key, value in means.items()}
        figures["embedding/rms"] = math.sqrt(max(float(square.mean()), 0.0))
        figures["embedding/between"] = math.sqrt(max(float((square - mean.square()).mean()), 0.0))
        figures["embedding/within"] = math.sqrt(max(figures["embedding/within"], 0.0))
        return figures


class Guard:
    """Says when a run has collapsed (see GuardSettings for the tests)."""

    def __init__(self, settings: GuardSettings, embedding_scale: float, videos: int, embedder: bool = True) -> None:
        """embedder: whether there is one; the tests of embeddings are left out without."""
        self.settings, self.embedding_scale, self.videos, self.embedder = settings, embedding_scale, videos, embedder
        self._streaks: dict[str, int] = {}

    @property
    def suspicious(self) -> bool:
        """Whether a test failed in the last window: no time to keep a checkpoint."""
        return any(self._streaks.values())

    def check(self, figures: dict[str, float]) -> str | None:
        """Why the run must stop, or None. Call it once a window with what `Window.reduce` returned."""
        bad = [key for key, value in figures.items() if not math.isfinite(value)]
        if bad:
            self._streaks["finite"] = 1
            return (
                f"{', '.join(bad)} is not finite: try a lower learning rate, precision=float32, or look for "
                "broken clips"
            )
        limits, rms = self.settings, figures["embedding/rms"]
        tests = {
            "the discriminator tells all real from all generated frames "
            f"(hinge loss {figures['loss/discriminator']:.2g}): lower optimization.discriminator_rate": (
                figures["loss/discriminator"] < limits.discriminator_loss
            ),
            f"the output is flat (contrast {figures['contrast/output']:.2g}, real frames "
            f"{figures['contrast/truth']:.2g}): lower the learning rates": (
                figures["contrast/output"] < limits.contrast * figures["contrast/truth"]
            ),
            f"the embedding is dead (rms {rms:.2g}): lower losses.match, or set losses.match_moves_rows=true": (
                self.embedder and rms / self.embedding_scale < limits.embedding
            ),
            f"the embedding is the same for everybody (spread {figures['embedding/between']:.2g} of rms {rms:.2g}): "
            "lower losses.match": self.embedder
            and self.videos > 1
            and figures["embedding/between"] < limits.spread * rms,
        }
        for index, (reason, failed) in enumerate(tests.items()):
            key = str(index)
            self._streaks[key] = self._streaks.get(key, 0) + 1 if failed else 0
            if self._streaks[key] >= limits.patience:
                return f"{reason}; so for {limits.patience} windows in a row"
        return None
