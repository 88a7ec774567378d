"""The whole service with the model that ships and a real face: docs/service.md's commands, the page, figures."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import c2pa
import cv2
import pytest
import requests
from browser import Browser, chromium
from documentation import marked_blocks
from page_visitor import NEEDS_CHROMIUM, PIXELS, downloaded, drive_by, shown, text
from people import jpeg, man, write_talk
from real_service import RealService, real_service

from raytalk.faces.video import read_frames

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]
DOCUMENT = Path(__file__).parents[2] / "docs" / "service.md"
STEPS = 6


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    args = {"checkpoint": "base", "device": "cpu", "fewshot": {"steps": STEPS}, "work": {"preview_steps": 2}}
    with real_service(tmp_path_factory.mktemp("whole"), args) as service:
        yield service


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """What the document says lies there."""
    place = tmp_path_factory.mktemp("desk")
    (place / "photographs").mkdir()
    for number in range(4):
        (place / "photographs" / f"{number}.jpg").write_bytes(jpeg(man(25 * number)))
    write_talk(place / "talk.mp4", 30, sound=True)
    return place


def _run(command: list[str], desk: Path, service: RealService) -> str:
    environment = os.environ | {"URL": service.url, "KEY": "anything"}
    done = subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_curl_lines(service, desk):
    said = _run(["bash", "-euo", "pipefail", "-c", marked_blocks(DOCUMENT, "bash")], desk, service)
    record = json.loads((desk / "avatar.json").read_text())
    assert (record["state"], record["version"], record["step"]) == ("ready", "FT", STEPS)
    assert [photo["used"] for photo in record["photos"]] == [True] * 4
    assert record["quality"]["photos_used"] == 4
    assert record["quality"]["ssim_ft"] > record["quality"]["ssim_ff"]
    # Not all at once at its end.
    assert said.count("event: avatar") > STEPS
    pictures = [cv2.imread(str(desk / name)) for name in ("turned.jpg", "like-the-last-photograph.png")]
    assert {picture.shape for picture in pictures} == {(record["resolution"], record["resolution"], 3)}
    assert len(list(read_frames(desk / "ada.mp4"))) == 30
    for made in ("turned.jpg", "like-the-last-photograph.png", "ada.mp4"):
        assert "trainedAlgorithmicMedia" in c2pa.Reader(str(desk / made)).json()
    assert requests.get(f"{service.url}/v1/avatars").json()["avatars"] == []


def test_the_python_lines(service, desk):
    said = _run([sys.executable, "-c", marked_blocks(DOCUMENT, "python")], desk, service)
    turned = [(desk / f"turned-{n}.jpg").read_bytes() for n in range(9)]
    assert len(set(turned)) == 9
    assert "'mode': 'FF'" in said


def test_events_arrive_as_they_happen(service, desk):
    """Not held back by the proxy until the stream ends."""
    photo = (desk / "photographs" / "0.jpg").read_bytes()
    form = {"name": "Ada", "consent": "by letter"}
    made = requests.post(f"{service.url}/v1/avatars", files={"photos": ("0.jpg", photo)}, data=form).json()
    states = []
    with requests.get(service.url + made["links"]["events"], stream=True, timeout=300) as stream:
        for line in stream.iter_lines():
            if line.startswith(b"data: {"):
                states.append(json.loads(line[6:])["state"])
            if states and states[-1] == "learning":
                # What it says is true now: nothing was sent after it.
                now = requests.get(service.url + made["links"]["self"]).json()
                assert now["state"] == "learning"
                break
    assert states[-1] == "learning"
    assert requests.delete(service.url + made["links"]["self"]).status_code == 204


def test_numbers_that_are_whole_are_told_so(service):
    limits = requests.get(f"{service.url}/v1/session").text
    assert re.search(r'"photo_bytes": ?20971520\b(?!\.)', limits), limits


def test_only_this_machine_by_its_name(service):
    """Through Ray's proxy the client's own address and the host that it named arrive."""
    assert requests.get(f"{service.url}/v1/avatars").status_code == 200
    rebound = requests.get(f"{service.url}/v1/avatars", headers={"Host": "evil.example"})
    assert (rebound.status_code, rebound.json()["code"]) == (403, "only-local")


@pytest.fixture
def browser(tmp_path, desk):
    """Its camera shows a man who talks."""
    camera = tmp_path / "camera.mjpeg"
    there = [jpeg(man(number)) for number in range(0, 120, 2)]
    camera.write_bytes(b"".join(there + there[::-1]))
    switches = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    switches += [f"--use-file-for-fake-video-capture={camera}", "--autoplay-policy=no-user-gesture-required"]
    browser = Browser(chromium() or "", tmp_path / "browser", switches)
    with contextlib.closing(browser):
        yield browser


@NEEDS_CHROMIUM[0]
@NEEDS_CHROMIUM[1]
def test_the_page(service, browser, desk):
    browser.open(f"{service.url}/#/new")
    browser.wait(shown("#view-new"))
    browser.attach("#photos", sorted((desk / "photographs").iterdir()))
    browser.run("document.getElementById('name').value = 'Ada'")
    browser.click("#consent")
    browser.click("#send")
    browser.wait("location.hash.startsWith('#/avatar/')")
    browser.wait(shown("#start"))
    drive_by(browser, "sample")
    _wait(browser, "document.getElementById('person-badge').textContent === 'learned'")
    assert browser.run("document.querySelectorAll('#previews li').length") >= 1
    browser.click("#start")
    # The man in front of the camera drives himself; a face is found in what the page sends.
    drive_by(browser, "camera")
    before = browser.run(PIXELS)
    browser.wait(f"{PIXELS} !== {before}")
    assert text(browser, "#trouble") == ""
    _figures_while_driven(service)
    browser.click("#start")
    browser.run("document.querySelector('input[name=driver][value=sliders]').click()")
    browser.click("#start")
    browser.wait("!document.getElementById('record').disabled")
    rest = browser.run(PIXELS)
    browser.run("document.getElementById('pose-yaw').focus()")
    for _ in range(10):
        browser.press("ArrowRight")
    browser.wait(f"{PIXELS} !== {rest}")
    browser.click("#start")
    browser.attach("#film-file", [desk / "talk.mp4"])
    _wait(browser, shown("#films .show"))
    browser.click("#films .show")
    browser.wait(shown("#films .save"))
    assert len(list(read_frames(downloaded(browser, "#films .save")))) == 30
    browser.click("#delete")
    browser.click("#sure-yes")
    browser.wait(shown("#list-empty"))
    assert browser.complaints == []


def _figures_while_driven(service: RealService) -> None:
    """What docs/service.md promises to Prometheus; a gauge goes on being told, as long as it is true."""
    gauge = re.compile(r"^ray_raytalk_live_connections\{.*\} 1\.0$", re.MULTILINE)
    time.sleep(30)
    told = service.metrics()
    assert gauge.search(told)
    names = ("http_requests_total", "http_request_ms_count", "live_frames_total", "live_server_ms_count", "records")
    parts = ("detect_ms_count", "render_ms_count", "learn_s_count", "frames_total", "uploaded_bytes_total")
    for name in (*names, *parts):
        assert f"ray_raytalk_{name}{{" in told, name


def _wait(browser: Browser, condition: str, seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not browser.run(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.2)
