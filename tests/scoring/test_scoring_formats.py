"""`score` reads what `init` reads, and names what neither does."""

import bz2
import lzma

import numpy as np
import pandas as pd
import pytest
from served import synthetic_bundle

from credit_default.data.csv_text import DataError
from credit_default.data.plain_file import plain_file
from credit_default.data.synthetic import synthesize
from credit_default.scoring.batch import score_file
from credit_default.scoring.batch_rows import BatchError


@pytest.fixture(scope="module")
def bundle():
    return synthetic_bundle("personal", 2000)


@pytest.fixture
def applicants(bundle):
    return synthesize(bundle.portfolio, 40, seed=3)[0]


def scored(bundle, tmp_path, applicants, ending):
    target = tmp_path / f"out.{ending}"
    assert score_file(bundle, tmp_path / "in.csv", tmp_path / "usual.csv").scored == 40
    with plain_file(tmp_path / "in.data") as plain:
        assert score_file(bundle, plain, target).scored == 40
    exact = dict(float_precision="round_trip")
    usual = pd.read_csv(tmp_path / "usual.csv", **exact)
    found = pd.read_parquet(target) if ending == "parquet" else pd.read_csv(target, **exact)
    return found.probability_default, usual.probability_default


def stata(table, path):
    texts = {c: table[c].fillna("") for c in table if table[c].dtype == object}
    table.assign(**texts).to_stata(path, write_index=False)


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress], ids=["bzip2", "xz"])
def test_packed_csv_gets_the_same_scores(bundle, tmp_path, applicants, pack):
    applicants.to_csv(tmp_path / "in.csv", index=False)
    (tmp_path / "in.data").write_bytes(pack((tmp_path / "in.csv").read_bytes()))
    for ending in ("csv", "parquet"):
        found, usual = scored(bundle, tmp_path, applicants, ending)
        assert np.array_equal(found, usual)


@pytest.mark.parametrize(
    "write",
    [
        lambda table, path: table.to_json(path, orient="records", lines=True, double_precision=15),
        lambda table, path: stata(table, path),
        lambda table, path: table.to_feather(path),
    ],
    ids=["JSON lines", "Stata", "Feather"],
)
def test_typed_files_get_the_same_scores(bundle, tmp_path, applicants, write):
    applicants.to_csv(tmp_path / "in.csv", index=False)
    write(applicants, tmp_path / "in.data")
    found, usual = scored(bundle, tmp_path, applicants, "parquet")
    assert found.to_numpy() == pytest.approx(usual.to_numpy(), abs=1e-12)
    with (
        plain_file(tmp_path / "in.data") as plain,
        pytest.raises(BatchError, match="must be a Parquet file"),
    ):
        score_file(bundle, plain, tmp_path / "out.csv")


def test_a_spreadsheet_is_named(tmp_path):
    (tmp_path / "in.xlsx").write_bytes(b"PK\x03\x04" * 20)
    named = pytest.raises(DataError, match="spreadsheet or a zip archive: save it as CSV")
    with named, plain_file(tmp_path / "in.xlsx"):
        pass
