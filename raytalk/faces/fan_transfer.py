"""Frames on their way to the device and results on their way back, so that neither side waits for the other.

On a CPU all of it happens at once.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

T = TypeVar("T")


def to_device(frames: Sequence[npt.NDArray[np.uint8]], room: int, device: torch.device) -> torch.Tensor:
    """Frames of one size (HxWx3 uint8) as [room, H, W, 3] uint8 on `device`; what is beyond the frames is left unset.

    On a GPU the copy runs on after the call: results later in the same stream see the whole of it.
    """
    staging = torch.empty((room, *frames[0].shape), dtype=torch.uint8, pin_memory=device.type == "cuda")
    for row, frame in zip(staging.numpy(), frames, strict=False):
        row[:] = frame
    return staging.to(device, non_blocking=True)


class Later:
    """Numbers on their way from the device."""

    def __init__(self, values: torch.Tensor) -> None:
        self._values = values.to("cpu", non_blocking=True)
        self._arrived = None
        if values.is_cuda:
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(values.device))

    def read(self) -> npt.NDArray[Any]:
        """The same shape and type; waits for them, but not for what was asked of the device afterwards."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._values.numpy()


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each given once the next is made: the device works on the next while one is being read."""
    for waiting in items:
        for item in items:
            yield waiting
            waiting = item
        yield waiting


def shrink(frames: torch.Tensor, scale: float) -> torch.Tensor:
    """[n, H, W, 3] uint8 made smaller by `scale` <= 1, each pixel the mean of its area, as OpenCV's INTER_AREA."""
    if scale == 1:
        return frames
    rows, row_shares = _areas(frames.shape[1], scale, frames.device)
    columns, column_shares = _areas(frames.shape[2], scale, frames.device)
    lower = _weighted(frames, 1, rows, row_shares[..., None, None])
    return _weighted(lower, 2, columns, column_shares[..., None]).round_().to(torch.uint8)


def _weighted(frames: torch.Tensor, dim: int, index: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    total = frames.index_select(dim, index[0]) * shares[0]
    for each, share in zip(index[1:], shares[1:], strict=True):
        total.addcmul_(frames.index_select(dim, each).float(), share)
    return total


@functools.lru_cache(maxsize=32)
def _areas(size: int, scale: float, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Which pixels each smaller pixel covers, and its share of each: int64 and float32 [most of them, smaller size]."""
    low = torch.arange(max(1, round(size * scale)), dtype=torch.float64) / scale
    high = (low + 1 / scale).clamp(max=size)
    index = low.floor() + torch.arange(math.ceil(1 / scale) + 1, dtype=torch.float64)[:, None]
    share = (torch.minimum(high, index + 1) - torch.maximum(low, index)).clamp(min=0)
    share = (share / share.sum(0)).float()
    used = (share > 0).any(1)
    return index[used].long().clamp(max=size - 1).to(device), share[used].to(device)
