"""E(x, y; φ): a frame and its landmark drawing become an embedding of the person (Section 3.1)."""

import torch
from torch import Tensor, nn

from raytalk.networks.blocks import DownBlock, SelfAttention, pool
from raytalk.networks.settings import DISCRIMINATOR_BOTTLENECK, NetworkSettings
from raytalk.networks.spectral import stacked


def down_blocks(settings: NetworkSettings) -> nn.ModuleList:
    """The convolutional body that E and D have in common: 6 channels at full resolution to 4x4 features."""
    blocks = nn.ModuleList()
    channels = 6
    for index, height in enumerate(settings.heights(DISCRIMINATOR_BOTTLENECK)):
        block: nn.Module = DownBlock(channels, settings.channels(height), first=index == 0)
        channels = settings.channels(height)
        blocks.append(nn.Sequential(block, SelfAttention(channels)) if height == settings.attention_down else block)
    return blocks


class Embedder(nn.Module):
    """E: no normalisation, six down blocks at 256 pixels, sum pooling over space, ReLU."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.scale = settings.embedding_scale
        self.blocks = down_blocks(settings)

    def forward(self, frames: Tensor, drawings: Tensor) -> Tensor:
        """frames and drawings [N, 3, H, W] in [-1, 1] -> embeddings [N, embedding_size] float32, not negative."""
        x = stacked(frames, drawings)
        for block in self.blocks:
            x = block(x)
        return pool(x) * self.scale


class SharedEmbedding(nn.Module):
    """In place of E in a model without one (`networks.embedder=false`): the same learned vector for everybody."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(settings.embedding_size))

    def forward(self, frames: Tensor, drawings: Tensor) -> Tensor:
        """frames and drawings [N, 3, H, W] -> [N, embedding_size] float32."""
        return self.vector.expand(len(frames), -1)
