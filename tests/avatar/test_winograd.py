"""A Winograd convolution against PyTorch's, in each of its ways, with strips and several pictures."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raytalk.avatar.winograd import layer
from raytalk.avatar.winograd.layer import Winograd, Workspace, measured
from raytalk.networks.spectral import Convolution


def reference(convolution: Convolution, x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """x [N, C, H, W], by the plain operations in float64."""
    active = F.relu(F.instance_norm(x.double()) * scale.double()[:, None, None] + shift.double()[:, None, None])
    if convolution.step == "up":
        active = F.interpolate(active, scale_factor=2, mode="nearest")
    y = F.conv2d(active, convolution.normal().detach().double().permute(0, 3, 1, 2), padding=1)
    return F.avg_pool2d(y, 2) if convolution.step == "down" else y


@pytest.mark.parametrize("strip", [1, 1 << 30])
@pytest.mark.parametrize("step", ["same", "up", "down"])
@pytest.mark.parametrize("skipped", ["nothing", "whole", "halved"])
def test_it_is_the_convolution_between_norm_and_join(
    step: str, skipped: str, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "_STRIP", strip)
    monkeypatch.setattr(layer, "_LONGEST_STRIP", strip)
    convolution = Convolution(32, 24, 3, bias=False, step=step)  # type: ignore[arg-type]
    bias, scale, shift = torch.randn(24), torch.randn(32), torch.randn(32)
    x = torch.randn(2, 32, 16, 24) + 3
    expected = reference(convolution, x, scale, shift) + bias.double()[:, None, None]
    skip, height, width = None, *expected.shape[2:]
    if skipped != "nothing":
        small = skipped == "halved"
        skip = torch.randn(2, 32, height // 2 if small else height, width // 2 if small else width)
        expected += (F.interpolate(skip, scale_factor=2.0, mode="nearest") if small else skip)[:, :24]
        skip = skip.movedim(1, 3).contiguous()
    source = measured(x.movedim(1, 3).contiguous())
    made = Winograd(convolution, bias)(
        Workspace(), source.values, *source.normalise(scale.numpy(), shift.numpy()), skip
    )
    got = made.values.movedim(3, 1)[:, :24]
    torch.testing.assert_close(got.double(), expected, atol=2e-4, rtol=0)
    assert expected.std() > 0.3
    np.testing.assert_allclose(made.sums, measured(made.values).sums, rtol=1e-4, atol=1e-2)
