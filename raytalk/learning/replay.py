"""CUDA graphs: the kernels of a function are recorded once and then launched all at once.

A step of some thousand small kernels is otherwise bound by the time that the CPU needs to launch them.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

T = TypeVar("T")

_WARM_UP = 2
"""steps before the recording"""


class Recorder:
    """What the recorded functions of a step share: memory, and the stream on which they are recorded."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pool = torch.cuda.graph_pool_handle()
        self.stream = torch.cuda.Stream(device)
        self._steps = 0

    def begin_step(self) -> None:
        """Tell that a step begins: in the first ones nothing is recorded, then everything in the same step."""
        self._steps += 1

    @property
    def warming_up(self) -> bool:
        """Libraries still choose their algorithms, and kernels are compiled."""
        return self._steps <= _WARM_UP


class Replayed(Generic[T]):
    """A function without arguments that works on tensors at fixed places in memory, on the recorder's device.

    What it returns lies at a fixed place too: the next call writes over it. Autograd graphs may go from one such
    function to the next, if they share a recorder and are called in the same order always.
    """

    def __init__(self, function: Callable[[], T], recorder: Recorder) -> None:
        self._function, self._recorder = function, recorder
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> T:
        if self._recorder.warming_up:
            return self._warm_up()
        if self._graph is None:
            graph = torch.cuda.CUDAGraph()
            pool, stream = self._recorder.pool, self._recorder.stream
            # Other threads copy batches meanwhile, which the mode "global" forbids.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                self._result = self._function()
            self._graph = graph
        self._graph.replay()
        return self._result

    def _warm_up(self) -> T:
        """On the stream of the recording: autograd remembers on which stream a leaf was first used."""
        stream, current = self._recorder.stream, torch.cuda.current_stream(self._recorder.device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            result = self._function()
        current.wait_stream(stream)
        return result
