"""The ablation, the benchmark models and the models fitted again: figures that agree with what the
training knows, the same when asked again, and honest where something cannot be measured.
"""

from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from credit_default.scoring.bundle import Bundle
from credit_default.training import benchmark_models, champion
from credit_default.training import folds as folds_module
from credit_default.training.ablation import ablation, ablation_sentence, plot_ablation
from credit_default.training.benchmark_models import (
    _spread_apart,
    challengers,
    plot_cost,
    recipe_pd,
)
from credit_default.training.binned_scorecard import QuantileBins
from credit_default.training.blending import operations
from credit_default.training.champion import choice_of, fit_choice
from credit_default.training.comparisons import BAG_SIZE, comparisons
from credit_default.training.evidence import changed_recipe, evidence_folds, reference_recipe
from credit_default.training.folds import Folds, reseeded
from credit_default.training.prediction_cost import prediction_cost
from credit_default.training.recipe import Recipe
from credit_default.training.refitting import (
    bootstrap_rows,
    pd_and_reasons,
    reason_stability,
    refit_members,
    seed_sensitivity,
)
from credit_default.training.search_space import SLOW_TREES_START, default_recipes
from credit_default.training.training import evaluate_on_holdout, fit_recipe
from credit_default.training.tuning import SearchOptions, tune

TREES = SLOW_TREES_START | dict(
    n_estimators=100, learning_rate=0.08, max_depth=3, colsample_bynode=0.5
)
TREES |= dict(colsample_bynode=0.5, min_child_weight=10.0, reg_lambda=1.0)
NETWORK = dict(hidden=16, epochs=15, alpha=0.1, learning_rate=0.003)
FIRST = [
    Recipe(parameters=TREES),
    Recipe(monotone=True, parameters=TREES),
    Recipe(candidate="network", imputation="median", parameters=NETWORK),
    Recipe(
        candidate="logistic", imputation="mice", monotone=True, parameters=dict(C=1.0, clip=0.05)
    ),
]
CHAMPION = "the champion"
BAG = f"an average over {BAG_SIZE} seeds"


def test_bins_and_scikit_learns_checks():
    from sklearn.utils.estimator_checks import check_estimator

    results = check_estimator(QuantileBins(), on_skip=None, on_fail=None)
    assert [r["check_name"] for r in results if r["status"] == "failed"] == []
    normal = QuantileBins().fit_transform(np.random.default_rng(0).normal(size=(1000, 1)))
    assert np.bincount(normal[:, 0]).tolist() == [100] * 10
    rarely_0 = QuantileBins().fit_transform((np.arange(1000) > 2)[:, None] * 1.0)
    assert np.bincount(rarely_0[:, 0]).tolist() == [3, 997]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("margins")


@pytest.fixture(scope="module")
def training(gmsc, loans, cache):
    "Trees and a network, averaged whatever the search says of that."
    train, holdout = loans
    options = SearchOptions(trials=4, first=FIRST, progress=False, cache=cache)
    search = tune(gmsc, train.frame, train.y, options)
    weights = {"xgboost": 0.4, "network": 0.6}
    members = {kind: (search.best[kind], weight) for kind, weight in weights.items()}
    fitted = fit_choice(gmsc, choice_of(members, search.folds), train, search)
    return evaluate_on_holdout(fitted, train, holdout)


@pytest.fixture(scope="module")
def folds(training):
    return evidence_folds(training)


@pytest.fixture(scope="module")
def table(training, folds):
    return ablation(training, folds, progress=False)


@pytest.fixture(scope="module")
def bare(gmsc, training):
    "A portfolio without directions and derived features, and folds of complete rows."
    fields = tuple(f.model_copy(update=dict(direction=0)) for f in gmsc.fields)
    portfolio = gmsc.model_copy(update=dict(derived=(), fields=fields))
    train = training.train
    complete = ~np.isnan(training.fitted.choice.folds.clean.values).any(axis=1)
    frame, y = train.frame[complete], train.y[complete]
    return SimpleNamespace(
        portfolio=portfolio, frame=frame, y=y, folds=Folds(portfolio, frame, y, 2)
    )


@pytest.fixture(scope="module")
def given(gmsc, training):
    "A training that was given a recipe: no search and no blend."
    smote = changed_recipe(
        reference_recipe(training), sampler="smote", imputation="mice", parameters=dict(ratio=0.3)
    )
    return fit_recipe(gmsc, smote, training.train, training.holdout)


@pytest.fixture(scope="module")
def held(gmsc, training):
    "A single model, held to directions."
    recipe = changed_recipe(reference_recipe(training), monotone=True)
    return fit_recipe(gmsc, recipe, training.train, training.holdout)


# ----------------------------------------------------------------------------------- the evidence
def test_the_evidence_is_taken_on_the_folds_of_the_search(training, folds):
    assert folds is training.fitted.choice.folds is evidence_folds(training, most=99_999)
    fewer = evidence_folds(training, most=2000)
    assert len(fewer.y) == 2000 and fewer.y.mean() == pytest.approx(folds.y.mean(), abs=1 / 2000)
    settings = [(f.seed, f.keep, f.cache, len(f)) for f in (fewer, folds)]
    assert settings[0] == settings[1]
    assert evidence_folds(training, most=2000).fingerprint == fewer.fingerprint
    assert (np.bincount(fewer.ids[fewer.y == 1]) > 0).all()
    assert evidence_folds(training, most=60).y.sum() == 2 * len(folds)


def test_the_recipe_that_choices_are_tried_on(gmsc, training, given, held):
    reference = reference_recipe(training)
    smote = next(iter(given.fitted.choice.members.values()))[0]
    assert smote.parameters == reference.parameters | dict(ratio=0.3) and not smote.monotone
    assert changed_recipe(smote, sampler="none", imputation="none") == reference
    assert reference_recipe(given) == smote
    assert reference_recipe(held) == reference  # set free
    choice = replace(held.fitted.choice, members={"network": (FIRST[2], 1.0)})
    network_alone = replace(held, fitted=replace(held.fitted, choice=choice))
    assert reference_recipe(network_alone) == default_recipes(gmsc)[0]


# ----------------------------------------------------------------------------------- the ablation
def test_figures_agree_with_what_the_training_knows(training, folds, table):
    by, reference = table.set_index("with_"), reference_recipe(training)
    members = training.fitted.choice.members.values()

    def mean_auc(margins):
        return np.mean([roc_auc_score(folds.y[v], margins[v]) for _, v in folds.splits])

    assert by.auc[CHAMPION] == mean_auc(training.fitted.choice.margins)
    alone = [np.mean([folds.auc(f, r) for f in range(len(folds))]) for r, _ in members]
    assert by.auc_without[CHAMPION] == pytest.approx(max(alone), abs=1e-12)
    native = np.mean([folds.auc(f, reference) for f in range(len(folds))])
    assert by.auc_without["MICE"] == pytest.approx(native, abs=1e-12)
    bag = np.mean([reseeded(folds, more).margins(reference) for more in range(BAG_SIZE)], axis=0)
    assert by.auc[BAG] == pytest.approx(mean_auc(bag), abs=1e-12)
    assert by.steps[BAG] == BAG_SIZE * operations(reference)


def test_intervals_hold_their_figures(table, folds):
    np.testing.assert_allclose(table.auc - table.auc_without, table.difference, atol=1e-12)
    assert ((table.low <= table.difference) & (table.difference <= table.high)).all()
    assert table.won.between(0, len(folds)).all()


def test_calibration_mends_smote_and_leaves_the_order(table):
    lesson = table[table.judged_by == "log-loss"].set_index("choice")
    assert lesson.difference.tolist() == [0, 0]
    bad = lesson.loc["SMOTE without calibration"]
    assert bad.mean_pd_over_rate_without > 1.5 and abs(bad.mean_pd_over_rate - 1) < 0.02
    assert bad.gain_low > 0 and bad.ece < bad.ece_without / 2
    gain = lesson.log_loss_without - lesson.log_loss
    np.testing.assert_allclose(lesson.log_loss_gain, gain, atol=1e-12)


def test_a_sentence_for_a_row():
    row = dict(judged_by="AUC", with_="MICE", without="native missing values")
    row |= dict(difference=-0.00011, low=-0.00042, high=0.00003, steps=10, steps_without=10)
    assert ablation_sentence(row) == (
        "With MICE instead of native missing values the AUC changes by -0.00011 (95 % interval "
        "-0.00042 to 0.00003): no difference that is statistically significant at 5 %."
    )
    row |= dict(with_=CHAMPION, difference=0.0012, low=0.0004, high=0.002, steps=3500)
    assert ablation_sentence(row).split("changes ")[1] == (
        "by 0.0012 (95 % interval 0.0004 to 0.0020): a gain that is statistically significant at "
        "5 %, at 3,500 operations a prediction instead of 10."
    )


def test_asked_again_nothing_is_fitted(training):
    def sampled():
        return ablation(training, evidence_folds(training, most=1500), progress=False)

    first = sampled()
    with patch.object(folds_module, "fit_fold", side_effect=AssertionError("fitted again")):
        pd.testing.assert_frame_equal(sampled(), first)  # from the cache
    with patch.object(training.fitted.choice.folds, "cache", None):
        pd.testing.assert_frame_equal(sampled(), first)  # and fitted anew


def test_what_does_not_apply_is_left_out(given, bare):
    left = ablation(given, bare.folds, progress=False)
    choices = ["Sampler", "Sampler", "Bag", "Calibration", "SMOTE without calibration"]
    assert left.choice.tolist() == choices and left.difference.notna().all()
    often = np.random.default_rng(0).random(len(bare.y)) < 0.4
    frequent = comparisons(given, Folds(bare.portfolio, bare.frame, often, 2))
    assert [c.with_ for c in frequent if "SMOTE" in c.with_] == []
    plot_ablation(left)  # does not fail


def test_what_cannot_be_fitted_says_so(gmsc, given, training):
    train = training.train
    failing = patch.object(
        folds_module, "make_sampler", side_effect=ValueError("too few neighbours")
    )
    with failing:
        broken = ablation(given, Folds(gmsc, train.frame, train.y, 2), progress=False)
    assert broken.difference.isna().all()
    assert broken.sentence.str.contains("could not be measured: too few neighbours").all()
    plot_ablation(broken)  # does not fail


def test_the_forest_plot_shows_the_table(table):
    ax = plot_ablation(table).axes[0]
    ranked = table[table.judged_by == "AUC"]
    assert len(ax.get_yticklabels()) == len(ranked)
    points = [float(line.get_xdata()[0]) for line in ax.lines if line.get_marker() == "o"]
    assert points == ranked.difference.tolist()[::-1]


# --------------------------------------------------------------------------- the benchmark models
TOY = dict(interactions=0, outer_bags=1, max_rounds=50)


@pytest.fixture(scope="module")
def rivals(training):
    return challengers(training, progress=False, ebm=TOY)


def test_the_champion_comes_first_with_its_own_figures(training, rivals):
    by = rivals.set_index("model")
    assert rivals.champion.tolist() == [True] + [False] * (len(rivals) - 1)
    for name in ("auc", "brier", "log_loss", "ece"):
        assert by[name]["champion"] == training.bundle.metrics[name]
    assert by.loc["champion", ["difference", "diff_low", "diff_high"]].tolist() == [0, 0, 0]
    np.testing.assert_allclose(
        (by.auc["champion"] - by.auc - by.difference).dropna(), 0, atol=1e-12
    )
    members = training.fitted.choice.members.values()
    assert by.steps["champion"] == sum(operations(r) for r, _ in members)


def test_a_challenger_is_what_the_training_would_make_of_it(gmsc, training, rivals):
    by = rivals.set_index("model")
    alone = fit_recipe(gmsc, FIRST[0], training.train, training.holdout)
    for name in ("auc", "brier", "log_loss"):
        assert by[name]["boosted trees"] == alone.bundle.metrics[name]
    assert {"single", "network", "random forest", "binned scorecard"} <= set(by.index)
    assert "boosted trees monotone" not in by.index  # the same as single
    ratio = by.mean_pd_over_rate
    assert by.auc["binned scorecard"] > 0.7
    assert abs(ratio["binned scorecard"] / ratio["champion"] - 1) < 0.15


def test_a_challenger_chooses_no_reference_population(training):
    unwanted = AssertionError("it gives no reasons")
    with patch.object(champion, "choose_background", side_effect=unwanted):
        assert len(recipe_pd(training, FIRST[0])) == len(training.holdout)


def test_challengers_are_fitted_once_and_do_without_interpret(training, rivals):
    again = AssertionError("fitted again")
    with (
        patch.object(benchmark_models, "fit_choice", side_effect=again),
        patch.object(LogisticRegression, "fit", side_effect=again),
    ):
        pd.testing.assert_frame_equal(challengers(training, progress=False, ebm=TOY), rivals)
    with (
        patch.dict("sys.modules", {"interpret": None, "interpret.glassbox": None}),
        patch("importlib.util.find_spec", lambda name: None),
    ):
        without = challengers(training, progress=False, ebm=TOY)
    pd.testing.assert_frame_equal(
        without[without.note == ""],
        rivals[rivals.model != "explainable boosting machine"].reset_index(drop=True),
    )
    assert "interpret is not installed" in without.note.iloc[-1]
    shown = plot_cost(without).axes[0].get_legend().texts
    assert len(shown) == without.auc.notna().sum()  # without figures there is no line


def test_a_single_champion_is_no_challenger_of_its_own(held):
    models = set(challengers(held, progress=False, ebm=False).model)
    assert models == {"champion", "random forest", "binned scorecard"}


def test_the_chart_of_costs_names_each_model(rivals):
    legend = [t.get_text().split(":")[0] for t in plot_cost(rivals).axes[0].get_legend().texts]
    assert legend == rivals.model[rivals.auc.notna()].tolist()
    spread = _spread_apart(np.array([100, 1, np.nan, 100, 500]), gap=1.21)
    np.testing.assert_allclose(np.nan_to_num(spread), [100 / 1.1, 1, 0, 110, 500])


# ------------------------------------------------------------------------------- fitted once more
def test_other_seeds(training):
    seeds = seed_sensitivity(training, (0, 1, 3), progress=False)
    own = ["difference", "mean_change", "largest_change", "decisions_changed"]
    assert seeds.loc[0, own].tolist() == [0, 0, 0, 0]
    assert seeds.auc[0] == training.bundle.metrics["auc"]
    assert (seeds.mean_change[1:] > 0).all() and (seeds.mean_change < 0.03).all()
    assert (seeds.largest_change >= seeds.mean_change).all()
    turned = seed_sensitivity(training, (3, 1), progress=False)
    pd.testing.assert_frame_equal(turned, seeds.loc[[2, 1]].reset_index(drop=True))


def test_other_rows_change_more_than_other_seeds(training):
    reasons = reason_stability(training, resamples=2, rows=200, progress=False)
    seeds = seed_sensitivity(training, (1, 3), progress=False)
    assert reasons.same_first.between(0.3, 1).all() and (reasons.pd_change > 0).all()
    assert reasons.pd_change.mean() > seeds.mean_change.mean()
    again = reason_stability(training, resamples=1, rows=200, progress=False)
    pd.testing.assert_frame_equal(again, reasons[:1])


def test_kept_reasons_are_those_of_the_smallest_contribution_that_counts(training):
    loose = reason_stability(training, resamples=1, rows=200, progress=False)
    portfolio = training.bundle.portfolio.model_copy(update=dict(smallest_reason=1.0))
    strict = replace(
        training,
        fitted=replace(training.fitted, bundle=replace(training.bundle, portfolio=portfolio)),
    )
    table = reason_stability(strict, resamples=1, rows=200, progress=False)
    assert 0 < table.applicants[0] < loose.applicants[0]
    assert table.same_first[0] != loose.same_first[0] and table.overlap[0] != loose.overlap[0]


def test_on_the_same_rows_the_same_answers(training, folds):
    columns = {k: v[:80] for k, v in training.holdout.columns.items()}
    same = refit_members(training, np.arange(len(training.train)), 0)
    np.testing.assert_array_equal(
        pd_and_reasons(same, columns), pd_and_reasons(training.bundle, columns)
    )
    drawn = bootstrap_rows(folds.y, np.random.default_rng(0))
    assert (folds.y[drawn].sum(), len(drawn)) == (folds.y.sum(), len(folds.y))
    assert 0.6 < len(np.unique(drawn)) / len(drawn) < 0.66  # 1 - 1/e


def test_the_cost_is_that_of_one_applicant_at_a_time(training, rivals):
    calls = []

    def score(self, applicant, reasons=True):
        calls.append((len(applicant["age"]), reasons))

    with patch.object(Bundle, "score", score):
        cost = prediction_cost(training.bundle, training.holdout.columns, repeats=3)
    assert calls == [(1, False)] * 8 + [(1, True)] * 8
    assert cost.steps == rivals.steps[0]
    assert list(cost.to_dict()) == ["pd_ms", "reasons_ms", "steps"]
