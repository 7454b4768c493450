"""The command line as a person or a script meets it: what it prints, its exit codes, the files that
it leaves.
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from interrupts import take_interrupts
from typer.testing import CliRunner

from credit_default.cli import app as cli
from credit_default.cli import client, data, models, monitoring, reports, service, simulation
from credit_default.cli import run as running
from credit_default.cli.terminal import CommandError

COMMANDS = [
    "data",
    "audit",
    "init",
    "eda",
    "train",
    "drift",
    "score",
    "evaluate",
    "strategy",
    "stress",
    "lifetime",
    "rejects",
    "letter",
    "reproduce",
    "run",
    "serve",
    "simulate",
    "watch",
    "models list",
    "models show",
    "models compare",
    "models delete",
    "models challenge",
    "models promote",
    "models rollback",
    "models history",
    "models sign",
    "hub push",
    "hub pull",
]
OTHERS = ["db", "user", "log", "tracking"]  # what is in them: test_administration.py
FIGURES = [
    "n",
    "default_rate",
    "mean_pd",
    "auc",
    "gini",
    "ks",
    "pr_auc",
    "brier",
    "log_loss",
    "ece",
    "calibration_slope",
    "calibration_intercept",
    "model_version",
]
MAIN = [sys.executable, "-c", "from credit_default.cli.app import main; main()"]


def shell(*arguments):
    "The command, in this process."
    result = CliRunner().invoke(
        cli.app, [str(one) for one in arguments], prog_name="credit-default"
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def here(tmp_path, monkeypatch):
    "An empty folder to stand in."
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    "300 synthetic loans of gmsc with their outcomes, as a CSV file."
    from credit_default.data.synthetic import save_sample
    from credit_default.portfolio.catalogue import get_portfolio

    return save_sample(get_portfolio("gmsc"), tmp_path_factory.mktemp("sample"), 300, seed=3)


@pytest.fixture(scope="module")
def personal(tmp_path_factory):
    "300 synthetic loans of personal."
    from credit_default.data.synthetic import save_sample
    from credit_default.portfolio.catalogue import get_portfolio

    return save_sample(get_portfolio("personal"), tmp_path_factory.mktemp("personal"), 300, seed=3)


def rows(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path, table, header=None):
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header or list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command):
    helped = shell(*command.split(), "--help")
    assert helped.exit_code == 0
    assert f"  credit-default {command}" in helped.stdout.split("Examples:")[1]
    if command not in ("serve", "watch"):  # these two follow the settings
        assert "[default: gmsc]" in helped.stdout or command in (
            "run",
            "audit",
            "init",
        )  # any table will do


def test_help_lists_these_commands_and_no_others():
    def listed(*group):
        lines = shell(*group, "--help").stdout.split("Commands:\n")[1].splitlines()
        return [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]

    assert sorted(listed()) == sorted({command.split()[0] for command in COMMANDS} | set(OTHERS))
    assert sorted(listed("models")) == sorted(
        command.split()[1] for command in COMMANDS if command.startswith("models")
    )


def test_the_version_is_shown():
    import credit_default

    assert shell("--version").stdout == f"credit-default {credit_default.__version__}\n"


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_options(name):
    "By what `--install-completion` would write, and by what that asks for."
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}

    def answered(**variables):
        done = subprocess.run(MAIN, env=environment | variables, capture_output=True, text=True)
        return done.stdout

    written = answered(_CREDIT_DEFAULT_COMPLETE=f"source_{name}")
    assert "credit-default" in written and "_CREDIT_DEFAULT_COMPLETE" in written
    for typed, expected in (
        ("credit-default mod", "models"),
        ("credit-default train --re", "--resume"),
    ):
        texts = answered(
            _CREDIT_DEFAULT_COMPLETE=f"complete_{name}",
            COMP_WORDS=typed,
            COMP_CWORD=str(len(typed.split()) - 1),
            _TYPER_COMPLETE_ARGS=typed,
            _TYPER_COMPLETE_FISH_ACTION="get-args",
        )
        assert expected in texts, (typed, texts)


def test_a_misspelt_setting_is_named(synthetic_bundle, here, monkeypatch):
    monkeypatch.setenv("CREDIT_DEFAULT_DATABSE_URL", "sqlite:///s3cret.db")
    (here / ".env").write_text("CREDIT_DEFAULT_SIGNPU=open\n")
    named = shell("models", "list").stderr.splitlines()
    assert named == [
        "CREDIT_DEFAULT_DATABSE_URL is no setting and is ignored: is CREDIT_DEFAULT_DATABASE_URL "
        "meant?",
        "CREDIT_DEFAULT_SIGNPU is no setting and is ignored: is CREDIT_DEFAULT_SIGNUP meant?",
    ]
    assert "DATABSE" not in shell("models", "list", "--help").stderr


def test_serve_lists_the_settings():
    from credit_default.core.settings import Settings

    helped = shell("serve", "--help").stdout
    assert all(f"CREDIT_DEFAULT_{name.upper()} " in helped for name in Settings.model_fields)


def test_help_needs_nothing_heavy():
    code = (
        "import sys; from credit_default.cli.app import app; app(['--help'], "
        "standalone_mode=False); "
        "print(sorted({'numpy', 'pandas', 'xgboost', 'bentoml', 'sklearn', 'pydantic', 'rich', "
        "'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.endswith("[]\n")


@pytest.mark.parametrize(
    "command, said",
    [
        ("data --portfolio persnal", "there are gmsc, personal"),
        ("data --portfolio nowhere.toml", "nowhere.toml"),
        ("data --portfolio wrong.toml", "wrong.toml"),
        ("data --path nowhere.csv", "nowhere.csv"),
        ("data --path page.csv", "web page"),
        ("data --path headless.csv", "no header line"),
        ("data --path loans.csv --sample samples", "exclude each other"),
        ("data --sample page.csv", "page.csv"),
        ("eda --path page.csv", "web page"),
        ("train --path page.csv", "web page"),
        ("train --keep grade", "no field 'grade'"),
        ("train --resume 20260101T000000Z", "holds no search"),
        (
            "train --portfolio personal --path ungraded.csv --keep loan_grade",
            "loan_grade is required: one of A, B, C, D, E, F, G (30 rows, the first of them row 7)",
        ),
        ("drift --current nowhere.csv", "nowhere.csv"),
        ("drift --current headless.csv", "no header line"),
        ("drift --model 0123456789abcdef", "no model"),
        ("drift --window-hours 0", "--window-hours must be above 0"),
        ("drift --window-hours -1", "--window-hours must be above 0"),
        ("drift --window-hours nan", "--window-hours must be above 0"),
        ("drift --window-hours 1e9", "at most 876,000"),
        ("drift --window-hours 24 --current loans.csv", "exclude each other"),
        ("drift --window-hours 24 --since 2026-01-01", "exclude each other"),
        ("drift --since 2026-01-01 --current loans.csv", "exclude each other"),
        ("drift --since 2999-01-01", "must be in the past"),
        ("drift --as-of 2027-01-31", "give --window-hours or --since too"),
        ("watch --portfolio persnal", "there are gmsc, personal"),
        ("watch --every hourly", "such as 30m or 1h"),
        ("watch --every 0m", "such as 30m or 1h"),
        ("watch --every 32d", "such as 30m or 1h"),
        ("watch --try-alert", "CREDIT_DEFAULT_ALERT_WEBHOOK"),
        ("watch --every 1h --as-of 2027-01-31", "--as-of applies to a single check"),
        ("simulate --portfolio persnal", "there are gmsc, personal"),
        ("simulate --scenario boom", "there are: none (nothing changes); income-shift"),
        ("simulate --portfolio toml.toml --scenario recession", "toml.toml"),
        ("score nowhere.csv out.csv", "nowhere.csv"),
        ("score page.csv out.csv", "web page"),
        ("score headless.csv out.csv", "names no field of portfolio gmsc"),
        ("score page.csv out.parquet", "web page"),
        ("score page.csv headless.csv", "--force"),
        ("score page.csv out.csv --model 0123456789abcdef", "no model"),
        ("score page.csv out.csv --portfolio personal", "no champion"),
        ("evaluate nowhere.csv", "nowhere.csv"),
        ("evaluate page.csv", "web page"),
        ("evaluate headless.csv", "no header line"),
        ("evaluate unlabelled.csv", "SeriousDlqin2yrs"),
        ("models show 0123456789abcdef", "no model"),
        ("reproduce 0123456789abcdef", "no model"),
        ("reproduce champion --path page.csv", "web page"),
        ("reproduce champion --portfolio personal", "no champion"),
        ("models compare 0123456789abcdef", "no model"),
        ("models promote 0123456789abcdef", "no model"),
        ("models rollback --portfolio personal", "no other champion"),
        ("serve --portfolio persnal", "there are gmsc, personal"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    synthetic_bundle, here, sample, personal, command, said
):
    (here / "page.csv").write_text("<!DOCTYPE html>\n<html></html>\n")
    (here / "wrong.toml").write_text('name = "wrong"\n')
    write(
        here / "unlabelled.csv",
        [{k: v for k, v in row.items() if k != "SeriousDlqin2yrs"} for row in rows(sample)[:5]],
    )
    (here / "headless.csv").write_text("1,0.7731,45,2,0.8,9120,13,0,6,0,2\n" * 300)
    write(
        here / "ungraded.csv",
        [
            row | (dict(loan_grade="") if 6 <= i < 36 else {})
            for i, row in enumerate(rows(personal))
        ],
    )
    before = sorted(here.iterdir())
    result = shell(*command.split())
    assert "0.7731" not in result.output and "9120" not in result.output
    lines = [line for line in result.stderr.splitlines() if not line.startswith("SYNTHETIC")]
    assert result.exit_code == 2 and len(lines) == 1 and said in lines[0], result.output
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    "command",
    [
        "score",
        "score in.csv",
        "evaluate",
        "train --preset slow",
        "train --champion best",
        "train --trials 0",
        "reproduce",
        "reproduce champion --seed -1",
        "data --seed -1",
        "data --seed 4294967296",
        "fly",
        "drift --window-hours many",
        "drift --window-hours 24 --as-of yesterday",
        "drift --since yesterday",
        "watch --window-hours 0",
        "watch --as-of yesterday",
        "watch --keep -1",
        "watch --window-hours 1000000",
        "simulate --rows 0",
        "simulate --change-at 1.5",
        "simulate --change-at -0.1",
        "simulate --rate 0",
        "simulate --rows many",
    ],
)
def test_a_wrong_option_is_exit_code_2(here, command):
    assert shell(*command.split()).exit_code == 2


def test_the_largest_seed_is_taken_and_the_next_named(here):
    assert shell("data", "--seed", 2**32 - 1).exit_code == 0
    assert "4294967295" in shell("data", "--seed", 2**32).stderr


def test_the_sample_is_written_as_the_lender_would(here):
    from credit_default.data.loading import load
    from credit_default.portfolio.catalogue import get_portfolio

    result = shell("data", "--sample", "samples", "--seed", 4)
    written = here / "samples" / "SYNTHETIC-cs-training.csv"
    assert (
        result.exit_code == 0
        and str(written.relative_to(here)) in result.stderr
        and "20,000 applicants" in result.stdout
    )
    dataset = load(get_portfolio("gmsc"), written)
    assert (
        dataset.synthetic
        and dataset.provenance["sha256"] == load(get_portfolio("gmsc"), seed=4).provenance["sha256"]
    )
    assert shell("data", "--path", written).stdout.endswith(result.stdout.split("sample).")[1])


def test_a_kept_field_is_asked_for_in_the_file(here, personal):
    table = rows(personal)
    table[6]["loan_grade"] = ""
    path = write(here / "loans.csv", table)
    assert data.check_data("personal", path).provenance["refused"] == {}
    assert data.check_data("personal", path, keep=("loan_grade",)).provenance["refused"] == {
        "loan_grade": 1
    }


def test_a_damaged_model_is_refused_and_the_file_named(synthetic_bundle, here, sample):
    from credit_default.scoring.registry import (
        bundle_path,
    )

    part = bundle_path(synthetic_bundle.tag) / "members.json"
    whole = part.read_bytes()
    try:
        part.write_bytes(whole[:-1])
        for command in (
            ["score", sample, "out.csv"],
            ["evaluate", sample],
            ["models", "show"],
            ["reproduce", "champion"],
        ):
            result = shell(*command)
            assert (
                result.exit_code == 1
                and "members.json" in result.stderr
                and len(result.stderr.splitlines()) == 1
            )
    finally:
        part.write_bytes(whole)
    assert not list(here.iterdir())


def test_an_error_of_ours_keeps_its_traceback(monkeypatch):
    def broken(name):
        raise KeyError("age")

    monkeypatch.setattr(data, "find_portfolio", broken)
    with pytest.raises(KeyError):
        shell("data")


def test_data_says_which_and_that_it_is_synthetic(here, sample):
    result = shell("data")
    assert result.exit_code == 0 and "SYNTHETIC" in result.stdout and "SYNTHETIC" in result.stderr
    result = shell("data", "--path", sample)
    assert result.exit_code == 0 and sample.name in result.stdout and "300" in result.stdout


def test_score_keeps_order_columns_and_texts(synthetic_bundle, here, sample):
    table = rows(sample)
    for i, row in enumerate(table):
        row["note"] = ["007", ' "quoted", and a comma', "two\r\nlines", "ümlaut", ""][i % 5]
    table[7]["age"], table[11]["MonthlyIncome"], table[11]["DebtRatio"] = "-5", "12 Main Street", ""
    header = ["note", *[name for name in table[0] if name != "note"]]
    source = write(here / "in.csv", table, header)
    with Path(source).open("a", encoding="utf-8") as file:
        file.write("a row that is,cut short\n")
    result = shell("score", source, "out.csv")
    assert result.exit_code == 0 and "301 rows: 298 scored, 3 refused" in result.stdout, (
        result.output
    )
    assert result.stderr.startswith("SYNTHETIC")
    out = rows("out.csv")
    assert list(out[0]) == header + [
        "probability_default",
        "probability_no_default",
        "prediction",
        "prediction_label",
        "decision",
        "credit_score",
        "rating",
        "risk",
        "reason_1",
        "reason_2",
        "reason_3",
        "reason_4",
        "model_version",
        "error",
    ]
    assert [{k: row[k] for k in header} for row in out[:-1]] == table
    assert {i for i, row in enumerate(out) if row["error"]} == {7, 11, 300}
    assert out[7]["error"].startswith("age: must be")
    assert [part.split(":")[0] for part in out[11]["error"].split("; ")] == [
        "DebtRatio",
        "MonthlyIncome",
    ]
    assert "Main Street" not in out[11]["error"] and "-5" not in out[7]["error"]
    assert not any(out[i][name] for i in (7, 11, 300) for name in list(out[0])[-14:-1])
    assert {row["model_version"] for row in out if not row["error"]} == {synthetic_bundle.tag}


def test_score_says_what_the_bundle_says_to_the_last_digit(synthetic_bundle, here, sample):
    from credit_default.data.sources import read_table
    from credit_default.portfolio.columns import parse_table

    assert shell("score", sample, "out.csv").exit_code == 0
    scores = synthetic_bundle.score(parse_table(synthetic_bundle.portfolio, read_table(sample)))
    for i, row in enumerate(rows("out.csv")):
        answer = scores.answer(i)
        assert row["probability_default"] == repr(answer["probability_default"])
        assert [row[k] for k in ("credit_score", "rating", "decision")] == [
            str(answer[k]) for k in ("credit_score", "rating", "decision")
        ]
        assert [row[f"reason_{j}"] for j in range(1, 5) if row[f"reason_{j}"]] == [
            r["text"] for r in answer["reasons"]
        ]


def test_score_of_parquet_keeps_types(synthetic_bundle, here, sample):
    import pandas as pd

    table = pd.read_csv(sample).assign(made=pd.Timestamp("2026-01-01"))
    table.loc[4, "age"] = -1
    table.to_parquet("in.parquet", row_group_size=128)
    assert shell("score", "in.parquet", "out.parquet").exit_code == 0
    out = pd.read_parquet("out.parquet")
    pd.testing.assert_frame_equal(out[list(table)], pd.read_parquet("in.parquet"))
    assert shell("score", sample, "out.csv").exit_code == 0
    pds = [float(row["probability_default"]) for row in rows("out.csv")]
    assert out.probability_default.drop(4).tolist() == pds[:4] + pds[5:]
    assert (
        out.error[4].startswith("age")
        and out.error.notna().sum() == 1
        and pd.isna(out.credit_score[4])
    )


def test_a_csv_file_becomes_parquet_with_the_same_digits(synthetic_bundle, here, sample):
    import pandas as pd

    table = rows(sample)
    table[4]["age"], table[5]["MonthlyIncome"] = "-1", ""
    source = write(here / "in.csv", [row | {"note": "007"} for row in table])
    assert shell("score", source, "out.csv").exit_code == 0
    result = shell("score", source, "out.parquet")
    assert result.exit_code == 0 and "299 scored, 1 refused" in result.stdout, result.output
    text, typed = rows("out.csv"), pd.read_parquet("out.parquet")
    assert list(typed) == list(text[0]) and typed.note.eq("007").all()
    assert [r["probability_default"] for r in text if r["probability_default"]] == [
        repr(v) for v in typed.probability_default.dropna().tolist()
    ]
    assert typed.credit_score.dropna().astype(int).astype(str).tolist() == [
        r["credit_score"] for r in text if r["credit_score"]
    ]
    assert typed.MonthlyIncome[5] is None and typed.error[4] == text[4]["error"]


def test_a_file_is_overwritten_only_on_request(synthetic_bundle, here, sample):
    (here / "out.csv").write_text("the work of a week")
    refused = shell("score", sample, "out.csv")
    assert refused.exit_code == 2 and "out.csv exists" in refused.stderr
    assert "--force" in refused.stderr and (here / "out.csv").read_text() == "the work of a week"
    assert shell("score", sample, "out.csv", "--force").exit_code == 0
    assert len(rows("out.csv")) == 300


def test_a_column_that_is_absent_is_said(synthetic_bundle, here, sample):
    table = rows(sample)
    source = write(
        here / "in.csv", [{k: v for k, v in row.items() if k != "MonthlyIncome"} for row in table]
    )
    assert (
        "taken as missing in every row: MonthlyIncome" in shell("score", source, "out.csv").stderr
    )
    for row in table:
        row["MonthlyIncome"] = ""
    shell("score", write(here / "empty.csv", table), "other.csv")
    assert [row["probability_default"] for row in rows("out.csv")] == [
        row["probability_default"] for row in rows("other.csv")
    ]


def test_evaluate_gives_exactly_these_figures(synthetic_bundle, here, sample):
    from credit_default.data.loading import load
    from credit_default.evaluation.metrics import compute_metrics
    from credit_default.portfolio.columns import parse_table

    result = shell("evaluate", sample, "--json")
    figures = json.loads(result.stdout)
    assert (
        list(figures) == FIGURES
        and figures["n"] == 300
        and figures["model_version"] == synthetic_bundle.tag
    )
    loans = load(synthetic_bundle.portfolio, sample)
    pd = synthetic_bundle.score(
        parse_table(synthetic_bundle.portfolio, loans.frame), reasons=False
    ).probability_default
    expected = compute_metrics(loans.y, pd).to_dict()
    assert {k: figures[k] for k in FIGURES[:-1]} == {k: expected[k] for k in FIGURES[:-1]}
    assert all(name in shell("evaluate", sample).stdout for name in FIGURES)


def test_nothing_seen_and_many_refused_are_no_all_clear(synthetic_bundle, here, sample):
    "Neither a comparison of no rows nor one of those that were left comes out well."
    some = [row | ({"age": "-5"} if i % 3 == 0 else {}) for i, row in enumerate(rows(sample))]
    some, none = write(here / "some.csv", some), [row | {"age": "-5"} for row in rows(sample)]
    none = write(here / "none.csv", none)
    result = shell("drift", "--current", some)
    assert result.exit_code == 4 and "100 of 300 rows REFUSED; not judged" in result.stdout
    [said] = here.glob("reports/gmsc/*/drift.json")
    found = json.loads(said.read_text())["result"]
    assert found["too_many_refused"] and (found["rows_read"], found["rows_refused"]) == (300, 100)
    assert found["verdict"].startswith("100 of 300 rows were refused, too many")
    result = shell("drift", "--current", none)
    assert result.exit_code == 2 and "all 300 rows have to be refused: age must be" in result.stderr
    result = shell("score", some, "scored.csv")
    assert result.exit_code == 4 and "100 refused" in result.stdout, result.output
    assert "TOO MANY REFUSED, more than 5%" in result.stdout and len(rows("scored.csv")) == 300
    empty = write(here / "empty.csv", [], list(rows(sample)[0]))
    result = shell("score", empty, "empty-scored.csv")
    assert result.exit_code == 4 and "NOTHING SCORED" in result.stdout, result.output
    assert (here / "empty-scored.csv").exists()
    result = shell("evaluate", some)
    assert result.exit_code == 4 and "NOT JUDGED: 100 of 300 rows" in result.stderr
    result = shell("evaluate", none)
    assert result.exit_code == 2 and "age must be" in result.stderr
    assert "-5" not in result.stderr


def test_evaluate_leaves_out_what_it_must_and_says_so(synthetic_bundle, here, sample):
    table = rows(sample)
    table[0]["SeriousDlqin2yrs"], table[1]["SeriousDlqin2yrs"], table[2]["age"] = "", "NA", "-5"
    result = shell("evaluate", write(here / "in.csv", table), "--json")
    assert "3 of 300 rows are left out" in result.stderr and json.loads(result.stdout)["n"] == 297
    assert json.loads(result.stdout) == json.loads(
        shell("evaluate", write(here / "less.csv", table[3:]), "--json").stdout
    )
    table[5]["SeriousDlqin2yrs"] = "maybe"
    result = shell("evaluate", write(here / "in.csv", table))
    assert (
        result.exit_code == 2
        and "SeriousDlqin2yrs" in result.stderr
        and "maybe" not in result.stderr
    )


@pytest.fixture
def challenger(synthetic_bundle):
    "A second model in the store; the champion is the same again afterwards."
    import dataclasses

    from credit_default.scoring.registry import (
        champion_tag,
        promote_bundle,
        save_bundle,
    )

    other = dataclasses.replace(
        synthetic_bundle,
        calibrator=type(synthetic_bundle.calibrator).from_dict(
            synthetic_bundle.calibrator.to_dict()
        ),
    )
    other.scorecard = synthetic_bundle.scorecard.model_copy(update={"cut_off": 0.2})
    tag = save_bundle(other)
    yield tag
    if champion_tag("gmsc") != synthetic_bundle.tag:
        promote_bundle(synthetic_bundle.tag, "gmsc", by="tests")


def test_models_are_listed_compared_promoted_and_rolled_back(synthetic_bundle, challenger):
    def champions():
        return [
            one["tag"]
            for one in json.loads(shell("models", "list", "--json").stdout)
            if one["champion"]
        ]

    assert champions() == [synthetic_bundle.tag]
    assert challenger.split(":")[1] in shell("models", "list").stdout
    compared = json.loads(shell("models", "compare", challenger, "--json").stdout)
    assert compared["tags"] == [challenger, synthetic_bundle.tag] and compared["same_holdout"]
    assert {figure["difference"] for figure in compared["figures"]} == {0} and compared[
        "auc_difference"
    ] is None
    said = shell("models", "compare", challenger).stderr
    assert "NOT COMPARED loan by loan: the rows of the holdout are not kept" in said
    unseen = shell("models", "promote", challenger.split(":")[1], "--why", "a test")
    assert unseen.exit_code == 1 and "is not on this machine" in unseen.stderr
    assert json.loads(
        shell("models", "promote", challenger.split(":")[1], "--because", "a test", "--json").stdout
    ) == {"champion": challenger}
    assert champions() == [challenger]
    shown = json.loads(shell("models", "show", "--json").stdout)
    assert (
        shown["tag"] == challenger
        and shown["history"][-1]["why"] == "a test"
        and shown["metrics"]["n"]
    )
    assert shown["card"] == json.loads(json.dumps(synthetic_bundle.card)) != {}
    assert synthetic_bundle.tag in shell("models", "rollback").stdout
    assert champions() == [synthetic_bundle.tag]
    assert "a test" in shell("models", "show", challenger).stdout


def test_a_list_says_when_and_how_models_were_made(synthetic_bundle, here):
    from credit_default.scoring.stored import write_training_note

    made, rows = synthetic_bundle.provenance, synthetic_bundle.provenance["rows"]["train"]
    write_training_note(synthetic_bundle.tag, here / "reports" / "training.html", "the first one")
    heading, *lines = shell("models", "list").stdout.splitlines()
    [line] = [one for one in lines if one.startswith(synthetic_bundle.tag.split(":")[1])]
    assert heading.split()[:5] == ["model", "date", "preset", "kind", "rows"]
    assert f"{datetime.now(UTC):%Y-%m-%d} " in line and f" {made['champion']} " in line
    assert f" {rows} " in line and line.endswith("the first one  reports/training.html")
    entries = json.loads(shell("models", "list", "--json").stdout)
    [entry] = [one for one in entries if one["tag"] == synthetic_bundle.tag]
    assert entry["rows"] == rows
    assert (entry["note"], entry["report"]) == (
        "the first one",
        str(here / "reports" / "training.html"),
    )


def test_a_model_is_deleted_unless_it_is_the_champion(synthetic_bundle, challenger):
    from credit_default.core.paths import portfolio_home

    beside = portfolio_home("gmsc") / challenger.split(":")[1]
    beside.mkdir(parents=True, exist_ok=True)
    refused = shell("models", "delete", challenger)
    assert refused.exit_code == 2 and "give --yes" in refused.stderr and beside.exists()
    deleted = shell("models", "delete", challenger.split(":")[1], "--yes", "--json")
    assert json.loads(deleted.stdout) == {"deleted": challenger}
    tags = [one["tag"] for one in json.loads(shell("models", "list", "--json").stdout)]
    assert synthetic_bundle.tag in tags and challenger not in tags and not beside.exists()
    assert "no model" in shell("models", "delete", challenger, "--yes").stderr
    kept = shell("models", "delete", "champion", "--yes")
    assert kept.exit_code == 2 and "is the champion" in kept.stderr
    assert shell("models", "show").exit_code == 0


def test_the_champion_is_not_promoted_again(synthetic_bundle):
    from credit_default.scoring.registry import (
        promotion_history,
    )

    before = promotion_history("gmsc")
    result = shell("models", "promote", synthetic_bundle.tag, "--why", "once more")
    assert result.exit_code == 0 and "is already the champion; nothing was changed" in result.stdout
    assert json.loads(shell("models", "promote", "champion", "--json").stdout) == {
        "champion": synthetic_bundle.tag
    }
    assert promotion_history("gmsc") == before


def test_the_model_card_is_shown_whole(synthetic_bundle):
    shown = " ".join(shell("models", "show").stdout.split())
    card = synthetic_bundle.card
    for text in [
        card["description"],
        card["default"],
        card["intended_use"],
        card["explanation"],
        card["reasons"],
        card["data"]["sha256"],
        *card["limits"],
        *card["fields_used"],
        *(m["what"] for m in card["model"]),
    ]:
        assert " ".join(text.split()) in shown, text
    assert (
        all(name in shown for name in ("n_estimators", "hidden", "clip", "24 months"))
        and "{" not in shown
    )
    assert models.card_lines({}) == []


def test_two_models_are_compared_on_the_same_loans(synthetic_bundle, challenger, sample):
    from credit_default.core.paths import portfolio_home
    from credit_default.data.loading import load
    from credit_default.evaluation.discrimination import auc_difference

    loans = load(synthetic_bundle.portfolio, sample)
    pds = {
        synthetic_bundle.tag: synthetic_bundle.score(
            loans.columns, reasons=False
        ).probability_default,
        challenger: loans.frame.age.to_numpy() / 1000,
    }
    for tag, pd in pds.items():
        folder = portfolio_home("gmsc") / tag.split(":")[1]
        folder.mkdir(parents=True, exist_ok=True)
        loans.frame.assign(probability_default=pd, credit_score=600, outcome=loans.y).to_parquet(
            folder / "reference.parquet"
        )
    try:
        found = json.loads(shell("models", "compare", challenger, "--json").stdout)[
            "auc_difference"
        ]
        assert (
            found == auc_difference(loans.y, pds[challenger], pds[synthetic_bundle.tag]).to_dict()
            and found["high"] < 0
        )
        assert (
            f"AUC on the same loans: {found['difference']:+.4f}"
            in shell("models", "compare", challenger).stdout
        )
        loans.frame[::-1].assign(
            probability_default=0.1, credit_score=600, outcome=loans.y
        ).to_parquet(folder / "reference.parquet")
        assert (
            json.loads(shell("models", "compare", challenger, "--json").stdout)["auc_difference"]
            is None
        )
    finally:
        for tag in pds:
            (portfolio_home("gmsc") / tag.split(":")[1] / "reference.parquet").unlink()


@pytest.mark.parametrize(
    "before, now, synthetic, said",
    [
        (None, "m:1", False, "champion now: there was none"),
        ("m:0", "m:1", False, "only m:0, a synthetic one"),
        ("m:1", "m:1", False, "already"),
        ("m:0", "m:0", False, "not the champion: m:0 is"),
        ("m:0", "m:0", True, "This one is synthetic"),
    ],
)
def test_train_says_whether_and_why_it_is_champion(before, now, synthetic, said):
    assert said in reports.champion_status("m:1", before, now, synthetic)


NOT_MET = dict(check="Slope", value="1.300", threshold="0.909 to 1.091")


@pytest.mark.parametrize(
    "now, said", [(None, "there is none"), ("m:0", "m:0, a synthetic one, stays")]
)
def test_train_says_that_checks_keep_a_model_from_being_champion(now, said):
    because = "essential checks could not be judged"
    status = reports.champion_status("m:1", now, now, synthetic=False, held_back=because)
    assert said in status and because in status and "models promote m:1 --because" in status


@pytest.mark.parametrize("held_back, code", [(True, 5), (False, 0)])
def test_train_has_an_exit_code_for_a_first_model_that_does_not_meet_its_checks(
    monkeypatch, held_back, code
):
    made = SimpleNamespace(content=dict(result={}, run=dict(held_back=held_back)))
    monkeypatch.setattr(reports, "run_training", lambda request: (made, "m:1"))
    assert shell("train").exit_code == code


def test_a_model_that_does_not_meet_its_checks_is_promoted_by_a_stated_act(
    synthetic_bundle, challenger
):
    from credit_default.scoring.registry import (
        champion_tag,
        load_bundle,
        promotion_history,
        record_card,
    )

    card, not_met = load_bundle(challenger, "gmsc").card, dict(not_met=[NOT_MET], met=[])
    record_card(challenger, {"checks": not_met} | card)
    try:
        refused = shell("models", "promote", challenger, "--why", "no")
        assert refused.exit_code == 1 and f"promote {challenger} --because" in refused.stderr
        assert "Slope (training report): 1.300 (threshold: 0.909 to 1.091)" in refused.stderr
        assert champion_tag("gmsc") == synthetic_bundle.tag
        first = shell("models", "show", challenger).stdout.split("\n\n", 1)[1]
        assert first.split(maxsplit=1)[1].startswith("NOT MET: Slope 1.300")
        shell("models", "promote", challenger, "--because", "a trial")
        assert champion_tag("gmsc") == challenger and promotion_history("gmsc")[-1].failed_checks
        assert "a trial (checks or gate overruled)" in shell("models", "show", challenger).stdout
    finally:
        record_card(challenger, card)


BLIND = dict(check="Drop in AUC", value="none", threshold="at most 10 %", reason="too few loans")
BLIND_SEGMENT = dict(check="Segments whose PD is rejected", value="none", threshold="0")


def test_a_model_whose_essential_checks_are_not_judged_is_promoted_by_a_stated_act(
    synthetic_bundle, challenger
):
    from credit_default.scoring.registry import champion_tag, load_bundle, record_card

    card, unjudged = load_bundle(challenger, "gmsc").card, [BLIND | dict(essential=True)]
    checks = dict(not_met=[], met=[], not_judged=[*unjudged, BLIND_SEGMENT])
    record_card(challenger, {"checks": checks} | card)
    try:
        refused = shell("models", "promote", challenger, "--why", "no")
        assert refused.exit_code == 1 and champion_tag("gmsc") == synthetic_bundle.tag
        assert "Drop in AUC (training report): not judged (too few loans)" in refused.stderr
        assert "Train it on more loans" in refused.stderr and "--because" in refused.stderr
        shown = shell("models", "show", challenger).stdout
        assert "NOT JUDGED: Drop in AUC (too few loans)" in shown
        allowed = shell("models", "promote", challenger, "--because", "a trial")
        assert champion_tag("gmsc") == challenger
        assert "not judged: Drop in AUC" in allowed.stderr
        assert "not judged: Segments whose PD" in allowed.stderr
        shell("models", "rollback")
        record_card(challenger, {"checks": checks | dict(not_judged=[BLIND_SEGMENT])} | card)
        named = shell("models", "promote", challenger, "--because", "better")
        assert champion_tag("gmsc") == challenger and "not judged: Segments" in named.stderr
    finally:
        record_card(challenger, card)


@pytest.mark.parametrize(
    "found, stand_in, code", [(["age"], "", 3), ([], "the model's own training rows", 0)]
)
def test_drift_is_exit_code_3_and_a_stand_in_is_named(
    synthetic_bundle, here, monkeypatch, found, stand_in, code
):
    content = dict(
        synthetic=True,
        result=dict(drift=bool(found), drifted_features=found, n_current=1000, stand_in=stand_in),
    )
    made = SimpleNamespace(content=content, html="drift.html")
    monkeypatch.setattr(monitoring, "write_report", lambda *_: made)
    result = shell("drift")
    assert (
        result.exit_code == code
        and "drift.html" in result.stdout
        and all(name in result.stdout for name in found)
    )
    assert ("No current applicants were given" in result.stderr) == bool(
        stand_in
    ) and stand_in in result.stderr
    assert not stand_in or f"no drift in {stand_in}: 1,000 applicants" in result.stdout


@pytest.mark.parametrize(
    "found, outcome",
    [
        (dict(drift=None, n_current=0), "nothing was compared"),
        (dict(drift=None, n_current=60), "not judged, too few applicants to notice drift"),
        (
            dict(drift=False, n_current=800)
            | dict(rows_read=1200, rows_refused=400, too_many_refused=True),
            "400 of 1,200 rows REFUSED; not judged",
        ),
        (dict(drift=False, n_current=800), "no drift"),
    ],
)
def test_run_says_of_the_drift_report_what_drift_says(here, monkeypatch, found, outcome):
    """`run` wrote `no drift` under what it made wherever no drift was found, also where there was
    nothing to find it in.
    """
    result = dict(drifted_features=[], stand_in="") | found
    drift = SimpleNamespace(content=dict(synthetic=True, result=result), html="drift.html")
    training = SimpleNamespace(content=dict(result={}), html="training.html")
    monkeypatch.setattr(running, "write_report", lambda *_: drift)
    monkeypatch.setattr(running, "run_training", lambda *_, **__: (training, "gmsc:1"))
    monkeypatch.setattr(running, "was_held_back", lambda _: False)
    monkeypatch.setattr(running, "held_back_because", lambda _: "")
    made, *_ = running._write_reports("gmsc", here / "reports" / "gmsc" / "first", 0, 0)
    assert made["drift report"].startswith(f"drift.html: {outcome}")
    assert (outcome == "no drift") == (made["drift report"] == "drift.html: no drift")
    monkeypatch.setattr(monitoring, "write_report", lambda *_: drift)
    assert outcome in (said := shell("drift")).stdout
    assert said.exit_code == (0 if outcome == "no drift" else 4)


@pytest.fixture
def no_log(here, monkeypatch):
    "Settings of one who has never started a service."
    monkeypatch.setenv("CREDIT_DEFAULT_DATABASE_URL", f"sqlite:///{here}/none.db")
    return here


@pytest.mark.parametrize(
    "command",
    [
        "watch",
        "watch --no-report",
        "watch --every 1h",
        "drift --window-hours 24",
        "drift --since 2026-01-01",
    ],
)
def test_without_a_log_there_is_nothing_to_watch(synthetic_bundle, no_log, command):
    result = shell(*command.split())
    said = [line for line in result.stderr.splitlines() if not line.startswith("SYNTHETIC")]
    assert (
        result.exit_code == 1
        and len(said) == 1
        and "db upgrade" in said[0]
        and not list(no_log.iterdir())
    ), result.output


def test_without_a_model_there_is_nothing_to_watch(synthetic_bundle, no_log):
    assert shell("db", "upgrade").exit_code == 0
    result = shell("watch", "--portfolio", "personal", "--no-report")
    assert (
        result.exit_code == 2
        and "portfolio personal has no champion yet" in result.stderr
        and len(result.stderr.splitlines()) == 1
    )


def test_a_watch_of_a_log_without_predictions_is_no_all_clear(synthetic_bundle, no_log):
    from credit_default.store.store import Store

    assert shell("db", "upgrade").exit_code == 0
    result = shell("watch", "--window-hours", "168")
    assert (
        result.exit_code == 4
        and f"gmsc: nothing was compared, 0 predictions of {synthetic_bundle.tag}" in result.stdout
        and "report:" not in result.stdout
    )
    store = Store(f"sqlite:///{no_log}/none.db")
    [check] = store.checks.find("gmsc", 5)
    store.close()
    assert (
        check.source,
        check.samples,
        check.every_seconds,
        check.until - check.since,
    ) == ("watch", 0, None, timedelta(hours=168))


@pytest.mark.parametrize(
    "settings, options, said",
    [
        (dict(PORTFOLIO="personal"), "", "portfolio personal has no champion yet"),
        (
            dict(PORTFOLIO="personal"),
            "--portfolio gmsc",
            "gmsc: nothing was compared, 0 predictions of {tag}",
        ),
        (
            dict(MODEL="0123456789abcdef"),
            "",
            "no model credit_default_gmsc:0123456789abcdef in the model store",
        ),
        (dict(MODEL="{version}"), "--portfolio gmsc", "0 predictions of {tag}"),
        (
            dict(MODEL="0123456789abcdef"),
            "--portfolio gmsc",
            "no model credit_default_gmsc:0123456789abcdef in the model store",
        ),
        (
            dict(MODEL="0123456789abcdef"),
            "--portfolio personal",
            "portfolio personal has no champion yet",
        ),
    ],
)
def test_a_watch_is_of_the_portfolio_and_model_that_are_served(
    synthetic_bundle, no_log, monkeypatch, settings, options, said
):
    "Unless a portfolio is named; the model of the settings belongs to their portfolio."
    assert shell("db", "upgrade").exit_code == 0
    for name, value in settings.items():
        monkeypatch.setenv(
            f"CREDIT_DEFAULT_{name}", value.format(version=synthetic_bundle.tag.split(":")[1])
        )
    result = shell("watch", "--no-report", *options.split())
    assert said.format(tag=synthetic_bundle.tag) in result.output and result.exit_code == (
        4 if "compared" in said or said.startswith("0") else 2
    )


def test_a_watch_keeps_its_newest_reports_and_everybody_elses(
    synthetic_bundle, no_log, monkeypatch
):
    from credit_default.store.predictions import Entry
    from credit_default.store.schema import example_prediction
    from credit_default.store.store import Store

    assert shell("db", "upgrade").exit_code == 0
    store = Store(f"sqlite:///{no_log}/none.db")
    store.predictions.append(
        [
            Entry(
                [
                    example_prediction(
                        0,
                        datetime.now(UTC),
                        reference=None,
                        model_version=synthetic_bundle.tag,
                        sent="{}",
                        scored="{}",
                        bins="0" * len(synthetic_bundle.reference.bins),
                    )
                ]
            )
        ]
    )
    store.close()
    asked = []

    def report(name, portfolio, parameters, run=""):
        from credit_default.reporting.running import new_folder

        folder = new_folder(reports.REPORTS / portfolio, run)
        for kind in ("html", "ipynb", "json"):
            (folder / f"{name}.{kind}").write_text("{}")
        asked.append(parameters["as_of"])
        content = dict(
            synthetic=True,
            result=dict(drift=False, drifted_features=[], n_current=1, stand_in="", performance=""),
        )
        return SimpleNamespace(html=folder / f"{name}.html", content=content)

    monkeypatch.setattr(monitoring, "write_report", report)
    there = lambda: sorted(path.name for path in (no_log / "reports" / "gmsc").iterdir())  # noqa: E731
    assert shell("drift", "--window-hours", 1).exit_code == 0
    [mine] = there()
    runs = []
    for options in (
        ["--keep", 2],
        ["--keep", 2],
        ["--keep", 2, "--as-of", "2028-12-05"],
        ["--keep", 0],
        ["--keep", 0],
        [],
    ):
        result = shell("watch", "--window-hours", 1, *options)
        runs.append(result.stdout.split("report: reports/gmsc/")[1].split("/")[0])
        if len(runs) == 3:
            assert there() == sorted([mine, *runs[1:]]) and asked[-2:] == [
                "",
                "2028-12-05T00:00:00+00:00",
            ]
    assert there() == sorted([mine, *runs[1:]])


@pytest.mark.parametrize(
    "command, told, code", [("true", "sent: command", 0), ("exit 127", "no alert was delivered", 1)]
)
def test_a_trial_alert_is_sent_or_said_not_to_be(here, monkeypatch, command, told, code):
    monkeypatch.setenv("CREDIT_DEFAULT_ALERT_COMMAND", command)
    result = shell("watch", "--try-alert")
    assert result.exit_code == code and told in result.output


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "127.0.0.1:3000", "nowhere"])
def test_no_service_is_there_to_simulate_with(here, url):
    result = shell("simulate", "--rows", 5, "--url", url)
    assert (
        result.exit_code == 1
        and result.stderr
        == f"credit-default: no service is ready at {url}: `credit-default serve` starts one\n"
    )


def test_a_service_that_lets_nobody_sign_up_asks_for_a_user(here, monkeypatch):
    "Without a user there is one for the time of the run; and one who stays behind is named."
    from urllib.error import HTTPError

    monkeypatch.setattr(simulation, "require_service", lambda url: None)

    def closed(url, *_, **__):
        raise HTTPError(url, 403, "no", {}, None)

    monkeypatch.setattr(client, "ask", closed)
    result = shell("simulate", "--rows", 5)
    assert (
        result.exit_code == 1
        and "does not allow sign-up (403): name an existing analyst with --username"
        in result.stderr
    )
    monkeypatch.setenv("CREDIT_DEFAULT_PASSWORD", "wrong")
    result = shell("simulate", "--rows", 5, "--username", "anna")
    assert (
        result.exit_code == 1
        and "anna cannot log in: the service answered 403" in result.stderr
        and "wrong" not in result.output
    )
    monkeypatch.setattr(client, "ask", lambda url, *_, **__: dict(id="7c0f", access_token="t"))
    monkeypatch.setenv(
        "CREDIT_DEFAULT_DATABASE_URL", f"sqlite:///{here}/none.db"
    )  # the service is another machine's
    made = SimpleNamespace(
        rows=5,
        scored=5,
        refused=0,
        seconds=0.1,
        title="Nothing changes",
        decisions=dict(Approved=5),
        mean_pd=0.05,
        mean_true_pd=None,
        reviews={},
        moves=[],
        outcomes=None,
        changed="2026-03-01T12:00:00.000Z",
    )
    monkeypatch.setattr(
        "credit_default.monitoring.simulation.simulate_production", lambda *_, **__: made
    )
    result = shell("simulate", "--rows", 5)
    assert (
        result.exit_code == 0
        and "who signed up for this, is still there" in result.stderr
        and "look: credit-default drift --window-hours 1\n" in result.stdout
    )


@pytest.mark.parametrize(
    "command, given",
    [
        ("train", dict(champion="blend", preset="quick", seed=0, sample_seed=0)),
        ("train --seed 4 --sample-seed 5", dict(seed=4, sample_seed=5)),
        (
            "train --champion single --preset full --trials 3 --timeout 60 --seed 4",
            dict(champion="single", preset="full", trials=3, timeout=60, seed=4),
        ),
    ],
)
def test_train_hands_its_options_to_the_report(here, sample, monkeypatch, command, given):
    seen = {}

    def report(name, portfolio, parameters, run):
        seen.update(parameters, name=name, run=run)
        raise CommandError("enough")

    monkeypatch.setattr(reports, "write_report", report)
    assert shell(*command.split(), "--path", sample).exit_code == 1
    assert seen["name"] == "training" and given.items() <= seen.items()
    assert (
        seen["cache"] == Path("reports/gmsc/margins")
        and seen["storage"] == Path("reports/gmsc") / seen["run"] / "study.log"
    )
    assert "reports/PORTFOLIO/margins" in shell("train", "--help").stdout


@pytest.mark.parametrize(
    "given, draws",
    [("", 0), ("--seed 4", 0), ("--sample-seed 4", 4), ("--seed 1 --sample-seed 4", 4)],
)
def test_the_sample_is_another_only_on_request(here, monkeypatch, given, draws):
    "The seed of split, folds and search leaves the synthetic data as it is."
    from credit_default.data.loading import load
    from credit_default.portfolio.catalogue import get_portfolio

    def report(name, portfolio, parameters, run):
        raise CommandError("enough")

    monkeypatch.delenv("CREDIT_DEFAULT_DATA", raising=False)
    monkeypatch.setattr(reports, "write_report", report)
    expected = load(get_portfolio("gmsc"), seed=draws).provenance["sha256"]
    assert expected[:12] in shell("train", *given.split()).stdout


@pytest.mark.slow
def test_an_interrupted_training_says_how_to_go_on(here, sample):
    "Ctrl-C during the search, without a terminal; then the search goes on where it was."
    command = [*MAIN, "train", "--path", sample, "--preset", "full", "--champion", "single"]
    process = subprocess.Popen(
        command, preexec_fn=take_interrupts, stderr=subprocess.PIPE, stdout=-1, text=True
    )
    end = time.monotonic() + 120
    while not (found := [*here.glob("reports/gmsc/*/study.log")]) or b'"state":1' not in found[
        0
    ].read_bytes().replace(b" ", b""):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in error
    run = found[0].parent.name
    wanted = f"train --path {sample} --preset full --champion single --resume {run}"
    assert f"Go on with it: credit-default {wanted}" in error, error


# The same model again


@pytest.fixture(scope="module")
def searched(bentoml_home, tmp_path_factory):
    "A model of a short search on a small file, in the model store, and that file."
    from credit_default.data.loading import load
    from credit_default.data.synthetic import save_sample
    from credit_default.portfolio.catalogue import get_portfolio
    from credit_default.scoring.registry import (
        save_bundle,
    )
    from credit_default.training.recipe import Recipe
    from credit_default.training.training import train_model

    gmsc = get_portfolio("gmsc")
    file = save_sample(gmsc, tmp_path_factory.mktemp("searched"), 2500, seed=7)
    trees = dict(
        n_estimators=100,
        learning_rate=0.08,
        max_depth=3,
        grow_policy="depthwise",
        subsample=0.7,
        colsample_bynode=0.5,
        min_child_weight=10.0,
        reg_lambda=1.0,
    )
    first = [
        Recipe(parameters=trees),
        Recipe(candidate="logistic", imputation="mice", parameters=dict(C=1.0, clip=0.05)),
    ]
    training = train_model(gmsc, load(gmsc, file), first=first, trials=3, seed=3, progress=False)
    return SimpleNamespace(tag=save_bundle(training.bundle), file=file)


def reproduced(*arguments):
    """What `reproduce --json` says, its exit code, and the assurance that it left everything as it
    was.
    """
    from credit_default.scoring.registry import (
        promotion_history,
        stored_tags,
    )

    before = stored_tags("gmsc"), promotion_history("gmsc"), sorted(Path().rglob("*"))
    result = shell("reproduce", *arguments, "--json")
    assert (stored_tags("gmsc"), promotion_history("gmsc"), sorted(Path().rglob("*"))) == before
    return json.loads(result.stdout), result.exit_code


def test_reproduce_agrees_to_the_last_digit(searched, here):
    found, code = reproduced(searched.tag, "--path", searched.file)
    assert code == 0 and found["agrees"] and found["tag"] == searched.tag
    assert (
        all(
            found[part]["agrees"]
            for part in ("data", "trials", "members", "figures", "content_hash")
        )
        and found["trials"]["trials"] == 3
    )
    assert found["circumstances"] == [] and found["seed"] == dict(recorded=3, used=3)


def test_reproduce_without_the_data_trains_nothing(searched, here, monkeypatch):
    from credit_default.training import reproduction

    monkeypatch.setattr(reproduction, "train_again", lambda *_, **__: pytest.fail("it trained"))
    table = rows(searched.file)
    table[99]["age"] = str(int(table[99]["age"]) + 1)
    changed = write(here / "loans.csv", table)
    for path, n in ((changed, 2500), (write(here / "fewer.csv", table[:-1]), 2499)):
        found, code = reproduced(searched.tag, "--path", path)
        assert code == 1 and not found["agrees"] and found["trials"] is None
        assert (found["data"]["recorded"]["rows"], found["data"]["found"]["rows"]) == (2500, n)
        said = shell("reproduce", searched.tag, "--path", path).stdout
        assert (
            "NOT THE SAME DATA" in said
            and f"{n:,} rows" in said
            and all(found["data"][side]["sha256"] in said for side in ("recorded", "found"))
        )


def test_reproduce_with_another_seed_says_so(searched, here):
    found, code = reproduced(searched.tag, "--path", searched.file, "--seed", 4)
    assert code == 1 and found["data"]["agrees"] and found["seed"] == dict(recorded=3, used=4)
    assert found["trials"]["first_difference"] == 1 and {
        one["what"] for one in found["trials"]["differences"]
    } == {"auc"}
    assert not found["content_hash"]["agrees"] and "auc" in {
        one["what"] for one in found["figures"]["differences"]
    }


@pytest.fixture
def tampered(searched):
    """`tampered(change)`: a change of the bundle's record, with all hashes of files in order;
    mended afterwards.
    """
    from credit_default.scoring.bundle_files import write_bundle
    from credit_default.scoring.registry import (
        bundle_path,
        load_bundle,
    )

    folder, whole = bundle_path(searched.tag), load_bundle(searched.tag)

    def tamper(change):
        bundle = load_bundle(searched.tag)
        change(bundle)
        write_bundle(bundle, folder)

    yield tamper
    write_bundle(whole, folder)


def test_reproduce_finds_figures_that_were_flattered(searched, here, tampered):
    def flatter(bundle):
        bundle.metrics["auc"] += 1e-12
        bundle.provenance["search"]["records"][1]["auc"] = 0.95
        bundle.provenance["code"]["sha256"], bundle.provenance["versions"]["numpy"] = (
            "0" * 64,
            "1.0",
        )

    tampered(flatter)
    found, code = reproduced(searched.tag, "--path", searched.file)
    assert code == 1 and found["content_hash"]["agrees"] and found["members"]["agrees"]
    [figure] = found["figures"]["differences"]
    assert figure["what"] == "auc" and 0 < figure["recorded"] - figure["found"] < 2e-12
    assert (
        found["trials"]["first_difference"] == 2
        and found["trials"]["differences"][0]["recorded"] == 0.95
    )
    assert [one["what"] for one in found["circumstances"]] == ["code.sha256", "versions.numpy"]


def test_reproduce_does_without_a_record_by_saying_so(searched, here, tampered):
    tampered(lambda bundle: bundle.provenance.pop("search"))
    result = shell("reproduce", searched.tag, "--path", searched.file)
    assert (
        result.exit_code == 1
        and "does not record search" in result.stderr
        and len(result.stderr.splitlines()) == 2
    )


def port_is_free(url):
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rsplit(":", 1)[1]))) != 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_leaves_no_service_behind(synthetic_bundle, here, number, monkeypatch):
    monkeypatch.setenv("CREDIT_DEFAULT_SECRET_KEY", "a key of this test, longer than 32 bytes")
    script = (
        "import signal, sys, time; from pathlib import Path; from "
        "credit_default.cli.service import running_service\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "with running_service('gmsc', Path('log')) as url:\n    print(url, flush=True); "
        "time.sleep(100)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        preexec_fn=take_interrupts,
        stdout=subprocess.PIPE,
        text=True,
    )
    url = process.stdout.readline().strip()
    assert url and not port_is_free(url)
    process.send_signal(number)
    process.wait(30)
    assert port_is_free(url)


def test_a_service_that_does_not_start_says_where_it_says_why(here, monkeypatch):
    command = [sys.executable, "-c", "raise SystemExit('no model')"]
    monkeypatch.setattr(service, "server_command", lambda host, port: command)
    with (
        pytest.raises(CommandError, match="ended; its output is in log"),
        service.running_service("gmsc", Path("log")),
    ):
        pass
    assert "no model" in (here / "log").read_text()


@pytest.mark.slow
def test_run_goes_the_whole_way(tmp_path):
    environment = os.environ | {"BENTOML_HOME": str(tmp_path / "home")}
    begin = time.monotonic()
    done = subprocess.run(
        [*MAIN, "run"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    print(f"{time.monotonic() - begin:.0f} s")
    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC" in done.stderr and (
        "It is the champion now: there was none." in done.stdout
        or "--because" in done.stdout.split("Made in")[1]
    )
    assert all(
        line in done.stdout
        for line in ("EDA report", "training report", "drift report", "served prediction")
    )
    [folder] = [
        path for path in (tmp_path / "reports" / "gmsc").iterdir() if path.name != "margins"
    ]
    assert {path.name for path in folder.iterdir()} >= {
        f"{name}.{kind}"
        for name in ("eda", "training", "drift")
        for kind in ("html", "ipynb", "json")
    }
    shutil.rmtree(tmp_path / "home")


def test_declined_applicants_of_a_file_get_a_letter(synthetic_bundle, sample, here):
    table = rows(sample)[:200]
    for i, row in enumerate(table):
        row["application_reference"] = f"2026/{i}"
    table[0]["age"] = "-5"
    source = write(here / "applicants.csv", table)
    run = shell("letter", source, here / "letters")
    assert run.exit_code == 0, run.output
    scored = here / "scored.csv"
    assert shell("score", source, scored).exit_code in (0, 4)
    declined = [i for i, row in enumerate(rows(scored)) if row["decision"] == "Declined"]
    names = {path.name for path in (here / "letters").iterdir()}
    assert names == {f"letter-{i + 1}.txt" for i in declined} != set()
    for i in declined[:5]:
        text = (here / "letters" / f"letter-{i + 1}.txt").read_text()
        assert f"2026/{i}\n" in text
        assert f"- {rows(scored)[i]['reason_1']}\n" in text
    assert f"200 rows, 1 refused; letters in {here / 'letters'}: {len(declined)}" in run.stdout
    again = shell("letter", source, here / "letters")
    assert again.exit_code == 2 and "is not empty" in again.stderr
