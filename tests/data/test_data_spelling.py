"""One value is one value, however CSV, Excel, Parquet or JSON spell it."""

import numpy as np
import pandas as pd
import pytest

from credit_default.data.csv_text import DataError
from credit_default.data.outcome import parse_outcome
from credit_default.portfolio.applicant import applicant_model, applicants_to_columns
from credit_default.portfolio.definition import Portfolio
from credit_default.portfolio.field import Field
from credit_default.portfolio.values import parse_values


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
