"""The plain engine: PyTorch, one operation after the other. It works on every device."""

import threading
from collections.abc import Iterable

import torch
from torch import Tensor

from raytalk.avatar.engines.engine import Pictures
from raytalk.avatar.lean import Lean
from raytalk.networks.generator import Generator


class Eager:
    """Frames are rendered when they are asked for."""

    name = "eager"

    def __init__(self, generator: Generator, device: torch.device, dtype: torch.dtype) -> None:
        self._lean = Lean(generator, dtype).to(device)
        self._device = device
        self._lock = threading.Lock()

    @torch.inference_mode()
    def render(self, batches: Iterable[Pictures], coefficients: Tensor, frames: Pictures) -> None:
        """See `Engine`."""
        done = 0
        with self._lock:
            there = coefficients.to(self._device)
            for batch in batches:
                own = there if there.dim() == 1 else there[done : done + len(batch)]
                made = self._lean(torch.from_numpy(batch).to(self._device), own)
                frames[done : done + len(batch)] = made.cpu().numpy()
                done += len(batch)
