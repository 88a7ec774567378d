"""Live driving: bad messages, who may, what happens meanwhile, how it ends."""

import json
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from serve.errors import Unavailable
from serve.front import live_session
from serve.front.live_messages import packed, unpacked
from serve.records.record import Change, Version
from tests.serve.front.conftest import make_avatar, ready_avatar, wait_for
from tests.serve.front.fakes import RESOLUTION, Service, picture
from tests.serve.front.live_client import POINTS, begin, closed_with, drive, opened, said, shown, text

STRANGER = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", "bad-message"),
        ("{", "bad-message"),
        ("null", "bad-message"),
        ("[]", "bad-message"),
        ('{"type": "dance"}', "bad-message"),
        ('{"type": "landmarks", "n": 1, "points": []}', "bad-message"),
        (json.dumps({"type": "landmarks", "n": -1, "points": POINTS}), "bad-message"),
        (json.dumps({"type": "landmarks", "n": 1, "points": POINTS, "x": 1}), "bad-message"),
        (json.dumps({"type": "landmarks", "n": 1, "points": POINTS}).replace("[[", "[[NaN, 1], [", 1), "bad-message"),
        (json.dumps({"type": "pose", "n": 1, "pose": {}}), "bad-message"),
        ('{"type": "start", "drive": "telepathy"}', "bad-message"),
        ('{"type": "start", "drive": "pose", "window": 65}', "bad-message"),
        ("x" * 100_000, "bad-message"),
        ("[" * 30_000, "bad-message"),
        (b"", "bad-message"),
        (b"1234567", "bad-message"),
        (struct.pack(">II", 1, 1) + picture(), "bad-message"),
        (bytes((2 << 20) + 9), "message-too-large"),
    ],
)
def test_bad_messages_are_told_and_it_goes_on(socket: ClientConnection, message: str | bytes, code: str) -> None:
    begin(socket)
    socket.send(message)
    problem = said(socket)
    assert (problem["type"], problem["code"]) == ("problem", code)
    assert problem["detail"]
    drive(socket, 3)
    assert shown(socket)["n"] == 3


def test_pictures_that_show_nothing(calm: Service, socket: ClientConnection) -> None:
    begin(socket, "picture")
    cases = [
        (picture("black"), "no-face"),
        (picture("white"), "two-faces"),
        (b"no picture", "not-a-picture"),
        (picture(format="GIF"), "not-a-picture"),
        (picture(size=(4000, 3000), quality=5), "too-many-pixels"),
    ]
    for n, (data, code) in enumerate(cases):
        socket.send(struct.pack(">II", n, 0) + data)
        problem = said(socket)
        assert (problem["n"], problem["code"]) == (n, code)
    socket.send(struct.pack(">II", 99, 0) + picture())
    assert shown(socket)["n"] == 99


def test_too_many_bad_messages(socket: ClientConnection) -> None:
    begin(socket)
    for _ in range(101):
        socket.send("nonsense")
    assert closed_with(socket) == (1008, "too many bad messages")


def test_driving_before_the_start(socket: ClientConnection) -> None:
    drive(socket, 1)
    assert said(socket)["code"] == "bad-message"
    begin(socket)
    drive(socket, 2)
    assert shown(socket)["n"] == 2


def test_a_message_too_large_for_any(socket: ClientConnection) -> None:
    begin(socket)
    socket.send(bytes(20 << 20))
    assert closed_with(socket)[0] == 1009


def test_another_start_changes_how_it_goes_on(calm: Service, socket: ClientConnection) -> None:
    begin(socket, adapt="false")
    drive(socket, 1)
    shown(socket)
    plain = calm.renderer.asked[-1][1][0]
    begin(socket, "pose")
    text(socket, type="pose", n=2, pose={})
    assert shown(socket)["n"] == 2
    begin(socket, adapt="true")
    drive(socket, 3)
    shown(socket)
    assert not np.allclose(calm.renderer.asked[-1][1][0], plain, atol=0.01)


@pytest.mark.parametrize("key", ["", "rt_wrong"])
def test_without_a_key(calm: Service, id: str, key: str) -> None:
    with opened(calm, id, key) as socket:
        assert closed_with(socket) == (4401, "unauthorized")


def test_a_key_that_is_withdrawn_meanwhile(
    calm: Service, socket: ClientConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(socket)
    drive(socket, 1)
    shown(socket)
    monkeypatch.setattr(calm.keyring, "owner", lambda key: None)
    assert closed_with(socket) == (4401, "unauthorized")


def test_a_key_in_the_header(calm: Service, id: str) -> None:
    url = f"{calm.url.replace('http', 'ws')}/v1/avatars/{id}/live"
    with connect(url, additional_headers={"Authorization": f"Bearer {calm.keys['ada']}"}) as socket:
        assert socket.subprotocol is None
        assert begin(socket)["type"] == "ready"


def test_another_owners_avatar_is_not_found(calm: Service, id: str) -> None:
    for other, key in ((id, calm.keys["bob"]), (STRANGER, None), ("x", None)):
        with opened(calm, other, key) as socket:
            assert closed_with(socket) == (4404, "not-found")


def test_so_many_connections_of_an_owner(started: Callable[..., Service]) -> None:
    service = started(live=2)
    id = ready_avatar(service, service.session("ada"))["id"]
    with opened(service, id) as first, opened(service, id) as second:
        begin(first)
        begin(second)
        with opened(service, id) as third:
            assert closed_with(third) == (4429, "too-many-live")

    def again() -> str:
        with opened(service, id) as socket:
            text(socket, type="start", drive="pose")
            try:
                return str(said(socket)["type"])
            except ConnectionClosed:
                return "closed"

    wait_for(again, lambda answer: answer == "ready")


def test_the_fine_tuned_version_takes_over(started: Callable[..., Service]) -> None:
    service = started(working=False)
    document = make_avatar(service, service.session("ada"), "FT")
    with opened(service, document["id"]) as socket:
        assert closed_with(socket) == (1013, "not-ready")
    job = service.call(service.desk.take("introduce", "w", 5))
    assert job is not None
    change = Change(preview_ready=True, version=Version(mode="FF", folder="ff"), resolution=RESOLUTION)
    service.call(service.desk.finish(job.token, change))
    with opened(service, document["id"]) as socket:
        assert begin(socket)["mode"] == "FF"
        drive(socket, 1)
        assert shown(socket)["mode"] == "FF"
        job = service.call(service.desk.take("learn", "w", 5))
        assert job is not None
        service.call(service.desk.finish(job.token, Change(version=Version(mode="FT", folder="ft-1"))))
        assert said(socket) == {"type": "version", "mode": "FT"}
        drive(socket, 2)
        assert shown(socket)["mode"] == "FT"
        assert service.renderer.asked[-1][0].folder == "ft-1"


def test_deletion_ends_it(calm: Service, ada: requests.Session, id: str, socket: ClientConnection) -> None:
    begin(socket)
    assert ada.delete(f"{calm.url}/v1/avatars/{id}").status_code == 204
    assert closed_with(socket) == (4404, "deleted")


def test_the_renderer_hears_of_a_deletion_first(calm: Service, id: str, socket: ClientConnection) -> None:
    begin(socket)
    calm.renderer.deleted.add(id)
    drive(socket, 1)
    assert closed_with(socket) == (4404, "not-found")


def test_a_part_that_fails_for_a_while(calm: Service, socket: ClientConnection) -> None:
    begin(socket)
    calm.renderer.error = Unavailable("it is being started")
    drive(socket, 1)
    assert said(socket) == {"type": "problem", "n": 1, "code": "unavailable", "detail": "it is being started"}
    calm.renderer.error = RuntimeError("/secret")
    drive(socket, 2)
    problem = said(socket)
    assert problem["code"] == "internal"
    assert "secret" not in problem["detail"]
    calm.renderer.error = None
    drive(socket, 3)
    assert shown(socket)["n"] == 3


def test_a_part_that_goes_on_failing(calm: Service, socket: ClientConnection) -> None:
    begin(socket)
    calm.renderer.error = RuntimeError("broken")
    try:
        for n in range(30):
            drive(socket, n)
            time.sleep(0.03)
    except ConnectionClosed:
        pass
    assert closed_with(socket)[0] == 1013


def test_going_away_in_mid_render(calm: Service, id: str) -> None:
    calm.renderer.delay = 0.3
    for abrupt in (True, False) * 3:
        socket = opened(calm, id, legacy=True)
        begin(socket)
        drive(socket, 1)
        time.sleep(0.1)
        if abrupt:
            socket.socket.close()
        else:
            socket.close()

    def ended() -> int:
        return len([e for e in calm.events() if e["action"] == "driven-live-end" and e["avatar"] == id])

    wait_for(ended, lambda number: number == 6)
    begun = [event for event in calm.events() if event["action"] == "driven-live-start" and event["avatar"] == id]
    assert len(begun) == 6
    assert begun[0]["owner"] == "ada"
    assert calm.renderer.at_once == 0
    with opened(calm, id) as socket:
        assert begin(socket)["type"] == "ready"


def test_silence_ends_it(calm: Service, id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_session, "_START_SECONDS", 0.2)
    monkeypatch.setattr(live_session, "_IDLE_SECONDS", 0.2)
    with opened(calm, id) as socket:
        assert closed_with(socket) == (1008, "no start")
    with opened(calm, id) as socket:
        begin(socket)
        assert closed_with(socket) == (1000, "idle")


def test_the_audit_log_counts_frames(calm: Service, id: str) -> None:
    with opened(calm, id) as socket:
        begin(socket)
        for n in range(4):
            drive(socket, n)
            shown(socket)

    def ends() -> list[dict[str, Any]]:
        return [e for e in calm.events() if e["action"] == "driven-live-end" and e["avatar"] == id]

    assert wait_for(ends, bool)[0]["frames"] == 4
    figures = {name for name, _, _ in calm.metrics.noted}
    assert {"live_frames", "live_server_ms", "live_front_ms", "live_connections"} <= figures


def test_what_is_packed_is_unpacked() -> None:
    assert unpacked(packed({"n": 1, "mode": "FF"}, b"\x00jpeg")) == ({"n": 1, "mode": "FF"}, b"\x00jpeg")


def test_the_front_costs_little(calm: Service, socket: ClientConnection) -> None:
    """Everything but detection, rendering and waiting: 5 ms at the median is wanted, a busy machine gets more."""
    begin(socket, "picture", smooth="light")
    sent = picture(size=(320, 240))
    costs = []
    for n in range(100):
        socket.send(struct.pack(">II", n, 0) + sent)
        head = shown(socket)
        costs.append(head["server_ms"] - head["wait_ms"] - head["detect_ms"])
    # The fake renders and encodes a picture itself, which counts here.
    assert float(np.median(costs)) < 25
