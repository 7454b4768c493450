"""Reasons by the distance from the best attainable: points lost, kept in the bundle; PDs stay."""

import dataclasses

import numpy as np
import pytest

from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.portfolio.reason_methods import ReasonsDefinition
from credit_default.scoring.bundle import BundleError
from credit_default.scoring.bundle_files import hash_bundle, read_bundle, write_bundle
from credit_default.training.recipe import Recipe
from credit_default.training.search_space import additive_recipe, scorecard_recipe
from credit_default.training.training import fit_recipe

BEST = ReasonsDefinition(method="best_attainable")
KINDS = ("trees", "glass", "scorecard")


def recipe_of(kind, portfolio):
    "A small recipe of a kind; the glass box without pairs."
    glass = additive_recipe(portfolio).model_copy(
        update=dict(parameters=dict(bins=32, pairs=0, bags=2))
    )
    trees = Recipe(parameters=dict(n_estimators=60, max_depth=3))
    return dict(trees=trees, glass=glass, scorecard=scorecard_recipe(portfolio))[kind]


@pytest.fixture(scope="module", params=KINDS)
def both(request):
    "The same model with each method of choosing reasons, and its holdout."
    usual = get_portfolio("personal")
    made = []
    for portfolio in (usual, usual.model_copy(update=dict(reasons=BEST))):
        sides = split(load(portfolio, None).take(np.arange(3000)))
        made.append(fit_recipe(portfolio, recipe_of(request.param, portfolio), *sides).bundle)
    return request.param, *made, sides


def test_a_definition_that_says_nothing_is_as_ever():
    portfolio = get_portfolio("personal")
    assert "reasons" not in portfolio.to_json()
    chosen = portfolio.model_copy(update=dict(reasons=BEST)).to_json()
    assert chosen["reasons"] == dict(method="best_attainable")
    with pytest.raises(ValueError, match="reasons.method"):
        type(portfolio).model_validate(chosen | dict(reasons=dict(method="best")))


def test_only_the_reasons_depend_on_the_method(both):
    _, usual, best, sides = both
    columns = sides[1].columns
    a, b = usual.score(columns), best.score(columns)
    assert usual.best is None and set(best.best) == set(best.names)
    np.testing.assert_array_equal(a.log_odds, b.log_odds)
    np.testing.assert_array_equal(a.credit_score, b.credit_score)
    assert a.helped == b.helped and a.decision == b.decision
    assert a.reasons != b.reasons
    for reasons, declined in zip(b.reasons, b.prediction, strict=True):
        strength = [reason["contribution"] for reason in reasons]
        assert strength == sorted(strength, reverse=True) and len(strength) <= 4
        assert all(one > 0 for one in strength)
        assert strength or not declined


def test_a_strength_is_the_distance_from_the_best_stated_value(both):
    kind, _, best, sides = both
    clean = best.clean(sides[0].columns)
    raw = best.explain_margin(clean)
    distance = raw.by_field - np.array([best.best[name] for name in best.names])
    features = best.members[0].features
    for j, field in enumerate(features.numeric):
        at = best.names.index(field.name)
        own = distance[clean.stated[:, j], at]
        # the best of a sample of the training rows; a curve is as good for all who have that value
        assert own.min() <= 1e-12
        if kind == "glass":
            assert abs(own.min()) < 1e-9
    _, contributions = best.calibrate_explanation(raw)
    shift = contributions - best.adverse(raw, contributions)
    constants = np.array([best.best[name] for name in best.names])
    strongest = np.abs(constants).argmax()
    slope = shift[:, strongest] / constants[strongest]
    np.testing.assert_allclose(shift, slope[:, None] * constants, atol=1e-9)


def test_on_a_scorecard_it_is_the_points_lost():
    "Of the characteristics that are a field's own, the points of the best bin less one's own."
    portfolio = get_portfolio("personal").model_copy(update=dict(reasons=BEST))
    recipe = scorecard_recipe(portfolio).model_copy(update=dict(derived=False))
    sides = split(load(portfolio, None).take(np.arange(3000)))
    bundle = fit_recipe(portfolio, recipe, *sides).bundle
    clean = bundle.clean(sides[1].columns)
    (X,) = bundle.matrices(clean)
    features = bundle.members[0].features.features
    points = bundle.points.points(X)
    distance = bundle.explain_margin(clean).by_field - np.array(
        [bundle.best[name] for name in bundle.names]
    )
    for j, one in enumerate(bundle.points.characteristics):
        at = bundle.names.index(features[one.columns[0]].fields[0])
        stated = one.bins[: len(one.bins) - 1 - len(one.code_columns)]
        lost = max(b.points for b in stated) - points[:, j]
        np.testing.assert_allclose(distance[:, at] * bundle.points.scale.factor, lost, atol=1e-9)


def test_the_bundle_keeps_it(both, tmp_path):
    _, usual, best, sides = both
    assert hash_bundle(usual) != hash_bundle(best)
    (tmp_path / "best").mkdir()
    write_bundle(best, tmp_path / "best")
    read = read_bundle(tmp_path / "best")
    assert read.best == best.best
    columns = {name: values[:300] for name, values in sides[1].columns.items()}
    assert read.score(columns).reasons == best.score(columns).reasons
    one = {name: values[7:8] for name, values in columns.items()}
    assert read.score(one).reasons[0] == best.score(columns).reasons[7]


@pytest.mark.parametrize("wrong", [None, {}, {"person_age": 0.5}])
def test_a_bundle_without_its_best_values_is_refused(both, tmp_path, wrong):
    _, _, best, _ = both
    (tmp_path / "damaged").mkdir()
    write_bundle(dataclasses.replace(best, best=wrong), tmp_path / "damaged")
    with pytest.raises(BundleError, match="best_attainable.json"):
        read_bundle(tmp_path / "damaged")
