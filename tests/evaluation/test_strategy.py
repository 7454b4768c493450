"""The decision: each figure of `strategy` again, from raw holdout rows and with plain Python."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from credit_default.cli.app import app
from credit_default.cli.models import card_lines
from credit_default.core.numeric import pd_of
from credit_default.core.paths import portfolio_home
from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.data.synthetic import synthesize
from credit_default.evaluation.intervals import jeffreys_interval
from credit_default.evaluation.strategy import choose_cut_off
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.portfolio.columns import parse_table
from credit_default.portfolio.costs_and_scale import Costs
from credit_default.portfolio.definition import Portfolio
from credit_default.portfolio.strategy import AIMS, StrategyError
from credit_default.scoring.bundle_files import deciding_files, read_bundle, write_bundle
from credit_default.scoring.scorecard import DECISIONS, cut_off_from_costs
from credit_default.training.benchmark_models import recipe_pd
from credit_default.training.champion import fit_champion
from credit_default.training.recipe import Recipe
from credit_default.training.training import fit_recipe, save_training

LGD, MARGIN = 0.45, 0.09
AMOUNTS = dict(amount_field="loan_amnt", lgd=LGD, margin=MARGIN)


def with_strategy(**keys):
    "The portfolio `personal` under another name, with amounts and with an aim."
    definition = get_portfolio("personal").to_json()
    del definition["costs"]
    return Portfolio.model_validate(definition | dict(name="priced", strategy=AMOUNTS | keys))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    "The holdout's raw rows with the answers of two models, and what the command says of them."
    portfolio = with_strategy()
    file = tmp_path_factory.mktemp("priced") / "priced.json"
    file.write_text(json.dumps(portfolio.to_json()))
    sides = split(load(portfolio).take(range(5_000)))
    recipes = [Recipe(parameters=dict(n_estimators=40, max_depth=depth)) for depth in (3, 1)]
    tags = [save_training(fit_recipe(portfolio, r, *sides), checks=[]) for r in recipes]
    tables = [
        pd.read_parquet(portfolio_home("priced") / tag.split(":")[1] / "reference.parquet")
        for tag in tags
    ]
    rows = tables[0].assign(other=tables[1].probability_default).to_dict("records")
    line = ["strategy", "-p", str(file), "--model", tags[0], "--challenger", tags[1], "--json"]
    return rows, json.loads(CliRunner().invoke(app, line, catch_exceptions=False).stdout)


def worth(row):
    "What a loan earns or loses if it is made."
    return row["loan_amnt"] * (-LGD if row["outcome"] else MARGIN)


def test_cut_offs_agree_with_the_rows(study):
    rows, found = study
    n = len(rows)
    assert found["loans"] == n == 1_000 and found["unit"] == "USD"
    assert found["cut_off"] == pytest.approx(MARGIN / (LGD + MARGIN), rel=1e-12)
    assert len(found["cut_offs"]) >= 11
    for entry in found["cut_offs"]:
        approved = [row for row in rows if row["probability_default"] < entry["cut_off"]]
        defaults = sum(row["outcome"] for row in approved)
        assert entry["approved"] == len(approved)
        assert entry["approval_rate"] == pytest.approx(len(approved) / n)
        assert entry["bad_rate"] == pytest.approx(defaults / len(approved))
        assert entry["bad_low"] < entry["bad_rate"] < entry["bad_high"]
        lost = [row["loan_amnt"] * LGD for row in approved if row["outcome"]]
        feared = [row["probability_default"] * row["loan_amnt"] * LGD for row in approved]
        assert entry["loss"] == pytest.approx(sum(lost) / n)
        assert entry["expected_loss"] == pytest.approx(sum(feared) / n)
        earned = [worth(row) for row in approved] + [0.0] * (n - len(approved))
        profit = sum(earned) / n
        assert entry["profit"] == pytest.approx(profit)
        if entry["profit_low"] is None:
            assert min(defaults, len(approved) - defaults) < 10
            continue
        error = math.sqrt(sum((x - profit) ** 2 for x in earned) / (n - 1) / n)
        assert entry["profit_high"] == pytest.approx(profit + 1.959964 * error, rel=1e-6)


def test_grades_agree_with_the_rows(study):
    rows, found = study
    limits = dict(Poor=(0, 500), Average=(500, 650), Good=(650, 750), Excellent=(750, 901))
    for entry in found["grades"]:
        low, high = limits[entry["rating"]]
        grade = [row for row in rows if low <= row["credit_score"] < high]
        assert entry["n"] == len(grade)
        assert entry["default_rate"] == pytest.approx(
            sum(row["outcome"] for row in grade) / len(grade)
        )
        lent = sum(row["loan_amnt"] for row in grade)
        bad = sum(row["loan_amnt"] * row["probability_default"] for row in grade)
        assert entry["expected_loss"] == pytest.approx(LGD * bad / lent)
        assert entry["break_even"] == pytest.approx(LGD * bad / (lent - bad))
        assert entry["pays"] == (entry["break_even"] <= MARGIN)
    assert sum(entry["n"] for entry in found["grades"]) == len(rows)


def test_the_swap_set_agrees_with_the_rows(study):
    rows, found = study
    ours = [row["probability_default"] < found["cut_off"] for row in rows]
    by_other = sorted(rows, key=lambda row: row["other"])
    last = by_other[sum(ours) - 1]["other"]  # of as many as the champion approves
    theirs = [row["other"] <= last for row in rows]
    for entry, sides in zip(
        found["swap_set"], ((True, True), (False, True), (True, False), (False, False))
    ):
        group = [row for row, *both in zip(rows, ours, theirs) if tuple(both) == sides]
        assert (entry["n"], entry["defaults"]) == (len(group), sum(r["outcome"] for r in group))
        assert entry["profit"] == pytest.approx(sum(map(worth, group)) / len(rows))


def test_the_frontier_agrees_with_the_rows(study):
    rows, found = study
    for entry in found["frontier"]:
        count = math.ceil(entry["approval_rate"] * len(rows) - 1e-9)
        for side, pd_ in (("champion", "probability_default"), ("challenger", "other")):
            last = sorted(row[pd_] for row in rows)[count - 1]
            approved = [row["outcome"] for row in rows if row[pd_] <= last]
            assert entry[side] == pytest.approx(sum(approved) / len(approved))
        assert entry["difference"] == pytest.approx(entry["challenger"] - entry["champion"])


@pytest.mark.parametrize("aim, limit", [("bad-rate-ceiling", 0.10), ("approval-rate-floor", 0.60)])
def test_a_cut_off_by_aim_holds_on_unseen_loans(aim, limit):
    portfolio = with_strategy(aim=aim, limit=limit)
    train, holdout = split(load(portfolio))
    recipe = Recipe(parameters=dict(n_estimators=60, max_depth=3))
    training = fit_recipe(portfolio, recipe, train, holdout)
    fitted, cut_off = training.fitted, training.bundle.scorecard.cut_off
    # chosen on the training rows, each scored by models that were fitted without it
    pds = pd_of(training.bundle.calibrator.log_odds(fitted.choice.margins))
    approved, y = pds < cut_off, fitted.choice.folds.judged_y
    on_train = dict(zip(AIMS[1:], ((y[approved].sum(), approved.sum()), (approved.sum(), len(y)))))
    reached = on_train[aim][0] / on_train[aim][1]
    assert reached <= limit if "ceiling" in aim else reached >= limit
    assert abs(reached - limit) < 0.002
    card = training.bundle.card["cut_off"]
    assert (card["pd"], card["aim"], card["limit"], card["n"]) == (cut_off, aim, limit, len(y))
    assert card["bad_rate"] == pytest.approx(y[approved].mean())
    assert f"{aim} {limit:.2%}, chosen on the training rows" in " ".join(
        card_lines({"cut_off": card})
    )
    # new applicants of the same kind
    frame, outcome, _ = synthesize(portfolio, 20_000, seed=99)
    scores = training.bundle.score(parse_table(portfolio, frame), reasons=False)
    approved = scores.prediction == 0
    assert np.array_equal(approved, scores.probability_default < cut_off)
    unseen = dict(
        zip(
            AIMS[1:],
            ((outcome[approved].sum(), approved.sum()), (approved.sum(), len(outcome))),
        )
    )
    low, high = jeffreys_interval(*unseen[aim])
    chosen_low, chosen_high = jeffreys_interval(*on_train[aim])
    assert low <= chosen_high and chosen_low <= high


def test_whom_a_portfolio_refers_is_kept_said_and_holds_on_unseen_loans(tmp_path):
    portfolio = with_strategy(refer_share=0.15)
    recipe = Recipe(parameters=dict(n_estimators=60, max_depth=3))
    training = fit_recipe(portfolio, recipe, *split(load(portfolio)))
    bundle, card = training.bundle, training.bundle.scorecard
    assert card.cut_off == cut_off_from_costs(LGD, MARGIN)
    # chosen on the training rows, each scored by models that were fitted without it
    pds = pd_of(bundle.calibrator.log_odds(training.fitted.choice.margins))
    referred = (pds >= card.refer_from) & (pds < card.cut_off)
    assert 0.149 < referred.mean() <= 0.15
    told = bundle.card["cut_off"]
    assert (told["refer_from"], told["refer_rate"]) == (card.refer_from, referred.mean())
    line = f"referred from a PD of {card.refer_from:.4f}: {referred.mean():.1%} of the training"
    assert line in " ".join(card_lines({"cut_off": told}))
    # as it was written, on new applicants of the same kind
    write_bundle(bundle, tmp_path)
    again = read_bundle(tmp_path)
    assert again.scorecard == card
    frame, _, _ = synthesize(portfolio, 20_000, seed=99)
    scores = again.score(parse_table(portfolio, frame), reasons=False)
    p = scores.probability_default
    words = [DECISIONS[int(x >= card.refer_from) + int(x >= card.cut_off)] for x in p]
    assert scores.decision == words
    low, high = jeffreys_interval(words.count("Referred"), len(words))
    assert low <= 0.15 <= high
    # the prediction is about the cut-off alone
    assert np.array_equal(scores.prediction, p >= card.cut_off)


def test_a_portfolio_that_refers_nobody_has_the_files_that_it_had():
    portfolio = with_strategy()
    sides = split(load(portfolio).take(range(2_000)))
    bundle = fit_recipe(portfolio, Recipe(parameters=dict(n_estimators=20)), *sides).bundle
    assert "refer" not in deciding_files(bundle)["scorecard.json"].decode()
    assert not [key for key in bundle.card["cut_off"] if "refer" in key]


def test_the_decisions_of_strategy_agree_with_the_rows(tmp_path):
    portfolio = with_strategy(refer_from=0.1)
    file = tmp_path / "priced.json"
    file.write_text(json.dumps(portfolio.to_json()))
    training = fit_recipe(
        portfolio,
        Recipe(parameters=dict(n_estimators=40, max_depth=3)),
        *split(load(portfolio).take(range(5_000))),
    )
    tag = save_training(training, checks=[])
    rows = pd.read_parquet(portfolio_home("priced") / tag.split(":")[1] / "reference.parquet")
    line = ["strategy", "-p", str(file), "--model", tag]
    found = json.loads(CliRunner().invoke(app, [*line, "--json"], catch_exceptions=False).stdout)
    assert found["refer_from"] == found["chosen"]["refer_from"] == 0.1
    place = (rows.probability_default >= 0.1) + 1 * (rows.probability_default >= found["cut_off"])
    for i, entry in enumerate(found["decisions"]):
        group = rows[place == i]
        assert (entry["decision"], entry["n"]) == (DECISIONS[i], len(group))
        assert entry["defaults"] == group.outcome.sum()
        assert entry["mean_pd"] == pytest.approx(group.probability_default.mean())
    named = {entry["which"]: entry["approved"] for entry in found["cut_offs"] if entry["which"]}
    assert named["refers from"] == (place == 0).sum()
    shown = CliRunner().invoke(app, line, catch_exceptions=False).stdout
    assert "It refers from a PD of 0.1000, up to the cut-off." in shown
    assert [word for word in DECISIONS if word in shown] == list(DECISIONS)


def test_a_band_that_the_cut_off_leaves_empty_is_refused_before_the_search():
    portfolio = with_strategy(refer_from=0.5)
    train, _ = split(load(portfolio).take(range(500)))
    with pytest.raises(StrategyError, match="not below the cut-off, a PD of 16.67%"):
        fit_champion(portfolio, train)


def test_a_benchmark_model_needs_not_reach_the_aim():
    portfolio = with_strategy(aim="bad-rate-ceiling", limit=0.07)
    sides = split(load(portfolio).take(range(5_000)))
    training = fit_recipe(portfolio, Recipe(parameters=dict(n_estimators=40, max_depth=3)), *sides)
    weak = Recipe(parameters=dict(n_estimators=1, max_depth=1))
    with pytest.raises(StrategyError, match="Give a higher `limit`"):
        fit_recipe(portfolio, weak, *sides)
    assert recipe_pd(training, weak).shape == (1_000,)


def test_without_a_strategy_the_cut_off_is_that_of_the_costs():
    personal = get_portfolio("personal")
    chosen = choose_cut_off([0, 1, 0], [0.1, 0.2, 0.4], personal.mistake_costs)
    assert chosen.cut_off == cut_off_from_costs(personal.costs.default, personal.costs.decline)
    assert "strategy" not in personal.to_json()


@pytest.mark.parametrize(
    "strategy, said",
    [
        (dict(aim="most-loans"), "bad-rate-ceiling"),
        (dict(aim="bad-rate-ceiling"), "needs `limit`"),
        (dict(aim="approval-rate-floor", limit=70), "between 0 and 1"),
        (dict(limit=0.1), "takes no `limit`"),
        (dict(amount_field="person_income"), "belong together"),
        (AMOUNTS | dict(amount_field="loan_intent"), "never negative"),
        (AMOUNTS | dict(amount_field="salary"), "no field named salary"),
        (AMOUNTS | dict(lgd=45), "less than or equal to 1"),
        (AMOUNTS | dict(margin=0), "greater than 0"),
        (dict(ceiling=0.1), "Extra inputs"),
        (dict(refer_from=0.05, refer_share=0.1), "not both"),
        (dict(refer_share=10), "less than 1"),
    ],
)
def test_a_strategy_that_cannot_be_meant_is_refused(strategy, said):
    definition = get_portfolio("personal").to_json()
    definition.pop("costs")
    with pytest.raises(ValueError, match=said):
        Portfolio.model_validate(definition | dict(strategy=strategy))


def test_costs_are_stated_once():
    personal = get_portfolio("personal")
    assert personal.costs != Costs() and personal.mistake_costs == personal.costs
    with pytest.raises(ValueError, match="stated twice"):
        Portfolio.model_validate(personal.to_json() | dict(strategy=AMOUNTS))
    priced = with_strategy()
    assert priced.mistake_costs == Costs(default=LGD, decline=MARGIN)
    assert Portfolio.model_validate(json.loads(json.dumps(priced.to_json()))) == priced
