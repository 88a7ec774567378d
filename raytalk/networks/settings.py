"""The size of the networks."""

from typing import Self

import pydantic

from raytalk.config import Settings

GENERATOR_BOTTLENECK = 16
DISCRIMINATOR_BOTTLENECK = 4


class NetworkSettings(Settings):
    """Resolution and channel limits; every layer's size follows from them."""

    resolution: int = pydantic.Field(256, ge=32, le=1024)
    """height and width of frames and drawings in pixels; a power of two"""
    min_channels: int = pydantic.Field(64, ge=8)
    """channels of the block next to the picture; they double with every halving of the resolution"""
    max_channels: int = pydantic.Field(512, ge=8)
    """upper limit of channels, and N, the length of an embedding"""
    attention_down: int = 32
    """height at which E, D and the generator's way down attend to themselves; 0: never"""
    attention_up: int = 64
    """height at which the generator's way up attends to itself; 0: never"""
    adain_blocks: int = pydantic.Field(4, ge=1)
    """residual blocks at the generator's bottleneck (16x16)"""
    embedder: bool = True
    """whether there is an E; false: one learned embedding for everybody, so that G translates drawings into pictures
    directly and only fine-tuning tells it whom to draw (a baseline for comparison)"""
    embedding_scale: float = pydantic.Field(1 / 64, gt=0)
    """factor on the embedder's pooled output, so that embeddings live at the scale of the rows of W and of w0"""
    projection_scale: float = pydantic.Field(96.0, gt=0)
    """factor on P's output, which undoes `embedding_scale` for the generator"""

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if self.resolution & (self.resolution - 1):
            raise ValueError(f"networks.resolution={self.resolution} must be a power of two")
        if self.max_channels < self.min_channels:
            raise ValueError(f"networks.max_channels={self.max_channels} is below min_channels={self.min_channels}")
        for name, size in (("attention_down", self.attention_down), ("attention_up", self.attention_up)):
            possible = self.heights(GENERATOR_BOTTLENECK)
            if name == "attention_up":
                possible = [2 * height for height in possible]
            if size and size not in possible:
                sizes = ", ".join(map(str, sorted(possible)))
                raise ValueError(f"networks.{name}={size} must be 0 or one of {sizes}")
        return self

    @property
    def embedding_size(self) -> int:
        """N, the length of e, W_i and w0."""
        return self.max_channels

    def channels(self, height: int) -> int:
        """Channels of the features that are `height` pixels high, below the full resolution."""
        return min(self.max_channels, self.min_channels * (self.resolution // 2) // height)

    def heights(self, bottleneck: int) -> list[int]:
        """The heights after each down block, from half the resolution to `bottleneck`."""
        heights = []
        height = self.resolution
        while height > bottleneck:
            height //= 2
            heights.append(height)
        return heights
