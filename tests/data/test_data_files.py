"""Files that are not what they should be, other forms of CSV, and tables that have to be joined."""

import gzip

import pandas as pd
import pytest

from credit_default.data.csv_text import DataError
from credit_default.data.joining import join
from credit_default.data.sources import read_table, read_tables
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.portfolio.definition import Portfolio
from credit_default.portfolio.field import Field
from credit_default.portfolio.files import Table

GOOD = "defaulted,age\n" + "0,45\n" * 9
WRONG = {
    "empty.csv": b"",
    "login.csv": b"<!DOCTYPE html>\n<html><body>Sign in</body></html>",
    "half.csv": GOOD.encode() + b"0",
    "half.csv.gz": gzip.compress(GOOD.encode())[:-12],
    "latin.csv": "name,age\nJos\u00e9,45\n".encode("latin-1"),
    "german.csv": b"defaulted;age\n0;45\n",
    "excel.csv": b"PK\x03\x04...",
    "utf16.csv": GOOD.encode("utf-16"),
    "nameless.csv": b"\n" + GOOD.encode(),
    "twice.csv": b"age,age\n45,46\n",
    "quote.csv": b'age\n"45\n',
    "half.parquet": b"PAR1...",
}
THREE = Portfolio(
    name="three",
    title="Three tables",
    target="defaulted",
    key="customer",
    tables=(
        Table(name="loans", file="loans.csv"),
        Table(name="customers", file="customers.csv", fields=("age",)),
        Table(name="bureau", file="bureau.csv", fields=("enquiries",), optional=True),
    ),
    fields=(
        Field(name="amount", required=True),
        Field(name="age", required=True),
        Field(name="enquiries"),
    ),
)


@pytest.mark.parametrize("name", WRONG)
def test_an_error_begins_with_the_name_of_the_file(tmp_path, name):
    (tmp_path / name).write_bytes(WRONG[name])
    with pytest.raises(DataError) as error:
        read_table(tmp_path / name)
    assert str(error.value).startswith(name)


def test_a_byte_order_mark_and_gzip_change_nothing(tmp_path):
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(GOOD.encode()))
    table = read_table(tmp_path / "bom.csv")
    assert list(table) == ["defaulted", "age"]
    assert read_table(tmp_path / "packed.csv.gz").equals(table)
    with pytest.raises(DataError, match="no file nowhere.csv"):
        read_table(tmp_path / "nowhere.csv")


def test_the_form_that_a_definition_names(tmp_path):
    portfolio = Portfolio(
        name="laden",
        title="Ladenkredit",
        target="Zahlungsausfall",
        csv=dict(encoding="cp1252", separator=";", decimal=",", thousands=".", missing=["-"]),
        fields=[
            dict(name="Alter", kind="integer"),
            dict(name="Monatseinkommen"),
            dict(name="Beruf", kind="category", categories=("Angestellte",), unknown="other"),
        ],
    )
    german, utf16 = tmp_path / "german.csv", tmp_path / "utf16.csv"
    text = (
        "Zahlungsausfall;Alter;Monatseinkommen;Beruf\n"
        "0;45;2.345,67;Angestellte\n"
        "1;31;-;K\u00e4ufer\n"
    )
    german.write_bytes(text.encode("cp1252"))
    utf16.write_bytes(text.encode("utf-16"))
    table = read_table(german, portfolio)
    assert table.Monatseinkommen.tolist() == ["2345.67", None]
    form = portfolio.csv.model_copy(update=dict(encoding="utf-16"))
    assert read_table(utf16, portfolio, form).equals(table)
    with pytest.raises(DataError, match=r"is not ascii \(line 3\)"):
        read_table(german, portfolio, portfolio.csv.model_copy(update=dict(encoding="ascii")))
    (tmp_path / "comma.csv").write_text("Alter,Beruf\n45,\n")
    assert read_table(tmp_path / "comma.csv", portfolio).Alter.tolist() == ["45"]
    with pytest.raises(DataError, match="names another separator"):
        read_table(tmp_path / "comma.csv", portfolio, portfolio.csv)


def test_no_value_of_a_file_without_header_is_repeated(tmp_path):
    path = tmp_path / "headless.csv"
    path.write_text("1,0.77,45,2,0.8,9120,13,0,6,0,2\n" * 3)
    for portfolio in (get_portfolio("gmsc"), None):
        with pytest.raises(DataError) as error:
            read_table(path, portfolio)
        assert "0.77" not in str(error.value) and "9120" not in str(error.value)


@pytest.fixture
def tables(tmp_path):
    (tmp_path / "loans.csv").write_text(
        "loan,customer,amount,defaulted\n1,anna,5000,0\n2,boris,700,1\n3,c9,90,0\n"
    )
    (tmp_path / "customers.csv").write_text("customer,age\nboris,44\nanna,31\ndora,62\n")
    (tmp_path / "bureau.csv").write_text("customer,enquiries\nanna,3\n")
    return tmp_path


def test_three_tables_as_one(tables):
    rows, report = read_tables(tables, THREE)
    assert rows.customer.tolist() == ["anna", "boris"]
    assert (rows.age.tolist(), rows.enquiries.tolist()) == (["31", "44"], ["3", None])
    assert report[2] | dict(file="") == dict(
        table="bureau", file="", rows=1, matched=1, without=2, unused=0, optional=True
    )
    assert read_table(tables, THREE).equals(rows)


@pytest.mark.parametrize(
    ("customers", "reason"),
    [
        ("customer,age\nboris,44\nanna,31\nboris,45\n", "rows 1 and 3"),
        ("id,age\nboris,44\n", "no column customer"),
        ("customer,age,amount\nboris,44,1\n", "the column amount stands in another table too"),
        (None, "there is no customers.csv"),
    ],
)
def test_what_cannot_be_joined_is_refused(tables, customers, reason):
    if customers is None:
        (tables / "customers.csv").unlink()
    else:
        (tables / "customers.csv").write_text(customers)
    with pytest.raises(DataError, match=reason) as error:
        read_tables(tables, THREE)
    assert "boris" not in str(error.value)


def test_a_key_that_stands_twice_is_not_repeated():
    keyed = dict(
        loans=pd.DataFrame(dict(customer=[1.0, 2.0, None], amount=1)),
        customers=pd.DataFrame(dict(customer=["1", "2"], age=40)),
        bureau=pd.DataFrame(dict(customer=["4711", "4711"])),
    )
    with pytest.raises(DataError, match="rows 1 and 2") as error:
        join(THREE, keyed)
    assert "4711" not in str(error.value)
