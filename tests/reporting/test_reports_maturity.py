"""Reports and commands say how many loans are immature, and name them where checks fail."""

import json
import re

import pytest
from censored import CARDS, censored_book
from typer.testing import CliRunner

from credit_default.cli.app import app
from credit_default.scoring.registry import load_bundle

N = 8000


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    table, _ = censored_book(N)
    table.to_csv(folder / "cards.csv", index=False)
    keys = CARDS.model_copy(update=dict(file="cards.csv"))
    for name, exclude in (("cards", True), ("kept", False)):
        definition = keys.model_copy(update=dict(name=name, exclude_immature=exclude))
        text = definition.model_dump_json(exclude_defaults=True)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def shell(*words, exit_code=0):
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == exit_code, result.output
    return result.output


def report(folder, name, which):
    [path] = (folder / "reports" / name).glob(f"*/{which}.json")
    page = path.with_suffix(".html").read_text(encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8")), page


def immature_of(text):
    return f"{text} of {N:,} loans are immature"


def test_eda_says_it(book, monkeypatch):
    monkeypatch.chdir(book)
    said = shell("eda", "--portfolio", "cards.json")
    content, page = report(book, "cards", "eda")
    vintages, ages = (content["figures"][k]["table"] for k in ("vintages", "months_on_book"))
    immature = sum(row["immature"] for row in vintages)
    assert immature == sum(row["immature"] for row in ages) > N / 3
    assert sum(row["n"] for row in vintages) == N
    assert immature_of(f"{immature:,}") in said and immature_of(f"{immature:,}") in page
    youngest, oldest = ages[0], ages[-1]
    assert youngest["immature"] and not oldest["immature"]
    assert youngest["high"] < oldest["default_rate"]


def test_init_and_audit_say_it_where_they_know_dates(book, monkeypatch):
    monkeypatch.chdir(book)
    said = " ".join(shell("init", "cards.csv", "--target", "bad", "--out", "draft.toml").split())
    assert f"On 2022-12-31, the latest opened, of {N:,} loans are" in said
    assert "younger than 24 months" in said and "performance_window_months" in said
    drafted = (book / "draft.toml").read_text(encoding="utf-8")
    assert "younger than 24 months" in " ".join(drafted.replace("# ", "").split())
    # the latest fifth has fewer than twenty defaults: too young, not of no use
    assert "performance_window_months = 12\n" in drafted and "= 12 is assumed" in said
    [immature] = re.findall(r"([\d,]+) younger than 24", said)
    audited = shell("audit", "cards.csv", "--portfolio", "cards.json")
    assert immature_of(immature) in " ".join(audited.split())
    assert "immature" not in shell("audit", "cards.csv", "--target", "bad")


def test_training_says_it_everywhere(book, monkeypatch):
    monkeypatch.chdir(book)
    said = shell("train", "--portfolio", "cards.json", "--trials", 1)
    content, page = report(book, "cards", "training")
    immature = sum(row["immature"] for row in content["figures"]["vintages"]["table"])
    card = load_bundle(content["result"]["model_version"]).card
    sentence = immature_of(f"{immature:,}")
    assert said.count(sentence) == 2  # of the data, and of the model
    assert sentence in page and sentence in content["result"]["maturity"]
    assert sentence in card["limits"][0] and card["data"]["maturity"]["immature"] == immature
    assert sentence in " ".join(shell("models", "show", "--portfolio", "cards.json").split())
    assert "immature_included" not in content["figures"]
    [row] = [c for c in content["figures"]["checks"]["table"] if "window" in c["question"]]
    assert row["figure"] == 0 and row["holds"]
    origins = content["figures"]["out_of_time"]["table"]
    assert (
        len(origins) == 5 and sum(o["n"] for o in origins) + origins[0]["fitted_on"] == N - immature
    )
    assert "time order too" in page
    life = content["figures"]["lifetime"]
    whole, holdout = life["table"][-1], content["figures"]["holdout"]["values"]
    assert whole["rating"] == "all" and 0 < whole["pd_12"] < whole["pd_life"]
    assert abs(whole["pd_life"] - holdout["mean_pd"]) < 1e-9 and life["values"]["months"] == 24


@pytest.mark.slow
def test_a_failed_check_is_explained_where_immature_loans_are_kept(book, monkeypatch):
    monkeypatch.chdir(book)
    said = shell("train", "--portfolio", "kept.json", "--trials", 1, exit_code=5)  # held back
    assert "exclude_immature = false" in said
    content, page = report(book, "kept", "training")
    named = content["figures"]["immature_included"]["values"]
    assert named["holdout"] == named["n_holdout"]
    failed = [c["question"] for c in content["figures"]["checks"]["table"] if c["holds"] is False]
    assert failed[0] == "Loans whose performance window has not passed"
    assert len(failed) > 1 and "may fail for this reason alone" in page
