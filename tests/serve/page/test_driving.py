"""Driven by the sample, a camera and sliders; what happens when something goes wrong meanwhile."""

import time

from page_visitor import NEEDS_CHROMIUM, PIXELS, drive_by, open_avatar, shown, text

from serve.errors import Unprocessable
from serve.records.record import Version

pytestmark = NEEDS_CHROMIUM


def test_the_sample_moves_the_avatar(browser, service, photographs):
    open_avatar(browser, service, photographs)
    drive_by(browser, "sample")
    before = browser.run(PIXELS)
    browser.wait(f"{PIXELS} !== {before}")
    assert browser.run(shown("#driver-drawing"))
    assert browser.run("parseFloat(document.getElementById('delay').textContent)") > 0
    assert browser.run("parseFloat(document.getElementById('server').textContent)") >= 10
    browser.click("#start")
    sent = len(service.renderer.rendered)
    time.sleep(0.5)
    assert len(service.renderer.rendered) <= sent + 1
    assert text(browser, "#rate") == "–"


def test_the_camera_drives_it_and_is_seen_as_in_a_mirror(browser, service, photographs):
    open_avatar(browser, service, photographs)
    drive_by(browser, "camera")
    before = browser.run(PIXELS)
    browser.wait(f"{PIXELS} !== {before}")
    width, height = service.faces.pictures[-1]
    assert max(width, height) == 480
    assert browser.run("getComputedStyle(document.getElementById('self')).transform") == "matrix(-1, 0, 0, 1, 0, 0)"
    browser.wait("document.querySelectorAll('#which-camera option').length > 1")
    browser.click("#start")
    browser.wait("document.getElementById('self').srcObject === null")


def test_sliders_by_keyboard(browser, service, photographs):
    open_avatar(browser, service, photographs)
    browser.run("document.querySelector('input[name=driver][value=sliders]').click()")
    browser.click("#start")
    browser.wait("!document.getElementById('record').disabled")
    rest = service.renderer.rendered[-1]
    browser.run("document.getElementById('pose-mouth').focus()")
    for _ in range(10):
        browser.press("ArrowRight")
    assert browser.run("document.getElementById('pose-mouth').getAttribute('aria-valuetext')") == "50 %"

    def lips(points):
        return points[66, 1] - points[62, 1]

    end = time.monotonic() + 20
    while lips(service.renderer.rendered[-1]) < lips(rest) + 4:
        assert time.monotonic() < end, "the mouth did not open"
        time.sleep(0.05)
    browser.click("#pose-rest")
    while lips(service.renderer.rendered[-1]) > lips(rest) + 1:
        assert time.monotonic() < end, "the mouth did not close"
        time.sleep(0.05)


def test_a_driving_picture_without_a_face_is_said_and_driving_goes_on(browser, service, photographs):
    open_avatar(browser, service, photographs)
    drive_by(browser, "camera")
    landmarks, service.faces.landmarks = service.faces.landmarks, _no_face
    browser.wait("document.getElementById('trouble').textContent.includes('no face')")
    service.faces.landmarks = landmarks
    browser.wait("document.getElementById('trouble').textContent === ''")


async def _no_face(image, near=None):
    raise Unprocessable("no face was found in the driving picture", "no-face")


def test_a_connection_that_breaks_is_made_again(browser, service, photographs):
    open_avatar(browser, service, photographs)
    drive_by(browser, "sample")
    service.cut()
    browser.wait("document.getElementById('stage-words').textContent.includes('trying again')")
    sent = len(service.renderer.rendered)
    browser.wait("document.getElementById('stage-words').textContent === ''")
    end = time.monotonic() + 20
    while len(service.renderer.rendered) < sent + 5:
        assert time.monotonic() < end
        time.sleep(0.05)
    browser.complaints.clear()


def test_an_avatar_that_is_deleted_meanwhile(browser, service, photographs):
    id = open_avatar(browser, service, photographs)
    drive_by(browser, "sample")
    service.do(service.desk.delete_avatar("local", id))
    browser.wait("document.getElementById('person-error').textContent.includes('no such avatar')")
    assert not browser.run(shown("#drive-card"))
    browser.complaints.clear()


def test_the_learned_version_takes_over_while_one_drives(browser, service, photographs):
    id = open_avatar(browser, service, photographs)
    drive_by(browser, "sample")
    service.finish(id)
    browser.wait("document.getElementById('person-badge').textContent === 'learned'")
    assert service.avatars()[0].version == Version(mode="FT", folder="ft-1")
    assert browser.run("document.getElementById('start').textContent") == "Stop"


def test_a_service_that_always_fails_is_given_up(browser, service, photographs):
    """One that takes connections and then breaks them must not be asked for ever."""
    open_avatar(browser, service, photographs)
    drive_by(browser, "sample")
    service.renderer.delay = 1e9
    error = "document.getElementById('drive-error').textContent"
    words = "document.getElementById('stage-words').textContent"
    cuts = 0
    while not browser.run(error):
        service.cut()
        cuts += 1
        assert cuts < 12
        browser.wait(f"{words} + {error} !== ''")
        browser.wait(f"{words} === ''")
    assert "could not be made again" in browser.run(error)
    assert 6 <= cuts <= 8  # a connection that was cut while it opened counts once
    assert text(browser, "#start") == "Start"
    browser.complaints.clear()
