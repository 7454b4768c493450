"""`POST /what_if`: true to `/predict`, verified, not logged, and refused in the house form."""

import pytest
from served import check_documented, check_error

from credit_default.portfolio.catalogue import get_portfolio

PATH = "/what_if"
ANSWERED = ("probability_default", "decision", "credit_score", "rating", "reasons", "helped")


@pytest.fixture
def strained(valid):
    "An applicant who is declined for high balances and a late payment."
    return valid | {
        "RevolvingUtilizationOfUnsecuredLines": 1.1,
        "NumberOfTime30_59DaysPastDueNotWorse": 2,
    }


def ask(service, applicant, **question):
    answer = service.client.post(PATH, json=dict(applicant=applicant, **question))
    assert answer.status_code == 200, answer.text
    return answer.json()


def predict(service, applicant):
    return service.client.post("/predict", json=applicant).json()


def test_both_answers_are_those_of_predict(service, documented, valid):
    said = ask(service, valid, changes={"MonthlyIncome": 6000})
    follows = {c["field"]: c["after"] for c in said["follows"]}
    assert set(follows) == {"DebtRatio"}
    after = predict(service, valid | {"MonthlyIncome": 6000} | follows)
    for name in ANSWERED:
        assert said["before"][name] == predict(service, valid)[name]
        assert said["after"][name] == after[name]
    assert said["counterfactuals"] == []
    stated = ask(service, valid, changes={"MonthlyIncome": 6000, "DebtRatio": 0.3})
    assert stated["follows"] == []


def test_each_counterfactual_is_approved_by_predict(service, strained):
    said = ask(service, strained, counterfactuals=True)
    assert said["before"]["decision"] == "Declined"
    assert said["after"] is None
    assert said["counterfactuals"] and not said["why_none"]
    portfolio = get_portfolio("gmsc")
    for one in said["counterfactuals"]:
        assert all(portfolio[c["field"]].changeable for c in one["changes"])
        new = {c["field"]: c["after"] for c in (*one["changes"], *one["follows"])}
        answer = predict(service, strained | new)
        assert answer["decision"] == "Approved"
        assert answer["probability_default"] == one["probability_default"]


def test_where_none_is_found_a_sentence_says_so(service, valid, strained):
    assert ask(service, valid, counterfactuals=True)["why_none"].startswith("This applicant")
    late = strained | {"NumberOfTimes90DaysLate": 9, "NumberOfTime60_89DaysPastDueNotWorse": 9}
    said = ask(service, late, counterfactuals=True)
    assert said["counterfactuals"] == [] and "leads to an approval" in said["why_none"]


def counted(service, name):
    lines = service.client.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def test_nothing_is_logged_and_no_prediction_is_counted(service, valid):
    reference = "what-if:none"
    before = counted(service, "credit_default_predictions_total")
    asked = counted(service, 'credit_default_requests_total{endpoint="/what_if"')
    ask(service, valid | {"application_reference": reference}, changes={"age": 60})
    assert counted(service, "credit_default_predictions_total") == before
    assert counted(service, 'credit_default_requests_total{endpoint="/what_if"') == asked + 1
    logged = service.client.get("/predictions", params=dict(reference=reference)).json()
    assert logged["predictions"] == []


@pytest.mark.parametrize(
    ("part", "loc"),
    [
        (dict(changes={"age": -5}), ["changes", "age"]),
        (dict(changes={"Income": 5}), ["changes", "Income"]),
        (dict(changes={"<b>": 5}), ["changes", "(not a field's name)"]),
        (dict(changes={"MonthlyIncome": "6000"}), ["changes", "MonthlyIncome"]),
        (dict(changes={"application_reference": "a"}), ["changes", "application_reference"]),
        (dict(changes=[1]), ["changes"]),
        (dict(changes={"age": 50}, applicant={"age": 50}), ["applicant"]),
        (dict(changes={"age": 50}, applicant=None), ["applicant"]),
        (dict(changes={"age": 50}, counterfactuals="yes"), ["counterfactuals"]),
        (dict(changes={"age": 50}, more=1), ["more"]),
        (dict(), ["changes"]),
        (dict(changes={}, counterfactuals=False), ["changes"]),
    ],
)
def test_an_error_says_where_it_lies(service, documented, valid, part, loc):
    answer = service.client.post(PATH, json=dict(applicant=valid) | part)
    check_documented(documented, "POST", PATH, answer)
    assert answer.status_code == 422
    check_error(answer)
    assert answer.json()["detail"][0]["loc"][: len(loc)] == loc


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'{"applicant": {"age": 1, "age": 2}, "changes": {"age": 3}}', 422),
        (b'{"applicant": {}, "changes": {"age": 3, "age": 4}}', 422),
        (b'{"applicant": {"age": NaN}, "counterfactuals": true}', 422),
        (b" " * 200_000, 413),
    ],
)
def test_whatever_is_sent_gets_a_documented_answer(service, documented, body, status):
    headers = {"Content-Type": "application/json"}
    answer = service.client.post(PATH, content=body, headers=headers)
    check_documented(documented, "POST", PATH, answer)
    assert answer.status_code == status, answer.text


def test_the_documents_example_is_answered(service, documented):
    content = documented["paths"][PATH]["post"]["requestBody"]["content"]["application/json"]
    example = content["examples"]["an applicant"]["value"]
    answer = service.client.post(PATH, json=example)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == set(
        documented["components"]["schemas"]["WhatIfResponse"]["required"]
    )
