"""The section of a training report that prints a points scorecard, and the table as a file."""

import csv

import pytest
from made_reports import numbers_shown

from credit_default.data.synthetic import save_sample
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.reporting.page import outside_references
from credit_default.reporting.running import run_report


@pytest.mark.slow
def test_a_scorecard_is_printed_whole_and_its_table_lies_beside_the_report(tmp_path, monkeypatch):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    data = save_sample(get_portfolio("gmsc"), tmp_path, 3000, seed=1)
    parameters = dict(data=data, trials=1, champion="scorecard", interval_refits=5)
    made = run_report("training", "gmsc", parameters, tmp_path / "out", "run", progress=False)
    page = made.html.read_text(encoding="utf-8")
    assert ". The model, whole</h2>" in page and outside_references(page) == []
    assert "Points table" in page
    numbers, absent = numbers_shown(made)
    assert len(numbers) > 50 and absent == []
    figures = made.content["figures"]
    bins = figures["points"]["table"]
    with (made.html.parent / "points.csv").open(newline="", encoding="utf-8") as file:
        kept = list(csv.DictReader(file))
    assert [(r["characteristic"], int(r["points"])) for r in kept] == [
        (r["characteristic"], r["points"]) for r in bins
    ]
    printed = made.html.with_name("points.html").read_text(encoding="utf-8")
    assert printed.count("<tr>") == len(bins) and outside_references(printed) == []
    scale, by_name = figures["points_scale"]["values"], {}
    for row in bins:
        by_name.setdefault(row["characteristic"], []).append(row["points"])
    assert scale["least"] == sum(map(min, by_name.values())) >= 300
    assert scale["most"] == sum(map(max, by_name.values())) <= 900
    added = figures["points_added_up"]
    assert added["values"]["total"] == sum(row["points"] for row in added["table"])
    chosen = [row for row in figures["characteristics"]["table"] if row["chosen"]]
    assert {row["characteristic"] for row in chosen} == set(by_name)
    assert all(row["vif"] >= 1 - 1e-9 and row["coefficient"] < 0 for row in chosen)
    assert figures["points_price"]["values"]["model"]
    inflated = [
        row["title"] for row in figures["characteristics"]["table"] if (row["vif"] or 0) > 5
    ]
    assert figures["characteristics"]["values"]["repeated"] == inflated
    assert figures["swap_set"]["values"]["model"] == figures["points_price"]["values"]["model"]
    swaps = {row["group"]: row["n"] for row in figures["swap_set"]["table"]}
    assert sum(swaps.values()) == 600 and swaps["swapped in"] >= swaps["swapped out"]
    assert "Another seed changes nothing" in page
    intervals = figures["pd_intervals"]
    assert intervals["values"]["refits"] == 5 and intervals["table"][-1]["n"] == 600
    for row in intervals["table"]:
        assert row["low"] < row["probability_default"] < row["high"] and row["odds_factor"] > 1
