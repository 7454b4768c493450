"""Stress and expected loss: each figure again, from raw rows and with plain Python."""

import json
import math

import pytest
from typer.testing import CliRunner

from credit_default.cli.app import app
from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.data.synthetic import save_sample, synthesize
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.portfolio.columns import parse_table
from credit_default.portfolio.definition import Portfolio
from credit_default.training.recipe import Recipe
from credit_default.training.training import fit_recipe, save_training

LGD, LGD_THEN, SHIFT = 0.45, 0.6, 0.5
SCENARIO = f"""
[[scenarios]]
name = "downturn"
title = "Incomes fall by a fifth, loans are a tenth larger, and more applicants default"
log_odds = {SHIFT}
lgd = {LGD_THEN}
shifts = [
    {{field = "person_income", op = "times", value = 0.8}},
    {{field = "loan_amnt", op = "times", value = 1.1}},
]
"""


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    "A folder with a priced portfolio, a book and a scenario; and a model of the portfolio."
    folder = tmp_path_factory.mktemp("stress")
    definition = get_portfolio("personal").to_json()
    del definition["costs"]
    strategy = dict(amount_field="loan_amnt", lgd=LGD, margin=0.09)
    portfolio = Portfolio.model_validate(definition | dict(name="priced", strategy=strategy))
    (folder / "priced.json").write_text(json.dumps(portfolio.to_json()))
    (folder / "downturn.toml").write_text(SCENARIO)
    save_sample(portfolio, folder, 500, seed=3).rename(folder / "book.csv")
    sides = split(load(portfolio).take(range(3_000)))
    recipe = Recipe(parameters=dict(n_estimators=30, max_depth=3))
    fitted = fit_recipe(portfolio, recipe, *sides)
    return folder, portfolio, fitted.bundle, save_training(fitted, checks=[])


def run(priced, *words):
    "What the command says in JSON."
    folder, _, _, tag = priced
    line = ["stress", *words, "-p", str(folder / "priced.json"), "--model", tag, "--json"]
    return json.loads(CliRunner().invoke(app, line, catch_exceptions=False).stdout)


def test_each_figure_follows_from_the_raw_rows(priced):
    folder, portfolio, bundle, _ = priced
    scenarios = str(folder / "downturn.toml")
    today, then = run(priced, str(folder / "book.csv"), "--scenarios", scenarios)["scenarios"]
    rows = synthesize(portfolio, 500, seed=3)[0].to_dict("records")
    changed = [
        row
        | dict(
            person_income=float(round(row["person_income"] * 0.8)),
            loan_amnt=float(round(row["loan_amnt"] * 1.1)),
        )
        for row in rows
    ]
    for side, lgd, shift, found in ((rows, LGD, 0, today), (changed, LGD_THEN, SHIFT, then)):
        columns = {name: [row[name] for row in side] for name in side[0]}
        scored = bundle.score(parse_table(portfolio, columns), reasons=False)
        odds = [p / (1 - p) * math.exp(shift) for p in scored.probability_default.tolist()]
        pds = [o / (1 + o) for o in odds]
        amounts = [row["loan_amnt"] for row in side]
        loss = sum(p * lgd * amount for p, amount in zip(pds, amounts, strict=True))
        assert found["mean_pd"] == pytest.approx(sum(pds) / 500, rel=1e-9)
        assert found["exposure"] == pytest.approx(sum(amounts), rel=1e-12)
        assert found["expected_loss"] == pytest.approx(loss, rel=1e-9)
        assert found["loss_rate"] == pytest.approx(loss / sum(amounts), rel=1e-9)
        assert found["declined"] == sum(p >= bundle.scorecard.cut_off for p in pds) / 500
    assert then["times"] == pytest.approx(then["mean_pd"] / today["mean_pd"], rel=1e-12)


def test_grades_are_those_of_today(priced):
    folder, portfolio, bundle, _ = priced
    found = run(priced, str(folder / "book.csv"))
    frame = synthesize(portfolio, 500, seed=3)[0]
    scored = bundle.score(parse_table(portfolio, frame), reasons=False)
    for grade in found["grades"]:
        mine = [r == grade["rating"] for r in scored.rating]
        pds = [p for p, own in zip(scored.probability_default.tolist(), mine, strict=True) if own]
        assert grade["n"] == len(pds)
        assert grade["none"] == pytest.approx(sum(pds) / len(pds), rel=1e-9)
        doubled = [2 * p / (1 + p) for p in pds]
        assert grade["odds-doubled"] == pytest.approx(sum(doubled) / len(pds), rel=1e-9)
    assert sum(grade["n"] for grade in found["grades"]) == 500


def test_rows_without_amount_or_refused_are_counted(priced, tmp_path):
    folder, portfolio, bundle, tag = priced
    lines = (folder / "book.csv").read_text().splitlines()
    at = lines[0].split(",").index("person_age")
    rows = [line.split(",") for line in lines]
    for row in rows[1:61]:
        row[at] = "-5"
    (tmp_path / "book.csv").write_text("\n".join(",".join(row) for row in rows))
    line = ["stress", str(tmp_path / "book.csv"), "-p", str(folder / "priced.json")]
    result = CliRunner().invoke(app, [*line, "--model", tag])
    assert result.exit_code == 4
    assert "60 of 500 rows are refused" in result.output
    assert "440 loans" in result.output


@pytest.mark.parametrize(
    "change, told",
    [
        (("person_income", "salary"), "salary is no field"),
        (('"times", value = 0.8', '"set", value = -1'), "person_income must be set to"),
        (("lgd = 0.6", "lgd = 6"), "lgd"),
        (("log_odds = 0.5", "log_odds = nan"), "log_odds"),
        (("[[scenarios]]", "[[scenario]]"), "[[scenarios]]"),
        (("downturn", "none"), "as it is"),
        (('"times", value = 0.8', '"missing"'), "person_income is required"),
    ],
)
def test_a_mistake_is_named_with_its_field(priced, tmp_path, change, told):
    folder, *_ = priced
    (tmp_path / "wrong.toml").write_text(SCENARIO.replace(*change))
    words = ["stress", str(folder / "book.csv"), "--scenarios", str(tmp_path / "wrong.toml")]
    line = [*words, "-p", str(folder / "priced.json"), "--model", priced[3]]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 2 or result.exception
    assert told in (result.output + str(result.exception))
