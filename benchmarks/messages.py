"""How large the networks are and what the ranks of a data-parallel run exchange, from the code itself: formulas.

b episodes of each rank, R ranks, N = embedding size, d steps of D for each of E and G. `coordination.py` counts the
same on real processes.
"""

from dataclasses import dataclass

import torch
from torch import nn

from raytalk.learning.meta import Talker
from raytalk.learning.settings import MetatrainSettings
from raytalk.networks.discriminator import Discriminator

FLOAT, INDEX = 4, 8
"""bytes of a weight, of a number of an episode's video"""
ROW_FIELDS = 3
"""numbers for each of a row of W: itself and Adam's two moments"""
WINDOW_SCALARS = 12
"""metrics of a step beside the embedding, which adds its mean and square [N] each"""
NOTHING = 4
"""bytes of a pickled None: what `first_error` gathers while all is well, behind its size"""


@dataclass(frozen=True)
class Module:
    """Numbers of float32 that a network holds."""

    parameters: int
    buffers: int
    """spectral norm's vectors"""

    @property
    def state(self) -> int:
        """Bytes of its state_dict."""
        return FLOAT * (self.parameters + self.buffers)


@dataclass(frozen=True)
class Sizes:
    """Of one preset."""

    embedder: Module
    generator: Module
    """with the projection P"""
    discriminator: Module
    embedding: int
    """N"""
    discriminator_steps: int
    """d"""

    @classmethod
    def of(cls, run: MetatrainSettings) -> "Sizes":
        """Counted on the meta device, where a network costs nothing."""
        with torch.device("meta"):
            talker, discriminator = Talker(run.networks), Discriminator(run.networks)
        parts = (_module(talker.embedder), _module(talker.generator), _module(discriminator))
        return cls(*parts, run.networks.embedding_size, run.optimization.discriminator_steps)

    @property
    def talker(self) -> int:
        """Parameters of E and G."""
        return self.embedder.parameters + self.generator.parameters

    def averaged(self) -> int:
        """Bytes of gradients that a step averages over the ranks: E and G once, D d times."""
        return FLOAT * (self.talker + self.discriminator_steps * self.discriminator.parameters)

    def gathered(self, episodes: int) -> int:
        """Bytes that a rank gives to all others in a step for W: indices with ê once, with gradients d times."""
        return (1 + self.discriminator_steps) * episodes * (INDEX + FLOAT * self.embedding)

    def sent(self, ranks: int, episodes: int) -> float:
        """Bytes that a rank sends in a step, if averages and gathering go round in a ring."""
        return 2 * (ranks - 1) / ranks * self.averaged() + (ranks - 1) * self.gathered(episodes)

    def sent_at_window(self, ranks: int) -> float:
        """Bytes that a rank sends at the end of a window of `log_every` steps, in a ring: figures, faults, no error."""
        figures = 8 * (WINDOW_SCALARS + 2 * self.embedding) + 8
        return 2 * (ranks - 1) / ranks * figures + (ranks - 1) * (8 + NOTHING)

    def same_video(self, ranks: int, episodes: int) -> int:
        """Bytes of the matrix that adds up what episodes of one video say of its row: [R b, R b] float32."""
        return FLOAT * (ranks * episodes) ** 2

    def rows(self, videos: int) -> int:
        """Bytes of W on a device: rows, two moments, visits."""
        return videos * (ROW_FIELDS * FLOAT * self.embedding + INDEX)

    def checkpoint(self, videos: int, name_bytes: float) -> dict[str, float]:
        """Bytes of each file; name_bytes: of a video's id. Headers and the small files, some kB, are left out."""
        moments = 2 * FLOAT * (self.talker + self.discriminator.parameters)
        return {
            "embedder": self.embedder.state,
            "generator": self.generator.state,
            "discriminator": self.discriminator.state,
            "ema": self.embedder.state + self.generator.state,
            "optimizer.pt": moments,
            "video_embeddings": self.rows(videos) + videos * (name_bytes + 1),
        }


def _module(network: nn.Module) -> Module:
    numbers = [sum(tensor.numel() for tensor in part) for part in (network.parameters(), network.buffers())]
    return Module(*numbers)
