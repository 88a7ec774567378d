"""A tiny avatar and drivers whose pixels say what a detector sees in them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from toy import TINY_NETWORKS, RandomContent, face_landmarks, toy_frame

from raytalk.avatar import Avatar, AvatarCard
from raytalk.driving import puppeteer
from raytalk.driving.settings import PuppeteerSettings
from raytalk.faces import track
from raytalk.faces.draw import draw_landmarks
from raytalk.faces.face import Face
from raytalk.faces.video import write_video
from raytalk.learning.checkpoint import Snapshot, State
from raytalk.learning.checkpoint_writer import CheckpointWriter
from raytalk.learning.fewshot import embed
from raytalk.learning.learning_images import LearningImages
from raytalk.learning.meta import MetaLearner
from raytalk.learning.pretrained import load_pretrained
from raytalk.learning.settings import MetatrainSettings
from raytalk.storage import Storage

WIDTH, HEIGHT = 96, 80
IDENTITY = np.linspace(-0.1, 0.1, 128, dtype=np.float32)


def level_of(place: float) -> int:
    """Grey level of a frame whose face is at `place`, 0 (left, mouth shut) to 1."""
    return round(40 + 160 * place)


def frames(count: int) -> list[np.ndarray]:
    """A face that goes from left to right and opens its mouth."""
    places = np.linspace(0, 1, count) if count > 1 else np.array([0.5])
    return [np.full((HEIGHT, WIDTH, 3), level_of(place), np.uint8) for place in places]


class LevelDetector:
    """Stands in for a detector: the grey level of a frame says where its face is; black frames have none."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.frames = 0

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        self.frames += len(frames)
        return [self._face(float(frame.mean())) for frame in frames]

    def _face(self, level: float) -> list[Face]:
        if level < 20:
            return []
        place = (level - 40) / 160
        landmarks = face_landmarks(60, (0.5 * place, 0.1), place) + np.float32(4)
        return [Face(np.zeros(4, np.float32), landmarks, 1.0)]


@pytest.fixture(scope="session")
def avatars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of avatars of tiny networks: ada, and others that differ from it as their names say."""
    folder = tmp_path_factory.mktemp("avatars")
    settings = MetatrainSettings.resolve("debug", {"networks": TINY_NETWORKS})
    content: Any = RandomContent()
    torch.manual_seed(0)
    made = MetaLearner(settings, ["a", "b"], content, None, torch.device("cpu"))
    for parameter in made.average.parameters():  # or every frame would be the same grey
        parameter.add_(torch.randn_like(parameter) * 0.05)
    writer = CheckpointWriter(Storage(str(folder / "run")), keep=1)
    writer.save(Snapshot.take(made, State(8, 1.0, 1, 0, "dlib", [])))
    writer.close()
    pretrained = load_pretrained(str(folder / "run"))
    faces = np.stack([face_landmarks(32, mouth=mouth) for mouth in (0.1, 0.5)])
    images = LearningImages(
        torch.from_numpy(np.stack([toy_frame(2, face, 32) for face in faces])),
        torch.from_numpy(np.stack([draw_landmarks(face, 32) for face in faces])),
    )
    embedding = embed(pretrained.talker, images)
    networks, episodes = pretrained.networks.model_dump(), pretrained.state.episodes
    card = AvatarCard("Ada", "dlib", networks, pretrained.uri, "FF", consent="given", episodes=episodes)
    narrow = (faces - 16) * [0.85, 1] + 16
    for name, own, landmarks, identity in (
        ("ada", card, narrow, None),
        ("known", card, narrow, IDENTITY),
        ("bare", card, None, None),
        ("rendered", replace(card, detector="rendered"), narrow, None),
        ("pupils", replace(card, detector="rendered", pupils=True), narrow, None),
    ):
        Avatar.feed_forward(own, pretrained, embedding, landmarks, identity).save(str(folder / name))
    return folder


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> LevelDetector:
    """The stand-in, in place of whatever the job asks for."""
    stand_in = LevelDetector("dlib")
    # A grey square is nobody in particular, and describing it takes a while.
    monkeypatch.setattr(track, "describe_upright", lambda _: np.zeros(128, np.float32))

    def make(name: str, _: str) -> LevelDetector:
        stand_in.name = name
        return stand_in

    monkeypatch.setattr(puppeteer, "resolve_detector", lambda name: "dlib" if name == "auto" else name)
    monkeypatch.setattr(puppeteer, "make_detector", make)
    return stand_in


@pytest.fixture
def drive(avatars: Path, tmp_path: Path, detector: LevelDetector) -> Callable[..., Path]:
    """Run the job with these settings; returns the output."""

    def run(**settings: Any) -> Path:
        given = {"avatar": str(avatars / "ada"), "output": str(tmp_path / "out.mp4")} | settings
        puppeteer.puppeteer(PuppeteerSettings.resolve(None, given))
        return Path(str(given["output"]))

    return run


@pytest.fixture
def video(tmp_path: Path, carphone: Path) -> Path:
    """Twenty frames with sound."""
    path = tmp_path / "talk.mp4"
    write_video(path, frames(20), 25, audio_from=carphone.with_name("bigbuckbunny.mp4"), crf=1)
    return path


def write_pictures(folder: Path, count: int = 12) -> Path:
    """picture1.png, picture2.png, ..., whose order by letters is another."""
    folder.mkdir()
    for index, frame in enumerate(frames(count)):
        cv2.imwrite(str(folder / f"picture{index + 1}.png"), frame)
    return folder
