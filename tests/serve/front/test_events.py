"""Server-sent events."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from serve.front.routes import events
from serve.records.record import Change, Version
from tests.serve.front.conftest import make_avatar, problem, ready_avatar, wait_for
from tests.serve.front.fakes import Service


def told(answer: requests.Response) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Event, data and id, as they come; comments as events named ':'."""
    event, data, id = "", "", ""
    for piece in answer.iter_lines(chunk_size=1):
        line = piece.decode()
        if line.startswith(":"):
            yield ":", {}, ""
        elif line.startswith("event: "):
            event = line[7:]
        elif line.startswith("data: "):
            data = line[6:]
        elif line.startswith("id: "):
            id = line[4:]
        elif not line and event:
            yield event, json.loads(data), id
            event, data, id = "", "", ""


@pytest.fixture
def idle(started: Callable[..., Service]) -> Service:
    """Nobody works on anything."""
    return started(working=False)


def test_each_change_is_told_until_it_is_ready(idle: Service) -> None:
    ada = idle.session("ada")
    document = make_avatar(idle, ada, "FT")
    with ada.get(idle.url + document["links"]["events"], stream=True, timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "private, no-store"
        stream = told(answer)
        event, first, id = next(stream)
        assert (event, first) == ("avatar", ada.get(idle.url + document["links"]["self"]).json())
        assert id == str(first["revision"])
        job = idle.call(idle.desk.take("introduce", "w", 5))
        assert job is not None
        version = Version(mode="FF", folder="ff")
        idle.call(idle.desk.finish(job.token, Change(preview_ready=True, version=version, resolution=64)))
        ready_to_drive = next(each for _, each, _ in stream if each["preview_ready"])
        assert ready_to_drive["state"] in ("queued", "learning")
        job = idle.call(idle.desk.take("learn", "w", 5))
        assert job is not None
        idle.call(idle.desk.report(job.token, Change(progress=0.5, step=5, steps=10)))
        assert next(each for _, each, _ in stream if each["step"] == 5)["state"] == "learning"
        idle.call(idle.desk.finish(job.token, Change(version=Version(mode="FT", folder="ft-1"))))
        rest = [each for _, each, _ in stream]
        assert rest[-1]["state"] == "ready"
        assert rest[-1]["version"] == "FT"
        revisions = [each["revision"] for each in rest]
        assert revisions == sorted(set(revisions))


def test_coming_again(calm: Service, ada: requests.Session) -> None:
    document = ready_avatar(calm, ada)
    here = calm.url + document["links"]["events"]
    with ada.get(here, stream=True, timeout=20) as answer:
        assert [event for event, _, _ in told(answer)] == ["avatar"]
    known = {"Last-Event-ID": str(document["revision"])}
    assert ada.get(here, headers=known).status_code == 204
    for odd in ("0", "x", "-1", "9" * 30, "\u00b2"):
        with ada.get(here, headers={"Last-Event-ID": odd.encode()}, stream=True, timeout=20) as answer:
            assert [event for event, _, _ in told(answer)] == ["avatar"]


def test_deletion_is_told(idle: Service) -> None:
    ada = idle.session("ada")
    document = make_avatar(idle, ada)
    with ada.get(idle.url + document["links"]["events"], stream=True, timeout=20) as answer:
        stream = told(answer)
        assert next(stream)[0] == "avatar"
        assert ada.delete(idle.url + document["links"]["self"]).status_code == 204
        assert [event for event, _, _ in stream] == ["deleted"]


def test_signs_of_life(idle: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_HEARTBEAT", 0.05)
    monkeypatch.setattr(events, "_LONGEST", 0.3)
    ada = idle.session("ada")
    with ada.get(idle.url + make_avatar(idle, ada)["links"]["events"], stream=True, timeout=20) as answer:
        kinds = [event for event, _, _ in told(answer)]
    assert kinds[0] == "avatar"
    assert kinds.count(":") >= 3


def test_a_key_that_is_withdrawn_meanwhile(idle: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_HEARTBEAT", 0.1)
    ada = idle.session("ada")
    document = make_avatar(idle, ada)
    with ada.get(idle.url + document["links"]["events"], stream=True, timeout=20) as answer:
        stream = told(answer)
        assert next(stream)[0] == "avatar"
        assert next(stream)[0] == ":"
        monkeypatch.setattr(idle.keyring, "owner", lambda key: None)
        assert {event for event, _, _ in stream} <= {":"}, "and it ends"


def test_streams_of_an_owner(idle: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_HEARTBEAT", 0.1)
    ada, bob = idle.session("ada"), idle.session("bob")
    here = idle.url + make_avatar(idle, ada)["links"]["events"]
    streams = [ada.get(here, stream=True, timeout=20) for _ in range(32)]
    try:
        problem(ada.get(here), 429, "too-many-streams")
        with bob.get(idle.url + make_avatar(idle, bob)["links"]["events"], stream=True, timeout=20) as other:
            assert other.status_code == 200
    finally:
        for stream in streams:
            stream.close()
    # Who went away leaves room.

    def again() -> int:
        with ada.get(here, stream=True, timeout=20) as answer:
            return answer.status_code

    wait_for(again, lambda status: status == 200)
