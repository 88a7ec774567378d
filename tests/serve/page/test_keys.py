"""The page of a service that asks for keys."""

import pytest
from page_service import running
from page_visitor import NEEDS_CHROMIUM, shown

pytestmark = NEEDS_CHROMIUM


@pytest.fixture
def service(tmp_path):
    with running(tmp_path / "kept", keys={"rt_ada": "ada", "rt_tim": "tim"}) as service:
        yield service


def _give(browser, key):
    browser.wait(shown("#key"))
    browser.run("document.getElementById('key').value = ''")
    browser.click("#key")
    for letter in key:
        browser.press(letter)
    browser.press("Enter")


def _make(browser, photographs):
    browser.run("location.hash = '#/new'")
    browser.wait(shown("#view-new"))
    browser.attach("#photos", photographs[:1])
    browser.run("document.getElementById('name').value = 'Ada'")
    browser.click("#consent")
    browser.click("#send")
    browser.wait("location.hash.startsWith('#/avatar/')")


def test_a_key_is_asked_for_and_a_wrong_one_refused(browser, service):
    browser.open(service.url)
    _give(browser, "rt_nobody")
    browser.wait(shown("#key-error"))
    assert browser.run("document.getElementById('key-error').textContent") == "Nobody here has this key."
    _give(browser, "rt_ada")
    browser.wait(shown("#list-empty"))
    assert browser.run("document.getElementById('owner-name').textContent") == "ada"
    browser.run("sessionStorage.clear()")


def test_everything_goes_with_the_key_and_it_is_forgotten(browser, service, photographs):
    browser.open(service.url)
    _give(browser, "rt_ada")
    browser.wait(shown("#view-home"))
    _make(browser, photographs)
    id = service.newest("ada")
    service.introduce(id)
    browser.wait("document.querySelectorAll('#found img[src]').length === 1")
    browser.click("#start")
    browser.wait("Number(document.getElementById('rate').textContent) > 0")
    browser.reload()
    browser.wait(shown("#start"))
    assert "rt_ada" not in browser.run("location.href + document.cookie + JSON.stringify(localStorage)")
    browser.click("#forget-key")
    browser.wait(shown("#view-key"))
    assert browser.run("sessionStorage.length") == 0
    _give(browser, "rt_tim")
    browser.wait("document.getElementById('person-error').textContent.includes('no such avatar')")
    browser.run("sessionStorage.clear()")
    assert all("404" in complaint for complaint in browser.complaints)
    browser.complaints.clear()


def test_a_key_that_is_no_longer_valid_is_asked_for_again(browser, service, photographs):
    browser.open(service.url)
    _give(browser, "rt_ada")
    browser.wait(shown("#view-home"))
    browser.run("location.hash = '#/new'")
    browser.wait(shown("#view-new"))
    service.keyring._entries.clear()
    service.keyring._entries.append((b"0" * 32, "somebody"))
    browser.run("location.hash = '#/'")
    browser.wait(shown("#view-key"))
    assert "not valid any more" in browser.run("document.getElementById('key-error').textContent")
    assert all("401" in complaint for complaint in browser.complaints)
    browser.complaints.clear()
