"""Calibrators against scikit-learn, on few rows, and on applicants drawn later; blends that are
offered noise, and models that are too costly.
"""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from credit_default.core.numeric import pd_of
from credit_default.training.blending import choose_blend
from credit_default.training.calibration import fit_calibrator, matching_intercept


@pytest.fixture(scope="module")
def margins():
    rng = np.random.default_rng(0)
    m = rng.normal(-1.5, 1.4, 20_000)
    return m, (rng.random(len(m)) < pd_of(0.7 * m - 0.9)).astype(int)


def test_platt_is_a_logistic_regression(margins):
    m, y = margins
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(m[:, None], y)
    assert fit_calibrator(m, y, "platt").low_slope == pytest.approx(theirs.coef_[0, 0], abs=1e-4)


@pytest.mark.parametrize("method", ["prior", "platt", "beta", "isotonic"])
def test_the_mean_pd_is_the_default_rate(margins, method):
    m, y = margins
    assert fit_calibrator(m, y, method).pd(m).mean() == pytest.approx(y.mean(), abs=1e-6)


def test_isotonic_on_few_rows_with_many_equal_margins():
    for n in range(2, 200):
        few = np.random.default_rng(n)
        m, outcome = few.integers(0, 9, n * 20) / 2.0, few.random(n * 20) < 0.3
        mean = fit_calibrator(m, outcome, "isotonic").pd(m).mean()
        assert mean == pytest.approx(outcome.mean(), abs=1e-6)


def test_what_cannot_be_calibrated_is_refused(margins):
    m, y = margins
    with pytest.raises(ValueError, match="does not rise"):
        fit_calibrator(np.where(y == 1, -1.0, 1.0), y, "platt")
    with pytest.raises(ValueError, match="both outcomes"):
        fit_calibrator(m, 0 * y, "beta")
    with pytest.raises(ValueError, match="must be finite"):
        fit_calibrator(np.append(m[1:], np.nan), y, "platt")


def test_the_intercept_is_found_to_the_last_bit(margins):
    m, y = margins
    shift = matching_intercept(m, y)
    below, above = (np.nextafter(shift, end) for end in (-np.inf, np.inf))
    assert (
        pd_of(m + below).mean() - y.mean() <= 1e-15 and pd_of(m + above).mean() >= y.mean() - 1e-15
    )


def test_noise_gains_nothing_and_is_not_taken(margins):
    m, y = margins
    rng = np.random.default_rng(1)
    found = choose_blend(
        {"trees": m, "noise": rng.normal(size=len(y))},
        {"trees": 1, "noise": 1},
        y,
        rng.integers(3, size=len(y)),
    )
    assert list(found.shares) == ["trees"]


def test_what_is_cheap_is_not_crowded_out(margins):
    m, y = margins
    rng = np.random.default_rng(1)
    costs = {"xgboost": 10, "xgboost on raw fields": 10, "network": 1}
    several = {name: m + rng.normal(0, 0.5, len(m)) for name in costs}
    blend = choose_blend(several, costs, y, rng.integers(3, size=len(y)), budget=11)
    assert all(sum(costs[n] for n in names) <= 11 for names in blend.path.members)
    assert sum(blend.shares.values()) == pytest.approx(1, abs=1e-12)
    assert all(weight > 0 for weight in blend.shares.values())
