"""Forms: their limits, broken ones, clients that go away, memory."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
import requests

from tests.serve.front.conftest import GOOD, problem, send, wait_for
from tests.serve.front.fakes import Service, picture

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def test_limits_of_bytes(started: Callable[..., Service]) -> None:
    service = started(photo_bytes=20_000, upload_bytes=50_000, video_bytes=30_000)
    ada = service.session("ada")
    document = problem(send(service, ada, "photos", "a.jpg", bytes(20_001)), 413, "file-too-large")
    assert (document["field"], document["file"], document["most_bytes"]) == ("photos", "a.jpg", 20_000)
    problem(send(service, ada, "video", "a.mp4", bytes(30_001)), 413, "file-too-large")
    files = [("photos", (f"{n}.jpg", bytes(19_000))) for n in range(3)]
    problem(ada.post(f"{service.url}/v1/avatars", files=files, data=GOOD), 413, "request-too-large")
    problem(ada.post(f"{service.url}/v1/avatars", data={**GOOD, "name": "x" * 21_000}, files={"photos": b""}), 413, "file-too-large")  # fmt: skip  # noqa: E501


def raw(
    service: Service, owner: str, head: dict[str, str], body: list[bytes], path: str = "/v1/avatars"
) -> tuple[int, bytes]:
    """Status and body of a request written by hand."""
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=20)
    connection.putrequest("POST", path)
    for name, value in {"Authorization": f"Bearer {service.keys[owner]}", **head}.items():
        connection.putheader(name, value)
    connection.endheaders()
    try:
        for piece in body:
            connection.send(piece)
    except OSError:
        # Refused before all was sent: the answer is there all the same.
        pass
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_a_body_without_a_length_is_counted(started: Callable[..., Service]) -> None:
    service = started(upload_bytes=1 << 20, photo_bytes=1 << 20)
    start = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="a"\r\n\r\n'
    pieces = [start, *[bytes(64 << 10)] * 40]
    chunked = [f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces]
    head = {"Content-Type": "multipart/form-data; boundary=b", "Transfer-Encoding": "chunked"}
    status, answer = raw(service, "ada", head, chunked)
    assert status == 413
    assert json.loads(answer)["code"] in ("request-too-large", "file-too-large")


@pytest.mark.parametrize(
    ("boundary", "body", "codes"),
    [
        ("b", b"", {"bad-multipart"}),
        ("b", b"--b", {"bad-multipart"}),
        ("b", b"--b--\r\n", {"name"}),
        ("b", b"nothing of the kind", {"bad-multipart"}),
        ("b", b"--b\r\n\r\nx\r\n--b--\r\n", {"unknown-field", "bad-multipart"}),
        ("b", b'--b\r\nContent-Disposition: form-data; name="evil"\r\n\r\nx\r\n--b--\r\n', {"unknown-field"}),
        ("b", b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nx\r\n--b\r\n', {"bad-multipart"}),
        ("b", b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n\xff\xfe\r\n--b--\r\n', {"not-utf8"}),
        (
            "b",
            b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nx\r\n' * 2 + b"--b--\r\n",
            {"repeated-field"},
        ),
        ("b", b"--b\r\nX: " + b"y" * 100_000, {"bad-multipart"}),
        (
            "b",
            (b'--b\r\nContent-Disposition: form-data; name="photos"\r\n\r\nx\r\n' * 80) + b"--b--\r\n",
            {"too-many-parts"},
        ),
        ("b", b"--b\r\n" + b"A: b\r\n" * 50, {"bad-multipart"}),
        (
            "b",
            b'--b\r\nContent-Disposition: form-data; name="photos"; filename="a"\r\n\r\n\r\n--b--\r\n',
            {"empty-file"},
        ),
        ("b" * 300, b"--b", {"bad-multipart"}),
        ("", b"--b", {"multipart-expected"}),
    ],
)
def test_broken_forms(calm: Service, boundary: str, body: bytes, codes: set[str]) -> None:
    head = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Content-Length": str(len(body))}
    status, answer = raw(calm, "ada", head, [body] if body else [])
    assert status in (400, 413, 415, 422), answer
    assert json.loads(answer)["code"] in codes


@pytest.mark.parametrize("length", ["-1", "abc", "99999999999999999999", "1e3", "0x10"])
def test_odd_lengths(calm: Service, length: str) -> None:
    head = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": length}
    status, _ = raw(calm, "ada", head, [b"--b--\r\n"])
    assert status in (400, 413, 422)


def test_a_client_that_goes_away(calm: Service, ada: requests.Session, caplog: pytest.LogCaptureFixture) -> None:
    place = urlsplit(calm.url)
    before = len(calm.store.ids("avatars"))
    for _ in range(5):
        with socket.create_connection((str(place.hostname), int(place.port or 0))) as connection:
            head = (
                f"POST /v1/avatars HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {calm.keys['ada']}\r\n"
                "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n"
            )
            connection.sendall(
                head.encode() + b'--b\r\nContent-Disposition: form-data; name="photos"; filename="a"\r\n\r\nxx'
            )
    # Its places are free again, and the service goes on.
    wait_for(lambda: send(calm, ada, "photos", "a.jpg", picture()).status_code, lambda status: status == 202)
    assert len(calm.store.ids("avatars")) == before + 1
    assert "unexpected" not in caplog.text


def test_uploads_of_an_owner_at_a_time(calm: Service, ada: requests.Session, bob: requests.Session) -> None:
    place = urlsplit(calm.url)
    open_ones = []
    try:
        for _ in range(4):
            connection = socket.create_connection((str(place.hostname), int(place.port or 0)))
            head = (
                f"POST /v1/avatars HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {calm.keys['ada']}\r\n"
                "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n--b\r\n"
            )
            connection.sendall(head.encode())
            open_ones.append(connection)
        wait_for(lambda: calm.front.uploads.taken, lambda taken: taken == 4)
        problem(send(calm, ada, "photos", "a", picture()), 429, "too-many-uploads")
        assert send(calm, bob, "photos", "a", picture()).status_code == 202
    finally:
        for connection in open_ones:
            connection.close()
    wait_for(lambda: send(calm, ada, "photos", "a", picture()).status_code, lambda status: status == 202)


def test_memory_stays_level(calm: Service, ada: requests.Session) -> None:
    """Large uploads, refused and taken, go through the disk."""
    process = psutil.Process()
    boundary = "b"
    start = b'--b\r\nContent-Disposition: form-data; name="video"; filename="a"\r\n\r\n'
    piece = np.random.default_rng(0).bytes(1 << 20)

    class Body:
        """150 MB, a MB at a time; requests would otherwise hold all of it."""

        def __iter__(self) -> Iterator[bytes]:
            yield start
            for _ in range(150):
                peaks.append(process.memory_info().rss)
                yield piece
            yield b"\r\n--b--\r\n"

    peaks: list[int] = []
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    ada.post(f"{calm.url}/v1/avatars", data=Body(), headers=headers)
    first = process.memory_info().rss
    for _ in range(2):
        answer: Any = ada.post(f"{calm.url}/v1/avatars", data=Body(), headers=headers)
        assert answer.status_code in (415, 422)
    assert max(peaks) - first < 60 << 20
    assert process.memory_info().rss - first < 40 << 20
