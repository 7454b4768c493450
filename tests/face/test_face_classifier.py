"""The scikit-learn estimator, by scikit-learn's own checks and by ours on named fields."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import credit_default as cd

# The checks give arrays of numbers without names; what the classifier needs is a table with the
# portfolio's named fields, and it refuses anything else before it looks at the values. What each
# check is about is tested below with such a table, or said here.
UNNAMED = "the check gives an array; fields have names here"
TABLES = {
    "check_fit_score_takes_y": "cross-validation below",
    "check_estimators_overwrite_params": "parameters below",
    "check_dont_overwrite_parameters": "parameters below",
    "check_estimators_fit_returns_self": "fit below",
    "check_readonly_memmap_input": "the table is never written to: see `unchanged` below",
    "check_n_features_in_after_fitting": "columns are found by name, so their number may differ",
    "check_n_features_in": "fit below",
    "check_positive_only_tag_during_fit": "a field's hard range says which sign it may have",
    "check_estimators_dtypes": "each field has one kind, and cells are read as that",
    "check_dtype_object": "each field has one kind, and cells are read as that",
    "check_estimators_empty_data_messages": "too few rows below",
    "check_fit2d_1sample": "too few rows below",
    "check_fit2d_1feature": "a portfolio says how many fields there are",
    "check_fit2d_predict1d": "what is no table is refused below",
    "check_pipeline_consistency": "the pipeline below",
    "check_estimator_sparse_tag": "a sparse matrix has no names and is refused as no table",
    "check_estimator_sparse_array": "a sparse matrix has no names and is refused as no table",
    "check_estimator_sparse_matrix": "a sparse matrix has no names and is refused as no table",
    "check_estimators_pickle": "pickling below",
    "check_f_contiguous_array_estimator": "a table has columns, so the order in memory is its own",
    "check_classifier_data_not_an_array": "what is no table is refused below",
    "check_classifiers_one_label": "one label below",
    "check_classifiers_classes": "the labels are those that the portfolio names, below",
    "check_classifiers_train": "fit below",
    "check_supervised_y_2d": "an outcome of another shape is refused, below",
    "check_methods_sample_order_invariance": "order and subsets below",
    "check_methods_subset_invariance": "order and subsets below",
    "check_dict_unchanged": "parameters below",
    "check_fit_idempotent": "fit below",
    "check_fit_check_is_fitted": "not fitted below",
}
EXPECTED = {check: f"{UNNAMED}: {where}" for check, where in TABLES.items()}


@pytest.fixture(scope="module", name="X")
def features(loans):
    return loans.frame.head(2000)


@pytest.fixture(scope="module")
def y(loans):
    return loans.y[:2000]


@pytest.fixture(scope="module")
def unfitted(loans):
    return cd.CreditDefaultClassifier(loans.portfolio, trials=1)


@pytest.fixture(scope="module")
def fitted(unfitted, X, y):
    return clone(unfitted).fit(X, y)


def test_the_checks_of_scikit_learn(unfitted):
    results = check_estimator(
        unfitted, expected_failed_checks=EXPECTED, on_skip=None, on_fail="raise"
    )
    assert sum(r["status"] == "passed" for r in results) > 15


def test_no_failure_is_expected_that_does_not_happen(unfitted):
    results = check_estimator(unfitted, on_skip=None, on_fail=None)
    failed = {r["check_name"] for r in results if r["status"] == "failed"}
    assert failed == set(EXPECTED)


def test_fit(unfitted, fitted, X, y):
    estimator = clone(unfitted)
    before = X.copy()
    assert estimator.fit(X, y) is estimator
    pd.testing.assert_frame_equal(X, before)  # unchanged
    assert estimator.n_features_in_ == X.shape[1]
    assert estimator.feature_names_in_.tolist() == list(X)
    assert estimator.classes_.tolist() == [0, 1]
    assert np.array_equal(estimator.predict_proba(X), fitted.predict_proba(X))  # idempotent
    assert fitted.score(X, y) > 0.8


def test_parameters(unfitted, X, y):
    estimator = clone(unfitted).set_params(seed=7, preset="quick")
    given = estimator.get_params()
    assert given["seed"] == 7 and given["portfolio"] == unfitted.portfolio
    state = dict(vars(estimator.fit(X, y)))
    estimator.predict_proba(X)
    assert estimator.get_params() == given and vars(estimator) == state


def test_probabilities(fitted, X):
    p = fitted.predict_proba(X)
    assert p.shape == (len(X), 2) and np.allclose(p.sum(axis=1), 1)
    assert np.array_equal(p[:, 1], fitted.model_.predict(X).probability_default)
    declined = fitted.model_.predict(X).decision == "Declined"
    assert np.array_equal(fitted.predict(X) == 1, declined)


def test_set_output(fitted, X):
    estimator = pickle.loads(pickle.dumps(fitted)).set_output(transform="pandas")
    table = estimator.predict_proba(X)
    assert list(table) == [0, 1] and table.index.equals(X.index)
    assert isinstance(estimator.set_output(transform="default").predict_proba(X), np.ndarray)
    with pytest.raises(ValueError, match="transform must be"):
        estimator.set_output(transform="polars")


def test_order_and_subsets(fitted, X):
    p = fitted.predict_proba(X)
    order = np.random.default_rng(0).permutation(len(X))
    assert np.array_equal(fitted.predict_proba(X.iloc[order]), p[order])
    assert np.array_equal(fitted.predict_proba(X.iloc[:10]), p[:10])


def test_pickling(fitted, X):
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X))


def test_other_labels(unfitted, X, y):
    words = np.where(y == 1, "Yes", "No")
    estimator = clone(unfitted).fit(X, words)
    assert estimator.classes_.tolist() == ["No", "Yes"]
    assert set(estimator.predict(X)) <= {"No", "Yes"}
    swapped = clone(unfitted).set_params(portfolio=_swapped(unfitted.portfolio))
    swapped.fit(X, np.where(y == 1, "Bad", "Good"))
    assert swapped.classes_.tolist() == ["Bad", "Good"]
    assert np.array_equal(swapped.predict_proba(X)[:, 0], estimator.predict_proba(X)[:, 1])


def _swapped(portfolio):
    return portfolio.model_copy(update=dict(positive=("Bad",), negative=("Good",)))


def test_not_fitted(unfitted, X):
    for ask in (unfitted.predict, unfitted.predict_proba):
        with pytest.raises(NotFittedError):
            ask(X)


def test_what_is_refused(unfitted, X, y):
    estimator = clone(unfitted)
    for outcome, reason in (
        (np.zeros(len(y)), "nothing to learn"),  # one label
        (np.linspace(0, 1, len(y)), "Unknown label type|Only binary"),
        (np.arange(len(y)) % 3, "Only binary"),
        (np.where(y == 1, 1.0, np.nan), "NaN"),
        (y[:5], "as many outcomes"),
        (y.reshape(-1, 1), "as many outcomes"),
        (None, "requires y"),
    ):
        with pytest.raises(ValueError, match=reason):
            estimator.fit(X, outcome)
    with pytest.raises(ValueError, match="too few"):
        estimator.fit(X.head(20), y[:20])
    with pytest.raises(ValueError, match="a table is needed"):
        estimator.fit(X.to_numpy(), y)


def test_an_infinite_value_refuses_its_row(fitted, X):
    odd = X.head(3).copy()
    odd.loc[1, "DebtRatio"] = np.inf
    with pytest.raises(cd.RefusedRowsError, match="row 1: DebtRatio"):
        fitted.predict_proba(odd)


def test_cross_validation_and_pipeline(loans, X, y):
    # trees are tried first, then a network, which learns from few rows too
    estimator = cd.CreditDefaultClassifier(loans.portfolio, trials=2)
    scores = cross_val_score(estimator, X, y, cv=2, scoring="roc_auc", error_score="raise")
    assert scores.min() > 0.7
    assert make_pipeline(clone(estimator)).fit(X, y).score(X, y) > 0.8
