"""What is shown is recorded; films are made by the service."""

import time

import cv2
from page_visitor import NEEDS_CHROMIUM, downloaded, drive_by, open_avatar, shown, text

pytestmark = NEEDS_CHROMIUM


def test_what_is_shown_is_recorded_and_kept(browser, service, photographs):
    open_avatar(browser, service, photographs)
    drive_by(browser, "sample")
    browser.click("#record")
    time.sleep(1.5)
    browser.click("#record")
    browser.wait(shown("#recorded"))
    assert "no signature" in text(browser, "#recorded")
    file = downloaded(browser, "#recorded-save")
    assert file.stem.startswith("Ada-generated")
    film = cv2.VideoCapture(str(file))
    good, frame = film.read()
    assert good
    assert frame.shape[:2] == (512, 512)
    # The mark "AI-generated" on its dark ground.
    assert frame[482:510, 4:12].mean() < 110
    assert frame[478:512, :130].max() > 200


def test_a_film_is_ordered_made_and_fetched(browser, service, photographs, talk):
    id = open_avatar(browser, service, photographs)
    browser.attach("#film-file", [talk])
    browser.wait("document.querySelectorAll('#films li').length === 1")
    film = service.do(service.desk.films("local", id))[0]
    service.film(film.id, 0.4)
    browser.wait("document.querySelector('#films .state').textContent === 'Being made: 40 %'")
    service.film_made(film.id, talk)
    browser.wait(shown("#films .show"))
    browser.click("#films .show")
    browser.wait(shown("#films .save"))
    assert browser.run("document.querySelector('#films .save').download") == "Ada-generated.mp4"
    file = downloaded(browser, "#films .save")
    assert file.name.startswith("Ada-generated")
    assert file.read_bytes() == talk.read_bytes()
    browser.click("#films .delete")
    browser.wait(shown("#sure-yes"))
    browser.click("#sure-yes")
    browser.wait("document.querySelectorAll('#films li').length === 0")
    assert service.do(service.desk.films("local", id)) == []


def test_the_camera_makes_the_driving_film(browser, service, photographs):
    id = open_avatar(browser, service, photographs)
    browser.click("#film-camera")
    browser.wait("!document.getElementById('camera-take').disabled")
    browser.click("#camera-take")
    time.sleep(1.5)
    browser.click("#camera-take")
    browser.wait("document.querySelectorAll('#films li').length === 1 || !document.getElementById('film-error').hidden")
    assert text(browser, "#film-error") == ""
    assert len(service.do(service.desk.films("local", id))) == 1
