"""The answers of the Python face: those of batch scoring, for every kind of table."""

import csv

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import credit_default as cd
from credit_default.face import model as face_model
from credit_default.scoring.batch import score_file

ANSWERS = ["probability_default", "credit_score", "rating", "decision"]


class ArrowTable:
    "A table of another library, such as polars: all that is known of it is Arrow's own interface."

    def __init__(self, frame):
        self.table = pa.Table.from_pandas(frame, preserve_index=False)

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


def scored_file(model, frame, folder, name="applicants.csv"):
    "What `credit-default score` answers for the frame."
    path, out = folder / name, folder / f"scored-{name}"
    frame.to_csv(path, index=False) if name.endswith(".csv") else frame.to_parquet(path)
    score_file(model.bundle, path, out)
    if name.endswith(".parquet"):
        return pd.read_parquet(out).to_dict("records")
    with out.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["applicants.csv", "applicants.parquet"])
def test_predictions_agree_with_score_to_the_last_digit(model, loans, tmp_path, name):
    rows = scored_file(model, loans.frame, tmp_path, name)
    ours = model.predict(loans.frame)
    assert [float(r["probability_default"]) for r in rows] == ours.probability_default.tolist()
    assert [int(r["credit_score"]) for r in rows] == ours.credit_score.tolist()
    for column in ("rating", "decision"):
        assert [r[column] for r in rows] == ours[column].tolist()


def test_refused_rows_agree_with_score(model, applicants, tmp_path):
    applicants.loc["applicant 7", "age"] = -5
    applicants.loc["applicant 9", "DebtRatio"] = np.inf
    rows = scored_file(model, applicants, tmp_path)
    ours = model.predict(applicants, errors="column")
    assert [r["error"] or None for r in rows] == ours.error.tolist()
    assert ours.probability_default.isna().sum() == 2
    assert list(ours) == [*ANSWERS, "error"]


def test_answers_carry_the_callers_index(model, applicants):
    shuffled = applicants.sample(frac=1, random_state=0)
    answers = model.predict(shuffled)
    assert list(answers) == ANSWERS
    assert answers.index.equals(shuffled.index)
    assert answers.loc[applicants.index].equals(model.predict(applicants))
    assert model.explain(shuffled).index.equals(shuffled.index)
    assert set(model.reasons(shuffled).index.get_level_values(0)) <= set(shuffled.index)


def test_an_index_of_several_levels_and_of_repeated_labels(model, applicants):
    several = applicants.set_axis(
        pd.MultiIndex.from_product([["a", "b"], range(150)], names=["branch", "n"])
    )
    assert model.predict(several).index.equals(several.index)
    assert model.reasons(several).index.names == ["branch", "n", "rank"]
    repeated = applicants.set_axis(["same"] * len(applicants))
    answers = model.predict(repeated, errors="column")
    assert len(answers) == len(repeated) and set(answers.index) == {"same"}


def test_tables_of_other_libraries(model, applicants):
    expected = model.predict(applicants).reset_index(drop=True)
    for table in (
        ArrowTable(applicants),
        pa.Table.from_pandas(applicants, preserve_index=False),
        applicants.to_dict("list"),
        applicants.convert_dtypes(),
        applicants.astype(object),
    ):
        answers = model.predict(table).reset_index(drop=True)
        pd.testing.assert_frame_equal(answers, expected, check_exact=True)


def test_aliases_further_columns_and_absent_fields(model, applicants):
    aliases = {f.name: f.alias for f in model.portfolio.fields}
    other = applicants.rename(columns=aliases).assign(branch="north")
    assert model.predict(other).equals(model.predict(applicants))
    without = model.predict(applicants.drop(columns="MonthlyIncome"))
    missing = model.predict(applicants.assign(MonthlyIncome=np.nan))
    assert without.equals(missing)


def test_a_refusal_names_rows_and_fields_and_no_value(model, applicants):
    applicants.loc["applicant 7", "age"] = -54321
    with pytest.raises(cd.RefusedRowsError, match="row 7: age: must be") as caught:
        model.predict(applicants)
    assert "54321" not in str(caught.value)
    assert caught.value.errors.index.tolist() == ["applicant 7"]
    for ask in (model.explain, model.reasons):
        with pytest.raises(cd.RefusedRowsError):
            ask(applicants)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("applicants.csv", "a table is needed"),
        (np.zeros((3, 10)), "a table is needed"),
        (pd.DataFrame({"colour": ["red"]}), "no column is a field of portfolio gmsc"),
        ({"age": 45}, "each column is a list"),
    ],
)
def test_what_is_no_table_of_applicants(model, table, reason):
    with pytest.raises(cd.TableError, match=reason):
        model.predict(table)


def test_an_unknown_way_with_errors(model, applicants):
    with pytest.raises(ValueError, match="errors must be"):
        model.predict(applicants, errors="ignore")


def test_no_rows(model, applicants):
    none = applicants.iloc[:0]
    assert model.predict(none).shape == (0, 4)
    assert model.explain(none).shape[0] == 0
    assert model.reasons(none).shape == (0, 4)


def test_contributions_add_up(model, applicants):
    explained, answers = model.explain(applicants), model.predict(applicants)
    log_odds = explained["log_odds"].sum(axis=1)
    np.testing.assert_allclose(1 / (1 + np.exp(-log_odds)), answers.probability_default, rtol=1e-9)
    card = model.bundle.scorecard
    points = explained["points"].sum(axis=1).clip(card.lowest, card.highest)
    assert (points - answers.credit_score).abs().max() <= 0.5 + 1e-6


def test_reasons_are_those_of_the_bundle(model, applicants):
    reasons = model.reasons(applicants)
    expected = model.bundle.score(model._read(applicants).columns).reasons
    for label, codes in zip(applicants.index, expected, strict=True):
        ours = reasons.code[reasons.index.get_level_values(0) == label]
        assert ours.tolist() == [r["code"] for r in codes]


def test_what_helped_is_told_to_the_approved(model, applicants):
    helped, rows = model.helped(applicants), model._read(applicants)
    scores = model.bundle.score(rows.columns)
    told = [r["text"] for some in scores.helped for r in some]
    assert helped.text.tolist() == told and (helped.contribution < 0).all()
    approved = applicants.index[scores.prediction == 0]
    assert set(helped.index.get_level_values(0)) <= set(approved)


def test_evaluation(model, training, applicants):
    evaluation = model.evaluate(training.holdout)
    for name, value in model.bundle.metrics.items():
        assert evaluation[name] == value
    assert evaluation.table.low["auc"] < evaluation["auc"] < evaluation.table.high["auc"]
    target = model.portfolio.target
    labelled = training.holdout.frame.assign(**{target: training.holdout.y.astype(object)})
    labelled.loc[0, target] = None
    labelled.loc[1, "age"] = -5
    again = model.evaluate(labelled)
    assert again.left_out == 2 and again["n"] == len(labelled) - 2
    with pytest.raises(cd.TableError, match="no column SeriousDlqin2yrs"):
        model.evaluate(applicants)


def test_drift(model, training):
    same = cd.drift(model, training.holdout.frame)
    assert not same.drifted and same.verdict.startswith("No drift")
    poorer = training.holdout.frame.assign(MonthlyIncome=lambda t: t.MonthlyIncome * 0.5)
    changed = cd.drift(model, poorer)
    assert changed.drifted[0] == "MonthlyIncome" and changed.table.psi["MonthlyIncome"] > 0.2
    few = cd.drift(model, training.holdout.frame.head(40))
    assert few.verdict.startswith("Not judged: no drift shows with 40 applicants")
    assert not few.drifted and few.table.drifted.isna().any()
    third = training.holdout.frame.assign(age=lambda t: t.age.where(np.arange(len(t)) % 3 > 0, -5))
    refused = cd.drift(model, third)
    n = refused.n + refused.refused
    assert refused.verdict.startswith(f"{refused.refused:,} of {n:,} rows were refused, too many")


def test_load_model(model, tmp_path, applicants, monkeypatch):
    # A home of their own for the champions: services of other tests follow the shared one.
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    model.promote(why="a test", failed_checks=True)  # a small one, which does not meet them all
    for where in (("gmsc",), ("gmsc", model.tag.split(":")[1]), (model.tag,)):
        assert cd.load_model(*where).predict(applicants).equals(model.predict(applicants))
    for where in (("no_such_portfolio",), ("credit_default_gmsc:0000",)):
        with pytest.raises(cd.BundleError):
            cd.load_model(*where)
    with pytest.raises(cd.CreditDefaultError, match="no folder"):
        cd.load_model(tmp_path / "nothing")


def test_the_challenger_is_the_newest_model_that_is_not_the_champion(model, monkeypatch):
    tags = ["credit_default_gmsc:0002", model.tag, "credit_default_gmsc:0001"]
    monkeypatch.setattr(face_model, "stored_tags", lambda portfolio: tags)
    monkeypatch.setattr(face_model, "champion_tag", lambda portfolio: tags[0])
    assert cd.load_model("gmsc", "challenger").tag == model.tag
    tags[1:] = []
    with pytest.raises(cd.BundleError, match="no model in the store besides its champion"):
        cd.load_model("gmsc", "challenger")


def test_load_model_from_a_folder(model, tmp_path, applicants):
    from credit_default.scoring.bundle_files import write_bundle

    write_bundle(model.bundle, tmp_path)
    assert cd.load_model(tmp_path).predict(applicants).equals(model.predict(applicants))


def test_displays_escape_every_text(model, loans):
    hostile = loans.portfolio.model_copy(update=dict(title="<script>alert(1)</script>"))
    from dataclasses import replace

    for shown in (replace(loans, portfolio=hostile), loans, model, cd.drift(model, loans.frame)):
        assert "<script>" not in shown._repr_html_()
        assert "<table>" in shown._repr_html_()
        assert len(repr(shown).splitlines()) > 5


def test_a_portfolio_shows_its_fields(loans):
    hostile = loans.portfolio.model_copy(update=dict(title="<script>alert(1)</script>"))
    assert "<script>" not in hostile._repr_html_()
    assert repr(hostile).splitlines()[2].split() == [
        "RevolvingUtilizationOfUnsecuredLines",
        *["Revolving", "utilization", "number", "applicant"],
    ]
