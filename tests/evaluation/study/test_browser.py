"""The page as a participant meets it, in a headless Chromium."""

import json
import time

import pytest
from browser import Browser, chromium

from raytalk.evaluation.study import AnalysisSettings
from raytalk.evaluation.study.analysis import analyse
from raytalk.evaluation.study.answers import read_answers
from raytalk.storage import Storage

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]

_READY = "since !== null && performance.now() - since > 210"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(chromium(), tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def page(browser, study, tmp_path):
    """The study, opened by somebody who has not seen it."""
    path = tmp_path / "study.html"
    path.write_text(study.page)
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(path.as_uri())
    browser.run("localStorage.clear()")
    browser.reload()
    yield browser
    assert browser.complaints == []


def _begin(page, participant=""):
    if participant:
        page.click("#participant")
        for letter in participant:
            page.press(letter)
    page.click("#go")


def _answer(page, place, by="click"):
    page.wait(_READY)
    answered = page.run("state.answers.length")
    if by == "click":
        page.click(f".pick:nth-of-type({place + 1})")
    elif by == "number":
        page.press(str(place + 1))
    else:
        for _ in range(place + 1):
            page.press("Tab")
        page.press("Enter")
    page.wait(f"state.answers.length === {answered + 1}")


def _answer_all(page, key, by="click", places=None):
    for name in page.run("state.shown.slice(state.answers.length)"):
        _answer(page, key.triplets[name].fake if places is None else places, by)
    page.wait("!document.getElementById('end').hidden")


def _save(page):
    before = set(page.downloads.iterdir())
    page.click("#save")
    end = time.monotonic() + 30
    while not (new := [file for file in set(page.downloads.iterdir()) - before if file.suffix == ".json"]):
        assert time.monotonic() < end, "nothing was downloaded"
        time.sleep(0.05)
    return new[0]


def _analysed(file, key, tmp_path):
    folder = tmp_path / "answers"
    folder.mkdir()
    (folder / file.name).write_bytes(file.read_bytes())
    results, left_out = read_answers(Storage(str(folder)), key)
    return analyse(results, left_out, key, AnalysisSettings())


@pytest.mark.parametrize("by", ["click", "number", "tab"])
def test_who_always_picks_the_generated_one_is_always_right(page, key, tmp_path, by):
    _begin(page, "ada-7")
    _answer_all(page, key, by)
    file = _save(page)
    result = json.loads(file.read_text())
    assert result["participant"] == "ada-7"
    assert len(result["answers"]) == 12
    assert result["seed"][:8] in file.name
    analysis = _analysed(file, key, tmp_path)
    assert analysis.left_out == []
    assert analysis.table.answers.sum() == 10
    assert (analysis.table.user == 1).all()


def test_who_always_picks_the_first_is_right_where_the_key_says_so(page, key, tmp_path):
    _begin(page)
    _answer_all(page, key, places=0)
    result = json.loads(_save(page).read_text())
    assert {answer["chosen"] for answer in result["answers"]} == {0}
    right = sum(key.triplets[answer["triplet"]].fake == 0 for answer in result["answers"])
    assert 0 < right < 12


def test_as_many_of_each_method_and_t_and_all_attention_checks_are_shown(page, key):
    shown = [key.triplets[name] for name in page.run("state.shown")]
    assert len(shown) == len(set(page.run("state.shown"))) == 12
    assert sum(truth.check for truth in shown) == 2
    groups = [(truth.method, truth.shots) for truth in shown if not truth.check]
    assert {groups.count(group) for group in set(groups)} == {2, 3}
    assert len(set(groups)) == 4


def test_orders_differ_between_participants_and_follow_from_the_seed(page):
    seed, order = page.run("state.seed"), page.run("state.shown")
    assert page.run(f"orderFrom('{seed}')") == order
    orders = page.run("Array.from({length: 20}, () => fresh().shown.join())")
    assert len(set(orders)) == 20


def test_a_reload_loses_nothing(page, key, tmp_path):
    _begin(page, "b")
    order = page.run("state.shown")
    for name in order[:5]:
        _answer(page, key.triplets[name].fake)
    before = page.run("state.answers")
    page.reload()
    assert page.run("document.getElementById('go').textContent") == "Go on with 6 of 12"
    assert page.run("state.answers") == before
    assert page.run("state.shown") == order
    page.click("#go")
    _answer_all(page, key)
    page.reload()
    assert not page.run("document.getElementById('end').hidden"), page.run("state")
    result = json.loads(_save(page).read_text())
    assert result["reloads"] == 2
    assert result["participant"] == "b"
    assert [answer["triplet"] for answer in result["answers"]] == order


def test_times_are_measured_from_when_pictures_are_there(page):
    _begin(page)
    page.wait(_READY)
    time.sleep(1.0)
    page.press("1")
    page.wait("state.answers.length === 1")
    assert 1.0 < page.run("state.answers[0].seconds") < 10


def test_a_double_click_or_a_held_key_answers_once(page):
    _begin(page)
    page.wait(_READY)
    page.run("answer(0); answer(0)")
    page.wait("since !== null")
    page.run("answer(1)")
    assert page.run("state.answers.length") == 1
    page.wait(_READY)
    page.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: '1', repeat: true}))")
    assert page.run("state.answers.length") == 1


def test_nothing_is_fetched_and_nothing_can_be(page, key):
    _begin(page)
    _answer_all(page, key)
    assert {request.split(":")[0] for request in page.requests} <= {"file", "data", "blob"}
    assert page.run("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    page.complaints.clear()  # of that very request


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844), (320, 640), (844, 390)])
def test_three_pictures_are_seen_whole_without_scrolling(page, width, height):
    page.open(page.run("location.href"), width, height, phone=width < 1000)
    page.click("#go")
    page.wait(_READY)
    boxes = page.run(
        "picks.map(p => p.firstElementChild.getBoundingClientRect()).map(b => [b.left, b.top, b.right, b.bottom])"
    )
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert right - left == pytest.approx(bottom - top, abs=1)
        assert right - left >= 140


def test_screen_readers_are_told_where_they_are(page, key):
    _begin(page)
    page.wait(_READY)
    _answer(page, 0)
    page.wait(_READY)
    assert page.run("document.activeElement.getAttribute('aria-label')") == "2 of 12. Which picture is generated?"
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    buttons = [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "button"]
    assert buttons == [f"Picture {number} is the generated one" for number in (1, 2, 3)]
    assert page.run("document.getElementById('count').textContent") == "2 of 12"


def test_focus_is_seen(page):
    _begin(page)
    page.wait(_READY)
    page.press("Tab")
    assert page.run("getComputedStyle(document.activeElement).outlineWidth") == "4px"
    assert page.run("document.activeElement === picks[0]")


def test_somebody_else_begins_anew(page, key):
    first = page.run("state.seed")
    _begin(page)
    _answer_all(page, key)
    page.run("window.confirm = () => true")
    page.click("#anew")
    assert page.run("state.seed") != first
    assert page.run("state.answers.length") == 0
    assert page.run("document.getElementById('participant').value") == ""
