"""The notebook's pipeline, the bundle in memory, the bundle from the store and single rows give the same answers."""
import shutil

import numpy as np
import pytest

from credit_default import bundle as bundles
from credit_default.bundle import export_member
from credit_default.candidates import default_recipes, make_pipeline, margin
from credit_default.data import find, from_table, load, split, synthesize
from credit_default.portfolio import parse_table
from credit_default.portfolios import SHIPPED
from credit_default.training import fit_recipe, save_training

KINDS = ("xgboost", "logistic", "forest")


def synthetic(name, rows=4000):
    portfolio = SHIPPED[name]
    frame, y, _ = synthesize(portfolio, rows, seed=3)
    return from_table(portfolio, frame.assign(**{portfolio.target: y}))


def recipes(portfolio):
    "One recipe of each kind, and the one with MICE and SMOTE, whose PDs the calibrator has to mend."
    made = default_recipes(portfolio)
    chosen = [next(r for r in made if r.candidate == kind) for kind in KINDS]
    return chosen + [r for r in made if r.sampler == "smote" and r.candidate == "xgboost"][:1]


def same_margins(pipeline, member, holdout):
    "Raises where a pipeline and its export differ: bit for bit where both call the booster, else by 1e-6."
    notebook, exported = margin(pipeline, holdout.frame), member.model.margin(member.matrix(holdout.columns))
    if member.model.kind == "booster": np.testing.assert_array_equal(exported, notebook)
    else: np.testing.assert_allclose(exported, notebook, rtol=0, atol=1e-6)


def agree(training):
    "Raises where the pipeline and its exported bundle differ on any row of the holdout."
    portfolio, frame = training.bundle.portfolio, training.holdout.frame
    columns = parse_table(portfolio, frame)
    same_margins(training.pipeline, training.bundle.members[0], training.holdout)

    stored = bundles.load(save_training(training), portfolio.name)
    scores = stored.score(columns)
    np.testing.assert_array_equal(scores.log_odds, training.scores.log_odds)
    for i in range(0, len(frame), max(1, len(frame) // 100)):
        alone = stored.score({k: v[i:i + 1] for k, v in columns.items()})
        assert alone.answer(0) == scores.answer(i)


@pytest.mark.parametrize("name", sorted(SHIPPED))
@pytest.mark.parametrize("kind", range(4), ids=[*KINDS, "smote"])
def test_notebook_and_bundle_agree(name, kind):
    portfolio = SHIPPED[name]
    train, holdout = split(synthetic(name), 0.25, seed=0)
    agree(fit_recipe(portfolio, recipes(portfolio)[kind], train, holdout))


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_contributions_sum_to_the_calibrated_log_odds(name):
    portfolio = SHIPPED[name]
    train, holdout = split(synthetic(name), 0.25, seed=0)
    for recipe in recipes(portfolio):
        b = fit_recipe(portfolio, recipe, train, holdout).bundle
        columns = parse_table(portfolio, holdout.frame)
        matrices = [m.matrix(columns) for m in b.members]
        log_odds = b.log_odds(columns)
        base = b.calibrator.log_odds(b.members[0].model.contributions(matrices[0])[1])
        np.testing.assert_allclose(base + b.contributions(matrices, log_odds).sum(axis=1), log_odds, atol=1e-4)


def test_same_seed_same_bundle():
    "Two trainings with one seed: the same figures and the same content hash."
    portfolio = SHIPPED["gmsc"]
    def once():
        train, holdout = split(synthetic("gmsc"), 0.25, seed=0)
        made = fit_recipe(portfolio, recipes(portfolio)[3], train, holdout).bundle
        return bundles.content_hash(made), made.metrics
    assert once() == once()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    "The folder of one small bundle."
    portfolio = SHIPPED["personal"]
    train, holdout = split(synthetic("personal", 2000), 0.25, seed=0)
    folder = tmp_path_factory.mktemp("bundle") / "credit_default_personal" / "v1"
    folder.mkdir(parents=True)
    bundles.write(fit_recipe(portfolio, recipes(portfolio)[0], train, holdout).bundle, folder)
    return folder


def test_no_pickle(exported):
    assert {p.suffix for p in exported.iterdir()} == {".json", ".npz", ".ubj"}
    for path in exported.iterdir():
        if path.suffix == ".npz": np.load(path, allow_pickle=False)


def damaged(exported, tmp_path, name):
    "A copy of the bundle, to damage one file of."
    copy = tmp_path / "credit_default_personal" / "v1"
    shutil.copytree(exported, copy)
    return copy, copy / name


def test_every_damaged_file_is_named(exported, tmp_path):
    for number, name in enumerate(sorted(p.name for p in exported.iterdir())):
        for what, damage in (("cut", lambda b: b[:-1]), ("changed", lambda b: b[:20] + bytes([b[20] ^ 1]) + b[21:]), ("empty", lambda b: b"")):
            copy, path = damaged(exported, tmp_path / f"{number}{what}", name)
            path.write_bytes(damage(path.read_bytes()))
            with pytest.raises(bundles.BundleError, match=name): bundles.read(copy)
        copy, path = damaged(exported, tmp_path / f"{number}gone", name)
        path.unlink()
        with pytest.raises(bundles.BundleError, match=f"{name} is missing"): bundles.read(copy)


def test_a_bundle_that_computes_otherwise_is_refused(exported, tmp_path):
    "Hashes in order, but the golden rows score differently: a changed library, or a forged file."
    copy, _ = damaged(exported, tmp_path, "golden.json")
    b = bundles.read(copy, verify=False)
    b.golden["log_odds"][7] += 1e-3
    bundles.write(b, copy)
    with pytest.raises(bundles.BundleError, match="1 of 300 golden rows"): bundles.read(copy)


def test_a_hostile_array_file_is_not_unpickled():
    "An object array would need pickle, which runs code: it is refused unread."
    data = bundles.array_bytes({"log": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle"): bundles.bytes_arrays(data)


@pytest.mark.parametrize("name", sorted(SHIPPED))
@pytest.mark.parametrize("kind", range(4), ids=[*KINDS, "smote"])
def test_agreement_on_real_data(real_data, name, kind):
    portfolio = SHIPPED[name]
    recipe = recipes(portfolio)[kind]
    train, holdout = split(load(portfolio, find(portfolio, path=real_data(name))), 0.2, seed=0)
    pipeline = make_pipeline(portfolio, recipe).fit(train.frame, train.y)
    same_margins(pipeline, export_member(pipeline), holdout)
