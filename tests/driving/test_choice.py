"""Choosing the driver that keeps a person's identity best."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data
from toy import face_landmarks

from raytalk.avatar import Avatar
from raytalk.driving import choice
from raytalk.driving.choice import Candidate, describe_portrait, rank, table
from raytalk.errors import FaceError, SettingsError, VideoError
from raytalk.faces.detect import make_detector
from raytalk.faces.face import Face
from raytalk.faces.identity import describe
from raytalk.faces.track import Track
from raytalk.faces.video import read_frames, write_video

from .conftest import LevelDetector, frames

PERSON = np.ones(128, np.float32)


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    """Drivers whose face is at the left, in the middle and at the right; one without a face, one that is no video."""
    folder = tmp_path / "drivers"
    folder.mkdir()
    still = frames(3)
    for name, frame in zip(("left", "middle", "right"), still, strict=True):
        write_video(folder / f"{name}.mp4", [frame] * 6, 25, crf=1)
    write_video(folder / "nobody.mp4", [np.zeros((80, 96, 3), np.uint8)] * 6, 25)
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("not tried")
    return folder


@pytest.fixture(autouse=True)
def likeness(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mouth that is open further (a driver further to the right) is less like the person."""

    def as_open_as(_: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        opening = (landmarks[66, 1] - landmarks[62, 1]) / np.ptp(landmarks[:, 1])
        return np.concatenate([np.ones(64), np.full(64, 1 - 5 * opening)]).astype(np.float32)

    monkeypatch.setattr(choice, "describe", as_open_as)


class SeesOutput(LevelDetector):
    """Finds the face that an output of 32 pixels was drawn from; in that of `blind` it finds none."""

    def __init__(self, blind: int = -1) -> None:
        super().__init__("dlib")
        self.blind, self.calls, self.last = blind, -1, np.zeros((0, 68, 2))

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        if frames[0].shape[0] != 32:
            found = super().detect(frames)
            self.last = np.stack([faces[0].landmarks for faces in found if faces] or [np.zeros((68, 2))])
            return found
        self.calls += 1
        seen = [Face(np.zeros(4, np.float32), face.astype(np.float32), 1.0) for face in self.last]
        return [[] if self.calls == self.blind else [face] for face in seen]


def test_the_best_comes_first_and_failures_last(candidates: Path, avatars: Path) -> None:
    ada = Avatar.load(str(avatars / "ada"))
    uris = [str(path) for path in sorted(candidates.glob("*.mp4"))]
    ranked = rank(uris, ada, PERSON, SeesOutput(), frames=4)
    assert [Path(tried.uri).stem for tried in ranked] == ["left", "middle", "right", "broken", "nobody"]
    assert ranked[0].score > ranked[1].score > ranked[2].score > 0
    assert all(tried.found == tried.tried >= 3 for tried in ranked[:3])
    assert "cannot read" in ranked[3].reason
    assert "no face in " in ranked[4].reason
    lines = table(ranked).splitlines()
    assert lines[1].split()[1:] == [f"{ranked[0].tried}/{ranked[0].tried}", "left.mp4"]
    assert lines[-1].split()[:3] == ["-", "-", "nobody.mp4:"]


def test_an_output_without_a_face_scores_nothing(candidates: Path, avatars: Path) -> None:
    ada = Avatar.load(str(avatars / "ada"))
    uris = [str(candidates / f"{name}.mp4") for name in ("left", "middle")]
    ranked = rank(uris, ada, PERSON, SeesOutput(blind=0), frames=4)
    assert [(Path(tried.uri).stem, tried.found > 0) for tried in ranked] == [("middle", True), ("left", False)]
    assert ranked[1].score == 0


def test_the_job_drives_by_the_best(
    drive: Callable[..., Path], candidates: Path, avatars: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from raytalk.driving import puppeteer

    monkeypatch.setattr(puppeteer, "make_detector", lambda *_: SeesOutput())
    made = drive(avatar=str(avatars / "known"), drivers=str(candidates), candidate_frames=3)
    assert len(list(read_frames(made))) == 6
    said = capsys.readouterr().out
    assert "choosing among 5 drivers, 3 frames of each, without adaptation" in said
    assert f"driver: video {candidates / 'left.mp4'}" in said
    with pytest.raises(SettingsError, match="keeps no descriptor of the person: give portrait=IMAGE"):
        drive(drivers=str(candidates))


def test_rendered_tracks_drive_a_rendered_avatar_whichever_detector_judges_them(
    drive: Callable[..., Path], avatars: Path, tmp_path: Path, detector: LevelDetector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "tracks").mkdir()
    for name, shift in (("one", 0), ("other", 9)):
        faces = np.stack([face_landmarks(60) + np.float32(shift + step) for step in range(4)])
        Track(faces, np.arange(4) / 25, 25, "rendered", 96, 80, name).save(str(tmp_path / "tracks" / f"{name}.npz"))
    write_video(tmp_path / "tracks" / "film.mp4", frames(4), 25, crf=1)
    cv2.imwrite(str(tmp_path / "portrait.png"), frames(1)[0])
    given = {"avatar": str(avatars / "rendered"), "drivers": str(tmp_path / "tracks")}
    monkeypatch.setattr(
        detector, "detect", lambda shown: [[Face(np.zeros(4, np.float32), face_landmarks(32), 1.0)] for _ in shown]
    )
    made = drive(**given, portrait=str(tmp_path / "portrait.png"))
    assert len(list(read_frames(made))) == 4
    ranked = rank(
        [str(tmp_path / "tracks" / name) for name in ("film.mp4", "one.npz")],
        Avatar.load(str(avatars / "rendered")), PERSON, detector, frames=2,
    )  # fmt: skip
    assert [Path(tried.uri).name for tried in ranked] == ["one.npz", "film.mp4"]
    assert "the driver's are of dlib" in ranked[1].reason


def test_the_table_names_drivers_without_their_query() -> None:
    assert table([Candidate("s3://b/d/one.mp4?scheme=http", 0.5, 1, 1)]).endswith("one.mp4")


def test_nothing_is_chosen_where_no_output_shows_a_face(
    drive: Callable[..., Path], candidates: Path, avatars: Path, detector: LevelDetector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    found = detector.detect
    monkeypatch.setattr(detector, "detect", lambda f: [[] for _ in f] if f[0].shape[0] == 32 else found(f))
    with pytest.raises(FaceError, match="dlib finds no face in what the avatar shows with any of the drivers"):
        drive(avatar=str(avatars / "known"), drivers=str(candidates))


def test_folders_that_offer_nothing(drive: Callable[..., Path], avatars: Path, tmp_path: Path) -> None:
    known = str(avatars / "known")
    with pytest.raises(VideoError, match="nothing does not exist"):
        drive(avatar=known, drivers=str(tmp_path / "nothing"))
    (tmp_path / "some").mkdir()
    with pytest.raises(VideoError, match="holds no video and no track"):
        drive(avatar=known, drivers=str(tmp_path / "some"))
    (tmp_path / "some" / "a.mp4").write_bytes(b"x")
    with pytest.raises(VideoError, match=r"none of the 1 drivers in .* can drive"):
        drive(avatar=known, drivers=str(tmp_path / "some"))


def test_a_portrait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "describe", describe)
    detector = make_detector("dlib")
    astronaut = data.astronaut()
    cv2.imwrite(str(tmp_path / "portrait.png"), astronaut[..., ::-1])
    described = describe_portrait(str(tmp_path / "portrait.png"), detector)
    np.testing.assert_allclose(described, describe(astronaut, detector.detect([astronaut])[0][0].landmarks), atol=1e-6)
    cv2.imwrite(str(tmp_path / "coffee.png"), data.coffee())
    with pytest.raises(FaceError, match=r"no face was found in .*coffee\.png"):
        describe_portrait(str(tmp_path / "coffee.png"), detector)
