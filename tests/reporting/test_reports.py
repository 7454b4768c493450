"""The report templates: run by papermill with parameters, offline HTML, and every figure in the
JSON.
"""

import asyncio
import gc
import html
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from locked import ROOT
from made_reports import ROWS, comparable, numbers_shown, reports
from nbclient.exceptions import DeadKernelError

from credit_default.data.synthetic import save_sample
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.reporting.page import outside_references
from credit_default.reporting.running import ReportError, report_templates, run_report

NAMES = ("eda", "training", "drift")


@pytest.fixture(scope="module", params=["gmsc", pytest.param("personal", marks=pytest.mark.slow)])
def made(request):
    return reports(request.param)


def test_there_are_three_templates():
    assert set(report_templates()) >= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_template_has_its_parameters_and_is_left_to_papermill(name):
    notebook = nbformat.read(report_templates()[name], as_version=4)
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1 and 'portfolio = "gmsc"' in tagged[0].source
    assert (
        notebook.cells[0].cell_type == "raw" and "skip_exec: true" in notebook.cells[0].source
    )  # for nbdev_test
    assert not [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_leaves_three_files(made, name):
    run = made.runs[name]
    assert {path.name for path in run.folder.iterdir()} == {
        f"{n}.{suffix}" for n in NAMES for suffix in ("html", "ipynb", "json")
    }
    assert run.folder == made.folder / "reports" / made.portfolio / "first"
    assert run.html.stat().st_size < 12e6


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_offline_and_without_code(made, name):
    page = made.runs[name].html.read_text(encoding="utf-8")
    assert outside_references(page) == []
    own = re.sub(r'srcdoc="[^"]*"', "", page)  # Evidently's view is a page of its own
    assert (
        "<script" not in own
        and "Traceback" not in own
        and "Warning" not in own
        and "import " not in own
    )
    assert page.startswith("<!DOCTYPE html>") and "SYNTHETIC" in own and 'id="section-2"' in own


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_the_page_is_in_the_json(made, name):
    run = made.runs[name]
    numbers, absent = numbers_shown(run)
    assert len(numbers) > 50 and absent == []
    assert len(re.findall(r'<img [^>]*class="chart"', run.html.read_text(encoding="utf-8"))) == sum(
        "chart" in figure for figure in run.content["figures"].values()
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_json_says_what_it_is(made, name):
    content = json.loads(
        made.runs[name].figures.read_text(), parse_constant=pytest.fail
    )  # NaN is no JSON
    assert (content["report"], content["synthetic"], content["format_version"]) == (name, True, 1)
    assert set(content["run"]) >= {"made", "seconds"}
    assert str(made.folder) not in json.dumps({k: v for k, v in content.items() if k != "run"})


def test_what_the_reports_found(made):
    eda, training, drift = (made.runs[name].content for name in NAMES)
    assert eda["figures"]["default_rate"]["values"]["n"] == ROWS and eda["result"]["suspects"] == []
    result = training["result"]
    assert re.fullmatch(rf"credit_default_{made.portfolio}:[0-9a-f]{{16}}", result["model_version"])
    because = training["run"]["held_back_because"]
    assert 0.6 < result["auc"] < 1 and training["run"]["held_back"] == bool(because)
    assert bool(result["checks_not_met"]) == (because == "it does not meet its checks")
    assert training["run"]["Champion"] == (
        f"no: {because}, so a person decides" if because else "yes, by this run"
    )
    # a portfolio without a performance window has no loans whose window could have not passed
    has_window = get_portfolio(made.portfolio).performance_window_months is not None
    assert has_window == (
        "Loans whose performance window has not passed (the loans have no dates)"
        in result["checks_not_judged"]
    )
    assert drift["result"]["model_version"] == result["model_version"]
    assert (
        drift["result"]["drift"] is False
        and drift["result"]["drifted_features"] == drift["result"]["drifted_outputs"] == []
    )
    assert (
        drift["result"]["source"],
        drift["result"]["stand_in"],
        drift["result"]["n_current"],
    ) == ("file", "", ROWS)
    assert (
        drift["result"]["verdict"].startswith("No drift in ")
        and drift["result"]["performance"] == "not known: there is no prediction log here"
    )


# what a validator asks for, by topic, and the figures of the training report that answer it
CHECKLIST = dict(
    identity=("summary", "checks", "identity", "members", "limits", "card", "provenance"),
    data=(
        "split",
        "duplicates",
        "exclusions",
        "audit",
        "split_psi",
        "dictionary",
        "missing",
        "bands",
        "field_auc",
    ),
    search=(
        "search",
        "candidates",
        "trials",
        "path",
        "ablation",
        "challengers",
        "ensemble",
        "cost",
        "challengers_calibration",
    ),
    discrimination=("roc", "gap", "ks", "precision_recall", "overfit", "segments", "weakest"),
    calibration=(
        "calibration_verdict",
        "calibration_by_chance",
        "calibration",
        "reliability",
        "tenths",
        "ratings",
        "brier",
        "calibrators",
        "smote",
    ),
    ranking=("deciles", "scores", "alignment"),
    decision=(
        "decision",
        "strategy",
        "costs",
        "confusion",
        "pricing",
        "swap_set",
        "frontier",
        "stress",
        "stress_by_rating",
        "lifetime",
    ),
    explanation=(
        "contributions",
        "features",
        "permutation",
        "monotonicity",
        "reason_method",
        "reasons Declined",
        "reasons Approved",
        "reason_stability",
        "prediction_steps",
    ),
    robustness=("weak_spots", "noise", "inputs_missing", "seeds", "pd_intervals"),
)


@pytest.mark.parametrize("topic", CHECKLIST)
def test_the_training_report_answers_the_checklist(made, topic):
    figures = made.runs["training"].content["figures"]
    assert [key for key in CHECKLIST[topic] if key not in figures] == []


def test_figures_of_the_training_report_say_what_they_were_computed_on(made):
    run = made.runs["training"]
    figures, without = (
        run.content["figures"],
        {
            "identity",
            "members",
            "dictionary",
            "unseen",
            "limits",
            "checks",
            "card",
            "provenance",
            "contributions",
            "calibration_by_group",
        },
    )
    shown = {
        key
        for key, figure in figures.items()
        if {"table", "chart"} & set(figure) and key not in without
    }
    assert {key for key in shown if "on" not in figures[key]} == set()
    assert html.unescape(run.html.read_text(encoding="utf-8")).count('class="on"') >= len(shown)


def test_the_summary_counts_the_checks_that_hold(made):
    run = made.runs["training"]
    figures, page = run.content["figures"], run.html.read_text(encoding="utf-8")
    rows = figures["checks"]["table"]
    barred = [row for row in rows if row["holds"] is not None]
    assert (figures["checks"]["values"]["all"], figures["checks"]["values"]["held"]) == (
        len(barred),
        sum(row["holds"] for row in barred),
    ) and len(barred) >= 10
    summary = page.split('id="section-1"')[1].split('id="section-2"')[0]
    missed = [row["question"] for row in barred if not row["holds"]]
    assert missed == run.content["result"]["checks_not_met"]
    assert [row["question"] for row in rows[: len(missed)]] == missed  # those come first
    said = html.unescape(re.sub(r"<[^>]+>", "", summary)).strip()
    assert not missed or said.split("Summary", 1)[-1].strip().startswith(f"Not met: {missed[0]}")
    assert "checks are met" in summary and all(
        html.escape(row["question"], quote=False) in html.unescape(summary) for row in rows
    )
    sections = re.findall(r'<h2 id="[^"]+">\d+\. ([^<]+)</h2>', page)
    assert {row["section"] for row in rows} <= {html.unescape(s) for s in sections}


def test_a_trial_that_was_pruned_stands_below_those_that_came_to_an_end(made):
    rows = made.runs["training"].content["figures"]["trials"]["table"]
    kinds = [("complete", "pruned", "failed").index(row["state"].split(":")[0]) for row in rows]
    complete = [row["auc"] for row, kind in zip(rows, kinds) if not kind]
    assert (
        kinds == sorted(kinds)
        and complete == sorted(complete, reverse=True)
        and rows[0]["behind"] == 0
    )


def test_what_differs_between_runs_is_kept_out_of_the_figures_of_training(made):
    content = made.runs["training"].content
    assert (
        set(content["run"]) >= {"trial_seconds", "prediction"}
        and 0 < content["run"]["prediction"]["pd_ms"] < content["run"]["prediction"]["reasons_ms"]
    )
    assert "_ms" not in json.dumps(content["figures"])


def test_trials_are_not_repeated_in_the_provenance(made):
    figures = made.runs["training"].content["figures"]
    assert not [row for row in figures["provenance"]["table"] if "records" in row["what"]]
    assert len(figures["trials"]["table"]) == 2


def test_default_rates_by_score_agree_with_the_scorecard(made):
    rows = made.runs["training"].content["figures"]["alignment"]["table"]
    assert rows and not any(row["rejected"] for row in rows)
    assert sum(row["n"] for row in rows) == made.runs["training"].content["result"]["n"]
    assert [row["mean_pd"] for row in rows] == sorted(
        (row["mean_pd"] for row in rows), reverse=True
    )


def test_the_training_report_shows_age_and_the_fields_that_it_left_out(made):
    content, page = (
        made.runs["training"].content["figures"],
        html.unescape(made.runs["training"].html.read_text(encoding="utf-8")),
    )
    definition = get_portfolio(made.portfolio)
    [age] = [f.name for f in definition.fields if re.search(r"(^|_)age$", f.name)]
    assert {row["group"] for row in content[f"fairness {age}"]["table"]} <= {
        "under 25",
        "25 to 34",
        "35 to 44",
        "45 to 54",
        "55 to 61",
        "62 and over",
        "missing",
    }
    assert "nothing here is a claim of compliance" in page and "12 CFR 1002.6(b)(2)" in page
    assert all(f.description in page for f in definition.fields if f.role in ("lender", "leaky"))


def test_the_age_of_the_elderly_is_held_against_the_most_favoured_younger_age(made):
    figures = made.runs["training"].content["figures"]
    page = html.unescape(made.runs["training"].html.read_text(encoding="utf-8"))
    found = figures["elderly"]["values"]
    [age] = [f.name for f in get_portfolio(made.portfolio).fields if f.name.endswith("age")]
    groups = {row["group"]: row["n"] for row in figures[f"fairness {age}"]["table"]}
    assert found["n"] == groups.get("62 and over", 0) and 0 <= found["worse"] <= found["n"]
    assert "most favoured younger age" in page and "1002.2(v)" in page
    if found["n"] < 30:  # a count with its interval, and no share of a handful
        assert found["share"] is None and "too few for a share" in page
    else:
        assert found["low"] <= found["share"] == found["worse"] / found["n"] <= found["high"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "made", ["personal"], indirect=True
)  # gmsc has no category that could be protected
def test_a_single_champion_and_a_protected_field(made, tmp_path):
    """One model, held to the portfolio's directions, and fairness figures for a field that no model
    sees; margins are kept.
    """
    definition = get_portfolio(made.portfolio)
    field = next(f for f in definition.fields if not f.numeric)
    definition = definition.model_copy(
        update=dict(
            fields=tuple(
                f.model_copy(update=dict(role="protected")) if f.name == field.name else f
                for f in definition.fields
            )
        )
    )
    (tmp_path / "protected.json").write_text(json.dumps(definition.to_json()))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
        runs = [
            run_report(
                "training",
                tmp_path / "protected.json",
                dict(data=made.data, trials=5, champion="single", cache=str(tmp_path / "margins")),
                root=tmp_path,
                progress=False,
            )
            for _ in range(2)
        ]
    figures = runs[0].content["figures"]
    assert figures[f"fairness {field.name}"]["table"] and field.name in {
        row["field"] for row in figures["unseen"]["table"]
    }
    assert [row["share"] for row in figures["members"]["table"]] == [1] and "monotone" in figures[
        "members"
    ]["table"][0]["what"]
    assert all(row["against"] == 0 for row in figures["monotonicity"]["table"])
    assert any((tmp_path / "margins").iterdir()) and comparable(runs[0]) == comparable(runs[1])


def test_the_eda_compares_ways_of_filling_gaps(made):
    run = made.runs["eda"]
    figures = run.content["figures"]
    study, found = figures["imputation study"]["table"], figures["imputation"]["values"]
    assert {r["method"] for r in study} == {
        "MICE",
        "median",
        "mean",
        "KNN",
        "SoftImpute",
        "IterativeSVD",
        "MatrixFactorization",
    }
    assert {r["hiding"] for r in study} == {"at random", "like real gaps"}
    assert found["mice"] < found["median"] and found["below"] > 0
    assert "seconds" not in json.dumps(figures) and set(
        run.content["run"]["imputation_seconds"]
    ) == {r["method"] for r in study}


def test_the_eda_names_the_fields_that_the_portfolio_leaves_out(made):
    run, outside = (
        made.runs["eda"],
        [f for f in get_portfolio(made.portfolio).fields if f.role != "applicant"],
    )
    page = run.html.read_text(encoding="utf-8")
    declared = run.content["figures"]["declared"]
    assert [d["field"] for d in declared.get("table", [])] == [f.name for f in outside]
    assert all(
        html.escape(f.title, quote=False) in html.unescape(page)
        and f.description in html.unescape(page)
        for f in outside
    )
    assert ("portfolio itself excludes" in page) == bool(outside)


@pytest.mark.parametrize("name", ["eda", "training"])
def test_the_reports_say_what_leakage_would_have_been_worth(made, name):
    """With all that is left out, without the lender's, without the leaky as well: an arm more for
    each role that the portfolio has.
    """
    figure, roles = (
        made.runs[name].content["figures"]["worth"],
        [f.role for f in get_portfolio(made.portfolio).fields if f.role in ("lender", "leaky")],
    )
    rows = figure.get("table", [])
    assert len(rows) == (1 + len(set(roles)) if roles else 0) and [r["fields"] for r in rows] == (
        [0, roles.count("lender"), len(roles)]
        if len(set(roles)) > 1
        else [r["fields"] for r in rows]
    )
    if rows:
        assert (
            rows[0]["auc"] > rows[-1]["auc"]
            and figure["values"]["all"] == rows[0]["auc"]
            and rows[-1]["gain"] == 0
        )
    else:
        assert "the portfolio excludes no field" in made.runs[name].html.read_text(encoding="utf-8")


def test_small_bands_and_points_are_named_in_the_eda(made):
    figures, page = (
        made.runs["eda"].content["figures"],
        made.runs["eda"].html.read_text(encoding="utf-8"),
    )
    for r in figures["missing"]["table"]:  # the difference of what is shown, with two decimals
        assert math.isclose(
            r["points"], 100 * (r["rate_missing"] - r["rate_present"]), abs_tol=0.0100001
        )
    assert "Difference, points" in page
    for name, figure in figures.items():
        if name.startswith("field "):
            assert len(figure["values"].get("small", [])) in (
                0,
                sum(band["n"] < 50 for band in figure["table"]),
            )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("eda", marks=pytest.mark.slow),
        "training",
        pytest.param("drift", marks=pytest.mark.slow),
    ],
)
def test_a_second_run_agrees_to_the_digit(made, name):
    assert comparable(made.again(name, "second")) == comparable(made.runs[name])


def test_drift_is_found_and_named(made, tmp_path):
    "Incomes go missing and fall by half."
    import pandas as pd

    [income] = [f for f in ("MonthlyIncome", "person_income") if f in pd.read_csv(made.current)]
    table = pd.read_csv(made.current)
    table[income] = (table[income] * 0.5).round()
    made_poor = tmp_path / "poor.csv"
    table.to_csv(made_poor, index=False)
    changed = type(made)(made.folder, made.data, made_poor, made.portfolio, {})
    run = changed.again("drift", "poor")
    assert (
        run.content["result"]["drift"] is True
        and get_portfolio(made.portfolio)[income].alias in run.content["result"]["drifted_features"]
    )
    assert "Drift in" in run.html.read_text()


async def _fail(error):
    raise error


@pytest.mark.parametrize("error, is_told", [(DeadKernelError("gone"), False), (OSError(), True)])
def test_after_an_interruption_asyncio_says_nothing_of_the_kernel(tmp_path, caplog, error, is_told):
    nothing = nbformat.v4.new_notebook()
    nbformat.write(nothing, tmp_path / "nothing.ipynb")
    with pytest.raises(ReportError, match="wrote no nothing.json"):
        run_report(tmp_path / "nothing.ipynb", parameters={}, root=tmp_path, progress=False)
    with asyncio.Runner() as runner:  # as nbclient's task, which nobody waits for any more
        tasks = [runner.get_loop().create_task(_fail(error))]
        runner.run(asyncio.sleep(0.01))
        tasks.clear()
    gc.collect()
    assert any(record.name == "asyncio" for record in caplog.records) == is_told


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Loans with dates that default from an age on and never before, one of them without the grade
    that the model is to see.
    """
    import pandas as pd

    folder = tmp_path_factory.mktemp("odd")
    definition = get_portfolio("personal")
    marked = tuple(
        f.model_copy(update=dict(role="leaky")) if f.name == "person_age" else f
        for f in definition.fields
    )  # or no model would be trained on it
    definition = definition.model_copy(update=dict(date="issued", limits=(), fields=marked))
    (folder / "dated.json").write_text(json.dumps(definition.to_json()))
    table = pd.read_csv(save_sample(definition, folder, ROWS, seed=1))
    table["loan_status"] = (table.person_age > 30).astype(int)
    table.loc[6, "loan_grade"] = None
    table.assign(
        issued=(pd.Timestamp("2024-02-01") + pd.to_timedelta(table.index // 10, "D")).strftime(
            "%Y-%m-%d"
        )
    ).to_csv(folder / "SYNTHETIC-odd.csv", index=False)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BENTOML_HOME", str(folder / "bentoml"))
        return run_report(
            "training",
            folder / "dated.json",
            dict(data=folder / "SYNTHETIC-odd.csv", trials=1, keep="loan_grade,person_age"),
            root=folder,
            progress=False,
        )


@pytest.mark.slow
def test_a_figure_that_does_not_exist_is_a_dash(odd):
    assert odd.content["result"]["auc"] == 1 and odd.content["result"]["calibration_slope"] is None
    assert odd.content["figures"]["reliability"]["values"]["slope"] is None
    assert "slope <b>–</b>" in odd.html.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_portfolio_with_dates_is_judged_on_the_latest_loans(odd):
    page = odd.html.read_text(encoding="utf-8")
    assert (
        "the holdout is the latest loans, from 2024-07-10 on (issued)" in page
        and "has no dates" not in page
    )
    assert not any("out-of-time" in limit for limit in odd.content["figures"]["limits"]["table"])


@pytest.mark.slow
def test_a_row_without_a_kept_field_is_refused_and_counted(odd):
    assert f"1 of {ROWS:,} refused" in odd.content["identity"]["Rows"]


@pytest.mark.parametrize(
    "name, parameters, message",
    [
        ("eda", dict(data="nowhere.csv"), "there is no file nowhere.csv"),
        ("training", dict(preset="quik"), "preset must be one of quick, full"),
        ("drift", dict(model="credit_default_gmsc:0123"), "no model credit_default_gmsc:0123"),
    ],
)
def test_a_failing_report_says_why(tmp_path, name, parameters, message):
    with pytest.raises(ReportError, match=message) as failed:
        run_report(name, "gmsc", parameters, root=tmp_path, run="failed", progress=False)
    assert "Traceback" not in str(failed.value) and "\n" not in str(failed.value)
    assert [path.name for path in (tmp_path / "gmsc" / "failed").iterdir()] == [f"{name}.ipynb"]


def test_a_wrong_call_is_refused_before_anything_runs(tmp_path):
    for arguments, message in (
        (("eda", "nosuch"), "no portfolio named 'nosuch'"),
        (("edda", "gmsc"), "no report 'edda'"),
        (("eda", "gmsc", dict(colour="red")), "no parameter colour"),
    ):
        with pytest.raises(ValueError, match=message):
            run_report(*arguments, root=tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_template_runs_with_plain_papermill(made, tmp_path):
    papermill = Path(sys.executable).parent / "papermill"
    subprocess.run(
        [
            papermill,
            ROOT / "nbs" / "reports" / "eda.ipynb",
            "out.ipynb",
            "-p",
            "portfolio",
            made.portfolio,
            "-p",
            "data",
            made.data,
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    content = json.loads((tmp_path / "eda.json").read_text())
    assert {k: v for k, v in content.items() if k != "run"} == comparable(made.runs["eda"])
