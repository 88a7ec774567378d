"""One picture from a driving picture, from landmarks, from sliders."""

import io
import json
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from toy import face_landmarks

from serve.errors import Unavailable
from tests.serve.front.conftest import make_avatar, problem, ready_avatar, wait_for
from tests.serve.front.fakes import RESOLUTION, Service, picture

POINTS = face_landmarks(RESOLUTION).tolist()


@pytest.fixture
def here(calm: Service, ada: requests.Session) -> str:
    return f"{calm.url}{ready_avatar(calm, ada)['links']['frames']}"


def test_landmarks_go_to_the_renderer_as_they_are(calm: Service, ada: requests.Session, here: str) -> None:
    answer = ada.post(here, json={"landmarks": POINTS})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-avatar-mode"] == "FF"
    assert {float(answer.headers[f"x-{part}-ms"]) >= 0 for part in ("queue", "render", "encode")} == {True}
    assert answer.headers["cache-control"] == "private, no-store"
    assert Image.open(io.BytesIO(answer.content)).format == "JPEG"
    np.testing.assert_array_equal(calm.renderer.asked[-1][1][0], np.array(POINTS, np.float32))


def test_sliders_move_the_face(calm: Service, ada: requests.Session, here: str) -> None:
    shown = []
    for pose in ({}, {"yaw": 30}, {"mouth": 1.0}, {"eyes": 0}):
        assert ada.post(here, json={"pose": pose}).status_code == 200
        shown.append(calm.renderer.asked[-1][1][0])
    rest, turned, open_mouth, blink = shown
    assert turned[30, 0] > rest[30, 0] + 1
    assert open_mouth[66, 1] - open_mouth[62, 1] > rest[66, 1] - rest[62, 1] + 1
    assert blink[41, 1] - blink[37, 1] < rest[41, 1] - rest[37, 1] - 0.5


def test_nothing_of_a_deleted_face_stays_in_memory(calm: Service, ada: requests.Session) -> None:
    here, other = (ready_avatar(calm, ada)["links"] for _ in range(2))
    for links in (here, other):
        assert ada.post(calm.url + links["frames"], json={"pose": {"yaw": 5}}).status_code == 200
    ids = [links["self"].rpartition("/")[2] for links in (here, other)]
    assert set(ids) <= set(calm.front.posers.ids())
    assert ada.delete(calm.url + here["self"]).status_code == 204
    wait_for(calm.front.posers.ids, lambda kept: ids[0] not in kept)
    assert ids[1] in calm.front.posers.ids()


def test_a_driving_picture_is_brought_to_the_avatar(calm: Service, ada: requests.Session, here: str) -> None:
    sent = picture(size=(400, 300))
    answer = ada.post(here, files={"image": ("x.jpg", sent)}, data={"adapt": "false"})
    assert answer.status_code == 200
    assert calm.faces.seen == [sent]
    landmarks = calm.renderer.asked[-1][1][0]
    # From 300 pixels into the avatar's own square.
    assert (landmarks >= 0).all()
    assert (landmarks < RESOLUTION).all()
    assert ada.post(here, files={"image": ("x.png", picture(format="PNG"))}).status_code == 200
    assert (
        ada.post(here, files={"image": ("x.webp", picture(format="WEBP"))}, data={"adapt": "true"}).status_code == 200
    )


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "image/jpeg"),
        ("*/*", "image/jpeg"),
        ("image/*", "image/jpeg"),
        ("image/png", "image/png"),
        ("text/html, image/png;q=0.5, image/jpeg;q=0.4", "image/png"),
        ("image/png;q=0.1, image/jpeg", "image/jpeg"),
        ("image/png;q=0, image/*;q=0.1", "image/jpeg"),
        ("IMAGE/PNG", "image/png"),
        ("text/html", None),
        ("image/webp", None),
        (";;;,,q=", None),
        ("image/png;q=x", None),
    ],
)
def test_accept(calm: Service, ada: requests.Session, here: str, accept: str, kind: str | None) -> None:
    answer = ada.post(here, json={"pose": {}}, headers={"Accept": accept})
    if kind is None:
        problem(answer, 406, "not-acceptable")
    else:
        assert answer.headers["content-type"] == kind
        assert Image.open(io.BytesIO(answer.content)).format == kind.partition("/")[2].upper()
        assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"landmarks": POINTS[:67]},
        {"landmarks": [*POINTS, [1, 2]]},
        {"landmarks": [[1, 2, 3], *POINTS[1:]]},
        {"landmarks": [["1", "2"], *POINTS[1:]]},
        {"landmarks": [[1e9, 2], *POINTS[1:]]},
        {"landmarks": [[None, 2], *POINTS[1:]]},
        {"landmarks": POINTS, "pose": {}},
        {"landmarks": POINTS, "more": 1},
        {"pose": {"yaw": 36}},
        {"pose": {"yaw": "5"}},
        {"pose": {"mouth": -0.1}},
        {"pose": {"nose": 1}},
        {"pose": None},
        [],
        "x",
        7,
    ],
)
def test_json_that_does_not_fit(calm: Service, ada: requests.Session, here: str, body: Any) -> None:
    document = problem(ada.post(here, json=body), 422, "invalid")
    assert document["errors"]
    assert calm.renderer.asked == []


@pytest.mark.parametrize("body", [b"", b"{", b'{"pose": NaNaN}', b"\xff\xfe", b"[" * 30_000, b'{"pose": {}} trailing'])
def test_what_is_no_json(ada: requests.Session, here: str, body: bytes) -> None:
    answer = ada.post(here, data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_numbers_that_are_not_finite(calm: Service, ada: requests.Session, here: str, number: str) -> None:
    for text in (
        f'{{"pose": {{"yaw": {number}}}}}',
        json.dumps({"landmarks": POINTS}).replace("[[", f"[[{number}, 1], ["),
    ):
        answer = ada.post(here, data=text, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), answer.text
    assert calm.renderer.asked == []


def test_bodies_of_other_kinds(ada: requests.Session, here: str) -> None:
    problem(ada.post(here, data=b"x", headers={"Content-Type": "text/plain"}), 415, "body-type")
    problem(ada.post(here), 415, "body-type")
    problem(ada.post(here, data=b"x", headers={"Content-Type": "multipart/form-data"}), 415, "multipart-expected")
    problem(ada.post(here, files={"adapt": (None, "auto")}), 422, "image-missing")
    problem(ada.post(here, files={"image": ("x", picture())}, data={"adapt": "maybe"}), 422, "adapt")
    problem(ada.post(here, files={"photos": ("x", picture())}), 400, "unknown-field")
    two = [("image", ("x", picture())), ("image", ("y", picture()))]
    problem(ada.post(here, files=two), 422, "image-missing")


def test_limits_of_a_driving_picture(calm: Service, ada: requests.Session, here: str) -> None:
    too_many = picture(size=(4000, 3000), quality=10)
    problem(ada.post(here, files={"image": ("x", too_many)}), 413, "too-many-pixels")
    most = calm.settings.limits.frame_bytes
    problem(ada.post(here, files={"image": ("x", b"x" * (most + 1))}), 413, "file-too-large")
    problem(ada.post(here, files={"image": ("x", b"x" * (3 * most))}), 413, "request-too-large")
    problem(ada.post(here, data=b" " * 70_000, headers={"Content-Type": "application/json"}), 413, "request-too-large")
    assert calm.faces.seen == []


def test_faces_that_are_not_found(ada: requests.Session, here: str) -> None:
    problem(ada.post(here, files={"image": ("x", picture("black"))}), 422, "no-face")
    problem(ada.post(here, files={"image": ("x", picture("white"))}), 422, "two-faces")


def test_an_avatar_that_is_not_there_yet(started: object, calm: Service, ada: requests.Session) -> None:
    calm.working = False
    service = started(working=False)  # type: ignore[operator]
    client = service.session("ada")
    document = make_avatar(service, client)
    answer = client.post(service.url + document["links"]["frames"], json={"pose": {}})
    problem(answer, 409, "not-ready")
    assert answer.headers["retry-after"] == "2"


def test_when_the_renderer_fails(calm: Service, ada: requests.Session, here: str) -> None:
    calm.renderer.error = Unavailable("the renderer is being started", headers={"Retry-After": "3"})
    answer = ada.post(here, json={"pose": {}})
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "3"
    calm.renderer.error = RuntimeError("/secret/path: password=hunter2")
    answer = ada.post(here, json={"pose": {}})
    document = problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert "number" in document["detail"]


def test_frames_are_counted_in_the_audit_log(calm: Service, ada: requests.Session, here: str) -> None:
    id = here.split("/")[-2]
    for _ in range(3):
        assert ada.post(here, json={"pose": {}}).status_code == 200

    def counted() -> int:
        return sum(e["count"] for e in calm.events() if e["action"] == "frame-rendered" and e["avatar"] == id)

    wait_for(counted, lambda number: number == 3)
