"""LPIPS against its authors' code, with the same random trunk and their heads."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from other_metrics import imported
from torch import Tensor, nn

from raytalk.errors import WeightsError
from raytalk.evaluation.metrics.lpips import load_lpips
from raytalk.networks.perceptual import load_perceptual

FILE = "vgg16-397923af.pth"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No weights of the machine's user are seen."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("RAYTALK_WEIGHTS", raising=False)


def vgg16() -> nn.Sequential:
    """torchvision's `features`, with weights that keep the size of activations."""
    layers: list[nn.Module] = []
    incoming = 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if width == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layer = nn.Conv2d(incoming, width, 3, padding=1)
        nn.init.normal_(layer.weight, std=(2 / (9 * incoming)) ** 0.5)
        nn.init.normal_(layer.bias, std=0.1)
        layers += [layer, nn.ReLU()]
        incoming = width
    return nn.Sequential(*layers)


@pytest.fixture
def trunk(tmp_path: Path) -> nn.Sequential:
    """The trunk, whose file lies in tmp_path."""
    features = vgg16()
    tensors = {f"features.{key}": tensor for key, tensor in features.state_dict().items()}
    torch.save({**tensors, "classifier.0.weight": torch.zeros(2, 2)}, tmp_path / FILE)
    return features


def pairs(height: int = 50, width: int = 70) -> tuple[Tensor, Tensor]:
    """Three pictures, the first with a little noise, the second blurred, the third equal; [3, 3, height, width]."""
    truth = nn.functional.interpolate(torch.rand(3, 3, 9, 11) * 2 - 1, (height, width))
    output = truth.clone()
    output[0] += 0.1 * torch.randn_like(output[0])
    output[1] = nn.functional.avg_pool2d(truth[1], 7, 1, 3)
    return output.clamp(-1, 1), truth


def test_distances_equal_the_authors(trunk: nn.Sequential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = imported("lpips")
    models = SimpleNamespace(vgg16=lambda pretrained: SimpleNamespace(features=trunk))
    monkeypatch.setattr("lpips.pretrained_networks.tv", models)
    reference = theirs.LPIPS(net="vgg", verbose=False)
    network = load_lpips("auto", str(tmp_path))
    assert network.name == "lpips"
    assert network.title.startswith("LPIPS (VGG16, v0.1) (WARNING: "), "it is not the published file"
    output, truth = pairs()
    with torch.no_grad():
        expected = reference(output, truth).flatten()
        distances = network.train()(output, truth)
    assert distances.shape == (3,)
    assert float(expected[:2].min()) > 0.005
    torch.testing.assert_close(distances, expected, rtol=1e-4, atol=1e-6)


def test_the_stand_in_ranks_distortions_and_never_takes_the_name() -> None:
    network = load_lpips()
    assert (network.name, network.title) == ("lpips-hed", "LPIPS heads on the HED trunk, not LPIPS")
    _, truth = pairs(64, 64)
    noise = torch.randn_like(truth)
    figures = torch.stack([network((truth + strength * noise).clamp(-1, 1), truth) for strength in (0, 0.05, 0.2, 0.6)])
    assert float(figures[0].abs().max()) == 0
    assert bool((figures.diff(dim=0) > 0.0005).all())
    torch.testing.assert_close(network(truth, truth.roll(1, 0)), network(truth.roll(1, 0), truth))


def test_the_stand_in_s_trunk_is_the_content_network_s_up_to_its_last_layers() -> None:
    """All thirteen convolutions are there, and what they share with the content network is the same."""
    longer, shorter = load_lpips("lpips-hed").trunk, load_perceptual("hed")
    assert len(longer.convolutions) == 13
    assert longer.spec.tap_indices == (3, 8, 15, 22, 29)
    for one, other in zip(longer.convolutions, shorter.convolutions, strict=False):
        assert torch.equal(one.weight, other.weight)
    assert [tap.shape[1:] for tap in longer(torch.zeros(1, 3, 33, 32))] == [
        (64, 33, 32),
        (128, 17, 16),
        (256, 9, 8),
        (512, 5, 4),
        (512, 3, 2),
    ]


def test_gradients_reach_the_pictures_and_never_the_weights() -> None:
    network = load_lpips("lpips-hed")
    output, truth = pairs(32, 32)
    (slope,) = torch.autograd.grad(network(output.requires_grad_(), truth).sum(), output)
    assert bool(slope.isfinite().all())
    assert float((slope[:2].abs() > 0).float().mean()) > 0.9
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_what_cannot_be_had_is_explained(trunk: nn.Sequential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match="choose one of auto, lpips, lpips-hed"):
        load_lpips("vgg")
    with pytest.raises(WeightsError, match=rf"get {FILE} from https://download.pytorch.org"):
        load_lpips("lpips")
    with pytest.raises(WeightsError, match="no weights of vgg16 at /nowhere"):
        load_lpips("auto", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"LPIPS v0.1's heads are missing.*pip install --no-deps lpips"):
        load_lpips("auto", str(tmp_path))


def test_the_package_is_not_imported() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from raytalk.evaluation.metrics.lpips import load_lpips; load_lpips('lpips-hed');"
        "sys.exit('lpips' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.gpu
def test_a_gpu_computes_the_same() -> None:
    network = load_lpips("lpips-hed")
    output, truth = pairs()
    expected = network(output, truth)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        distances = network.cuda()(output.cuda(), truth.cuda())
    torch.testing.assert_close(distances.cpu(), expected, rtol=1e-3, atol=1e-5)
