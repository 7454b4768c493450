"""The gate of a promotion: what stops a challenger, line by line, and what is recorded."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import credit_default as cd
from credit_default.cli.app import app
from credit_default.core.paths import portfolio_home
from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.portfolio.definition import Portfolio
from credit_default.scoring.calibration import Calibrator
from credit_default.scoring.challenge import delete_bundle
from credit_default.scoring.registry import (
    champion_tag,
    load_bundle,
    promote_bundle,
    promotion_history,
)
from credit_default.training.promotion.gate import compare_models, fairness_check, judge_promotion
from credit_default.training.promotion.loans import GateLoans
from credit_default.training.promotion.promoting import PromotionStopped, promote_through_gate
from credit_default.training.recipe import Recipe
from credit_default.training.training import fit_recipe, save_training

SHAPE = dict(n_estimators=15, max_depth=3, learning_rate=0.1)


def shell(*command):
    return CliRunner().invoke(app, command)


def made(name, rows=20_000, keep=(), sample=None, **shape):
    "A stored model, trained on the first rows of a synthetic sample."
    portfolio = get_portfolio(name)
    sample = sample or load(portfolio, None, keep=keep)
    sides = split(sample.take(np.arange(min(rows, len(sample)))))
    training = fit_recipe(portfolio, Recipe(parameters=SHAPE | shape), *sides, keep=keep)
    save_training(training, checks=[])
    return training.bundle


@pytest.fixture(scope="module")
def gmsc(bentoml_home):
    "Models of gmsc by name; gone afterwards, and the champion is the one before."
    before = champion_tag("gmsc")
    models = dict(champion=made("gmsc"), better=made("gmsc", n_estimators=60))
    models["weak"] = made("gmsc", n_estimators=2)
    yield models
    if before:
        promote_bundle(before, "gmsc", by="tests", why="back", failed_checks=True)
    else:
        (portfolio_home("gmsc") / "champion.json").unlink(missing_ok=True)
    for bundle in models.values():
        delete_bundle(bundle.tag, "gmsc")


def stopped_by(gate, beginning):
    return [line for line in gate.stops if line.startswith(beginning)]


def test_a_model_as_good_passes_and_a_worse_one_is_named(gmsc):
    assert judge_promotion(gmsc["better"], gmsc["champion"]).stops == []
    worse = judge_promotion(gmsc["weak"], gmsc["champion"])
    assert stopped_by(worse, "AUC less the champion's") and stopped_by(worse, "Log-loss above")


def test_pds_that_are_twice_too_high_are_named(gmsc):
    doubled = replace(gmsc["better"], calibrator=Calibrator("prior", intercept=np.log(2)))
    gate = judge_promotion(doubled, gmsc["champion"])
    assert stopped_by(gate, "Mean PD over default rate: 1.") and stopped_by(gate, "Intercept")
    assert not stopped_by(gate, "AUC less")


def test_a_field_that_is_known_too_late_is_named(bentoml_home):
    honest, leaky = made("lending", 4_000), made("lending", 4_000, ("principal_outstanding",))
    try:
        gate = judge_promotion(leaky, honest)
        assert stopped_by(gate, "Fields that are known only after the loan was granted: 1 ")
        assert not stopped_by(judge_promotion(honest, honest), "Fields")
    finally:
        for bundle in (honest, leaky):
            delete_bundle(bundle.tag, "lending")


def test_other_requests_are_named(gmsc):
    keys = gmsc["better"].portfolio.model_dump(mode="json", exclude_defaults=True)
    age = next(field for field in keys["fields"] if field["name"] == "age")
    age["hard"] = [0, 120]
    narrow = replace(gmsc["better"], portfolio=Portfolio.model_validate(keys))
    narrow.tag = gmsc["better"].tag
    gate = judge_promotion(narrow, gmsc["champion"])
    assert stopped_by(gate, "Fields that requests would have to state otherwise: 1 ")
    assert not judge_promotion(narrow, gmsc["champion"], other_requests=True).stops


def test_an_age_band_that_loses_approvals_is_named(gmsc):
    holdout = load(get_portfolio("gmsc"), None).take(np.arange(15_000, 20_000))
    loans = GateLoans(holdout.columns, holdout.y, "a test")
    comparison = compare_models(
        gmsc["champion"], gmsc["champion"], loans, gmsc["champion"].portfolio.checks
    )
    assert fairness_check(comparison).holds
    young = holdout.columns["age"] < 35
    new, old = comparison.scores
    stricter = replace(new, prediction=np.where(young, 1, new.prediction))
    found = fairness_check(replace(comparison, scores=(stricter, old)))
    own = (comparison.pds[1] < gmsc["champion"].scorecard.cut_off).astype(float)
    fall = np.where(young, -own, 0.0)
    bands = [holdout.columns["age"] < 25, young & (holdout.columns["age"] >= 25)]
    expected = min(fall[at].mean() - fall.mean() for at in bands)
    assert found.holds is False and found.figure == pytest.approx(expected)


def test_a_synthetic_model_does_not_replace_a_real_one(gmsc):
    provenance = gmsc["champion"].provenance | dict(synthetic=False)
    real = replace(gmsc["champion"], provenance=provenance)
    real.tag = gmsc["champion"].tag
    assert stopped_by(judge_promotion(gmsc["better"], real), "Models of the synthetic sample")


def test_the_history_keeps_the_gate_and_the_reason(gmsc, tmp_path):
    promote_bundle(gmsc["champion"].tag, "gmsc", by="tests")
    with pytest.raises(PromotionStopped, match=r"(?s)The gate stops it:\n  - AUC less .*--because"):
        promote_through_gate(gmsc["weak"], why="no")
    assert champion_tag("gmsc") == gmsc["champion"].tag

    refused = shell("models", "promote", gmsc["weak"].tag, "--why", "no")
    assert refused.exit_code == 1 and "AUC less the champion's" in refused.stderr
    done = shell("models", "promote", gmsc["weak"].tag, "--because", "a trial")
    assert done.exit_code == 0 and "NOT MET: AUC less" in done.stderr, done.stderr
    last = promotion_history("gmsc")[-1]
    assert last.why == "a trial" and last.failed_checks
    holdout = split(load(get_portfolio("gmsc"), None))[1]
    assert last.gate["champion"] == gmsc["champion"].tag and last.gate["loans"] == len(holdout)
    assert last.gate["defaults"] == holdout.y.sum()
    assert sum(row["n"] for row in last.gate["swaps"]) == len(holdout)
    listed = shell("models", "history").stdout.splitlines()[-1]
    assert "overruled" in listed and listed.endswith("a trial") and " met " in listed


def test_promotion_in_python_passes_the_same_gate(gmsc):
    promote_bundle(gmsc["champion"].tag, "gmsc", by="tests")
    with pytest.raises(PromotionStopped, match="AUC less the champion's"):
        cd.load_model(gmsc["weak"].tag).promote(why="no")
    assert cd.load_model(gmsc["better"].tag).promote(why="better") == gmsc["better"].tag
    assert promotion_history("gmsc")[-1].gate["checks"]


def test_a_table_is_used_without_the_rows_that_a_model_was_fitted_on(gmsc, tmp_path):
    portfolio = get_portfolio("gmsc")
    train, holdout = split(load(portfolio, None))
    table = holdout.frame.assign(**{portfolio.target: holdout.y.astype(int)})
    gate = judge_promotion(gmsc["better"], gmsc["champion"], table=table)
    assert (gate.loans, gate.left_out, gate.source) == (len(holdout), 0, "the table that was given")
    seen = train.frame.assign(**{portfolio.target: train.y.astype(int)})
    path = tmp_path / "seen.csv"
    seen.to_csv(path, index=False)
    promote_bundle(gmsc["champion"].tag, "gmsc", by="tests")
    refused = shell("models", "promote", gmsc["better"].tag, "--path", str(path))
    assert refused.exit_code == 1 and "is one that a model was fitted on" in refused.stderr


def test_a_table_of_refused_rows_is_not_compared_on(gmsc):
    portfolio = get_portfolio("gmsc")
    holdout = split(load(portfolio, None))[1]
    table = holdout.frame.assign(**{portfolio.target: holdout.y.astype(int)})
    table.loc[table.index[:400], "age"] = -5
    gate = judge_promotion(gmsc["better"], gmsc["champion"], table=table)
    assert "400 of" in gate.stops[-1] and gate.loans == 0


def test_models_of_which_nothing_is_kept_are_not_compared(gmsc):
    lost = load_bundle(gmsc["better"].tag, "gmsc")
    lost.tag = "credit_default_gmsc:0123456789abcdef"
    gate = judge_promotion(lost, gmsc["champion"])
    assert (
        stopped_by(gate, "Comparison with the champion") and "not on this machine" in gate.stops[-1]
    )
