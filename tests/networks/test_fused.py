"""The fused kernels against PyTorch's operations: values and gradients. Without a GPU, Triton interprets them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

GPU = torch.cuda.is_available()
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is declared
pytest.importorskip("triton")

from raytalk.networks import operations, spectral  # noqa: E402
from raytalk.networks.fused import maps  # noqa: E402
from raytalk.networks.spectral import Convolution, Linear, iterate  # noqa: E402

DEVICE = "cuda" if GPU else "cpu"
Function = Callable[..., Any]


def random_map(*shape: int, seed: int = 0, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale + shift
    return values.to(DEVICE).to(memory_format=torch.channels_last) if len(shape) == 4 else values.to(DEVICE)


def compare(fused: Function, plain: Function, *inputs: Tensor, tolerance: float = 2e-5) -> None:
    """Outputs, and the gradients of all inputs for random gradients of the outputs."""
    results = []
    for function in (fused, plain):
        own = [tensor.clone().requires_grad_() for tensor in inputs]
        with operations.fused_kernels(False):
            outputs = function(*own)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        given = [random_map(*output.shape, seed=index + 7) for index, output in enumerate(outputs)]
        given = [gradient.reshape(output.shape) for gradient, output in zip(given, outputs, strict=True)]
        results.append([*(output.detach() for output in outputs), *torch.autograd.grad(outputs, own, given)])
    for ours, theirs in zip(*results, strict=True):
        assert ours.shape == theirs.shape
        assert float((ours - theirs).abs().max()) <= tolerance * max(1.0, float(theirs.abs().max()))


# Channels below, at and beyond a block's width; maps below and beyond a block's pixels.
SHAPES = [(2, 12, 8, 6), (3, 64, 16, 16), (1, 80, 4, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_halves(shape: tuple[int, ...]) -> None:
    x = random_map(*shape)
    compare(lambda x: maps.ReluAndHalf.apply(x, True), operations.relu_and_half, x)
    compare(lambda x: maps.ReluAndHalf.apply(x, False)[1], operations.half, x)
    compare(maps.MaxHalf.apply, operations.max_half, x)


def test_what_is_not_a_number_stays_so() -> None:
    x = random_map(1, 8, 4, 4)
    x[0, 3, 1, 2] = torch.nan
    for result in (*maps.ReluAndHalf.apply(x, True), maps.MaxHalf.apply(x)):
        assert int(result.isnan().sum()) == 1
    normal = maps.NormRelu.apply(x, torch.ones(1, 8, device=DEVICE), torch.zeros(1, 8, device=DEVICE))
    assert int(normal.isnan().sum()) == 16


def test_max_of_equal_values_sends_the_gradient_to_the_first() -> None:
    x = torch.zeros(1, 8, 4, 4, device=DEVICE).to(memory_format=torch.channels_last)
    compare(maps.MaxHalf.apply, operations.max_half, x)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_join(shape: tuple[int, ...], up: bool, bias: bool) -> None:
    n, channels, height, width = shape
    skip = random_map(n, channels, height // 2, width // 2, seed=1) if up else random_map(*shape, seed=1)
    inputs = [random_map(*shape), skip, *([random_map(channels, seed=2)] if bias else [])]
    weights = operations.WeightGradients()
    compare(
        lambda y, skip, *bias: maps.Join.apply(y, skip, bias[0] if bias else None, up, weights),
        lambda y, skip, *bias: operations.join(y, skip, bias[0] if bias else None, up),
        *inputs,
    )


@pytest.mark.parametrize("shape", [*SHAPES, (2, 8, 64, 64)])
def test_norm_relu(shape: tuple[int, ...]) -> None:
    n, channels = shape[:2]
    # As blocks get them: parts of one tensor of coefficients; and as one row for all pictures.
    coefficients = random_map(n, 2 * channels + 5, seed=3)
    compare(
        lambda x, c: maps.NormRelu.apply(x, *c[:, 3 : 3 + 2 * channels].chunk(2, dim=1)),
        lambda x, c: operations.norm_relu(x, *c[:, 3 : 3 + 2 * channels].chunk(2, dim=1)),
        random_map(*shape),
        coefficients,
    )
    row = random_map(channels, seed=4)
    compare(
        lambda x, row: maps.NormRelu.apply(x, row.expand(n, -1), row.expand(n, -1)),
        lambda x, row: operations.norm_relu(x, row.expand(n, -1), row.expand(n, -1)),
        random_map(*shape, shift=300.0),
        row,
        tolerance=1e-3,  # a mean of 300 times the deviation
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_difference(shape: tuple[int, ...]) -> None:
    other = random_map(*shape, seed=5)
    compare(lambda x: maps.Difference.apply(x, other), lambda x: operations.difference(x, other), random_map(*shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_behind_a_relu_and_of_its_bias(shape: tuple[int, ...]) -> None:
    gradient, output = random_map(*shape), random_map(*shape, seed=1)
    masked, sums = maps._mask_and_sum(gradient, output)
    wanted = gradient * (output > 0)
    torch.testing.assert_close(masked, wanted, atol=0, rtol=0)
    torch.testing.assert_close(sums, wanted.sum(dim=(0, 2, 3)), atol=1e-4, rtol=1e-5)


@pytest.mark.skipif(not GPU, reason="bias and ReLU are in cuDNN's convolution")
@pytest.mark.gpu
@pytest.mark.parametrize("wanted", [True, False])
def test_convolve_relu(wanted: bool) -> None:
    weights = operations.WeightGradients()
    weights.wanted = wanted
    x, kernel, bias = random_map(2, 64, 16, 16), random_map(32, 64, 3, 3, seed=1, scale=0.05), random_map(32, seed=2)
    fused = lambda x, kernel, bias: maps.ConvolveRelu.apply(x, kernel, bias, weights)  # noqa: E731
    if wanted:
        compare(fused, operations.convolve_relu, x, kernel, bias, tolerance=3e-3)
    else:
        compare(
            lambda x: fused(x, kernel.requires_grad_(), bias),
            lambda x: operations.convolve_relu(x, kernel, bias),
            x,
            tolerance=3e-3,
        )


@pytest.mark.parametrize("step", ["same", "down", "up"])
@pytest.mark.parametrize(("channels_in", "channels_out"), [(6, 20), (20, 3), (24, 150)])
def test_the_kernel_of_a_convolution(
    step: Any, channels_in: int, channels_out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {}
    for fused in (True, False):
        torch.manual_seed(0)
        layer = Convolution(channels_in, channels_out, 3, step=step).to(DEVICE)
        sigma = iterate([layer], 1)
        monkeypatch.setattr(spectral, "fused", lambda _, answer=fused: answer)
        kernel = layer.make_kernel(torch.float32, sigma)
        gradient = torch.autograd.grad(kernel, layer.weight, random_map(*kernel.shape, seed=9))[0]
        made[fused] = kernel.detach(), gradient
    torch.testing.assert_close(made[True][0], made[False][0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(made[True][1], made[False][1], atol=1e-5, rtol=1e-4)


def test_the_kernel_of_a_linear_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {}
    for fused in (True, False):
        torch.manual_seed(0)
        layer = Linear(40, 300).to(DEVICE)
        sigma = iterate([layer], 1)
        monkeypatch.setattr(spectral, "fused", lambda _, answer=fused: answer)
        kernel = layer.make_kernel(torch.float32, sigma)
        made[fused] = kernel.detach(), torch.autograd.grad((kernel**2).sum(), layer.weight)[0]
    for ours, theirs in zip(made[True], made[False], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_every_kernel_compiles(tmp_path: Path) -> None:
    script = Path(__file__).with_name("compile_kernels.py")
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(script.parents[2])}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
