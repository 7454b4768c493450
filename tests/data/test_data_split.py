"""Splits and folds: no applicant on two sides, whatever the order of the rows."""

import numpy as np
import pandas as pd
import pytest

from credit_default.data.csv_text import DataError
from credit_default.data.dataset import applicant_groups, from_table, row_bytes
from credit_default.data.loading import load
from credit_default.data.sources import Source, read_table
from credit_default.data.split import folds, split
from credit_default.data.synthetic import save_sample, synthesize
from credit_default.portfolio.catalogue import get_portfolio

GMSC, LENDING = get_portfolio("gmsc"), get_portfolio("lending")


def applicants(dataset):
    return set(row_bytes(dataset.columns).tolist())


def sha256(dataset):
    return dataset.provenance["sha256"]


@pytest.fixture(scope="module")
def table():
    frame, y, _ = synthesize(GMSC)
    return pd.concat([pd.Series(y, name=GMSC.target), frame], axis=1)


@pytest.fixture(scope="module")
def repeated(table):
    return from_table(GMSC, pd.concat([table, table.head(3000)]))


@pytest.fixture(scope="module")
def dated():
    return load(LENDING, Source("synthetic", None, "synthetic sample"))


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    return read_table(save_sample(LENDING, tmp_path_factory.mktemp("lending")), LENDING)


def test_equal_applicants_are_on_one_side(table, repeated):
    train, holdout = split(repeated, 0.2, seed=3)
    assert not applicants(train) & applicants(holdout)
    assert len(train) + len(holdout) == 23_000
    assert abs(len(holdout) / 23_000 - 0.2) < 0.001
    assert abs(holdout.y.mean() - repeated.y.mean()) < 0.001
    once = from_table(GMSC, table).provenance["duplicates"]
    assert repeated.provenance["duplicates"] == 3000 + once


def test_the_order_of_the_rows_decides_nothing_and_the_seed_does(table):
    dataset = from_table(GMSC, table)
    shuffled = from_table(GMSC, table.sample(frac=1, random_state=1))
    assert sha256(split(shuffled, seed=3)[1]) == sha256(split(dataset, seed=3)[1])
    assert sha256(split(dataset, seed=4)[1]) != sha256(split(dataset, seed=3)[1])


def test_a_split_keeps_the_true_pd():
    sample = load(GMSC, Source("synthetic", None, "synthetic sample"))
    train, holdout = split(sample)
    assert (len(train.true_pd), len(holdout.true_pd)) == (len(train), len(holdout))


def test_loans_with_dates_are_split_in_time(dated, joined):
    early, late = split(dated)
    assert early.dates.max() < late.dates.min()
    again = from_table(LENDING, joined)
    assert (sha256(again), again.provenance["dates"]) == (sha256(dated), dated.provenance["dates"])
    assert sha256(split(again)[1]) == sha256(late)


def test_an_equal_of_a_late_loan_is_late_too(joined):
    later = joined.head(30).assign(disbursal_date="2099-01-01")
    twice = from_table(LENDING, pd.concat([joined, later], ignore_index=True))
    before, after = split(twice)
    assert not applicants(before) & applicants(after)
    assert before.dates.max() < np.datetime64(after.provenance["split"]["since"])


def test_dates_that_cannot_be_read(joined):
    odd = joined.assign(
        disbursal_date=np.where(np.arange(len(joined)) < 5, "31/12/2019", joined.disbursal_date),
        loan_purpose=joined.loan_purpose.replace("Personal", "Personaal"),
    )
    dataset = from_table(LENDING, odd)
    assert dataset.provenance["refused"] == {"disbursal_date": 5}
    assert dataset.provenance["respelt"]["loan_purpose"] > 0
    assert sha256(from_table(LENDING, odd.iloc[5:])) == sha256(from_table(LENDING, joined.iloc[5:]))
    with pytest.raises(DataError, match="disbursal_date must be a date such as"):
        from_table(LENDING, odd.assign(disbursal_date="31/12/2019"))
    with pytest.raises(DataError, match="all loans have the same disbursal_date"):
        split(from_table(LENDING, odd.assign(disbursal_date="2019-12-31")))
    with pytest.raises(DataError, match="missing column: disbursal_date"):
        from_table(LENDING, joined.drop(columns="disbursal_date"))
    today = joined.drop(columns=["disbursal_date", "default"])
    assert from_table(LENDING, today, labelled=False).dates is None


def test_folds_keep_equal_applicants_together_in_any_order(repeated):
    pairs = folds(repeated.columns, repeated.y)
    assert np.array_equal(
        np.sort(np.concatenate([judge for _, judge in pairs])), np.arange(len(repeated))
    )
    groups = applicant_groups(repeated.columns)
    assert all(not set(groups[fit]) & set(groups[judge]) for fit, judge in pairs)
    order = np.random.default_rng(0).permutation(len(repeated))
    columns = {name: values[order] for name, values in repeated.columns.items()}
    moved = folds(columns, repeated.y[order])
    for (_, judge), (_, other) in zip(pairs, moved):
        assert np.array_equal(np.sort(order[other]), judge)
    with pytest.raises(DataError, match="5 folds need at least 5 defaults"):
        folds(repeated.columns, np.arange(len(repeated)) < 4)


def test_a_coarse_table_is_split_by_rows_whatever_their_order():
    "Flags, bins and WoE codes have few different rows: equal rows are different people there."
    rng = np.random.default_rng(2)
    columns = {name: rng.integers(0, 2, 2_000).astype(float) for name in ("a", "b", "c")}
    y = (rng.random(2_000) < 0.1 + 0.2 * columns["a"]).astype(int)
    made = folds(columns, y)
    for fit, judged in made:
        assert len(judged) in range(395, 406) and not set(fit) & set(judged)
        assert abs(y[judged].mean() - y.mean()) < 0.01
    order = rng.permutation(2_000)
    again = folds({k: v[order] for k, v in columns.items()}, y[order])

    def content(rows, columns, y):
        return sorted(zip(*(v[rows] for v in columns.values()), y[rows]))

    assert [content(j, columns, y) for _, j in made] == [
        content(order[j], columns, y) for _, j in again
    ]
