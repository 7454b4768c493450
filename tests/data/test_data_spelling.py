"""One value is one value, however CSV, Excel, Parquet or JSON spell it."""

import numpy as np
import pandas as pd
import pytest

from credit_default.data.csv_text import DataError
from credit_default.data.outcome import parse_outcome
from credit_default.portfolio.applicant import applicant_model, applicants_to_columns
from credit_default.portfolio.columns import find_refused, parse_table
from credit_default.portfolio.definition import Portfolio
from credit_default.portfolio.field import Field
from credit_default.portfolio.values import parse_values
from credit_default.scoring.batch_rows import check_rows


def portfolio(positive=("1",), negative=("0",), categories=("False", "True"), **keys):
    owner = Field(name="owner", kind="category", categories=categories, **keys)
    return Portfolio(
        name="p", title="P", target="bad", positive=positive, negative=negative, fields=(owner,)
    )


@pytest.mark.parametrize(
    "written",
    [["1", "0"], ["1.0", "0.0"], ["TRUE", "FALSE"], ["true", "false"], [1, 0], [1.0, 0.0]]
    + [[True, False], [np.int64(1), np.int64(0)], [np.True_, np.False_], ["1.00", " 0 "]],
)
@pytest.mark.parametrize(
    "meant", [("1", "0"), ("1.0", "0.0"), ("True", "False"), ("TRUE", "FALSE")]
)
def test_an_outcome_survives_any_program(meant, written):
    positive, negative = meant
    assert parse_outcome(portfolio([positive], [negative]), written).tolist() == [1, 0]


def test_an_outcome_that_may_mean_two_things_is_not_guessed():
    german = portfolio(["2"], ["1"])
    assert parse_outcome(german, ["2.0", "1"]).tolist() == [1, 0]
    for odd in ("TRUE", "0", "yes"):
        with pytest.raises(DataError, match="missing or unknown in 1 of 2 rows"):
            parse_outcome(german, ["2", odd])


@pytest.mark.parametrize(
    "written", [["TRUE", "FALSE"], ["true", "false"], ["1", "0"], ["1.0", "0.0"], [True, False]]
)
@pytest.mark.parametrize("categories", [("False", "True"), ("FALSE", "TRUE"), ("0", "1")])
@pytest.mark.parametrize("unknown", ["refuse", "other"])
def test_a_truth_value_is_one_value(written, categories, unknown):
    p = portfolio(categories=categories, unknown=unknown)
    expected = [categories[1], categories[0]]
    for column in (written, pd.Series(written), np.array(written)):
        assert parse_values(p["owner"], column).tolist() == expected
    model = applicant_model(p)
    sent = [model.model_validate(dict(owner=v)) for v in written]
    assert applicants_to_columns(p, sent)["owner"].tolist() == expected


def test_what_a_definition_tells_apart_stays_apart():
    p = portfolio(categories=("1", "1.0", "2"))
    assert parse_values(p["owner"], ["1", "1.0", "2"]).tolist() == ["1", "1.0", "2"]
    assert parse_values(portfolio(categories=("1", "2"))["owner"], [True]).tolist() == ["True"]


def test_one_rule_of_length_for_training_scoring_and_requests():
    "A listed text may be as long as it is; another one has 200 characters at most, everywhere."
    long = "a loan for a car, " * 20 + "new"
    p = portfolio(categories=(long, "short"), unknown="other")
    texts = [long, "short", "x" * len(long), "x" * (len(long) + 1)]
    train = find_refused(p, parse_table(p, dict(owner=texts)))
    _, _, score = check_rows(p, dict(owner=texts), len(texts))
    model, refused = applicant_model(p), []
    for row, text in enumerate(texts):
        try:
            model.model_validate(dict(owner=text))
        except ValueError:
            refused.append(row)
    assert [r.row for r in train] == sorted(score) == refused == [3]
