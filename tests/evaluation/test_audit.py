"""The leakage audit: each of its rules on a small made table, the shipped portfolios, the public
files row by row.
"""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from credit_default.cli import app as cli
from credit_default.data.csv_text import DataError
from credit_default.data.dataset import from_table
from credit_default.data.loading import load
from credit_default.data.sources import read_table
from credit_default.data.split import split
from credit_default.evaluation.leakage.audit import (
    LeakError,
    audit_dataset,
    audit_summary,
    audit_table,
    columns_with_verdict,
    findings_table,
    parse_target,
    refuse_leaks,
    was_blind,
)
from credit_default.evaluation.leakage.discrimination import lowest_auc
from credit_default.evaluation.leakage.findings import ROWS_FINDING
from credit_default.portfolio.catalogue import SHIPPED

N = 12_000


def verdicts(findings):
    return {f.column: f.verdict for f in findings}


def one(values, y, **options):
    "The finding about a single column beside two honest ones."
    rng = np.random.default_rng(9)
    table = pd.DataFrame(
        {
            "x": values,
            "age": rng.integers(20, 80, len(y)),
            "balance": rng.lognormal(8, 1, len(y)).round(2),
        }
    )
    found = {f.column: f for f in audit_table(table, y, **options)}
    assert (found["age"].verdict, found["balance"].verdict) == ("fine", "fine")
    return found["x"]


@pytest.fixture(scope="module")
def loans():
    "Outcomes at a rate of 20 %, and draws to make columns from."
    rng = np.random.default_rng(5)
    y = (rng.random(N) < 0.2).astype(int)
    return SimpleNamespace(
        y=y, bad=y == 1, u=rng.random((6, N)), z=rng.normal(size=(4, N)), rng=rng
    )


def test_the_outcome_itself_under_other_names(loans):
    for values in (
        np.where(loans.bad, "charged off", "paid"),
        loans.y * 3.5,
        np.where(loans.bad, loans.u[0], 2 + loans.u[0]),
    ):
        found = one(values, loans.y)
        assert (found.verdict, found.rules[0]) == (
            "leaky",
            "alone",
        ) and "derived from it" in found.reason


@pytest.mark.parametrize(
    ("distance", "verdict"), [(1.0, "fine"), (1.6, "suspect"), (2.2, "leaky")]
)  # AUC 0.76, 0.87, 0.94
def test_how_well_a_number_ranks_alone(loans, distance, verdict):
    found = one(loans.z[0] + distance * loans.y, loans.y)
    assert found.verdict == verdict and ("alone" in found.rules) == (verdict != "fine")


def test_a_gap_where_the_default_is(loans):
    found = one(np.where(loans.bad, np.nan, loans.z[0]), loans.y)
    assert (found.verdict, found.rules) == ("leaky", ("absence",)) and "exactly" in found.reason


def test_a_gap_that_mostly_defaults(loans):
    found = one(np.where(loans.u[0] < np.where(loans.bad, 0.45, 0.06), None, "stated"), loans.y)
    assert (found.verdict, found.rules) == ("leaky", ("absence",)) and found.figures[
        "rate_missing"
    ] > 0.5


def test_a_gap_that_hides_the_default_among_other_gaps(loans):
    "Most of those without it repaid, but nobody who has it defaulted."
    found = one(
        np.where(loans.bad | (loans.u[0] < 0.2), np.nan, loans.z[0]),
        (loans.bad & (loans.u[1] < 0.2)).astype(int) | (loans.bad & (loans.u[1] < 0.3)).astype(int),
    )
    assert (
        (found.verdict, found.rules) == ("suspect", ("absence",))
        and found.figures["rate_stated"] == 0
        and found.figures["rate_missing"] < 0.5
    )
    found = one(np.where(loans.bad | (loans.u[0] < 0.2), np.nan, loans.z[0]), loans.y)
    assert (found.verdict, found.rules) == ("leaky", ("absence",))


def test_a_value_that_only_defaulters_have(loans):
    "Such as the date of a collection: it is there that tells, not that it is missing."
    found = one(np.where(loans.bad & (loans.u[0] < 0.6), "2020-03-01", None), loans.y)
    assert (found.verdict, found.rules[0]) == ("leaky", "absence") and found.figures[
        "rate_stated"
    ] == 1


def test_an_honest_history_is_a_suspect_at_most(loans):
    "Months since the last late payment: missing for those who were never late."
    found = one(
        np.where(loans.u[0] < np.where(loans.bad, 0.5, 0.13), np.round(30 * loans.u[1]), np.nan),
        loans.y,
    )
    assert found.verdict == "suspect" and "find out when" in found.reason


def test_a_gap_of_few_rows_is_a_suspect_and_of_fewer_it_is_nothing(loans):
    few, fewer = ((np.cumsum(loans.bad) <= n) & loans.bad for n in (100, 20))
    assert one(np.where(few, np.nan, loans.z[0]), loans.y).verdict == "suspect"
    assert one(np.where(fewer, np.nan, loans.z[0]), loans.y).verdict == "fine"


@pytest.mark.parametrize("kind", ["text", "number"])
@pytest.mark.parametrize(("share", "verdict"), [(0.3, "leaky"), (0.04, "suspect"), (0.004, "fine")])
def test_a_value_that_always_defaults(loans, kind, share, verdict):
    here = loans.bad & (loans.u[0] < share)
    values = (
        np.where(here, 0.0, np.round(np.exp(8 + loans.z[0])))
        if kind == "number"
        else np.where(here, "EQUI", np.where(loans.u[1] < 0.5, "CIB", "EXP"))
    )
    found = one(values, loans.y)
    assert found.verdict == verdict and found.rules == (("value",) if verdict != "fine" else ())
    if verdict != "fine":
        assert (
            f"x = {'0' if kind == 'number' else 'EQUI'}, 100.00 % default" in found.reason
            and found.figures["condition_rows"] == here.sum()
        )


def test_a_range_that_always_defaults(loans):
    found = one(np.where(loans.bad & (loans.u[0] < 0.5), 5 + loans.u[1], loans.u[2]), loans.y)
    assert (
        found.verdict == "leaky" and "value" in found.rules and " to " in found.figures["condition"]
    )


def test_a_value_of_few_rows_is_not_taken_for_certain(loans):
    "Eight loans that all defaulted are chance among many values."
    here = (np.cumsum(loans.bad) <= 8) & loans.bad
    assert one(np.where(here, 98.0, np.floor(6 * loans.u[0])), loans.y).verdict == "fine"


def test_constants_and_columns_that_are_missing_throughout(loans):
    for values, rule in (
        ("2019", "constant"),
        (7.0, "constant"),
        (True, "constant"),
        (None, "empty"),
        (np.nan, "empty"),
        (" N/A ", "empty"),
    ):
        found = one(pd.Series([values] * N), loans.y)
        assert (found.verdict, found.rules) == ("suspect", (rule,))


def test_a_single_value_with_gaps_is_no_constant(loans):
    assert one(np.where(loans.u[0] < 0.5, "Y", None), loans.y).verdict == "fine"


@pytest.mark.parametrize(
    "values",
    [
        np.arange(N),
        [f"L{i:05}" for i in range(N)],
        np.random.default_rng(2).permutation(np.arange(10**8, 10**8 + 50 * N, 50)),
    ],
    ids=["counted", "text", "long number"],
)
def test_identifiers(loans, values):
    found = one(values, loans.y)
    assert (found.verdict, found.rules) == ("suspect", ("identifier",)) and abs(
        found.figures["auc"] - 0.5
    ) < 0.03


def test_a_file_that_is_sorted_by_its_outcome(loans):
    found = one(np.argsort(np.argsort(loans.y + 0.5 * loans.u[0])), loans.y)
    assert found.verdict == "leaky" and {"identifier", "alone"} <= set(found.rules)


def test_ten_thousand_categories_are_not_memorised(loans):
    for values in (
        loans.rng.integers(0, 10_000, N).astype(str),
        [f"firm {i // 2}" for i in range(N)],
    ):
        found = one(values, loans.y)
        assert found.verdict == "fine" and abs(found.figures["auc"] - 0.5) < 0.03


def test_a_file_twice_does_not_make_its_identifier_perfect(loans):
    table = pd.DataFrame(
        {"loan": [f"L{i}" for i in range(2000)], "x": loans.z[0][:2000], "z": loans.z[1][:2000]}
    )
    found = {f.column: f for f in audit_table(pd.concat([table] * 2), np.tile(loans.y[:2000], 2))}
    assert (
        found["loan"].verdict == "fine"
        and abs(found["loan"].figures["auc"] - 0.5) < 0.05
        and found[ROWS_FINDING].figures["repeated"] == 2000
    )


def test_copies_and_what_follows_from_another_column(loans):
    product = np.where(loans.u[0] < 0.6, "A", np.where(loans.u[0] < 0.8, "B", "C"))
    table = pd.DataFrame(
        {
            "product": product,
            "copy": product,
            "renamed": pd.Series(product).map(dict(A="1", B="2", C="3")),
            "business": product == "B",
            "nearly": np.where((product == "B") | (loans.u[1] < 0.0005), "y", "n"),
            "other": np.where(loans.u[2] < 0.3, "y", "n"),
            "rare": np.where(np.arange(N) < 5, "y", "n"),
        }
    )
    found = {f.column: f for f in audit_table(table, loans.y) if f.column != ROWS_FINDING}
    assert {c for c, f in found.items() if f.verdict != "fine"} == {
        "copy",
        "renamed",
        "business",
        "nearly",
    }
    assert all(
        found[c].figures["follows_from"] == "product" and found[c].rules == ("repeats",)
        for c in ("copy", "renamed", "business")
    )
    assert "every row" in found["business"].reason and "%" in found["nearly"].reason


def made_of(loans, share, decimals=2):
    "Loans with a ratio that was halved for a share of the defaults."
    amount, income = (
        np.round(np.exp(9 + 0.5 * loans.z[0]), -2),
        np.round(np.exp(10.5 + 0.4 * loans.z[1])),
    )
    ratio = amount / income * np.where(loans.bad & (loans.u[0] < share), 0.5, 1)
    return pd.DataFrame(
        dict(
            amount=amount,
            income=income,
            age=loans.rng.integers(20, 80, N),
            ratio=ratio.round(decimals),
        )
    )


@pytest.mark.parametrize(("share", "verdict"), [(0, "fine"), (0.08, "leaky"), (0.04, "suspect")])
def test_a_ratio_that_disagrees_where_the_default_is(loans, share, verdict):
    found = {f.column: f for f in audit_table(made_of(loans, share), loans.y)}
    assert (
        found["ratio"].verdict == verdict
        and found["ratio"].figures["relation"] == "amount / income"
    )
    assert all(found[c].verdict == "fine" for c in ("amount", "income", "age"))
    if share:
        assert found["ratio"].rules == ("disagrees",) and "compute it anew" in found["ratio"].reason


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda t: (100 * t.amount / t.income).round(6), "100 * amount / income"),
        (lambda t: t.amount + t.income, "amount + income"),
        (lambda t: t.income - t.amount, "income - amount"),
        (lambda t: t.amount / 12, "amount / 12"),
        (lambda t: (t.amount * t.income).round(), "amount * income"),
    ],
)
def test_other_relations_are_named(loans, made, said):
    table = made_of(loans, 0).drop(columns="ratio")
    found = {f.column: f for f in audit_table(table.assign(made=made(table)), loans.y)}
    assert {c: f.figures["relation"] for c, f in found.items() if f.figures["relation"]} == dict(
        made=said
    )
    assert found["made"].verdict == (
        "suspect" if said == "amount / 12" else "fine"
    )  # a copy, but for its unit


def test_disagreement_that_has_another_reason_is_nothing(loans):
    table = made_of(loans, 0)
    table.loc[loans.u[3] < 0.05, "ratio"] *= 3  # typing errors, among all
    found = {f.column: f for f in audit_table(table.round({"ratio": 2}), loans.y)}
    assert found["ratio"].verdict == "fine" and "of which" in found["ratio"].reason


def test_rows_on_both_sides_of_a_split(loans):
    table, y = made_of(loans, 0)[:4000], loans.y[:4000]
    table, y = (
        pd.concat([table, table[:200]]).assign(contract=[f"C{i}" for i in range(4200)]),
        np.append(y, y[:200]),
    )
    holdout = np.zeros(4200, bool)
    holdout[:100] = True  # and their twins are not
    careless, careful = (
        audit_table(table, y, holdout=holdout)[-1],
        audit_table(table, y, holdout=np.r_[holdout[:4000], holdout[:200]])[-1],
    )
    assert (careless.column, careless.verdict, careless.figures["across"]) == (
        ROWS_FINDING,
        "leaky",
        100,
    )
    assert (careful.verdict, careful.figures["across"], careful.figures["repeated"]) == (
        "fine",
        0,
        200,
    )


def test_booleans_dates_and_numbers_in_any_spelling(loans):
    days = np.round(700 * loans.u[0] + 500 * loans.y).astype(int)
    dates = pd.Timestamp("2019-07-01") + pd.to_timedelta(days, unit="D")
    spellings = dict(
        iso=dates.strftime("%Y-%m-%d"),
        german=dates.strftime("%d.%m.%Y"),
        real=dates,
        days=days,
        texts=days.astype(str),
        comma=[f"{d},5" for d in days],
        categories=pd.Categorical(days.astype(str)),
    )
    found = {
        f.column: f
        for f in audit_table(
            pd.DataFrame(
                {
                    k: pd.Series(np.asarray(v) if k != "categories" else v)
                    for k, v in spellings.items()
                }
            ),
            loans.y,
        )
    }
    assert [
        found[k].figures["kind"] for k in ("iso", "german", "real", "days", "texts", "comma")
    ] == ["date"] * 3 + ["number"] * 3
    assert np.ptp([found[k].figures["auc"] for k in spellings]) < 0.01
    flags = pd.DataFrame(
        dict(
            a=loans.bad,
            b=np.where(loans.bad, "Y", "N"),
            c=loans.y,
            d=loans.bad.astype(object),
            e=pd.array(loans.y, "Int64"),
            f=pd.array(loans.bad, "boolean"),
        )
    )
    assert set(verdicts(audit_table(flags, loans.y)).values()) - {"fine"} == {"leaky"} and set(
        columns_with_verdict(audit_table(flags, loans.y), "leaky")
    ) == set(flags)


def test_a_table_of_any_size_and_content():
    y = np.array([0, 1] * 10)
    odd = pd.DataFrame(
        {
            "inf": [np.inf, 1.0] * 10,
            "list": [[1], [2, 3], [1], [1]] * 5,
            "mixed": [1, "a", "a", 1, 2] * 4,
            "none": [None] * 20,
            7: range(20),
        }
    )
    found = audit_table(odd, y)
    assert [f.column for f in found][:5] == ["inf", "list", "mixed", "none", "7"] and json.dumps(
        [f.figures for f in found], allow_nan=False
    )
    assert verdicts(found)["list"] == "fine"  # twenty rows prove nothing
    assert [f.verdict for f in audit_table(pd.DataFrame({"x": [1, 2]}), np.array([0, 1]))] == [
        "fine"
    ]
    assert (
        audit_table(pd.DataFrame(index=range(20)), y) == []
        or audit_table(pd.DataFrame(index=range(20)), y)[0].column == ROWS_FINDING
    )


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([0, 1, 1], "one outcome for each row"),
        ([0, 0], "both needed"),
        ([0, 2], "0 or 1"),
        ([0, np.nan], "0 or 1"),
    ],
)
def test_outcomes_that_cannot_be_audited(y, said):
    with pytest.raises(ValueError, match=said):
        audit_table(pd.DataFrame({"x": [1, 2]}), np.array(y))


def test_intervals_make_small_samples_modest():
    assert lowest_auc(1, 5, 50) < 0.9 < lowest_auc(1, 200, 2000)
    assert lowest_auc(0.8, 200, 2000, 100) < lowest_auc(0.8, 200, 2000) < 0.8
    assert np.isnan(lowest_auc(0.8, 1, 100))


def test_a_wide_table_in_seconds():
    rng = np.random.default_rng(0)
    table, y = (
        pd.DataFrame(rng.normal(size=(4000, 150)).round(1)).rename(columns=str),
        (rng.random(4000) < 0.1).astype(int),
    )
    began = time.perf_counter()
    assert (
        columns_with_verdict(audit_table(table, y), "leaky") == []
        and time.perf_counter() - began < 60
    )


# the outcome of a table, and portfolios


def test_what_an_outcome_may_be():
    table = pd.DataFrame(
        dict(
            a=["1", "0"] * 60,
            b=[1.0, 0.0] * 60,
            c=[True, False] * 60,
            d=["Default", "Repaid"] * 60,
            e=["1", ""] * 60,
        )
    )
    assert (
        all((parse_target(table, c) == [1, 0] * 60).all() for c in "abc")
        and (parse_target(table, "d", positive=["Default"]) == [1, 0] * 60).all()
    )
    for column, said in (
        ("d", "Default and Repaid"),
        ("e", "missing in 60 of 120 rows, the first of them row 2"),
        ("f", "no column f"),
    ):
        with pytest.raises(DataError, match=said):
            parse_target(table, column)


def test_what_the_portfolio_marks():
    table = SHIPPED["personal"], load(SHIPPED["personal"])
    found = {f.column: f for f in audit_dataset(table[1])}
    assert (found["loan_grade"].verdict, found["loan_percent_income"].verdict) == (
        "suspect",
        "leaky",
    ) and "in the portfolio:" in found["loan_grade"].reason
    assert all(
        f.verdict == "fine"
        for c, f in found.items()
        if c not in ("loan_grade", "loan_int_rate", "loan_percent_income")
    )


def test_the_synthetic_sample_of_gmsc_is_without_blame():
    findings = audit_dataset(load(SHIPPED["gmsc"]))
    assert (
        columns_with_verdict(findings, "leaky") == columns_with_verdict(findings, "suspect") == []
        and audit_summary(findings) == "Leakage audit of 10 columns: all fine."
    )
    assert list(findings_table(findings).columns)[:3] == ["column", "verdict", "reason"]


def test_a_date_after_that_of_the_loan(loans):
    granted = pd.Timestamp("2019-07-01") + pd.to_timedelta(
        (1000 * loans.u[0]).astype(int), unit="D"
    )
    table = pd.DataFrame(
        dict(
            granted=granted.strftime("%Y-%m-%d"),
            first_instalment=(
                granted + pd.to_timedelta((20 + 20 * loans.u[2]).astype(int), unit="D")
            ).strftime("%Y-%m-%d"),
            born=(
                granted - pd.to_timedelta((9000 + 9000 * loans.u[1]).astype(int), unit="D")
            ).strftime("%Y-%m-%d"),
        )
    )
    found = {
        f.column: f
        for f in audit_table(
            table, loans.y, SHIPPED["gmsc"].model_copy(update=dict(date="granted"))
        )
    }
    assert (
        found["first_instalment"].verdict == "suspect"
        and found["first_instalment"].rules == ("later",)
        and "after granted" in found["first_instalment"].reason
    )
    assert found["born"].verdict == found["granted"].verdict == "fine"


def test_a_portfolio_that_leaves_a_column_out():
    sample = load(SHIPPED["gmsc"])
    found = {
        f.column: f
        for f in audit_table(
            sample.frame.assign(**{"Unnamed: 0": range(1, len(sample) + 1)}),
            sample.y,
            SHIPPED["gmsc"],
        )
    }
    assert (found["Unnamed: 0"].verdict, found["Unnamed: 0"].figures["role"]) == (
        "suspect",
        "dropped",
    )


def leaking(name, role="applicant"):
    """Gmsc's sample, with incomes that are missing for all who defaulted; its portfolio says that
    role of it.
    """
    sample = load(SHIPPED["gmsc"])
    fields = tuple(
        f.model_copy(update=dict(role=role)) if f.name == name else f
        for f in sample.portfolio.fields
    )
    return replace(
        sample,
        portfolio=sample.portfolio.model_copy(update=dict(fields=fields)),
        frame=sample.frame.assign(**{name: sample.frame[name].mask(sample.y == 1)}),
    )


def test_training_refuses_what_nobody_marked():
    from credit_default.training.training import train_model

    dataset = leaking("MonthlyIncome")
    for keep in ((), ("MonthlyIncome",)):
        with pytest.raises(
            LeakError,
            match=(
                r"MonthlyIncome: this field tells the outcome.*Mark it in the portfolio \(role = "
                r"\"leaky\"\).*--keep"
            ),
        ):
            train_model(dataset.portfolio, dataset, keep=keep, trials=1, progress=False)


@pytest.mark.parametrize("name", SHIPPED)
def test_no_shipped_portfolio_is_refused_on_its_sample(name):
    train, _ = split(load(SHIPPED[name]))
    assert columns_with_verdict(refuse_leaks(train), "leaky") == []


def test_a_mark_leaves_it_out_and_keep_brings_it_back():
    train, _ = split(leaking("MonthlyIncome", "leaky"))
    assert refuse_leaks(train) == []
    assert [(f.column, f.verdict) for f in refuse_leaks(train, ("MonthlyIncome",))] == [
        ("MonthlyIncome", "leaky")
    ]


def test_a_field_that_is_not_in_the_file_is_not_audited():
    gmsc = SHIPPED["gmsc"]
    sample = load(gmsc)
    table = sample.frame.drop(columns="MonthlyIncome").assign(**{gmsc.target: sample.y})
    assert "MonthlyIncome" not in verdicts(audit_dataset(from_table(gmsc, table)))


# the command


def shell(*arguments):
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments], prog_name="credit-default")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def file(loans, tmp_path):
    table = made_of(loans, 0.08).assign(
        status=np.where(loans.bad, "Charged Off", "Fully Paid"),
        bad=loans.y,
        rate=np.where(loans.bad, "", "4.5"),
    )
    table.to_csv(tmp_path / "loans.csv", index=False)
    return tmp_path / "loans.csv"


def test_the_command_has_one_line_a_column(file):
    done = shell("audit", file, "--target", "bad")
    lines = [line.split(None, 2) for line in done.stdout.splitlines()]
    assert done.exit_code == 0 and [line[:2] for line in lines[:3]] == [
        ["ratio", "leaky"],
        ["status", "leaky"],
        ["rate", "leaky"],
    ]
    assert {line[0] for line in lines} == {
        "amount",
        "income",
        "age",
        "ratio",
        "status",
        "rate",
    } and all(line[2].endswith(".") for line in lines)
    assert "default rate" in done.stderr and "3 leaky (ratio, status, rate)" in done.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8-sig", "utf-16"])
def test_the_command_tells_the_form_of_the_file(file, tmp_path, encoding):
    """Semicolons, decimal commas, points between thousands, a hyphen for a gap: the same verdicts
    as of the plain file.
    """
    table = pd.read_csv(file)
    table["Größe"] = np.where(np.arange(len(table)) % 5, "groß", "klein")
    table.to_csv(tmp_path / "plain.csv", index=False)
    spelt = table.assign(
        **{
            c: [
                (
                    "-"
                    if v != v
                    else f"{v:,.4f}".replace(",", "T").replace(".", ",").replace("T", ".")
                )
                for v in table[c]
            ]
            for c in ("amount", "income", "ratio", "rate")
        }
    )
    spelt.to_csv(tmp_path / "odd.csv", index=False, sep=";", encoding=encoding)
    plain, odd = (
        {
            f["column"]: (f["verdict"], f["rules"])
            for f in json.loads(
                shell("audit", tmp_path / name, "--target", "bad", "--json").stdout
            )["findings"]
        }
        for name in ("plain.csv", "odd.csv")
    )
    assert plain == odd and plain["rate"][0] == "leaky" and plain["Größe"][0] == "fine"


def test_the_command_for_machines(file):
    done = shell("audit", file, "--target", "status", "--positive", "Charged Off", "--json")
    found = json.loads(done.stdout)
    assert (
        found["rows"] == N
        and {f["column"]: f["verdict"] for f in found["findings"]}["ratio"] == "leaky"
    )
    assert next(f for f in found["findings"] if f["column"] == "rate")["rules"] == ["absence"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--target"),
        (("--target", "stat"), "did you mean status?"),
        (("--target", "status"), "Charged Off and Fully Paid"),
        (("--target", "income"), "different values"),
        (("--target", "bad", "--portfolio", "persnal"), "there are gmsc"),
    ],
)
def test_what_the_command_refuses(file, options, said):
    done = shell("audit", file, *options)
    assert done.exit_code == 2 and said in done.stderr and done.stdout == ""


def test_data_says_it_in_a_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        "1 leaky (loan_percent_income), 2 suspect (loan_grade, loan_int_rate)."
        in shell("data", "--portfolio", "personal").stdout
    )


# on the public files

# what is known of it: the rule that finds it, the words that name it, the least verdict
MORTGAGE = {
    "Interest_rate_spread": ("absence", "missing in exactly", "leaky"),
    "rate_of_interest": ("absence", "missing 100.00 % default", "leaky"),
    "Upfront_charges": ("absence", "present 0.14 %", "leaky"),
    "credit_type": ("value", "credit_type = EQUI, 99.99 %", "leaky"),
    "property_value": ("absence", "missing 99.98 %", "leaky"),
    "LTV": ("absence", "missing 99.98 %", "leaky"),
    "dtir1": ("absence", "missing 67.39 %", "leaky"),
    "income": ("value", "income = 0, 99.39 %", "suspect"),
    "age": ("absence", "missing 100.00 %", "suspect"),
    "submission_of_application": ("absence", "missing 100.00 %", "suspect"),
    "year": ("constant", "2019 in every row", "suspect"),
    "business_or_commercial": ("repeats", "follows from loan_type in every row", "suspect"),
    "ID": ("identifier", "identifies the row", "suspect"),
}


def test_every_trap_of_the_mortgage_file(real_data):
    table = read_table(real_data("mortgage") / "Loan_Default.csv")
    y = parse_target(table, "Status")
    began = time.perf_counter()
    found = {f.column: f for f in audit_table(table.drop(columns="Status"), y)}
    seconds = time.perf_counter() - began
    for column, (rule, words, verdict) in MORTGAGE.items():
        assert (
            found[column].verdict == verdict
            and rule in found[column].rules
            and words in found[column].reason
        ), found[column]
    others = {c for c, f in found.items() if f.verdict != "fine" and c not in MORTGAGE}
    assert others == {"Secured_by", "Security_Type"}  # copies of construction_type
    assert found["LTV"].figures["relation"] == "100 * loan_amount / property_value"
    assert seconds < 30, seconds  # two to five on a quiet machine


def test_no_false_alarm_on_gmsc(real_data):
    table = read_table(real_data("gmsc") / "cs-training.csv")
    found = {
        f.column: f
        for f in audit_table(
            table.drop(columns="SeriousDlqin2yrs"),
            parse_target(table, "SeriousDlqin2yrs"),
            SHIPPED["gmsc"],
        )
    }
    assert {c for c, f in found.items() if f.verdict != "fine"} == {"Unnamed: 0"} and found[
        "Unnamed: 0"
    ].rules == ("identifier",)


def test_personal_by_its_data_and_by_its_portfolio(real_data):
    table = read_table(real_data("personal") / "credit_risk_dataset.csv")
    y, table = parse_target(table, "loan_status"), table.drop(columns="loan_status")
    found = {f.column: f for f in audit_table(table, y)}
    assert {c for c, f in found.items() if f.verdict != "fine"} == {"loan_percent_income"}
    assert (found["loan_percent_income"].verdict, found["loan_percent_income"].rules) == (
        "leaky",
        ("disagrees",),
    ) and "but for 342 rows" in found["loan_percent_income"].reason
    assert {
        c: v for c, v in verdicts(audit_table(table, y, SHIPPED["personal"])).items() if v != "fine"
    } == dict(loan_grade="suspect", loan_int_rate="suspect", loan_percent_income="leaky")


@pytest.mark.parametrize("name", ["gmsc", "personal", "mortgage"])
def test_no_shipped_portfolio_is_refused_on_its_file(real_data, name):
    real_data(name)
    train, _ = split(load(SHIPPED[name]))
    assert {f.column: f.verdict for f in refuse_leaks(train)} == (
        dict.fromkeys(("income", "age", "submission_of_application"), "suspect")
        if name == "mortgage"
        else {}
    )


def test_columns_that_differ_in_every_row_are_no_copies(loans):
    "Two scores of a bureau count 0, 1, 2 in order of appearance, as any two such columns do."
    scores = pd.DataFrame({f"score_{i}": loans.u[i] for i in range(3)})
    table = scores.assign(score_0_percent=100 * loans.u[0], day=loans.rng.permutation(N))
    found = {f.column: f.reason for f in audit_table(table, loans.y)}
    assert "follows from score_0" in found["score_0_percent"]
    assert not any("follows from" in found[name] for name in scores)


@pytest.mark.parametrize("written", ["{:,.0f}", "{:,.2f}", "$ {:,.0f}", "({:,.0f})"])
def test_amounts_with_marks_between_thousands_keep_their_order(loans, written):
    "Read with the mark as a decimal one, 2,393 would be less than 950."
    amounts = (np.exp(7 + loans.z[0])).round()
    y = (loans.rng.random(N) < 1 / (1 + np.exp(8.4 - 1.0 * np.log(amounts)))).astype(int)
    texts = [written.format(a) for a in amounts]
    plain, marked = (one(values, y) for values in (amounts, texts))
    sign = -1 if "(" in written else 1
    assert marked.figures["kind"] == "number"
    assert marked.figures["auc"] == pytest.approx(plain.figures["auc"], abs=0.01), sign


def test_too_few_defaults_to_notice_a_leak_are_not_a_clean_table():
    rng, y = np.random.default_rng(0), np.zeros(600, int)
    y[:4] = 1
    table = pd.DataFrame({f"x{i}": rng.random(600) for i in range(10)})
    findings = audit_table(table.assign(after=y + rng.random(600) / 10), y)
    assert not columns_with_verdict(findings, "leaky")  # although `after` is the outcome
    assert "not judged: too few loans" in audit_summary(findings) and was_blind(findings)
    marked = audit_table(table.assign(copy=table.x0), y)  # what can be seen is still said
    assert "suspect (" in audit_summary(marked) and "others not judged" in audit_summary(marked)
    y[:60] = 1
    findings = audit_table(table.assign(after=y + rng.random(600) / 10), y)
    assert columns_with_verdict(findings, "leaky") == ["after"] and not was_blind(findings)
    assert audit_summary(audit_table(table, y)).endswith("10 columns: all fine.")
