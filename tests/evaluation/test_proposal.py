"""A portfolio of one's own: what `credit-default init` makes of files that nobody has described,
and that its file is enough for all that follows.
"""

import json
import time
import tomllib

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from credit_default.cli import app as cli
from credit_default.cli.client import ask, temporary_user
from credit_default.cli.service import running_service
from credit_default.data.csv_text import DataError
from credit_default.data.dataset import from_table, summary
from credit_default.data.loading import load
from credit_default.data.outcome import day_texts
from credit_default.data.synthetic import synthesize
from credit_default.evaluation.proposal.definition import propose
from credit_default.evaluation.proposal.files import write_definition
from credit_default.evaluation.proposal.toml_text import to_toml
from credit_default.portfolio.applicant import applicant_model, applicants_to_columns
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.portfolio.columns import find_refused, parse_table
from credit_default.portfolio.definition import Portfolio
from credit_default.portfolio.files import Csv
from credit_default.scoring.features import FeatureMap


def loans(n=600, seed=3):
    "Loans that anybody could describe; each test adds what is odd."
    rng = np.random.default_rng(seed)
    income, late = rng.lognormal(7.7, 0.5, n).round(2), rng.poisson(0.5, n)
    bad = rng.random(n) < 1 / (1 + np.exp(1.6 + 1.2 * (np.log(income) - 7.7) - 0.8 * late))
    return pd.DataFrame(
        dict(
            age=rng.integers(18, 80, n),
            income=income,
            late=late,
            housing=rng.choice(["own", "rent"], n),
            bad=bad.astype(int),
        )
    )


def with_column(values, name="odd", n=600):
    return propose(loans(n).assign(**{name: values}), "bad", "shop")


def field(proposal, name="odd"):
    return next(f for f in proposal.definition["fields"] if f["name"] == name)


def written(tmp_path, text, encoding="utf-8", name="loans.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def accepted(path, target="bad", **given):
    "The definition of a file, and its rows as `data` and `train` read them; none is refused."
    out, _ = write_definition(path, target, **given)
    dataset = load(get_portfolio(out))
    assert dataset.provenance["rows_refused"] == 0 and dataset.provenance["source"] == "definition"
    return get_portfolio(out), dataset


# Forms of files


@pytest.fixture(params=["utf-8-sig", "cp1252", "latin-1", "utf-16"])
def encoding(request):
    return request.param


def test_encodings_with_and_without_a_byte_order_mark(tmp_path, encoding):
    table = loans().replace(
        {
            "housing": {
                "own": "Häuser",
                "rent": "zur Miete – möbliert" if encoding != "latin-1" else "möbliert",
            }
        }
    )
    portfolio, dataset = accepted(written(tmp_path, table.to_csv(index=False), encoding))
    assert len(dataset) == 600 and set(dataset.frame.housing) == set(table.housing) == set(
        portfolio["housing"].categories
    )
    assert portfolio["age"].name == "age", "the mark is no part of the first name"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "decimal, thousands", [(".", ""), (",", ""), (",", "."), (".", ","), (".", "'")]
)
def test_separators_and_marks_in_numbers(tmp_path, separator, decimal, thousands):
    table = loans()
    spelt = [
        f"{v:,.2f}".replace(",", "T").replace(".", decimal).replace("T", thousands)
        for v in table.income
    ]
    _, dataset = accepted(
        written(tmp_path, table.assign(income=spelt).to_csv(index=False, sep=separator))
    )
    assert dataset.frame.income.tolist() == table.income.tolist(), "the same digits"


def test_texts_for_a_missing_value(tmp_path):
    table = loans().astype({"income": object})
    table.loc[:80, "income"], table.loc[81:120, "income"] = "-", "k.A."
    portfolio, dataset = accepted(written(tmp_path, table.to_csv(index=False)))
    assert portfolio.csv == Csv(missing=("-", "k.A.")) and dataset.frame.income.isna().sum() == 121
    assert not portfolio["income"].required and portfolio["age"].required


def test_compressed_csv_and_parquet_are_the_same_portfolio(tmp_path):
    loans().to_csv(tmp_path / "packed.csv.gz", index=False)
    loans().to_parquet(tmp_path / "typed.parquet")
    packed, typed = (accepted(tmp_path / file)[0] for file in ("packed.csv.gz", "typed.parquet"))
    assert packed.fields == typed.fields and (packed.name, typed.name) == ("packed", "typed")


def test_a_column_that_stands_twice_is_refused_by_name(tmp_path):
    text = loans().to_csv(index=False).replace("age,income", "income,income", 1)
    with pytest.raises(DataError, match="the header names income more than once"):
        write_definition(written(tmp_path, text), "bad")
    with pytest.raises(
        DataError
    ) as refused:  # a file without a header: its first line is an applicant
        write_definition(written(tmp_path, "45,45,0\n" * 300), "bad")
    assert "45" not in str(refused.value)


@pytest.mark.parametrize(
    "content, why",
    [
        (b"", "is empty"),
        (b"PK\x03\x04", "spreadsheet"),
        (b"<html><body>Sign in", "web page"),
        (b"PAR1 cut", "damaged"),
        (b"age,bad\n1\n", "cut short"),
    ],
)
def test_files_that_are_none(tmp_path, content, why):
    (tmp_path / "loans.csv").write_bytes(content)
    with pytest.raises(DataError, match=why):
        write_definition(tmp_path / "loans.csv", "bad")
    assert not (tmp_path / "loans.toml").exists()


# Odd columns


@pytest.mark.parametrize(
    "values, why",
    [
        ([None] * 600, "empty in every row"),
        (["x"] * 600, "same value"),
        ([7] * 600, "same value"),
        (pd.date_range("2020-01-01", periods=600), "a date"),
        (["31.12.2023", "01.02.2024"] * 300, "a date"),
        ([f"C{i:05}" for i in range(600)], "identifier"),
        ([f"{i % 90 / 10} %" for i in range(600)], "unit"),
        ([str(i % 40) if i % 10 else f"x{i}" for i in range(600)], "mixed"),
        ([f"d{i % 290}" for i in range(600)], "none of them frequent"),
    ],
)
def test_columns_that_are_left_out_with_the_reason(values, why):
    assert why in with_column(values).definition["dropped"]["odd"]


def test_identifiers_copies_and_names_of_answers():
    proposal = propose(
        loans()
        .assign(
            customer_id=np.arange(600) * 37,
            again=loans().income,
            rating="A",
            email=[f"{i}@example.com" for i in range(600)],
        )
        .assign(rating=["A", "B"] * 300),
        "bad",
        "shop",
    )
    dropped = proposal.definition["dropped"]
    assert "identifier" in dropped["customer_id"] and dropped["again"] == "the same as income"
    assert "an output of the model" in dropped["rating"] and "a person" in dropped["email"]


@pytest.mark.parametrize(
    "values, categories",
    [
        (["Y", "N"], ["N", "Y"]),
        (["True", "False"], ["False", "True"]),
        ([True, False], ["False", "True"]),
        (["ja", None], ["ja"]),
    ],
)
def test_booleans_in_words_are_categories(values, categories):
    found = field(with_column(pd.Series(values * 300, dtype=object)))
    assert (found["kind"], found["categories"], found["required"]) == (
        "category",
        categories,
        None not in values,
    )


def test_booleans_in_figures_are_whole_numbers():
    found = field(with_column(["0", "1", "1"] * 200))
    assert (found["kind"], found["hard"], found["sample"]["quantiles"]) == (
        "integer",
        [0, 1],
        [0, 0, 1, 1],
    )


def test_leading_zeros_are_no_number():
    found = field(with_column(["01067", "80331", "04109"] * 200))
    assert (found["kind"], found["categories"]) == ("category", ["01067", "04109", "80331"])


def test_ten_thousand_categories():
    n = 12_000
    rng = np.random.default_rng(5)
    values = [f"e{i}" for i in (10_000 * rng.random(n) ** 4).astype(int)]
    assert len(set(values)) > 4_000
    proposal = with_column(values, n=n)
    found, portfolio = field(proposal), proposal.portfolio
    assert (
        found["unknown"] == "other"
        and "e0" in found["categories"]
        and len(found["categories"]) <= 40
    )
    assert (
        find_refused(
            portfolio,
            parse_table(
                portfolio, {f.name: [f.example] for f in portfolio.fields} | {"odd": ["never seen"]}
            ),
        )
        == []
    )
    assert len(to_toml(proposal)) < 20_000
    spread = with_column([f"e{i % 10_000}" for i in range(n)], n=n)
    assert "odd" in spread.definition["dropped"] and "e7" not in to_toml(spread)


def test_what_few_state_is_not_written_down():
    proposal = with_column(["clerk", "nurse"] * 298 + ["King of Bavaria"] * 4)
    assert (field(proposal)["categories"], field(proposal)["unknown"]) == (
        ["clerk", "nurse"],
        "other",
    )
    assert "King" not in to_toml(proposal)


@pytest.mark.parametrize("codes", [[999], [96, 98], [-1], [-9, -8]])
def test_codes(codes):
    rng = np.random.default_rng(1)
    found = field(with_column(np.r_[rng.integers(0, 40, 540), np.resize(codes, 60)]))
    assert sorted(map(float, found["codes"])) == sorted(codes)
    assert (
        abs(sum(found["sample"]["codes"].values()) - 0.1) < 0.01
        and found["hard"][0] == 0
        and max(found["sample"]["quantiles"]) <= 60
    )


def test_ranges_leave_room_and_end_before_what_is_far_off():
    income = loans(2000).income.to_numpy().copy()
    income[:2] = 5e9
    proposal = propose(loans(2000).assign(income=income), "bad", "shop")
    found = field(proposal, "income")
    ordinary = np.sort(income)[-3]
    assert 2 * ordinary < found["plausible"][1] < 5e9 < found["hard"][1]
    assert any("far outside" in remark for remark in proposal.remarks["income"])
    assert field(proposal, "age")["hard"] == [0, 150] and field(proposal, "age")["plausible"] == [
        18,
        110,
    ]


def test_no_value_of_a_single_applicant():
    "Quantiles are rounded to three digits, and the ends lie beyond the data."
    table = loans(3000)
    sample = field(propose(table, "bad", "shop"), "income")["sample"]
    assert [float(f"{q:.3g}") for q in sample["quantiles"]] == sample["quantiles"]
    assert (
        sample["quantiles"][0] < table.income.min() and sample["quantiles"][-1] > table.income.max()
    )


def test_a_few_cells_that_are_no_numbers_are_said_and_their_rows_refused():
    values = [str(i % 30) for i in range(600)]
    values[5] = "twelve"
    proposal = with_column(values)
    assert "1 cells are not numbers" in proposal.remarks["odd"][0] and "twelve" not in to_toml(
        proposal
    )
    table = loans().assign(odd=values)
    assert from_table(proposal.portfolio, table).provenance["refused"] == {"odd": 1}


def test_protected_and_the_lenders_own():
    rng = np.random.default_rng(2)
    table = loans().assign(
        Gender=rng.choice(["F", "M"], 600),
        marital_status=rng.choice(["single", "married"], 600),
        interest_rate=rng.uniform(2, 9, 600).round(2),
        recoveries=rng.uniform(0, 100, 600).round(1),
    )
    portfolio = propose(table, "bad", "shop").portfolio
    assert {f.name: f.role for f in portfolio.fields if f.role != "applicant"} == dict(
        Gender="protected", marital_status="protected", interest_rate="lender", recoveries="leaky"
    )
    assert [f.name for f in portfolio.inputs()] == ["age", "income", "late", "housing"]


def test_a_leak_is_left_out_with_the_reason():
    table = loans(2000)
    table["paid_back"] = np.where(table.bad == 1, 0.0, table.income)
    table["fee"] = np.where(table.bad == 1, np.nan, 30 + table.age % 7)
    proposal = propose(table, "bad", "shop")
    assert {f["name"] for f in proposal.definition["fields"] if f.get("role") == "leaky"} == {
        "paid_back",
        "fee",
    }
    assert "reveals the outcome" in to_toml(proposal)


def test_names_that_the_api_does_not_take():
    table = (
        loans()
        .rename(columns={"income": "Income (EUR)", "late": "2nd late", "housing": "copy"})
        .assign(**{"Income_(EUR)": loans().age * 3 + 1})
    )
    portfolio = propose(table, "bad", "shop").portfolio
    assert {f.name: f.alias for f in portfolio.fields} == {
        "age": "age",
        "Income (EUR)": "Income__EUR_",
        "2nd late": "field_2nd_late",
        "copy": "field_copy",
        "Income_(EUR)": "Income__EUR__2",
    }


# Dates and the outcome


def test_the_date_of_the_loan_and_no_other(tmp_path):
    days = pd.date_range("2021-01-15", periods=600)
    table = loans().assign(granted_on=days.strftime("%d.%m.%Y"), born=days.strftime("%Y-%m-%d"))
    definition = propose(table, "bad", "shop").definition
    assert (definition["date"], definition["date_format"], definition["dropped"]) == (
        "granted_on",
        "%d.%m.%Y",
        {"born": "a date"},
    )
    assert [str(d) for d in definition["synthetic"]["dates"]] == ["2021-01-01", "2022-09-30"], (
        "no applicant's own date"
    )
    unclear = propose(
        table.assign(granted_on=(["03/04/2021", "05/06/2021"] * 300)), "bad", "shop"
    ).definition
    assert "date" not in unclear and unclear["dropped"]["granted_on"] == "a date"


@pytest.mark.parametrize(
    "values, given, positive",
    [
        ((0, 1), [], ["1"]),
        (("N", "Y"), [], ["Y"]),
        ((False, True), [], ["True"]),
        (("Fully Paid", "Charged Off"), [], ["Charged Off"]),
        (("1", "2"), ["2"], ["2"]),
        ((0.0, 1.0), [], ["1.0"]),
    ],
)
def test_the_outcome_in_other_words(values, given, positive):
    table = loans()
    proposal = propose(
        table.assign(bad=pd.Series([values[v] for v in table.bad])), "bad", "shop", positive=given
    )
    assert proposal.definition["positive"] == positive
    assert (
        from_table(proposal.portfolio, table.assign(bad=[values[v] for v in table.bad])).y.tolist()
        == table.bad.tolist()
    )


@pytest.mark.parametrize(
    "change, why",
    [
        (dict(bad="0"), "nothing to learn"),
        (dict(bad=["0", "1", None] * 200), "is missing in 200 of 600"),
        (dict(bad=["1", "2"] * 300), "Name them with --positive"),
        (dict(bad=range(600)), "so it is not an outcome"),
    ],
)
def test_outcomes_that_are_none(change, why):
    with pytest.raises(DataError, match=why):
        propose(loans().assign(**change), "bad", "shop")


# The file that is written


def test_the_file_is_the_definition_and_its_sample_is_accepted(tmp_path):
    proposal = with_column(np.r_[np.random.default_rng(1).integers(0, 40, 540), [999] * 60])
    (tmp_path / "shop.toml").write_text(to_toml(proposal), encoding="utf-8")
    portfolio = get_portfolio(tmp_path / "shop.toml")
    assert (
        portfolio == proposal.portfolio and tomllib.loads(to_toml(proposal)) == proposal.definition
    )
    assert "# 999 occurs repeatedly" in to_toml(proposal)
    frame, y, _ = synthesize(portfolio, 3000)
    assert (
        find_refused(portfolio, parse_table(portfolio, frame)) == []
        and abs(y.mean() - loans().bad.mean()) < 0.05
    )


def test_a_definition_that_is_there_is_never_replaced(tmp_path):
    path = written(tmp_path, loans().to_csv(index=False))
    (tmp_path / "loans.toml").write_text("hours of work")
    with pytest.raises(DataError, match="already exists"):
        write_definition(path, "bad")
    assert (tmp_path / "loans.toml").read_text() == "hours of work"


def shell(*arguments, code=0):
    result = CliRunner().invoke(
        cli.app, [str(one) for one in arguments], prog_name="credit-default"
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def test_the_command(tmp_path):
    path = written(tmp_path, loans().assign(fax="").to_csv(index=False))
    said = shell("init", path, "--target", "bad", "--name", "corner_shop").stdout
    assert (
        "corner_shop.toml" in said
        and "1 means default, 0 does not" in said
        and "empty in every row" in said
    )
    assert (
        "did you mean bad?"
        in shell("init", path, "--target", "bat", "--out", tmp_path / "b.toml", code=2).stderr
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert (
        "--path" in shell("init", path, "--target", "bad", "--out", elsewhere / "shop.toml").stderr
    )
    said = shell("data", "--portfolio", tmp_path / "corner_shop.toml").stdout
    assert "beside its definition" in said and "600 applicants" in said


def export(n, seed):
    """What a lender's system might write: German numbers, Windows letters, a hyphen for nothing, a
    column without any value.
    """
    rng = np.random.default_rng(seed)
    age, income, late = (
        rng.integers(19, 78, n),
        rng.lognormal(7.6, 0.45, n).round(2),
        rng.poisson(0.35, n),
    )
    employed, owner = rng.gamma(1.5, 40, n).astype(int), rng.choice(["J", "N"], n, p=[0.6, 0.4])
    bad = rng.random(n) < 1 / (
        1 + np.exp(1.8 + 1.1 * (np.log(income) - 7.6) - 0.8 * late + 0.006 * (employed - 60))
    )
    table = pd.DataFrame(
        dict(
            contract=[f"V-{i:06}" for i in rng.permutation(9 * n)[:n]],
            sex=rng.choice(["F", "M"], n),
            age=age,
            net_income=[
                f"{v:,.2f}".replace(",", "_").replace(".", ",").replace("_", ".") for v in income
            ],
            months_employed=employed,
            earlier_late=late,
            car=owner,
            town=rng.choice(["Köln", "Düsseldorf", "Bonn"], n),
            dealer=[f"H{i:04}" for i in (3000 * rng.random(n) ** 3).astype(int)],
            recovered=np.where(bad, rng.integers(1, 3000, n), 0),
            fax="",
            branch="West",
            status=np.where(bad, "defaulted", "repaid"),
        )
    )
    table.loc[rng.random(n) < 0.12, "net_income"] = "-"
    table.loc[rng.random(n) < 0.04, "months_employed"] = 999
    table.loc[rng.random(n) < 0.05, "car"] = ""
    return table


@pytest.mark.slow
def test_the_whole_way_with_a_file_that_nobody_knows(tmp_path, monkeypatch):
    """init, train, evaluate, score, serve and predict, drift, with the definition as it was
    written, in five minutes.
    """
    began = time.monotonic()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CREDIT_DEFAULT_ENV_FILE", str(tmp_path / ".env"))
    monkeypatch.setenv(
        "CREDIT_DEFAULT_SECRET_KEY", "the key of the tests, which is longer than 32 bytes"
    )
    for name, n, seed in (("kredite.csv", 3000, 7), ("neue.csv", 600, 8)):
        export(n, seed).to_csv(name, sep=";", index=False, encoding="cp1252")
    said = shell("init", "kredite.csv", "--target", "status").stdout
    own = ("--portfolio", "kredite.toml")
    portfolio = get_portfolio("kredite.toml")
    assert "defaulted means default" in said
    assert {f.name for f in portfolio.inputs()} == {
        "age",
        "net_income",
        "months_employed",
        "earlier_late",
        "car",
        "town",
        "dealer",
    }
    assert portfolio["dealer"].unknown == "other" and len(portfolio["dealer"].categories) <= 40
    assert (
        portfolio["recovered"].role == "leaky"
        and portfolio["sex"].role == "protected"
        and list(portfolio["months_employed"].codes) == [999]
    )

    trained = shell("train", *own).stdout
    assert "It is the champion now" in trained and "SYNTHETIC" not in trained
    figures = json.loads(shell("evaluate", "neue.csv", *own, "--json").stdout)
    assert figures["n"] == 600 and figures["auc"] > 0.6
    shell("score", "neue.csv", "scored.csv", *own)
    scored = pd.read_csv("scored.csv", sep=";", dtype={"probability_default": str})
    assert scored.error.isna().all() and scored.town.isin(["Köln", "Düsseldorf", "Bonn"]).all()

    with (
        running_service("kredite.toml", tmp_path / "service.log") as url,
        temporary_user(url) as token,
    ):
        document = ask(f"{url}/docs.json")
        [example] = document["paths"]["/predict"]["post"]["requestBody"]["content"][
            "application/json"
        ]["examples"].values()
        answer = ask(f"{url}/predict", example["value"], token)
        first = dict(
            sex="F",
            age=int(scored.age[0]),
            net_income=None
            if scored.net_income[0] == "-"
            else float(scored.net_income[0].replace(".", "").replace(",", ".")),
            months_employed=int(scored.months_employed[0]),
            earlier_late=int(scored.earlier_late[0]),
            car=scored.car[0] if isinstance(scored.car[0], str) else None,
            town=scored.town[0],
            dealer=scored.dealer[0],
        )
        same = ask(f"{url}/predict", first, token)
    assert 0 < answer["probability_default"] < 1 and answer["model_version"].startswith(
        "credit_default_kredite:"
    )
    assert same["probability_default"] == float(scored.probability_default[0].replace(",", ".")), (
        "by file and by request: the same digits"
    )

    assert "no drift" in shell("drift", *own, "--current", "neue.csv").stdout
    assert time.monotonic() - began < 300


def test_amounts_that_no_definition_allows_are_named(tmp_path):
    table = loans().assign(turnover=1e15 + np.arange(600) / 7)
    with pytest.raises(DataError, match="turnover: hard range must lie within") as refused:
        write_definition(written(tmp_path, table.to_csv(index=False)), "bad")
    assert "write them in another unit" in str(refused.value)
    assert not (tmp_path / "loans.toml").exists()


# Marks in numbers


MARKS = [(d, t) for d in ".," for t in ("", ",", ".", " ", "\u00a0", "'", "\u2019") if t != d]


def spelt_with(values, decimal, thousands, digits):
    "Numbers as a program with these marks writes them; a thousand has no mark below 1,000."
    plain = (f"{v:,.{digits}f}" for v in values)
    return [p.replace(",", "T").replace(".", decimal).replace("T", thousands) for p in plain]


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("fractions", [0, 1, 2, 3])
@pytest.mark.parametrize("decimal, thousands", MARKS)
def test_no_amount_becomes_a_thousandth(tmp_path, decimal, thousands, fractions, separator):
    table = loans()
    income = table.income.round(fractions)
    spelt = spelt_with(income, decimal, thousands, fractions)
    path = written(tmp_path, table.assign(income=spelt).to_csv(index=False, sep=separator))
    portfolio, dataset = accepted(path)
    assert dataset.frame.income.tolist() == income.tolist()
    known = pd.DataFrame({"income": spelt})
    assert portfolio.csv.plain(portfolio["income"], known.income.tolist()) == [
        f"{v:.{fractions}f}" for v in income
    ], "the form is remembered for scoring"


def test_one_column_is_written_otherwise_than_the_rest(tmp_path):
    table = loans()
    whole = table.income.round(0)
    spelt = spelt_with(whole, ".", ",", 0)
    rate = table.income.mod(7).add(0.0005).round(4).map("{:.4f}".format)
    path = written(tmp_path, table.assign(income=spelt, rate=rate).to_csv(index=False))
    _, proposal = write_definition(path, "bad")
    assert "`1,234` is read as 1234" in proposal.remarks["income"][0]
    dataset = load(get_portfolio(path.with_suffix(".toml")))
    assert dataset.frame.income.tolist() == whole.tolist()
    assert dataset.frame.rate.tolist() == rate.astype(float).tolist()


@pytest.mark.parametrize("mark", [",", "."])
def test_a_tie_is_asked_about(tmp_path, mark):
    amounts = np.random.default_rng(3).integers(1000, 9999, 600)
    table = loans()[["age", "bad"]].assign(limit=spelt_with(amounts, "?", mark, 0))
    path = written(tmp_path, table.to_csv(index=False))
    with pytest.raises(DataError, match=r"the numbers of limit are all written like 1.234") as e:
        write_definition(path, "bad")
    assert "--decimal" in str(e.value) and table.limit[0] not in str(e.value)
    other = {",": ".", ".": ","}[mark]
    for said, factor in (({"": other}, 1), ({"limit": mark}, 1000)):
        path.with_suffix(".toml").unlink(missing_ok=True)
        _, dataset = accepted(path, decimal=said)
        assert np.allclose(dataset.frame["limit"] * factor, amounts)


@pytest.mark.parametrize(
    "spelling",
    [
        "${:,.2f}",
        "{:,.2f} \u20ac",
        "EUR {:.2f}",
        "{:.2f} %",
        "\u2212{:,.2f}",
        "({:,.2f})",
        "{:.2f}-",
    ],
)
def test_numbers_with_what_stands_around_them(tmp_path, spelling):
    table = loans()
    negative = spelling[0] in "\u2212(" or spelling.endswith("-")
    sign = np.where(np.arange(len(table)) % 3 == 0, -1, 1) if negative else 1
    spelt = [
        f"{v:,.2f}" if negative and s > 0 else spelling.format(v)
        for v, s in zip(table.income, np.broadcast_to(sign, len(table)))
    ]
    path = written(tmp_path, table.assign(income=spelt).to_csv(index=False))
    assert accepted(path)[1].frame.income.tolist() == (table.income * sign).tolist()


# Nothing is lost in silence


def test_letters_among_digits_are_a_category(tmp_path):
    rng = np.random.default_rng(4)
    table = loans().assign(
        status=rng.choice(["0", "1", "2", "C", "X"], 600),
        dependents=rng.choice(["0", "1", "2", "3+"], 600, p=[0.5, 0.3, 0.1, 0.1]),
    )
    portfolio, dataset = accepted(written(tmp_path, table.to_csv(index=False)))
    assert portfolio["status"].categories == ("0", "1", "2", "C", "X")
    assert portfolio["dependents"].categories == ("0", "1", "2", "3+")
    assert not dataset.frame[["status", "dependents"]].isna().any().any()


def test_a_gap_text_belongs_to_its_column_and_is_said(tmp_path):
    rng = np.random.default_rng(4)
    score = rng.integers(300, 800, 600).astype(object)
    score[:60], score[60:90] = "no hit", "#DIV/0!"
    bureau = np.where(np.arange(600) < 60, "no hit", "hit")
    table = loans().assign(score=score, bureau=bureau)
    path = written(tmp_path, table.to_csv(index=False))
    _, proposal = write_definition(path, "bad")
    said = " ".join(proposal.remarks["score"])
    assert "`no hit` (60 rows, default rate" in said and "`#DIV/0!` (30 rows" in said
    dataset = load(get_portfolio(path.with_suffix(".toml")))
    assert dataset.frame.score.isna().sum() == 90
    assert set(dataset.frame.bureau) == {"hit", "no hit"}


def test_a_text_for_a_gap_may_be_a_value_by_choice(tmp_path):
    guarantor = np.where(np.arange(600) % 5 == 0, "yes", "None")
    path = written(tmp_path, loans().assign(guarantor=guarantor).to_csv(index=False))
    out, proposal = write_definition(path, "bad")
    said = " ".join(proposal.remarks["guarantor"])
    assert "`None` (480 rows, default rate" in said and '`stated` = ["None"]' in said
    assert load(get_portfolio(out)).frame.guarantor.isna().sum() == 480
    keys = proposal.definition
    [entry] = [f for f in keys["fields"] if f["name"] == "guarantor"]
    entry |= dict(categories=["None", "yes"], stated=["None"], required=True)
    portfolio = get_portfolio(out).model_validate(keys)
    assert (
        from_table(portfolio, pd.read_csv(path, dtype=str, na_filter=False))
        .frame["guarantor"]
        .tolist()
        == guarantor.tolist()
    )
    request = applicant_model(portfolio).model_validate(
        dict(age=40, income=2000.0, late=0, housing="own", guarantor="None")
    )
    assert applicants_to_columns(portfolio, [request])["guarantor"].tolist() == ["None"]


def test_what_is_lost_is_said_by_its_form_alone(tmp_path):
    odd = loans().income.astype(object)
    odd[:90] = [f"ref {n}x" for n in range(90)]
    _, proposal = write_definition(
        written(tmp_path, loans().assign(odd=odd).to_csv(index=False)), "bad"
    )
    assert "`a 9a` (90 rows)" in proposal.definition["dropped"]["odd"]


# What names and contents tell


@pytest.mark.parametrize(
    "name",
    ["Married", "foreign_worker", "nationality", "citizenship", "religion", "disability"]
    + ["ethnicity", "country_of_birth", "sexual_orientation", "trade_union", "welfare"],
)
def test_protected_grounds_are_recognised_with_the_reason(name):
    proposal = with_column(np.tile(["a", "b", "c"], 200), name)
    assert field(proposal, name)["role"] == "protected"
    assert "a ground on which law forbids to decide" in " ".join(proposal.remarks[name])


@pytest.mark.parametrize(
    "name, written, meaning",
    [
        ("decided", "%d-%b-%y", "a date"),
        ("decided", "%d-%b-%Y", "a date"),
        ("decided", "%d%b%Y", "a date"),
        ("decided", "%d/%m/%y", "a date"),
        ("decided", "%b-%Y", "a date"),
        ("vintage", "%Y%m", "a date: year and month"),
        ("decided", "%Y%m%d", "a date: year, month and day"),
        ("decision_date", "spreadsheet", "a date: days as a spreadsheet counts them"),
    ],
)
def test_dates_are_dates_however_a_bank_writes_them(tmp_path, name, written, meaning):
    days = np.datetime64("2018-01-15") + np.arange(600) * np.timedelta64(2, "D")
    texts = day_texts(days, written)
    assert with_column(texts, name).definition["dropped"][name] == meaning
    if written.isalpha() or written == "%Y%m":
        as_numbers = with_column([int(text) for text in texts], name)
        assert as_numbers.definition["dropped"][name] == meaning
    loan_date = name.replace("decided", "issued").replace("decision", "issue")
    loan_date = loan_date.replace("vintage", "issue_month")
    table = loans().assign(**{loan_date: texts})
    if written != "%d/%m/%y":  # the first of May or the fifth of January
        portfolio, dataset = accepted(written_file(tmp_path, table))
        assert (portfolio.date, portfolio.date_format) == (loan_date, written)
        months = written in ("%b-%Y", "%Y%m")
        unit = "datetime64[M]" if months else "datetime64[D]"
        assert (dataset.dates == days.astype(unit).astype("datetime64[D]")).all()


def written_file(tmp_path, table):
    return written(tmp_path, table.to_csv(index=False))


def test_numbers_that_look_a_little_like_dates_stay_numbers():
    rng = np.random.default_rng(1)
    for values in (rng.integers(30_000, 60_000, 600), rng.integers(190_000, 210_000, 600)):
        assert field(with_column(values, "salary"), "salary")["kind"] == "number"


@pytest.mark.parametrize("name", ["Account balance", "checking_account_balance", "no_of_shares"])
def test_an_amount_is_no_identifier_though_its_name_sounds_so(name):
    rng = np.random.default_rng(2)
    values = rng.permutation(np.unique(rng.lognormal(10, 1, 3000).round()))[:600]
    assert field(with_column(values, name), name)["kind"] == "number"


def test_a_customer_number_that_comes_back_is_an_identifier():
    rng = np.random.default_rng(3)
    dropped = with_column(rng.integers(10_000_000, 10_000_300, 600), "customer_id").definition
    assert "a customer or contract comes back" in dropped["dropped"]["customer_id"]
    assert field(with_column(rng.integers(1, 60, 600), "branch_no"), "branch_no")
    assert (
        "account_no" in with_column(np.arange(600) + 4_000_000, "account_no").definition["dropped"]
    )


def test_a_month_is_no_interest_rate():
    rng = np.random.default_rng(4)
    months = {f"PAY_{m}": rng.integers(100, 300, 600) for m in ("MAR", "APR", "MAY")}
    proposal = propose(loans().assign(**months), "bad")
    assert "role" not in field(proposal, "PAY_APR")
    assert field(propose(loans().assign(apr=months["PAY_APR"]), "bad"), "apr")["role"] == "lender"


def test_a_rare_code_beside_frequent_ones_is_a_code():
    rng = np.random.default_rng(5)
    values = rng.integers(30, 95, 600)
    values[:40], values[40:80], values[80] = -9, -8, -7
    assert list(field(with_column(values))["codes"]) == ["-9", "-8", "-7"]


# What a table cannot say is asked


STATES = ["Paid", "Charged Off", "Current", "Late (16-30 days)"]


def test_loans_that_still_run_are_left_out_and_counted(tmp_path):
    states = np.random.default_rng(1).choice(STATES, 1200, p=[0.5, 0.2, 0.25, 0.05])
    table = loans(1200).drop(columns="bad").assign(state=states)
    path = written(tmp_path, table.to_csv(index=False))
    out, proposal = write_definition(path, "state", positive=["Charged Off"])
    portfolio, dataset = get_portfolio(out), load(get_portfolio(out))
    running = np.isin(states, STATES[2:])
    assert portfolio.unfinished == ("Current", "Late (16-30 days)")
    assert portfolio.negative == ("Paid",) and len(dataset) == (~running).sum()
    assert dataset.provenance["rows_unfinished"] == running.sum()
    assert dataset.provenance["rows_refused"] == 0
    assert f"{running.sum():,} loans still run" in summary(dataset)
    assert dataset.y.mean() == pytest.approx((states[~running] == "Charged Off").mean())
    assert "Current (" in proposal.head[0]


def test_a_running_state_that_is_final_is_told(tmp_path):
    states = np.tile(STATES, 300)
    table = loans(1200).drop(columns="bad").assign(state=states)
    path = written(tmp_path, table.to_csv(index=False))
    told = dict(positive=["Charged Off"], negative=STATES[2:])
    portfolio = accepted(path, "state", **told)[0]
    assert portfolio.unfinished == () and "Current" in portfolio.negative


def test_states_below_zero_are_kept_apart():
    rng = np.random.default_rng(2)
    pay = np.r_[[-2] * 100, [-1] * 150, [0] * 250, rng.integers(1, 7, 100)]
    proposal = with_column(pay, "PAY_0")
    assert "codes" not in field(proposal, "PAY_0") and "derived" not in proposal.definition
    assert "`-2` (100 rows, 16.7%; default rate" in " ".join(proposal.remarks["PAY_0"])


def test_codes_far_from_the_values_are_kept_apart_in_the_model():
    rng = np.random.default_rng(3)
    months = np.r_[[-9] * 60, [-8] * 50, rng.integers(0, 90, 490)]
    proposal = with_column(months, "months_since")
    assert [d["code"] for d in proposal.definition["derived"]] == [-9, -8]
    assert "`-9` (60 rows, 10.0%; default rate" in " ".join(proposal.remarks["months_since"])
    portfolio = Portfolio.model_validate(tomllib.loads(to_toml(proposal)))
    features = FeatureMap(portfolio)
    clean = features.clean(parse_table(portfolio, loans().assign(months_since=months)))
    matrix = features.matrix(clean, clean.values)
    for code in (-9, -8):
        flag = matrix[:, features.names.index(f"months_since is {code}")]
        assert flag.tolist() == (months == code).tolist()


def test_a_code_that_is_none_of_the_field_is_refused():
    definition = with_column(np.r_[[-9] * 60, [-8] * 50, np.arange(490)]).definition
    definition["derived"][0]["code"] = -7
    with pytest.raises(ValueError, match="-7 is none of the codes of odd"):
        Portfolio.model_validate(definition)


@pytest.mark.parametrize("name", ["EDUCATION", "housing_type", "job_code"])
def test_codes_that_look_ordered_are_asked_about(name):
    remarks = with_column(np.tile([1, 2, 3, 4], 150), name).remarks[name]
    assert 'write kind = "category"' in " ".join(remarks)


def test_reasons_and_costs_of_a_draft_are_flagged():
    proposal = propose(loans(), "bad", "shop")
    text = to_toml(proposal)
    assert (
        text.count("# drafted from the column's name") == 10
    )  # one of each field, two more of each number
    assert any("a person must write" in limit for limit in proposal.portfolio.limits)
    rate = loans().bad.mean()
    assert rate > 1 / 11 and any("PD above 9.1% is declined" in remark for remark in proposal.head)
