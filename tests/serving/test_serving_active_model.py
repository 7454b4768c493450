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
    found = refusal(model.read_applicants, [{}] * 10_000, 10_000).detail
    assert len(found) >= 10_000
    assert json.loads(error_body("x", found))["detail"][-1]["msg"].startswith("and ")


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
