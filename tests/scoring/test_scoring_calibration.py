"""Calibrators: they rise everywhere, give one applicant and many the same bits, and come back from
JSON as they were.
"""

import json

import numpy as np
import pytest

from credit_default.scoring.calibration import Calibrator

CURVES = dict(
    none=Calibrator(),
    prior=Calibrator("prior", intercept=-float(np.log(20))),
    platt=Calibrator("platt", 0.7, 0.7, -2.5),
    beta=Calibrator("beta", 0.9, 0.3, -2.0),
    isotonic=Calibrator("isotonic", knots=(-2.0, 0.0, 2.0, 3.0), values=(-5.0, -3.5, -3.0, -1.0)),
)
every_curve = pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)


@every_curve
def test_a_curve_rises_and_no_pd_is_0_or_1(curve):
    far = np.array([-1e9, -50, -3.0, 0, 1e-9, 2.0, 2.5, 3.0, 50, 1e9])
    assert (np.diff(curve.log_odds(far)) >= 0).all()
    assert (np.diff(curve.log_odds(np.linspace(-5, 5, 200))) > 0).all()
    assert curve.pd(far).min() > 0 and curve.pd(far).max() < 1


@every_curve
def test_one_applicant_and_many_get_the_same_bits(curve):
    many = np.random.default_rng(0).normal(size=999) * 4
    alone = [curve.log_odds(many[i : i + 1])[0] for i in range(999)]
    np.testing.assert_array_equal(np.array(alone), curve.log_odds(many))
    assert float(curve.log_odds(many[7])) == curve.log_odds(many)[7]  # and a bare number


@every_curve
def test_a_curve_comes_back_from_json(curve):
    assert Calibrator.from_dict(json.loads(json.dumps(curve.to_dict()))) == curve


def test_a_damaged_file_is_refused():
    with pytest.raises(ValueError, match="as many"):
        Calibrator.from_dict(CURVES["isotonic"].to_dict() | {"values": [0.0]})
    with pytest.raises(ValueError, match="must be finite"):
        Calibrator.from_dict(CURVES["platt"].to_dict() | {"intercept": float("inf")})
