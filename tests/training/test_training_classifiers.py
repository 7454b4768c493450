"""The classifiers that the search may choose, by scikit-learn's own checks and our promises."""

import numpy as np
import pytest
from sklearn.utils.estimator_checks import check_estimator

from credit_default.training.additive.classifier import AdditiveClassifier
from credit_default.training.estimators import ScaledLogistic
from credit_default.training.points.classifier import ScorecardClassifier
from credit_default.training.score_network import ScoreNetwork


@pytest.mark.parametrize(
    "estimator",
    [
        ScaledLogistic(),
        ScoreNetwork(epochs=100, nets=1, learning_rate=0.02),
        AdditiveClassifier(bags=2, pairs=1),
        ScorecardClassifier(),
    ],
    ids=lambda e: type(e).__name__,
)
def test_scikit_learns_checks_pass(estimator):
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    assert [r["check_name"] for r in results if r["status"] == "failed"] == []


def test_one_class_is_refused(sample):
    with pytest.raises(ValueError, match="one class"):
        ScaledLogistic().fit(sample.X[:9], np.zeros(9))


def test_directions_that_no_column_follows_leave_the_default_rate(sample):
    directions = -np.sign(ScaledLogistic(sample.log).fit(sample.X, sample.y).coef_)
    late = sample.X[:, np.argmin(directions)][:, None]
    model = ScaledLogistic(directions=[-1]).fit(late, sample.y)
    assert (model.coef_ == 0).all()
    assert model.predict_proba(late)[:, 1].mean() == pytest.approx(sample.y.mean())


def test_a_network_is_the_same_when_fitted_twice(sample):
    twice = [
        ScoreNetwork(epochs=15, nets=3).fit(sample.X, sample.y).decision_function(sample.X_test)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*twice)


def test_weights_inflate_the_pd_of_a_network(sample):
    network = ScoreNetwork(epochs=5, positive_weight=10).fit(sample.X, sample.y)
    assert network.predict_proba(sample.X_test)[:, 1].mean() > 2 * sample.y_test.mean()
