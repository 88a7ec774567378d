"""An avatar is made, watched while it is learned, listed and deleted."""

import cv2
import numpy as np
import pytest
from page_visitor import NEEDS_CHROMIUM, make_avatar, open_avatar, open_form, shown, text

pytestmark = NEEDS_CHROMIUM


def test_what_is_sent_is_what_was_chosen(browser, service, photographs):
    id = make_avatar(browser, service, photographs)
    avatar = service.avatars()[0]
    assert avatar.id == id
    assert (avatar.name, avatar.mode, avatar.state) == ("Ada", "FT", "queued")
    assert [photo.label for photo in avatar.photos] == [file.name for file in photographs]
    assert avatar.consent == browser.run("document.getElementById('statement').textContent")
    assert "I agree" in avatar.consent


def test_somebody_elses_consent_is_told_with_how_it_was_given(browser, service, photographs):
    open_form(browser, service)
    browser.attach("#photos", photographs[:1])
    browser.run("document.querySelector('input[name=who][value=other]').click()")
    browser.run("document.querySelector('input[name=mode][value=FF]').click()")
    browser.run("document.getElementById('name').value = 'Tim'")
    browser.click("#consent")
    browser.click("#send")
    browser.wait(shown("#how-error"))
    assert browser.run("document.activeElement.id") == "how"
    assert service.avatars() == []
    for letter in "by letter":
        browser.press(letter)
    browser.click("#send")
    service.newest()
    assert service.avatars()[0].consent.endswith("How: by letter")
    assert service.avatars()[0].mode == "FF"


def test_what_is_missing_is_said_beside_it_and_nothing_is_sent(browser, service):
    open_form(browser, service)
    browser.click("#send")
    for place in ("photos-error", "name-error", "consent-error"):
        browser.wait(shown(f"#{place}"))
    assert browser.run("document.getElementById('name').getAttribute('aria-invalid')") == "true"
    assert browser.run("document.activeElement.id") == "photos"
    assert service.avatars() == []


def test_a_file_that_the_service_refuses_is_said_beside_the_photographs(browser, service, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 this is no picture")
    open_form(browser, service)
    browser.attach("#photos", [broken])
    browser.run("document.getElementById('name').value = 'Ada'")
    browser.click("#consent")
    browser.click("#send")
    browser.wait(shown("#photos-error"))
    assert "broken.jpg" in text(browser, "#photos-error")
    assert "415" in browser.complaints.pop()
    assert service.avatars() == []


def test_a_photograph_is_taken_and_can_be_removed(browser, service):
    open_form(browser, service)
    browser.click("#open-camera")
    browser.wait("!document.getElementById('camera-take').disabled")
    browser.click("#camera-take")
    browser.wait("document.querySelectorAll('#thumbs li').length === 1")
    browser.click("#camera-take")
    browser.wait("document.querySelectorAll('#thumbs li').length === 2")
    assert "2 taken" in text(browser, "#camera-prompt")
    browser.click("#camera-done")
    browser.wait("document.getElementById('camera-video').srcObject === null")
    browser.click("#thumbs .remove")
    browser.wait("document.querySelectorAll('#thumbs li').length === 1")
    assert browser.run("document.activeElement.getAttribute('aria-label')") == "Remove camera 2.jpg"
    browser.run("document.getElementById('name').value = 'Ada'")
    browser.click("#consent")
    browser.click("#send")
    id = service.newest()
    size = browser.run(f"fetch('v1/avatars/{id}').then(a => a.json()).then(a => a.photos.length)")
    assert size == 1
    assert len(service.store.material(id).read("000.jpg")) > 10_000


def test_large_photographs_are_made_smaller_before_they_are_sent(browser, service, tmp_path):
    large = tmp_path / "large.jpg"
    cv2.imwrite(str(large), cv2.resize(np.arange(256, dtype=np.uint8).reshape(16, 16), (4000, 3000)))
    open_form(browser, service)
    browser.run("""{ const real = FormData.prototype.append;
        FormData.prototype.append = function (name, value, ...more) {
          if (name === 'photos') createImageBitmap(value).then(p => window.sent = [p.width, p.height]);
          return real.call(this, name, value, ...more) } }""")
    browser.attach("#photos", [large])
    browser.run("document.getElementById('name').value = 'Ada'")
    browser.click("#consent")
    browser.click("#send")
    service.newest()
    assert browser.run("window.sent") == [1920, 1440]


def test_what_was_found_and_why_not_is_shown(browser, service, photographs):
    id = make_avatar(browser, service, photographs)
    browser.wait("document.getElementById('progress-words').textContent === 'Waiting for its turn'")
    service.introduce(id, {3: ("no-face", "no face was found"), 4: ("somebody-else", "this looks like somebody else")})
    browser.wait("document.querySelectorAll('#found img[src]').length === 4")
    verdicts = browser.run("[...document.querySelectorAll('.verdict')].map(v => v.textContent.trim())")
    assert verdicts[:3] == ["✓ Used"] * 3
    assert verdicts[3] == "✗ Not used: no face was found"
    assert verdicts[4] == "✗ Not used: this looks like somebody else"
    assert browser.run("document.querySelector('#found img').naturalWidth") == 512
    assert "3 of 5 used" in text(browser, "#found-words")


def test_learning_is_watched_with_a_preview_that_gets_better(browser, service, photographs):
    id = open_avatar(browser, service, photographs)
    browser.wait("document.querySelector('#preview-now figcaption').textContent === 'Now: first version'")
    for step in (50, 100):
        service.learn(id, step)
        browser.wait(f"document.querySelector('#preview-now figcaption').textContent === 'Now: step {step}'")
    assert text(browser, "#progress-words") == "Learning: step 100 of 250"
    assert browser.run("document.getElementById('learned').value") == pytest.approx(0.4)
    assert browser.run("[...document.querySelectorAll('#previews li')].map(i => i.textContent)") == [
        "first version",
        "step 50",
    ]
    service.finish(id)
    browser.wait("document.querySelector('#preview-now figcaption').textContent === 'Now: learned'")
    assert text(browser, "#person-badge") == "learned"
    assert "0.52 at first, 0.74 after" in text(browser, "#quality")
    assert text(browser, "#said") == "Ada: learned."


def test_a_failure_tells_its_reason(browser, service, photographs):
    id = make_avatar(browser, service, photographs[:1])
    service.fail(id, "introduce", "no-face", "in none of the photographs a face was found: give others")
    browser.wait(shown("#reason"))
    assert text(browser, "#reason") == "in none of the photographs a face was found: give others"
    assert not browser.run(shown("#drive-card"))


@pytest.mark.parametrize(
    "stream",
    [
        "Promise.reject(new TypeError('cut'))",
        """Promise.resolve(new Response(new ReadableStream({ start(silent) {
             options.signal.addEventListener('abort', () => silent.error(options.signal.reason)) } })))""",
    ],
    ids=["refused", "held back"],
)
def test_where_events_do_not_come_through_it_asks_again_and_again(browser, service, photographs, stream):
    script = f"""{{ const real = window.fetch; window.streams = 0; window.fetch = (place, options) =>
        String(place).endsWith('/events') ? (window.streams += 1, {stream}) : real(place, options) }}"""
    added = browser.send("Page.addScriptToEvaluateOnNewDocument", source=script)
    browser.open("about:blank")
    try:
        id = make_avatar(browser, service, photographs[:1])
        service.introduce(id)
        browser.wait(shown("#start"))
        service.finish(id)
        browser.wait("document.getElementById('person-badge').textContent === 'learned'")
        assert browser.run("window.streams") == 1
    finally:
        browser.send("Page.removeScriptToEvaluateOnNewDocument", **added)


def test_avatars_are_listed_and_deleted_when_one_is_sure(browser, service, photographs):
    id = open_avatar(browser, service, photographs, learned=True)
    browser.open("about:blank")
    browser.open(service.url)
    browser.wait("document.querySelectorAll('#list img[src]').length === 1")
    assert text(browser, "#list b") == "Ada"
    browser.click("#list .delete")
    browser.wait(shown("#sure"))
    assert browser.run("document.activeElement.id") == "sure-no"
    browser.click("#sure-no")
    assert len(service.avatars()) == 1
    browser.click("#list .delete")
    browser.click("#sure-yes")
    browser.wait(shown("#list-empty"))
    assert service.avatars() == []
    browser.open(service.url + f"#/avatar/{id}")
    browser.wait(shown("#person-error"))
    assert any("404" in complaint for complaint in browser.complaints)
    browser.complaints.clear()


def test_what_is_sent_again_after_a_lost_answer_is_made_once(browser, service, photographs):
    open_form(browser, service)
    browser.run("""{ const real = XMLHttpRequest.prototype.send;
        XMLHttpRequest.prototype.send = function (form) {
          if (!window.lost) { window.lost = true; this.onload = this.onerror }
          return real.call(this, form) } }""")
    browser.attach("#photos", photographs[:2])
    browser.run("document.getElementById('name').value = 'Ada'")
    browser.click("#consent")
    browser.click("#send")
    browser.wait(shown("#new-error"))
    assert "cannot be reached" in text(browser, "#new-error")
    first = service.newest()
    browser.click("#send")
    browser.wait("location.hash.startsWith('#/avatar/')")
    assert browser.run("location.hash") == f"#/avatar/{first}"
    assert len(service.avatars()) == 1
