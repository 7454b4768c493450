"""The whole way from data to a bundle: audit, champions, dates, record and card."""

from dataclasses import replace

import numpy as np
import pytest

from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.evaluation.leakage.audit import LeakError
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.training.champion import choose_members, fit_choice
from credit_default.training.model_card import NO_OUT_OF_TIME_TEST
from credit_default.training.provenance import TrainingRecord
from credit_default.training.recipe import Recipe
from credit_default.training.training import evaluate_on_holdout, fit_recipe, train_model


@pytest.fixture(scope="module")
def dataset(gmsc):
    return load(gmsc, None).take(np.arange(8000))


@pytest.fixture(scope="module")
def training(gmsc, dataset):
    return train_model(gmsc, dataset, trials=5, progress=False)


def test_pds_are_near_the_truth(training):
    truth, given = training.holdout.true_pd, training.scores.probability_default
    assert np.abs(given - truth).mean() < 0.02
    assert given.mean() == pytest.approx(truth.mean(), rel=0.1)


def test_the_calibrator_repairs_what_smote_distorts(gmsc):
    dataset = load(gmsc, None)
    train, holdout = split(dataset)
    shape = dict(n_estimators=150, max_depth=4, learning_rate=0.06, ratio=1.0)
    recipe = Recipe(imputation="mice", sampler="smote", parameters=shape)
    smote = fit_recipe(gmsc, recipe, train, holdout)
    raw = 1 / (1 + np.exp(-smote.fitted.choice.margins))
    repaired = smote.scores.probability_default.mean()
    assert raw.mean() > 1.5 * dataset.y.mean()
    assert repaired == pytest.approx(holdout.true_pd.mean(), rel=0.1)


def test_a_single_champion_is_held_to_directions(training):
    tuning = training.fitted.tuning
    choice = choose_members(tuning, "single")
    fitted = fit_choice(training.bundle.portfolio, choice, training.train, tuning)
    record = TrainingRecord("single", {})
    single = evaluate_on_holdout(fitted, training.train, training.holdout, record)
    assert [r.monotone for r, _ in single.fitted.choice.members.values()] == [True]
    assert single.bundle.provenance["champion"] == "single"


def test_an_unknown_champion_is_refused(gmsc, dataset):
    with pytest.raises(ValueError, match="blend, single"):
        train_model(gmsc, dataset, champion="best")


def test_a_field_that_tells_the_outcome_ends_a_training(gmsc, dataset):
    income = dataset.frame.MonthlyIncome.mask(dataset.y == 1)
    cleaned = replace(dataset, frame=dataset.frame.assign(MonthlyIncome=income))
    with pytest.raises(LeakError, match="MonthlyIncome"):
        train_model(gmsc, cleaned)
    with pytest.raises(LeakError, match="Mark it in the portfolio"):
        train_model(gmsc, cleaned, keep=("MonthlyIncome",))


def test_the_record_and_the_reference(training):
    provenance, reference = training.bundle.provenance, training.bundle.reference
    assert provenance["audit"] == {}  # nothing was noticed in the sample itself
    assert len(provenance["search"]["records"]) == 5
    watched = [*training.holdout.columns, *training.scores.monitored()]
    assert list(reference.bins) == watched
    assert reference.bins["rating"].categories == ("Poor", "Average", "Good", "Excellent")


def test_of_loans_with_dates_the_latest_are_held_out(training):
    lending = get_portfolio("lending")
    trees = Recipe(parameters=dict(n_estimators=60, max_depth=3, learning_rate=0.1))
    in_time = fit_recipe(lending, trees, *split(load(lending, None)))
    since = in_time.bundle.provenance["data"]["split"]["since"]
    assert in_time.train.dates.max() < np.datetime64(since) == in_time.holdout.dates.min()
    assert since in in_time.bundle.card["figures"]["on"]
    assert NO_OUT_OF_TIME_TEST not in in_time.bundle.card["limits"]
    # gmsc has a sentence of its own about it
    assert NO_OUT_OF_TIME_TEST not in training.bundle.card["limits"]
