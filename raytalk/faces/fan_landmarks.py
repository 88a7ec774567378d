"""FAN-4, face-alignment's landmark network, on batches: crops, heatmaps and their peaks stay on the device.

Every number is the package's own: its crops are OpenCV's to the last bit, its landmarks whole pixels of the frame.
K faces, n frames of H x W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from face_alignment.utils import (
    CENTER_Y_OFFSET,
    CROP_RESOLUTION,
    HEATMAP_RESOLUTION,
    NUM_LANDMARKS,
    REFERENCE_SCALE,
    SCALE_FACTOR,
    shuffle_lr,
)

_ONE = 2048
"""OpenCV's 1 where it weighs pixels"""
_WARM_UP = 2
"""passes before the recording, in which libraries choose their kernels"""


@dataclass(frozen=True)
class Places:
    """Where the crops of K faces lie in their frames."""

    centres: npt.NDArray[np.float64]
    """[K, 2] x, y in frame pixels"""
    sides: npt.NDArray[np.float64]
    """[K] in frame pixels"""

    @classmethod
    def of(cls, boxes: Sequence[npt.NDArray[np.floating]]) -> "Places":
        """As face-alignment takes them from boxes (left, top, right, bottom and more, in frame pixels)."""
        edges = np.asarray([box[:4] for box in boxes], dtype=np.float64)
        extents = edges[:, 2:] - edges[:, :2]
        centres = edges[:, 2:] - extents / 2
        centres[:, 1] -= extents[:, 1] * CENTER_Y_OFFSET
        return cls(centres, extents.sum(1) / REFERENCE_SCALE * SCALE_FACTOR)

    def corners(self) -> torch.Tensor:
        """[K, 4] int64 left, top, right, bottom of the crops in whole frame pixels, rounded as the package does."""
        forward = torch.eye(3).repeat(len(self.sides), 1, 1)
        forward[:, 0, 0] = forward[:, 1, 1] = torch.from_numpy(CROP_RESOLUTION / self.sides)
        forward[:, :2, 2] = torch.from_numpy(CROP_RESOLUTION * (0.5 - self.centres / self.sides[:, None]))
        ends = torch.tensor([[1.0, CROP_RESOLUTION], [1.0, CROP_RESOLUTION], [1.0, 1.0]])
        return (torch.inverse(forward) @ ends)[:, :2].transpose(1, 2).flatten(1).long()

    def to_frames(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """[K, 68, 2] from heatmap pixels to whole frame pixels."""
        across = self.sides[:, None, None] / HEATMAP_RESOLUTION
        start = (self.centres - self.sides[:, None] / 2)[:, None]
        moved: npt.NDArray[np.float64] = np.trunc(points * across + start)
        return moved.astype(np.float32)


class LandmarkNetwork:
    """FAN (the package's, on its device), run on every face and its mirror image.

    network: in float16 or float32, channels last in memory. Half precision is float16 and not bfloat16, because a
    float16 has as many digits as the TF32 in which a GPU computes float32 convolutions.
    batch_size: always as many faces, on a GPU: the seven hundred kernels are recorded as a CUDA graph and launched
    all at once; None for any number of faces.
    """

    def __init__(self, network: Any, device: torch.device, half: bool, batch_size: int | None) -> None:
        self._network = network
        self._half = half
        self._mirrored = shuffle_lr(torch.arange(NUM_LANDMARKS)[None, :, None, None]).flatten().to(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        if batch_size is not None:
            self._record(torch.zeros(batch_size, CROP_RESOLUTION, CROP_RESOLUTION, 3, dtype=torch.uint8, device=device))

    def points(self, crops: torch.Tensor) -> torch.Tensor:
        """[K, 256, 256, 3] uint8 RGB -> [K, 68, 2] float32 in heatmap pixels; the next call may write over them.

        NaN if half precision was too narrow: `widen` and try again.
        """
        if self._graph is None:
            return peaks(self.heatmaps(crops))
        self._crops.copy_(crops)
        self._graph.replay()
        return self._points

    @torch.no_grad()
    def heatmaps(self, crops: torch.Tensor) -> torch.Tensor:
        """[K, 256, 256, 3] uint8 RGB -> [K, 68, 64, 64] float32: the sum over both images."""
        pictures = (crops.float() / 255).to(torch.float16 if self._half else torch.float32).permute(0, 3, 1, 2)
        maps = self._network(torch.cat([pictures, pictures.flip(-1)]))[-1].float()
        straight, mirrored = maps.chunk(2)
        both: torch.Tensor = straight + mirrored[:, self._mirrored].flip(-1)
        return both

    def widen(self) -> bool:
        """Compute in float32 from now on. Returns whether that is a change."""
        changed, self._half = self._half, False
        if changed:
            self._network.float()
            if self._graph is not None:
                self._record(self._crops)
        return changed

    def _record(self, crops: torch.Tensor) -> None:
        self._crops = crops
        for _ in range(_WARM_UP):
            peaks(self.heatmaps(crops))
        graph = torch.cuda.CUDAGraph()
        # Other threads of the process may use the GPU meanwhile, which the mode "global" forbids.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._points = peaks(self.heatmaps(crops))
        self._graph = graph


def cut_crops(frames: torch.Tensor, owners: torch.Tensor, corners: torch.Tensor) -> torch.Tensor:
    """Crops as `face_alignment.utils.crop` makes them.

    frames: [n, H, W, 3] uint8; owners: [K] int64, the frame of each; corners: [K, 4], see Places. Returns
    [K, 256, 256, 3] uint8: OpenCV's bilinear resize in its own whole numbers; black outside the frame.
    """
    x, x_share, x_inside = _taps(corners[:, 0], corners[:, 2], frames.shape[2])
    y, y_share, y_inside = _taps(corners[:, 1], corners[:, 3], frames.shape[1])
    rows = []
    for low in range(2):
        pixels = [
            frames[owners[:, None, None], y[low][:, :, None], x[right][:, None]]
            * (y_inside[low][:, :, None] & x_inside[right][:, None])[..., None]
            * x_share[right][:, None, :, None]
            for right in range(2)
        ]
        rows.append((y_share[low][:, :, None, None] * ((pixels[0] + pixels[1]) >> 4)) >> 16)
    return ((rows[0] + rows[1] + 2) >> 2).to(torch.uint8)


def peaks(heatmaps: torch.Tensor) -> torch.Tensor:
    """[K, 68, 64, 64] -> [K, 68, 2] x, y in heatmap pixels: the highest, a quarter towards its higher neighbour.

    NaN where the heatmap is not finite.
    """
    side = HEATMAP_RESOLUTION
    flat = heatmaps.flatten(2)
    best = flat.argmax(-1, keepdim=True)
    place = torch.cat([best % side, best // side], -1)
    inner = ((place > 0) & (place < side - 1)).all(-1, keepdim=True)
    # Peaks on the edge stay where they are; their neighbours are read somewhere else.
    middle = torch.where(inner, best, side + 1)
    after, before = ([middle + step, middle + side * step] for step in (1, -1))
    rise = flat.gather(-1, torch.cat(after, -1)) - flat.gather(-1, torch.cat(before, -1))
    points: torch.Tensor = place + 0.5 + 0.25 * rise.sign() * inner + 0 * flat.gather(-1, best)
    return points


def _taps(
    first: torch.Tensor, last: torch.Tensor, limit: int
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    """The two pixels between which each of the crop's 256 lies along one axis.

    first, last: [K] ends of the crop in frame pixels; limit: pixels of the frame. Returns their numbers in the frame,
    their shares of 2048 (int32) and whether they are inside, two of [K, 256] each.
    """
    size = (last - first).clamp(min=1)[:, None]
    wanted = torch.arange(CROP_RESOLUTION, device=first.device, dtype=torch.float64) + 0.5
    position = (wanted * (size / CROP_RESOLUTION) - 0.5).float()
    lower = position.floor()
    share = position - lower
    index = [(lower.long() + step).clamp(min=0).minimum(size - 1) + first[:, None] for step in range(2)]
    shares = [(part * _ONE).round().int() for part in (1 - share, share)]
    inside = [(each >= 0) & (each < limit) for each in index]
    return [each.clamp(0, limit - 1) for each in index], shares, inside
