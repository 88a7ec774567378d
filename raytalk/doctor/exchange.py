"""An all-reduce between processes, as data-parallel training does it, checked and timed. Plain torch."""

import datetime
import socket
import time
from dataclasses import dataclass

import torch
import torch.distributed as dist

_ROUNDS = 5


@dataclass(frozen=True)
class Exchanged:
    """What one rank saw."""

    backend: str
    ranks: int
    mebibytes: int
    seconds: float
    """of one all-reduce, on average"""
    right: bool
    """whether the sum was the sum"""

    @property
    def gigabytes_per_second(self) -> float:
        """Bus bandwidth, as NCCL's own tests count it: 2 (n - 1) / n times the bytes of the message."""
        return 2 * (self.ranks - 1) / self.ranks * self.mebibytes * 2**20 / self.seconds / 1e9


def meeting_place() -> str:
    """host:port on this machine where ranks can meet; the port is free at this moment."""
    host = own_address()
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"{host}:{probe.getsockname()[1]}"


def own_address() -> str:
    """The address at which other nodes reach this one, as Ray knows it."""
    import ray

    return str(ray.util.get_node_ip_address()) if ray.is_initialized() else "127.0.0.1"


def exchange(rank: int, ranks: int, place: str, backend: str, mebibytes: int, timeout: float) -> Exchanged:
    """This rank's part. Raises RuntimeError (torch's DistError) if the others do not come or do not answer."""
    device = torch.device("cuda" if backend == "nccl" else "cpu")
    limit = datetime.timedelta(seconds=timeout)
    dist.init_process_group(backend, init_method=f"tcp://{place}", rank=rank, world_size=ranks, timeout=limit)
    try:
        values = torch.full((mebibytes * 2**18,), float(rank + 1), device=device)
        dist.all_reduce(values)
        right = bool((values == ranks * (ranks + 1) / 2).all())
        values.fill_(1.0)
        _wait(device)
        start = time.perf_counter()
        for _ in range(_ROUNDS):
            dist.all_reduce(values)
        _wait(device)
        seconds = (time.perf_counter() - start) / _ROUNDS
    finally:
        dist.destroy_process_group()
    return Exchanged(backend, ranks, mebibytes, seconds, right)


def _wait(device: torch.device) -> None:
    dist.barrier()
    if device.type == "cuda":
        torch.cuda.synchronize()
