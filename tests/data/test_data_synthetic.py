"""The synthetic samples: rows that the API would take, a known PD, gaps and codes as in the
files.
"""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from credit_default.data.dataset import hash_table
from credit_default.data.synthetic import synthesize, true_pd
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.columns import find_refused, parse_table


@pytest.mark.parametrize("portfolio", SHIPPED.values(), ids=SHIPPED)
def test_each_row_is_one_that_the_api_would_take(portfolio):
    frame, y, pds = synthesize(portfolio, 2000, seed=5)
    columns = parse_table(portfolio, frame)
    assert np.array_equal(true_pd(portfolio, columns), pds)
    lenders = [f.name for f in portfolio.fields if f.role == "lender"]
    assert find_refused(portfolio, columns, keep=lenders) == []
    assert hash_table(*synthesize(portfolio, 2000, seed=5)[:2]) == hash_table(frame, y)
    assert hash_table(*synthesize(portfolio, 2000, seed=6)[:2]) != hash_table(frame, y)


@pytest.mark.parametrize(
    ("name", "default_rate", "auc"),
    [
        ("gmsc", 0.067, 0.86),
        ("personal", 0.218, 0.88),
        ("mortgage", 0.246, 0.80),
        ("lending", 0.086, 0.91),
    ],
)
def test_default_rate_and_auc_of_the_true_pd(name, default_rate, auc):
    _, y, pds = synthesize(SHIPPED[name], 40_000)
    assert abs(y.mean() - default_rate) < 0.006
    assert abs(roc_auc_score(y, pds) - auc) < 0.015


def test_gaps_and_codes_of_gmsc():
    frame = synthesize(SHIPPED["gmsc"])[0]
    late = [c for c in frame if "Past" in c or "Late" in c]
    codes = frame[late].isin([96, 98])
    assert codes.any(axis=1).equals(codes.all(axis=1))  # all three columns at once
    assert 20 < codes.any(axis=1).sum() < 60
    income = frame.MonthlyIncome
    assert income[frame.NumberOfDependents.isna()].isna().all()
    shares = [income.isna().mean(), frame.NumberOfDependents.isna().mean(), (income == 0).mean()]
    np.testing.assert_allclose(shares, [0.199, 0.0267, 0.0107], atol=0.01)


def test_leaks_of_mortgage():
    frame, y, _ = synthesize(SHIPPED["mortgage"], 40_000)
    assert frame.LTV.isna().equals(frame.property_value.isna())
    assert frame.age.isna().any() and y[frame.age.isna()].all()
