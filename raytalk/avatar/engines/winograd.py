"""The engine of CPUs: `raytalk.avatar.winograd`, some frames at the same time with a thread for each."""

import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor

from raytalk.avatar.engines.engine import Pictures
from raytalk.avatar.winograd.layer import Workspace
from raytalk.avatar.winograd.network import Network
from raytalk.networks.generator import Generator

_TOGETHER = 2
"""frames that a thread renders together at most: kernels are read once for them"""


class Winograd:
    """As many threads as PyTorch uses; each renders whole frames, since sharing one between them costs too much.

    All engines of a process share them: calls run side by side as far as there are threads.
    """

    name = "winograd"

    def __init__(self, generator: Generator) -> None:
        self._network = Network(generator)
        self._count = torch.get_num_threads()

    def render(self, batches: Iterable[Pictures], coefficients: Tensor, frames: Pictures) -> None:
        """See `Engine`."""
        waiting: deque[Future[None]] = deque()
        done, pool = 0, _threads(self._count)
        try:
            for batch in batches:
                size = min(_TOGETHER, -(-len(batch) // self._count))
                for start in range(0, len(batch), size):
                    part = batch[start : start + size]
                    place = slice(done, done + len(part))
                    own = coefficients if coefficients.dim() == 1 else coefficients[place]
                    waiting.append(pool.submit(_draw, self._network, part, own, frames[place]))
                    done += len(part)
                while len(waiting) > 2 * self._count:
                    waiting.popleft().result()
        finally:
            for future in waiting:
                future.result()


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "render", _begin)


@torch.inference_mode()
def _draw(network: Network, drawings: Pictures, coefficients: Tensor, target: Pictures) -> None:
    target[...] = network(_local.space, torch.from_numpy(drawings), coefficients).numpy()


_local = threading.local()
_setting = threading.Lock()


def _begin() -> None:
    """In each thread: PyTorch is not to spread a thread's work over others."""
    _local.space = Workspace()
    with _setting:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        # What is set is also what threads begin with that PyTorch has not met: leave that as it was.
        starter = threading.Thread(target=torch.set_num_threads, args=(before,))
        starter.start()
        starter.join()
