"""The reports in a real browser with no network: nothing asked for, nothing complained about,
everything seen.
"""

import pytest
from browser import Browser, chromium
from made_reports import reports

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
