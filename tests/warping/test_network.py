"""What the network is at its start, and that a flow is what moves pixels."""

import pytest
import torch

from raytalk.config import parse_command_line
from raytalk.errors import SettingsError
from raytalk.warping.network import WarpNetwork, mix, move
from raytalk.warping.settings import WarpingSettings, WarpNetworkSettings


def network(resolution: int = 32) -> WarpNetwork:
    return WarpNetwork(WarpNetworkSettings(resolution=resolution, min_channels=8, max_channels=16))


def pictures(*shape: int) -> torch.Tensor:
    return torch.rand(*shape) * 2 - 1


@pytest.mark.parametrize("resolution", [32, 64, 128])
def test_an_untrained_network_gives_the_mean_of_the_sources(resolution: int) -> None:
    sources = pictures(2, 3, 3, resolution, resolution)
    drawn = network(resolution).warp(sources, pictures(*sources.shape), pictures(*sources[:, 0].shape))
    torch.testing.assert_close(drawn, sources.mean(dim=1), atol=2e-5, rtol=0)


def test_an_untrained_network_gives_back_the_only_source() -> None:
    sources = pictures(2, 1, 3, 64, 64)
    drawn = network(64).warp(sources, pictures(*sources.shape), pictures(2, 3, 64, 64))
    torch.testing.assert_close(drawn, sources[:, 0], atol=2e-5, rtol=0)


def test_a_flow_says_where_a_pixel_comes_from() -> None:
    picture = pictures(1, 3, 16, 16)
    flow = torch.zeros(1, 2, 16, 16)
    flow[:, 0], flow[:, 1] = 3 / 16, -2 / 16  # from three pixels further right and two further up
    moved = move(picture, flow)
    torch.testing.assert_close(moved[..., 2:, :-3], picture[..., :-2, 3:], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[..., 5, -3:], picture[..., 3, -1:].expand(-1, -1, 3), atol=1e-5, rtol=0)


def test_confidence_chooses_between_sources() -> None:
    sources = pictures(1, 2, 3, 8, 8)
    confidence = torch.full((1, 2, 1, 8, 8), -50.0)
    confidence[:, 0, :, :, :4] = confidence[:, 1, :, :, 4:] = 50
    mixed = mix(sources, torch.zeros(1, 2, 2, 8, 8), confidence)
    expected = torch.cat([sources[:, 0, :, :, :4], sources[:, 1, :, :, 4:]], dim=-1)
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=0)


def test_flow_keeps_to_its_reach_and_every_parameter_gets_a_gradient() -> None:
    settings = WarpNetworkSettings(resolution=32, min_channels=8, max_channels=16, reach=0.25)
    warping = WarpNetwork(settings)
    torch.nn.init.normal_(warping.last.weight, std=10)
    flow, _ = warping(*pictures(3, 2, 3, 32, 32))
    assert 0.2 < float(flow.detach().abs().max()) <= 0.25

    torch.nn.init.normal_(warping.last.weight, std=0.01)
    sources = pictures(2, 2, 3, 32, 32)
    drawn = warping.warp(sources, pictures(*sources.shape), pictures(2, 3, 32, 32))
    (drawn * pictures(*drawn.shape)).sum().backward()
    assert [name for name, parameter in warping.named_parameters() if not parameter.grad.abs().sum() > 0] == []


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"network.resolution=100 must be a power of two"):
        parse_command_line(WarpingSettings, ["network.resolution=100"], "")
    with pytest.raises(SettingsError, match=r"network.max_channels=8 is below min_channels=32"):
        parse_command_line(WarpingSettings, ["network.max_channels=8"], "")
