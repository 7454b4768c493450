"""The section of a training report that prints a glass box, and its absence from other reports."""

import json

import pytest
from made_reports import comparable, numbers_shown, reports

from credit_default.data.synthetic import save_sample
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.reporting.page import outside_references
from credit_default.reporting.running import run_report

HEADING = "The model, whole"
EDITS = """\
[[edit]]
term = "age"
action = "flatten"
between = [60, 70]
by = "R. <b>Muster</b>"
why = "The step comes from few loans"
"""


def test_a_report_on_a_blend_has_no_such_section():
    assert HEADING not in reports("gmsc").runs["training"].html.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_glass_box_is_printed_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    gmsc = get_portfolio("gmsc")
    data = save_sample(gmsc, tmp_path, 1000, seed=1)
    edits = tmp_path / "gmsc.edits.toml"
    edits.write_text(EDITS, encoding="utf-8")
    parameters = dict(data=data, trials=1, champion="glassbox", edits=edits)
    first, again = (
        run_report("training", "gmsc", parameters, tmp_path / "reports", run, progress=False)
        for run in ("first", "again")
    )
    page = first.html.read_text(encoding="utf-8")
    assert f". {HEADING}</h2>" in page and outside_references(page) == []
    numbers, absent = numbers_shown(first)
    assert len(numbers) > 50 and absent == []
    figures = first.content["figures"]
    curves = [figures[key] for key in figures if key.startswith("curve ")]
    assert len(curves) == 10 and all(sum(r["n"] for r in c["table"]) == 800 for c in curves)
    assert len([key for key in figures if key.startswith("pairs ")]) == 15
    sums = figures["added_up"]["values"]
    parts = sum(row["score"] for row in figures["added_up"]["table"])
    assert sums["margin"] == pytest.approx(sums["intercept"] + parts)
    (edit,) = figures["edits"]["table"]
    assert edit["what"] == "flattened from 60 to 70" and edit["found"] and edit["rows"] > 0
    assert "R. &lt;b&gt;Muster" in page and "R. <b>" not in page
    assert [row["n"] for row in figures["edit_cost"]["table"]] == [800, 200]
    assert json.dumps(comparable(first)) == json.dumps(comparable(again))
