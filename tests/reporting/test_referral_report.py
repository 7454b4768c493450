"""The training report of a portfolio that has people look at some applicants."""

import json

import pytest
from made_reports import numbers_shown

from credit_default.data.synthetic import save_sample
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.reporting.page import outside_references
from credit_default.reporting.running import run_report


@pytest.mark.slow
def test_the_decision_shows_who_is_referred(tmp_path, monkeypatch):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    personal = get_portfolio("personal")
    definition = personal.to_json() | dict(name="referring", strategy=dict(refer_share=0.15))
    file = tmp_path / "referring.json"
    file.write_text(json.dumps(definition), encoding="utf-8")
    data = save_sample(personal, tmp_path, 1500, seed=1)
    parameters = dict(data=data, trials=1, champion="single")
    made = run_report("training", str(file), parameters, tmp_path / "out", "run", progress=False)
    page = made.html.read_text(encoding="utf-8")
    assert outside_references(page) == [] and numbers_shown(made)[1] == []
    figures = made.content["figures"]
    rows = figures["referral"]["table"]
    assert [row["decision"] for row in rows] == ["Approved", "Referred", "Declined"]
    assert sum(row["n"] for row in rows) == 300 and all(row["n"] for row in rows)
    kept, declined = figures["confusion"]["table"]
    assert kept["decision"] == "Approved or referred"
    assert kept["repaid"] + kept["default"] == rows[0]["n"] + rows[1]["n"]
    assert declined["repaid"] + declined["default"] == rows[2]["n"]
    named = [row["which"] for row in figures["strategy"]["table"] if row["which"]]
    assert named == ["refers from", "in use, by the aim"]
    assert {"reasons Referred", "helped Referred"} <= set(figures)
