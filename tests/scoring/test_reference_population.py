"""The reference population in a bundle, and fields' Shapley values found by sampling."""

from dataclasses import replace

import numpy as np
import pytest

from credit_default.data.synthetic import synthesize
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.columns import parse_table
from credit_default.scoring.bundle import Bundle, BundleError
from credit_default.scoring.bundle_files import (
    hash_bundle,
    make_golden_rows,
    read_bundle,
    write_bundle,
)
from credit_default.scoring.calibration import Calibrator
from credit_default.scoring.ensemble import export_member
from credit_default.scoring.features import Clean
from credit_default.scoring.models import trees
from credit_default.scoring.models.arrays import array_bytes
from credit_default.scoring.scorecard import Scorecard
from credit_default.training.champion import add_background
from credit_default.training.pipeline import make_pipeline
from credit_default.training.search_space import default_recipes

ROWS = 3000
CACHE = {}


def blend(name: str) -> tuple[Bundle, dict]:
    "A blend of one member of each kind without a population, and the sample it was fitted on."
    if name not in CACHE:
        portfolio = SHIPPED[name]
        frame, y, _ = synthesize(portfolio, ROWS, seed=3)
        recipes = {r.candidate: r for r in reversed(default_recipes(portfolio))}
        kinds = dict(xgboost=0.5, network=0.25, logistic=0.25)
        members = [
            export_member(make_pipeline(portfolio, recipes[kind]).fit(frame, y), weight)
            for kind, weight in kinds.items()
        ]
        columns = parse_table(portfolio, frame)
        bundle = Bundle(portfolio, members, Calibrator(), Scorecard(cut_off=0.1))
        bundle.golden = make_golden_rows(bundle, {k: v[:50] for k, v in columns.items()})
        CACHE[name] = bundle, columns
    return CACHE[name]


def some(columns, rows):
    return {name: values[rows] for name, values in columns.items()}


def sampled_shapley(bundle, clean, row, population, pairs, rng):
    "Shapley values of the fields in log-odds before calibration, by orders and their reverses."
    features, names = bundle.members[0].features, bundle.names
    numbers = [names.index(f.name) for f in features.numeric]
    levels = [names.index(f.name) for f in features.categories]
    order = rng.permuted(np.tile(np.arange(len(names)), (pairs, 1)), axis=1)
    rank = np.argsort(np.stack([order, order[:, ::-1]], axis=1), axis=2)
    changed = rank[:, :, None, :] < np.arange(len(names) + 1)[:, None]
    x = changed.reshape(-1, len(names))
    theirs = np.repeat(rng.choice(population, pairs), len(x) // pairs)
    tried = Clean(
        np.where(x[:, numbers], clean.values[row], clean.values[theirs]),
        np.where(x[:, numbers], clean.coded[row], clean.coded[theirs]),
        np.where(x[:, numbers], clean.stated[row], clean.stated[theirs]),
        np.where(x[:, levels], clean.levels[row], clean.levels[theirs]),
    )
    margins = bundle.margin(bundle.matrices(tried)).reshape(pairs, 2, -1)
    return np.take_along_axis(np.diff(margins, axis=2), rank, axis=2).mean(axis=(0, 1))


@pytest.mark.parametrize("name", ["gmsc", "personal"])
def test_first_contributions_agree_with_shapley_values_of_the_fields(name):
    plain, columns = blend(name)
    bundle = add_background(plain, columns, 0)
    clean = bundle.clean(columns)
    riskiest = np.argsort(-bundle.log_odds(columns))[: ROWS // 5]
    rows, rng = riskiest[::10], np.random.default_rng(0)
    population = np.setdiff1d(np.arange(ROWS), riskiest[::10])
    wanted = np.array([sampled_shapley(bundle, clean, r, population, 200, rng) for r in rows])
    own = bundle.clean(some(columns, rows))
    agreement = {
        kind: float((one.explain_margin(own).by_field.argmax(1) == wanted.argmax(1)).mean())
        for kind, one in (("before", plain), ("after", bundle))
    }
    assert agreement["after"] >= 0.88, agreement  # 60 applicants: 0.95 less two standard errors
    assert agreement["after"] >= agreement["before"], agreement


def test_all_members_count_from_the_mean_margin_of_the_population():
    plain, columns = blend("gmsc")
    bundle = add_background(plain, columns, 0)
    clean = bundle.clean(some(columns, np.arange(200)))
    raw = bundle.explain_margin(clean)
    for model, baseline in zip(bundle.models, bundle.baselines, strict=True):
        mean = baseline.weights @ model.margin(baseline.X)
        np.testing.assert_allclose(model.explain(baseline.X).base, mean, atol=1e-5)
    np.testing.assert_array_equal(raw.margin, plain.explain_margin(clean).margin)
    log_odds, contributions = bundle.explain(clean)
    base = bundle.calibrator.log_odds(raw.base)
    np.testing.assert_allclose(base + contributions.sum(axis=1), log_odds, atol=1e-9)


def test_scores_do_not_depend_on_the_population():
    plain, columns = blend("gmsc")
    bundle = add_background(plain, columns, 0)
    np.testing.assert_array_equal(bundle.log_odds(columns), plain.log_odds(columns))
    one = some(columns, np.arange(1))
    np.testing.assert_array_equal(bundle.score(one).log_odds, plain.score(one).log_odds)


def test_a_bundle_keeps_its_population_and_an_older_one_has_none(tmp_path):
    plain, columns = blend("gmsc")
    bundle, few = add_background(plain, columns, 0), some(columns, np.arange(20))
    for one, folder in ((plain, "old"), (bundle, "new")):
        (tmp_path / folder).mkdir()
        write_bundle(one, tmp_path / folder)
        again = read_bundle(tmp_path / folder)
        assert again.score(few).reasons == one.score(few).reasons
        assert again.baseline_text == one.baseline_text
    assert not (tmp_path / "old" / "background.npz").exists()
    assert "no reference population" in plain.baseline_text
    assert hash_bundle(plain) != hash_bundle(bundle)


def test_trees_that_cannot_count_from_the_population_are_named(monkeypatch):
    plain, columns = blend("gmsc")
    assert "the same for all members" in add_background(plain, columns, 0).baseline_text
    monkeypatch.setattr(trees, "MAX_TABLE_ENTRIES", 10)
    bundle = add_background(plain, columns, 0)
    assert "trees too deep for tables have XGBoost's own start" in bundle.baseline_text
    few = some(columns, np.arange(20))
    log_odds, contributions = bundle.explain(bundle.clean(few))
    base = bundle.calibrator.log_odds(bundle.explain_margin(bundle.clean(few)).base)
    np.testing.assert_allclose(base + contributions.sum(axis=1), log_odds, atol=1e-6)


@pytest.mark.parametrize("extreme", [5e-324, 1.4e-45, 1e-300, 1e15, 1e308])
@pytest.mark.parametrize("name", ["gmsc", "personal"])
def test_extreme_values_have_reasons_in_numbers(name, extreme):
    plain, columns = blend(name)
    bundle, rows = add_background(plain, columns, 0), some(columns, np.arange(40))
    numbers = [k for k, values in rows.items() if values.dtype == float]
    for i, field in enumerate(numbers):
        rows[field] = np.where(np.arange(40) % len(numbers) == i, extreme, rows[field])
    rows[numbers[0]] = np.full(40, extreme)
    log_odds, contributions = bundle.explain(bundle.clean(rows))
    assert np.isfinite(contributions).all()
    base = bundle.calibrator.log_odds(bundle.explain_margin(bundle.clean(rows)).base)
    np.testing.assert_allclose(base + contributions.sum(axis=1), log_odds, atol=1e-9)


@pytest.mark.parametrize("part", ["values", "weights"])
def test_a_population_that_does_not_fit_is_refused(tmp_path, part, monkeypatch):
    plain, columns = blend("gmsc")
    bundle = add_background(plain, columns, 0)
    arrays = bundle.background.to_arrays()
    arrays[part] = arrays[part][:, :-1] if part == "values" else arrays[part] * 2
    monkeypatch.setattr(type(bundle.background), "to_arrays", lambda self: arrays)
    write_bundle(bundle, tmp_path)
    assert array_bytes(arrays)
    with pytest.raises(BundleError, match="reference population"):
        read_bundle(tmp_path)


def test_no_row_of_the_population_is_an_applicant():
    plain, columns = blend("personal")
    bundle = add_background(plain, columns, 0)
    clean = bundle.clean(columns)
    sent = np.column_stack([np.nan_to_num(clean.values), clean.levels])
    kept = bundle.background.clean
    rows = np.column_stack([np.nan_to_num(kept.values), kept.levels])
    assert not (rows[:, None] == sent).all(axis=2).any()
    assert replace(bundle).background is bundle.background
