"""The documentation site: built without a warning, whole, and asking nobody for anything."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from browser import Browser, chromium

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    for command in (
        [sys.executable, "docs/pages.py", folder / "source"],
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-c", "docs"]
        + ["-d", folder / "doctrees", folder / "source", folder / "html"],
    ):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


def test_every_chapter_and_guide_has_its_page(site):
    chapters = {
        path.relative_to(ROOT / "nbs").with_suffix(".html")
        for path in (ROOT / "nbs").rglob("*.ipynb")
        if path.parent.name != "reports" and path.name != "index.ipynb"
    }
    pages = {path.relative_to(site) for path in site.rglob("*.html")}
    assert chapters <= pages and Path("overview.html") in pages


def test_the_set_up_of_a_chapter_is_not_shown(site):
    for page in site.rglob("*.html"):
        assert not re.search(r"#\| ?(hide|export|default_exp)", page.read_text(encoding="utf-8")), (
            page
        )


def test_pages_name_no_host_to_load_from(site):
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//|<link[^>]+href=\"(?:https?:)?//(?!\S*canonical)"
    )
    for page in site.rglob("*.html"):
        assert not loads.search(page.read_text(encoding="utf-8")), page


@pytest.mark.skipif(not chromium(), reason="browser: chromium is not installed")
@pytest.mark.parametrize("width", [1300, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_in_a_browser_ask_nobody(site, tmp_path, width, scheme):
    with Browser(tmp_path / "profile", width=width) as browser:
        browser.call(
            "Emulation.setEmulatedMedia",
            features=[dict(name="prefers-color-scheme", value=scheme)],
        )
        for page in ("index", "overview", "scoring/04_scorecard", "reference/scoring", "search"):
            browser.open(site / f"{page}.html", settle=0.3)
            asked = [one["request"]["url"] for one in browser.of("Network.requestWillBeSent")]
            assert asked and all(url.startswith(("file:", "data:")) for url in asked), asked
            wide = browser.call(
                "Runtime.evaluate", expression="document.documentElement.scrollWidth"
            )["result"]["value"]
            assert wide <= width, f"{page} is {wide} pixels wide on {width}"


@pytest.mark.skipif(not chromium(), reason="browser: chromium is not installed")
def test_the_search_finds_a_word(site, tmp_path):
    with Browser(tmp_path / "profile") as browser:
        browser.open(site / "index.html", settle=0.3)
        address = (site / "search.html").resolve().as_uri() + "?q=calibrator"
        browser.call("Page.navigate", url=address)
        found = ""
        until = time.monotonic() + 20
        while "matching the search query" not in found and time.monotonic() < until:
            time.sleep(0.1)
            result = browser.call("Runtime.evaluate", expression="document.body?.innerText")
            found = result["result"].get("value") or ""
        assert "matching the search query" in found and "Calibration" in found
