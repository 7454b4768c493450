"""A scorecard whose points add up to the score, and whose table is OptBinning's."""

import json

import numpy as np
import pandas as pd
import pytest
from optbinning import BinningProcess
from optbinning import Scorecard as OptBinningScorecard
from sklearn.base import BaseEstimator

from credit_default.core.errors import InvalidInput
from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.evaluation.validation.monotonicity import monotonicity
from credit_default.face.model import CreditModel
from credit_default.portfolio.catalogue import SHIPPED, get_portfolio
from credit_default.portfolio.costs_and_scale import ScaleDefinition
from credit_default.scoring.batch_rows import RESULT_COLUMNS, score_chunk
from credit_default.scoring.bundle import BundleError
from credit_default.scoring.bundle_files import read_bundle, readable_json, sha256, write_bundle
from credit_default.scoring.models.points import PointsModel
from credit_default.training.points.binning import information_values
from credit_default.training.points.classifier import ScorecardClassifier, exact_points
from credit_default.training.search_space import scorecard_recipe
from credit_default.training.training import fit_recipe, train_model


@pytest.fixture(scope="module", params=SHIPPED)
def fitted(request):
    "A scorecard of each portfolio's synthetic sample."
    portfolio = get_portfolio(request.param)
    sides = split(load(portfolio, None).take(np.arange(4000)))
    return fit_recipe(portfolio, scorecard_recipe(portfolio), *sides)


def totals(bundle, columns):
    "The points of each applicant, added up from the table as a person would read it."
    (X,) = bundle.matrices(bundle.clean(columns))
    total = np.zeros(len(X), int)
    for c in bundle.points.characteristics:
        total += np.array([b.points for b in c.bins])[c.bin_of(X)]
    return total


def odd_applicants(portfolio, columns):
    "The same applicants with every optional field missing, every code, and odd values."
    rows = {name: values.copy() for name, values in columns.items()}
    for i, f in enumerate(portfolio.fields):
        if f.codes:
            for k, code in enumerate(f.codes):
                rows[f.name][(i + k) :: 11] = code
        if not f.required:
            rows[f.name][i % 5 :: 5] = np.nan if f.numeric else None
        if f.numeric and f.hard[1] is not None and f.plausible[1] is not None:
            rows[f.name][i % 13 :: 13] = f.hard[1]
        if not f.numeric and f.unknown == "other":
            rows[f.name][i % 7 :: 7] = "a category that nobody has seen"
    return rows


def test_the_points_add_up_to_the_score_for_every_applicant(fitted):
    bundle, columns = fitted.bundle, fitted.holdout.columns
    for rows in (columns, odd_applicants(bundle.portfolio, columns)):
        expected = totals(bundle, rows)
        for reasons in (False, True):
            np.testing.assert_array_equal(bundle.score(rows, reasons).credit_score, expected)
        scale = bundle.scorecard
        assert ((expected >= scale.lowest) & (expected <= scale.highest)).all()
    np.testing.assert_array_equal(fitted.scores.credit_score, totals(bundle, columns))


def test_no_combination_of_bins_leaves_the_scale(fitted):
    model, scale = fitted.bundle.points, fitted.bundle.scorecard
    assert scale.lowest <= model.range[0] < model.range[1] <= scale.highest
    own = scale.model_dump(include=set(model.scale.model_dump()))
    assert own == model.scale.model_dump()
    stated = fitted.bundle.portfolio.scale.model_dump()
    assert all(own[k] == value for k, value in stated.items() if k != "points_to_double")
    assert own["points_to_double"] <= stated["points_to_double"]


def test_contributions_in_points_add_up_to_the_score(fitted):
    shown = CreditModel(fitted.bundle).explain(fitted.holdout.frame)
    score = fitted.scores.credit_score
    np.testing.assert_allclose(shown["points"].sum(axis=1), score, rtol=0, atol=1e-9)
    log_odds = shown["log_odds"].sum(axis=1)
    np.testing.assert_allclose(log_odds, fitted.scores.log_odds, rtol=0, atol=1e-9)


def test_a_file_of_applicants_gets_the_same_scores(fitted):
    bundle, frame = fitted.bundle, fitted.holdout.frame.head(200)
    names = [f.name for f in bundle.portfolio.inputs(bundle.keep)]
    cells = {name: frame[name].astype(object).where(frame[name].notna(), None) for name in names}
    rows = score_chunk(bundle, cells, len(frame))
    at = RESULT_COLUMNS.index("credit_score")
    assert [row[at] for row in rows] == fitted.scores.credit_score[:200].tolist()


def test_the_bundle_says_what_the_pipeline_says(fitted):
    bundle, holdout = fitted.bundle, fitted.holdout
    margin = bundle.margin(bundle.matrices(bundle.clean(holdout.columns)))
    np.testing.assert_array_equal(margin, fitted.fitted.margin(holdout.frame))


def test_no_applicant_moves_against_a_direction(fitted):
    bundle, portfolio = fitted.bundle, fitted.bundle.portfolio

    def pds(columns):
        return bundle.score(columns, reasons=False).probability_default

    columns = fitted.holdout.columns
    moved = monotonicity(pds, columns, portfolio, bundle.names, tolerance=1e-9)
    # moving what a ratio is of moves the amount behind the ratio as well
    held = moved[~moved.field.isin({f.per for f in portfolio.fields if f.per})]
    assert (held.against == 0).all(), held


def test_it_is_kept_as_json_that_a_person_can_read(fitted, tmp_path):
    bundle = fitted.bundle
    write_bundle(bundle, tmp_path)
    assert (tmp_path / "member_0.json").is_file()
    table = json.loads((tmp_path / "member_0.json").read_text(encoding="utf-8"))
    labels = [b["label"] for c in table["characteristics"] for b in c["bins"]]
    assert labels.count("missing") == len(table["characteristics"])
    again = read_bundle(tmp_path)
    assert again.points == bundle.points
    columns = fitted.holdout.columns
    np.testing.assert_array_equal(again.log_odds(columns), bundle.log_odds(columns))
    assert again.score(columns).reasons == bundle.score(columns).reasons


def test_a_table_that_leaves_the_scale_is_refused(fitted, tmp_path):
    table = json.loads(fitted.bundle.points.to_bytes())
    table["characteristics"][0]["bins"][0]["points"] += 900
    write_bundle(fitted.bundle, tmp_path)
    (tmp_path / "member_0.json").write_bytes(changed := readable_json(table))
    with pytest.raises(BundleError, match="member_0.json"):
        read_bundle(tmp_path)
    with pytest.raises(ValueError, match="add up to"):
        PointsModel.from_bytes(changed)
    assert len(sha256(changed)) == 64


class GivenRegression(BaseEstimator):
    "A regression for OptBinning's scorecard that has been fitted before."

    def __init__(self, coefficients, intercept):
        self.coefficients, self.intercept = coefficients, intercept

    def fit(self, X, y):
        self.coef_ = np.array([self.coefficients])
        self.intercept_ = np.array([self.intercept])
        return self

    def predict(self, X):
        return np.zeros(len(X))

    predict_proba = predict


CODES = {f"code {i}": [-1e9 - i] for i in range(2)}  # values that nothing else has


def raw_table(characteristics, X):
    "The columns as a person would hand them to OptBinning: codes as values, levels as texts."
    columns = {}
    for c in characteristics:
        if c.levels is None:
            columns[c.name] = X[:, c.columns[0]].copy()
            for i, column in enumerate(c.code_columns):
                columns[c.name][X[:, column] == 1] = -1e9 - i
        else:
            bins = c.bin_of(X)
            columns[c.name] = np.where(bins == len(c.bins) - 1, None, bins.astype(str))
    return pd.DataFrame(columns)


def their_bins(c):
    "The same bins in OptBinning's words."
    if c.levels is None:
        return dict(user_splits=list(c.cuts), user_splits_fixed=[True] * len(c.cuts))
    used = [str(i) for i, b in enumerate(c.bins[:-2]) if b.rows]
    return dict(user_splits=np.array([[one] for one in used], object), user_splits_fixed=None)


def their_scorecard(estimator, X, y, scale):
    "OptBinning's table for the bins and the regression of a fitted classifier."
    chosen = estimator.model_.characteristics
    table = raw_table(chosen, X)
    process = BinningProcess(
        list(table),
        categorical_variables=[c.name for c in chosen if c.levels is not None],
        special_codes=CODES,
        binning_fit_params={
            c.name: {k: v for k, v in their_bins(c).items() if v is not None}
            | dict(monotonic_trend=None, max_n_prebins=1000)
            for c in chosen
        },
    )
    regression = GivenRegression([c.coefficient for c in chosen], estimator.intercept_)
    card = OptBinningScorecard(
        process,
        regression,
        scaling_method="pdo_odds",
        scaling_method_params=dict(
            pdo=scale.points_to_double,
            odds=scale.anchor_odds,
            scorecard_points=scale.anchor_score,
        ),
    )
    card.fit(table, y, metric_special="empirical", metric_missing="empirical")
    return card.table(style="detailed")


@pytest.mark.parametrize("name", ["gmsc", "personal"])
def test_weights_information_and_points_are_those_of_optbinning(name):
    portfolio = get_portfolio(name)
    sides = split(load(portfolio, None).take(np.arange(20_000)))
    training = fit_recipe(portfolio, scorecard_recipe(portfolio), *sides)
    ((pipeline, _),) = training.fitted.pipelines
    estimator, train = pipeline[-1], training.train
    X, model = pipeline[0].transform(train.frame), estimator.model_
    theirs = their_scorecard(estimator, X, train.y.astype(int), model.scale)
    points = exact_points(model.scale, list(model.characteristics), estimator.intercept_)
    compared = 0
    for c, own in zip(model.characteristics, points, strict=True):
        rows, defaults = (np.array([getattr(b, k) for b in c.bins]) for k in ("rows", "defaults"))
        table = theirs[theirs.Variable == c.name]
        iv = information_values(rows, defaults)
        for i, b in enumerate(c.bins):
            if b.rows < 30 or b.defaults == 0:
                continue  # OptBinning judges a bin by one loan
            found = table[(table.Count == b.rows) & (table.Event == b.defaults)]
            assert len(found) == 1, (c.name, b.label)
            for ours, column in ((b.woe, "WoE"), (iv[i], "IV"), (own[i], "Points")):
                np.testing.assert_allclose(ours, float(found[column].iloc[0]), rtol=0, atol=1e-9)
            compared += 1
    assert compared > 30


def test_a_level_that_no_training_row_had_counts_as_the_average():
    portfolio = get_portfolio("mortgage")
    data = load(portfolio, None).take(np.arange(4000))
    field = next(f for f in portfolio.fields if not f.numeric and f.name == "loan_purpose")
    level = field.categories[0]
    train = data.take(np.flatnonzero(data.frame[field.name] != level))
    training = fit_recipe(portfolio, scorecard_recipe(portfolio), *split(train))
    estimator = training.fitted.pipelines[0][0][-1]
    c = next(c for c in estimator.characteristics_ if c.name == field.name)
    unseen = c.bins[c.levels[0]]
    assert (unseen.label, unseen.rows, unseen.woe) == ("not seen in training", 0, 0.0)
    scores = training.bundle.score(data.columns).credit_score
    np.testing.assert_array_equal(scores, totals(training.bundle, data.columns))


def test_training_a_scorecard_leaves_its_name_in_the_provenance(gmsc):
    data = load(gmsc, None).take(np.arange(2500))
    made = train_model(gmsc, data, champion="scorecard", trials=1, progress=False)
    provenance = made.bundle.provenance
    assert provenance["champion"] == "scorecard"
    assert [m["recipe"]["candidate"] for m in provenance["members"]] == ["scorecard"]
    assert provenance["versions"]["optbinning"] and provenance["versions"]["ortools"]
    assert "points of bins" in made.bundle.card["explanation"]


def test_fitted_twice_it_is_the_same():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 3))
    y = rng.random(2000) < 1 / (1 + np.exp(2 - X[:, 0]))
    first, second = (ScorecardClassifier().fit(X, y).model() for _ in range(2))
    assert first == second


def test_a_linear_scale_has_no_points_and_is_refused_before_the_search(gmsc):
    linear = gmsc.model_copy(update=dict(scale=ScaleDefinition(method="linear")))
    data = load(gmsc, None).take(np.arange(1500))
    with pytest.raises(InvalidInput, match="double the odds"):
        fit_recipe(linear, scorecard_recipe(gmsc), *split(data))
    trials = []
    progress = lambda *told: trials.append(told)  # noqa: E731
    with pytest.raises(InvalidInput, match="choose another champion"):
        train_model(linear, data, champion="scorecard", trials=1, progress=progress)
    assert not trials
