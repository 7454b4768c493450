"""Mortgage, whose columns leak, and lending, in three tables with dates: the same way as every
other portfolio.
"""

import ast
import csv
import json
from pathlib import Path

import numpy as np
import pytest
from served import ROOT, Server, applicants, synthetic_bundle

from credit_default.data.csv_text import DataError
from credit_default.data.loading import load
from credit_default.data.sources import find, read_table
from credit_default.data.split import folds, split
from credit_default.data.synthetic import save_sample, synthesize, write_csv
from credit_default.portfolio.applicant import applicant_model
from credit_default.portfolio.catalogue import SHIPPED, get_portfolio
from credit_default.portfolio.columns import find_refused, parse_table
from credit_default.scoring.registry import load_bundle, promote_bundle, save_bundle

NEW = ("mortgage", "lending")
LENDING = SHIPPED["lending"]


@pytest.fixture(scope="module", params=NEW)
def model(request, bentoml_home):
    "A small model of the portfolio's synthetic sample, saved, promoted and loaded again."
    name = request.param
    return load_bundle(promote_bundle(save_bundle(synthetic_bundle(name)), name, by="tests"), name)


def test_a_model_knows_neither_the_lenders_columns_nor_the_protected_ones(model):
    roles = {f.name: f.role for f in model.portfolio.fields}
    assert {roles[name] for name in model.names} == {"applicant"} and set(roles.values()) == {
        "applicant",
        "lender",
        "leaky",
        "protected",
    }
    rate, n = model.metrics["default_rate"], model.metrics["n"]
    assert model.metrics["auc"] > 0.7 and abs(model.metrics["mean_pd"] - rate) < 4 * np.sqrt(
        rate * (1 - rate) / n
    )
    assert {"lender", "leaky", "protected"} <= set(model.card["fields_left_out"].values())


def test_what_an_applicant_need_not_say_changes_no_answer(model):
    """Prices, leaks and protected fields may be sent or left out: the PD and the reasons are the
    same.
    """
    frame, _ = applicants(model.portfolio, 50)
    others = [f.name for f in model.portfolio.fields if f.role != "applicant"]
    full, bare = (
        model.score(parse_table(model.portfolio, table))
        for table in (frame, frame.assign(**dict.fromkeys(others)))
    )
    np.testing.assert_array_equal(full.log_odds, bare.log_odds)
    assert full.reasons == bare.reasons


def test_it_serves(model, bentoml_home, tmp_path):
    """The example of its own document, and applicants of the sample: the same answer as the
    bundle's own.
    """
    frame, sent = applicants(model.portfolio, 20)
    scores = model.score(parse_table(model.portfolio, frame))
    with Server(
        bentoml_home, tmp_path / "log", CREDIT_DEFAULT_PORTFOLIO=model.portfolio.name
    ) as server:
        document = server.client.get("/docs.json").json()
        [example] = document["paths"]["/predict"]["post"]["requestBody"]["content"][
            "application/json"
        ]["examples"].values()
        answer = server.client.post("/predict", json=example["value"])
        assert answer.status_code == 200 and answer.json()["model_version"] == model.tag, (
            answer.text
        )
        told = server.client.post("/predict_batch", json=sent).json()
        assert [one["probability_default"] for one in told] == pytest.approx(
            scores.probability_default.tolist(), abs=1e-12
        )
        category = next(
            f
            for f in model.portfolio.fields
            if not f.numeric and f.role == "applicant" and f.unknown == "refuse"
        )
        refused = server.client.post("/predict", json=sent[0] | {category.alias: "banana"})
        assert refused.status_code == 422 and refused.json()["detail"][0]["loc"] == [
            category.alias
        ], refused.text
        protected = next(f for f in model.portfolio.fields if f.role == "protected")
        assert (
            server.client.post("/predict", json=sent[0] | {protected.alias: "banana"}).status_code
            == 422
        )


def test_nothing_is_done_for_a_portfolio_by_its_name():
    """No `if portfolio == ...` outside the definitions: neither in the package nor in the report
    templates, and no exception to it.
    """
    code = {path: path.read_text() for path in (ROOT / "credit_default").rglob("*.py")}
    for path in (ROOT / "nbs" / "reports").glob("*.ipynb"):
        code[path] = "\n".join(
            "".join(cell["source"])
            for cell in json.loads(path.read_text())["cells"]
            if cell["cell_type"] == "code"
        )
    assert len(code) > 40
    assert [f"{path.name}:{line}" for path, text in code.items() for line in by_name(text)] == []


def by_name(code):
    """The lines that decide by a shipped portfolio's name: that compare with it, look it up among
    others, or match it.
    """

    def names(node):
        return any(isinstance(n, ast.Constant) and n.value in SHIPPED for n in ast.walk(node))

    for node in ast.walk(ast.parse(code)):
        method = (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("startswith", "endswith", "get", "__eq__")
        )
        if (
            isinstance(node, (ast.Compare, ast.MatchValue))
            and names(node)
            or method
            and any(map(names, node.args))
            or isinstance(node, ast.Dict)
            and any(key is not None and names(key) for key in node.keys)
            or (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "dict"
                and any(k.arg in SHIPPED for k in node.keywords)
            )
        ):
            yield node.lineno


@pytest.mark.parametrize(
    "code",
    [
        "if portfolio == 'gmsc': pass",
        "a = 1 if 'lending' != p.name else 2",
        "p.name in ('mortgage', 'x')",
        "p.name.startswith('gmsc')",
        "{'gmsc': 1}[p.name]",
        "dict(personal=3).get(p.name)",
        "match p.name:\n    case 'gmsc': pass",
    ],
)
def test_that_test_sees_each_way(code):
    assert list(by_name(code))


# --- several tables


@pytest.fixture
def tables(tmp_path):
    """The three files of a small sample, as `credit-default data --portfolio lending --sample`
    writes them.
    """
    return save_sample(LENDING, tmp_path, 2000, seed=5)


def rows_of(folder, name):
    with (folder / f"SYNTHETIC-{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def rewrite(folder, name, rows):
    with (folder / f"SYNTHETIC-{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def said(folder):
    with pytest.raises(DataError) as error:
        load(LENDING, folder)
    return str(error.value)


def test_three_tables_become_one(tables):
    frame, outcome, _ = synthesize(LENDING, 2000, seed=5)
    dataset = load(LENDING, tables)
    assert (
        dataset.provenance["rows"] == 2000
        and dataset.synthetic
        and outcome.sum() == dataset.y.sum()
    )
    loans, customers, bureau = dataset.provenance["tables"]
    no_file = int(frame.enquiry_count.isna().sum())
    assert (loans["rows"], customers["matched"], bureau["without"]) == (
        2000,
        2000,
        no_file,
    ) and no_file > 10
    assert dataset.frame.enquiry_count.isna().sum() == no_file
    by_income = {row["income"]: row["number_of_dependants"] for row in rows_of(tables, "customers")}
    assert all(
        float(by_income[f"{income:.0f}"]) == n
        for income, n in zip(dataset.frame.income[:200], dataset.frame.number_of_dependants)
    )


def test_a_loan_without_a_customer_is_refused_and_counted(tables):
    customers = rows_of(tables, "customers")
    rewrite(tables, "customers", customers[7:])
    dataset = load(LENDING, tables)
    assert (
        dataset.provenance["refused"] == {"cust_id not in customers": 7}
        and len(dataset) == 1993
        and dataset.provenance["rows_read"] == 2000
    )
    rewrite(tables, "customers", customers[300:])
    assert said(tables) == (
        "more than 5% of the 2,000 rows of SYNTHETIC-loans.csv cannot be joined (cust_id not in "
        "customers 300): do the files belong together?"
    )


def test_a_customer_without_a_bureau_row_stays_and_is_counted(tables):
    before, bureau = load(LENDING, tables), rows_of(tables, "bureau_data")
    rewrite(tables, "bureau_data", bureau[25:])
    after = load(LENDING, tables)
    assert (
        len(after) == 2000
        and after.provenance["tables"][2]["without"]
        == before.provenance["tables"][2]["without"] + 25
    )
    assert after.frame.total_dpd.isna().sum() == before.frame.total_dpd.isna().sum() + 25


@pytest.mark.parametrize("name", ["loans", "customers", "bureau_data"])
def test_a_customer_twice_is_an_error_that_names_rows_and_nobody(tables, name):
    rows = rows_of(tables, name)
    rewrite(tables, name, rows + [rows[3], rows[11], rows[3]])
    assert said(tables) == (
        f"SYNTHETIC-{name}.csv: 2 values of cust_id stand more than once, the first in rows 4 "
        f"and {len(rows) + 1:,}; a row for each is expected, or loans would be doubled"
    )
    assert rows[3]["cust_id"] not in said(tables)


def test_customers_without_a_loan_are_left_aside_and_said(tables):
    loans = rows_of(tables, "loans")
    rewrite(tables, "loans", loans[40:])
    dataset = load(LENDING, tables)
    assert (
        len(dataset) == 1960
        and dataset.provenance["tables"][1]["unused"] == 40
        and dataset.provenance["rows_refused"] == 0
    )


def test_a_file_that_is_not_there_is_named(tables):
    (tables / "SYNTHETIC-bureau_data.csv").unlink()
    assert said(tables) == (
        f"there is no bureau_data.csv in the folder {tables.name}: Three tables: customers, "
        "loans, bureau is made of 3 tables"
    )
    (tables / "SYNTHETIC-loans.csv").unlink()
    (tables / "SYNTHETIC-customers.csv").unlink()
    assert "there is no loans.csv, customers.csv and bureau_data.csv in the folder" in said(tables)


def test_lenders_own_files_are_found_by_their_names(tables, monkeypatch):
    for table in LENDING.tables:
        (tables / f"SYNTHETIC-{table.file}").rename(tables / table.file)
    home = tables / "data" / "lending"
    home.mkdir(parents=True)
    for table in LENDING.tables:
        (tables / table.file).rename(home / table.file)
    source = find(LENDING, root=tables / "data")
    assert source.kind == "data folder" and source.message.endswith(
        "data/lending/loans.csv, customers.csv and bureau_data.csv"
    )
    dataset = load(LENDING, source)
    assert (
        not dataset.synthetic
        and dataset.provenance["file"] == "loans.csv, customers.csv, bureau_data.csv"
    )
    assert load(LENDING, home).provenance["sha256"] == dataset.provenance["sha256"]


def test_a_misspelt_category_is_read_as_what_is_meant(tables):
    loans = rows_of(tables, "loans")
    personal = [row for row in loans if row["loan_purpose"] == "Personal"]
    before = load(LENDING, tables).provenance["sha256"]
    for row in personal[:9]:
        row["loan_purpose"] = "Personaal"
    rewrite(tables, "loans", loans)
    dataset = load(LENDING, tables)
    assert (
        dataset.provenance["respelt"] == {"loan_purpose": 9}
        and dataset.provenance["sha256"] == before
    )
    assert "Personaal" not in json.dumps(applicant_model(LENDING).model_json_schema())


# --- in time


def test_the_holdout_is_the_latest_fifth_whole_days_at_a_time(tables):
    dataset = load(LENDING, tables)
    train, holdout = split(dataset)
    since = np.datetime64(holdout.provenance["split"]["since"])
    assert (
        train.dates.max() < since <= holdout.dates.min()
        and len(train) + len(holdout) == 2000
        and abs(len(holdout) / 2000 - 0.2) < 0.01
    )
    assert set(dataset.dates[dataset.dates >= since]) == set(holdout.dates)
    same = split(dataset, seed=77)[1]
    assert same.provenance["sha256"] == holdout.provenance["sha256"]
    for _, judged in folds(train.columns, train.y):
        assert (
            abs(train.y[judged].mean() - train.y.mean()) < 0.01
        )  # folds are stratified all the same


def test_a_date_that_cannot_be_read_is_refused(tables):
    loans = rows_of(tables, "loans")
    for row in loans[:6]:
        row["disbursal_date"] = "31/12/2023"
    loans[6]["disbursal_date"] = ""
    rewrite(tables, "loans", loans)
    assert load(LENDING, tables).provenance["refused"] == {"disbursal_date": 7}
    rewrite(tables, "loans", [row | dict(disbursal_date="31/12/2023") for row in loans])
    assert (
        "disbursal_date must be a date such as 2024-03-31 (2,000 rows, the first of them row 1)"
        in said(tables)
    )
    other = LENDING.model_copy(update=dict(date_format="%d/%m/%Y"))
    assert load(other, tables).dates[10] == np.datetime64("2023-12-31")


def test_a_joined_file_will_do_for_applicants_and_for_judging(tables, tmp_path):
    joined = read_table(tables, LENDING)
    path = write_csv(tmp_path / "joined.csv", joined)
    assert (
        load(LENDING, path, labelled=False).provenance["sha256"]
        == load(LENDING, tables).provenance["sha256"]
    )
    today = write_csv(
        tmp_path / "today.csv",
        joined.drop(
            columns=["default", "disbursal_date", "sanction_amount", "principal_outstanding"]
        ),
    )
    assert load(LENDING, today, labelled=False).dates is None


# --- mortgage


def test_the_sample_of_mortgage_leaks_as_the_file_does():
    frame, y, pds = synthesize(SHIPPED["mortgage"], 20_000, seed=3)
    assert (frame.Interest_rate_spread.isna() == (y == 1)).all()
    rates = {
        "rate_of_interest": 1,
        "property_value": 1,
        "LTV": 1,
        "age": 1,
        "submission_of_application": 1,
    }
    for name, rate in rates.items():
        assert y[frame[name].isna()].mean() == pytest.approx(rate, abs=0.005), name
    assert (
        y[frame.credit_type == "EQUI"].all()
        and y[frame.Upfront_charges.isna()].mean() > 0.9
        and 0.6 < y[frame.dtir1.isna()].mean() < 0.75
    )
    assert y[frame.income == 0].mean() > 0.95
    assert (
        abs(y.mean() - pds.mean()) < 0.01
        and find_refused(SHIPPED["mortgage"], parse_table(SHIPPED["mortgage"], frame)) == []
    )


def test_what_the_definition_of_mortgage_says_of_the_file(real_data):
    real_data("mortgage")
    mortgage = get_portfolio("mortgage")
    real = load(mortgage, tolerated=0)
    frame, y = real.frame, real.y
    assert real.provenance["rows_refused"] == 0 and set(real.provenance["columns_dropped"]) == set(
        mortgage.dropped
    )
    assert (frame.Interest_rate_spread.isna() == (y == 1)).all() and y[
        frame.rate_of_interest.isna()
    ].all()
    zero, missing, gone = frame.income == 0, frame.income.isna(), frame.age.isna()
    assert (
        y[zero].mean() > 0.99
        and 0.12 < y[missing].mean() < 0.15
        and y[gone].all()
        and gone.equals(frame.submission_of_application.isna())
    )
    assert 0.007 < zero.mean() < 0.0095 and gone.mean() < 0.002
    raw = read_table(find(mortgage).path)
    assert ((raw.business_or_commercial == "b/c") == (raw.loan_type == "type2")).all()
    assert ((raw.Secured_by == "land") == (raw.construction_type == "mh")).all() and (
        (raw.Security_Type == "Indriect") == (raw.construction_type == "mh")
    ).all()
    ratio = 100 * frame.loan_amount / frame.property_value
    assert (ratio - frame.LTV).abs().max() < 1e-6
    assert Path(find(mortgage).path).name == mortgage.file
