"""Where loans have dates, each fold is judged by models that have seen earlier loans only."""

import numpy as np
import pytest
from censored import CARDS, censored_book
from sklearn.metrics import roc_auc_score

from credit_default.data.dataset import from_table
from credit_default.data.split import split
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.scoring.bundle_files import hash_bundle
from credit_default.training.evidence import evidence_folds
from credit_default.training.folds import Folds, TimeFolds, fold_plan
from credit_default.training.recipe import Recipe
from credit_default.training.reproduction import train_again
from credit_default.training.training import fit_recipe

TREES = Recipe(parameters=dict(n_estimators=40, max_depth=3))


@pytest.fixture(scope="module")
def sides():
    return split(from_table(CARDS, censored_book(8000)[0]))


@pytest.fixture(scope="module")
def training(sides):
    return fit_recipe(CARDS, TREES, *sides)


def test_each_fold_is_later_than_what_it_is_fitted_on(training, sides):
    folds, train = training.fitted.choice.folds, sides[0]
    assert folds.in_time and len(folds) == 5
    for fitted, judged in folds.splits:
        assert train.dates[fitted].max() < train.dates[judged].min()
    first = np.flatnonzero(folds.ids < 0)
    assert train.dates[first].max() < train.dates[folds.judged].min()
    assert len(first) == pytest.approx(len(train) / 6, rel=0.1)
    margins = training.fitted.choice.margins
    assert len(margins) == len(folds.judged) == len(train) - len(first)
    assert np.isfinite(margins).all()
    by_fold = [
        roc_auc_score(train.y[rows], margins[np.isin(folds.judged, rows)])
        for _, rows in folds.splits
    ]
    assert by_fold == pytest.approx([folds.auc(i, TREES) for i in range(5)])


def test_a_model_is_trained_again_from_its_record(training, sides):
    bundle = training.bundle
    assert bundle.provenance["folds_in_time"] is True
    dataset = from_table(CARDS, censored_book(8000)[0])
    assert hash_bundle(train_again(bundle, dataset).bundle) == hash_bundle(bundle)
    # one of a version whose folds were stratified
    older = bundle.provenance | dict(folds_in_time=False)
    bundle.provenance, newer = older, bundle.provenance
    again = train_again(bundle, dataset)
    bundle.provenance = newer
    assert not again.fitted.choice.folds.in_time
    assert len(again.fitted.choice.margins) == len(again.train)


def test_studies_of_fewer_rows_keep_the_order(training):
    fewer = evidence_folds(training, most=3000)
    assert len(fewer.y) == 3000 and fewer.in_time
    for fitted, judged in fewer.splits:
        assert fewer.dates[fitted].max() < fewer.dates[judged].min()


def test_without_dates_folds_are_as_before(sides):
    train = sides[0]
    assert fold_plan(3, None) == 3 and isinstance(fold_plan(3, train.dates), TimeFolds)
    plain = Folds(CARDS, train.frame, train.y, 3)
    assert not plain.in_time and plain.judged.tolist() == list(range(len(train)))
    assert (
        plain.fingerprint
        != Folds(CARDS, train.frame, train.y, TimeFolds(3, train.dates)).fingerprint
    )
    few_days = np.repeat(train.dates[:2], len(train) // 2 + 1)[: len(train)]
    assert not Folds(CARDS, train.frame, train.y, TimeFolds(3, few_days)).in_time


def test_a_shipped_portfolio_with_dates(sides):
    from credit_default.data.loading import load

    train, _ = split(load(get_portfolio("lending")))
    folds = Folds(train.portfolio, train.frame, train.y, TimeFolds(5, train.dates))
    assert folds.in_time and len(folds) == 5
