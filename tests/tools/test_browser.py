"""The built site in a browser, every page: as its readers meet it on a desk and on a phone, in
light and in dark.

The tests open _build/html, so `make test` builds the site first. Without a Chromium they are
skipped.
"""

import functools
import http.server
import shutil
import threading

import pytest

import in_page
from pages import HTML, PAGES, needs_site

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESK, PHONE = {"width": 1200, "height": 900}, {"width": 360, "height": 740}

pytestmark = [
    pytest.mark.browser,
    needs_site,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium on this machine (on Debian: apt-get install chromium)"
    ),
]


@pytest.fixture(scope="module")
def site():
    """The address of the built site, served from this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=HTML)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def context():
    """One browser, so that every page finds the scripts of the pages before it in the cache."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser.new_context()
        browser.close()


@pytest.fixture
def tab(site, context):
    """An empty tab on a desk that notes what a page asks of other hosts and what it complains
    about.
    """
    page = context.new_page()
    page.set_viewport_size(DESK)
    page.set_default_timeout(120_000)
    page.external, page.problems = [], []
    page.on(
        "request",
        lambda r: (
            page.external.append(r.url) if not r.url.startswith((site, "data:", "blob:")) else None
        ),
    )
    page.on("console", lambda m: page.problems.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on(
        "response",
        lambda r: page.problems.append(f"{r.status} {r.url}") if r.status >= 400 else None,
    )
    yield page
    page.close()


def sideways(page) -> str | None:
    width = page.evaluate("() => document.documentElement.scrollWidth")
    return f"{width} px wide" if width > page.viewport_size["width"] else None


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PAGES, "search"])
def test_page(name, site, tab):
    tab.goto(f"{site}/{name}.html", wait_until="load")
    tab.evaluate("() => window.MathJax && MathJax.startup ? MathJax.startup.promise : null")
    tab.evaluate(in_page.LOAD_IMAGES)
    tab.wait_for_load_state("networkidle")
    found = {
        "title": [] if tab.title() else ["no title"],
        "maths that MathJax refuses": tab.evaluate(in_page.BAD_MATHS),
        "TeX that is not typeset": tab.evaluate(in_page.RAW_TEX),
        "images that do not load": tab.evaluate(in_page.BROKEN_IMAGES),
        "images without a text": tab.evaluate(in_page.UNNAMED_IMAGES),
        "wider than a desk": sideways(tab),
    }
    tab.set_viewport_size(PHONE)
    found["wider than a phone"] = sideways(tab)
    tab.evaluate(in_page.OPEN_ALL)
    found["wider than a phone, everything opened"] = sideways(tab)
    tab.evaluate(in_page.THIN_OUT)
    tab.add_style_tag(
        content="* { transition: none !important; }"
    )  # no colour is judged while it fades
    tab.evaluate(in_page.AXE)
    for mode, size in (("dark", PHONE), ("light", DESK)):
        tab.set_viewport_size(size)
        tab.evaluate(in_page.SET_MODE, mode)
        tab.evaluate(in_page.SETTLE)
        found[f"axe-core, {mode}, {size['width']} px"] = tab.evaluate(in_page.VIOLATIONS)
    found |= {"asked of other hosts": tab.external, "errors": tab.problems}
    assert {what: wrong for what, wrong in found.items() if wrong} == {}


def test_axe_finds_bad_contrast_and_a_nameless_field(tab):
    """The judge itself: what it must find, it finds, in the two modes."""
    tab.set_content(
        "<html lang=en><title>t</title><main><h1>h</h1>"
        "<p style='color:#aaa;background:#fff'>pale</p><input></main>"
    )
    tab.evaluate(in_page.AXE)
    found = [violation.split(":")[0] for violation in tab.evaluate(in_page.VIOLATIONS)]
    assert sorted(found) == ["color-contrast", "label"]


def test_search_finds_pages(site, tab):
    tab.goto(f"{site}/search.html")
    field = tab.locator("form.bd-search input[name=q]").last
    field.fill("smoother")
    field.press("Enter")
    tab.locator("#search-results .search li a").first.wait_for()
    found = tab.locator("#search-results .search li a").evaluate_all(
        "links => links.map(a => a.href)"
    )
    assert any("/chapters/04_filtering_and_smoothing.html" in link for link in found)
    assert not tab.external and not tab.problems


def test_the_button_changes_between_light_and_dark(site, tab):
    tab.goto(f"{site}/{PAGES[0]}.html")
    colours = set()
    for _ in range(3):  # light, dark, as the machine is set
        tab.locator("button.theme-switch-button").first.click()
        tab.evaluate(in_page.SETTLE)
        colours.add(tab.evaluate("() => getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2
