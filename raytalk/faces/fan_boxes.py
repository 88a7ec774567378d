"""SFD, face-alignment's search for faces, on batches; what the package computes one candidate at a time in one go.

n frames of H x W pixels, C cells (each of six levels has one for every 4, 8, ... 128 pixels).
"""

import functools
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
from face_alignment.detection.sfd.bbox import nms

_MEAN = (104.0, 117.0, 123.0)
"""of blue, green and red, 0..255"""
_FIRST_STRIDE = 4
_CELL_SIDE = 4
"""a cell's own box is this many strides wide"""
_CENTRE_VARIANCE, _EXTENT_VARIANCE = 0.1, 0.2
_OVERLAP = 0.3
_MOST_CANDIDATES = 1000
"""looked at in a frame, the surest first: one face gives some ten"""


class BoxSearch:
    """SFD's network (see `Sfd`; on its device, of `dtype`) and what turns its maps into boxes."""

    def __init__(
        self, network: Callable[[torch.Tensor], list[torch.Tensor]], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.network = network
        self._dtype = dtype
        self._mean = torch.tensor(_MEAN, device=device)

    def candidates(self, frames: torch.Tensor) -> torch.Tensor:
        """[n, H, W, 3] uint8 RGB -> [n, 1000 or fewer, 5] float32: left, top, right, bottom in pixels, score 0..1."""
        return self.surest(self.maps(frames))

    @torch.no_grad()
    def maps(self, frames: torch.Tensor) -> list[torch.Tensor]:
        """What the network says: for each level the scores [n, 2, h, w] and the boxes' offsets [n, 4, h, w]."""
        pictures = (frames.flip(-1) - self._mean).to(self._dtype).permute(0, 3, 1, 2)
        return self.network(pictures)

    @torch.no_grad()
    def surest(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """The boxes of the highest scores, in falling order: [n, 1000 or fewer, 5]."""
        scores = torch.cat([level.float().softmax(1)[:, 1].flatten(1) for level in maps[::2]], 1)  # [n, C]
        offsets = torch.cat([level.flatten(2) for level in maps[1::2]], 2).float()  # [n, 4, C]
        score, index = scores.topk(min(_MOST_CANDIDATES, scores.shape[1]))
        offset = offsets.gather(2, index[:, None].expand(-1, 4, -1)).transpose(1, 2)
        cell = _cells(tuple((level.shape[2], level.shape[3]) for level in maps[::2]), scores.device)[index]
        side = cell[..., 2:]
        centre = cell[..., :2] + offset[..., :2] * _CENTRE_VARIANCE * side
        half = side * (offset[..., 2:] * _EXTENT_VARIANCE).exp() / 2
        return torch.cat([centre - half, centre + half, score[..., None]], 2)


def without_doubles(candidates: npt.NDArray[np.float32], threshold: float) -> list[npt.NDArray[np.float64]]:
    """Boxes ([5] each) of one frame's candidates ([k, 5]) above `threshold`, the surest of those that overlap."""
    sure = candidates[candidates[:, 4] > threshold].astype(np.float64)
    kept: Iterable[int] = nms(sure, _OVERLAP)
    return [sure[index] for index in kept]


@functools.lru_cache(maxsize=32)
def _cells(levels: tuple[tuple[int, int], ...], device: torch.device) -> torch.Tensor:
    """[C, 3] x, y of the centre and side of the box that each cell starts from, in pixels."""
    cells = []
    for number, (height, width) in enumerate(levels):
        stride = _FIRST_STRIDE * 2**number
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        cells.append(torch.stack([x, y, torch.full_like(x, _CELL_SIDE)], -1).reshape(-1, 3) * stride)
    return torch.cat(cells).to(device)
