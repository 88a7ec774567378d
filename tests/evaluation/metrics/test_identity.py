"""Whose face: cosines by hand, dlib on a real face, and ArcFace's input through a network that hands out pixels."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from raytalk.errors import WeightsError
from raytalk.evaluation.metrics.identity import csim, load_face_network
from raytalk.faces import identity
from raytalk.faces.detect import make_detector
from raytalk.faces.video import sample_frames

PLACES = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])
"""eyes, nose and mouth corners in insightface's picture of 112 x 112 pixels"""
COLOURS = np.array([[250, 20, 60], [10, 200, 90], [30, 40, 240], [200, 180, 20], [90, 10, 150]], np.uint8)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No weights of the machine's user are seen."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("RAYTALK_WEIGHTS", raising=False)


def pixel_network(path: Path, count: int | str = 1) -> Path:
    """An ONNX file [count, 3, 112, 112] -> [count, 512] whose first 15 numbers are the input at the five places."""
    places = [channel * 112 * 112 + round(y) * 112 + round(x) for x, y in PLACES for channel in range(3)]
    nodes = [
        helper.make_node("Flatten", ["faces"], ["flat"], axis=1),
        helper.make_node("Gather", ["flat", "places"], ["descriptors"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "pixels",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, [count, 3, 112, 112])],
        [helper.make_tensor_value_info("descriptors", TensorProto.FLOAT, [count, 512])],
        [helper.make_tensor("places", TensorProto.INT64, [512], places + [0] * 497)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def painted(angle: float, scale: float, shift: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A picture with five coloured spots where a turned, scaled and moved face has its points, and its landmarks."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    five = PLACES @ turn.T + shift
    down, right = np.mgrid[:300, :400]
    nearest = np.argmin([np.hypot(right - x, down - y) for x, y in five], axis=0)
    landmarks = np.zeros((68, 2))
    # The eyes' rings spread around their centres.
    ring = 6 * np.array([[-1, 0], [-0.5, -0.4], [0.5, -0.4], [1, 0], [0.5, 0.4], [-0.5, 0.4]])
    landmarks[36:42], landmarks[42:48] = five[0] + ring, five[1] + ring
    landmarks[30], landmarks[48], landmarks[54] = five[2:]
    return COLOURS[nearest], landmarks


@pytest.mark.parametrize("count", [1, "N"])
def test_arcface_gets_upright_faces_in_rgb_from_minus_one_to_one(count: int | str, tmp_path: Path) -> None:
    network = load_face_network(weights=str(pixel_network(tmp_path / "w600k_r50.onnx", count)))
    assert (network.name, network.title) == ("csim-arcface", "CSIM (ArcFace)")
    faces = [painted(0.4, 1.7, (90, 10)), painted(-0.7, 1.2, (60, 150)), painted(0, 2, (100, 20))]
    pictures, landmarks = (np.stack(column) for column in zip(*faces, strict=True))
    landmarks[2, 5] = np.nan
    described = network.describe(pictures, landmarks)
    assert described.shape == (3, 512)
    assert described.dtype == np.float32
    assert np.isnan(described[2]).all()
    for row in described[:2]:
        np.testing.assert_allclose(row[:15].reshape(5, 3), COLOURS / 127.5 - 1, atol=1e-5)


def test_arcface_s_face_is_aligned_to_a_fraction_of_a_pixel(tmp_path: Path) -> None:
    network = load_face_network(weights=str(pixel_network(tmp_path / "w600k_r50.onnx")))
    angle, scale, shift = 0.15, 0.45, (7.0, 4.0)
    _, landmarks = painted(angle, scale, shift)
    down, right = np.mgrid[:64, :64]
    picture = (4 * np.stack([right, down, 0 * down], axis=2)).clip(0, 255).astype(np.uint8)
    (row,) = network.describe(picture[None], landmarks[None])
    sampled = (row[:15].reshape(5, 3)[:, :2] + 1) * 127.5 / 4  # where in the picture the five pixels come from
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(sampled, PLACES.round() @ turn.T + shift, atol=0.18)


def test_cosines_by_hand() -> None:
    one = np.array([[3, 4], [1, 0], [1, 1], [np.nan, 1]], np.float32)
    other = np.array([[4, 3], [0, 2], [-2, -2], [1, 1]], np.float32)
    np.testing.assert_allclose(csim(one, other), [24 / 25, 0, -1, np.nan], atol=1e-9)
    with pytest.raises(ValueError, match=r"\[4, 2\] cannot be compared with \[3, 2\]"):
        csim(one, other[:3])


def test_dlib_stands_in_and_says_so(carphone: Path) -> None:
    network = load_face_network()
    assert network.name == "csim-dlib"
    assert "not of ArcFace" in network.title
    frames = [frame.image for frame in sample_frames(carphone, 4)]
    faces = [found[0] for found in make_detector("dlib").detect(frames)]
    landmarks = np.stack([face.landmarks for face in faces])
    landmarks[3] = np.nan
    described = network.describe(np.stack(frames), landmarks)
    np.testing.assert_array_equal(described[1], identity.describe(frames[1], landmarks[1]))
    assert np.isnan(described[3]).all()
    assert csim(described[:1], described[2:3])[0] > 0.95


def test_what_cannot_be_had_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match="choose one of auto, csim-arcface, csim-dlib"):
        load_face_network("arcface")
    with pytest.raises(WeightsError, match=r"get w600k_r50.onnx from insightface's buffalo_l"):
        load_face_network("csim-arcface")
    with pytest.raises(WeightsError, match="no weights of ArcFace at /nowhere"):
        load_face_network("auto", "/nowhere")
    file = tmp_path / "w600k_r50.onnx"
    file.write_bytes(b"not a network")
    with pytest.raises(WeightsError, match="damaged or is not an ONNX network"):
        load_face_network("auto", str(file))
    pixel_network(file)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install onnxruntime"):
        load_face_network("auto", str(file))


def test_arcface_is_chosen_where_its_file_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixel_network(tmp_path / "w600k_r50.onnx")
    monkeypatch.setenv("RAYTALK_WEIGHTS", str(tmp_path))
    assert load_face_network().name == "csim-arcface"
    assert load_face_network("csim-dlib").name == "csim-dlib"


def test_landmarks_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 pictures need landmarks"):
        load_face_network("csim-dlib").describe(np.zeros((2, 50, 50, 3), np.uint8), np.zeros((1, 68, 2), np.float32))
