"""Reports as they are printed, and the index that leads to them."""

import re
from urllib.parse import unquote

import pytest
from browser import Browser, chromium
from made_reports import reports

PAGE = 1000  # pixels of a sheet of A4 between its margins, and a little less

in_a_browser = pytest.mark.skipif(chromium() is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile"), width=760) as browser:
        browser.call("Emulation.setEmulatedMedia", media="print")
        yield browser


def style(browser, selector, name):
    return browser.run(f"getComputedStyle(document.querySelector('{selector}')).{name}")


@in_a_browser
@pytest.mark.parametrize("name", ["eda", "training", "drift"])
def test_boxes_keep_a_border_and_dark_text(printed, name):
    printed.open(reports("gmsc").runs[name].html, settle=0.5)
    for box in (".verdict", ".synthetic"):
        assert style(printed, box, "borderTopWidth") == "2px"
        assert style(printed, box, "borderLeftWidth") == "10px"
        assert style(printed, box, "borderTopColor") != style(printed, box, "color")
        assert style(printed, box, "color") == "rgb(28, 39, 51)"  # not white: backgrounds may go
    assert style(printed, "nav", "display") == "none"
    assert style(printed, ".synthetic", "position") == "static"
    for heading in ("h2", "h2 + p", "table thead"):
        assert style(printed, heading, "breakAfter") == "avoid"


@in_a_browser
def test_what_is_folded_away_is_opened(printed):
    printed.open(reports("gmsc").runs["training"].html, settle=0.5)
    heights = printed.run(
        "[...document.querySelectorAll('details')].map(d => [d.open, d.offsetHeight, "
        "d.querySelector('summary').offsetHeight, d.querySelector('table, img').offsetHeight])"
    )
    assert len(heights) >= 4
    for is_open, height, title, content in heights:
        assert not is_open and content > 0 and height >= title + content


@in_a_browser
def test_on_a_screen_it_stays_folded(tmp_path):
    with Browser(tmp_path / "profile") as browser:
        browser.open(reports("gmsc").runs["training"].html, settle=0.5)
        assert browser.run(
            "[...document.querySelectorAll('details')].every(d => d.offsetHeight < 60)"
        )


@in_a_browser
def test_evidently_stands_on_one_sheet(printed):
    printed.open(reports("gmsc").runs["drift"].html, settle=3)
    assert printed.run("document.querySelector('.embedded').offsetHeight") < PAGE
    shown, whole = printed.run(
        "(() => {const f = document.querySelector('iframe');"
        "return [f.offsetHeight, f.contentDocument.documentElement.scrollHeight]})()"
    )
    assert whole <= shown + 1  # nothing of it is cut
    assert style(printed, ".embedded", "breakInside") == "avoid"


@in_a_browser
def test_it_prints(printed):
    printed.open(reports("gmsc").runs["eda"].html, settle=0.5)
    pdf = printed.call("Page.printToPDF", printBackground=False)["data"]
    assert len(pdf) > 50_000


def links(page):
    return [unquote(link) for link in re.findall(r'<a href="([^"#]+)"', page)]


def test_the_index_leads_to_every_report_and_back():
    made = reports("gmsc")
    root = made.folder / "reports"
    (root / "gmsc" / "margins").mkdir(exist_ok=True)
    index = (root / "index.html").read_text(encoding="utf-8")
    found = links(index)
    assert {f"gmsc/first/{name}.html" for name in ("eda", "training", "drift")} <= set(found)
    assert all((root / link).is_file() for link in found) and "margins" not in index
    for name, run in made.runs.items():
        inner = [link for link in links(run.html.read_text("utf-8")) if "://" not in link]
        others = {f"{other}.html" for other in made.runs} - {f"{name}.html"}
        assert set(inner) == {"../../index.html", *others}
        assert all((run.folder / link).resolve().is_file() for link in inner)


@in_a_browser
def test_the_index_opens_offline(tmp_path):
    root = reports("gmsc").folder / "reports"
    with Browser(tmp_path / "profile") as browser:
        browser.open(root / "index.html", settle=0.5)
        assert browser.requests() == [] and browser.complaints() == []
        assert browser.run("document.querySelectorAll('tbody tr').length") >= 1
        assert "AUC" in browser.run("document.body.innerText")
