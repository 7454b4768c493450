"""Reject inference: assumed outcomes by hand, and nothing that it touches but itself."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from credit_default.cli.app import app
from credit_default.data.dataset import known_outcomes
from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.data.synthetic import synthesize
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.scoring.registry import stored_tags
from credit_default.training.pipeline import make_pipeline, margin
from credit_default.training.reject_inference import (
    STUDY_RECIPE,
    assume_outcomes,
    study_rejects,
)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_fuzzy_weights_have_the_raised_odds(factor):
    pds = [0.02, 0.3, 0.85]
    assumed = assume_outcomes("fuzzy", np.array(pds), factor)
    for i, p in enumerate(pds):
        bad = assumed.weights[(assumed.rows == i) & (assumed.y == 1)]
        good = assumed.weights[(assumed.rows == i) & (assumed.y == 0)]
        assert bad / good == pytest.approx(factor * p / (1 - p))
        assert bad + good == pytest.approx(1)


def test_each_parcel_has_as_many_defaults_as_its_pds_say():
    pds = np.random.default_rng(0).permutation(np.linspace(0.01, 0.6, 1_000))
    assumed = assume_outcomes("parcelling", pds, factor=2.0, seed=4)
    order = sorted(range(1_000), key=lambda i: pds[i])
    for parcel in (order[i : i + 100] for i in range(0, 1_000, 100)):
        expected = sum(2 * pds[i] / (1 + pds[i]) for i in parcel)
        assert sum(assumed.y[parcel]) == round(expected)
    assert assumed.weights.tolist() == [1.0] * 1_000
    assert np.array_equal(assumed.y, assume_outcomes("parcelling", pds, 2.0, seed=4).y)
    assert not np.array_equal(assumed.y, assume_outcomes("parcelling", pds, 2.0, seed=5).y)


def test_without_inference_the_declined_play_no_part():
    gmsc = get_portfolio("gmsc")
    loans = load(gmsc).take(range(2_000))
    declined = synthesize(gmsc, 200, seed=9)[0]
    study = study_rejects(loans, declined, factors=(2.0,))
    train, holdout = split(loans)
    plain = make_pipeline(gmsc, STUDY_RECIPE)
    X = plain[0].fit_transform(train.frame, known_outcomes(train))
    plain[-1].fit(X, known_outcomes(train))
    own = 1 / (1 + np.exp(-margin(plain, holdout.frame)))
    assert study.models["none", 1.0].pd(holdout.frame) == pytest.approx(own, abs=1e-12)
    raised = study.table.set_index("method").mean_pd_declined
    assert raised["fuzzy"] > raised["none"]


def test_the_command_saves_no_model(tmp_path):
    gmsc = get_portfolio("gmsc")
    frame = synthesize(gmsc, 300, seed=9)[0]
    verdict = np.where(np.arange(300) < 120, "Rejected", "accepted")
    frame.assign(verdict=verdict).to_parquet(tmp_path / "all.parquet")
    loans = synthesize(gmsc, 2_000, seed=1)
    table = loans[0].assign(**{gmsc.target: loans[1]})
    table.to_csv(tmp_path / "loans.csv", index=False)
    before = stored_tags("gmsc")
    words = ["rejects", str(tmp_path / "all.parquet"), "--decision", "verdict", "--factor", "2"]
    line = [*words, "--path", str(tmp_path / "loans.csv"), "--json"]
    result = CliRunner().invoke(app, line, catch_exceptions=False)
    found = json.loads(result.stdout)
    assert (found["accepted"], found["declined"]) == (1_600, 120)
    assert [row["method"] for row in found["assumptions"]] == ["none", "fuzzy", "parcelling"]
    assert not pd.DataFrame(found["assumptions"]).isna().any().any()
    assert stored_tags("gmsc") == before
