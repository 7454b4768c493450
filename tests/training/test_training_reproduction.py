"""A model trained again: from dated loans, from a recipe, from a record that was tampered with."""

from dataclasses import replace

import numpy as np
import pytest

from credit_default.data.dataset import from_table
from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.data.synthetic import save_sample
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.scoring.registry import load_bundle, save_bundle
from credit_default.training.recipe import Recipe
from credit_default.training.reproduction import (
    PARTS,
    ReproductionError,
    compare_data,
    data_of,
    reproduce_training,
)
from credit_default.training.reproduction_report import reproduction_lines
from credit_default.training.search_space import SLOW_TREES_START, default_recipes
from credit_default.training.training import fit_recipe, train_model

TREES = SLOW_TREES_START | dict(n_estimators=100, learning_rate=0.08, max_depth=3)
TREES |= dict(colsample_bynode=0.5, min_child_weight=10.0, reg_lambda=1.0)
FIRST = [
    Recipe(parameters=TREES),
    Recipe(candidate="logistic", imputation="median", parameters=dict(C=1.0, clip=0.05)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("loans")


@pytest.fixture(scope="module")
def file(gmsc, folder):
    return save_sample(gmsc, folder, 3000, seed=7)


@pytest.fixture(scope="module")
def bundle(gmsc, file):
    training = train_model(gmsc, load(gmsc, file), first=FIRST, trials=3, progress=False)
    return load_bundle(save_bundle(training.bundle))


def test_the_same_to_the_last_digit(bundle, file):
    found = reproduce_training(bundle, data_of(bundle, file))
    assert found.agrees and found.circumstances == [] and found.trials.trials == 3
    lines = reproduction_lines(found)
    assert lines[0] == "The same to the last digit." and len(lines) == 1 + len(PARTS)
    keys = ["tag", "agrees", "seed", "data", "trials", "members", "figures", "content_hash"]
    assert list(found.to_dict()) == [*keys, "circumstances"]


def test_another_seed_says_so(bundle, file):
    found = reproduce_training(bundle, data_of(bundle, file), seed=1)
    assert not found.agrees and not found.content_hash.agrees and found.data.agrees
    assert found.seed == dict(recorded=0, used=1) and found.trials.first_difference == 1
    [line] = [line for line in reproduction_lines(found) if "seed" in line]
    assert line.startswith("The seed was 1 this time, and 0 in the record")


def test_a_figure_that_was_flattered(bundle, file):
    better = bundle.metrics | dict(auc=bundle.metrics["auc"] + 0.01)
    found = reproduce_training(
        replace(bundle, metrics=better, tag=bundle.tag), data_of(bundle, file)
    )
    assert [d.what for d in found.figures.differences] == ["auc"]
    assert not found.agrees and found.content_hash.agrees
    assert "what was written down about it is not what came out" in reproduction_lines(found)[-1]


def test_dates_are_part_of_the_data(folder):
    lending = get_portfolio("lending")
    dated = load(lending, save_sample(lending, folder, 3000))
    of_loans = fit_recipe(lending, FIRST[0], *split(dated)).bundle
    later = (dated.dates + (np.arange(len(dated)) == 0)).astype(str)  # one of them, by a day
    table = dated.frame.assign(default=dated.y, disbursal_date=later)
    dates = from_table(lending, table).provenance["dates"]
    moved = replace(dated, provenance=dated.provenance | dict(dates=dates))
    assert [compare_data(of_loans, d).agrees for d in (dated, moved)] == [True, False]
    found = reproduce_training(of_loans, moved)
    assert not found.agrees and found.trials is None
    lines = reproduction_lines(found)
    assert lines[0].startswith("NOT THE SAME DATA") and ", of the dates " in lines[1]


def test_a_model_that_was_given_by_its_recipe(gmsc, file):
    recipe = next(r for r in default_recipes(gmsc) if r.candidate == "logistic")
    bundle = fit_recipe(gmsc, recipe, *split(load(gmsc, file), 0.25, seed=3), seed=5).bundle
    found = reproduce_training(bundle, data_of(bundle, file))
    assert found.agrees
    assert "trials: none, the recipe was given without a search" in reproduction_lines(found)


def test_a_record_that_does_not_suffice(gmsc, bundle, file):
    data = load(gmsc, file)
    with pytest.raises(ReproductionError, match=r"does not record data\.split"):
        reproduce_training(replace(bundle, provenance={}), data)
    for lost in ("{}x", Recipe(parameters=dict(max_depth=50)).model_dump_json()):
        search = dict(search=dict(records=[dict(recipe=lost)]))
        damaged = replace(bundle, provenance=bundle.provenance | search)
        with pytest.raises(ReproductionError, match="trial 1 is no recipe"):
            reproduce_training(damaged, data)
