"""FID's Inception against torch-fidelity's, with the same random weights."""

from pathlib import Path

import pytest
import torch
from other_metrics import imported
from torch import Tensor

from raytalk.errors import WeightsError
from raytalk.networks.inception import Inception, load_inception, resize_as_tensorflow

NAMES = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """Weights under which activations keep their size and nothing in a batch norm is at rest."""
    generator = torch.Generator().manual_seed(5)
    made = Inception().state_dict()
    for key, tensor in made.items():
        if key.endswith("conv.weight"):
            made[key] = torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5
        elif key.endswith(("bn.weight", "running_var")):
            made[key] = 0.5 + torch.rand(tensor.shape, generator=generator)
        elif key.endswith(("bn.bias", "running_mean")):
            made[key] = torch.randn(tensor.shape, generator=generator) * 0.1
    return {**made, "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No weights of the machine's user are seen."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("RAYTALK_WEIGHTS", raising=False)


def test_features_equal_those_of_torch_fidelity(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / NAMES[1]
    torch.save(tensors, file)
    # torch-fidelity refuses a file with a name too many or too few, so all names are right.
    other = imported("torch_fidelity.feature_extractor_inceptionv3").FeatureExtractorInceptionV3(
        "inception", ["2048"], feature_extractor_weights_path=str(file)
    )
    network = load_inception(str(file)).train()
    assert not network.Mixed_7c.training
    generator = torch.Generator().manual_seed(1)
    for height, width in ((150, 120), (320, 400)):
        coarse = torch.rand(2, 3, 9, 9, generator=generator) * 255
        pictures = torch.nn.functional.interpolate(coarse, (height, width)).to(torch.uint8)
        (expected,) = other(pictures)
        features = network(pictures)
        assert features.shape == (2, 2048)
        assert float((expected[0] - expected[1]).abs().mean()) > 0.02 * float(expected.abs().mean()) > 0
        torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


def test_pictures_are_resized_from_their_first_pixel_on() -> None:
    x = torch.tensor([[[[0.0, 4.0], [8.0, 12.0]]]])
    expected = torch.tensor(
        [[0.0, 2.0, 4.0, 4.0], [4.0, 6.0, 8.0, 8.0], [8.0, 10.0, 12.0, 12.0], [8.0, 10.0, 12.0, 12.0]]
    )
    torch.testing.assert_close(resize_as_tensorflow(x, 4)[0, 0], expected)
    row = torch.arange(12.0).expand(1, 1, 12, 12)
    torch.testing.assert_close(resize_as_tensorflow(row, 5)[0, 0, 0], torch.tensor([0.0, 2.4, 4.8, 7.2, 9.6]))


@pytest.mark.parametrize("name", NAMES)
def test_both_published_names_are_found(name: str, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    cache = tmp_path / "home/.cache/raytalk/weights"
    cache.mkdir(parents=True)
    torch.save(tensors, cache / name)
    loaded = load_inception().state_dict()["Mixed_6e.branch7x7dbl_3.conv.weight"]
    assert torch.equal(loaded, tensors["Mixed_6e.branch7x7dbl_3.conv.weight"])


def test_other_files_are_refused_and_a_missing_one_is_explained(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / NAMES[0]
    with pytest.raises(WeightsError, match=r"Inception v3 are missing: get pt_inception.*releases.*RAYTALK_WEIGHTS"):
        load_inception()
    torch.save({key: tensor for key, tensor in tensors.items() if "Mixed_7c.branch_pool.bn" not in key}, file)
    with pytest.raises(WeightsError, match=r"no tensor 'Mixed_7c.branch_pool.bn"):
        load_inception(str(file))
    torch.save({**tensors, "Mixed_5b.branch_pool.conv.weight": torch.zeros(192, 192, 1, 1)}, file)
    with pytest.raises(WeightsError, match=r"Mixed_5b.branch_pool.conv.weight' has the shape \[192, 192, 1, 1\]"):
        load_inception(str(tmp_path))


@pytest.mark.gpu
def test_a_gpu_computes_the_same(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(tensors, tmp_path / NAMES[0])
    network = load_inception(str(tmp_path))
    pictures = torch.randint(0, 256, (2, 3, 130, 170), dtype=torch.uint8)
    expected = network(pictures)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        features = network.cuda()(pictures.cuda())
    torch.testing.assert_close(features.cpu(), expected, rtol=1e-3, atol=1e-4 * float(expected.max()))
