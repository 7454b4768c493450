"""Lifetime PD and loss: curve and figures again, by counting and with plain Python."""

import datetime
import json
import math

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from credit_default.cli.app import app
from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.data.synthetic import save_sample
from credit_default.evaluation.hazard import hazard_table, loan_histories
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.portfolio.columns import parse_table
from credit_default.portfolio.definition import Portfolio
from credit_default.training.recipe import Recipe
from credit_default.training.training import fit_recipe, save_training

LGD, RATE, TERM, WINDOW, AS_OF = 0.45, 0.08, 30, 24, "2023-12-31"


def months_between(first, then):
    "Whole months from one day to another, as a person counts them."
    n = (then.year - first.year) * 12 + then.month - first.month
    day = min(first.day, last_day(then.year, then.month))
    return n if then.day >= day else n - 1


def last_day(year, month):
    following = datetime.date(year + month // 12, month % 12 + 1, 1)
    return (following - datetime.timedelta(days=1)).day


def curve_by_counting(made, ended, as_of):
    "At risk and defaults of each month, loan by loan."
    at_risk, defaults = {}, {}
    for first, end in zip(made, ended, strict=True):
        watched = min(months_between(first, as_of), TERM)
        month = months_between(first, end) + 1 if end else None
        bad = month is not None and month <= watched
        for m in range(1, (month if bad else watched) + 1):
            at_risk[m] = at_risk.get(m, 0) + 1
        if bad:
            defaults[month] = defaults.get(month, 0) + 1
    return at_risk, defaults


@pytest.fixture(scope="module")
def dated(tmp_path_factory):
    "A file of 2,500 loans with dates, the model's PDs, and what the command says of them."
    folder = tmp_path_factory.mktemp("lifetime")
    definition = get_portfolio("personal").to_json()
    del definition["costs"]
    keys = dict(
        name="dated",
        date="made_on",
        performance_window_months=WINDOW,
        strategy=dict(amount_field="loan_amnt", lgd=LGD, margin=0.09),
        synthetic=definition["synthetic"] | dict(dates=("2020-01-01", "2023-06-30")),
    )
    portfolio = Portfolio.model_validate(definition | keys)
    (folder / "dated.json").write_text(json.dumps(portfolio.to_json()))
    recipe = Recipe(parameters=dict(n_estimators=30, max_depth=3))
    fitted = fit_recipe(portfolio, recipe, *split(load(portfolio).take(range(3_000))))
    tag = save_training(fitted, checks=[])
    loans = pd.read_csv(save_sample(portfolio, folder, 2_500, seed=5))
    after = np.random.default_rng(1).integers(0, 900, len(loans))
    day = pd.to_datetime(loans.made_on) + pd.to_timedelta(after, unit="D")
    loans["ended"] = day.where(loans.loan_status == 1).dt.strftime("%Y-%m-%d")
    loans.to_csv(folder / "loans.csv", index=False)
    words = f"--months {TERM} --rate {RATE} --default-date ended --as-of {AS_OF} --json".split()
    line = ["lifetime", str(folder / "loans.csv"), "-p", str(folder / "dated.json"), *words]
    result = CliRunner().invoke(app, [*line, "--model", tag], catch_exceptions=False)
    scores = fitted.bundle.score(parse_table(portfolio, loans), reasons=False)
    return loans, scores.probability_default, json.loads(result.stdout)


def test_the_curve_is_that_of_counting(dated):
    loans, _, found = dated
    read = datetime.date.fromisoformat
    ended = [read(v) if isinstance(v, str) else None for v in loans.ended]
    at_risk, defaults = curve_by_counting(map(read, loans.made_on), ended, read(AS_OF))
    survival, variance = 1.0, 0.0
    assert found["source"] == "dates"
    assert len(found["curve"]) == TERM
    for row in found["curve"]:
        n, d = at_risk[row["month"]], defaults.get(row["month"], 0)
        survival, variance = survival * (1 - d / n), variance + d / (n * (n - d))
        assert (row["at_risk"], row["defaults"]) == (n, d)
        assert row["pd"] == pytest.approx(1 - survival, abs=1e-12)
        if survival < 1:
            half = 1.959963984540054 * math.sqrt(variance) / -math.log(survival)
            assert row["pd_low"] == pytest.approx(1 - survival ** math.exp(-half), abs=1e-12)
            assert row["pd_high"] == pytest.approx(1 - survival ** math.exp(half), abs=1e-12)


def test_each_loss_is_that_of_its_months(dated):
    loans, pds, found = dated
    book = {0: 1.0} | {row["month"]: 1 - row["pd"] for row in found["curve"]}
    growth = (1 + RATE) ** (1 / 12)
    sums = dict.fromkeys(("pd_12", "pd_life", "el_12", "el_life", "el_discounted"), 0.0)
    for pd_, amount in zip(pds.tolist(), loans.loan_amnt.tolist(), strict=True):
        theta = math.log(1 - pd_) / math.log(book[WINDOW])
        balance, instalment = amount, amount * (growth - 1) / (1 - growth**-TERM)
        for month in range(1, TERM + 1):
            dies = book[month - 1] ** theta - book[month] ** theta
            loss = dies * LGD * balance
            sums["pd_life"] += dies
            sums["el_life"] += loss
            sums["el_discounted"] += loss / (1 + RATE) ** (month / 12)
            if month <= 12:
                sums["pd_12"] += dies
                sums["el_12"] += loss / (1 + RATE) ** (month / 12)
            balance = balance * growth - instalment
    everybody = found["grades"][-1]
    assert everybody["n"] == len(loans)
    assert everybody["exposure"] == pytest.approx(loans.loan_amnt.sum())
    for name, total in sums.items():
        expected = total / len(loans) if name.startswith("pd") else total
        assert everybody[name] == pytest.approx(expected, rel=1e-8)
    for name in ("exposure", "el_12", "el_life", "el_discounted"):
        parts = sum(row[name] for row in found["grades"][:-1])
        assert parts == pytest.approx(everybody[name])


def test_a_default_after_the_day_of_knowledge_is_not_known_yet():
    made = np.array(["2020-01-31"] * 200, "M8[D]")
    ended = np.array(["2020-02-29"] * 100 + ["2020-12-31"] * 100, "M8[D]")
    early = hazard_table(loan_histories(made, ended, "2020-06-30"))
    # the end of February is a month after the end of January: the default is in the second month
    assert early.defaults.tolist() == [0, 100, 0, 0, 0]
    assert early.at_risk.tolist() == [200, 200, 100, 100, 100]
