"""Rows that one process has read and another one takes are the same to the last bit."""

from functools import wraps

import numpy as np
import pytest

from credit_default.data.loading import load
from credit_default.data.shared_rows import load_shared, shared_rows
from credit_default.data.sources import find
from credit_default.portfolio.catalogue import SHIPPED


def assert_same_rows(expected, found):
    assert found.portfolio is expected.portfolio
    assert found.provenance == expected.provenance
    assert found.frame.index.equals(expected.frame.index)
    assert list(found.frame.dtypes.items()) == list(expected.frame.dtypes.items())
    for name in expected.frame:
        a, b = expected.frame[name].to_numpy(), found.frame[name].to_numpy()
        if a.dtype == object:
            assert [(type(v), v) for v in a] == [(type(v), v) for v in b]
        else:
            assert a.tobytes() == b.tobytes()
    for name in ("y", "true_pd", "dates"):
        a, b = getattr(expected, name), getattr(found, name)
        assert (a is None) == (b is None)
        assert a is None or (a.dtype, a.tobytes()) == (b.dtype, b.tobytes())
    assert (expected.immature is None) == (found.immature is None)
    if expected.immature is not None:
        assert_same_rows(expected.immature, found.immature)


@wraps(load)
def read_again(*_, **__):
    raise AssertionError("the rows were read a second time")


def assert_shared(portfolio, source, **options):
    expected = load(portfolio, source, **options)
    with shared_rows():
        load_shared(portfolio, source, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("credit_default.data.shared_rows.load", read_again)
            assert_same_rows(expected, load_shared(portfolio, source, **options))


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("name", SHIPPED)
def test_rows_of_the_synthetic_sample(name, labelled, tmp_path):
    assert_shared(SHIPPED[name], find(SHIPPED[name], root=tmp_path), labelled=labelled)


@pytest.mark.parametrize(
    ("name", "unlabelled"),
    [("gmsc", False), ("gmsc", True), ("personal", False), ("mortgage", False)],
)
def test_rows_of_the_real_file(real_data, name, unlabelled):
    real_data(name)
    source = find(SHIPPED[name], unlabelled=unlabelled)
    assert_shared(SHIPPED[name], source, labelled=not unlabelled)


def test_immature_loans_and_an_unwritable_folder(tmp_path, monkeypatch):
    window = dict(performance_window_months=12)
    lending = SHIPPED["lending"].model_copy(update=window)
    source = find(lending, root=tmp_path)
    assert_shared(lending, source)
    assert len(load(lending, source).immature) > 1000

    def no_room(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", no_room)
    with shared_rows():
        assert_same_rows(load(lending, source), load_shared(lending, source))
        assert_same_rows(load(lending, source), load_shared(lending, source))
