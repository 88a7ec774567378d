"""The whole service on Ray as its clients know it, and its processes, for tests that kill them."""

import itertools
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests
from people import Picture, jpeg

from serve.work.introduce import SHARE
from serve.work.learner import _LEARNED

NAME = "Ada of the tests"
CONSENT = "by letter, 3 May"


def settings(storage: Path, run: Path, steps: int) -> dict[str, Any]:
    """Few steps of tiny networks; holds end after twenty seconds instead of thirty. run: see toy_run."""
    return {
        "storage": str(storage),
        "checkpoint": str(run),
        "device": "cpu",
        "min_face": 50,
        "fewshot": {"steps": steps, "batch_size": 2},
        "work": {"preview_steps": 10, "lease_s": 20},
        "limits": {"requests_per_minute": 1_000_000},
    }


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass
class Story:
    """Every document that server-sent events told of an avatar; a stream that breaks is opened again."""

    documents: list[dict[str, Any]] = field(default_factory=list)
    breaks: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def follow(self, url: str) -> None:
        """Until the avatar is done, or `over`."""
        while not self.over.is_set():
            known = {"Last-Event-ID": str(self.documents[-1]["revision"])} if self.documents else {}
            try:
                with requests.get(url, headers=known, stream=True, timeout=30) as stream:
                    if stream.status_code == 204:
                        return
                    if stream.ok:
                        self._read(stream)
            except requests.RequestException:
                self.breaks += 1
            if self.documents and self.documents[-1]["state"] in ("ready", "failed"):
                return
            self.over.wait(0.2)

    def _read(self, stream: requests.Response) -> None:
        for line in stream.iter_lines():
            if line.startswith(b"data: {") and line != b"data: {}":
                self.documents.append(json.loads(line[len(b"data: ") :]))
            if self.over.is_set():
                return

    def check(self, attempts: int, desks: int = 1) -> None:
        """Progress is never ahead of what is done, grows within an attempt, and is set back with the next.

        desks: so many one after the other; a new one goes back to what was stored, two seconds at most.
        """
        falls = 0
        for before, after in itertools.pairwise(self.documents):
            assert after["revision"] > before["revision"]
            back = after["step"] < before["step"]
            falls += back
            assert back or after["progress"] >= before["progress"], (before, after)
        for told in self.documents:
            if told["state"] != "ready":
                learned = told["step"] / told["steps"] if told["steps"] else 0.0
                assert told["progress"] <= SHARE + (_LEARNED - SHARE) * learned + 1e-6, told
        assert attempts - 1 <= falls <= attempts - 1 + desks - 1
        assert self.documents[-1]["progress"] == 1.0


@dataclass(frozen=True)
class RunningService:
    """At `url`, with everything in `storage`; below `root` run its processes."""

    url: str
    storage: Path
    root: psutil.Process

    def ask(self, method: str, path: str, status: int = 200, **what: Any) -> requests.Response:
        """What is answered, with this status."""
        answer = requests.request(method, self.url + path, timeout=60, **what)
        assert answer.status_code == status, (answer.status_code, answer.text[:500])
        return answer

    def make(self, *photographs: Picture, mode: str = "FT") -> dict[str, Any]:
        """The document of an avatar that was accepted; waits for its turn if too many are sent at a time."""
        files = [("photos", (f"{number}.jpg", jpeg(each))) for number, each in enumerate(photographs)]
        form = {"name": NAME, "consent": CONSENT, "mode": mode}
        while True:
            answer = requests.post(f"{self.url}/v1/avatars", files=files, data=form, timeout=60)
            if answer.status_code != 429:
                break
            assert (answer.json()["code"], int(answer.headers["Retry-After"]) > 0) == ("too-many-uploads", True)
            time.sleep(0.2)
        assert answer.status_code == 202, answer.text[:500]
        document: dict[str, Any] = answer.json()
        assert answer.headers["Location"] == document["links"]["self"]
        return document

    def seen(self, avatar: dict[str, Any]) -> dict[str, Any]:
        """The document as it is now."""
        document: dict[str, Any] = self.ask("GET", avatar["links"]["self"]).json()
        return document

    def until(
        self, avatar: dict[str, Any], true: Callable[[dict[str, Any]], bool], seconds: float = 120
    ) -> dict[str, Any]:
        """The first document of which this is true; answers that the service is not there now are waited through."""
        end, document = time.monotonic() + seconds, avatar
        while time.monotonic() < end:
            try:
                answer = requests.get(self.url + avatar["links"]["self"], timeout=60)
            except requests.ConnectionError:
                time.sleep(0.1)
                continue
            # Who was accepted is never unknown.
            assert answer.status_code in (200, 503), (answer.status_code, answer.text[:500])
            if answer.status_code == 503:
                time.sleep(0.1)
                continue
            document = answer.json()
            if true(document):
                return document
            assert document["state"] != "failed", document["reason"]
            time.sleep(0.05)
        raise AssertionError(f"it did not happen: {document}")

    def record(self, avatar: dict[str, Any]) -> dict[str, Any]:
        """As it is stored."""
        kept: dict[str, Any] = json.loads((self.storage / "avatars" / avatar["id"] / "record.json").read_text())
        return kept

    @contextmanager
    def followed(self, avatar: dict[str, Any]) -> Iterator[Story]:
        """What its events tell."""
        story = Story()
        thread = threading.Thread(target=story.follow, args=(self.url + avatar["links"]["events"],), daemon=True)
        thread.start()
        try:
            yield story
            thread.join(30)
            assert not thread.is_alive(), "its events did not end"
        finally:
            story.over.set()

    def processes(self, part: str) -> list[psutil.Process]:
        """The replicas of a deployment."""
        found = []
        for process in self.root.children(recursive=True):
            try:
                name = (process.cmdline() or [""])[0]
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
            if name.startswith("ray::ServeReplica:") and name.split(":")[4].split(".")[0] == part:
                found.append(process)
        return found

    def kill(self, part: str) -> float:
        """Its only replica is no more; when that was (monotonic)."""
        (victim,) = self.processes(part)
        os.kill(victim.pid, signal.SIGKILL)
        return time.monotonic()

    def traces(self, *words: str) -> list[str]:
        """Files below storage whose name or content has one of these; `audit/` and `deletions/` are to tell of ids."""
        found = []
        for path in self.storage.rglob("*"):
            place = path.relative_to(self.storage)
            if place.parts[0] in ("audit", "deletions"):
                continue
            data = path.read_bytes() if path.is_file() else b""
            if any(word in str(place) or word.encode() in data for word in words):
                found.append(str(place))
        return found


@contextmanager
def deployed(storage: Path, run: Path, steps: int) -> Iterator[RunningService]:
    """On the Ray of this session."""
    from ray import serve

    from serve.app import app

    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        serve.run(app(settings(storage, run, steps)), name="raytalk", route_prefix="/")
        yield RunningService(f"http://127.0.0.1:{port}", storage, psutil.Process())
    finally:
        serve.shutdown()
