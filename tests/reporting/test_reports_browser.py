"""The reports in a real browser with no network: nothing asked for, nothing complained about,
everything seen.
"""

import re

import pytest
from browser import Browser, chromium
from made_reports import reports

from credit_default.reporting.page import CSS

pytestmark = pytest.mark.skipif(chromium() is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_the_browser_notices_what_it_is_meant_to(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        '<script src="http://cdn.example/x.js"></script><script>console.error("oops"); '
        "nothing.there</script>"
    )
    browser.open(page)
    assert browser.requests() == ["http://cdn.example/x.js"]
    assert "oops" in browser.complaints() and any(
        "nothing is not defined" in said for said in browser.complaints()
    )


@pytest.mark.parametrize("name", ["eda", "training", "drift"])
def test_a_report_opens_offline(browser, name):
    browser.open(reports("gmsc").runs[name].html, settle=3 if name == "drift" else 1)
    assert browser.requests() == []
    assert browser.complaints() == []
    assert (
        browser.run("document.documentElement.scrollWidth") <= browser.width
    )  # no scrolling sideways
    assert browser.run(
        "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
    )
    assert browser.run("document.images.length") >= 3
    assert browser.run("document.querySelector('.synthetic').getBoundingClientRect().height") > 20
    sections = browser.run(
        "[...document.querySelectorAll('nav a[href*=section]')].map(a => "
        "document.querySelector(a.getAttribute('href')) !== null)"
    )
    assert len(sections) >= 6 and all(sections)


def test_evidently_shows_its_view(browser):
    browser.open(reports("gmsc").runs["drift"].html, settle=3)
    assert "Dataset Drift" in browser.run(
        "document.querySelector('iframe').contentDocument.body.innerText"
    )


def luminance(colour):
    "The relative luminance of an opaque colour as a browser names it, as in WCAG 2."
    parts = [
        int(part) / 255 for part in re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", colour).groups()
    ]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    "box", ["verdict", "verdict bad", "verdict neutral", "synthetic", "decides"]
)
@pytest.mark.parametrize("inner", ["", "code"])
def test_texts_in_boxes_can_be_read(browser, tmp_path, box, inner):
    page = tmp_path / "box.html"
    page.write_text(f"<style>{CSS}</style><main><p class='{box}'>Not met: <code>promote</code></p>")
    browser.open(page)
    selector = f".{box.replace(' ', '.')} {inner}"
    colours = [
        luminance(browser.run(f"getComputedStyle(document.querySelector('{selector}')).{name}"))
        for name in ("color", "backgroundColor")
    ]
    assert (max(colours) + 0.05) / (min(colours) + 0.05) >= 4.5
