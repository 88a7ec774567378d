"""Batches at a training worker: from Ray Data's iterator to the device, and how long the device was without one."""

import time
from collections.abc import Callable, Iterator

import ray.data
import torch

from raytalk.learning.meta import Episodes

Batch = dict[str, torch.Tensor]
"""the columns of `raytalk.learning.feed.training_dataset`"""


def batches(
    shard: ray.data.DataIterator, size: int, ahead: int, device: torch.device, waited: Callable[[float], None]
) -> Iterator[Batch]:
    """A worker's share in batches of `size` episodes on `device`, `ahead` of them made ready beforehand.

    `waited` is told the seconds for which the device had nothing to do because there was no batch; on a GPU it is told
    of one batch while the next is fetched.
    """
    gpu = device.type == "cuda"
    found = iter(
        shard.iter_torch_batches(batch_size=size, prefetch_batches=ahead, drop_last=True, device="cpu", pin_memory=gpu)
    )
    yield from _on_gpu(found, device, waited) if gpu else _timed(found, waited)


def to_episodes(batch: Batch) -> Episodes:
    """A batch of `iter_torch_batches` as the step takes it."""
    return Episodes(batch["frames"], batch["drawings"], batch["video"])


def _timed(found: Iterator[Batch], waited: Callable[[float], None]) -> Iterator[Batch]:
    while True:
        start = time.perf_counter()
        batch = next(found, None)
        waited(time.perf_counter() - start)
        if batch is None:
            return
        yield batch


def _on_gpu(found: Iterator[Batch], device: torch.device, waited: Callable[[float], None]) -> Iterator[Batch]:
    """Batches in pinned memory, copied to the GPU while it works on the step before."""
    stream, copies = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    idle: tuple[torch.cuda.Event, torch.cuda.Event] | None = None
    while True:
        done = _mark(stream)
        if idle is not None:
            # One step at work and one in the queue keep the GPU busy. Without a bound the queue would take in batches
            # as fast as they come, and waiting for more of them would look like a GPU that has nothing to do.
            idle[1].synchronize()
            waited(idle[0].elapsed_time(idle[1]) / 1e3)
        batch = next(found, None)
        if batch is None:
            return
        with torch.cuda.stream(copies):
            arrived = {name: column.to(device, non_blocking=True) for name, column in batch.items()}
        stream.wait_stream(copies)
        for column in arrived.values():
            column.record_stream(stream)
        idle = done, _mark(stream)
        yield arrived


def _mark(stream: torch.cuda.Stream) -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True, blocking=True)
    event.record(stream)
    return event
