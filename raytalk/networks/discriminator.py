"""D(x, y, i; θ, W, w0, b): how realistic a frame is, how well it fits the drawing and the video (Eq. 4)."""

import torch
from torch import Tensor, nn

from raytalk.networks.blocks import DownBlock, pool
from raytalk.networks.embedder import down_blocks
from raytalk.networks.settings import NetworkSettings
from raytalk.networks.spectral import stacked


class Discriminator(nn.Module):
    """V (θ), w0 and b. The rows of W are kept apart, in `raytalk.learning.video_embeddings`."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.blocks = down_blocks(settings)
        self.blocks.append(DownBlock(settings.max_channels, settings.max_channels, down=False))
        self.w0 = nn.Parameter(torch.randn(settings.embedding_size) * 0.02)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, frames: Tensor, drawings: Tensor, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        """frames and drawings [N, 3, H, W] in [-1, 1], rows W_i [N, embedding_size].

        Returns the realism scores r = V·(W_i + w0) + b [N] float32 and the activations after each residual block
        (and its attention), which feature matching compares.
        """
        vectors, activations = self.look(frames, drawings)
        return (vectors * (rows + self.w0)).sum(dim=1) + self.bias, activations

    def look(self, frames: Tensor, drawings: Tensor) -> tuple[Tensor, list[Tensor]]:
        """V(x, y; θ) [N, embedding_size] float32, without what it is multiplied with; and the activations."""
        x = stacked(frames, drawings)
        activations = []
        for block in self.blocks:
            x = block(x)
            activations.append(x)
        return pool(x), activations
