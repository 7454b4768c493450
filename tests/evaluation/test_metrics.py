"""Metrics against their definitions, written out or computed by scikit-learn."""

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from credit_default.core.numeric import pd_of
from credit_default.evaluation.calibration_errors import (
    brier_decomposition,
    calibration_intercept,
    calibration_slope,
    clipped_log_odds,
    hosmer_lemeshow,
)
from credit_default.evaluation.discrimination import auc, auc_difference, auc_interval
from credit_default.evaluation.intervals import jeffreys_interval
from credit_default.evaluation.metrics import compute_metrics, confusion_matrix

RNG = np.random.default_rng(11)
RISK = RNG.normal(size=2000)
Y = (RNG.random(2000) < pd_of(-2 + 1.25 * RISK)).astype(int)
PD = pd_of(-2 + 1.9 * (0.9 * RISK + 0.35 * RNG.normal(size=2000)))


def test_delong_by_definition():
    "The variances of the pairwise comparisons, written out; with and without ties."
    for p in (PD, np.round(PD, 2)):
        bad, good = p[Y == 1], p[Y == 0]
        pairs = (bad[:, None] > good) + 0.5 * (bad[:, None] == good)
        variance = pairs.mean(1).var(ddof=1) / len(bad) + pairs.mean(0).var(ddof=1) / len(good)
        found = auc_interval(Y, p)
        assert found.se**2 == pytest.approx(variance, rel=1e-9)
        assert found.auc == pytest.approx(pairs.mean(), rel=1e-12)
        assert found.auc == pytest.approx(auc(Y, p), rel=1e-12)


def test_a_difference_turns_its_sign_with_the_models():
    one, other = auc_difference(Y, PD, pd_of(RISK)), auc_difference(Y, pd_of(RISK), PD)
    assert one.difference == pytest.approx(-other.difference, abs=1e-15)
    assert (one.low, one.p_value) == pytest.approx((-other.high, other.p_value), rel=1e-9)
    assert auc_difference(Y, PD, PD).p_value == 1


def test_the_slope_is_that_of_a_logistic_regression():
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(clipped_log_odds(PD)[:, None], Y)
    assert calibration_slope(Y, PD) == pytest.approx(model.coef_[0, 0], abs=1e-5)


def test_the_intercept_of_one_pd_for_all_is_a_difference_of_log_odds():
    expected = np.log(Y.mean() / (1 - Y.mean())) - np.log(0.02 / 0.98)
    assert calibration_intercept(Y, np.full(len(Y), 0.02)) == pytest.approx(expected, abs=1e-9)


def test_certain_pds_do_not_fail():
    certain = np.where(np.arange(300) % 2, 0.0, 1.0)
    assert np.isfinite(calibration_intercept(Y[:300], certain))
    assert abs(calibration_slope(Y[:300], certain)) < 0.1


def test_jeffreys_interval_at_the_ends():
    assert jeffreys_interval(0, 50)[0] == 0
    assert jeffreys_interval(50, 50)[1] == 1


@pytest.mark.parametrize(
    ("record", "keys"),
    [
        (
            compute_metrics(Y, PD),
            "n default_rate mean_pd auc gini ks pr_auc brier log_loss ece calibration_slope "
            "calibration_intercept",
        ),
        (auc_interval(Y, PD), "auc se low high"),
        (auc_difference(Y, PD, pd_of(RISK)), "difference se low high p_value"),
        (
            brier_decomposition(Y, PD),
            "brier reliability resolution uncertainty within_groups",
        ),
        (hosmer_lemeshow(Y, PD), "statistic degrees_of_freedom p_value"),
        (
            confusion_matrix(Y, PD, 0.1),
            "cut_off true_positive false_positive false_negative true_negative approval_rate "
            "bad_rate precision tpr fpr accuracy",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_records_are_frozen_and_keep_the_keys_of_reports_and_bundles(record, keys):
    assert list(record.to_dict()) == keys.split()
    assert all(type(v) in (int, float) for v in record.to_dict().values())
    assert json.loads(json.dumps(record.to_dict())) == record.to_dict()
    with pytest.raises(FrozenInstanceError):
        setattr(record, keys.split()[0], 0)
