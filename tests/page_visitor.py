"""What a visitor of the page does and sees."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from browser import Browser, chromium
from page_service import Service

NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]


def text(browser: Browser, selector: str) -> str:
    return str(browser.run(f"document.querySelector({selector!r}).textContent"))


def shown(selector: str) -> str:
    """An expression: whether that is seen."""
    return f"!!document.querySelector({selector!r})?.checkVisibility()"


def open_form(browser: Browser, service: Service) -> None:
    browser.open(service.url + "#/new")
    browser.wait(shown("#view-new"))


def make_avatar(browser: Browser, service: Service, photographs: Sequence[Path], name: str = "Ada") -> str:
    """Fill in the form and send it; returns the id."""
    open_form(browser, service)
    browser.attach("#photos", photographs)
    browser.wait(f"document.querySelectorAll('#thumbs img').length === {len(photographs)}")
    browser.click("#name")
    for letter in name:
        browser.press(letter)
    browser.click("#consent")
    browser.click("#send")
    browser.wait("location.hash.startsWith('#/avatar/')")
    return service.newest()


def open_avatar(browser: Browser, service: Service, photographs: Sequence[Path], learned: bool = False) -> str:
    """An avatar that is there, opened."""
    id = make_avatar(browser, service, photographs[:2])
    service.introduce(id)
    if learned:
        service.finish(id)
    browser.wait(shown("#start"))
    return id


def drive_by(browser: Browser, by: str) -> None:
    """by: sample, camera or sliders."""
    browser.run(f"document.querySelector('input[name=driver][value={by}]').click()")
    browser.click("#start")
    browser.wait("Number(document.getElementById('rate').textContent) > 0")


def downloaded(browser: Browser, selector: str) -> Path:
    """The film that a click on this saves."""
    for file in browser.downloads.iterdir():
        file.unlink()
    browser.click(selector)
    end = time.monotonic() + 20
    while not (new := [file for file in browser.downloads.iterdir() if file.suffix in (".mp4", ".webm")]):
        assert time.monotonic() < end, "nothing was downloaded"
        time.sleep(0.05)
    return new[0]


PIXELS = """(() => { const c = document.getElementById('picture');
    const data = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
    return [...data].reduce((a, b) => (a * 31 + b) % 1000003, 7) })()"""
"""what the stage shows, as one number"""
