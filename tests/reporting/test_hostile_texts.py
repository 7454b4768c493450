"""Names, titles, units, categories and reasons that try to run a script, over all reports and
pages: none runs, and each is shown as the text that it is.
"""

import os
import re
import time
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import hostile
import nbformat
import pandas as pd
import pytest
from browser import Browser, chromium
from served import Server

from credit_default.core.settings import read_settings
from credit_default.data.loading import load
from credit_default.face.display import Card
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.portfolio.columns import parse_table
from credit_default.reporting.running import run_report
from credit_default.scoring.bundle_files import read_bundle
from credit_default.serving.active_model import log_rows
from credit_default.store.predictions import Entry
from credit_default.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
MADE_BY_OURSELVES = re.compile(r"script|svg|input|iframe|object|embed|form|i|link", re.I)
# whether a script ran, and what the page holds that no report has
LOOK = """({
  title: document.title,
  elements: [...document.querySelectorAll('body script, svg, input, form, object, embed, i')]
    .map(element => element.outerHTML),
  handlers: [...document.querySelectorAll('*')].filter(
    element => [...element.attributes].some(a => a.name.startsWith('on'))
  ).map(element => element.outerHTML),
  pictures: [...document.images].filter(i => !i.src.startsWith('data:')).map(i => i.outerHTML),
  text: document.body.innerText,
})"""


def log_and_outcomes(store, bundle, portfolio, file):
    "Predictions of two months, and which of the loans defaulted."
    frame = pd.read_csv(file, dtype=str)
    columns = parse_table(portfolio, frame)
    first, step = datetime(2026, 3, 1, tzinfo=UTC), timedelta(hours=1)
    rows = log_rows(bundle, columns, bundle.score(columns), first, [None] * len(frame))
    more = dict(endpoint="csv", user_id=None, username=None, latency_ms=1.0, request_id="r")
    rows = [row | more | dict(at=first + i * step) for i, row in enumerate(rows)]
    store.predictions.append([Entry(rows)])
    outcomes = [
        dict(prediction_id=r["prediction_id"], defaulted=i % 3 == 0, observed_at=r["at"] + step)
        for i, r in enumerate(rows)
    ]
    store.outcomes.record(outcomes, by="ada", user_id=None)


def made_by(run, home):
    "The model of a training report. This process knows another model store than the report did."
    tag = run.content["result"]["model_version"]
    bundle = read_bundle(home / "models" / tag.replace(":", "/"))
    bundle.tag = tag
    return bundle


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    keys, loans, current = hostile.write(folder)
    database = f"sqlite:///{folder}/log.db"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CREDIT_DEFAULT_ENV_FILE", os.devnull)
        environment.setenv("CREDIT_DEFAULT_DATABASE_URL", database)
        environment.setenv("BENTOML_HOME", str(folder / "home"))

        def report(template, run, **parameters):
            return run_report(
                template, str(keys), parameters, folder / "reports", run, progress=False
            )

        made = {}

        def page(name):
            "A report, made once; those after the training need its model."
            if name in made:
                return made[name]
            if name == "eda":
                made[name] = report("eda", "file", data=loans)
            elif name == "training":
                made[name] = report("training", "file", data=loans, trials=2)
            elif page("training") and name == "drift":
                made[name] = report("drift", "file", current=current)
            else:
                assert read_settings().database == database
                bundle = made_by(page("training"), folder / "home")
                portfolio = get_portfolio(keys)
                store = Store(database)
                store.upgrade()
                log_and_outcomes(store, bundle, portfolio, current)
                store.close()
                window = dict(since="2026-03-01T00:00:00Z", as_of="2026-12-01T00:00:00Z")
                previous = str(page("drift").figures)
                made[name] = report("drift", "log", **window, previous=previous)
            return made[name]

        yield SimpleNamespace(folder=folder, keys=keys, loans=loans, page=page)


class Elements(HTMLParser):
    "The elements of a page that none of our reports has, and attributes that run a script."

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        if tag in ("head", "meta", "html", "body", "style", "title"):
            return
        ours = tag == "iframe" and dict(attributes).get("title") == "Evidently"
        icon = tag == "link" and dict(attributes).get("href") == "data:,"
        if MADE_BY_OURSELVES.fullmatch(tag) and not ours and not icon:
            self.found.append(tag)
        self.found += [name for name, _ in attributes if name.startswith("on")]


NAMES = ["eda"] + [
    pytest.param(name, marks=pytest.mark.slow) for name in ("training", "drift", "performance")
]


@pytest.mark.parametrize("name", NAMES)
def test_a_report_holds_no_element_that_a_table_wrote(world, name):
    page = world.page(name).html.read_text(encoding="utf-8")
    elements = Elements()
    elements.feed(page)
    assert elements.found == []
    scripts = "'none'" if name in ("eda", "training") else "'unsafe-inline'"
    assert f"script-src {scripts}" in page
    assert "&lt;svg onload=" in page


@pytest.mark.skipif(chromium() is None, reason="no chromium on this machine")
@pytest.mark.parametrize("name", NAMES)
def test_no_script_of_a_table_runs_in_a_report(world, name, tmp_path):
    page = world.page(name).html
    unlocked = tmp_path / "unlocked.html"  # without its policy: the texts alone must hold
    text = page.read_text(encoding="utf-8")
    unlocked.write_text(re.sub("<meta http-equiv=.*?>", "", text, count=1), encoding="utf-8")
    with Browser(tmp_path / "profile") as browser:
        for path in (page, unlocked):
            browser.open(path, settle=3 if name in ("drift", "performance") else 1)
            seen = browser.run(LOOK)
            assert seen["title"] in ("Exploratory data analysis", "Training report", "Drift report")
            assert (seen["elements"], seen["handlers"], seen["pictures"]) == ([], [], [])
            assert hostile.SVG in seen["text"] and hostile.FORMATS in seen["text"]
            assert browser.requests() == [] and browser.complaints() == []
            if name == "drift":
                frame = "document.querySelector('iframe').contentDocument"
                assert browser.run(f"{frame}.title") == ""
                assert browser.run(f"{frame}.querySelectorAll('[onload], [onerror]').length") == 0
                assert "\u2039svg onload=" in browser.run(f"{frame}.body.innerText")


def test_the_browser_would_notice(tmp_path):
    page = tmp_path / "page.html"
    for text in (hostile.SCRIPT, hostile.SVG, hostile.IMAGE, hostile.QUOTE):
        page.write_text(f'<title>A</title><p title="{text}">{text}</p>')
        with Browser(tmp_path / "profile") as browser:
            browser.open(page)
            seen = browser.run(LOOK)
            assert seen["title"] == "ran" and (seen["elements"] or seen["handlers"])


def test_the_index_of_reports_shows_texts(world):
    assert world.page("eda")
    page = (world.folder / "reports" / "index.html").read_text(encoding="utf-8")
    elements = Elements()
    elements.feed(page)
    assert elements.found == [] and "&lt;svg onload=" in page and "script-src 'none'" in page


@pytest.mark.parametrize("name", NAMES)
def test_the_executed_notebook_shows_the_same(world, name):
    "JupyterLab displays the HTML that is stored in it."
    for cell in nbformat.read(world.page(name).notebook, as_version=4).cells:
        for output in cell.get("outputs", []):
            elements = Elements()
            elements.feed(output.get("data", {}).get("text/html", ""))
            assert elements.found == []


def test_reports_and_modules_escape_in_one_way():
    "A report writes no HTML itself, and only the chapter on markup escapes any."
    for path in sorted((ROOT / "nbs" / "reports").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                assert not re.search(r"</?[a-z][a-z0-9]*[ >]|\bHtml\(|\bescape\(", cell.source), (
                    path.name,
                    cell.source,
                )
    for path in sorted((ROOT / "credit_default").rglob("*.py")):
        if path.name != "markup.py":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"html\.escape|^import html$|from html import escape", text, re.M)


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="no chromium on this machine")
def test_no_script_of_a_definition_runs_on_the_page_of_the_api(world, tmp_path):
    assert world.page("training")
    settings = dict(CREDIT_DEFAULT_PORTFOLIO=str(world.keys))
    with Server(world.folder / "home", tmp_path / "log", **settings) as server:
        page = server.client.get("/docs").text
        assert "onload" not in page and hostile.RAN not in page
        assert hostile.SVG in server.client.get("/docs.json").text.replace('\\"', '"')
        with Browser(tmp_path / "profile", height=4000, reaches_this_machine=True) as browser:
            browser.open(f"http://127.0.0.1:{server.port}/docs", settle=4)
            for _ in range(3):  # what opens holds what can be opened
                browser.run(
                    "[...document.querySelectorAll('.opblock-summary-control, "
                    "[aria-expanded=false]')].forEach(element => element.click())"
                )
                time.sleep(2)
            seen = browser.run(LOOK)
            assert seen["title"] == "credit_default - Swagger UI"
            assert hostile.SVG in seen["text"]
            assert not [text for text in seen["handlers"] if hostile.RAN in text]
            assert browser.complaints() == []
            browser.screenshot(tmp_path / "docs.png", height=browser.height_of_page())


def test_a_dataset_of_the_api_shows_texts(world):
    portfolio = get_portfolio(world.keys)
    dataset = load(portfolio, world.loans)
    shown = [portfolio._repr_html_(), Card(dataset.title, {hostile.SVG: "x"}).to_html()]
    for html in shown:
        elements = Elements()
        elements.feed(html)
        assert elements.found == [] and "&lt;svg" in html
