"""The engine of GPUs: the kernels of a batch are recorded once as a CUDA graph and launched together from then on.

A lane is a recording with places in memory of its own and a stream to run on. While one lane computes, another's
drawings go up and a third's frames come down; kernels of small batches, which leave most of the GPU idle, overlap too.
"""

import threading
import weakref
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from raytalk.avatar.engines.engine import Pictures
from raytalk.avatar.lean import Lean
from raytalk.errors import SettingsError
from raytalk.learning.meta import fixed_shapes
from raytalk.networks.generator import Generator
from raytalk.networks.operations import check_fused_kernels, fused_kernels

_LANES = 3
_WARM_UP = 2
"""runs before a recording: libraries choose their algorithms, kernels are compiled"""
_recorder = ThreadPoolExecutor(1, "record")
"""One thread of the process: what surrounds a recording is set for all threads, and each thread has to find cuDNN's
fastest algorithms for itself, which takes seconds; this one has found them when the second person comes."""


class Graphs:
    """Lanes for each size of batch that was asked for, recorded when they are needed first."""

    name = "graphs"

    def __init__(self, generator: Generator, device: torch.device, dtype: torch.dtype) -> None:
        self._device = device
        self._lean = Lean(generator, dtype).to(device)
        self._fused = _can_compile(device)
        self._lanes: dict[int, list[_Lane]] = {}
        self._lock = threading.Lock()

    @torch.inference_mode()
    def render(self, batches: Iterable[Pictures], coefficients: Tensor, frames: Pictures) -> None:
        """See `Engine`."""
        running: deque[_Lane] = deque()
        with self._lock, torch.cuda.device(self._device):
            try:
                started = done = 0
                for batch in batches:
                    lane = self._prepared(len(batch), batch.shape[1], started % _LANES)
                    while len(running) == _LANES or lane in running:
                        running.popleft().finish()
                    place = slice(done, done + len(batch))
                    lane.start(batch, coefficients if coefficients.dim() == 1 else coefficients[place], frames[place])
                    running.append(lane)
                    started, done = started + 1, done + len(batch)
            finally:
                for lane in running:
                    lane.finish()

    def replay(self, count: int, side: int) -> None:
        """The kernels of one batch on the current stream, for a stopwatch; something must have been rendered before."""
        self._prepared(count, side, 0).replay()

    def _prepared(self, count: int, side: int, number: int) -> "_Lane":
        """A lane for at least so many frames, few of them idle; those of a size have numbers below _LANES."""
        fitting = [size for size in self._lanes if count <= size < 4 * count]
        size = min(fitting) if fitting else 1 << (count - 1).bit_length()
        lanes = self._lanes.setdefault(size, [])
        while len(lanes) <= number:
            lanes.append(_recorder.submit(self._record, size, side).result())
        return lanes[number]

    @torch.inference_mode()
    def _record(self, size: int, side: int) -> "_Lane":
        with torch.cuda.device(self._device), fused_kernels(self._fused), fixed_shapes():
            return _Lane(self._lean, self._device, size, side)


class _Lane:
    """One recording, for batches of up to `size` pictures of side x side pixels."""

    def __init__(self, lean: Lean, device: torch.device, size: int, side: int) -> None:
        shape = (size, side, side, 3)
        self._up, self._down = (torch.zeros(shape, dtype=torch.uint8, pin_memory=True) for _ in range(2))
        self._host_up, self._host_down = self._up.numpy(), self._down.numpy()
        self._host_coefficients = torch.zeros((size, sum(lean.sizes)), pin_memory=True)
        self._drawings = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._coefficients = torch.zeros_like(self._host_coefficients, device=device)
        self._shown: weakref.ref[Tensor] | None = None
        self._finished = torch.cuda.Event()
        self._stream, current = torch.cuda.Stream(device), torch.cuda.current_stream(device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UP):
                lean(self._drawings, self._coefficients)
        self._stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        # A pool of its own, since lanes run at the same time. Other threads may use the GPU during the recording, which
        # the mode "global" forbids.
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            self._frames = lean(self._drawings, self._coefficients)

    def start(self, drawings: Pictures, coefficients: Tensor, frames: Pictures) -> None:
        """Begin to render; `frames` are there after `finish`. coefficients: [C], or [N, C]."""
        count = len(drawings)
        self._host_up[:count] = drawings
        with torch.cuda.stream(self._stream):
            self._show(coefficients, count)
            self._drawings[:count].copy_(self._up[:count], non_blocking=True)
            self._graph.replay()
            self._down[:count].copy_(self._frames[:count], non_blocking=True)
            self._finished.record(self._stream)
        self._target = frames

    def _show(self, coefficients: Tensor, count: int) -> None:
        """Put ψ' where the recording reads it."""
        if coefficients.dim() == 1:
            # The same person again, mostly: all rows are theirs already.
            if self._shown is not None and self._shown() is coefficients:
                return
            self._host_coefficients.copy_(coefficients.expand_as(self._host_coefficients))
            self._coefficients.copy_(self._host_coefficients, non_blocking=True)
            self._shown = weakref.ref(coefficients)
        else:
            self._host_coefficients[:count] = coefficients
            self._coefficients[:count].copy_(self._host_coefficients[:count], non_blocking=True)
            self._shown = None

    def replay(self) -> None:
        """The kernels alone."""
        self._graph.replay()

    def finish(self) -> None:
        """Wait for what was begun."""
        self._finished.synchronize()
        self._target[...] = self._host_down[: len(self._target)]
        del self._target


def _can_compile(device: torch.device) -> bool:
    try:
        check_fused_kernels(device)
    except SettingsError:
        return False
    return True
