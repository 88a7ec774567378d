"""How an avatar renders: engines that compute the same function in different ways.

`graphs` is for GPUs, `winograd` for CPUs in float32, `eager` works everywhere.
"""

import torch

from raytalk.avatar.engines.eager import Eager
from raytalk.avatar.engines.engine import Engine, EngineName, Pictures
from raytalk.avatar.engines.graphs import Graphs
from raytalk.avatar.winograd.fitting import fits
from raytalk.errors import SettingsError
from raytalk.networks.generator import Generator

__all__ = ["Engine", "EngineName", "Pictures", "engines_for", "make_engine"]


def engines_for(generator: Generator, device: torch.device, dtype: torch.dtype) -> list[EngineName]:
    """Those that work there, the fastest first."""
    if device.type == "cuda":
        return ["graphs", "eager"]
    if device.type == "cpu" and dtype == torch.float32 and fits(generator):
        return ["winograd", "eager"]
    return ["eager"]


def make_engine(generator: Generator, device: torch.device, dtype: torch.dtype, name: EngineName) -> Engine:
    """The generator is copied. auto is the fastest that works there; raises SettingsError for another that does not."""
    able = engines_for(generator, device, dtype)
    if name == "auto":
        name = able[0]
    if name not in able:
        raise SettingsError(f"engine={name} does not render on {device.type}: give one of auto, {', '.join(able)}")
    if name == "graphs":
        return Graphs(generator, device, dtype)
    if name == "winograd":
        # Imported late: numba takes a second.
        from raytalk.avatar.engines.winograd import Winograd

        return Winograd(generator)
    return Eager(generator, device, dtype)
