"""The drift report on a prediction log: windows, outcomes, an earlier run, nothing to compare, and
what stands in for current applicants.
"""

import dataclasses
import html
import json
import os
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from dateutil.relativedelta import relativedelta
from made_reports import comparable, numbers_shown

from credit_default.core.paths import portfolio_home
from credit_default.data.loading import load
from credit_default.data.sources import Source
from credit_default.data.split import split
from credit_default.data.synthetic import synthesize, write_csv
from credit_default.evaluation.charts.stability import VERDICT_MARKERS
from credit_default.monitoring.backtest import FEWER, FITS, MORE, TOO_FEW, UNJUDGED
from credit_default.monitoring.drift import detect_drift
from credit_default.monitoring.performance import measure_performance
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.columns import parse_table
from credit_default.reporting.page import outside_references
from credit_default.reporting.running import ReportError, run_report
from credit_default.scoring.reference import Reference
from credit_default.scoring.registry import load_bundle
from credit_default.serving.active_model import log_rows
from credit_default.store.overrides import Override
from credit_default.store.predictions import Entry
from credit_default.store.store import Store
from credit_default.training.search_space import default_recipes
from credit_default.training.training import fit_recipe, save_training

GMSC = SHIPPED["gmsc"]
OTHER = "credit_default_gmsc:ffffffffffffffff"
SPRING = dict(
    since="2026-03-01T00:00:00Z", until="2026-04-01T02:00:00+02:00", as_of="2026-06-15T00:00:00Z"
)
FEW = dict(since="2023-01-02T00:00:00Z", until="2023-01-02T12:00:00Z", as_of="2025-01-01T10:00:00Z")


def day(*ymd):
    return datetime(*ymd, tzinfo=UTC)


def trained(dataset):
    """A small model in the store, and its reference rows beside it. It is not promoted: the store
    is that of all tests.
    """
    recipe = next(one for one in default_recipes(GMSC) if one.candidate == "logistic")
    return load_bundle(save_training(fit_recipe(GMSC, recipe, *split(dataset, 0.3, seed=0))))


def reference_rows(bundle):
    return portfolio_home("gmsc") / bundle.tag.split(":")[1] / "reference.parquet"


def log(store, bundle, frame, first, step):
    "Predictions as the service leaves them."
    columns = parse_table(GMSC, frame)
    scores = bundle.score(columns, reasons=False)
    rows = log_rows(bundle, columns, scores, first, [None] * len(frame))
    store.predictions.append(
        [
            Entry(
                [
                    row
                    | dict(
                        at=first + i * step,
                        endpoint="csv",
                        user_id=None,
                        username=None,
                        latency_ms=1.0,
                        request_id="r",
                    )
                    for i, row in enumerate(rows)
                ]
            )
        ]
    )
    return [row | dict(at=first + i * step) for i, row in enumerate(rows)]


def approve_declined(store):
    "People approve twelve whom the model declined in 2023, and these repay."
    rows = store.predictions.find(decision="Declined", until=day(2023, 3, 1), limit=12)
    for row in rows:
        decided = Override("Approved", "A guarantor signed.", row.at, None, "ada")
        store.overrides.record(row.prediction_id, decided, None)
    repaid = [
        dict(
            prediction_id=row.prediction_id,
            defaulted=False,
            observed_at=row.at + relativedelta(months=24),
        )
        for row in rows
    ]
    store.outcomes.record(repaid, by="ada", user_id=None)


@pytest.fixture(scope="module")
def world(bentoml_home, tmp_path_factory):
    """Two years of loans, of which those of 2024 default twice as often as their PDs say, and a
    spring of other applicants, some of whom another model answered.
    """
    folder = tmp_path_factory.mktemp("drift")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in dict(
            CREDIT_DEFAULT_ENV_FILE=os.devnull,
            CREDIT_DEFAULT_DATABASE_URL=f"sqlite:///{folder}/log.db",
        ).items():
            environment.setenv(name, value)
        bundle = trained(
            load(GMSC, Source("synthetic", None, "synthetic sample"), seed=1).take(range(6000))
        )
        store, rng = Store(f"sqlite:///{folder}/log.db"), np.random.default_rng(4)
        store.upgrade()
        for year, factor in ((2023, 1), (2024, 2)):
            rows = [
                row
                for row in log(
                    store,
                    bundle,
                    synthesize(GMSC, 4000, seed=year)[0],
                    day(year, 1, 1, 9),
                    timedelta(hours=1),
                )
                if row["decision"] == "Approved"
            ]
            bad = rng.random(len(rows)) < factor * np.array(
                [row["probability_default"] for row in rows]
            )
            store.outcomes.record(
                [
                    dict(
                        prediction_id=row["prediction_id"],
                        defaulted=bool(b),
                        observed_at=row["at"]
                        + (timedelta(days=300) if b else relativedelta(months=24)),
                    )
                    for row, b in zip(rows, bad)
                ],
                by="ada",
                user_id=None,
            )
        approve_declined(store)
        poor = synthesize(GMSC, 1000, seed=2026)[0]
        poor["MonthlyIncome"] = (poor["MonthlyIncome"] * 0.45).round()
        poor["NumberOfDependents"] = np.nan
        log(store, bundle, poor, day(2026, 3, 1), timedelta(minutes=40))
        log(
            store,
            dataclasses.replace(bundle, tag=OTHER),
            poor.iloc[:50],
            day(2026, 3, 2),
            timedelta(minutes=1),
        )
        # in May a model of the same tag, with a reference without the rating, declined all that it
        # was asked
        before = dataclasses.replace(
            bundle,
            reference=Reference(dict(list(bundle.reference.bins.items())[:-1])),
            scorecard=bundle.scorecard.model_copy(update=dict(cut_off=1e-6)),
        )
        for first, by in ((0, before), (40, bundle)):
            log(store, by, poor.iloc[first : first + 40], day(2026, 5, 1), timedelta(hours=1))
        yield SimpleNamespace(folder=folder, store=store, bundle=bundle, runs={})
        store.close()


def report(world, name, **parameters):
    return run_report(
        "drift",
        "gmsc",
        dict(model=world.bundle.tag) | parameters,
        root=world.folder / "reports",
        run=name,
        progress=False,
    )


def made(world, name, **parameters):
    "The report of this name: made once."
    if name not in world.runs:
        world.runs[name] = report(world, name, **parameters)
    return world.runs[name]


def spring(world):
    return made(world, "spring", **SPRING)


def few(world):
    return made(world, "few", **FEW, previous=spring(world).figures)


def empty(world):
    return made(
        world,
        "empty",
        until="2020-02-01T00:00:00Z",
        as_of="2024-06-15T00:00:00Z",
        previous=__file__,
    )


def words(run):
    "What a reader reads."
    page = re.sub(
        r'srcdoc="[^"]*"|<style>.*?</style>', "", run.html.read_text(encoding="utf-8"), flags=re.S
    )
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


@pytest.mark.parametrize("which", [spring, few, empty])
def test_a_page_holds_what_its_json_holds_and_nothing_from_elsewhere(world, which):
    run = which(world)
    page, (numbers, absent) = run.html.read_text(encoding="utf-8"), numbers_shown(run)
    assert absent == [] and len(numbers) > (15 if which is empty else 100)
    assert outside_references(page) == []
    charts = re.findall(r'<img [^>]*class="chart"[^>]*>', page)
    assert len(charts) == sum("chart" in figure for figure in run.content["figures"].values())
    assert all(re.search(r'alt="[^"]{10,}"', chart) for chart in charts)
    assert run.content["synthetic"] is True and "SYNTHETIC" in words(run)
    assert str(world.folder) not in json.dumps(comparable(run))


@pytest.mark.parametrize(
    "which, since, until, as_of",
    [
        (spring, day(2026, 3, 1), day(2026, 4, 1), day(2026, 6, 15)),
        (empty, None, day(2020, 2, 1), day(2024, 6, 15)),
    ],
)
def test_the_report_says_what_the_endpoints_say(world, which, since, until, as_of):
    figures = which(world).content["figures"]
    drift, outcomes = (
        detect_drift(
            world.store, GMSC, world.bundle.reference, world.bundle.tag, since, until
        ).to_dict(),
        measure_performance(world.store, GMSC, as_of=as_of).to_dict(),
    )
    assert figures["drift"]["values"] == {
        name: value for name, value in drift.items() if name != "checked_at"
    }
    assert figures["outcomes"]["values"] == {
        name: value for name, value in outcomes.items() if name != "as_of"
    }


def test_drift_of_a_window_is_the_first_thing_said(world):
    run = spring(world)
    result, page = run.content["result"], run.html.read_text(encoding="utf-8")
    assert result == dict(
        drift=True,
        drifted_features=["MonthlyIncome", "NumberOfDependents"],
        drifted_outputs=result["drifted_outputs"],
        verdict=result["verdict"],
        performance=MORE,
        source="log",
        model_version=world.bundle.tag,
        n_current=1000,
        rows_read=1000,
        rows_refused=0,
        too_many_refused=False,
        stand_in="",
    )
    assert (
        result["verdict"].startswith("Drift in ")
        and f'<p class="verdict bad">{result["verdict"]}</p>' in page
    )
    assert page.index('class="verdict bad"') < page.index('<table class="figures">')
    rows = run.content["figures"]["psi"]["table"]
    assert [row["psi"] for row in rows] == sorted((row["psi"] for row in rows), reverse=True) and {
        row["field"] for row in rows if row["verdict"] == "drift"
    } >= set(result["drifted_features"])
    [dependents] = [row for row in rows if row["field"] == "NumberOfDependents"]
    assert dependents["missing_current"] == 1 and dependents["missing_reference"] < 0.1
    assert "Not drawn, because one of the samples has no value: Dependents ." in words(run)
    then, now = run.content["figures"]["summary MonthlyIncome"]["table"]
    assert 0.4 < now["median"] / then["median"] < 0.5
    assert run.content["identity"][
        "Predictions of other models in the window"
    ] == 50 and "Other models made 50 predictions in this window." in words(run)


def test_performance_is_shown_by_cohort_and_rating_and_model(world):
    run = spring(world)
    figures = run.content["figures"]
    cohorts = {row["cohort"]: row["verdict"] for row in figures["cohorts"]["table"]}
    assert cohorts == {"2023-Q1": FITS, "2023-Q2": FITS, "2024-Q1": MORE, "2024-Q2": MORE}
    assert MORE in {row["verdict"] for row in figures["performance_ratings"]["table"]}
    mine = figures["outcomes"]["values"]["models"][world.bundle.tag]
    by_figure = {row["figure"]: row for row in figures["performance"]["table"]}
    assert (
        by_figure["AUC"]["outcomes"] == mine["auc"]
        and by_figure["AUC"]["holdout"] == world.bundle.metrics["auc"]
    )
    assert (
        by_figure["Gini"]["low"]
        == 2 * mine["auc_low"] - 1
        < by_figure["Gini"]["outcomes"]
        < by_figure["Gini"]["high"]
    )
    assert {row["model"] for row in figures["models"]["table"]} == {world.bundle.tag, OTHER}
    said = words(run)
    assert (
        "Declined, and so without an outcome" in said
        and "The PDs are too low" in said
        and "More defaults than expected: " in said
    )
    assert (
        said.index("1. Verdict")
        < said.index("More defaults than expected: ")
        < said.index("2. Population stability index")
    )


def test_overrides_are_counted_by_direction(world):
    figures = spring(world).content["figures"]
    [row] = figures["overrides"]["table"]
    counted = {name: row[name] for name in ("model_decision", "decision", "overridden", "n")}
    assert counted == dict(model_decision="Declined", decision="Approved", overridden=12, n=12)
    assert (row["defaults"], row["default_rate"]) == (0, 0) and row["mean_pd"] > 0.09
    answered = figures["override_rate"]["values"]["answered"]
    said = words(spring(world))
    assert f"People have overridden 12 of {answered:,} decisions of this model." in said
    assert "guarantor" not in said


def test_what_changed_since_the_previous_run(world):
    "Twelve predictions do not end the drift of the run before, and that is said."
    run, earlier = few(world), spring(world).content
    figures = run.content["figures"]
    unjudged = {
        row["field"]
        for row in figures["changes"]["table"]
        if row["change"] == "not judged in this run"
    }
    assert unjudged == set(
        earlier["result"]["drifted_features"] + earlier["result"]["drifted_outputs"]
    )
    assert {row["field"]: row["before"] for row in figures["changes"]["table"]} == {
        row["field"]: row["psi"] for row in earlier["figures"]["psi"]["table"]
    }
    assert {row["field"]: row["now"] for row in figures["changes"]["table"]} == {
        row["field"]: row["psi"] for row in figures["psi"]["table"]
    }
    assert figures["since_previous"]["values"]["over"] == []
    assert set(figures["since_previous"]["values"]["unjudged"]) == {
        row["title"] for row in figures["changes"]["table"] if row["field"] in unjudged
    }
    assert "Drifted before, and not judged now: " in words(run)
    told = {row["what"]: (row["before"], row["now"]) for row in figures["verdicts"]["table"]}
    assert (
        told["Drift"] == (earlier["result"]["verdict"], run.content["result"]["verdict"])
        and told["Performance"][0] == MORE
    )
    assert "another model" not in words(run) and "another kind of source" not in words(run)


def test_what_another_reference_binned_is_not_counted_and_that_is_said(world):
    window = dict(
        since="2026-05-01T00:00:00Z", until="2026-06-01T00:00:00Z", as_of="2026-06-15T00:00:00Z"
    )
    run = made(world, "may", **window)
    content, said = run.content, words(run)
    found = detect_drift(
        world.store,
        GMSC,
        world.bundle.reference,
        world.bundle.tag,
        day(2026, 5, 1),
        day(2026, 6, 1),
    ).to_dict()
    assert (
        content["figures"]["drift"]["values"]
        == {name: value for name, value in found.items() if name != "checked_at"}
        and found["samples_of_other_models"] == 40
    )
    assert (
        content["result"]["n_current"],
        content["identity"]["Current rows"],
        content["identity"]["Predictions of other models in the window"],
    ) == (40, 40, 0)
    assert (
        "40 predictions of the window were counted. 40 more have this model's tag, but their "
        "values were counted in the bins of another reference, so they are left out." in said
    )
    declined = content["figures"]["outputs"]["values"]["declined_now"]
    assert 0 < declined < 0.8 and found["summary_rows"] == 40 and numbers_shown(run)[1] == []
    assert "were counted" in words(spring(world)) and "are left out" not in words(spring(world))


def test_a_window_without_predictions_is_no_failure(world):
    run = empty(world)
    result, said = run.content["result"], words(run)
    assert (result["drift"], result["n_current"], result["verdict"]) == (
        None,  # nothing seen is no all-clear
        0,
        "The window has no predictions of this model, so nothing was compared.",
    )
    assert (
        result["verdict"] in said and "Find out why the log has no prediction of this model" in said
    )
    assert (
        result["performance"] == "not known: no outcome of a mature prediction is known"
        and "The next becomes mature on 2025-01-01" in said
    )
    assert "The previous run's figures cannot be read, so no comparison is made." in said
    assert run.html.read_text(encoding="utf-8").count("<img") == 0


def test_few_predictions_and_few_outcomes_are_said(world):
    """Twelve predictions: chance reaches further than the drift bands, and no drift is no
    all-clear. Ten loans: no verdict on the model.
    """
    run = few(world)
    result, page = run.content["result"], run.html.read_text(encoding="utf-8")
    assert (result["drift"], result["n_current"]) == (None, 12) and max(
        row["psi"] for row in run.content["figures"]["psi"]["table"]
    ) > 0.25
    assert (
        result["verdict"].startswith("Not judged: no drift shows with 12 applicants")
        and 'class="verdict neutral"' in page
        and {row["verdict"] for row in run.content["figures"]["psi"]["table"]} == {"not judged"}
        and "these are too few to notice drift" in words(run)
    )
    assert result["performance"].startswith(
        "not known: too few outcomes"
    ) and "Nothing can be said about the model's performance yet: too few outcomes" in words(run)
    assert all(row["verdict"] == TOO_FEW for row in run.content["figures"]["cohorts"]["table"])
    assert "There are fewer than 20 current rows" in words(run) and run.content["figures"][
        "summary age"
    ]["table"][1].keys() == {"when", "missing"}


@pytest.mark.slow
def test_the_same_window_again_gives_the_same_json(world):
    again = report(world, "again", **FEW, previous=spring(world).figures)
    assert comparable(again) == comparable(few(world))
    assert (
        again.content["run"]["as_of"] == "2025-01-01T10:00:00.000Z"
        and again.content["run"]["checked_at"] != few(world).content["run"]["checked_at"]
    )


def test_each_verdict_of_a_cohort_has_a_shape():
    assert (
        set(VERDICT_MARKERS) == {FITS, MORE, FEWER, TOO_FEW, UNJUDGED}
        and len({marker for marker, _ in VERDICT_MARKERS.values()}) == 5
    )


def lenders_file(folder, seed, **changed):
    "A file as a lender would name it: nothing says that it is synthetic."
    frame, y, _ = synthesize(GMSC, 3000, seed=seed)
    return write_csv(
        folder / "gmsc" / GMSC.file,
        pd.concat([pd.Series(y, name=GMSC.target), frame.assign(**changed)], axis=1),
    )


@pytest.fixture
def elsewhere(world, tmp_path, monkeypatch):
    "A folder of data, and no prediction log; the report of spring, which needs one, is there."
    spring(world)
    monkeypatch.setenv("CREDIT_DEFAULT_DATA", str(tmp_path))
    monkeypatch.setenv("CREDIT_DEFAULT_DATABASE_URL", f"sqlite:///{tmp_path}/none.db")
    return tmp_path


def test_a_labelled_file_is_never_taken_for_the_synthetic_sample(world, elsewhere):
    """The champion is synthetic, and where the data lies there is the lender's labelled file only.
    The machine has no reference rows.
    """
    lenders_file(elsewhere, 3, age=80.0)
    reference_rows(world.bundle).rename(elsewhere / "reference.parquet")
    try:
        run = report(world, "alone", previous=spring(world).figures)
    finally:
        (elsewhere / "reference.parquet").rename(reference_rows(world.bundle))
    result, said = run.content["result"], words(run)
    assert (result["source"], result["stand_in"], result["drift"], result["n_current"]) == (
        "stand-in",
        "the synthetic sample",
        False,
        GMSC.synthetic.rows,
    )
    assert (
        "No current applicants were given: the synthetic sample stands in for them, so this says "
        "nothing about today's. No drift in" in said
    )
    assert (
        GMSC.file not in json.dumps(run.content)
        and result["performance"] == "not known: there is no prediction log here"
    )
    assert (
        "The previous run compared another kind of source (log, now stand-in)." in said
        and "The reference rows are kept beside the model store" in said
    )
    assert numbers_shown(run)[1] == [] and not (elsewhere / "none.db").exists()


@pytest.fixture
def real(world, elsewhere):
    "A model of what might be a lender's loans, which lie where data lies."
    lenders_file(elsewhere, 3)
    bundle = trained(load(GMSC))
    assert not bundle.synthetic
    return bundle


@pytest.mark.slow
def test_a_real_models_training_rows_stand_in_for_applicants(world, real):
    content = spring(world).content  # as an older version would have written it
    result = {
        name: content["result"][name]
        for name in ("drift", "drifted_features", "model_version", "n_current", "stand_in")
    }
    rows = [
        {name: row[name] for name in ("psi", "drifted")}
        | dict(
            field=GMSC[row["field"]].name
            if row["field"] in {f.alias for f in GMSC.fields}
            else row["field"]
        )
        for row in content["figures"]["psi"]["table"]
    ]
    (world.folder / "older.json").write_text(
        json.dumps(content | dict(result=result, figures=dict(psi=dict(table=rows))))
    )
    run = report(world, "own", model=real.tag, previous=world.folder / "older.json")
    result = run.content["result"]
    assert (result["source"], result["stand_in"], result["n_current"], result["drift"]) == (
        "stand-in",
        "the model's own training rows",
        real.provenance["rows"]["train"],
        False,
    )
    assert (
        "the model's own training rows stand in for them" in words(run)
        and run.content["synthetic"] is False
    )
    assert {row["change"] for row in run.content["figures"]["changes"]["table"]} == {
        "",
        "no longer drifted",
    } and "In the previous run another model was in use" in words(run)


@pytest.mark.parametrize("loans", ["others", pytest.param("none", marks=pytest.mark.slow)])
def test_no_other_loans_are_taken_for_training_rows(world, real, elsewhere, loans):
    """Neither another file of the same name, nor the synthetic sample that stands in for a file
    which is not there.
    """
    (elsewhere / "gmsc" / GMSC.file).unlink()
    if loans == "others":
        lenders_file(elsewhere, 4)
    with pytest.raises(
        ReportError,
        match="the model's training rows, which could stand in for them, are not available",
    ):
        report(world, "other", model=real.tag)


@pytest.mark.parametrize(
    "parameters, database, message",
    [
        (
            SPRING,
            "sqlite:////nowhere/log.db",
            "the database has no tables yet: run `credit-default db upgrade`",
        ),
        pytest.param(
            dict(since="2026-03-01"), None, "since: a time without a zone", marks=pytest.mark.slow
        ),
        pytest.param(
            dict(as_of="yesterday"),
            None,
            "as_of: a time such as 2026-03-01T00:00:00Z is needed",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            dict(since=SPRING["until"], until=SPRING["since"]),
            None,
            "since must be before until",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            dict(since=SPRING["since"], current="applicants.csv"),
            None,
            "give either a file of current applicants, or a window of the log",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_cannot_be_asked(world, monkeypatch, parameters, database, message):
    if database:
        monkeypatch.setenv("CREDIT_DEFAULT_DATABASE_URL", database)
    with pytest.raises(ReportError, match=re.escape(message)):
        report(world, "failed", **parameters)
