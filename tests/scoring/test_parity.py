"""The notebook's pipeline, the bundle in memory, the bundle from the store and single rows give the
same answers.
"""

import functools
import shutil

import numpy as np
import pytest
from served import BLEND, blend_of

from credit_default.data.loading import load
from credit_default.data.sources import Source, find
from credit_default.data.split import split
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.columns import parse_table
from credit_default.scoring.bundle import Bundle, BundleError
from credit_default.scoring.bundle_files import hash_bundle, read_bundle, write_bundle
from credit_default.scoring.calibration import Calibrator
from credit_default.scoring.ensemble import export_member
from credit_default.scoring.models.arrays import array_bytes, bytes_arrays
from credit_default.scoring.registry import load_bundle
from credit_default.scoring.scorecard import Scorecard
from credit_default.training.champion import fit_choice
from credit_default.training.pipeline import make_pipeline, margin
from credit_default.training.search_space import default_recipes
from credit_default.training.training import (
    evaluate_on_holdout,
    fit_recipe,
    save_training,
    train_model,
)

KINDS = ("xgboost", "logistic", "network", "forest", "smote")


def synthetic(name, rows=4000):
    return load(SHIPPED[name], Source("synthetic", None, "synthetic sample"), seed=3).take(
        range(rows)
    )


def recipe_of(portfolio, kind):
    """A recipe of each kind of model; `smote` is the one with MICE and SMOTE, whose PDs the
    calibrator has to mend.
    """
    if kind == "smote":
        return next(
            r
            for r in default_recipes(portfolio)
            if r.sampler == "smote" and r.candidate == "xgboost"
        )
    return next(r for r in default_recipes(portfolio) if r.candidate == kind)


@functools.cache
def trained(name, kind):
    "A model of the synthetic sample: one of KINDS, or a blend of three of them."
    portfolio = SHIPPED[name]
    train, holdout = split(synthetic(name), 0.25, seed=0)
    if kind != "blend":
        return fit_recipe(portfolio, recipe_of(portfolio, kind), train, holdout)
    return evaluate_on_holdout(
        fit_choice(portfolio, blend_of(portfolio, train), train), train, holdout
    )


def same_margins(pipeline, member, holdout):
    """Raises where a pipeline and its export differ in a bit: both compute with
    `credit_default.scoring.models`.
    """
    np.testing.assert_array_equal(
        member.model.margin(member.matrix(holdout.columns)), margin(pipeline, holdout.frame)
    )


@pytest.mark.parametrize("name", sorted(SHIPPED))
@pytest.mark.parametrize("kind", [*KINDS, "blend"])
def test_notebook_and_bundle_agree(name, kind):
    training = trained(name, kind)
    fitted, holdout, columns = (
        training.fitted,
        training.holdout,
        parse_table(SHIPPED[name], training.holdout.frame),
    )
    for (pipeline, _), member in zip(fitted.pipelines, fitted.bundle.members, strict=True):
        same_margins(pipeline, member, holdout)
    together = fitted.bundle.margin(fitted.bundle.matrices(fitted.bundle.clean(columns)))
    if kind == "blend":
        np.testing.assert_allclose(together, fitted.margin(holdout.frame), rtol=0, atol=1e-9)
    else:
        np.testing.assert_array_equal(together, fitted.margin(holdout.frame))

    stored = load_bundle(save_training(training), name)
    scores = stored.score(columns)
    np.testing.assert_array_equal(stored.margin(stored.matrices(stored.clean(columns))), together)
    np.testing.assert_array_equal(scores.log_odds, training.scores.log_odds)
    for i in range(0, len(holdout), max(1, len(holdout) // 100)):
        alone = stored.score({k: v[i : i + 1] for k, v in columns.items()})
        assert alone.answer(0) == scores.answer(i)


@pytest.mark.parametrize("name", sorted(SHIPPED))
@pytest.mark.parametrize("kind", [*KINDS, "blend"])
def test_contributions_sum_to_the_calibrated_log_odds(name, kind):
    bundle, columns = trained(name, kind).bundle, trained(name, kind).holdout.columns
    matrices = bundle.matrices(bundle.clean(columns))
    log_odds, contributions = bundle.explain(bundle.clean(columns))
    np.testing.assert_array_equal(log_odds, bundle.log_odds(columns))
    base = sum(
        weight * model.explain(X)[2]
        for weight, model, X in zip(bundle.weights, bundle.models, matrices)
    )
    np.testing.assert_allclose(
        bundle.calibrator.log_odds(base) + contributions.sum(axis=1), log_odds, atol=1e-4
    )


def test_a_champion_that_was_searched_for_agrees_too():
    "The whole way, search and blend: what the pipelines say is what the stored bundle says."
    training = train_model(SHIPPED["gmsc"], synthetic("gmsc"), trials=4, progress=False)
    stored = load_bundle(save_training(training), "gmsc")
    np.testing.assert_allclose(
        stored.margin(stored.matrices(stored.clean(training.holdout.columns))),
        training.fitted.margin(training.holdout.frame),
        rtol=0,
        atol=1e-9,
    )
    for (pipeline, _), member in zip(training.fitted.pipelines, stored.members, strict=True):
        same_margins(pipeline, member, training.holdout)


def test_same_seed_same_bundle():
    "Two trainings with one seed: the same figures and the same content hash."
    portfolio = SHIPPED["gmsc"]

    def once():
        train, holdout = split(synthetic("gmsc"), 0.25, seed=0)
        made = fit_recipe(portfolio, recipe_of(portfolio, "smote"), train, holdout).bundle
        return hash_bundle(made), made.metrics

    assert once() == once()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    "The folder of a small blend."
    folder = tmp_path_factory.mktemp("bundle") / "credit_default_personal" / "v1"
    folder.mkdir(parents=True)
    write_bundle(trained("personal", "blend").bundle, folder)
    return folder


def test_no_pickle(exported):
    assert {p.suffix for p in exported.iterdir()} == {".json", ".npz", ".ubj"}
    for path in exported.iterdir():
        if path.suffix == ".npz":
            np.load(path, allow_pickle=False)


def damaged(exported, tmp_path, name):
    "A copy of the bundle, to damage one file of."
    copy = tmp_path / "credit_default_personal" / "v1"
    shutil.copytree(exported, copy)
    return copy, copy / name


def test_every_damaged_file_is_named(exported, tmp_path):
    for number, name in enumerate(sorted(p.name for p in exported.iterdir())):
        for what, damage in (
            ("cut", lambda b: b[:-1]),
            ("changed", lambda b: b[:20] + bytes([b[20] ^ 1]) + b[21:]),
            ("empty", lambda b: b""),
        ):
            copy, path = damaged(exported, tmp_path / f"{number}{what}", name)
            path.write_bytes(damage(path.read_bytes()))
            with pytest.raises(BundleError, match=name):
                read_bundle(copy)
        copy, path = damaged(exported, tmp_path / f"{number}gone", name)
        path.unlink()
        with pytest.raises(BundleError, match=f"{name} is missing"):
            read_bundle(copy)


def test_a_bundle_that_computes_otherwise_is_refused(exported, tmp_path):
    "Hashes in order, but the golden rows score differently: a changed library, or a forged file."
    copy, _ = damaged(exported, tmp_path, "golden.json")
    b = read_bundle(copy, verify=False)
    b.golden.log_odds[7] += 1e-3
    write_bundle(b, copy)
    with pytest.raises(BundleError, match="1 of 300 golden rows"):
        read_bundle(copy)


def test_a_hostile_array_file_is_not_unpickled():
    "An object array would need pickle, which runs code: it is refused unread."
    data = array_bytes({"log": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        bytes_arrays(data)


@pytest.mark.parametrize(
    "name", sorted(set(SHIPPED) - {"lending"})
)  # of which no public file is known
def test_agreement_on_real_data(real_data, name):
    portfolio = SHIPPED[name]
    train, holdout = split(load(portfolio, find(portfolio, path=real_data(name))), 0.2, seed=0)
    columns, members, said = holdout.columns, [], 0.0
    for kind in KINDS:
        pipeline = make_pipeline(portfolio, recipe_of(portfolio, kind)).fit(train.frame, train.y)
        same_margins(pipeline, export_member(pipeline), holdout)
        if kind in BLEND:
            members.append(export_member(pipeline, BLEND[kind]))
            said = said + BLEND[kind] * margin(pipeline, holdout.frame)
    blend = Bundle(portfolio, members, Calibrator("none"), Scorecard(cut_off=0.1))
    np.testing.assert_allclose(
        blend.margin(blend.matrices(blend.clean(columns))), said, rtol=0, atol=1e-9
    )
