"""What a computation must at least cost: its arithmetic and its bytes, over what the machine was measured to do.

Only convolutions and matrix products are counted: each reads its inputs and writes its output once, at the full rate
of arithmetic or of memory, whichever takes longer. Everything between them could be fused with them.
"""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Peaks:
    """Measured rates of a machine."""

    flops: float
    """of a large matrix product or convolution, per second (bfloat16 on a GPU, float32 on a CPU)"""
    bytes: float
    """of a large copy, read and written, per second"""

    def describe(self) -> dict[str, float]:
        """For people."""
        return {"TFLOP/s": round(self.flops / 1e12, 2), "GB/s": round(self.bytes / 1e9, 1)}


@dataclass
class Floor:
    """Counts per operation: FLOPs and bytes."""

    operations: list[tuple[float, float]] = field(default_factory=list)

    def seconds(self, peaks: Peaks) -> float:
        """The least time, each operation bound by its arithmetic or by its bytes."""
        return sum(max(flops / peaks.flops, size / peaks.bytes) for flops, size in self.operations)

    def describe(self, peaks: Peaks, episodes: int) -> dict[str, float]:
        """For people; per episode but for the time."""
        flops, size = (sum(column) for column in zip(*self.operations, strict=True))
        return {
            "TFLOP per episode": round(flops / episodes / 1e12, 4),
            "GB per episode": round(size / episodes / 1e9, 3),
            "arithmetic alone, ms": round(flops / peaks.flops * 1e3, 3),
            "bytes alone, ms": round(size / peaks.bytes * 1e3, 3),
            "each operation at its bound, ms": round(self.seconds(peaks) * 1e3, 3),
        }


def floor_of(computation: Callable[[], None]) -> Floor:
    """Count what a computation does; on the device `meta` it costs nothing."""
    floor = Floor()
    with _Counting(floor):
        computation()
    return floor


def measure_peaks(device: torch.device) -> Peaks:
    """A matrix product, a convolution and a copy, the best of some.

    On some CPUs another library, with wider instructions, makes the convolutions: twice as fast as the product.
    """
    gpu = device.type == "cuda"
    size, length = (8192, 1 << 28) if gpu else (2048, 1 << 25)
    matrix = torch.randn(size, size, device=device).to(torch.bfloat16 if gpu else torch.float32)
    values = torch.randn(length, device=device).to(matrix.dtype)
    other = torch.empty_like(values)
    channels = 256 if gpu else 64
    maps = torch.randn(8, channels, 64, 64, device=device, dtype=matrix.dtype).to(memory_format=torch.channels_last)
    kernel = torch.randn(channels, channels, 3, 3, device=device, dtype=matrix.dtype)
    product = 2 * size**3 / _fastest(lambda: torch.mm(matrix, matrix), device)
    convolution = 18 * channels * maps.numel() / _fastest(lambda: torch.conv2d(maps, kernel, padding=1), device)
    copy = _fastest(lambda: other.copy_(values), device)
    return Peaks(max(product, convolution), 2 * values.numel() * values.element_size() / copy)


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": gpu or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


class _Counting(TorchDispatchMode):
    def __init__(self, floor: Floor) -> None:
        super().__init__()
        self.floor = floor

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        counted = flop_registry.get(function._overloadpacket)
        if counted is not None:
            flops = counted(*args, **(kwargs or {}), out_val=result)
            outputs = result if isinstance(result, tuple) else (result,)
            tensors = [value for value in (*args, *outputs) if isinstance(value, Tensor)]
            self.floor.operations.append((flops, sum(tensor.nbytes for tensor in tensors)))
        return result


def _fastest(action: Callable[[], object], device: torch.device) -> float:
    times = []
    for _ in range(6):
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])
