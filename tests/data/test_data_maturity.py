"""Loans whose performance window has not passed are neither learned from nor judged on."""

import logging
from datetime import date

import numpy as np
import pydantic
import pytest
from censored import CARDS, LAST, MONTHS, censored_book
from dateutil.relativedelta import relativedelta
from scipy.stats import binom

from credit_default.core.errors import InvalidInput
from credit_default.data.csv_text import DataError
from credit_default.data.dataset import count_immature, from_table, summary
from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.evaluation.judging import LabelError, labelled_rows, seen_in_training
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.portfolio.definition import Portfolio
from credit_default.portfolio.performance_window import has_matured, judge_maturity
from credit_default.training.recipe import Recipe
from credit_default.training.training import fit_recipe

GMSC, LENDING = get_portfolio("gmsc"), get_portfolio("lending")
INCLUDING = CARDS.model_copy(update=dict(exclude_immature=False))


@pytest.fixture(scope="module")
def book():
    return censored_book()


def test_the_holdout_of_a_censored_book_defaults_as_often_as_is_true(book):
    table, truth = book
    train, holdout = split(from_table(CARDS, table))
    for part in (train, holdout):
        low, high = binom.interval(0.99, len(part), truth.mean())
        assert low <= part.y.sum() <= high
    included = split(from_table(INCLUDING, table))[1]
    assert included.y.sum() < binom.ppf(1e-9, len(included), truth.mean())  # what the window is for


def test_immature_loans_are_set_aside_and_counted(book, caplog):
    table, truth = book
    old = has_matured(table.opened.to_numpy("M8[D]"), MONTHS, LAST)
    with caplog.at_level(logging.INFO, "credit_default"):
        loans = from_table(CARDS, table)
    assert (len(loans), len(loans.immature)) == (old.sum(), (~old).sum())
    assert loans.y.tolist() == truth[old].astype(int).tolist()
    said = f"{(~old).sum():,} of 30,000 loans are immature"
    assert said in summary(loans) and said in caplog.text
    record = loans.provenance["maturity"]
    assert record == dict(
        as_of="2022-12-31",
        as_of_source="the latest date in opened",
        window_months=MONTHS,
        loans=30_000,
        immature=int((~old).sum()),
        left_out=int((~old).sum()),
    )
    for part in split(loans):
        assert part.provenance["maturity"] == record and count_immature(part) == 0


def test_a_lender_who_keeps_immature_loans_is_told(book):
    loans = from_table(INCLUDING, book[0])
    assert (len(loans), loans.immature, count_immature(loans)) == (30_000, None, 14_951)
    assert "They are included, because the portfolio says exclude_immature = false" in summary(
        loans
    )
    train, holdout = split(loans)
    assert count_immature(holdout) == len(holdout)
    assert count_immature(train) + count_immature(holdout) == 14_951


def test_the_day_up_to_which_outcomes_are_known_can_be_given(book):
    table, _ = book
    later = from_table(CARDS, table, as_of="2024-12-31")
    assert (len(later), later.immature) == (30_000, None)
    assert "had passed by 2024-12-31 (as given)" in summary(later)
    written = CARDS.model_copy(update=dict(as_of=date(2024, 6, 30)))
    some = from_table(written, table)
    assert "2024-06-30 (as the portfolio says)" in summary(some) and some.immature is not None
    assert len(from_table(written, table, as_of=date(2023, 1, 1))) < len(some)


def test_the_same_loans_are_mature_by_hand():
    opened = np.arange("2020-01-25", "2020-04-05", dtype="M8[D]")
    for months in (1, 12, 24):
        window = CARDS.model_copy(update=dict(performance_window_months=months))
        for day in (date(2021, 2, 28), date(2022, 3, 1), date(2022, 2, 27), date(2020, 2, 29)):
            by_hand = [d + relativedelta(months=months) <= day for d in opened.tolist()]
            assert judge_maturity(window, opened, day).mature.tolist() == by_hand


def test_without_a_window_or_dates_no_loan_is_left_out():
    loans = load(LENDING)
    assert (loans.immature, loans.provenance["maturity"]["immature"]) == (None, 0)
    assert "states no performance window" in summary(loans)
    assert "maturity" not in load(GMSC).provenance
    with pytest.raises(InvalidInput, match="gmsc names no date of the loans"):
        load(GMSC, as_of="2024-01-01")


def test_applicants_without_an_outcome_are_all_kept(book):
    table = book[0].drop(columns="bad")
    assert len(from_table(CARDS, table, labelled=False)) == len(table)


@pytest.mark.parametrize(
    "as_of, reason",
    [
        ("2020-12-31", "none of 30,000 loans is mature"),
        ("2021-01-03", r"\d+ of 30,000 loans are mature, with \d+ defaults among them"),
    ],
)
def test_too_few_mature_loans_are_an_error_with_its_remedy(book, as_of, reason):
    with pytest.raises(DataError, match=reason) as raised:
        from_table(CARDS, book[0], as_of=as_of)
    assert "24 months" in str(raised.value) and "exclude_immature = false" in str(raised.value)


def test_what_is_no_date_is_refused(book):
    with pytest.raises(InvalidInput, match="such as 2024-03-31"):
        from_table(CARDS, book[0], as_of="last year")
    keys = CARDS.to_json() | dict(date="", synthetic={}, as_of="2024-01-01")
    with pytest.raises(pydantic.ValidationError, match="`as_of` needs `date`"):
        Portfolio.model_validate(keys)
    assert Portfolio.model_validate(CARDS.to_json() | dict(as_of="2024-01-01")).as_of.year == 2024


def test_a_model_is_judged_on_mature_loans_only(book):
    table, truth = book
    recipe = Recipe(parameters=dict(n_estimators=20, max_depth=2))
    loans = from_table(CARDS, table)
    bundle = fit_recipe(CARDS, recipe, *split(loans)).bundle
    rows = labelled_rows(bundle, table)
    assert (len(rows.y), rows.left_out, rows.refused) == (len(loans), 14_951, 0)
    assert rows.immature.startswith("14,951 loans are immature and left out")
    assert seen_in_training(bundle, rows)
    later = labelled_rows(bundle, table, as_of="2024-12-31")
    assert (len(later.y), later.immature) == (30_000, "")
    undated = labelled_rows(bundle, table.drop(columns="opened"))
    assert len(undated.y) == 30_000
    with pytest.raises(LabelError, match="give a later as_of"):
        labelled_rows(bundle, table, as_of="2019-06-30")
    with pytest.raises(LabelError, match="no readable opened"):
        labelled_rows(bundle, table.assign(opened="soon"))
