"""What shows a person becomes learning images, or a reason why not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from toy import face_landmarks, toy_clip, toy_frame

from raytalk.clips.schema import clips_to_table, write_table
from raytalk.enrolment.material import Material, gather
from raytalk.errors import ClipsError, FaceError, StorageError, VideoError
from raytalk.faces.detect import make_detector
from raytalk.faces.face import Face, LandmarkDetector
from raytalk.storage import Storage


class Finds:
    """A detector that knows where toy faces are."""

    name = "dlib"

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        return [[Face(np.array([0, 0, 1, 1], np.float32), face_landmarks(len(frame)), 1.0)] for frame in frames]


def unused() -> LandmarkDetector:
    raise AssertionError("no detector is needed")


def take(uri: Any, clip: str = "", shots: int = 4, detector: Any = unused, min_face: float = 20) -> Material:
    return gather(str(uri), clip, shots, 32, min_face, detector)


def photograph(folder: Path, name: str, person: int = 1, size: int = 160) -> None:
    folder.mkdir(exist_ok=True)
    picture = toy_frame(person, face_landmarks(size), size)
    cv2.imwrite(str(folder / name), picture[..., ::-1])


def test_frames_of_a_clip_are_spread_over_it_and_landmarks_follow_the_size(clips: Path) -> None:
    material = take(clips, "person1/video0/0", 3)
    whole = toy_clip(1)
    assert material.frames.shape == (3, 32, 32, 3)
    assert material.detector == "dlib"
    assert material.source.endswith("#clip=person1/video0/0")
    assert material.pupils is None
    wanted = (whole.landmarks[[0, 8, 15]] + 0.5) / 2 - 0.5
    np.testing.assert_allclose(material.landmarks, wanted, atol=1e-4)
    truth = cv2.resize(toy_frame(1, whole.landmarks[8], 64), (32, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(material.frames[1].astype(float) - truth).mean() < 4  # JPEG


def test_all_frames_of_a_short_clip(clips: Path) -> None:
    assert len(take(clips, "person4/video0/0", 32)) == 16


def test_pupils_come_along(tmp_path: Path) -> None:
    clip = toy_clip(2, frames=4)
    pupils = clip.landmarks[:, [36, 45]]
    write_table(
        Storage(str(tmp_path)), "train/a.parquet", clips_to_table([type(clip)(**{**vars(clip), "pupils": pupils})])
    )
    material = take(tmp_path, clip.clip_id)
    assert material.pupils is not None
    np.testing.assert_allclose(material.pupils, material.landmarks[:, [36, 45]], atol=1e-4)


def test_a_video_is_cropped_as_training_clips_are(carphone: Path) -> None:
    material = take(carphone, shots=3, detector=lambda: make_detector("dlib"), min_face=40)
    assert material.frames.shape == (3, 32, 32, 3)
    assert material.identity is not None
    low, high = material.landmarks.min(axis=(0, 1)), material.landmarks.max(axis=(0, 1))
    assert (low > 2).all()
    assert (high < 30).all()
    with pytest.raises(FaceError, match="64 are needed"):
        take(carphone, detector=lambda: make_detector("dlib"), min_face=64)


def test_photographs_of_a_folder_or_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from raytalk.faces import photographs

    monkeypatch.setattr(photographs, "describe", lambda *_: np.ones(128, np.float32))
    photograph(tmp_path / "ada", "b.png")
    photograph(tmp_path / "ada", "a.JPG")
    (tmp_path / "ada" / "notes.txt").write_text("no picture")
    (tmp_path / "ada" / "c.webp").write_bytes(b"RIFF, but cut off")
    material = take(tmp_path / "ada", detector=Finds)
    assert len(material) == 2
    assert list(material.refused) == ["c.webp"]
    assert "cannot be read" in material.refused["c.webp"]
    np.testing.assert_array_equal(material.identity, np.ones(128, np.float32))
    assert len(take(tmp_path / "ada" / "b.png", detector=Finds)) == 1


def test_what_cannot_be_used_is_said_with_what_to_do(tmp_path: Path, clips: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in (f"{number}.jpg" for number in range(33)):
        photograph(tmp_path / "many", name, size=40)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    for uri, clip, kind, said in (
        (tmp_path / "gone", "", StorageError, "there is nothing at"),
        (tmp_path / "empty", "", FaceError, "put 1 to 32 of one person there"),
        (tmp_path / "many", "", FaceError, "holds 33; choose at most 32"),
        (clips, "", FaceError, "is a clips folder: say whose clip with clip=CLIP_ID"),
        (clips, "person1/video1/0", ClipsError, "did you mean 'person1/video0/0'"),
        (tmp_path / "empty", "a", ClipsError, "there are no clips in"),
        (broken, "", VideoError, "cannot read"),
    ):
        with pytest.raises(kind, match=said):
            take(uri, clip, detector=Finds)
