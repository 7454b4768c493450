"""From a request's bytes to an answer and a row of the log, without a server."""

import dataclasses
import json

import pytest

from credit_default.serving.active_model import ActiveModel
from credit_default.serving.json_input import read_json
from credit_default.serving.refusals import ApiError, error_body

CANARY = "4711-Musterfrau"


@pytest.fixture(scope="module")
def model(synthetic_bundle):
    return ActiveModel(synthetic_bundle)


@pytest.fixture
def applicant(model):
    return model.read_applicant(model.example)


def refusal(call, *args):
    with pytest.raises(ApiError) as raised:
        call(*args)
    return raised.value


def changed(model, **fields):
    return json.dumps(model.example | fields).encode()


def test_a_row_and_its_answer_are_of_one_prediction(model, applicant):
    [answer], [row] = model.predict([applicant])
    assert row["prediction_id"] == answer["prediction_id"]
    assert row["probability_default"] == answer["probability_default"]
    assert json.loads(row["reasons"]) == answer["reasons"]
    assert len(row["bins"]) == len(model.bundle.reference.bins)


def test_a_model_from_before_ratings_were_watched_has_fewer_bins(model, applicant):
    reference = model.bundle.reference
    bins = {field: b for field, b in reference.bins.items() if field != "rating"}
    older = dataclasses.replace(model.bundle, reference=type(reference)(bins))
    [row], [now] = ActiveModel(older).predict([applicant])[1], model.predict([applicant])[1]
    assert row["bins"] == now["bins"][:-1]


def test_reasons_may_be_left_out(model, applicant):
    [silent], _ = ActiveModel(model.bundle, reasons=False).predict([applicant])
    [answer], _ = model.predict([applicant])
    assert silent["probability_default"] == answer["probability_default"]
    assert silent["reasons"] == []


def test_a_batch_has_a_limit_and_lists_a_hundred_problems(model):
    assert refusal(model.read_applicants, [model.example] * 11, 10).status == 422
    refused = refusal(model.read_applicants, [{}] * 10_000, 10_000)
    assert len(refused.detail) == 100 and refused.is_cut
    listed = json.loads(error_body("x", refused.detail, refused.is_cut))["detail"]
    assert len(listed) == 101 and listed[-1]["msg"].startswith("and ")


def test_a_list_is_read_no_further_than_to_the_hundredth_problem(model):
    read = []

    def items():
        for i in range(10_000):
            read.append(i)
            yield {f"field_{j}": 1 for j in range(200)}

    refused = refusal(model.read_applicants, items(), 10_000)
    assert len(refused.detail) == 100 and len(read) <= 50
    made_up = {f"field_{j}": 1 for j in range(100_000)}
    refused = refusal(model.read_applicants, iter([model.example | made_up]), 10_000)
    assert len(refused.detail) == 100 and refused.is_cut


def test_a_list_is_checked_across_its_parts(model):
    "Positions count from the first applicant of the list; what is valid is returned in order."
    ages = [20 + i % 60 for i in range(333)]
    applicants = [model.example | {"age": age} for age in ages]
    assert [one.age for one in model.read_applicants(iter(applicants), 333)] == ages
    for i in (0, 49, 50, 332):
        wrong = applicants[:i] + [model.example | {"age": -1}] + applicants[i + 1 :]
        [problem] = refusal(model.read_applicants, iter(wrong), 333).detail
        assert problem.loc == [i, "age"]


def test_a_name_that_stands_twice_is_refused_by_name(model):
    body = changed(model)[:-1] + b', "age": 46}'
    [twice] = refusal(model.read_applicant, read_json(body)).detail
    assert (twice.loc, twice.msg) == (["age"], "is given twice")


def test_no_refusal_repeats_what_was_sent(model):
    for body in (
        changed(model, age=CANARY),
        changed(model, **{CANARY: 1}),
        changed(model, DebtRatio=[CANARY]),
        b'{"age": ' + CANARY.encode(),
    ):
        refused = refusal(lambda body=body: model.read_applicant(read_json(body)))
        assert CANARY not in error_body(refused.error, refused.detail).decode()
