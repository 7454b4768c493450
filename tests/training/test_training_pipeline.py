"""Pipelines give the same bits alone and beside others, with one thread and with several."""

import numpy as np
import pytest
from sklearn.base import clone

from credit_default.data.synthetic import synthesize
from credit_default.training.pipeline import fit_together, make_pipeline, margin
from credit_default.training.recipe import Recipe

SMOTE = Recipe(
    imputation="mice",
    sampler="smote",
    monotone=True,
    parameters=dict(n_estimators=60, max_depth=3, ratio=0.3),
)
OTHERS = (
    Recipe(candidate="logistic", imputation="mice"),
    Recipe(candidate="forest", parameters=dict(n_estimators=20)),
    Recipe(candidate="network", imputation="median"),
)


@pytest.fixture(scope="module")
def fitted(gmsc, sample):
    return make_pipeline(gmsc, SMOTE).fit(sample.train, sample.y)


@pytest.mark.parametrize("threads", [3, None])
def test_together_or_alone(gmsc, sample, fitted, threads):
    several = [fitted, *(make_pipeline(gmsc, r) for r in OTHERS)]
    together = fit_together([clone(p) for p in several], sample.train, sample.y, threads=threads)
    for beside, pipeline in zip(together, several, strict=True):
        alone = clone(pipeline).fit(sample.train, sample.y)
        np.testing.assert_array_equal(margin(beside, sample.test), margin(alone, sample.test))


def test_a_second_thread_changes_nothing(sample, fitted):
    two = clone(fitted).set_params(estimator__n_jobs=2).fit(sample.train, sample.y)
    np.testing.assert_array_equal(margin(two, sample.test), margin(fitted, sample.test))


def test_what_trees_refuse_comes_out_of_the_thread(gmsc, sample):
    impossible = make_pipeline(gmsc, Recipe(parameters=dict(max_depth=-3)))
    with pytest.raises(ValueError, match="max_depth"):
        fit_together([impossible], sample.train, sample.y)


def test_weights_inflate_the_pd(gmsc):
    (train, y, _), (test, y_test, _) = (synthesize(gmsc, 6000, seed=seed) for seed in (1, 2))
    shape = dict(positive_weight=10, n_estimators=50)
    weighted = make_pipeline(gmsc, Recipe(sampler="weight", parameters=shape)).fit(train, y)
    assert weighted.predict_proba(test)[:, 1].mean() > 2 * y_test.mean()
