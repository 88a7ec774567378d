"""What the networks do between convolutions, each in two forms: PyTorch's operations, and fused kernels on a GPU.

Both compute the same function; the fused form keeps maps with channels last in memory. N pictures, C channels.
"""

import functools
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from raytalk.errors import SettingsError

_enabled = True


@contextmanager
def fused_kernels(enabled: bool) -> Iterator[None]:
    """Whether maps on a GPU go through the fused kernels within the block; without them nothing has to be compiled."""
    global _enabled
    before, _enabled = _enabled, enabled
    try:
        yield
    finally:
        _enabled = before


def check_fused_kernels(device: torch.device) -> None:
    """Raises SettingsError if they are wanted on this device and cannot be compiled."""
    sample = torch.ones(1, 8, 2, 2, device=device).to(memory_format=torch.channels_last)
    try:
        half(sample)
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise SettingsError(
            "the kernels of speed.fused_kernels cannot be compiled: install a C compiler (gcc) and Python's headers, "
            f"or give speed.fused_kernels=false ({text})"
        ) from error


class WeightGradients:
    """Whether a backward pass computes gradients of convolution kernels and biases (see `shared_forward`)."""

    wanted = True


@contextmanager
def shared_forward() -> Iterator[WeightGradients]:
    """For a network whose one forward pass serves two backward passes, one of them to its pictures alone.

    Autograd leaves out gradients that nobody asked for, but a fused operation cannot see that: what it is given here
    tells it, at each backward pass through what was computed in the block.
    """
    global weight_gradients
    before, weight_gradients = weight_gradients, WeightGradients()
    try:
        yield weight_gradients
    finally:
        weight_gradients = before


weight_gradients = WeightGradients()


def convolve_relu(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """relu(x * kernel + bias): x [N, Ci, H, W], kernel [Co, Ci, k, k], bias [Co] -> [N, Co, H, W]"""
    if fused(x):
        from raytalk.networks.fused.maps import ConvolveRelu

        return cast(Tensor, _through(ConvolveRelu, x, kernel, bias, weight_gradients))
    return F.relu(F.conv2d(x, kernel, bias.to(x.dtype), padding=kernel.shape[2] // 2))


def relu_and_half(x: Tensor) -> tuple[Tensor, Tensor]:
    """relu(x) [N, C, H, W], and 2x2 means of x [N, C, H/2, W/2]"""
    if fused(x) and _even(x):
        from raytalk.networks.fused.maps import ReluAndHalf

        rectified, halved = _through(ReluAndHalf, x, True)
        return rectified, halved
    return F.relu(x), F.avg_pool2d(x, 2)


def half(x: Tensor) -> Tensor:
    """2x2 means: [N, C, H, W] -> [N, C, H/2, W/2]"""
    if fused(x) and _even(x):
        from raytalk.networks.fused.maps import ReluAndHalf

        halved: Tensor = _through(ReluAndHalf, x, False)[1]
        return halved
    return F.avg_pool2d(x, 2)


def max_half(x: Tensor, ceil: bool = False) -> Tensor:
    """2x2 maxima: [N, C, H, W] -> [N, C, H/2, W/2]; `ceil` keeps an odd last row and column."""
    if fused(x) and _even(x):
        from raytalk.networks.fused.maps import MaxHalf

        return cast(Tensor, _through(MaxHalf, x))
    return F.max_pool2d(x, 2, ceil_mode=ceil)


def join(y: Tensor, skip: Tensor, bias: Tensor | None, up: bool = False) -> Tensor:
    """y + skip + bias: y [N, C, H, W], bias [C]; skip has y's shape, or half its height and width if `up` (nearest)."""
    if fused(y):
        from raytalk.networks.fused.maps import Join

        return cast(Tensor, _through(Join, y, skip, bias, up, weight_gradients))
    if up:
        skip = F.interpolate(skip, scale_factor=2, mode="nearest")
    return y + skip if bias is None else y + (skip + bias.to(y.dtype)[:, None, None])


def norm_relu(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """relu(instance_norm(x) * scale + shift): x [N, C, H, W], scale and shift [N, C] -> [N, C, H, W]"""
    if fused(x):
        from raytalk.networks.fused.maps import NormRelu

        return cast(Tensor, _through(NormRelu, x, scale, shift))
    normal = F.instance_norm(_exact(x))
    return F.relu(torch.addcmul(shift[:, :, None, None], normal, scale[:, :, None, None])).to(x.dtype)


def difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean of |a - b|, float32; b gets no gradient."""
    if fused(a):
        from raytalk.networks.fused.maps import Difference

        return cast(Tensor, _through(Difference, a, b.to(a.dtype)))
    return F.l1_loss(_exact(a), _exact(b.detach()))


def _even(x: Tensor) -> bool:
    return x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0


def fused(x: Tensor) -> bool:
    """Whether what is done to x goes through a fused kernel."""
    return _enabled and x.is_cuda and x.dtype in (torch.float32, torch.bfloat16) and _available()


@functools.cache
def _available() -> bool:
    return importlib.util.find_spec("triton") is not None and torch.version.hip is None


def _exact(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _through(function: Any, *arguments: Any) -> Any:
    """`apply` of an autograd function, which has no types."""
    return function.apply(*arguments)
