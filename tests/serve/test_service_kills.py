"""Parts of the service are killed (SIGKILL) in the middle of what they do, and others are asked what became of it."""

import itertools
import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from people import jpeg, man, woman, woman_again, write_talk
from running_service import RunningService
from service_load import LiveClient

pytestmark = [pytest.mark.ray, pytest.mark.slow]
AGAIN_S = 60.0
"""within which a part that was killed is there again, with other work on the same two cores"""


def learning(document: dict[str, Any]) -> bool:
    return bool(document["state"] == "learning" and 5 <= document["step"] < document["steps"] - 5)


def ready(document: dict[str, Any]) -> bool:
    return bool(document["state"] == "ready")


@pytest.fixture
def noted(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    """Prints a time: `pytest -s` shows what docs/service.md says of recovery."""

    def note(what: str, seconds: float) -> None:
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\n{what}: {seconds:.1f} s")

    return note


def answers_again(asked: Callable[[], Any], since: float, allowed: set[int]) -> float:
    """Seconds until this is answered with 200; what is answered before has one of these statuses."""
    while time.monotonic() < since + AGAIN_S:
        with suppress(requests.ConnectionError, requests.Timeout):
            answer = asked()
            if answer.status_code == 200:
                return time.monotonic() - since
            assert answer.status_code in allowed, (answer.status_code, answer.text[:500])
            if answer.status_code == 503 and "json" in answer.headers["Content-Type"]:
                assert answer.headers["Retry-After"]
        time.sleep(0.1)
    raise AssertionError("it does not answer any more")


@pytest.fixture(scope="module")
def known(service: RunningService) -> dict[str, Any]:
    """Somebody who can be driven, and is not learned."""
    avatar = service.make(woman(), mode="FF")
    return service.until(avatar, ready)


def test_a_learner_that_is_killed(service: RunningService, noted: Callable[[str, float], None]) -> None:
    avatar = service.make(woman(), woman_again())
    with service.followed(avatar) as story:
        before = service.until(avatar, learning)
        held = service.record(avatar)["attempt"]
        killed = service.kill("learner")
        service.until(avatar, lambda document: document["step"] < before["step"] or document["state"] == "queued")
        noted("learner: progress is set back", time.monotonic() - killed)
        again = service.until(avatar, learning)
        noted("learner: learns again", time.monotonic() - killed)
        second = service.record(avatar)["attempt"]
        service.until(avatar, ready)
    assert (held["number"], second["number"]) == (1, 2)
    assert held["token"] != second["token"]
    assert held["worker"] != second["worker"], "the first is dead"
    assert again["version"] == "FF", "which can be driven meanwhile"
    story.check(attempts=2)
    record = service.record(avatar)
    assert (record["attempts"], record["version"]["folder"]) == ({"introduce": 1, "learn": 2}, "ft-2")
    assert not (service.storage / "avatars" / avatar["id"] / "ft-1").exists()


def test_a_learner_that_stands_still_does_not_go_on_beside_another_attempt(service: RunningService) -> None:
    avatar = service.make(woman(), woman_again())
    (learner,) = service.processes("learner")
    with service.followed(avatar) as story:
        service.until(avatar, learning)
        os.kill(learner.pid, signal.SIGSTOP)
        try:
            end, slowest, state = time.monotonic() + 30, 0.0, "learning"
            while state != "queued" and time.monotonic() < end:
                asked = time.monotonic()
                state = service.seen(avatar)["state"]
                slowest = max(slowest, time.monotonic() - asked)
                time.sleep(0.1)
        finally:
            os.kill(learner.pid, signal.SIGCONT)
        assert state == "queued", "its job was taken away"
        assert slowest < 10, "others do not wait for it"
        service.until(avatar, ready)
    story.check(attempts=2)
    record = service.record(avatar)
    assert (record["attempts"]["learn"], record["version"]["folder"]) == (2, "ft-2")
    assert not (service.storage / "avatars" / avatar["id"] / "ft-1").exists()


def test_a_desk_that_is_killed_forgets_nobody_and_the_learner_goes_on(
    service: RunningService, known: dict[str, Any], noted: Callable[[str, float], None]
) -> None:
    avatar = service.make(woman(), woman_again())
    with service.followed(avatar) as story:
        service.until(avatar, learning)
        waiting = service.make(man())
        killed = service.kill("desk")
        listing = service.url + "/v1/avatars"
        noted("desk: answers", answers_again(lambda: requests.get(listing, timeout=60), killed, {503}))
        ids = {each["id"] for each in service.ask("GET", "/v1/avatars").json()["avatars"]}
        assert {known["id"], avatar["id"], waiting["id"]} <= ids
        service.until(avatar, ready)
    assert service.record(avatar)["attempts"] == {"introduce": 1, "learn": 1}, "it was not begun anew"
    story.check(attempts=1, desks=2)
    service.until(waiting, ready)


def test_a_film_whose_maker_is_killed_is_made_by_the_next(
    service: RunningService, known: dict[str, Any], tmp_path: Path
) -> None:
    talk = write_talk(tmp_path / "talk.mp4", frames=100).read_bytes()
    film = service.ask("POST", known["links"]["videos"], 202, files={"video": ("talk.mp4", talk)}).json()
    progress: list[float] = []
    killed = False
    end = time.monotonic() + 120
    while film["state"] != "ready" and time.monotonic() < end:
        assert film["state"] != "failed", film
        film = service.ask("GET", film["links"]["self"]).json()
        progress.append(film["progress"])
        if not killed and film["state"] == "making" and film["progress"] > 0:
            service.kill("films")
            killed = True
        time.sleep(0.05)
    assert killed
    assert (film["state"], film["frames"]) == ("ready", 100)
    assert sum(after < before for before, after in itertools.pairwise(progress)) == 1, "set back once"
    record = json.loads((service.storage / "films" / film["id"] / "record.json").read_text())
    assert record["attempts"] == 2
    service.ask("DELETE", film["links"]["self"], 204)
    assert service.traces(film["id"]) == []


@pytest.mark.parametrize("part", ["renderer", "faces", "front", "films", "desk"])
def test_what_is_killed_comes_back_and_live_clients_with_it(
    service: RunningService, known: dict[str, Any], noted: Callable[[str, float], None], part: str
) -> None:
    frames = service.url + known["links"]["frames"]

    def by_picture() -> requests.Response:
        return requests.post(frames, files={"image": ("me.jpg", jpeg(man()))}, timeout=60)

    assert by_picture().status_code == 200
    with LiveClient(service, known).going() as driver:
        killed = service.kill(part)
        noted(f"{part}: a picture by a picture", answers_again(by_picture, killed, {503}))
        noted(f"{part}: live goes on", driver.until_recovered(killed, AGAIN_S))
        noted(f"{part}: longest gap live", driver.longest_gap(killed - 1, time.monotonic()))
        assert answers_again(lambda: requests.get(service.url + "/readyz", timeout=60), killed, {503}) < AGAIN_S
        end = time.monotonic() + AGAIN_S
        while not service.processes(part) and time.monotonic() < end:
            time.sleep(0.1)
    assert len(service.processes(part)) == 1
    # Who only renders and was not killed keeps the connection.
    assert driver.connections == 1 or part in ("front", "renderer")


def test_ten_people_at_once_are_learned_one_after_the_other_in_order(service: RunningService) -> None:
    with ThreadPoolExecutor(10) as threads:
        made = list(threads.map(lambda number: service.make(man(3 * number)), range(10)))
    order = [each["id"] for each in sorted(made, key=lambda each: str(each["created_at"]))]
    begun: list[str] = []
    done: list[str] = []
    progress: dict[str, list[float]] = {id: [] for id in order}
    end = time.monotonic() + 400
    while len(done) < 10 and time.monotonic() < end:
        listed = service.ask("GET", "/v1/avatars", params={"limit": 100}).json()["avatars"]
        now = {each["id"]: each for each in listed if each["id"] in progress}
        assert now.keys() == set(order)
        assert sum(each["state"] == "learning" for each in now.values()) <= 1
        for id in order:
            progress[id].append(now[id]["progress"])
            if now[id]["state"] in ("learning", "ready") and id not in begun:
                begun.append(id)
            if now[id]["state"] == "ready" and id not in done:
                done.append(id)
        time.sleep(0.1)
    assert begun == order
    assert done == order
    for told in progress.values():
        assert told == sorted(told)
        assert told[-1] == 1.0
        assert len(set(told)) > 5, "it grows on the way"
    assert all(service.record(each)["attempts"] == {"introduce": 1, "learn": 1} for each in made)
