"""A champion that can be read whole: chosen, fitted, kept as tables, and true to interpret."""

from types import SimpleNamespace

import numpy as np
import pytest
from interpret.glassbox import ExplainableBoostingClassifier

from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.evaluation.charts.additive import plot_curve, plot_pairs
from credit_default.evaluation.validation.monotonicity import monotonicity
from credit_default.portfolio.catalogue import SHIPPED, get_portfolio
from credit_default.scoring.bundle_files import read_bundle, write_bundle
from credit_default.scoring.features import FeatureMap
from credit_default.scoring.models.additive import AdditiveModel
from credit_default.training.additive.classifier import (
    BINS_OF_PAIRS,
    BOOSTING,
    AdditiveClassifier,
    bin_numbers,
    term_inputs,
)
from credit_default.training.additive.printed import (
    added_up,
    bin_table,
    print_glass_box,
    term_table,
)
from credit_default.training.champion import GLASSBOX_BAGS, choose_members
from credit_default.training.search_space import additive_recipe
from credit_default.training.training import fit_recipe, train_model
from credit_default.training.tuning import SearchOptions, tune

SMALL = dict(bins=32, pairs=5, bags=3)


def small_recipe(portfolio):
    return additive_recipe(portfolio).model_copy(update=dict(parameters=SMALL))


@pytest.fixture(scope="module", params=[*SHIPPED, "gmsc with derived features"])
def fitted(request):
    "A small glass box of each portfolio's synthetic sample."
    name, *derived = request.param.split(" ", 1)
    portfolio = get_portfolio(name)
    train, holdout = split(load(portfolio, None).take(np.arange(3000)))
    recipe = small_recipe(portfolio).model_copy(update=dict(derived=bool(derived)))
    return fit_recipe(portfolio, recipe, train, holdout)


@pytest.fixture(scope="module")
def matrices():
    "Raw fields of a portfolio with categories, some of them missing or listed and never seen."
    portfolio = get_portfolio("mortgage")
    data = load(portfolio, None).take(np.arange(4000))
    features = FeatureMap(portfolio, (), derived=False)
    clean = features.clean(data.columns)
    clean.values[::7, ::2] = np.nan
    clean.levels[::5, 0] = -1
    X = features.matrix(clean, clean.values)
    train, test = np.arange(2000), np.arange(2000, 4000)
    inputs = term_inputs(features.features)
    category = next(one for one in inputs if not one.numeric)
    seen = X[:, category.columns[0]] == 0
    train = train[seen[train]]  # no row of the first level
    assert (~seen[test]).any()
    return inputs, X[train], data.y[train].astype(int), X[test]


def inputs_as_texts(inputs, cuts, X):
    "The same applicants as a person would hand them to interpret: categories by name."
    columns = []
    for one, numbers in zip(inputs, bin_numbers(inputs, cuts, X).T, strict=True):
        if one.numeric:
            columns.append(numbers.astype(object))
            continue
        named = [None if np.isnan(level) else f"level {level:.0f}" for level in numbers]
        columns.append(np.array(named, object))
    return np.column_stack(columns)


def test_tables_say_what_interpret_says(matrices):
    inputs, X, y, X_test = matrices
    free = [one._replace(direction=0) for one in inputs]
    ours = AdditiveClassifier(free, pairs=6, bags=2, seed=3).fit(X, y)
    types = ["continuous" if one.numeric else "nominal" for one in ours.inputs_]
    machine = ExplainableBoostingClassifier(
        feature_types=types,
        max_interaction_bins=BINS_OF_PAIRS,
        interactions=6,
        outer_bags=2,
        random_state=3,
        n_jobs=1,
        **BOOSTING,
    )
    machine.fit(inputs_as_texts(inputs, ours.cuts_, X), y)
    theirs = machine.decision_function(inputs_as_texts(inputs, ours.cuts_, X_test))
    np.testing.assert_allclose(ours.decision_function(X_test), theirs, rtol=0, atol=1e-9)


def test_the_bundle_says_what_the_pipeline_says(fitted):
    bundle, holdout = fitted.bundle, fitted.holdout
    margin = bundle.margin(bundle.matrices(bundle.clean(holdout.columns)))
    np.testing.assert_array_equal(margin, fitted.fitted.margin(holdout.frame))


def test_contributions_add_up_and_one_applicant_is_scored_as_among_others(fitted):
    bundle, columns = fitted.bundle, fitted.holdout.columns
    clean = bundle.clean(columns)
    raw = bundle.explain_margin(clean)
    together = raw.base + raw.by_field.sum(axis=1)
    np.testing.assert_allclose(together, raw.margin, rtol=0, atol=1e-9)
    log_odds, contributions = bundle.explain(clean)
    for i in (0, 17, 301):
        alone = bundle.explain(bundle.clean({k: v[i : i + 1] for k, v in columns.items()}))
        np.testing.assert_array_equal(alone[0], log_odds[i : i + 1])
        np.testing.assert_array_equal(alone[1], contributions[i : i + 1])


def test_it_is_kept_as_arrays_and_comes_back_to_the_last_bit(fitted, tmp_path):
    bundle = fitted.bundle
    (member,) = bundle.members
    assert isinstance(member.model, AdditiveModel)
    write_bundle(bundle, tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".npz"}
    again = read_bundle(tmp_path).score(fitted.holdout.columns)
    own = bundle.score(fitted.holdout.columns)
    np.testing.assert_array_equal(again.probability_default, own.probability_default)
    assert again.reasons == own.reasons


def test_no_applicant_moves_against_a_direction(fitted):
    bundle, holdout = fitted.bundle, fitted.holdout

    def pds(columns):
        return bundle.score(columns, reasons=False).probability_default

    portfolio = bundle.portfolio
    moved = monotonicity(pds, holdout.columns, portfolio, bundle.names, tolerance=1e-9)
    direct = [f for f in portfolio.fields if f.direction and f.name in bundle.names]
    # moving what a ratio is of moves the amount behind the ratio as well
    bases = {f.per for f in portfolio.fields if f.per}
    held = moved[~moved.field.isin(bases)]
    assert (held.against == 0).all(), held
    assert len(moved) == len([f for f in direct if f.numeric])


def served(recipe):
    "What may be served of a recipe: with the bags of a glass box, and derived features or not."
    bags = recipe.model_copy(update=dict(parameters=recipe.parameters | dict(bags=GLASSBOX_BAGS)))
    return [bags, bags.model_copy(update=dict(derived=True))]


def test_a_glass_box_is_chosen_without_a_trial_of_its_own(gmsc, loans, monkeypatch):
    train, _ = loans
    first = [small_recipe(gmsc)]
    options = SearchOptions(trials=2, progress=False)
    tuning = tune(gmsc, train.frame, train.y, options)
    assert "additive" not in {kind.split()[0] for kind in tuning.best}
    monkeypatch.setattr("credit_default.training.champion.additive_recipe", small_recipe)
    choice = choose_members(tuning, "glassbox")
    ((recipe, _),) = choice.members.values()
    assert recipe in served(first[0])


def test_a_search_of_additive_models_alone_gives_its_best(gmsc, loans):
    train, _ = loans
    first = [small_recipe(gmsc)]
    options = SearchOptions(trials=1, progress=False, candidates=("additive",), first=first)
    tuning = tune(gmsc, train.frame, train.y, options)
    choice = choose_members(tuning, "glassbox")
    ((recipe, _),) = choice.members.values()
    assert recipe in served(first[0])


class KnownFolds:
    "Folds whose margins are right by a recipe with derived features, or by one without."

    judged_y, judged_ids = np.tile([0, 1], 20), np.repeat([0, 1], 20)

    def __init__(self, portfolio, derived):
        self.portfolio, self.derived = portfolio, derived

    def __len__(self):
        return 2

    def margins(self, recipe):
        return self.judged_y * (1.0 if recipe.derived == self.derived else -1.0)


@pytest.mark.parametrize("found", [True, False])
@pytest.mark.parametrize("worth_it", [True, False])
def test_derived_features_join_a_glass_box_where_they_are_worth_it(gmsc, found, worth_it):
    best = additive_recipe(gmsc).model_copy(update=dict(derived=found))
    tuning = SimpleNamespace(best={best.kind: best}, folds=KnownFolds(gmsc, worth_it))
    ((recipe, _),) = choose_members(tuning, "glassbox").members.values()
    assert recipe.derived == worth_it and recipe.monotone


def test_training_a_glass_box_leaves_its_name_in_the_provenance(gmsc, monkeypatch):
    monkeypatch.setattr("credit_default.training.champion.additive_recipe", small_recipe)
    data = load(gmsc, None).take(np.arange(2500))
    made = train_model(gmsc, data, champion="glassbox", trials=1, progress=False)
    provenance = made.bundle.provenance
    assert provenance["champion"] == "glassbox"
    assert [m["recipe"]["candidate"] for m in provenance["members"]] == ["additive"]
    assert provenance["versions"]["interpret-core"]
    assert made.bundle.card["directions"].startswith("every member is held")


def test_the_number_of_threads_changes_nothing():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(500, 3)), rng.random(500) < 0.2
    models = [AdditiveClassifier(bags=4, pairs=1, threads=n).fit(X, y) for n in (1, 2)]
    np.testing.assert_array_equal(*[m.decision_function(X) for m in models])


def test_every_term_is_printed_in_the_words_of_the_portfolio(fitted):
    portfolio, train = fitted.bundle.portfolio, fitted.train
    box = print_glass_box(fitted.fitted, train.frame)
    (member,) = fitted.bundle.members
    derived = [d.title for d in member.features.derived if d.direction]
    assert len(box.curves) == len(fitted.bundle.names) + len(derived)
    assert len(box.terms) == len(member.model.terms)
    titles = [f.title for f in portfolio.fields] + derived
    assert all(any(a.title.startswith(t) for t in titles) for c in box.curves for a in c.axes)
    table = term_table(box)
    assert table["size"].is_monotonic_decreasing and table.share.sum() == pytest.approx(1)
    for term in box.curves:
        rows = bin_table(term)
        assert sum(row["n"] for row in rows) == len(train)
        assert len(rows) == len(term.scores)


def test_printed_bins_and_tables_are_those_that_score(fitted):
    "From what is printed alone a person gets the margin that the service computes."
    box = print_glass_box(fitted.fitted, fitted.train.frame)
    bundle, few = fitted.bundle, range(25)
    for i in few:
        one = {name: values[i : i + 1] for name, values in fitted.holdout.columns.items()}
        parts = added_up(fitted.fitted, box, one)
        margin = bundle.margin(bundle.matrices(bundle.clean(one)))[0]
        assert box.intercept + parts.score.sum() == pytest.approx(margin, abs=1e-9)
        for term in box.curves:
            score = parts.score[parts.term == term.title].iloc[0]
            assert np.abs(term.scores - score).min() == 0


def test_every_term_can_be_drawn(fitted):
    box = print_glass_box(fitted.fitted, fitted.train.frame)
    for term in box.curves:
        (axis,), fig = term.axes, plot_curve(term)
        assert fig.axes[0].get_title(loc="left").startswith(axis.title)
        if axis.cuts is not None:
            (line,) = [line for line in fig.axes[0].lines if line.get_label() == "curve"]
            np.testing.assert_array_equal(line.get_ydata()[:-1], term.scores[1:])
        # where a value may be missing, a code or implausible, a mark of its own says so
        assert len(fig.axes) == (4 if axis.cuts is not None and axis.absent else 2)
    fig = plot_pairs(box.pairs[:1], 0.5)
    assert fig.axes[0].images[0].get_array().shape[0] >= len(box.pairs[0].axes[1].counts) - 1
