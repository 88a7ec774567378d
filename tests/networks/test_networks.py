"""E, G and D: sizes as published, and layers against plain references."""

import math

import pytest
import reference
import torch
from torch import Tensor, nn

from raytalk.learning.settings import MetatrainSettings
from raytalk.networks.blocks import AdaINBlock, AdaptiveInstanceNormRelu, DownBlock, SelfAttention, pool
from raytalk.networks.discriminator import Discriminator
from raytalk.networks.embedder import Embedder
from raytalk.networks.generator import Generator
from raytalk.networks.settings import NetworkSettings
from raytalk.networks.spectral import iterate, normalised, resize, spectral_layers

TINY = NetworkSettings(
    resolution=32, min_channels=8, max_channels=16, attention_down=16, attention_up=32, adain_blocks=1
)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def settle(module: nn.Module) -> None:
    """Let spectral norm's power iterations converge."""
    iterate(spectral_layers(module), 200)


def randomise(module: nn.Module) -> None:
    """Biases, gains and affine parameters that start at 0 or 1 would hide mistakes."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim < 2:
                parameter.add_(torch.randn_like(parameter) * 0.5)


def pictures(settings: NetworkSettings, number: int = 2) -> Tensor:
    return torch.rand(number, 3, settings.resolution, settings.resolution) * 2 - 1


def test_the_paper_preset_has_the_papers_sizes() -> None:
    settings = MetatrainSettings.resolve("paper").networks
    embedder, generator, discriminator = Embedder(settings), Generator(settings), Discriminator(settings)
    assert count(embedder) == 14_907_265
    assert count(generator) == 38_073_925
    assert count(discriminator) == 19_627_394
    assert generator.projection.bias.numel() == 13_056
    assert generator.projection.linear.weight.shape == (13_056, 512)
    assert settings.embedding_size == 512
    assert [settings.channels(height) for height in settings.heights(4)] == [64, 128, 256, 512, 512, 512]
    assert [block.conv2.channels_out for block in generator.up] == [512, 256, 128, 64]  # type: ignore[union-attr]
    norms = [module.coefficients for module in generator.modules() if isinstance(module, AdaptiveInstanceNormRelu)]
    assert norms == [1024, 1024] * 4 + [1024, 1024] + [1024, 512] + [512, 256] + [256, 128] + [128]


def test_the_base_preset_has_about_ten_million_parameters() -> None:
    settings = MetatrainSettings.resolve("base").networks
    total = sum(count(network(settings)) for network in (Embedder, Generator, Discriminator))
    assert 9e6 < total < 11e6


@pytest.mark.parametrize("network", [Embedder, Generator, Discriminator])
def test_spectral_norm_is_on_every_convolution_and_linear_layer(network: type[nn.Module]) -> None:
    module = network(TINY)
    plain = (nn.modules.conv._ConvNd, nn.Linear)
    assert not [layer for layer in module.modules() if isinstance(layer, plain)]
    layers = spectral_layers(module)
    for layer in layers:
        layer.weight.data.mul_(7)
    for _ in range(60):
        with normalised(module, torch.float32):
            pass
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.normal().detach().flatten(1), 2)
        assert float(largest) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("network", [Embedder, Generator, Discriminator])
def test_weights_have_their_first_size_again_and_compute_the_same(network: type[nn.Module]) -> None:
    module = network(TINY)
    layers = spectral_layers(module)
    for layer in layers:
        assert float(layer.weight.detach().square().mean().sqrt()) == pytest.approx(layer.first_size, rel=0.25)
        layer.weight.data.mul_(float(torch.rand(()) * 5 + 1))
    before = [layer.normal().detach() for layer in layers]
    resize(module, 0.5)
    for layer, weight in zip(layers, before, strict=True):
        assert float(layer.weight.detach().square().mean().sqrt()) == pytest.approx(layer.first_size / 2, rel=1e-4)
        torch.testing.assert_close(layer.normal().detach(), weight)


def test_attention_starts_as_the_identity_and_then_matters() -> None:
    attention = SelfAttention(16)
    x = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(attention(x), x)
    attention.gain.data.fill_(0.7)
    assert not torch.allclose(attention(x), x)


def test_attention_against_a_plain_reference() -> None:
    attention = SelfAttention(16)
    randomise(attention)
    settle(attention)
    x = torch.randn(2, 16, 6, 4)
    torch.testing.assert_close(attention(x), reference.attention(attention, x))


def watch_attention(network: nn.Module) -> list[tuple[int, int]]:
    """Channels and height wherever the network attends to itself, filled during its next forward pass."""
    seen: list[tuple[int, int]] = []
    for module in network.modules():
        if isinstance(module, SelfAttention):
            module.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape[1:3])))
    return seen


@pytest.mark.parametrize("resolution", [64, 128, 256])
def test_every_resolution_and_where_attention_is(resolution: int) -> None:
    settings = NetworkSettings(
        resolution=resolution, min_channels=8, max_channels=32, attention_down=32, attention_up=64, adain_blocks=1
    )
    embedder, generator, discriminator = Embedder(settings), Generator(settings), Discriminator(settings)
    seen = [watch_attention(network) for network in (embedder, generator, discriminator)]
    frames, drawings = pictures(settings), pictures(settings)
    with torch.no_grad():
        embedding = embedder(frames, drawings)
        output = generator(drawings, embedding)
        scores, activations = discriminator(frames, drawings, embedding)
    assert embedding.shape == (2, 32)
    assert output.shape == frames.shape
    assert scores.shape == (2,)
    # An up block keeps the channels of the height that it comes from.
    down = settings.channels(32)
    assert down == 8 * resolution // 64
    assert seen == [[(down, 32)], [(down, 32), (down, 64)], [(down, 32)]]
    heights = [resolution >> step for step in range(1, int(math.log2(resolution)) - 1)]
    assert heights[-1] == 4
    assert [activation.shape[2] for activation in activations] == [*heights, 4]


@pytest.mark.parametrize("down", [True, False])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("channels_out", [8, 12])
def test_down_block_against_a_plain_reference(down: bool, norm: bool, first: bool, channels_out: int) -> None:
    block = DownBlock(8, channels_out, down=down, norm=norm, first=first)
    randomise(block)
    settle(block)
    x = torch.randn(2, 8, 8, 8)
    before = x.clone()
    torch.testing.assert_close(block(x), reference.down(block, x), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(x, before, atol=0, rtol=0)
    assert (block.skip is None) == (not down and channels_out == 8)


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("channels_out", [8, 12])
def test_adain_block_against_a_plain_reference(up: bool, channels_out: int) -> None:
    block = AdaINBlock(8, channels_out, up=up)
    randomise(block)
    settle(block)
    x, psi = torch.randn(2, 8, 6, 6), torch.randn(2, block.coefficients)
    assert block.coefficients == 2 * 8 + 2 * channels_out
    before = x.clone()

    torch.testing.assert_close(block(x, psi), reference.adain(block, x, psi), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(x, before, atol=0, rtol=0)


def test_adain_by_hand() -> None:
    x = torch.tensor([[[[1.0, 3.0], [1.0, 3.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    result = AdaptiveInstanceNormRelu(2)(x, torch.tensor([[2.0, 1.0, 10.0, -1.0]]))
    deviation = math.sqrt(3)
    expected = [[[8.0, 12.0], [8.0, 12.0]], [[-1 - 1 / deviation] * 2, [-1 - 1 / deviation, -1 + 3 / deviation]]]
    torch.testing.assert_close(result[0], torch.tensor(expected).clamp_min(0), atol=1e-4, rtol=0)


def test_pool_sums_in_float32_and_clips() -> None:
    x = torch.ones(1, 2, 64, 64, dtype=torch.bfloat16)
    x[:, 1] = -1
    x[:, 0, 0, 0] = 2
    pooled = pool(x)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, torch.tensor([[64.0 * 64 + 1, 0.0]]), atol=0, rtol=0)


def test_the_embedding_is_a_scaled_rectified_sum() -> None:
    embedder = Embedder(TINY).eval()
    frames, drawings = pictures(TINY), pictures(TINY)
    x = torch.cat([frames, drawings], dim=1)
    for block in embedder.blocks:
        x = block(x)
    expected = torch.clamp(x.sum(dim=(2, 3)), min=0) / 64
    torch.testing.assert_close(embedder(frames, drawings), expected)


def test_the_embedder_sees_frame_and_drawing() -> None:
    embedder = Embedder(TINY).eval()
    frames, drawings = pictures(TINY), pictures(TINY)
    whole = embedder(frames, drawings)
    assert not torch.allclose(whole, embedder(-frames, drawings))
    assert not torch.allclose(whole, embedder(frames, -drawings))


def test_the_score_is_the_projection_of_equation_4() -> None:
    discriminator = Discriminator(TINY)
    settle(discriminator)
    discriminator.bias.data.fill_(0.3)
    frames, drawings, rows = pictures(TINY), pictures(TINY), torch.randn(2, 16)
    scores, activations = discriminator(frames, drawings, rows)
    vector = torch.clamp(activations[-1].sum(dim=(2, 3)), min=0)
    expected = torch.stack([vector[n] @ (rows[n] + discriminator.w0) + 0.3 for n in range(2)])
    torch.testing.assert_close(scores, expected)
    assert len(activations) == len(discriminator.blocks)


def test_the_output_is_a_picture_in_minus_one_to_one() -> None:
    generator = Generator(TINY).eval()
    with torch.no_grad():
        generator.last.bias.add_(torch.tensor([50.0, -50.0, 0.0]))  # type: ignore[operator]
        output = generator(pictures(TINY), torch.rand(2, 16) * 0.02)
    assert output.abs().max() <= 1
    torch.testing.assert_close(output[:, :2].mean(dim=(0, 2, 3)), torch.tensor([1.0, -1.0]))


def test_every_coefficient_of_psi_matters() -> None:
    """Each block gets its own share: no share is used twice, none is left out."""
    generator = Generator(TINY).double().eval()
    randomise(generator)
    drawings = pictures(TINY).double()
    psi = generator.projection(torch.rand(2, 16).double() * 0.02).detach().requires_grad_(True)
    (generator.render(drawings, psi) * torch.randn(2, 3, 32, 32).double()).sum().backward()
    assert psi.grad is not None
    assert psi.shape[1] == 2 * sum(
        norm.coefficients // 2 for norm in generator.modules() if isinstance(norm, AdaptiveInstanceNormRelu)
    )
    assert (psi.grad.abs().sum(dim=0) > 0).float().mean() > 0.9


def test_the_embedding_changes_the_output_from_the_start() -> None:
    generator = Generator(TINY).eval()
    drawings = pictures(TINY)
    with torch.no_grad():
        one, other = (generator(drawings, torch.rand(2, 16) * 0.02) for _ in range(2))
    assert (one - other).abs().mean() > 1e-3


def test_an_empty_embedding_means_plain_instance_norm() -> None:
    generator = Generator(TINY)
    psi = generator.projection(torch.zeros(1, 16))[0]
    for norm in (module for module in generator.modules() if isinstance(module, AdaptiveInstanceNormRelu)):
        part, psi = psi.split([norm.coefficients, len(psi) - norm.coefficients])
        torch.testing.assert_close(part, torch.cat([torch.ones(len(part) // 2), torch.zeros(len(part) // 2)]))
    assert len(psi) == 0
