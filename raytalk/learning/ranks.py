"""What the ranks of a data-parallel run exchange; alone, nothing."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(tensor: Tensor) -> Tensor:
    """[B, ...] of each rank -> [ranks * B, ...], in the order of the ranks."""
    if world_size() == 1:
        return tensor.detach()
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts)


def broadcast(tensors: Sequence[Tensor]) -> None:
    """Everybody takes over the values of rank 0."""
    if world_size() > 1:
        flat = _flat(tensors)
        dist.broadcast(flat, src=0)
        _put_back(flat, tensors)


class Averaging:
    """Replaces tensors by their mean over all ranks, in one message; it runs beside the device until `wait`."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors, self._flat = tensors, None
        if world_size() > 1:
            self._flat = _flat(tensors)
            self._work = dist.all_reduce(self._flat, async_op=True)

    def wait(self) -> None:
        """Return when the tensors hold the mean (on a GPU: let its queue wait for that)."""
        if self._flat is not None:
            self._work.wait()
            self._flat /= world_size()
            _put_back(self._flat, self._tensors)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _put_back(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = flat.split([tensor.numel() for tensor in tensors])
    with torch.no_grad():
        torch._foreach_copy_(list(tensors), [part.view_as(own) for part, own in zip(parts, tensors, strict=True)])
