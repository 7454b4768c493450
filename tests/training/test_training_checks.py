"""The checks of a new model: how often they fail a true one, and that they fail wrong ones. The
benchmark benchmarks/checks.py does the same for four hundred models.
"""

import importlib.util
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from locked import ROOT

from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.thresholds import CheckThresholds
from credit_default.scoring.scorecard import Scorecard, rating
from credit_default.training.checks.check import (
    BAND_SHARE,
    BENCHMARK_SHARE,
    OUTCOME_SHARE,
    SEGMENT_SHARE,
    WEAK_SPOT_SHARE,
)
from credit_default.training.checks.checking import check_model, checks_on_card
from credit_default.training.checks.data_and_split import maturity_check
from credit_default.training.checks.directions import direction_check, direction_moves
from credit_default.training.checks.discrimination import (
    benchmark_check,
    discrimination_checks,
    segment_falls,
)
from credit_default.training.checks.judged import JudgedModel, JudgedSide
from credit_default.training.checks.outcomes import holdout_tests
from credit_default.training.model_card import list_limits


@pytest.fixture(scope="module")
def simulation():
    "The benchmark as a module."
    spec = importlib.util.spec_from_file_location("checks_benchmark", ROOT / "benchmarks/checks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shares_make_up_the_error_of_the_family():
    shares = (OUTCOME_SHARE, WEAK_SPOT_SHARE, BAND_SHARE, SEGMENT_SHARE, BENCHMARK_SHARE)
    assert sum(shares) == pytest.approx(1)


def test_few_true_models_fail_any_check(simulation):
    failed = sum(bool(simulation.failing(seed)) for seed in range(12))
    assert failed <= 3  # with 5 % each, four of twelve or more have a probability of 0.2 %


@pytest.mark.slow
def test_as_many_true_models_fail_as_is_stated(simulation):
    failed = sum(bool(simulation.failing(seed)) for seed in range(1000, 1100))
    assert failed <= simulation.binomial_range(100)[1]


@pytest.mark.parametrize("what", range(4))
def test_wrong_models_fail(simulation, what):
    name, wrong = list(simulation.WRONG.items())[what]
    assert simulation.failing(0, wrong), name


def test_a_failing_segment_is_a_failing_check(simulation):
    wrong = simulation.WRONG["wrong for applicants of 60 and over"]
    assert any("Segments whose PD" in question for question in simulation.failing(0, wrong))


def test_a_stricter_family_has_wider_limits(simulation):
    judged = simulation.simulated(0)
    strict = judged.portfolio.model_copy(update=dict(checks=CheckThresholds(family_error=0.001)))
    usual, wide = (holdout_tests(j, []) for j in (judged, replace(judged, portfolio=strict)))
    assert all(wide.limits[name] >= limit for name, limit in usual.limits.items())
    assert wide.limits["ece"] > usual.limits["ece"]


def test_directions_are_held_to_the_portfolios_thresholds(simulation):
    judged = simulation.simulated(0)

    def bent(columns):  # the PD rises with the age, which the portfolio forbids
        return 0.05 + 0.002 * columns["age"]

    check = direction_check(judged, direction_moves(judged, bent, rows=50))
    assert check.holds is False and check.figure == 1
    lenient = SHIPPED["gmsc"].model_copy(update=dict(checks=CheckThresholds(against_share=1)))
    allowed = replace(judged, portfolio=lenient)
    assert direction_check(allowed, direction_moves(allowed, bent, rows=50)).holds
    assert not check_model(judged).moves.size


def test_a_check_that_saw_nothing_is_not_met(simulation):
    judged = simulation.simulated(0)
    few = {name: values[:60] for name, values in judged.holdout.columns.items()}
    side = JudgedSide(few, judged.holdout.y[:60], judged.holdout.pd[:60])
    small = replace(judged, holdout=side, score=judged.score[:60], rating=["good"] * 60)
    found = check_model(small).checks
    by_name = {c.question.split(" (")[0]: c for c in found}
    nothing = [
        "Segments whose PD is rejected",
        "Weak spots confirmed on the other half of the holdout",
        "Rise of the default rate to a better rating, in standard deviations",
        "Segments whose AUC falls by more than 10 %, and by more than sampling error",
    ]
    assert all(by_name[name].unjudged and by_name[name].holds is None for name in nothing)
    card = checks_on_card(found, 0.05)
    assert {line["check"].split(" (")[0] for line in card["not_judged"]} >= set(nothing)
    assert not {line["check"].split(" (")[0] for line in card["met"]} & set(nothing)
    assert len(found) == len(check_model(judged).checks)  # no check is simply left out


def test_benchmark_models_that_could_not_be_compared_are_not_judged():
    rivals = pd.DataFrame(
        dict(champion=[True, False], auc=[0.8, np.nan], difference=[0.0, np.nan])
    ).assign(diff_low=np.nan, diff_high=np.nan)
    assert benchmark_check(rivals, 0.01).unjudged
    measured = rivals.assign(auc=[0.8, 0.7], difference=[0, 0.1], diff_low=0.05, diff_high=0.15)
    assert benchmark_check(measured, 0.01).holds
    without_interval = measured.assign(difference=[0, -0.2], diff_low=np.nan, diff_high=np.nan)
    assert benchmark_check(without_interval, 0.01).unjudged


def test_directions_along_which_nobody_can_be_moved_are_not_judged(simulation):
    judged = simulation.simulated(0)
    gone = {name: np.full(len(v), np.nan) for name, v in judged.holdout.columns.items()}
    empty = replace(judged, holdout=replace(judged.holdout, columns=gone))
    moves = direction_moves(empty, lambda columns: np.full(len(columns["age"]), 0.1))
    assert moves.empty and direction_check(empty, moves).unjudged


def test_directions_along_which_only_one_value_lies_are_not_judged(simulation):
    judged = simulation.simulated(0)
    same = {name: np.full_like(v, v[0]) for name, v in judged.holdout.columns.items()}
    one = replace(judged, holdout=replace(judged.holdout, columns=same))
    moves = direction_moves(one, lambda columns: np.full(len(columns["age"]), 0.1))
    assert set(moves["values"]) == {1} and direction_check(one, moves).unjudged


def overfitted(judged, factor=2.0):
    "The same model, whose PDs say little of the holdout."
    rng = np.random.default_rng(0)
    noise = np.clip(judged.holdout.pd * np.exp(rng.normal(0, factor, len(judged.rating))), 0, 0.9)
    return replace(judged, holdout=replace(judged.holdout, pd=noise))


def test_all_loans_together_are_no_segment_whose_auc_falls(simulation):
    judged = overfitted(simulation.simulated(0))
    falls = segment_falls(judged)
    everybody = falls[falls.title == "All"].iloc[0]
    assert everybody.fall > 0.1 and not everybody.confirmed and np.isnan(everybody.p_holm)
    whole, segments = discrimination_checks(judged, falls)
    assert whole.holds is False and segments.figure == falls[falls.title != "All"].confirmed.sum()
    alone = discrimination_checks(judged, falls[falls.title == "All"])[1]
    assert alone.unjudged and alone.reason  # a portfolio that is not cut into segments


@pytest.mark.parametrize("defaults", [1, 9])
def test_a_holdout_with_hardly_a_default_says_nothing_of_a_fall_of_the_auc(simulation, defaults):
    judged = simulation.simulated(0)
    y = np.zeros_like(judged.holdout.y)
    y[:defaults] = 1
    few = replace(judged, holdout=replace(judged.holdout, y=y))
    found = {c.question: c for c in check_model(few).checks}
    gap = found["Drop in AUC from out of fold to holdout"]
    assert (gap.holds, gap.figure, gap.essential) == (None, None, True)
    [line] = [c for c in checks_on_card([gap], 0.05)["not_judged"]]
    assert line["essential"] and line["reason"] == "too few loans or defaults"


def test_a_limit_without_end_judges_nothing(simulation):
    judged = simulation.simulated(0)
    side = JudgedSide(
        {name: values[:200] for name, values in judged.holdout.columns.items()},
        (np.arange(200) == 7).astype(int),
        np.full(200, 0.001),
    )
    safe = replace(judged, holdout=side, score=judged.score[:200], rating=judged.rating[:200])
    found = {c.question: c for c in check_model(safe).checks}
    assert found["Mean PD over default rate"].unjudged
    assert found["Mean PD over default rate"].bar == "a limit by simulation"


def test_a_performance_window_of_loans_without_dates_is_not_judged(loans):
    train, holdout = loans
    found = maturity_check(SimpleNamespace(train=train, holdout=holdout))
    assert found.question == "Loans whose performance window has not passed"
    assert (found.unjudged, found.essential) == (True, False)
    assert found.reason == "the loans have no dates"
    endless = train.portfolio.model_copy(update=dict(performance_window_months=None))
    train = replace(train, portfolio=endless)
    assert maturity_check(SimpleNamespace(train=train, holdout=holdout)) is None
    assert "Maturity is not judged" in " ".join(list_limits(loans[0]))
    assert "Maturity" not in " ".join(list_limits(train))


@pytest.mark.parametrize("name", SHIPPED)
def test_all_essential_checks_of_a_shipped_portfolio_can_be_judged(name):
    portfolio = SHIPPED[name]
    sides = split(load(portfolio, None))
    names = [f.name for f in portfolio.inputs()]
    scale = Scorecard(cut_off=0.1)
    train, holdout = (JudgedSide(side.columns, side.y, side.true_pd) for side in sides)
    score = scale.score(np.log(holdout.pd / (1 - holdout.pd)))
    judged = JudgedModel(portfolio, names, scale, train, holdout, score, rating(score))
    essential = [c for c in check_model(judged).checks if c.essential]
    assert len(essential) == 7 and not any(c.unjudged for c in essential)
