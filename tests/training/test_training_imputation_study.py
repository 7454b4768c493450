"""The study of imputers on tables that leave it little: no gaps, gaps everywhere, one field."""

import numpy as np
import pytest

from credit_default.training.imputation_study import compare_imputers

N = 3000


@pytest.fixture(scope="module")
def applicants():
    "Age, credit lines and an income that follows from both; nothing missing."
    rng = np.random.default_rng(42)
    age = np.clip(rng.normal(50, 14, N), 18, 95)
    lines = rng.poisson(2 + age / 10)
    return np.column_stack([age, lines, np.exp(7.2 + 0.015 * age + rng.normal(0, 0.4, N))])


def test_without_gaps_values_are_hidden_at_random_only(applicants, capsys):
    before = np.random.get_state()[1].copy()
    records, _ = compare_imputers(applicants[:300, :2])
    assert {r["hiding"] for r in records} == {"at random"}
    assert capsys.readouterr().out == ""
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_one_field_has_nothing_to_be_filled_from(applicants):
    assert compare_imputers(applicants[:, :1]) == ([], {})


def test_fields_that_nobody_states_or_all_state_alike_are_left_out(applicants):
    table = np.column_stack([applicants[:, 0], np.full(N, np.nan), np.ones(N)])
    assert compare_imputers(table) == ([], {})


def test_a_gap_in_each_row(applicants):
    rows = np.random.default_rng(1).integers(3, size=N)
    everybody = np.where(np.eye(3, dtype=bool)[rows], np.nan, applicants)
    log = np.array([False, False, True])
    assert len({r["hiding"] for r in compare_imputers(everybody, log, rows=500)[0]}) == 2
