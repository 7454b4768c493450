"""The checks of a new model: how often they fail a true one, and that they fail wrong ones. The
benchmark benchmarks/checks.py does the same for four hundred models.
"""

import importlib.util
from dataclasses import replace

import pytest
from locked import ROOT

from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.thresholds import CheckThresholds
from credit_default.training.checks import (
    BAND_SHARE,
    BENCHMARK_SHARE,
    OUTCOME_SHARE,
    SEGMENT_SHARE,
    WEAK_SPOT_SHARE,
    check_model,
    direction_check,
    direction_moves,
    holdout_tests,
)


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
