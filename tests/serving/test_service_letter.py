"""`POST /letter` and `POST /explain`: as in Python and on the command line; nothing is logged."""

import datetime

import pandas as pd
import pytest
from served import applicants, check_documented, check_error

from credit_default.cli.letter import write_letters
from credit_default.face.model import CreditModel

DAY = "2026-01-31"
REFERENCE = "2026-004711"


@pytest.fixture(scope="module")
def model(synthetic_bundle):
    "The model that is served, as Python has it."
    return CreditModel(synthetic_bundle)


@pytest.fixture(scope="module")
def declined(service, model):
    "Applicants who are declined, as a client sends them."
    _, sent = applicants(model.bundle.portfolio, 200)
    answers = service.client.post("/predict_batch", json=sent).json()
    chosen = [s for s, a in zip(sent, answers, strict=True) if a["decision"] == "Declined"]
    assert len(chosen) >= 5
    return chosen


def ask(service, path, body):
    answer = service.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_all_three_doors_give_the_same_letter(service, model, declined, tmp_path):
    for i, applicant in enumerate(declined[:5]):
        named = applicant | {"application_reference": f"{REFERENCE}-{i}"}
        said = ask(service, "/letter", dict(applicant=named, date=DAY))
        day = datetime.date.fromisoformat(DAY)
        assert said["letter"] == model.letter(applicant, f"{REFERENCE}-{i}", day).text
        pd.DataFrame([named]).to_csv(tmp_path / f"{i}.csv", index=False)
        write_letters(model.bundle, tmp_path / f"{i}.csv", tmp_path / str(i), day)
        assert (tmp_path / str(i) / "letter-1.txt").read_text() == said["letter"]
        assert said["model_version"] == model.bundle.tag
        assert DAY in said["letter"] and f"{REFERENCE}-{i}" in said["letter"]
        for reason in ask(service, "/predict", applicant)["reasons"]:
            assert f"- {reason['text']}" in said["letter"].splitlines()


def test_without_a_date_it_is_today(service, declined):
    days = [datetime.date.today()]
    said = ask(service, "/letter", dict(applicant=declined[0]))
    days.append(datetime.date.today())
    assert any(day.isoformat() in said["letter"] for day in days)


def test_an_approved_applicant_gets_no_letter(service, documented, valid):
    answer = service.client.post("/letter", json=dict(applicant=valid))
    check_documented(documented, "POST", "/letter", answer)
    assert answer.status_code == 409
    [only] = answer.json()["detail"]
    assert only["loc"] == ["applicant"] and "not declined" in only["msg"]


def test_a_person_who_declined_gives_the_reasons_of_the_letter(
    service, documented, model, valid, declined
):
    sentence = "We could not verify your employment <at all>"
    told = dict(applicant=valid, date=DAY, reasons=[f" {sentence} ", "R05"])
    answer = service.client.post("/letter", json=told)
    check_documented(documented, "POST", "/letter", answer)
    said = answer.json()["letter"]
    day = datetime.date.fromisoformat(DAY)
    assert said == model.letter(valid, date=day, reasons=[sentence, "R05"]).text
    lines = [line for line in said.splitlines() if line.startswith("- ")]
    assert lines[0] == f"- {sentence}" and len(lines) == 2 and "ncome" in lines[1]
    assert "<at" not in model.letter(valid, date=day, reasons=[sentence]).to_html()
    # the model's own reasons are those of whom the model declined
    both = service.client.post("/letter", json=told | dict(applicant=declined[0]))
    check_documented(documented, "POST", "/letter", both)
    assert both.status_code == 409 and both.json()["detail"][0]["loc"] == ["reasons"]


@pytest.mark.parametrize("reasons", [["a\nb"], [""], ["x" * 201], ["a"] * 5, "R01", [1]])
def test_what_is_no_reason_of_a_person_is_refused(service, documented, valid, reasons):
    answer = service.client.post("/letter", json=dict(applicant=valid, reasons=reasons))
    check_documented(documented, "POST", "/letter", answer)
    assert answer.status_code == 422
    check_error(answer)
    assert answer.json()["detail"][0]["loc"][0] == "reasons"


@pytest.mark.parametrize(
    ("part", "loc"),
    [
        (dict(applicant={"age": 50}), ["applicant"]),
        (dict(applicant=None), ["applicant"]),
        (dict(date="31.1.2026"), ["date"]),
        (dict(date=1769817600), ["date"]),
        (dict(date="2026-02-30"), ["date"]),
        (dict(reference="a"), ["reference"]),
    ],
)
def test_an_error_of_a_letter_names_the_field(service, documented, declined, part, loc):
    answer = service.client.post("/letter", json=dict(applicant=declined[0]) | part)
    check_documented(documented, "POST", "/letter", answer)
    assert answer.status_code == 422
    check_error(answer)
    assert answer.json()["detail"][0]["loc"][: len(loc)] == loc


def test_a_reference_that_is_none_is_refused_by_its_name(service, declined):
    wrong = declined[0] | {"application_reference": "a b"}
    answer = service.client.post("/letter", json=dict(applicant=wrong))
    assert answer.json()["detail"][0]["loc"] == ["applicant", "application_reference"]


def test_contributions_are_those_of_python_and_add_up(service, model, declined, valid):
    for applicant in (valid, *declined[:5]):
        said = ask(service, "/explain", applicant)
        row = {f.name: [applicant[f.alias]] for f in model.bundle.portfolio.fields}
        expected = model.explain(pd.DataFrame(row)).iloc[0]
        for unit, base in (("log_odds", "base_log_odds"), ("points", "base_points")):
            parts = {c["field"]: c[unit] for c in said["contributions"]}
            for field in model.bundle.portfolio.fields:
                assert parts[field.alias] == expected[unit, field.name]
            assert said[base] == expected[unit, "base"]
            total = said[base] + sum(parts.values())
            if unit == "log_odds":
                assert abs(total - said["log_odds"]) <= 1e-9
            else:  # the score is whole, and kept within its range
                assert abs(min(max(total, 300), 900) - said["credit_score"]) <= 0.5 + 1e-9
        strength = [abs(c["log_odds"]) for c in said["contributions"]]
        assert strength == sorted(strength, reverse=True)
        assert (
            said["probability_default"]
            == (ask(service, "/predict", applicant)["probability_default"])
        )


@pytest.mark.parametrize("path", ["/letter", "/explain"])
def test_the_example_of_the_document_is_answered(service, documented, path):
    content = documented["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    said = ask(service, path, content["examples"]["an applicant"]["value"])
    response = documented["paths"][path]["post"]["responses"]["200"]["content"]
    name = response["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    assert set(said) == set(documented["components"]["schemas"][name]["required"])


@pytest.mark.parametrize("path", ["/letter", "/explain"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'{"applicant": {"age": 1, "age": 2}}', 422),
        (b'{"age": NaN}', 422),
        (b" " * 200_000, 413),
    ],
)
def test_whatever_is_sent_gets_a_documented_answer(service, documented, path, body, status):
    headers = {"Content-Type": "application/json"}
    answer = service.client.post(path, content=body, headers=headers)
    check_documented(documented, "POST", path, answer)
    assert answer.status_code == status, answer.text


def test_nothing_is_logged(service, declined):
    named = declined[0] | {"application_reference": "letter:none"}
    ask(service, "/letter", dict(applicant=named))
    ask(service, "/explain", named)
    found = service.client.get("/predictions", params=dict(reference="letter:none")).json()
    assert found["predictions"] == []
