"""G(y, ê; ψ, P): a landmark drawing becomes a frame of the person embedded in ê (Section 3.1)."""

import torch
from torch import Tensor, nn

from raytalk.networks.blocks import AdaINBlock, AdaptiveInstanceNormRelu, DownBlock, SelfAttention
from raytalk.networks.settings import GENERATOR_BOTTLENECK, NetworkSettings
from raytalk.networks.spectral import Convolution, Linear


class Projection(nn.Module):
    """P: an embedding becomes the person-specific parameters ψ̂ = P ê, all adaptive instance norm coefficients.

    The bias starts at one for scales and at zero for shifts, so that an empty embedding means plain instance norm.
    """

    def __init__(self, embedding_size: int, norms: list[AdaptiveInstanceNormRelu], scale: float) -> None:
        super().__init__()
        self.scale = scale
        coefficients = [norm.coefficients for norm in norms]
        self.linear = Linear(embedding_size, sum(coefficients))
        self.bias = nn.Parameter(torch.cat([_plain(count) for count in coefficients]))

    def forward(self, embedding: Tensor) -> Tensor:  # [N, embedding_size] -> [N, coefficients], float32
        coefficients: Tensor = self.linear(embedding) * self.scale
        return coefficients + self.bias


class Generator(nn.Module):
    """G: down to 16x16 with instance norm, residual blocks and up blocks with adaptive instance norm."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        heights = settings.heights(GENERATOR_BOTTLENECK)
        self.down = nn.ModuleList()
        channels = 3
        for index, height in enumerate(heights):
            block: nn.Module = DownBlock(channels, settings.channels(height), norm=index > 0, first=index == 0)
            channels = settings.channels(height)
            attends = height == settings.attention_down
            self.down.append(nn.Sequential(block, SelfAttention(channels)) if attends else block)
        self.middle = nn.ModuleList(AdaINBlock(channels, channels, up=False) for _ in range(settings.adain_blocks))
        self.up, self.attention = nn.ModuleList(), nn.ModuleDict()
        for index, height in enumerate(reversed(heights)):
            self.up.append(AdaINBlock(channels, settings.channels(height), up=True))
            channels = settings.channels(height)
            if 2 * height == settings.attention_up:
                self.attention[str(index)] = SelfAttention(channels)
        self.last_norm = AdaptiveInstanceNormRelu(channels)
        self.last = Convolution(channels, 3, 3)
        norms = [module for module in self.modules() if isinstance(module, AdaptiveInstanceNormRelu)]
        self.projection = Projection(settings.embedding_size, norms, settings.projection_scale)

    def forward(self, drawings: Tensor, embedding: Tensor) -> Tensor:
        """drawings [N, 3, H, W] in [-1, 1], embedding [N, embedding_size] -> frames like the drawings, float32."""
        return self.render(drawings, self.projection(embedding))

    def render(self, drawings: Tensor, coefficients: Tensor) -> Tensor:
        """The same from ψ' [N, coefficients], which few-shot learning trains (Section 3.3)."""
        x = drawings
        for block in self.down:
            x = block(x)
        blocks = [*self.middle, *self.up]
        sizes = [block.coefficients for block in blocks] + [self.last_norm.coefficients]
        *parts, last = coefficients.split(sizes, dim=1)
        for index, (block, part) in enumerate(zip(blocks, parts, strict=True)):
            x = block(x, part)
            key = str(index - len(self.middle))
            if key in self.attention:
                x = self.attention[key](x)
        return torch.tanh(self.last(self.last_norm(x, last)).float())


def _plain(count: int) -> Tensor:
    return torch.cat([torch.ones(count // 2), torch.zeros(count // 2)])
