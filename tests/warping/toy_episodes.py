"""Batches of toy people, without Ray and files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from toy import toy_clip

from raytalk.clips.episodes import decode_and_draw
from raytalk.learning.meta import Episodes

TINY: dict[str, Any] = {
    "network": {"resolution": 32, "min_channels": 16, "max_channels": 48},
    "data": {"shots": 2, "shuffle_files": 2},
    "batch_size": 4,
    "losses": {"content": 0.0},
}
"""as settings: a network that costs nothing"""


def toy_pairs(people: Sequence[int], size: int = 32, frames: int = 10) -> list[list[Any]]:
    """For each person all pairs of a frame and its drawing, [size, size, 3] uint8."""
    clips = [toy_clip(person, frames=frames, size=size) for person in people]
    return [[decode_and_draw(clip, index, size) for index in range(frames)] for clip in clips]


def toy_batch(people: list[list[Any]], number: int, batch: int = 8, shots: int = 2) -> Episodes:
    """Batch `number`, always the same."""
    random = np.random.default_rng(number)
    chosen = [
        [people[person][index] for index in random.permutation(len(people[person]))[: 1 + shots]]
        for person in random.integers(0, len(people), batch)
    ]
    frames, drawings = (torch.tensor(np.array([[pair[part] for pair in pairs] for pairs in chosen])) for part in (0, 1))
    return Episodes(frames, drawings, torch.zeros(batch, dtype=torch.long))
