"""docs/service.md and serve/service.yaml, against the real front and desk; a thread does all other work."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import pytest
import yaml
from documentation import marked_blocks
from page_service import running

from serve.settings import ServiceSettings

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "service.md"


@pytest.fixture
def service(tmp_path, talk):
    """Avatars and films are made as they come."""
    with running(tmp_path / "kept", keys={"rt_ada": "ada"}) as service:
        over = threading.Event()
        worker = threading.Thread(target=_work, args=(service, over, talk))
        worker.start()
        yield service
        over.set()
        worker.join(60)


def _work(service, over, talk):
    while not over.wait(0.05):
        for avatar in service.avatars("ada"):
            if avatar.state == "queued" and not avatar.preview_ready:
                service.introduce(avatar.id)
                if avatar.mode == "FT":
                    service.learn(avatar.id, 100)
                    service.finish(avatar.id)
            for film in service.do(service.desk.films("ada", avatar.id)):
                if film.state == "queued":
                    service.film_made(film.id, talk)


@pytest.fixture
def desk(tmp_path, photographs, talk):
    """A folder with what the document says lies there."""
    place = tmp_path / "work"
    (place / "photographs").mkdir(parents=True)
    for file in photographs[:3]:
        (place / "photographs" / file.name).write_bytes(file.read_bytes())
    (place / "talk.mp4").write_bytes(talk.read_bytes())
    return place


def _run(command, desk, service):
    environment = os.environ | {"URL": service.url.rstrip("/"), "KEY": "rt_ada"}
    return subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True, timeout=120)


def test_the_curl_lines(service, desk):
    done = _run(["bash", "-euo", "pipefail", "-c", marked_blocks(DOCUMENT, "bash")], desk, service)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((desk / "avatar.json").read_text())
    assert (record["state"], record["version"], record["name"]) == ("ready", "FT", "Ada")
    assert done.stdout.count("event: avatar") >= 1
    for picture in ("turned.jpg", "like-the-last-photograph.png"):
        assert cv2.imread(str(desk / picture)).shape == (256, 256, 3)
    assert (desk / "like-the-last-photograph.png").read_bytes()[1:4] == b"PNG"
    assert (desk / "ada.mp4").read_bytes() == (desk / "talk.mp4").read_bytes()
    assert service.avatars("ada") == []


def test_the_python_lines(service, desk):
    done = _run([sys.executable, "-c", marked_blocks(DOCUMENT, "python")], desk, service)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(desk.glob("turned-*.jpg"))) == 9
    assert "'mode': 'FF'" in done.stdout
    assert service.avatars("ada") == []


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments")
def test_the_settings_of_the_yaml_are_known():
    from ray.serve.schema import ServeDeploySchema

    document = yaml.safe_load((ROOT / "serve" / "service.yaml").read_text())
    (application,) = ServeDeploySchema.model_validate(document).applications
    assert application.import_path == "serve.app:app"
    assert "request_timeout_s" not in document["http_options"], "uploads and streams of events would be cut off"
    settings = ServiceSettings.model_validate(application.args)
    assert settings.keys, "a service that others reach asks for keys"


def test_limits_are_told_as_they_are():
    told = DOCUMENT.read_text()
    limits = ServiceSettings().limits
    for name in type(limits).model_fields:
        assert f"`{name}`" in told, name
    numbers = (limits.avatars, limits.waiting, limits.live)
    for name, number in zip(("avatars", "waiting", "live"), numbers, strict=True):
        line = next(line for line in told.splitlines() if line.startswith(f"| `{name}`"))
        assert f"| {number} |" in line
