"""The whole service on Ray Serve: an avatar from its photographs to its end, over HTTP and WebSocket."""

import io
import struct
import time
from pathlib import Path
from typing import Any

import c2pa  # type: ignore[import-untyped]
import cv2
import numpy as np
import pytest
from people import jpeg, man, nobody, woman, woman_again, write_talk
from running_service import CONSENT, NAME, RunningService
from toy import face_landmarks

from raytalk.faces.video import probe
from serve.front.live_messages import unpacked
from tests.serve.front.live_client import begin, closed_with, opened, said, text

pytestmark = pytest.mark.ray
SIZE = 32
"""pixels of what the tiny networks render"""


def signed(kind: str, data: bytes) -> bool:
    """Whether it says that it is generated, and was not changed since."""
    with c2pa.Reader(kind, io.BytesIO(data)) as reader:
        return "trainedAlgorithmicMedia" in reader.json() and reader.get_validation_state() == "Valid"


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), int)


def frame(service: RunningService, avatar: dict[str, Any], kind: str = "image/jpeg", **how: Any) -> np.ndarray:
    """A picture [SIZE, SIZE, 3] of this kind, which is signed."""
    answer = service.ask("POST", avatar["links"]["frames"], headers={"Accept": kind}, **how)
    assert answer.headers["Content-Type"] == kind
    assert answer.headers["X-Avatar-Mode"] == service.seen(avatar)["version"]
    assert signed(kind, answer.content)
    shown = pixels(answer.content)
    assert shown.shape == (SIZE, SIZE, 3)
    return shown


def turned(service: RunningService, avatar: dict[str, Any], yaw: float) -> np.ndarray:
    return frame(service, avatar, "image/png", json={"pose": {"yaw": yaw}})


def driven_until_learned(service: RunningService, avatar: dict[str, Any]) -> None:
    """Live by landmarks: the feed-forward avatar moves until the fine-tuned one takes over, without a gap."""
    modes: list[str] = []
    told, n, end = [], 0, time.monotonic() + 120
    with opened(service, avatar["id"], "") as socket:  # type: ignore[arg-type]
        assert begin(socket, width=200, height=200) == {"type": "ready", "resolution": SIZE, "mode": "FF"}
        while modes.count("FT") < 3 and time.monotonic() < end:
            points = face_landmarks(200, mouth=0.5 + 0.5 * np.sin(n / 5)).tolist()
            text(socket, type="landmarks", n=n, t=n, points=points)
            message = socket.recv(20)
            if isinstance(message, str):
                told.append(message)
                continue
            head, picture = unpacked(message)
            assert head["n"] <= n
            assert signed("image/jpeg", picture)
            modes.append(head["mode"])
            n += 1
    assert modes == sorted(modes), "FT does not give way to FF again"
    assert modes.count("FF") > 3
    assert [message for message in told if "problem" in message] == []
    assert len([message for message in told if '"version"' in message]) == 1


def driven_by_pictures(socket: Any) -> None:
    """Live by a camera: a picture for a picture, and a word about one without a face."""
    assert begin(socket, "picture")["mode"] == "FT"
    for n in range(4):
        socket.send(struct.pack(">II", n, 7 * n) + jpeg(man(n)))
        head, picture = unpacked(socket.recv(20))
        assert (head["n"], head["t"], head["mode"]) == (n, 7 * n, "FT")
        assert head["detect_ms"] > 0
        assert signed("image/jpeg", picture)
    socket.send(struct.pack(">II", 4, 28) + jpeg(nobody()))
    refused = said(socket, 20)
    assert (refused["type"], refused["n"], refused["code"]) == ("problem", 4, "no-face")
    socket.send(struct.pack(">II", 5, 35) + jpeg(man(5)))
    assert unpacked(socket.recv(20))[0]["n"] == 5


def filmed(service: RunningService, avatar: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A film with sound."""
    talk = write_talk(folder / "talk.mp4", frames=8, sound=True)
    files = {"video": ("talk.mp4", talk.read_bytes())}
    film: dict[str, Any] = service.ask("POST", avatar["links"]["videos"], 202, files=files).json()
    end = time.monotonic() + 60
    while film["state"] != "ready" and time.monotonic() < end:
        assert film["state"] != "failed", film
        time.sleep(0.1)
        film = service.ask("GET", film["links"]["self"]).json()
    assert (film["state"], film["progress"], film["frames"]) == ("ready", 1.0, 8)
    data = service.ask("GET", film["links"]["film"]).content
    assert signed("video/mp4", data)
    (folder / "film.mp4").write_bytes(data)
    made = probe(folder / "film.mp4")
    assert made.has_audio
    assert (made.width, made.height) == (SIZE, SIZE)
    return film


def in_memory() -> list[str]:
    """Ids of the avatars that the renderer holds."""
    from ray import serve

    people: list[str] = serve.get_deployment_handle("renderer", "raytalk").people.remote().result(timeout_s=20)
    return people


def test_the_whole_life_of_an_avatar(service: RunningService, tmp_path: Path) -> None:
    avatar = service.make(woman(), woman_again(), nobody())
    with service.followed(avatar) as story:
        first = service.until(avatar, lambda document: document["preview_ready"])
        assert first["version"] == "FF"
        assert first["state"] in ("queued", "learning")
        assert [(photo["label"], photo["used"], photo["code"]) for photo in first["photos"]] == [
            ("0.jpg", True, ""),
            ("1.jpg", True, ""),
            ("2.jpg", False, "no-face"),
        ]
        assert signed("image/jpeg", service.ask("GET", first["links"]["preview"]).content)
        assert service.ask("GET", first["photos"][0]["crop"]).headers["Content-Type"] == "image/jpeg"
        before = turned(service, avatar, 20)
        driven_until_learned(service, avatar)
        learned = service.until(avatar, lambda document: document["state"] == "ready")
    story.check(attempts=1)
    states = [document["state"] for document in story.documents]
    assert states == sorted(states, key=["queued", "learning", "ready"].index)
    assert (learned["version"], learned["step"], learned["steps"]) == ("FT", 40, 40)
    assert learned["quality"].keys() == {"photos_used", "ssim_ff", "ssim_ft"}

    after, other_way = turned(service, avatar, 20), turned(service, avatar, -20)
    assert np.abs(after - before).mean() > 1, "the fine-tuned one is another"
    assert np.abs(after - other_way).mean() > 1
    frame(service, avatar, json={"landmarks": face_landmarks(SIZE).tolist()})
    like_him = frame(service, avatar, "image/png", files={"image": ("me.jpg", jpeg(man()))})
    assert np.abs(like_him - after).mean() > 1
    film = filmed(service, avatar, tmp_path)
    assert [each["id"] for each in service.ask("GET", avatar["links"]["videos"]).json()["videos"]] == [film["id"]]
    assert avatar["id"] in in_memory()
    assert len(service.traces(avatar["id"])) > 10

    with opened(service, avatar["id"], "") as socket:  # type: ignore[arg-type]
        driven_by_pictures(socket)
        service.ask("DELETE", avatar["links"]["self"], 204)
        assert service.traces(avatar["id"], film["id"], NAME, CONSENT) == []
        assert closed_with(socket) == (4404, "deleted")
    for link in ("self", "events", "videos", "preview"):
        path = first["links"][link].partition("?")[0]
        assert service.ask("GET", path, 404).json()["code"] == "not-found"
    service.ask("POST", avatar["links"]["frames"], 404, json={"pose": {"yaw": 20}})
    service.ask("GET", film["links"]["film"], 404)
    assert service.ask("GET", "/v1/avatars").json()["avatars"] == []
    end = time.monotonic() + 10
    while in_memory() and time.monotonic() < end:
        time.sleep(0.1)
    assert in_memory() == []
