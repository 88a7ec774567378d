"""Batches at a training worker: from Ray Data's iterator to the device, and how long the device was without one."""

import time
from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import pyarrow as pa
import ray.data
import torch
from ray.data.collate_fn import ArrowBatchCollateFn

from raytalk.learning.meta import Episodes

Batch = dict[str, torch.Tensor]
"""`frames` and `drawings` [n, 1 + K, H, W, 3] uint8; `video`, `number` of the run and `faults` [n] int64"""


def batches(
    shard: ray.data.DataIterator,
    size: int,
    ahead: int,
    device: torch.device,
    waited: Callable[[float], None],
    expected: Callable[[int], range] | None = None,
) -> Iterator[Batch]:
    """A worker's share in batches of `size` episodes on `device`, `ahead` of them or more made ready beforehand.

    `waited` is told the seconds for which the device had nothing to do because there was no batch; on a GPU it is told
    of one batch while the next is fetched. expected: the episodes of batch number i, from 0; others are a RuntimeError.
    """
    gpu = device.type == "cuda"
    rows = shard.iter_torch_batches(
        batch_size=1, prefetch_batches=ahead, device="cpu", collate_fn=_FromRow(pinned=gpu), pin_memory=False
    )
    found = _checked(_in_batches(iter(rows), size), expected)
    yield from _on_gpu(found, device, waited) if gpu else _timed(found, waited)


def to_episodes(batch: Batch) -> Episodes:
    """A batch as the step takes it."""
    return Episodes(batch["frames"], batch["drawings"], batch["video"])


class _FromRow(ArrowBatchCollateFn):
    """One row of `raytalk.learning.dealing.COLUMNS` as tensors; Ray calls it in threads beside the training."""

    def __init__(self, pinned: bool) -> None:
        """pinned: into memory that a GPU copies from on its own."""
        self.pinned = pinned

    def __call__(self, batch: pa.Table) -> Batch:  # type: ignore[override]
        numbers = {name: torch.tensor(batch[name][0].as_py(), dtype=torch.int64) for name in _NUMBERS}
        shape = len(numbers["number"]), *batch["shape"][0].as_py()
        return {name: self._pictures(batch[name][0], shape) for name in ("frames", "drawings")} | numbers

    def _pictures(self, value: pa.LargeBinaryScalar, shape: tuple[int, ...]) -> torch.Tensor:
        pictures = torch.empty(shape, dtype=torch.uint8, pin_memory=self.pinned)
        pictures.numpy()[...] = np.frombuffer(value.as_buffer(), np.uint8).reshape(shape)
        return pictures


_NUMBERS = ("video", "number", "faults")


def _in_batches(rows: Iterator[Batch], size: int) -> Iterator[Batch]:
    """Rows of any number of episodes as batches of `size`; only a batch that lies in several rows is copied."""
    left: Batch | None = None
    for row in rows:
        begin, end = 0, len(row["number"])
        if not end:
            continue
        if left is not None:
            begin = min(size - len(left["number"]), end)
            left = {name: _joined(column, row[name][:begin]) for name, column in left.items()}
            if len(left["number"]) < size:
                continue
            yield left
        whole = (end - begin) // size * size
        for at in range(begin, begin + whole, size):
            yield {name: column[at : at + size] for name, column in row.items()}
        left = {name: column[begin + whole :] for name, column in row.items()} if begin + whole < end else None


def _joined(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    out = first.new_empty(len(first) + len(second), *first.shape[1:], pin_memory=first.is_pinned())
    return torch.cat([first, second], out=out)


def _checked(found: Iterator[Batch], expected: Callable[[int], range] | None) -> Iterator[Batch]:
    for step, batch in zip(count(), found, strict=False):
        if expected is not None and batch["number"].tolist() != list(expected(step)):
            raise RuntimeError(
                f"the data has episodes {batch['number'].tolist()} where {list(expected(step))} belong: does another "
                "process write to this run?"
            )
        yield batch


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
