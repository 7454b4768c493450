"""A data set: one hash for one content, errors that name no value, refusals that agree with
`find_refused`.
"""

import json

import numpy as np
import pandas as pd
import pytest

from credit_default.data.acceptance import find_refusals
from credit_default.data.csv_text import DataError
from credit_default.data.dataset import from_table, hash_table
from credit_default.data.loading import load
from credit_default.data.sources import Source, read_table
from credit_default.data.synthetic import save_sample, synthesize
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.portfolio.columns import find_refused, parse_table

GMSC, PERSONAL = get_portfolio("gmsc"), get_portfolio("personal")


@pytest.fixture(scope="module")
def dataset():
    return load(GMSC, Source("synthetic", None, "synthetic sample"))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_sample(GMSC, tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def table(path):
    return read_table(path)


def spoiled(table, column, rows, value):
    return table.assign(**{column: np.where(np.arange(len(table)) < rows, value, table[column])})


def test_the_same_content_has_the_same_hash(dataset, path, table, tmp_path):
    sha256 = dataset.provenance["sha256"]
    again = load(GMSC, path)
    assert (again.provenance["sha256"], again.title) == (sha256, dataset.title)
    shuffled = table.sample(frac=1, random_state=1)
    assert from_table(GMSC, shuffled).provenance["sha256"] == sha256
    typed = dataset.frame.astype({"age": "Int64", "MonthlyIncome": "Float64"}).assign(
        SeriousDlqin2yrs=dataset.y.astype(bool)
    )
    for rows in (shuffled, typed):
        rows.to_parquet(tmp_path / "loans.parquet")
        assert load(GMSC, tmp_path / "loans.parquet").provenance["sha256"] == sha256


@pytest.mark.parametrize("portfolio", [GMSC, PERSONAL], ids=lambda p: p.name)
def test_json_keeps_the_bits(portfolio):
    frame = synthesize(portfolio, 500)[0]
    rows = json.loads(frame.to_json(orient="records", double_precision=15))
    read = from_table(portfolio, pd.DataFrame(rows), labelled=False)
    assert hash_table(read.frame, None) == hash_table(frame, None)


def test_a_table_that_is_not_right_is_refused_with_the_reason(table):
    for bad, reason in (
        (table.drop(columns=["age", "DebtRatio"]), "missing columns: "),
        (table.drop(columns="SeriousDlqin2yrs"), "missing column: SeriousDlqin2yrs"),
        (table.rename(columns=dict(zip(table, "ABCDEFGHIJKLM"))), "no header line"),
        (spoiled(table, "SeriousDlqin2yrs", 3, ""), "missing or unknown in 3 of"),
        (spoiled(table, "age", 15_000, "middle-aged"), "more than 5% of 20,000 rows"),
        (spoiled(table, "DebtRatio", 5_000, ""), "DebtRatio"),
        (table.head(20), "20 rows are too few"),
        (table.iloc[:, [1, 2, 2]], f"names the column {list(table)[2]} 2 times"),
        (
            table.assign(NumberOfTime30_59DaysPastDueNotWorse="0"),
            "two columns are the field NumberOfTime30-59DaysPastDueNotWorse",
        ),
    ):
        with pytest.raises(DataError, match=reason) as error:
            from_table(GMSC, bad)
        assert "middle-aged" not in str(error.value)


def test_what_is_left_out_is_counted(table):
    few = from_table(GMSC, spoiled(table, "age", 7, "-5"))
    assert (len(few), few.provenance["refused"]) == (19_993, {"age": 7})
    assert json.loads(json.dumps(few.provenance)) == few.provenance
    without = from_table(GMSC, table.drop(columns="MonthlyIncome"))
    assert without.provenance["columns_absent"] == ["MonthlyIncome"]
    assert from_table(GMSC, table.drop(columns="SeriousDlqin2yrs"), labelled=False).y is None


def test_fields_of_the_lender_are_needed_only_where_they_are_kept():
    rows = synthesize(PERSONAL, 300)[0]
    at_application = rows.drop(columns=["loan_grade", "loan_int_rate", "loan_percent_income"])
    assert len(from_table(PERSONAL, at_application, labelled=False)) == 300
    with pytest.raises(DataError, match="missing column: loan_grade"):
        from_table(PERSONAL, at_application, labelled=False, keep=("loan_grade",))
    rows.loc[6:30, "loan_grade"] = None
    assert from_table(PERSONAL, rows, labelled=False).provenance["rows_refused"] == 0
    with pytest.raises(DataError, match="loan_grade"):
        from_table(PERSONAL, rows, labelled=False, keep=("loan_grade",))


def test_the_same_rows_are_refused_as_check_names(table):
    graded = synthesize(PERSONAL, 300)[0]
    graded.loc[6:30, "loan_grade"] = None
    for portfolio, rows, keep in (
        (GMSC, spoiled(table, "age", 7, "-5").assign(DebtRatio=""), ()),
        (PERSONAL, graded, ("loan_grade",)),
    ):
        columns = parse_table(portfolio, rows)
        refusals = find_refusals(portfolio, columns, keep)
        assert {(p.row, p.field) for p in find_refused(portfolio, columns, keep)} == {
            (row, name) for name, bad in refusals.items() for row in np.flatnonzero(bad)
        }
