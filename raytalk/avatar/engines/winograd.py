"""The engine of CPUs: `raytalk.avatar.winograd`, some frames at the same time with a thread for each."""

import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from raytalk.avatar.engines.engine import Pictures
from raytalk.avatar.winograd.layer import Workspace
from raytalk.avatar.winograd.network import Network
from raytalk.networks.generator import Generator

_TOGETHER = 2
"""frames that a thread renders together at most: kernels are read once for them"""


class Winograd:
    """As many threads as PyTorch uses; each renders whole frames, since sharing one between them costs too much."""

    name = "winograd"

    def __init__(self, generator: Generator) -> None:
        self._network = Network(generator)
        self._count = torch.get_num_threads()
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(self._count, "render", _begin, (self._local,))
        self._lock = threading.Lock()

    def render(self, batches: Iterable[Pictures], coefficients: Tensor, frames: Pictures) -> None:
        """See `Engine`."""
        waiting: deque[Future[None]] = deque()
        done = 0
        with self._lock:
            try:
                for batch in batches:
                    size = min(_TOGETHER, -(-len(batch) // self._count))
                    for start in range(0, len(batch), size):
                        part = batch[start : start + size]
                        target = frames[done : done + len(part)]
                        waiting.append(self._pool.submit(self._draw, part, coefficients, target))
                        done += len(part)
                    while len(waiting) > 2 * self._count:
                        waiting.popleft().result()
            finally:
                for future in waiting:
                    future.result()

    @torch.inference_mode()
    def _draw(self, drawings: Pictures, coefficients: Tensor, target: Pictures) -> None:
        target[...] = self._network(self._local.space, torch.from_numpy(drawings), coefficients).numpy()


_setting = threading.Lock()


def _begin(local: threading.local) -> None:
    """In each thread: PyTorch is not to spread a thread's work over others."""
    local.space = Workspace()
    with _setting:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        # What is set is also what threads begin with that PyTorch has not met: leave that as it was.
        starter = threading.Thread(target=torch.set_num_threads, args=(before,))
        starter.start()
        starter.join()
