"""What is counted of the clients of a service that is being killed."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from running_service import RunningService
from service_load import Answer, Answers, LiveClient, Maker, Steady


def answered(status: int, document: dict[str, Any] | None = None, **headers: str) -> requests.Response:
    answer = requests.Response()
    answer.status_code = status
    answer.headers.update(headers)
    answer.json = lambda: document  # type: ignore[method-assign,assignment,misc]
    return answer


def test_it_is_recovered_with_the_first_good_answer_after_the_last_bad_one() -> None:
    kind = Answers("pictures")
    assert kind.recovered(10.0) is None, "nothing is known"
    kind.all = [Answer(9.0, 0.5, "503"), Answer(11.0, 0.5, "200")]
    assert kind.recovered(10.0) == 0.0, "what was before does not count"
    kind.all += [Answer(12.0, 1.0, "503"), Answer(12.5, 1.0, "200"), Answer(13.0, 2.0, "no answer")]
    assert kind.recovered(10.0) is None
    kind.all += [Answer(14.0, 3.0, "200"), Answer(15.0, 1.0, "200")]
    assert kind.recovered(10.0) == 6.0
    assert [each.sent for each in kind.between(12.8, 14.0)] == [12.0, 12.5, 13.0]


@pytest.mark.parametrize(
    ("error", "status"), [(requests.ReadTimeout(), "no answer"), (requests.ConnectionError(), "broken connection")]
)
def test_what_is_not_answered_is_counted(error: Exception, status: str) -> None:
    def send() -> requests.Response:
        raise error

    kind = Answers("pictures")
    assert kind.ask(send) is None
    assert [(each.status, each.good) for each in kind.all] == [(status, False)]


def test_a_refusal_that_does_not_say_when_to_come_again_is_told() -> None:
    kind = Answers("pictures")
    kind.ask(lambda: answered(503, **{"Retry-After": "2"}))
    assert kind.untold == []
    kind.ask(lambda: answered(503))
    assert len(kind.untold) == 1


def test_the_rate_does_not_depend_on_how_long_answers_take() -> None:
    def slow() -> requests.Response:
        time.sleep(1.0)
        return answered(200)

    asked = Steady("pictures", 10.0, slow)
    with asked.going():
        time.sleep(1.5)
    assert 8 <= len(asked.answers.all) <= 17


def test_gaps_of_the_live_client() -> None:
    live = LiveClient(RunningService("http://nowhere", None, None), {})  # type: ignore[arg-type]
    live.shown = [(1.0, 0.9), (2.0, 1.9), (5.0, 1.95), (5.5, 5.2)]
    assert live.longest_gap(1.0, 6.0) == 3.0
    assert live.longest_gap(5.0, 9.0) == 3.5
    assert live.recovered(1.9) == pytest.approx(3.1), "sent later, and shown"
    assert live.recovered(5.3) is None


def eventually(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def test_what_was_accepted_is_followed_and_what_was_not_is_sent_again_under_its_key() -> None:
    keys: list[tuple[int, str]] = []

    def send(number: int, key: str) -> requests.Response:
        keys.append((number, key))
        if len(keys) < 3:
            return answered(503, **{"Retry-After": "1"})
        return answered(202, {"id": key, "state": "queued"})

    states = {"now": "learning"}
    maker = Maker(Answers("sent"), send, lambda told: answered(200, {**told, "state": states["now"]}), at_once=1)
    with maker.going():
        assert eventually(lambda: len(maker.accepted) == 1)
        assert len({key for _, key in keys}) == 1
        assert maker.lost()
        states["now"] = "ready"
        assert eventually(lambda: len(maker.accepted) > 1)
    maker.refresh()
    assert maker.lost() == []
    assert sorted({number for number, _ in keys}) == list(range(len(maker.accepted)))


@pytest.mark.parametrize(("kind", "lost"), [("application/problem+json", ["a: 404"]), ("text/plain", ["a: queued"])])
def test_what_the_service_does_not_know_any_more_is_lost(kind: str, lost: list[str]) -> None:
    told = answered(404, **{"Content-Type": kind})
    maker = Maker(Answers("sent"), lambda number, key: answered(500), lambda document: told, at_once=1)
    maker.accepted["a"] = {"id": "a", "state": "queued"}
    maker.refresh()
    assert maker.lost() == lost
