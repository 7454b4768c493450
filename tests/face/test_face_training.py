"""Loading, training, candidates and the report of the Python face."""

import json
import sqlite3

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.naive_bayes import GaussianNB

import credit_default as cd


@pytest.fixture
def table(loans):
    return loans.frame.assign(**{loans.portfolio.target: loans.y})


def test_one_table_by_four_ways(table, tmp_path):
    table.to_csv(tmp_path / "loans.csv", index=False)
    table.to_parquet(tmp_path / "loans.parquet")
    with sqlite3.connect(tmp_path / "loans.db") as database:
        table.to_sql("loans", database, index=False)
    url = f"sqlite:///{tmp_path / 'loans.db'}"
    read = [
        cd.load_data("gmsc", table),
        cd.load_data("gmsc", tmp_path / "loans.csv"),
        cd.load_data("gmsc", str(tmp_path / "loans.parquet")),
        cd.load_data("gmsc", "SELECT * FROM loans", connection=url),
        cd.load_data("gmsc", "loans", connection=url),
    ]
    assert len({loans.provenance["sha256"] for loans in read}) == 1
    assert all(loans.whole for loans in read)
    assert not read[0].take(np.arange(500)).whole


def test_bad_loans_are_refused_with_the_reason(table):
    with pytest.raises(cd.DataError, match="SeriousDlqin2yrs"):
        cd.load_data("gmsc", table.drop(columns="SeriousDlqin2yrs"))
    with pytest.raises(ValueError, match="no portfolio named"):
        cd.load_portfolio("gmcs")
    with pytest.raises(cd.TableError, match="load_data"):
        cd.train(table)


def test_a_proposed_portfolio_trains(table):
    proposed = cd.propose_portfolio(table, target="SeriousDlqin2yrs", name="mine")
    loans = cd.load_data(proposed, table)
    answers = cd.train(loans, trials=1, progress=False).model.predict(table.head())
    assert answers.probability_default.between(0, 1).all()


def test_a_derived_feature_reaches_the_model(table):
    debt = cd.Derived(name="debt", op="product", fields=("DebtRatio", "MonthlyIncome"), log=True)
    plain = cd.propose_portfolio(table, target="SeriousDlqin2yrs", name="mine")
    portfolio = cd.add_derived(plain, debt)
    training = cd.train(cd.load_data(portfolio, table), trials=1, progress=False)
    names = {n for m in training.model.bundle.members for n in m.features.names}
    assert "debt" in names
    with pytest.raises(ValueError, match="no field"):
        cd.add_derived(plain, cd.Derived(name="x", op="missing", fields=("nothing",)))


def test_candidates_are_judged_and_never_champion(loans):
    cd.register_candidate("hist", HistGradientBoostingClassifier(max_iter=20), imputation="none")
    cd.register_candidate("broken", GaussianNB(), imputation="none")  # it takes no NaN
    try:
        with pytest.raises(cd.CandidateError, match="HistGradientBoosting.*without pickle"):
            cd.train(loans, champion="hist", trials=1, progress=False)
        training = cd.train(loans, trials=1, progress=False)
    finally:
        cd.remove_candidate("hist")
        cd.remove_candidate("broken")
    table = training.candidates.set_index("model")
    assert table.index.tolist() == ["champion", "hist", "broken"]
    assert table.auc["hist"] > 0.7 and "NaN" in table.note["broken"]
    assert table.auc["champion"] == training.evaluation["auc"]
    assert "hist has an AUC" in repr(training) and "broken could not be judged" in repr(training)


@pytest.mark.parametrize("classifier", [GaussianNB, object(), None])
def test_what_is_no_candidate(classifier):
    with pytest.raises(cd.CandidateError, match="a classifier of scikit-learn's kind"):
        cd.register_candidate("mine", classifier)
    assert "mine" not in [c.name for c in cd.registered_candidates()]


def test_saving_does_not_promote(loans, bentoml_home):
    model = cd.train(loans, trials=1, seed=5, progress=False).model
    assert model.tag == "" and "not saved" in repr(model)
    tag = model.save()
    assert tag == model.tag and tag in repr(model)
    with pytest.raises(ValueError, match="needs a reason"):
        model.promote(why="")


@pytest.mark.slow
def test_the_report_shows_the_same_model_and_the_candidates(loans, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cd.register_candidate("hist", HistGradientBoostingClassifier(max_iter=20), imputation="none")
    try:
        training = cd.train(loans, trials=2, progress=False)
    finally:
        cd.remove_candidate("hist")
    run = training.report(progress=False)
    assert run.html.is_file() and run.html.is_relative_to("reports/gmsc")
    content = json.loads(run.figures.read_text())
    assert content["synthetic"] is True
    assert content["result"]["model_version"] == training.model.save()
    names = [r["model"] for r in content["figures"]["challengers"]["table"]]
    assert "hist" in names
    assert pd.notna(content["result"]["auc"])
