"""Live driving over a WebSocket: landmarks, pictures and sliders in, pictures out, the newest wins."""

import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from tests.serve.front.conftest import ready_avatar
from tests.serve.front.fakes import RESOLUTION, Service, picture
from tests.serve.front.live_client import begin, drive, opened, shown, text


def test_landmarks_are_answered_by_pictures(calm: Service, socket: ClientConnection) -> None:
    assert socket.subprotocol == "raytalk.v1"
    assert begin(socket, width=200, height=200) == {"type": "ready", "resolution": RESOLUTION, "mode": "FF"}
    for n in range(5):
        drive(socket, n)
        head = shown(socket)
        assert (head["n"], head["t"], head["skipped"], head["mode"]) == (n, 7 * n, 0, "FF")
        assert set(head) == {
            "n", "t", "detect_ms", "render_ms", "encode_ms", "wait_ms", "server_ms", "skipped", "mode"
        }  # fmt: skip
        assert 0 <= head["server_ms"] < 5000
    landmarks = calm.renderer.asked[-1][1][0]
    assert (landmarks > 0).all()
    assert (landmarks < RESOLUTION).all()


def test_pictures_are_looked_at_and_brought_to_the_face(calm: Service, socket: ClientConnection) -> None:
    begin(socket, "picture", smooth="light")
    calm.faces.delay = 0.03
    for n in range(3):
        sent = picture(size=(320, 240))
        socket.send(struct.pack(">II", n, 2**32 - 1) + sent)
        head = shown(socket)
        assert (head["n"], head["t"]) == (n, 2**32 - 1)
        assert head["detect_ms"] >= 30
        assert calm.faces.seen[-1] == sent


def test_sliders(calm: Service, socket: ClientConnection) -> None:
    begin(socket, "pose")
    seen = []
    for n, yaw in enumerate((-20, 20)):
        text(socket, type="pose", n=n, t=0, pose={"yaw": yaw})
        assert shown(socket)["n"] == n
        seen.append(calm.renderer.asked[-1][1][0])
    assert seen[1][30, 0] > seen[0][30, 0] + 2


def test_the_newest_wins_when_rendering_is_slow(calm: Service, socket: ClientConnection) -> None:
    begin(socket)
    calm.renderer.delay = 0.1
    for n in range(50):
        drive(socket, n)
        time.sleep(0.01)
    heads = [shown(socket)]
    while heads[-1]["n"] < 49:
        heads.append(shown(socket))
    numbers = [head["n"] for head in heads]
    assert numbers == sorted(set(numbers))
    assert len(heads) < 15
    assert heads[-1]["skipped"] == 50 - len(heads)
    # None was old when it was rendered, and never two at once.
    assert max(head["server_ms"] for head in heads) < 350
    assert calm.renderer.most_at_once == 1


def test_faces_are_looked_for_while_others_are_rendered(calm: Service, socket: ClientConnection) -> None:
    begin(socket, "picture")
    calm.faces.delay = calm.renderer.delay = 0.06
    done = threading.Event()

    def feed() -> None:
        for n in range(1000):
            if done.wait(0.01):
                return
            socket.send(struct.pack(">II", n, 0) + picture())

    feeding = threading.Thread(target=feed)
    feeding.start()
    shown(socket)
    began = time.monotonic()
    for _ in range(10):
        shown(socket)
    took = time.monotonic() - began
    done.set()
    feeding.join()
    # One after the other it would be 1.2 s.
    assert took < 1.0
    assert calm.renderer.most_at_once == 1


def test_two_are_rendered_at_a_time_where_there_is_room(calm: Service, socket: ClientConnection) -> None:
    begin(socket)
    calm.renderer.delay, calm.renderer.queue_ms = 0.1, 0.0
    for n in range(60):
        drive(socket, n)
        time.sleep(0.01)
    heads = [shown(socket)]
    while heads[-1]["n"] < 59:
        heads.append(shown(socket))
    assert calm.renderer.most_at_once == 2
    assert [head["n"] for head in heads] == sorted({head["n"] for head in heads})
    # One at a time it would be seven.
    assert len(heads) >= 9
    assert heads[-1]["skipped"] == 60 - len(heads)


def test_a_picture_that_was_overtaken_is_not_sent(calm: Service, socket: ClientConnection) -> None:
    begin(socket)
    calm.renderer.queue_ms = 0.0
    drive(socket, 0)
    assert shown(socket)["n"] == 0
    calm.renderer.delays = [0.4, 0.05, 0.6]
    drive(socket, 1)
    time.sleep(0.1)
    drive(socket, 2)
    time.sleep(0.1)
    drive(socket, 3)
    assert shown(socket)["n"] == 2
    head = shown(socket)
    assert (head["n"], head["skipped"]) == (3, 1)


def test_the_next_face_is_looked_for_near_the_last(calm: Service, socket: ClientConnection) -> None:
    begin(socket, "picture")
    for n, (color, size) in enumerate(
        [("teal", (160, 120)), ("teal", (160, 120)), ("teal", (80, 60)), ("black", (80, 60)), ("teal", (80, 60))]
    ):
        socket.send(struct.pack(">II", n, 0) + picture(color, size))
        socket.recv(10)
    assert calm.faces.near == [None, (1.0, 2.0, 159.0, 118.0), None, (1.0, 2.0, 79.0, 58.0), None]


def test_a_client_that_does_not_read_stays_in_the_present(calm: Service, id: str) -> None:
    calm.renderer.size = 700
    try:
        with opened(calm, id, max_queue=1) as socket:
            begin(socket)
            for n in range(400):
                drive(socket, n)
                time.sleep(0.005)
            rendered = len(calm.renderer.asked)
            heads: list[dict[str, Any]] = []
            while not heads or heads[-1]["n"] < 399:
                heads.append(shown(socket))
            # What the connection holds is bounded by its buffers, and the last one comes.
            assert rendered < 200
            assert heads[-1]["skipped"] > 200
    finally:
        calm.renderer.size = RESOLUTION


def test_a_window_of_pictures_on_the_way(calm: Service, socket: ClientConnection) -> None:
    calm.renderer.delay, calm.renderer.queue_ms = 0.05, 0.0
    begin(socket, window=2)
    for n in range(20):
        drive(socket, n)
        time.sleep(0.02)
    heads = [shown(socket), shown(socket)]
    with pytest.raises(TimeoutError):
        socket.recv(0.2)
    text(socket, type="shown", n=heads[-1]["n"])
    assert shown(socket)["n"] == 19
    text(socket, type="shown", n=12345)
    drive(socket, 20)
    assert shown(socket)["n"] == 20
    drive(socket, 21)
    with pytest.raises(TimeoutError):
        socket.recv(0.2)
    begin(socket, window=0)
    assert shown(socket)["n"] == 21


def test_faster_than_is_taken(started: Callable[..., Service]) -> None:
    service = started(live_frames_per_second=20)
    id = ready_avatar(service, service.session("ada"))["id"]
    with opened(service, id) as socket:
        begin(socket)
        for n in range(200):
            drive(socket, n)
            time.sleep(0.005)
        heads = [shown(socket)]
        while heads[-1]["n"] < 199:
            heads.append(shown(socket))
    assert 15 <= len(heads) <= 40
