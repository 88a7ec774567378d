"""Everybody can use the page: names, contrast, keyboard, small screens, little motion; light and dark."""

import importlib.util
import re
from pathlib import Path

import pytest
from page_visitor import NEEDS_CHROMIUM, shown

PAGE = Path(__file__).parents[3] / "serve" / "page"
pytestmark = NEEDS_CHROMIUM
SCREENS = [(1280, 850), (390, 844)]

_CONTRAST = """(() => {
  const parse = (c) => { const [r, g, b, a = 1] = c.match(/[\\d.]+/g).map(Number); return [r, g, b, a] };
  const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a), 1];
  const behind = (e) => {
    const layers = [];
    for (; e && layers.at(-1)?.[3] !== 1; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reduceRight((under, layer) => over(layer, under), [255, 255, 255, 1]);
  };
  const linear = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  const light = (c) => c.slice(0, 3).reduce((sum, v, i) => sum + linear(v / 255) * [.2126, .7152, .0722][i], 0);
  const low = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.checkVisibility() || e.closest('noscript, :disabled') || e.matches('.unseen, option')) continue;
    const ground = behind(e), ink = over(parse(getComputedStyle(e).color), ground);
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
    const size = parseFloat(getComputedStyle(e).fontSize), needed = size >= 24 ? 3 : 4.5;
    const contrast = (a + .05) / (b + .05);
    if (contrast < needed) low.push(`${e.tagName} ${e.className} "${e.textContent}" ${contrast.toFixed(2)}`);
  }
  return low })()"""


def _axe():
    found = importlib.util.find_spec("axe_playwright_python")
    return Path(found.origin).parent / "axe.min.js" if found and found.origin else None


@pytest.fixture(params=["light", "dark"])
def scheme(request, browser):
    media = [
        {"name": "prefers-color-scheme", "value": request.param},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.send("Emulation.setEmulatedMedia", features=media)
    yield request.param
    browser.send("Emulation.setEmulatedMedia", features=[])


@pytest.fixture
def known(service):
    """The id of an avatar whose photographs were looked at."""
    id = service.add("Ada Lovelace")
    service.introduce(id, {1: ("no-face", "no face was found"), 2: ("blurred", "the picture is blurred")})
    return id


def _check(browser):
    """Nothing is wrong with what is seen now."""
    assert browser.run(_CONTRAST) == []
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    asked = {
        "button",
        "link",
        "textbox",
        "checkbox",
        "radio",
        "slider",
        "combobox",
        "image",
        "dialog",
        "progressbar",
        "Video",
    }
    nameless = [
        node["role"]["value"]
        for node in nodes
        if not node.get("ignored")
        and node.get("role", {}).get("value") in asked
        and not node.get("name", {}).get("value")
    ]
    assert nameless == []
    width = browser.run("innerWidth")
    assert browser.run("document.documentElement.scrollWidth") <= width
    if (file := _axe()) is None:
        return
    if not browser.run("'axe' in window"):
        browser.run(file.read_text() + "; true")
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    violations = browser.run(
        f"axe.run(document, {{runOnly: {tags}, resultTypes: ['violations']}}).then(r => r.violations.map("
        "v => v.id + ': ' + v.nodes.map(n => n.target + ' ' + n.failureSummary).join(' | ')))"
    )
    assert violations == []


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_home(browser, service, known, scheme, width, height):
    browser.open("about:blank")
    browser.open(service.url, width, height, phone=width < 500)
    browser.wait("document.querySelectorAll('#list img[src]').length === 1")
    _check(browser)
    browser.click("#list .delete")
    browser.wait(shown("#sure"))
    _check(browser)


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_making(browser, service, photographs, scheme, width, height):
    browser.open(service.url + "#/new", width, height, phone=width < 500)
    browser.wait(shown("#view-new"))
    browser.click("#send")
    browser.wait(shown("#photos-error"))
    browser.run("document.querySelector('input[name=who][value=other]').click()")
    browser.attach("#photos", photographs)
    browser.wait("document.querySelectorAll('#thumbs img').length === 5")
    browser.run("document.querySelector('#consent-part details').open = true")
    _check(browser)
    browser.click("#open-camera")
    browser.wait("!document.getElementById('camera-take').disabled")
    _check(browser)


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_driving(browser, service, known, scheme, width, height):
    service.learn(known, 100)
    browser.open(service.url + f"#/avatar/{known}", width, height, phone=width < 500)
    browser.wait(shown("#start"))
    browser.wait("document.querySelectorAll('#found img[src]').length === 2")
    _check(browser)
    browser.run("document.querySelector('input[name=driver][value=sliders]').click()")
    browser.run("document.getElementById('drive-more').open = true")
    browser.click("#start")
    browser.wait("!document.getElementById('record').disabled")
    _check(browser)
    service.finish(known)
    browser.wait("document.getElementById('person-badge').textContent === 'learned'")
    _check(browser)


def test_a_narrow_screen_and_large_letters(browser, service, known):
    for place in ("#/", "#/new", f"#/avatar/{known}"):
        browser.open("about:blank")
        browser.open(service.url + place, 320, 640, phone=True)
        browser.wait("document.getElementById('view-wait').hidden")
        assert browser.run("document.documentElement.scrollWidth") <= 320
        browser.run("document.documentElement.style.fontSize = '200%'")
        wide = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 321)"
        seen = f"{wide}.filter(e => e.checkVisibility()).map(e => e.tagName + e.className + e.id)"
        assert browser.run(seen) == []


def test_by_keyboard_alone(browser, service):
    browser.open(service.url)
    browser.wait(shown("#list-empty"))
    browser.press("Tab")
    assert browser.run("document.activeElement.className") == "skip"
    browser.open("about:blank")
    browser.open(service.url + "#/new")
    browser.wait(shown("#view-new"))
    browser.run("document.getElementById('new-title').focus()")
    seen = []
    for _ in range(9):
        browser.press("Tab")
        seen.append(browser.run("document.activeElement.id || document.activeElement.name"))
        drawn = browser.run("""(() => { const e = document.activeElement;
            const outlined = (s) => parseFloat(s.outlineWidth) >= 3 && s.outlineStyle !== 'none';
            const drawn = [e, e.closest('.choice'), e.nextElementSibling];
            return drawn.some(x => x && outlined(getComputedStyle(x))) })()""")
        assert drawn, f"focus is not seen on {seen[-1]}"
    wanted = ["material", "photos", "open-camera", "name", "mode", "who", "consent"]
    assert [name for name in seen if name in wanted] == wanted
    browser.run("document.getElementById('open-camera').focus()")
    browser.press("Enter")
    browser.wait("document.getElementById('camera').open")
    browser.press("Escape")
    browser.wait("!document.getElementById('camera').open")
    assert browser.run("document.activeElement.id") == "open-camera"


def test_what_has_the_focus_is_not_hidden_while_one_drives_on_a_telephone(browser, service, known):
    browser.open(service.url + f"#/avatar/{known}", 390, 844, phone=True)
    browser.wait(shown("#start"))
    browser.run("document.querySelector('input[name=driver][value=sliders]').click()")
    browser.click("#start")
    browser.wait("!document.getElementById('record').disabled")
    browser.run("scrollTo(0, 5000)")
    for name in ("brows", "yaw"):
        browser.run(f"document.getElementById('pose-{name}').focus()")
        top, bottom, under = (
            browser.run(f"""(() => {{ const b = document.getElementById('pose-{name}').getBoundingClientRect();
            return [b.top, b.bottom, document.querySelector('.left').getBoundingClientRect().bottom] }})()""")
        )
        assert under <= top
        assert bottom <= 844


def test_those_who_listen_hear_where_they_are(browser, service, known):
    browser.open("about:blank")
    browser.open(service.url)
    browser.wait(shown("#list a"))
    browser.click("nav a[data-view=new]")
    browser.wait("document.activeElement.id === 'new-title'")
    assert browser.run("document.title") == "Make an avatar · raytalk"
    assert browser.run("document.querySelector('nav [aria-current=page]').textContent") == "New avatar"
    browser.run(f"location.hash = '#/avatar/{known}'")
    browser.wait("document.title === 'Ada Lovelace · raytalk'")
    assert browser.run("document.activeElement.id") == "person-name"


def test_nothing_moves_for_those_who_want_no_motion(browser, service):
    browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    browser.open(service.url)
    browser.wait("document.getElementById('motion-pause').textContent === 'Play'")
    drawn = "document.getElementById('motion').toDataURL()"
    first = browser.run(drawn)
    assert browser.run(f"new Promise(r => setTimeout(() => r({drawn}), 400))") == first
    browser.click("#motion-pause")
    browser.wait(f"{drawn} !== {first!r}")
    browser.send("Emulation.setEmulatedMedia", features=[])


def test_nothing_inline_and_nothing_from_elsewhere():
    text = (PAGE / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
    assert re.findall(r"<script[^>]*>", text) == ['<script type="module" src="page/main.js">']
    for file in [*PAGE.glob("*.js"), *PAGE.glob("*.css"), PAGE / "index.html"]:
        assert not re.search(r"""["'(=]\s*(https?:)?//[a-z]""", file.read_text()), file
        assert "innerHTML" not in file.read_text()
