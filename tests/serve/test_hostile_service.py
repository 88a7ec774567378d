"""Hundreds of good and bad requests to the whole service: no 5xx, no job that never ends, no memory that grows."""

import itertools
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from people import jpeg, nobody, two_people, woman, woman_again, write_still, write_talk
from real_service import RealService, real_service
from schemathesis.checks import not_a_server_error
from toy_run import write_toy_run

from tests.serve.front.fakes import picture, video
from tests.serve.front.test_hostile_files import PHOTOGRAPHS, gif, hostile_videos

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1500)]
GOOD = {"name": "Ada", "consent": "I agree."}
ROUNDS = 3
EXAMPLES = 12
"""requests made from the description of each route, in each round"""
ALLOWED_GROWTH = 0.1, 30 << 20
"""of a replica's memory after the first round: a share and, at least, bytes"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealService]:
    place = tmp_path_factory.mktemp("hostile")
    limits = {"requests_per_minute": 1e6, "avatars": 10_000, "waiting": 10_000}
    args = {
        "checkpoint": str(write_toy_run(place / "run")),
        "device": "cpu",
        "min_face": 40,
        "limits": limits,
        "fewshot": {"steps": 2, "batch_size": 1},
        "work": {"preview_steps": 1},
    }
    with real_service(place, args) as service:
        yield service


class Client:
    """Sends, and counts statuses."""

    def __init__(self, service: RealService, folder: Path) -> None:
        self.service, self.statuses = service, Counter[int]()
        self.photographs = [jpeg(woman()), jpeg(woman_again())]
        self.talk = write_talk(folder / "talk.mp4", 10, sound=True).read_bytes()
        self.avatar = self.made([("photos", ("a.jpg", data)) for data in self.photographs], mode="FT")
        driven = self.post(f"/v1/avatars/{self.avatar}/videos", files={"video": ("t.mp4", self.talk)})
        self.film = driven.json()["id"]
        self.ended()
        assert self.get(f"/v1/videos/{self.film}").json()["state"] == "ready"
        others = {"noise": video(folder / "noise.mp4"), "nobody": write_still(folder / "n.mp4", nobody()).read_bytes()}
        self.videos = others | hostile_videos(others["noise"]) | {"talk": self.talk}
        self.pictures = {name: make() for name, (make, _, _) in PHOTOGRAPHS.items()}
        self.pictures |= {"nobody": jpeg(nobody()), "two": jpeg(two_people()), "teal": picture(), "gif": gif(300)}

    def get(self, path: str) -> requests.Response:
        return self._counted(requests.get(self.service.url + path, timeout=120))

    def post(self, path: str, **what: Any) -> requests.Response:
        return self._counted(requests.post(self.service.url + path, timeout=120, **what))

    def _counted(self, answer: requests.Response) -> requests.Response:
        self.statuses[answer.status_code] += 1
        return answer

    def made(self, files: Any, **form: str) -> str:
        """The id of an avatar that is ready."""
        answer = self.post("/v1/avatars", files=files, data=GOOD | form)
        assert answer.status_code == 202, answer.text
        id = str(answer.json()["id"])
        self.ended()
        assert self.get(f"/v1/avatars/{id}").json()["state"] == "ready"
        return id

    def ended(self, seconds: float = 300.0) -> None:
        """Waits until every avatar and film is ready or has failed."""
        end = time.monotonic() + seconds
        while left := [each for each in self._jobs() if each["state"] not in ("ready", "failed")]:
            assert time.monotonic() < end, f"still not done: {left}"
            time.sleep(0.5)

    def _jobs(self) -> Iterator[dict[str, Any]]:
        after = ""
        while True:
            page = requests.get(f"{self.service.url}/v1/avatars?limit=100&after={after}", timeout=60).json()
            yield from page["avatars"]
            for avatar in page["avatars"]:
                if avatar["preview_ready"]:
                    yield from requests.get(self.service.url + avatar["links"]["videos"], timeout=60).json()["videos"]
            after = page["next"]
            if not after:
                return

    def files(self) -> Iterator[Callable[[], Any]]:
        """Each hostile or odd file, wherever a file can be sent."""
        here = f"/v1/avatars/{self.avatar}"
        for data in self.pictures.values():
            yield partial(self.post, "/v1/avatars", files={"photos": ("a.jpg", data)}, data=GOOD)
            both = [("photos", ("good.jpg", self.photographs[0])), ("photos", ("bad.jpg", data))]
            yield partial(self.post, "/v1/avatars", files=both, data=GOOD | {"mode": "FF"})
            yield partial(self.post, f"{here}/frames", files={"image": ("a.jpg", data)})
        for data in self.videos.values():
            yield partial(self.post, "/v1/avatars", files={"video": ("a.mp4", data)}, data=GOOD)
            yield partial(self.post, f"{here}/videos", files={"video": ("a.mp4", data)})
            yield partial(self.post, f"{here}/videos", files={"track": ("a.npz", data)})
        for pose in ({"yaw": 20}, {"yaw": 1e9}, {"mouth": "open"}, {}):
            yield partial(self.post, f"{here}/frames", json={"pose": pose})

    def described(self) -> Iterator[Callable[[], Any]]:
        """Requests made from the description that the service gives of itself, a function for each route."""
        schema = schemathesis.openapi.from_url(f"{self.service.url}/openapi.json")
        for operation in schema.get_all_operations():
            yield self._tried(operation.ok())  # type: ignore[union-attr]

    def _tried(self, operation: Any) -> Callable[[], None]:
        number = itertools.count()

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(
            max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        def tried(case: schemathesis.Case[Any]) -> None:
            # Every other one about something that is there.
            if "id" in case.path_parameters and case.method != "DELETE" and next(number) % 2:
                case.path_parameters["id"] = self.film if "/videos/{id}" in case.path else self.avatar
            answer = case.call_and_validate(checks=[not_a_server_error], timeout=120)
            self.statuses[answer.status_code] += 1

        return tried


def test_hundreds_of_requests(service: RealService, tmp_path: Path) -> None:
    client = Client(service, tmp_path)
    memory = []
    with ThreadPoolExecutor(4) as pool:
        for _ in range(ROUNDS):
            waiting = [pool.submit(request) for request in (*client.files(), *client.described())]
            for each in waiting:
                each.result()
            client.ended()
            memory.append(service.memory())
    assert client.statuses.total() > 500
    assert {status for status in client.statuses if status >= 500} <= {503}, client.statuses
    counted = re.findall(r'^ray_raytalk_http_requests_total\{.*status="(5\d\d)"', service.metrics(), re.MULTILINE)
    assert set(counted) <= {"503"}
    assert memory[0].keys() == memory[-1].keys(), "a replica was replaced"
    share, least = ALLOWED_GROWTH
    grown = {name: (memory[0][name], memory[-1][name]) for name in memory[0]}
    assert all(last < first + max(share * first, least) for first, last in grown.values()), memory
    print(client.statuses, [{name: size >> 20 for name, size in each.items()} for each in memory])
    assert service.ready()
    client.made([("photos", ("a.jpg", data)) for data in client.photographs], mode="FF")
