"""Rating grades of a lender's own: the same names and bands in answers, log, metrics, drift check
and performance; who gives none keeps the usual four.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from served import Server, add_user, token_of

from credit_default.data.loading import load
from credit_default.data.sources import Source
from credit_default.data.split import split
from credit_default.data.synthetic import synthesize
from credit_default.monitoring.drift import assess_drift
from credit_default.monitoring.performance import measure_performance
from credit_default.portfolio.catalogue import SHIPPED, get_portfolio
from credit_default.portfolio.columns import parse_table
from credit_default.portfolio.costs_and_scale import RATINGS
from credit_default.portfolio.definition import Portfolio
from credit_default.scoring.registry import load_bundle, promote_bundle
from credit_default.serving.active_model import log_rows
from credit_default.store.predictions import Entry
from credit_default.store.store import Store
from credit_default.training.search_space import default_recipes
from credit_default.training.training import fit_recipe, save_training

OWN = (
    dict(lowest=300, rating="D", risk="High Risk"),
    dict(lowest=520, rating="C", risk="Medium Risk"),
    dict(lowest=600, rating="B"),
    dict(lowest=660, rating="Sehr gut", risk="Low Risk"),
    dict(lowest=720, rating="A <&> 1", risk="Very Low Risk"),
)
NAMES = [grade["rating"] for grade in OWN]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    "A portfolio with ratings of its own, in a file, and its model."
    folder = tmp_path_factory.mktemp("ratings")
    keys = SHIPPED["gmsc"].to_json() | dict(name="own", ratings=OWN, performance_window_months=None)
    path = folder / "own.json"
    path.write_text(json.dumps(keys), encoding="utf-8")
    portfolio = get_portfolio(path)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CREDIT_DEFAULT_ENV_FILE", os.devnull)
        rows = load(portfolio, Source("synthetic", None, "synthetic sample"), seed=1).take(
            range(5000)
        )
        recipe = next(one for one in default_recipes(portfolio) if one.candidate == "logistic")
        tag = save_training(fit_recipe(portfolio, recipe, *split(rows, 0.4, seed=0)))
        bundle = load_bundle(tag, "own")
        promote_bundle(tag, "own", by="tests", failed_checks=True)
        yield folder, path, portfolio, bundle


def test_the_bundle_keeps_the_names_and_bands(own):
    _, _, portfolio, bundle = own
    assert [r.rating for r in bundle.portfolio.ratings] == NAMES
    columns = parse_table(portfolio, synthesize(portfolio, 3000, seed=5)[0])
    scores = bundle.score(columns, reasons=False)
    assert set(scores.rating) == set(NAMES)
    for i, score in enumerate(scores.credit_score[:500]):
        expected = [grade for grade in OWN if score >= grade["lowest"]][-1]
        assert (scores.rating[i], scores.risk[i]) == (expected["rating"], expected.get("risk", ""))
    assert bundle.reference.bins["rating"].categories == tuple(NAMES)


def test_the_drift_check_knows_the_names(own):
    _, _, portfolio, bundle = own
    columns = parse_table(portfolio, synthesize(portfolio, 4000, seed=6)[0])
    columns |= bundle.score(columns, reasons=False).monitored()
    counts = bundle.reference.counts(columns)
    found = assess_drift(bundle.portfolio, bundle.reference, counts, samples=columns).to_dict()
    assert set(found["ratings"]) == set(NAMES)
    assert found["outputs"]["rating"]["psi"] < 0.05 and not found["outputs"]["rating"]["drifted"]


def test_performance_is_by_these_names_and_by_those_of_earlier_models(own):
    folder, _, portfolio, bundle = own
    store = Store(f"sqlite:///{folder}/performance.db")
    store.upgrade()
    columns = parse_table(portfolio, synthesize(portfolio, 2000, seed=7)[0])
    at, step = datetime(2026, 3, 1, tzinfo=UTC), timedelta(minutes=5)
    made = log_rows(bundle, columns, bundle.score(columns), at, [None] * 2000)
    more = dict(endpoint="csv", user_id=None, username=None, latency_ms=1.0, request_id="r")
    rows = [row | more | dict(at=at + i * step) for i, row in enumerate(made)]
    for row in rows[1000:]:  # by a model from before
        row["model_version"] = "credit_default_own:0123456789abcdef"
        row["rating"] = [r.rating for r in RATINGS if row["credit_score"] >= r.lowest][-1]
    store.predictions.append([Entry(rows)])
    store.outcomes.record(
        [
            dict(prediction_id=r["prediction_id"], defaulted=i % 9 == 0, observed_at=r["at"] + step)
            for i, r in enumerate(rows)
        ],
        by="ada",
        user_id=None,
    )
    found = measure_performance(store, portfolio, as_of=datetime(2026, 9, 1, tzinfo=UTC))
    store.close()
    new, old = (
        [group.name for group in found.models[tag].ratings]
        for tag in (bundle.tag, "credit_default_own:0123456789abcdef")
    )
    assert new == [name for name in NAMES if name in {row["rating"] for row in rows[:1000]}]
    assert old == [r.rating for r in RATINGS if r.rating in {row["rating"] for row in rows[1000:]}]


def test_the_service_answers_filters_and_counts_by_them(own, tmp_path):
    _, path, _, bundle = own
    database = f"sqlite:///{tmp_path}/log.db"  # whose only ratings are this test's
    settings = dict(CREDIT_DEFAULT_PORTFOLIO=str(path), CREDIT_DEFAULT_DATABASE_URL=database)
    with Server(Path(os.environ["BENTOML_HOME"]), tmp_path / "log", **settings) as server:
        admin = server.client_of(token_of(add_user(server.database, "root", "admin")))
        document = server.client.get("/docs.json").json()
        body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
        given = server.client.post("/predict", json=body["examples"]["an applicant"]["value"])
        rating = given.json()["rating"]
        assert rating in NAMES
        listed = admin.get("/predictions", params=dict(rating=rating)).json()["predictions"]
        assert [one["rating"] for one in listed] == [rating]
        for name in NAMES:
            answer = admin.get("/predictions", params=dict(rating=name))
            assert answer.status_code == 200, answer.text
        wrong = admin.get("/predictions", params=dict(rating="Excellent"))
        [problem] = wrong.json()["detail"]
        assert (wrong.status_code, problem["loc"]) == (422, ["query", "rating"])
        assert all(name in problem["msg"] for name in NAMES)
        metrics = server.client.get("/metrics").text
        shown = [
            line.split("rating=")[1].split('"')[1]
            for line in metrics.splitlines()
            if line.startswith('credit_default_predictions_total{portfolio="own"')
        ]
        assert set(shown) == set(NAMES) and bundle.tag in metrics


def test_who_gives_none_keeps_the_four_and_an_old_bundle_has_them():
    kept = SHIPPED["gmsc"].to_json()
    assert "ratings" not in kept  # as in every bundle from before: its hash does not change
    assert Portfolio.model_validate(kept).ratings == RATINGS
    assert [(r.lowest, r.rating, r.risk) for r in RATINGS] == [
        (300, "Poor", "High Risk"),
        (500, "Average", "Medium Risk"),
        (650, "Good", "Low Risk"),
        (750, "Excellent", "Very Low Risk"),
    ]


@pytest.mark.parametrize(
    "ratings, message",
    [
        ([dict(lowest=300, rating="D")], "at least two grades"),
        ([dict(lowest=500, rating="D"), dict(lowest=300, rating="C")], "from the riskiest up"),
        ([dict(lowest=300, rating="D"), dict(lowest=500, rating="D")], "rating given twice: D"),
        ([dict(lowest=300, rating="D"), dict(lowest=500, rating="NA")], "cannot be a rating"),
        ([dict(lowest=300, rating="D"), dict(lowest=500, rating="C\n")], "cannot be a rating"),
        ([dict(lowest=300, rating="D"), dict(lowest=950, rating="C")], "less than or equal to 900"),
        ([dict(lowest=300, rating="D"), dict(from_=500, rating="C")], "ratings.1.lowest"),
    ],
)
def test_what_cannot_be_ratings(tmp_path, ratings, message):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(SHIPPED["gmsc"].to_json() | dict(ratings=ratings)))
    with pytest.raises(ValueError, match=message):
        get_portfolio(path)
