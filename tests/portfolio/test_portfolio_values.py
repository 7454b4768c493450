"""Values are read alike from files, frames and requests, and checked alike."""

import json

import numpy as np
import pandas as pd
import pydantic
import pytest

from credit_default.portfolio.applicant import REFERENCE_FIELD, applicant_model
from credit_default.portfolio.columns import find_refused, parse_table
from credit_default.portfolio.definition import Portfolio
from credit_default.portfolio.field import Field
from credit_default.portfolio.files import Csv
from credit_default.portfolio.values import implausible_mask, parse_values

AGE = Field(name="age", kind="integer", required=True, hard=(0, 150), plausible=(18, 120))
LATE = Field(
    name="times-late", kind="integer", required=True, hard=(0, None), codes={98: "not disclosed"}
)
INCOME = Field(name="income", hard=(0, None))
HOUSING = Field(
    name="housing", kind="category", categories=("OWN", "RENT"), synonyms={"RENTT": "RENT"}
)
SHOP = Portfolio(
    name="shop",
    title="Shop",
    target="bad",
    fields=(
        AGE,
        LATE,
        INCOME,
        HOUSING,
        Field(name="gender", kind="category", role="protected", categories=("F", "M")),
        Field(name="city", kind="category", categories=("Bonn", "Ulm"), unknown="other"),
    ),
)
Applicant = applicant_model(SHOP)


@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", "object"])
def test_numbers_are_read_however_pandas_keeps_them(dtype):
    values = pd.Series([45.5, None, 7], dtype=dtype)
    np.testing.assert_array_equal(parse_values(AGE, values), [45.5, np.nan, 7])


def test_categories_are_read_as_text():
    assert parse_values(HOUSING, pd.Series(["OWN", pd.NA], dtype="string")).tolist() == [
        "OWN",
        None,
    ]
    assert parse_values(HOUSING, pd.Series([1.0, np.nan])).tolist() == ["1.0", None]


def test_a_known_misspelling_is_what_is_meant():
    assert parse_values(HOUSING, ["RENTT", " RENT", "OWN", None]).tolist() == [
        "RENT",
        "RENT",
        "OWN",
        None,
    ]
    assert Applicant(age=45, times_late=0, housing="RENTT").housing == "RENT"


def test_text_and_number_give_the_same_bits():
    assert (
        parse_values(AGE, np.array([0.1 + 0.2]))[0] == parse_values(AGE, ["0.30000000000000004"])[0]
    )


def test_a_long_column_of_text_is_read_as_a_short_one():
    texts = ["45", "", "abc", "1_000"]
    np.testing.assert_array_equal(
        parse_values(AGE, texts * 50), np.tile(parse_values(AGE, texts), 50)
    )


def test_what_is_implausible():
    ages = parse_values(AGE, ["45", "0", "-3", "abc", None])
    assert implausible_mask(AGE, ages).tolist() == [False, True, True, True, False]


def test_what_a_spreadsheet_of_another_language_writes():
    german = Csv(encoding="cp1252", separator=";", decimal=",", thousands=".", missing=("-",))
    assert german.plain(INCOME, ["1.234,50", "1234,5", "-3", "12.5", "-", ""]) == [
        "1234.50",
        "1234.5",
        "-3",
        "no number",
        None,
        "",
    ]
    assert german.plain(HOUSING, ["1.234,5", " - "]) == ["1.234,5", None]  # text stays as it is
    assert Csv().plain(INCOME, ["1234.5", "1_000"]) == ["1234.5", "1_000"]
    assert Csv(thousands=",").plain(INCOME, ["1,234,567.8", "12,34", ".5"]) == [
        "1234567.8",
        "no number",
        ".5",
    ]


@pytest.mark.parametrize("wrong", ["", "Anna Smith, 12 Mill Lane", 4711, "x" * 65, "a\n"])
def test_a_reference_names_the_application_and_not_the_person(wrong):
    with pytest.raises(pydantic.ValidationError, match=REFERENCE_FIELD):
        Applicant(age=45, times_late=0, application_reference=wrong)


@pytest.mark.parametrize(
    "field, value",
    [
        ("age", -1),
        ("age", 0),
        ("age", 150),
        ("age", 151),
        ("age", 33.5),
        ("age", 1e300),
        ("times-late", 98),
        ("times-late", -98),
        ("times-late", None),
        ("income", 0),
        ("income", -0.01),
        ("income", None),
        ("income", 2e15),
        ("housing", "OWN"),
        ("housing", "own"),
        ("gender", "F"),
        ("gender", "X"),
        ("city", "Rome"),
        ("city", None),
    ],
)
def test_request_and_table_refuse_the_same(field, value):
    applicant = {"age": 45, "times-late": 0} | {field: value}
    refused = find_refused(SHOP, parse_table(SHOP, {k: [v] for k, v in applicant.items()}))
    try:
        Applicant.model_validate_json(json.dumps(applicant))
    except pydantic.ValidationError:
        assert refused
    else:
        assert not refused
