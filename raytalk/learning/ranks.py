"""What the ranks of a data-parallel run exchange; alone, nothing."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from raytalk.errors import RaytalkError

T = TypeVar("T")


def world_size() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is."""
    return dist.get_rank() if dist.is_initialized() else 0


def sizes(own: int, device: torch.device) -> list[int]:
    """How many episodes of a step each rank has, from every rank's own number."""
    if world_size() == 1:
        return [own]
    return [int(size) for size in gather(torch.tensor([own], device=device))]


def gather(tensor: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
    """[B, ...] of each rank -> [all B, ...], in the order of the ranks.

    sizes: B of each rank, where they differ; None: B is the same on all.
    """
    if world_size() == 1:
        return tensor.detach()
    own = tensor.detach().contiguous()
    most = max(sizes) if sizes else len(own)
    if len(own) < most:  # the backends take tensors of one size alone
        own = torch.cat([own, own.new_zeros(most - len(own), *own.shape[1:])])
    parts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(parts, own)
    return torch.cat(parts if sizes is None else [part[:size] for part, size in zip(parts, sizes, strict=True)])


def broadcast(tensors: Sequence[Tensor]) -> None:
    """Everybody takes over the values of rank 0."""
    if world_size() > 1:
        flat = _flat(tensors)
        dist.broadcast(flat, src=0)
        _put_back(flat, tensors)


class Averaging:
    """Replaces tensors by their mean over all ranks, in one message; it runs beside the device until `wait`.

    weight: of this rank in the mean, all together are 1; None: all ranks count the same.
    """

    def __init__(self, tensors: Sequence[Tensor], weight: float | None = None) -> None:
        self._tensors, self._flat = tensors, None
        if world_size() > 1:
            self._flat = _flat(tensors)
            self._flat *= 1 / world_size() if weight is None else weight
            self._work = dist.all_reduce(self._flat, async_op=True)

    def wait(self) -> None:
        """Return when the tensors hold the mean (on a GPU: let its queue wait for that)."""
        if self._flat is not None:
            self._work.wait()
            _put_back(self._flat, self._tensors)


def total(count: Tensor) -> float:
    """The sum over all ranks."""
    summed = count.clone()
    if world_size() > 1:
        dist.all_reduce(summed)
    return float(summed)


def from_first(value: T) -> T:
    """What rank 0 says, on every rank."""
    if world_size() == 1:
        return value
    said: list[Any] = [value]
    dist.broadcast_object_list(said, src=0)
    return said[0]  # type: ignore[no-any-return]


def attempt(action: Callable[[], T]) -> tuple[T | None, RaytalkError | None]:
    """What a rank does that may fail for a reason that a person must mend: the others hear of it by `first_error`."""
    try:
        return action(), None
    except RaytalkError as error:
        return None, error


def first_error(error: RaytalkError | None) -> RaytalkError | None:
    """The error of the lowest rank that has one: the same on every rank."""
    if world_size() == 1:
        return error
    everywhere: list[RaytalkError | None] = [None] * world_size()
    dist.all_gather_object(everywhere, error)
    return next((found for found in everywhere if found is not None), None)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _put_back(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = flat.split([tensor.numel() for tensor in tensors])
    with torch.no_grad():
        torch._foreach_copy_(list(tensors), [part.view_as(own) for part, own in zip(parts, tensors, strict=True)])
