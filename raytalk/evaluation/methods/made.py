"""What a method is, and what it makes."""

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from raytalk.evaluation.protocol import Sitting

Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Made:
    """The hold-out frames of one person as a method makes them."""

    method: str
    shots: int
    """T"""
    steps: int
    """of fine-tuning made before"""
    pictures: Pictures
    """[M, S, S, 3] uint8 RGB"""
    learning_seconds: float
    frame_seconds: float
    """per picture"""


class Method(Protocol):
    """Sees the first T learning frames of a person, and the landmarks of the hold-out frames."""

    name: str

    def make(self, sitting: Sitting, shots: int) -> list[Made]:
        """The hold-out frames; more than once where states before the last one are shown too."""


class Clock:
    """Seconds of work on a device, which may run behind the program."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._since = self._now()
        self.seconds = 0.0

    def pause(self) -> float:
        """Stop; all seconds so far."""
        self.seconds += self._now() - self._since
        return self.seconds

    def go_on(self) -> None:
        """After a pause."""
        self._since = self._now()

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
