"""One reader: training, scoring, evaluation and drift read a file in another form alike, or refuse
it alike.
"""

import gzip
import io

import numpy as np
import pandas as pd
import pytest

from credit_default.data.csv_text import DataError
from credit_default.data.sources import read_table
from credit_default.portfolio.columns import parse_table
from credit_default.portfolio.definition import Portfolio
from credit_default.portfolio.field import Field
from credit_default.portfolio.files import Csv
from credit_default.portfolio.reading import FormError, file_encoding
from credit_default.scoring import batch

RENT = Field(name="housing", kind="category", categories=("Miete", "Häuschen"))
LOANS = Portfolio(
    name="p",
    title="P",
    target="bad",
    fields=(Field(name="income"), Field(name="share"), RENT),
)
TABLE = pd.DataFrame(
    dict(
        income=[1234.5, 950, 12000.25, 87],
        share=[0.5, 0.25, 1.125, 0.75],
        housing=["Miete", "Häuschen"] * 2,
        bad=[0, 1, 0, 1],
    )
)


def packed(content):
    return gzip.compress(content)


@pytest.mark.parametrize("pack", [bytes, packed])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator, decimal", [(",", "."), (";", "."), (";", ","), ("\t", ",")])
def test_a_file_in_another_form(tmp_path, monkeypatch, separator, decimal, encoding, pack):
    text = TABLE.to_csv(index=False, sep=separator, decimal=decimal)
    path = tmp_path / "new.csv"
    path.write_bytes(pack(text.encode(encoding)))
    columns = parse_table(LOANS, read_table(path, LOANS))
    for name in ("income", "share", "housing"):
        assert columns[name].tolist() == TABLE[name].tolist()

    def scored(bundle, lines, out, *, chunk, progress, form):
        "What the scorer is given."
        header, *rows = (line.rstrip("\r\n") for line in lines)
        assert header.removeprefix("\ufeff").split(form.separator) == list(TABLE)
        cells = [list(c) for c in zip(*(row.split(form.separator) for row in rows))]
        plain = [form.plain(f, c) for f, c in zip(LOANS.fields, cells)]
        assert [float(v) for v in plain[0]] == TABLE.income.tolist()
        assert plain[2] == TABLE.housing.tolist()
        return "done"

    monkeypatch.setattr(batch, "score_csv", scored)
    bundle = type("Bundle", (), dict(portfolio=LOANS))
    assert batch.score_file(bundle, path, tmp_path / "out.csv") == "done"


def test_another_form_that_may_mean_two_things_is_refused_by_both(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("income;housing;bad\n2.393;Miete;0\n4.120;Miete;1\n")
    with pytest.raises(FormError, match="numbers of income are written like 1.234"):
        read_table(path, LOANS)
    bundle = type("Bundle", (), dict(portfolio=LOANS))
    with pytest.raises(FormError, match="numbers of income are written like 1.234") as refused:
        batch.score_file(bundle, path, tmp_path / "out.csv")
    assert "2.393" not in str(refused.value) and not (tmp_path / "out.csv").exists()


def test_the_definition_goes_first(tmp_path):
    german = LOANS.model_copy(update=dict(csv=Csv(separator=";", decimal=",", thousands=".")))
    path = tmp_path / "new.csv"
    path.write_text("income;housing;bad\n2.393;Miete;0\n")
    assert parse_table(german, read_table(path, german))["income"].tolist() == [2393.0]


def test_a_file_that_is_no_text_stays_refused(tmp_path):
    path = tmp_path / "new.csv"
    path.write_bytes(b"income,housing\n1,\x81\x8d\n")
    with pytest.raises(DataError, match="is not UTF-8"):
        read_table(path, LOANS)
    assert file_encoding(io.BytesIO(np.arange(256, dtype=np.uint8).tobytes()), Csv()) == "utf-8-sig"
