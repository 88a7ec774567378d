"""An avatar renders a motion, in stretches that fit into memory."""

from collections.abc import Iterator

from raytalk.avatar import Avatar
from raytalk.driving.motion import Motion
from raytalk.faces.video import Frame

_STRETCH_BYTES = 64 << 20
"""of rendered frames that are in memory together"""


def perform(avatar: Avatar, motion: Motion, batch_size: int) -> Iterator[Frame]:
    """Frames in order, HxWx3 uint8 RGB. batch_size: frames rendered together."""
    side = avatar.card.resolution
    stretch = max(batch_size, _STRETCH_BYTES // (3 * side * side) // batch_size * batch_size)
    for start in range(0, len(motion), stretch):
        part = slice(start, start + stretch)
        pupils = None if motion.pupils is None else motion.pupils[part]
        yield from avatar.render(motion.landmarks[part], batch_size, pupils=pupils)
