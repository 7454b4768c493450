"""On the real files: each row is accepted, the synthetic sample resembles them, the derived
features earn their place.
"""

import numpy as np
import pytest

from credit_default.data.loading import load
from credit_default.data.sources import find
from credit_default.data.split import folds
from credit_default.data.synthetic import synthesize
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.columns import find_refused
from credit_default.portfolio.values import implausible_mask
from credit_default.scoring.features import FeatureMap

FILES = [("gmsc", False), ("gmsc", True), ("personal", False), ("mortgage", False)]


def lenders(portfolio):
    return tuple(f.name for f in portfolio.fields if f.role == "lender")


def usable(field, values):
    "The numbers that are neither missing nor a code nor implausible."
    return values[
        values.notna() & ~values.isin(field.codes) & ~implausible_mask(field, values.to_numpy())
    ]


def largest_gap(a, b):
    "Kolmogorov-Smirnov distance of two samples."
    at = np.union1d(a, b)
    return max(
        abs(
            np.searchsorted(np.sort(a), at, side="right") / len(a)
            - np.searchsorted(np.sort(b), at, side="right") / len(b)
        )
    )


@pytest.mark.parametrize(("name", "unlabelled"), FILES)
def test_every_row_is_accepted(real_data, name, unlabelled):
    real_data(name)
    portfolio = SHIPPED[name]
    source = find(portfolio, unlabelled=unlabelled)
    assert source.kind == "environment"
    dataset = load(portfolio, source, labelled=not unlabelled, keep=lenders(portfolio), tolerated=0)
    assert dataset.provenance["rows_refused"] == 0 and not dataset.provenance["columns_absent"]
    assert find_refused(portfolio, dataset.columns, lenders(portfolio)) == []
    assert "SYNTHETIC" not in dataset.title


@pytest.mark.parametrize(
    "name", [name for name, portfolio in SHIPPED.items() if portfolio.file]
)  # lending is written from a description
def test_the_sample_looks_like_the_file(real_data, name):
    real_data(name)
    portfolio = SHIPPED[name]
    real = load(portfolio)
    drawn, outcome, _ = synthesize(portfolio)
    assert outcome.mean() == pytest.approx(real.y.mean(), abs=0.01)
    for field in portfolio.fields:
        a, b = real.frame[field.name], drawn[field.name]
        assert b.isna().mean() == pytest.approx(a.isna().mean(), abs=0.01), field.name
        if field.numeric:
            assert largest_gap(usable(field, a), usable(field, b)) < 0.08, field.name
            assert b.isin(field.codes).mean() == pytest.approx(
                a.isin(field.codes).mean(), abs=0.001
            ), field.name
        else:
            assert (
                a.value_counts(normalize=True) - b.value_counts(normalize=True)
            ).abs().max() < 0.02, field.name


def test_what_the_definition_of_personal_says_of_the_leak(real_data):
    real_data("personal")
    real = load(SHIPPED["personal"])
    short = (
        real.frame.loan_percent_income - real.frame.loan_amnt / real.frame.person_income < -0.0051
    )
    assert 0.01 < short.mean() < 0.016 and real.y[short].all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "depth", "trees", "margin"), [("gmsc", 4, 200, 0.0), ("personal", 6, 300, -0.01)]
)
def test_features_against_lightgbm(real_data, name, depth, trees, margin):
    """Paired over the same folds: LightGBM as it comes on all raw columns but the lender's, XGBoost
    on the derived features.
    """
    import lightgbm
    import xgboost
    from sklearn.metrics import roc_auc_score

    real_data(name)
    portfolio, real = SHIPPED[name], load(SHIPPED[name])
    raw = real.frame.drop(columns=list(lenders(portfolio)))
    raw = raw.astype({c: "category" for c in raw.select_dtypes("object")})
    features = FeatureMap(portfolio)
    clean = features.clean(real.columns)
    derived = features.matrix(clean, clean.values)
    settings = dict(
        max_depth=depth,
        eta=0.06,
        objective="binary:logistic",
        subsample=0.8,
        colsample_bytree=0.8,
        min_child_weight=5,
        monotone_constraints=tuple(f.direction for f in features.features),
        nthread=2,
        seed=0,
    )
    difference = []
    for fit, judge in folds(real.columns, real.y, 3):
        theirs = (
            lightgbm.LGBMClassifier(verbose=-1, n_jobs=2)
            .fit(raw.iloc[fit], real.y[fit])
            .predict_proba(raw.iloc[judge])[:, 1]
        )
        booster = xgboost.train(settings, xgboost.DMatrix(derived[fit], real.y[fit]), trees)
        ours = booster.predict(xgboost.DMatrix(derived[judge]))
        difference.append(roc_auc_score(real.y[judge], ours) - roc_auc_score(real.y[judge], theirs))
    assert np.mean(difference) > margin, difference
