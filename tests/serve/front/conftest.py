"""Running services for the tests of the front."""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.sync.client import ClientConnection

from serve.settings import ServiceSettings
from tests.serve.front.fakes import Service, picture
from tests.serve.front.live_client import opened


def settings(**limits: Any) -> ServiceSettings:
    """With limits of this kind."""
    return ServiceSettings(limits={"requests_per_minute": 100_000, **limits}, work={"lease_s": 5})


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two owners with keys, workers that do every job at once."""
    place = tmp_path_factory.mktemp("service")
    made = Service(place, settings(avatars=1000, waiting=1000), owners=("ada", "bob"))
    with made.running():
        yield made


@pytest.fixture
def calm(service: Service) -> Iterator[Service]:
    """The same, with fakes as they were at first."""
    yield service
    for part in (service.faces, service.renderer):
        part.delay, part.error = 0.0, None
    service.renderer.queue_ms, service.renderer.most_at_once = 10.0, 0
    service.renderer.asked.clear()
    service.renderer.deleted.clear()
    service.faces.seen.clear()
    service.faces.near.clear()


@pytest.fixture
def ada(service: Service) -> requests.Session:
    return service.session("ada")


@pytest.fixture
def bob(service: Service) -> requests.Session:
    return service.session("bob")


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services with settings of their own; they end with the test."""
    import contextlib

    with contextlib.ExitStack() as stack:

        def start(owners: tuple[str, ...] = ("ada", "bob"), working: bool = True, **limits: Any) -> Service:
            return stack.enter_context(Service(tmp_path / "kept", settings(**limits), owners, working).running())

        yield start


@pytest.fixture
def id(calm: Service, ada: requests.Session) -> str:
    return str(ready_avatar(calm, ada)["id"])


@pytest.fixture
def socket(calm: Service, id: str) -> Iterator[ClientConnection]:
    with opened(calm, id) as connection:
        yield connection


@pytest.fixture
def nothing_is_left(calm: Service) -> Iterator[None]:
    """Neither in storage nor in the folder of uploads."""
    folders = set(Path(tempfile.gettempdir()).glob("raytalk-scratch-*/upload-*"))
    yield
    wait_for(
        lambda: set(Path(tempfile.gettempdir()).glob("raytalk-scratch-*/upload-*")) - folders, lambda left: not left
    )
    store = calm.store
    wait_for(lambda: [id for id in store.ids("avatars") if not store.read_record("avatars", id)], lambda left: not left)
    wait_for(lambda: [id for id in store.ids("films") if not store.read_record("films", id)], lambda left: not left)


GOOD = {"name": "Ada", "consent": "I agree."}


def send(service: Service, client: requests.Session, field: str, name: str, data: bytes) -> requests.Response:
    return client.post(f"{service.url}/v1/avatars", files=[(field, (name, data))], data=GOOD)


def make_avatar(service: Service, client: requests.Session, mode: str = "FF", **more: Any) -> dict[str, Any]:
    """An avatar from one photograph, accepted."""
    data = {"name": "Ada", "consent": "I agree.", "mode": mode, **more}
    answer = client.post(f"{service.url}/v1/avatars", files=[("photos", ("front.jpg", picture()))], data=data)
    assert answer.status_code == 202, answer.text
    document: dict[str, Any] = answer.json()
    return document


def ready_avatar(service: Service, client: requests.Session, mode: str = "FF") -> dict[str, Any]:
    """An avatar that is ready."""
    document = make_avatar(service, client, mode)
    return wait_for(lambda: client.get(service.url + document["links"]["self"]).json(), lambda d: d["state"] == "ready")


def wait_for(get: Callable[[], Any], good: Callable[[Any], bool], seconds: float = 10.0) -> Any:
    """What `get` gives as soon as it is good."""
    end = time.monotonic() + seconds
    while not good(found := get()):
        assert time.monotonic() < end, f"still {found}"
        time.sleep(0.02)
    return found


def problem(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    """Checks that an answer is this problem, and gives the document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["code"] == code, document
    assert document["status"] == status
    assert document["type"] == "about:blank"
    assert document["title"]
    assert document["detail"]
    return document
