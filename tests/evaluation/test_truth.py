"""Against the truth: on the synthetic sample each applicant's PD is known, so a PD can be wrong in
a way that outcomes never show.
"""

from dataclasses import replace

import numpy as np
import pytest

from credit_default.data.dataset import from_table
from credit_default.data.split import split
from credit_default.data.synthetic import synthesize
from credit_default.evaluation.discrimination import auc
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.training.recipe import Recipe
from credit_default.training.training import fit_recipe, train_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sample():
    "As many loans as the real file of the portfolio has."
    portfolio = get_portfolio("gmsc")
    frame, y, true_pd = synthesize(portfolio, 120_000, seed=1)
    dataset = replace(from_table(portfolio, frame.assign(**{portfolio.target: y})), true_pd=true_pd)
    assert (
        dataset.frame.age.to_numpy() == frame.age.to_numpy()
    ).all()  # no row was refused or moved: the PDs belong to them
    return portfolio, dataset


def test_calibrated_pds_are_near_the_truth(sample):
    portfolio, dataset = sample
    training = train_model(portfolio, dataset, trials=6, progress=False)
    found, truth = training.scores.probability_default, training.holdout.true_pd
    error = np.abs(found - truth).mean()
    print(
        f"mean |PD - true PD| {error:.4f}; mean PD {found.mean():.4f}, true {truth.mean():.4f}; "
        f"AUC {auc(training.holdout.y, found):.4f}, of the true PD "
        f"{auc(training.holdout.y, truth):.4f}; {training.fitted.choice.describe()}"
    )
    assert error <= 0.01
    assert abs(found.mean() / truth.mean() - 1) < 0.03


def test_smote_without_calibration_is_far_from_the_truth(sample):
    portfolio, dataset = sample
    train, holdout = split(dataset, seed=0)
    recipe = Recipe(
        imputation="mice",
        sampler="smote",
        parameters=dict(n_estimators=150, max_depth=4, learning_rate=0.06, ratio=1.0),
    )
    training = fit_recipe(portfolio, recipe, train, holdout)
    raw = 1 / (1 + np.exp(-training.fitted.margin(holdout.frame)))
    errors = (
        np.abs(raw - holdout.true_pd).mean(),
        np.abs(training.scores.probability_default - holdout.true_pd).mean(),
    )
    print(f"mean |PD - true PD| after SMOTE {errors[0]:.4f}, calibrated {errors[1]:.4f}")
    assert (
        errors[0] > 0.05 and errors[1] < errors[0] / 2
    )  # calibration mends the level; the ranking that SMOTE has blurred stays blurred
