"""Videos of avatars, and films in parts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
from toy import face_landmarks

from raytalk.faces.track import Track
from tests.serve.front.conftest import make_avatar, problem, ready_avatar, wait_for
from tests.serve.front.fakes import Service, video

FILM = bytes(range(256)) * 4
"""what the fake worker makes"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return video(tmp_path_factory.mktemp("driver") / "d.mp4")


@pytest.fixture
def here(calm: Service, ada: requests.Session) -> str:
    return f"{calm.url}{ready_avatar(calm, ada)['links']['videos']}"


def ready_film(service: Service, client: requests.Session, here: str, driver: bytes) -> str:
    """URL of a film that is made."""
    answer = client.post(here, files={"video": ("d.mp4", driver)})
    assert answer.status_code == 202, answer.text
    place = service.url + answer.headers["location"]
    return wait_for(lambda: client.get(place).json(), lambda d: d["state"] == "ready") and place


def test_whole_life_of_a_video(
    calm: Service, ada: requests.Session, bob: requests.Session, here: str, driver: bytes
) -> None:
    answer = ada.post(here, files={"video": ("../d.mp4", driver)}, data={"adapt": "true"})
    assert answer.status_code == 202
    document = answer.json()
    assert document["state"] == "queued"
    assert document["adapt"] == "true"
    assert document["links"]["film"] is None
    assert "driver" not in document
    place = calm.url + answer.headers["location"]
    done = wait_for(lambda: ada.get(place).json(), lambda d: d["state"] == "ready")
    assert (done["frames"], done["fps"]) == (10, 25.0)
    assert [each["id"] for each in ada.get(here).json()["videos"]] == [done["id"]]
    film = ada.get(calm.url + done["links"]["film"])
    assert film.content == FILM
    assert film.headers["content-type"] == "video/mp4"
    assert film.headers["accept-ranges"] == "bytes"
    assert film.headers["cache-control"] == "private, no-store"
    assert calm.store.film_place(done["id"]).read("driver.bin") == driver
    for method, path in (("GET", ""), ("GET", "/film.mp4"), ("DELETE", "")):
        problem(bob.request(method, place + path), 404, "not-found")
    assert ada.delete(place).status_code == 204
    problem(ada.get(place), 404, "not-found")
    assert not calm.store.film_place(done["id"]).entries()


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=1000-", 1000, 1023),
        ("bytes=-24", 1000, 1023),
        ("bytes=5-99999", 5, 1023),
        ("bytes=-9999", 0, 1023),
    ],
)
def test_parts_of_a_film(
    calm: Service, ada: requests.Session, here: str, driver: bytes, asked: str, first: int, last: int
) -> None:
    place = ready_film(calm, ada, here, driver)
    answer = ada.get(f"{place}/film.mp4", headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == FILM[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/1024"
    assert answer.headers["content-length"] == str(last - first + 1)


def test_parts_that_are_not_there(calm: Service, ada: requests.Session, here: str, driver: bytes) -> None:
    place = ready_film(calm, ada, here, driver)
    for asked in ("bytes=1024-", "bytes=9-5", "bytes=-0", "bytes=-"):
        answer = ada.get(f"{place}/film.mp4", headers={"Range": asked})
        problem(answer, 416, "range")
        assert answer.headers["content-range"] == "bytes */1024"
    for asked in ("bytes=0-1,5-6", "lines=1-2", "bytes=a-b", "x" * 5000):
        assert ada.get(f"{place}/film.mp4", headers={"Range": asked}).content == FILM


def test_a_film_that_is_not_made_yet(started: Callable[..., Service], driver: bytes) -> None:
    service = started(waiting=1)
    ada = service.session("ada")
    here = service.url + ready_avatar(service, ada)["links"]["videos"]
    service.stop_working()
    first = ada.post(here, files={"video": ("d.mp4", driver)})
    assert first.status_code == 202
    answer = ada.get(f"{service.url}{first.headers['location']}/film.mp4")
    problem(answer, 409, "not-ready")
    problem(ada.post(here, files={"video": ("d.mp4", driver)}), 429, "queue-full")
    wait_for(lambda: len(service.store.ids("films")), lambda number: number == 1)


def test_an_avatar_that_cannot_be_driven_yet(started: Callable[..., Service], driver: bytes) -> None:
    service = started(working=False)
    ada = service.session("ada")
    here = service.url + make_avatar(service, ada)["links"]["videos"]
    problem(ada.post(here, files={"video": ("d.mp4", driver)}), 409, "not-ready")
    wait_for(lambda: service.store.ids("films"), lambda ids: ids == [])


def test_what_is_missing_or_wrong(calm: Service, ada: requests.Session, here: str, driver: bytes) -> None:
    before = calm.store.ids("films")
    problem(ada.post(here, files={"adapt": (None, "true")}), 422, "video-or-track")
    two = [("video", ("a", driver)), ("track", ("b", b"x"))]
    problem(ada.post(here, files=two), 422, "video-or-track")
    problem(ada.post(here, files={"video": ("a", driver)}, data={"adapt": "yes"}), 422, "adapt")
    problem(ada.post(here, json={"video": "x"}), 415, "multipart-expected")
    assert calm.store.ids("films") == before


def test_the_same_key_makes_one_video(calm: Service, ada: requests.Session, here: str, driver: bytes) -> None:
    headers = {"Idempotency-Key": "film"}
    first, again = (ada.post(here, files={"video": ("a", driver)}, headers=headers) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    other = ada.post(here, files={"video": ("a", driver)}, data={"adapt": "false"}, headers=headers)
    problem(other, 409, "idempotency-mismatch")


def test_a_kept_track_drives(calm: Service, ada: requests.Session, here: str, tmp_path: Path) -> None:
    faces = np.stack([face_landmarks(100, (0.0, 0.0), mouth) for mouth in np.linspace(0, 0.4, 20)])
    track = Track(faces, np.arange(20) / 25, 25.0, "dlib", 100, 100, "somewhere")
    track.save(str(tmp_path / "t.npz"))
    sent = (tmp_path / "t.npz").read_bytes()
    answer = ada.post(here, files={"track": ("t.npz", sent)})
    assert answer.status_code == 202
    assert calm.store.film_place(answer.json()["id"]).read("driver.npz") == sent
    slow = Track(faces, 10.0 * np.arange(20, dtype=np.float64), 0.1, "dlib", 100, 100, "somewhere")
    slow.save(str(tmp_path / "s.npz"))
    problem(ada.post(here, files={"track": ("s.npz", (tmp_path / "s.npz").read_bytes())}), 413, "too-long")
