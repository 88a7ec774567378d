"""Small avatars of tiny networks, for tests of what is done with avatars."""

import copy
from typing import Any

import numpy as np
import torch
from toy import TINY_NETWORKS, face_landmarks

from raytalk.avatar import Avatar, AvatarCard
from raytalk.avatar.body import Body
from raytalk.faces.draw import draw_batch
from raytalk.learning.meta import to_unit
from raytalk.networks.generator import Generator
from raytalk.networks.settings import NetworkSettings

WIDE = TINY_NETWORKS | {"resolution": 64, "min_channels": 16, "max_channels": 32, "adain_blocks": 2}
"""networks that every engine takes, with each kind of block"""


def random_avatar(seed: int = 0, networks: dict[str, Any] | None = None, name: str = "Ada") -> Avatar:
    """An FT avatar of random weights, of whom three learning images' landmarks are known."""
    settings = NetworkSettings(**(networks or TINY_NETWORKS))
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = Generator(settings)
    with torch.no_grad():
        for parameter in generator.parameters():  # no gain, bias or shift at zero
            parameter.add_(torch.randn(parameter.shape, generator=random) * 0.02)
    coefficients = (
        generator.projection.bias.detach() + torch.randn(generator.projection.bias.shape, generator=random) * 0.2
    )
    card = AvatarCard(name, "dlib", settings.model_dump(), "nowhere", "FT", consent="given in writing")
    return Avatar(card, Body(generator, settings), torch.zeros(8), coefficients, landmarks(3, settings.resolution, 9))


def landmarks(count: int, size: int = 32, seed: int = 0) -> np.ndarray:
    """[count, 68, 2] of moving faces."""
    random = np.random.default_rng(seed)
    return np.stack([face_landmarks(size, tuple(random.uniform(-0.1, 0.1, 2)), random.uniform()) for _ in range(count)])


def plain(avatar: Avatar, points: np.ndarray) -> np.ndarray:
    """By the generator as it is, nothing folded, in float64; not rounded to whole numbers."""
    generator = copy.deepcopy(avatar.body.generator).double()
    drawings = torch.from_numpy(draw_batch(points, avatar.card.resolution))
    with torch.no_grad():
        pictures = to_unit(drawings).double()
        output = generator.render(pictures, avatar.coefficients.double().expand(len(drawings), -1))
    made: np.ndarray = ((output.double() + 1) * 127.5).movedim(1, -1).numpy()
    return made
