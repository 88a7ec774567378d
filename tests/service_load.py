"""Clients that ask a service without a pause while parts of it are killed, and what they saw of it."""

import itertools
import json
import math
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import requests
from people import jpeg, man, woman
from running_service import CONSENT, NAME, RunningService
from toy import face_landmarks
from websockets.exceptions import InvalidStatus, WebSocketException

from serve.front.live_messages import unpacked
from tests.serve.front.live_client import begin, opened, text

TIMEOUT_S = 60.0
"""of one request"""
STEADY_S = 5.0
"""what answers for so long without a mistake is well again"""


@dataclass(frozen=True)
class Answer:
    """What a request came to. sent: time.monotonic."""

    sent: float
    seconds: float
    status: str
    """of HTTP, or the name of what went wrong"""

    @property
    def good(self) -> bool:
        return self.status.startswith("2")

    @property
    def at(self) -> float:
        """When it was there."""
        return self.sent + self.seconds


def is_ours(answer: requests.Response) -> bool:
    """Whether the service said it. Ray's proxy knows no path before the application is deployed: 404 in plain text."""
    return answer.headers.get("Content-Type", "").startswith("application/problem+json")


class Answers:
    """Of one kind of request, in any order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.all: list[Answer] = []
        self.untold: list[str] = []
        """what no client should be told: 503 without `Retry-After`, or that something sent was wrong"""

    def ask(self, send: Callable[[], requests.Response]) -> requests.Response | None:
        """Send it and note what became of it; None if nothing was answered."""
        sent = time.monotonic()
        answer = None
        try:
            answer = send()
            status = str(answer.status_code)
            if answer.status_code == 404 and not is_ours(answer):
                status += " of the proxy"
            if answer.status_code == 503 and "Retry-After" not in answer.headers:
                self.untold.append(answer.text[:200])
        except requests.Timeout:
            status = "no answer"
        except requests.RequestException:
            status = "broken connection"
        self.all.append(Answer(sent, time.monotonic() - sent, status))
        return answer

    def recovered(self, killed: float) -> float | None:
        """Seconds from then until the last mistake was over; 0 if there was none, None if it is not over."""
        answers = [answer for answer in list(self.all) if answer.at > killed]
        wrong = [answer for answer in answers if not answer.good]
        if not wrong:
            return 0.0 if answers else None
        last = max(answer.sent for answer in wrong)
        later = [answer.at for answer in answers if answer.good and answer.sent > last]
        return min(later) - killed if later else None

    def between(self, start: float, end: float) -> list[Answer]:
        """Those that were sent then, or were waited for when it began."""
        return [answer for answer in list(self.all) if answer.sent < end and answer.at > start]


class Steady:
    """Asks at a fixed rate, whoever is slow."""

    def __init__(self, name: str, per_second: float, send: Callable[[], requests.Response]) -> None:
        self.answers = Answers(name)
        self._every, self._send = 1 / per_second, send

    @contextmanager
    def going(self) -> Iterator[None]:
        over = threading.Event()

        def go() -> None:
            due = time.monotonic()
            while not over.is_set():
                threads.submit(self.answers.ask, self._send)
                due += self._every
                over.wait(max(0.0, due - time.monotonic()))

        with ThreadPoolExecutor(16) as threads:
            clock = threading.Thread(target=go, daemon=True)
            clock.start()
            try:
                yield
            finally:
                over.set()
                clock.join()


class LiveClient:
    """Drives live and connects again whenever its connection ends, as the page does."""

    def __init__(self, service: RunningService, avatar: dict[str, Any]) -> None:
        self._service, self._avatar = service, avatar
        self._over = threading.Event()
        self.shown: list[tuple[float, float]] = []
        """when a picture came, and when what it shows was sent (time.monotonic)"""
        self.connections = 0

    def _run(self) -> None:
        while not self._over.is_set():
            with suppress(WebSocketException, InvalidStatus, OSError, AssertionError, TimeoutError):
                with opened(self._service, self._avatar["id"], "", open_timeout=10) as socket:  # type: ignore[arg-type]
                    begin(socket, width=200, height=200)
                    self.connections += 1
                    self._drive(socket)
            self._over.wait(0.2)

    def _drive(self, socket: Any) -> None:
        points = face_landmarks(200, mouth=0.5).tolist()
        sent: dict[int, float] = {}
        for n in itertools.count(1):
            if self._over.is_set():
                return
            sent[n] = time.monotonic()
            text(socket, type="landmarks", n=n, t=0, points=points)
            message = socket.recv(10)
            if isinstance(message, bytes):
                self.shown.append((time.monotonic(), sent[unpacked(message)[0]["n"]]))
                self._over.wait(0.1)
            else:
                assert json.loads(message)["type"] in ("problem", "version")
                self._over.wait(0.2)

    def recovered(self, killed: float) -> float | None:
        """Seconds from then until something was shown that was sent later."""
        later = [shown for shown, sent in list(self.shown) if sent > killed]
        return later[0] - killed if later else None

    def until_recovered(self, killed: float, seconds: float) -> float:
        """Wait for it."""
        while (recovered := self.recovered(killed)) is None:
            assert time.monotonic() < killed + seconds, "no picture came any more"
            time.sleep(0.05)
        return recovered

    def longest_gap(self, start: float, end: float) -> float:
        """Seconds without a picture between these times."""
        moments = [start, *(shown for shown, _ in list(self.shown) if start < shown < end), end]
        return max(after - before for before, after in itertools.pairwise(moments))

    @contextmanager
    def going(self) -> Iterator["LiveClient"]:
        """From the first picture on."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            self.until_recovered(time.monotonic(), TIMEOUT_S)
            yield self
        finally:
            self._over.set()
            thread.join(30)


@dataclass
class Maker:
    """Sends work to be done, so that there is always some; what was accepted must be done, once.

    send: one piece of work under an idempotency key, which goes along again if it was not accepted.
    """

    answers: Answers
    send: Callable[[int, str], requests.Response]
    look: Callable[[dict[str, Any]], requests.Response]
    """what became of an accepted document"""
    at_once: int
    """so many are not done"""
    accepted: dict[str, dict[str, Any]] = field(default_factory=dict)
    """the newest document that was seen, by id"""
    keys: int = 0
    unknown: set[str] = field(default_factory=set)
    """accepted ones that were said not to exist"""

    def waiting(self) -> list[dict[str, Any]]:
        """Accepted, and not known to have ended."""
        return [document for document in self.accepted.values() if document["state"] not in ("ready", "failed")]

    def lost(self) -> list[str]:
        """What was accepted and is not done."""
        wrong = {id: told["state"] for id, told in self.accepted.items() if told["state"] != "ready"}
        wrong |= dict.fromkeys(self.unknown, "404")
        return [f"{id}: {state}" for id, state in wrong.items()]

    def refresh(self) -> None:
        for document in self.waiting():
            with suppress(requests.RequestException):
                answer = self.look(document)
                if answer.status_code == 200:
                    self.accepted[document["id"]] = answer.json()
                elif answer.status_code == 404 and is_ours(answer):
                    self.unknown.add(document["id"])

    def _run(self, over: threading.Event) -> None:
        while not over.wait(0.2):
            self.refresh()
            if len(self.waiting()) >= self.at_once:
                continue
            number, key = self.keys, str(uuid.uuid4())
            self.keys += 1
            # What is on its way when the load ends is accepted or refused like all else.
            for _ in range(1000):
                answer = self.answers.ask(lambda number=number, key=key: self.send(number, key))  # type: ignore[misc]
                if answer is not None and answer.status_code == 202:
                    document = answer.json()
                    self.accepted[document["id"]] = document
                    break
                refused = answer is not None and 400 <= answer.status_code < 500 and answer.status_code != 429
                if answer is not None and refused and is_ours(answer):
                    self.answers.untold.append(answer.text[:200])
                    return
                time.sleep(0.3)

    @contextmanager
    def going(self) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._run, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(2 * TIMEOUT_S)


class Load:
    """Pictures asked for at fixed rates, avatars and films being made, a live client, and somebody who reads."""

    def __init__(self, service: RunningService, avatar: dict[str, Any], talk: bytes) -> None:
        """avatar: who is driven. talk: a video, of which films are made."""
        self.known = avatar
        frames, films = service.url + avatar["links"]["frames"], service.url + avatar["links"]["videos"]
        everybody = service.url + "/v1/avatars"
        face, photographs = jpeg(man()), [jpeg(woman()), jpeg(man(30))]

        def post(url: str, **what: Any) -> requests.Response:
            return requests.post(url, timeout=TIMEOUT_S, **what)

        def make_avatar(number: int, key: str) -> requests.Response:
            files = {"photos": ("photo.jpg", photographs[number % 2])}
            form = {"name": NAME, "consent": CONSENT, "mode": "FF" if number % 2 else "FT"}
            return post(everybody, files=files, data=form, headers={"Idempotency-Key": key})

        def make_film(number: int, key: str) -> requests.Response:
            return post(films, files={"video": ("talk.mp4", talk)}, headers={"Idempotency-Key": key})

        def look(document: dict[str, Any]) -> requests.Response:
            return requests.get(service.url + document["links"]["self"], timeout=TIMEOUT_S)

        def read() -> requests.Response:
            return requests.get(everybody, params={"limit": 100}, timeout=TIMEOUT_S)

        self.steady = [
            Steady("pictures by sliders", 2.0, lambda: post(frames, json={"pose": {"yaw": 10}})),
            Steady("pictures by pictures", 1.0, lambda: post(frames, files={"image": ("me.jpg", face)})),
            Steady("lists read", 2.0, read),
        ]
        self.avatars = Maker(Answers("avatars sent"), make_avatar, look, at_once=3)
        self.films = Maker(Answers("films sent"), make_film, look, at_once=1)
        self.live = LiveClient(service, avatar)

    @property
    def kinds(self) -> list[Answers]:
        return [*(each.answers for each in self.steady), self.avatars.answers, self.films.answers]

    @contextmanager
    def going(self) -> Iterator["Load"]:
        with ExitStack() as running:
            for each in (*self.steady, self.avatars, self.films, self.live):
                running.enter_context(each.going())
            yield self

    def well(self, killed: float) -> bool:
        """Whether everything has been answered for a while, as it was before."""
        now = time.monotonic()
        for each in self.steady:
            recovered = each.answers.recovered(killed)
            if recovered is None or now - killed - recovered < STEADY_S:
                return False
        makers = (self.avatars, self.films)
        mended = all(
            each.answers.recovered(killed) is not None or not each.answers.between(killed, now) for each in makers
        )
        return mended and self.live.recovered(killed) is not None

    def until_well(self, killed: float, seconds: float) -> bool:
        """Wait for it; whether it came."""
        while not (well := self.well(killed)) and time.monotonic() < killed + seconds:
            time.sleep(0.1)
        return well

    def until_done(self, seconds: float) -> None:
        """Of what was accepted. After the load has ended."""
        end = time.monotonic() + seconds
        for maker in (self.avatars, self.films):
            while maker.waiting() and time.monotonic() < end:
                maker.refresh()
                time.sleep(0.2)

    def errors(self, start: float, end: float, by: float = math.inf) -> tuple[int, Counter[str]]:
        """How many requests there were, and what those came to that were not answered well: `KIND STATUS`.

        by: leave out what was answered later.
        """
        told = [(kind.name, each) for kind in self.kinds for each in kind.between(start, end) if each.at <= by]
        return len(told), Counter(f"{name} {answer.status}" for name, answer in told if not answer.good)
