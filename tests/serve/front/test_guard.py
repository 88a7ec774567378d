"""Who may come: keys, this machine alone, origins; headers and errors of every answer; rates."""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from raytalk.errors import StorageError
from serve.errors import TooMany
from serve.front.limits import Places, TokenBuckets
from serve.front.problems import problem_of
from serve.front.routes import health
from serve.front.routes.page import FOLDER
from serve.settings import ServiceSettings
from tests.serve.front.conftest import make_avatar, problem, wait_for
from tests.serve.front.fakes import Service, picture

ID = "0123456789abcdef" * 2
EVERYWHERE = [
    ("GET", "/v1/avatars"), ("POST", "/v1/avatars"), ("GET", f"/v1/avatars/{ID}"), ("DELETE", f"/v1/avatars/{ID}"),
    ("GET", f"/v1/avatars/{ID}/events"), ("GET", f"/v1/avatars/{ID}/preview.jpg"),
    ("GET", f"/v1/avatars/{ID}/crops/0.jpg"),
    ("POST", f"/v1/avatars/{ID}/frames"), ("POST", f"/v1/avatars/{ID}/videos"), ("GET", f"/v1/avatars/{ID}/videos"),
    ("GET", f"/v1/videos/{ID}"), ("DELETE", f"/v1/videos/{ID}"), ("GET", f"/v1/videos/{ID}/film.mp4"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), EVERYWHERE)
def test_a_key_is_asked_for_everywhere(calm: Service, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}):
        answer = requests.request(method, calm.url + path, headers=headers)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_every_path_of_the_description_is_tried(calm: Service) -> None:
    described = requests.get(f"{calm.url}/openapi.json").json()["paths"]
    known = {(method, path.replace(ID, "{id}").replace("0.jpg", "{number}.jpg")) for method, path in EVERYWHERE}
    open_to_all = {("GET", "/v1/session"), ("GET", "/healthz"), ("GET", "/readyz")}
    assert known | open_to_all == {(method.upper(), path) for path, methods in described.items() for method in methods}


def test_wrong_keys_are_noted_and_slowed_down(started: Callable[..., Service]) -> None:
    service = started()
    wrong = {"Authorization": "Bearer rt_guess"}
    answers = [requests.get(f"{service.url}/v1/avatars", headers=wrong).status_code for _ in range(35)]
    assert answers[:30] == [401] * 30
    assert answers[-1] == 429
    # The right key still works from there.
    assert service.session("ada").get(f"{service.url}/v1/avatars").status_code == 200

    def refused() -> int:
        return len([event for event in service.events() if event["action"] == "refused-key"])

    wait_for(refused, lambda number: number >= 30)
    assert "rt_guess" not in json.dumps(service.events())


def test_the_session_tells_whether_a_key_is_needed(calm: Service, ada: requests.Session) -> None:
    stranger = requests.get(f"{calm.url}/v1/session").json()
    assert stranger["keys"] is True
    assert stranger["owner"] is None
    assert stranger["mark"] is False
    assert stranger["limits"]["photo_bytes"] == 20 << 20
    assert requests.get(f"{calm.url}/v1/session", headers={"Authorization": "Bearer no"}).json()["owner"] is None
    assert ada.get(f"{calm.url}/v1/session").json()["owner"] == "ada"


def test_without_keys_only_this_machine_is_served(started: Callable[..., Service]) -> None:
    service = started(owners=())
    port = service.url.rpartition(":")[2]
    assert requests.get(f"{service.url}/v1/session").json()["owner"] == "local"
    document = make_avatar(service, requests.Session())
    assert service.avatar("local", document["id"]).owner == "local"
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", "localhost", f"[::1]:{port}"):
        assert requests.get(f"{service.url}/v1/avatars", headers={"Host": host}).status_code == 200
    # A name that somebody made point here (DNS rebinding).
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "[::2]",
        "[",
        "",
    ):
        for path in ("/v1/avatars", "/", "/healthz"):
            problem(requests.get(service.url + path, headers={"Host": host}), 403, "only-local")
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    answer = requests.get(f"{service.url}/v1/avatars/{ID}/live", headers={"Host": "evil.example", **upgrade})
    assert answer.status_code == 403


def test_other_origins_may_not_change_anything(calm: Service, ada: requests.Session) -> None:
    photos = [("photos", ("a.jpg", picture()))]
    data = {"name": "Ada", "consent": "yes"}
    for origin in ("https://evil.example", "null", "http://127.0.0.1", "http://[", "file://"):
        answer = ada.post(f"{calm.url}/v1/avatars", files=photos, data=data, headers={"Origin": origin})
        problem(answer, 403, "foreign-origin")
        assert ada.get(f"{calm.url}/v1/avatars", headers={"Origin": origin}).status_code == 200
    answer = ada.post(f"{calm.url}/v1/avatars", files=photos, data=data, headers={"Origin": calm.url})
    assert answer.status_code == 202
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"{calm.url.replace('http', 'ws')}/v1/avatars/{ID}/live", origin=Origin("https://evil.example"))


@pytest.mark.parametrize("path", ["/v1/session", "/v1/avatars", "/nowhere", "/docs", "/healthz", "/openapi.json"])
def test_every_answer_has_the_headers(calm: Service, path: str) -> None:
    headers = requests.get(calm.url + path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] in ("private, no-store", "no-store", "no-cache")


def test_paths_and_methods_that_are_not_there(calm: Service, ada: requests.Session) -> None:
    for path in ("/nowhere", "/v1", "/v2/avatars", "/v1/avatars/", "/page/../keys.py", "/page/%2e%2e/keys.py", "/page/",
                 "/page/nothing.js", "/page/..%2f..%2fkeys.py", "/page/%00"):  # fmt: skip
        answer = ada.get(calm.url + path)
        problem(answer, 404, "not-found")
    for method, path in (
        ("PUT", "/v1/avatars"),
        ("PATCH", f"/v1/avatars/{ID}"),
        ("POST", "/healthz"),
        ("PURGE", "/v1/session"),
    ):
        answer = ada.request(method, calm.url + path)
        problem(answer, 405, "method-not-allowed")
        assert answer.headers["allow"]


def test_unexpected_errors_leak_nothing(calm: Service, ada: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(calm.desk, "avatars", broken)
    answer = ada.get(f"{calm.url}/v1/avatars")
    problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"

    async def away(*_: object) -> None:
        raise StorageError("cannot read s3://secret-bucket")

    monkeypatch.setattr(calm.desk, "avatars", away)
    answer = ada.get(f"{calm.url}/v1/avatars")
    problem(answer, 503, "storage")
    assert "secret" not in answer.text
    assert answer.headers["retry-after"]


def test_health(calm: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert requests.get(f"{calm.url}/healthz").json() == {"status": "alive"}
    ready = requests.get(f"{calm.url}/readyz")
    assert ready.json() == {"status": "ready", "parts": {"desk": True, "faces": True, "renderer": True}}
    calm.faces.error = RuntimeError("gone")
    assert requests.get(f"{calm.url}/readyz").status_code == 200, "asked a moment ago"
    monkeypatch.setattr(health, "_AGAIN", 0.0)
    document = problem(requests.get(f"{calm.url}/readyz"), 503, "not-ready")
    assert document["parts"] == {"desk": True, "faces": False, "renderer": True}

    async def broken() -> bool:
        raise RuntimeError("gone")

    monkeypatch.setattr(calm.renderer, "ready", broken)
    document = problem(requests.get(f"{calm.url}/readyz"), 503, "not-ready")
    assert document["parts"]["renderer"] is False
    assert requests.get(f"{calm.url}/healthz").status_code == 200


def test_the_rate_of_an_owner(started: Callable[..., Service]) -> None:
    service = started(requests_per_minute=5)
    ada, bob = service.session("ada"), service.session("bob")
    answers = [ada.get(f"{service.url}/v1/avatars") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    problem(answers[-1], 429, "too-fast")
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 12
    assert bob.get(f"{service.url}/v1/avatars").status_code == 200
    # What needs no key is not counted.
    assert ada.get(f"{service.url}/v1/session").status_code == 200


def test_token_buckets_fill_again() -> None:
    now = 0.0
    buckets = TokenBuckets(60, lambda: now)
    assert [buckets.take("a") for _ in range(60)] == [0.0] * 60
    assert buckets.take("a") == pytest.approx(1.0)
    now = 0.25
    assert buckets.take("a") == pytest.approx(0.75)
    now = 1.0
    assert buckets.take("a") == 0.0
    now = 10_000.0
    assert [buckets.take("a") for _ in range(61)].count(0.0) == 60
    for number in range(20_000):
        buckets.take(str(number))
    assert len(buckets._buckets) <= 10_000


def test_places_are_given_back() -> None:
    places = Places(1)
    with places.one("a", "code", "things"):
        with pytest.raises(TooMany), places.one("a", "code", "things"):
            pass
        with places.one("b", "code", "things"):
            assert places.taken == 2
    assert places.taken == 0


def test_figures_name_routes_not_paths(calm: Service, ada: requests.Session) -> None:
    calm.metrics.noted.clear()
    ada.get(f"{calm.url}/v1/avatars/{ID}")
    ada.get(f"{calm.url}/{ID}")
    ada.request("PURGE", f"{calm.url}/healthz")
    requested = [tags for name, _, tags in calm.metrics.noted if name == "http_requests"]
    assert {"method": "GET", "route": "/v1/avatars/{id}", "status": "404"} in requested
    assert {"method": "GET", "route": "other", "status": "404"} in requested
    assert ID not in str(requested)
    assert "PURGE" not in str(requested)


def test_other_origins_that_are_configured(tmp_path: Path) -> None:
    settings = ServiceSettings(origins=("https://app.example",))
    with Service(tmp_path / "kept", settings, ("ada",)).running() as service:
        asking = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        asked = requests.options(f"{service.url}/v1/avatars", headers=asking)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == "https://app.example"
        other = requests.options(
            f"{service.url}/v1/avatars", headers={**asking, "Origin": "https://app.example.evil.example"}
        )
        assert "access-control-allow-origin" not in other.headers
        posted = service.session("ada").post(f"{service.url}/v1/avatars", headers={"Origin": "https://app.example"})
        assert posted.status_code == 415
        refused = service.session("ada").post(f"{service.url}/v1/avatars", headers={"Origin": "http://app.example"})
        problem(refused, 403, "foreign-origin")


def test_problems_that_come_over_a_handle() -> None:
    class RayTaskError(TooMany):
        """As Ray makes one: of the class of what was raised, with what was raised as `cause`."""

        def __init__(self, cause: Exception) -> None:
            self.cause = cause

    wrapped = RayTaskError(TooMany("wait", "queue-full", {"Retry-After": "3"}, {"waiting": 2}))
    found = problem_of(wrapped)
    for each in (found, pickle.loads(pickle.dumps(found))):
        assert (each.code, each.detail) == ("queue-full", "wait")
        assert (each.headers, each.extra) == ({"Retry-After": "3"}, {"waiting": 2})
    assert problem_of(RayTaskError(StorageError("s3://secret"))).code == "storage"


def test_the_page_of_the_description(calm: Service) -> None:
    page = requests.get(f"{calm.url}/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" not in page.text
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    for word in ("/v1/avatars/{id}/frames", "Idempotency-Key", "consent", "ByLandmarks" and "landmarks", "4401"):
        assert word in page.text
    assert requests.get(f"{calm.url}/docs/style.css").headers["content-type"].startswith("text/css")


def test_huge_headers_and_odd_requests(calm: Service, ada: requests.Session) -> None:
    assert ada.get(f"{calm.url}/v1/avatars", headers={"X": "y" * 30_000}).status_code == 200
    answer = ada.get(f"{calm.url}/v1/avatars?limit=1&limit=2&after=%ff%fe")
    assert answer.status_code in (200, 400)
    long = requests.get(f"{calm.url}/v1/avatars", headers={"Authorization": "Bearer " + "x" * 20_000})
    assert long.status_code in (401, 429)
    assert io.BytesIO(long.content).read()


def test_the_page_and_its_files(calm: Service) -> None:
    page = requests.get(f"{calm.url}/")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-cache"
    files = [file for file in FOLDER.rglob("*") if file.suffix in (".js", ".css", ".svg", ".json")]
    assert files
    kinds = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
    for file in files:
        answer = requests.get(f"{calm.url}/page/{file.relative_to(FOLDER).as_posix()}")
        assert answer.content == file.read_bytes()
        assert answer.headers["content-type"] == kinds.get(file.suffix, "application/json")
        again = requests.get(answer.url, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
