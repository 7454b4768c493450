"""README.md is what nbs/index.ipynb makes, and what it says of commands, settings, routes and
answers is so.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
from readme import LINK, NOTEBOOK, README, ROOT, from_root, readme
from typer.testing import CliRunner

TEXT = README.read_text(encoding="utf-8") if README.exists() else ""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.M | re.S)


def table(heading):
    "What stands in backticks in each row of the tables under a heading, cell by cell."
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", TEXT, flags=re.M | re.S).group(1)
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [
        [re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|")] for line in lines
    ]


def test_it_is_made_of_the_notebook():
    assert readme() == TEXT, "run `make readme`"


@pytest.mark.parametrize(
    "link, expected",
    [
        ("![a](images/x.svg)", "![a](nbs/images/x.svg)"),
        ("[a](../LICENSE)", "[a](LICENSE)"),
        ("[a](.)", "[a](nbs)"),
        ("[a](https://example.com/x)", "[a](https://example.com/x)"),
        ("[a](#limits)", "[a](#limits)"),
    ],
)
def test_links_are_moved_from_the_notebooks_folder_to_the_root(link, expected):
    assert LINK.sub(from_root, link) == expected


def headings(page):
    "The anchors of a page's headings, as repositories make them."
    lines = page.read_text(encoding="utf-8").splitlines()
    return [line.lstrip("# ").lower().replace(" ", "-") for line in lines if line.startswith("#")]


@pytest.mark.parametrize(
    "text, folder",
    [
        (TEXT, ROOT),
        (
            "".join(
                "".join(cell["source"]) + "\n"
                for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
            ),
            NOTEBOOK.parent,
        ),
    ],
    ids=["README.md", "index.ipynb"],
)
def test_every_link_and_picture_is_there(text, folder):
    targets = [target for _, target, _ in LINK.findall(text) if not re.match(r"[a-z]+:|#", target)]
    assert len(targets) > 5
    for target in targets:
        file, _, heading = unquote(target).partition("#")
        assert (folder / file).exists(), target
        assert not heading or heading in headings(folder / file), target


def test_the_commands_are_those_that_there_are():
    from credit_default.cli import app as cli

    helped = CliRunner().invoke(cli.app, ["--help"]).stdout.split("Commands:\n")[1]
    assert {cells[0][0] for cells in table("Commands")} == {
        line.split()[0] for line in helped.splitlines() if re.match("  [a-z]", line)
    }


def test_the_settings_are_those_that_there_are():
    from credit_default.core.settings import settings_table

    assert [cells[0] + (cells[1] or [""]) for cells in table("Service settings")] == [
        [row["variable"], row["default"]] for row in settings_table()
    ]


def test_the_routes_are_those_that_there_are():
    from credit_default.service import APP
    from credit_default.serving.app import route_paths

    stated = {route.split()[-1] for cells in table("API routes") for route in cells[0]}
    assert stated == {
        path
        for path in route_paths(APP.routes)
        if not path.startswith(("/docs/", "/healthz")) and path != "/"
    }


def test_the_roles_of_the_routes_are_those_that_there_are():
    from credit_default.service import APP

    least = APP.state.roles.least_role

    rows = re.findall(r"^\| (`(?:GET|POST) .+?`) \| (\w*) ?\|", TEXT, flags=re.M)
    stated = {
        (method, path): role
        for cell, role in rows
        for method in [cell[1:].split()[0]]
        for path in re.findall(r"(/[^`]*)`", cell)
    }
    assert len(stated) > 15 and stated == {ask: getattr(least(*ask), "value", "") for ask in stated}


def walk():
    "The commands of the walk, each with what it printed."
    lines = "".join(blocks("console")).splitlines()
    begins = [i for i, line in enumerate(lines) if line.startswith("$ ")]
    return [
        (lines[i].removeprefix("$ "), lines[i + 1 : j])
        for i, j in zip(begins, [*begins[1:], len(lines)], strict=True)
    ]


def test_the_commands_of_the_walk_have_such_options():
    from credit_default.cli import app as cli

    lines = [line for line, _ in walk()] + re.findall(r"`(credit-default [^`]*--[^`]*)`", TEXT)
    asked = {
        (line.split()[1], option) for line in lines for option in re.findall(r" (--[a-z-]+)", line)
    } - {("COMMAND", "--help")}
    assert {name for name, _ in asked} >= {"simulate", "watch", "drift"}
    assert not [
        (name, option)
        for name, option in asked
        if option not in CliRunner().invoke(cli.app, [name, "--help"]).stdout
    ]


def test_the_walk_finds_what_the_recession_changes():
    from credit_default.data.scenario import moved_fields
    from credit_default.portfolio.catalogue import SHIPPED

    gmsc = SHIPPED["gmsc"]
    named = [gmsc[name].alias for name in moved_fields(gmsc, gmsc.scenario("recession"))]
    told, found = (
        next(line for _, said in walk() for line in said if line.startswith(begin))
        for begin in ("a drift check should name: ", "DRIFT in ")
    )
    assert told.split(": ")[1].split(", ") == named
    assert found.removeprefix("DRIFT in ").split(": ")[0].split(", ")[: len(named)] == named
    assert gmsc.scenario("recession").title in TEXT


def test_the_answer_is_one_that_the_service_gives(synthetic_bundle):
    from credit_default.serving.active_model import ActiveModel
    from credit_default.serving.schemas import Prediction

    request = json.loads(re.search(r"-d '\n(\{.*?\})'\n", TEXT, flags=re.S).group(1))
    model = ActiveModel(synthetic_bundle)
    [real], _ = model.predict([model.read_applicant(request)])
    shown = json.loads(blocks("json")[0])
    assert list(shown) == list(real) and all(type(shown[k]) is type(real[k]) for k in real)
    assert shown["reasons"] and {tuple(reason) for reason in shown["reasons"]} <= {
        tuple(reason) for reason in real["reasons"]
    }
    assert {reason["field"] for reason in shown["reasons"]} <= set(request)
    Prediction.model_validate(shown)


def test_the_refusal_is_one_that_the_service_gives(synthetic_bundle):
    from credit_default.serving.active_model import ActiveModel
    from credit_default.serving.refusals import ApiError, error_body

    shown = json.loads(blocks("json")[1])
    model = ActiveModel(synthetic_bundle)
    with pytest.raises(ApiError) as raised:
        model.read_applicant(model.example | {"age": -5})
    assert shown == json.loads(error_body(raised.value.error, raised.value.detail))


def test_the_example_of_a_portfolio_is_one():
    from credit_default.portfolio.definition import Portfolio

    [example] = blocks("toml")
    assert Portfolio.model_validate(tomllib.loads(example)).name == "corner_shop"


def test_every_make_target_that_is_named_is_there():
    makefile = (ROOT / "Makefile").read_text()
    named = set(
        re.findall(
            r"\bmake ([a-z-]+)(?=[ `\n])", "\n".join(re.findall(r"`[^`\n]+`", TEXT) + blocks(""))
        )
    )
    assert named >= {"run", "serve", "lab", "test", "readme"} and not [
        name for name in named if f"\n{name}:" not in makefile
    ]


@pytest.mark.slow
def test_a_report_is_made_by_papermill_word_for_word(tmp_path, monkeypatch):
    [block] = [b for b in blocks(r"\w*") if "\npapermill " in b]
    (tmp_path / "nbs").mkdir()
    shutil.copytree(ROOT / "nbs" / "reports", tmp_path / "nbs" / "reports")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("CREDIT_DEFAULT_DATA", None)  # the synthetic sample is enough
    done = subprocess.run(
        ["sh", "-e", "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    made = tmp_path / "reports" / "by-hand"
    assert {path.name for path in made.iterdir()} == {"eda.ipynb", "eda.json", "eda.html"}
    page = (made / "eda.html").read_text()
    assert "<style>" in page and "SYNTHETIC" in page and "import matplotlib" not in page
    assert {path.name for path in tmp_path.iterdir()} == {"nbs", "reports"}


def test_figures_of_a_report_that_was_run_by_hand_are_no_part_of_the_project():
    names = ["eda.json", "nbs/reports/training.json", "nbs/drift.json"]
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *names], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.split() == names
