"""What is no CSV file is read, or refused by its name; what is odd about one is said."""

import bz2
import io
import lzma

import pandas as pd
import pytest

from credit_default.data.csv_text import DataError
from credit_default.data.sources import read_table
from credit_default.evaluation.proposal.files import read_unknown, write_definition
from credit_default.portfolio.definition import Portfolio

TABLE = pd.DataFrame(
    dict(age=[41, 35, 58] * 50, rent=["yes", "no", "yes"] * 50, bad=[0, 1, 0] * 50)
)
TEXT = TABLE.to_csv(index=False)


def stata(table):
    out = io.BytesIO()
    table.to_stata(out, write_index=False)
    return out.getvalue()


def feather(table):
    out = io.BytesIO()
    table.to_feather(out)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        bz2.compress(TEXT.encode()),
        lzma.compress(TEXT.encode()),
        ("sep=,\r\n" + TEXT).encode(),
        ("sep=;\n" + TABLE.to_csv(index=False, sep=";")).encode(),
        TABLE.to_json(orient="records", lines=True).encode(),
        stata(TABLE),
        feather(TABLE),
    ],
    ids=["bzip2", "xz", "sep=,", "sep=;", "JSON lines", "Stata", "Feather"],
)
def test_what_can_be_read_is_read(tmp_path, content):
    path = tmp_path / "loans.data"
    path.write_bytes(content)
    table, _ = read_unknown(path, "bad")
    assert table.astype(str).equals(TABLE.astype(str))


@pytest.mark.parametrize(
    "content, said",
    [
        (b"@relation loans\n@attribute age numeric\n", "is ARFF"),
        (b'[{"age": 41}]', "is JSON, not CSV"),
        (b"SQLite format 3\0", "is an SQLite database"),
        (("exported by the core\n" + TEXT).encode(), "is a title or a note above the header?"),
        (("# by the core\n# 2026\n" + TEXT).encode(), "Remove the first 2 lines"),
        ((TEXT + "Total: 150\n").encode(), "a total below the table: remove this line"),
        ((TEXT + "Total: 150\nSum: 4\n").encode(), "the last 2 lines are no rows"),
        (("age,rent,bad\n" + "1,41,yes,0\n" * 150).encode(), "are its rows named?"),
        (b"A11 6 A34 1\n" * 150, "separated by blanks"),
        (b'age,bad\n"41,0\n' + b"35,1\n" * 40_000, "quotation mark"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, said):
    path = tmp_path / "loans.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        read_unknown(path, "bad")
    assert said in str(refused.value) and "41" not in str(refused.value)


def test_large_amounts_and_lists_are_no_traceback(tmp_path):
    assets = [8e13 + 1e9 * i for i in range(150)]
    table = TABLE.assign(assets=assets, loans=[[1, 2]] * 150)
    table.to_parquet(tmp_path / "loans.parquet")
    _, proposal = write_definition(tmp_path / "loans.parquet", "bad")
    assert proposal.definition["dropped"]["loans"] == "lists or structures, not single values"
    [field] = [f for f in proposal.definition["fields"] if f["name"] == "assets"]
    assert field["hard"][1] == 1e15


def test_a_definition_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "loans.csv").write_text(TEXT)
    out, proposal = write_definition(tmp_path / "loans.csv", "bad")
    out.write_bytes(b"\xef\xbb\xbf" + out.read_bytes())
    assert Portfolio.read(out) == proposal.portfolio
    assert len(read_table(tmp_path / "loans.csv", Portfolio.read(out))) == 150
