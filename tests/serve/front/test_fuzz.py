"""Good and bad requests made from the description of the API: no 5xx, and nothing that the description does not say."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.serve.front.conftest import ready_avatar, settings, wait_for
from tests.serve.front.fakes import Service, picture, video

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    ignored_auth,
    unsupported_method,
]
schema = schemathesis.openapi.from_dict(Service(Path("/nonexistent"), settings(), ("ada",)).api().openapi())
schema.config.generation.update(allow_extra_parameters=False)


class Known:
    """A service with an avatar and a video, made again when a request deletes them."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service, self.client = service, service.session("ada")
        self.driver = video(folder / "d.mp4")
        self.avatar = self.film = ""

    def ids(self) -> tuple[str, str]:
        """Of an avatar and a video that are ready."""
        if not self.avatar or not self._there(f"/v1/avatars/{self.avatar}"):
            self.avatar, self.film = ready_avatar(self.service, self.client)["id"], ""
        if not self.film or not self._there(f"/v1/videos/{self.film}"):
            here = f"{self.service.url}/v1/avatars/{self.avatar}/videos"
            self.film = self.client.post(here, files={"video": ("d", self.driver)}).json()["id"]
            place = f"{self.service.url}/v1/videos/{self.film}"
            wait_for(lambda: self.client.get(place).json(), lambda document: document["state"] == "ready")
        return self.avatar, self.film

    def _there(self, path: str) -> bool:
        return self.client.get(self.service.url + path).status_code == 200


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    folder = tmp_path_factory.mktemp("fuzz")
    service = Service(folder / "kept", settings(avatars=10_000, waiting=10_000), ("ada",), wrong_keys_per_minute=1e6)
    with service.running():
        yield Known(service, folder)


def tried(case: schemathesis.Case, known: Known) -> None:
    """Send a case, in some as to things that are there and with files that can be read."""
    avatar, film = known.ids()
    # By its content, so that the same case is tried the same way again.
    choice = zlib.crc32(repr((case.path_parameters, case.query, case.headers, case.body)).encode("utf-8", "replace"))
    # Unknown parameters of a query are passed over, and a missing key is put in below: rejection is asked of bodies.
    checks = [check for check in CHECKS if check is not negative_data_rejection or case.media_type]
    if choice % 2 and "id" in case.path_parameters:
        case.path_parameters["id"] = film if "/videos/{id}" in case.path else avatar
    if choice % 3 == 0 and isinstance(case.body, dict) and case.media_type == "multipart/form-data":
        real: dict[str, Any] = {"photos": [picture()], "image": picture(), "video": known.driver}
        case.body = {name: real.get(name, value) for name, value in case.body.items()}
        checks = [check for check in CHECKS if check is not negative_data_rejection]
    headers = {"Authorization": f"Bearer {known.service.keys['ada']}"}
    case.call_and_validate(base_url=known.service.url, headers=headers, checks=checks, timeout=30)


@schema.parametrize()
@hypothesis.settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_a_few_requests_of_each_kind(case: schemathesis.Case, known: Known) -> None:
    tried(case, known)


@pytest.mark.slow
@schema.parametrize()
@hypothesis.settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_many_requests_of_each_kind(case: schemathesis.Case, known: Known) -> None:
    tried(case, known)


def test_the_service_is_well_after_that(known: Known) -> None:
    """Nothing hangs, nothing failed, nobody else's work was lost."""
    avatar, _ = known.ids()
    answer = requests.post(
        f"{known.service.url}/v1/avatars/{avatar}/frames",
        json={"pose": {}},
        headers={"Authorization": f"Bearer {known.service.keys['ada']}"},
        timeout=10,
    )
    assert answer.status_code == 200
    assert known.service.call(known.service.desk.ready())
    wait_for(lambda: known.service.call(known.service.desk.queue()), lambda queue: not queue.get("introduce"))
