"""Whether a generator can be rendered this way; importing this starts no compiler."""

from raytalk.networks.generator import Generator
from raytalk.networks.spectral import Convolution

BLOCK = 16
"""channels that are done at a time"""


def fits(generator: Generator) -> bool:
    """Channels of its 3x3 convolutions come in blocks, but for those of pictures."""
    layers = [layer for layer in generator.modules() if isinstance(layer, Convolution) and layer.size == 3]
    wide = [size for layer in layers for size in (layer.channels_in, layer.channels_out)]
    return all(size == 3 or size % BLOCK == 0 for size in wide)
