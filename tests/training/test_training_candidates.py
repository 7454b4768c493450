"""Candidates of one's own: what is refused, and what a report reads."""

import json

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from credit_default.training.candidates import (
    CandidateError,
    judge_candidates,
    read_candidates,
    refuse_champion,
    register_candidate,
    registered_candidates,
    remove_candidate,
    write_candidates,
)
from credit_default.training.recipe import Recipe
from credit_default.training.training import fit_recipe


@pytest.fixture(scope="module")
def training(gmsc, loans):
    return fit_recipe(gmsc, Recipe(parameters=dict(n_estimators=60, max_depth=3)), *loans)


@pytest.fixture
def hist():
    yield register_candidate("hist", HistGradientBoostingClassifier(max_iter=50), imputation="none")
    remove_candidate("hist")


def test_what_is_no_classifier_is_refused():
    with pytest.raises(CandidateError, match="uses itself"):
        register_candidate("network", None)
    with pytest.raises(CandidateError, match="predict_proba"):
        register_candidate("mine", object())
    with pytest.raises(CandidateError, match="no candidate mine"):
        remove_candidate("mine")
    assert registered_candidates() == ()


def test_a_candidate_cannot_be_champion(hist):
    with pytest.raises(CandidateError, match="cannot be exported without pickle"):
        refuse_champion("hist")
    refuse_champion("blend")


def test_a_report_reads_what_was_written(training, hist, tmp_path):
    table, others = judge_candidates(training, registered_candidates())
    assert table.model.tolist() == ["champion", "hist"] and "steps" not in table
    path = tmp_path / "candidates.json"
    write_candidates(path, training, others)
    what, pds = read_candidates(path, training)["hist"]
    assert what == hist.describe()
    np.testing.assert_array_equal(pds, others["hist"][1])
    assert read_candidates("", training) == {}
    assert list(tmp_path.iterdir()) == [path]  # nothing half written


def test_candidates_of_another_holdout_are_refused(training, tmp_path):
    path = tmp_path / "candidates.json"
    path.write_text(json.dumps(dict(holdout="another", models={})))
    with pytest.raises(CandidateError, match="another holdout"):
        read_candidates(path, training)
