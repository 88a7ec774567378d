"""What every engine is."""

from collections.abc import Iterable
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

Pictures = npt.NDArray[np.uint8]
"""[N, H, W, 3] RGB"""
EngineName = Literal["auto", "eager", "graphs", "winograd"]


class Engine(Protocol):
    """Turns drawings into frames. May be called from any thread; calls take turns where a device does one at a time."""

    name: str

    def render(self, batches: Iterable[Pictures], coefficients: Tensor, frames: Pictures) -> None:
        """Fill `frames` [M, H, W, 3], which is contiguous, in order.

        batches: drawings [N, H, W, 3], M in all. coefficients: ψ' [C] of all frames or [M, C] of each, float32 on the
        CPU, not changed afterwards.
        """
