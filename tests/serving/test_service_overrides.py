"""Three decisions behind the API, and people who decide otherwise than the model."""

import json
import uuid
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from served import (
    JSON,
    Server,
    add_user,
    answered,
    applicants,
    check_documented,
    check_error,
    scored,
    token_of,
)

from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.monitoring.simulation import (
    REVIEW_REASON,
    SimulationOptions,
    simulate_production,
)
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.strategy import StrategyDefinition
from credit_default.scoring.registry import promote_bundle, save_bundle
from credit_default.training.recipe import Recipe
from credit_default.training.training import fit_recipe

WHY = "A guarantor signed; the canary of this test."


class Running:
    "A service of a model that refers, its users, and the answers to a batch of applicants."

    def __init__(self, bundle, server):
        self.bundle, self.server = bundle, server
        self.clients = {
            name: server.client_of(token_of(add_user(server.database, f"over-{name}", role)))
            for name, role in (
                ("ada", "analyst"),
                ("bert", "analyst"),
                ("vera", "viewer"),
                ("root", "admin"),
            )
        }
        self.ada = self.clients["ada"]
        self.documented = server.client.get("/docs.json").json()
        self.frame, self.sent = applicants(bundle.portfolio, 200)
        self.answers = self.ada.post("/predict_batch", json=self.sent).json()

    def of(self, decision):
        "The ids of the applicants who got a decision."
        return [one["prediction_id"] for one in self.answers if one["decision"] == decision]

    def override(self, id, who="ada", **body):
        "Override a decision; the answer is one that the API's document knows."
        body = dict(decision="Approved", why=WHY) | body
        answer = self.clients[who].post(f"/predictions/{id}/override", json=body)
        path = "/predictions/{prediction_id}/override"
        check_documented(self.documented, "POST", path, answer)
        return answer


@pytest.fixture(scope="module")
def running(bentoml_home, tmp_path_factory):
    strategy = StrategyDefinition(refer_share=0.2)
    portfolio = SHIPPED["personal"].model_copy(update=dict(strategy=strategy))
    recipe = Recipe(parameters=dict(n_estimators=40, max_depth=3))
    training = fit_recipe(portfolio, recipe, *split(load(portfolio, None).take(np.arange(3000))))
    promote_bundle(save_bundle(training.bundle), portfolio.name, by="tests")
    folder = tmp_path_factory.mktemp("overrides")
    with Server(
        bentoml_home,
        folder / "log",
        CREDIT_DEFAULT_PORTFOLIO=portfolio.name,
        CREDIT_DEFAULT_DATABASE_URL=f"sqlite:///{folder / 'log.db'}",
        CREDIT_DEFAULT_SPOOL=str(folder / "spool.db"),
    ) as server:
        made = Running(training.bundle, server)
        yield made
        for client in made.clients.values():
            client.close()


def test_three_decisions_are_answered_logged_and_described(running):
    expected = scored(running.bundle, running.frame)
    assert [answered(one) for one in running.answers] == expected
    counts = Counter(one["decision"] for one in expected)
    assert set(counts) == {"Approved", "Referred", "Declined"}
    assert (
        running.ada.post("/predict", json=running.sent[0]).json()["decision"]
        == (expected[0]["decision"])
    )
    csv = running.frame.to_csv(index=False).encode()
    found = running.ada.post("/predict_csv", files={"file": ("a.csv", csv, "text/csv")})
    assert found.status_code == 200, found.text
    header, *lines = found.text.splitlines()
    at = header.split(",").index("decision") - len(header.split(","))
    assert Counter(line.split(",")[at] for line in lines) == counts
    # a referred applicant is no default, and is told both what raised and what lowered the PD
    one = next(one for one in running.answers if one["decision"] == "Referred")
    assert (one["prediction"], one["prediction_label"]) == (0, "No Default")
    card = running.bundle.scorecard
    assert card.refer_from <= one["probability_default"] < card.cut_off
    model = running.ada.get("/model").json()
    assert (model["refer_from"], model["cut_off"]) == (card.refer_from, card.cut_off)
    assert model["card"]["cut_off"]["refer_from"] == card.refer_from
    page = running.ada.get("/predictions", params=dict(decision="Referred", limit=500)).json()
    assert {row["prediction_id"] for row in page["predictions"]} >= set(running.of("Referred"))
    assert {row["decision"] for row in page["predictions"]} == {"Referred"}


def test_what_would_have_to_change_leads_past_the_referral(running):
    before = Counter()
    for decision in ("Referred", "Declined"):
        for sent, one in zip(running.sent, running.answers):
            if one["decision"] != decision:
                continue
            question = dict(applicant=sent, counterfactuals=True)
            found = running.ada.post("/what_if", json=question).json()
            for change in found["counterfactuals"]:
                before[decision] += 1
                assert change["probability_default"] < running.bundle.scorecard.refer_from
            if before[decision]:
                break
    assert before["Referred"]


def test_an_override_is_recorded_with_who_and_why(running):
    referred, declined, approved = (running.of(d) for d in ("Referred", "Declined", "Approved"))
    answer = running.override(referred[0], decision="Declined", why=f"  {WHY} ")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    override = body["decision_override"]
    assert (body["prediction_id"], body["model_decision"]) == (referred[0], "Referred")
    assert (override["decision"], override["why"], override["username"]) == (
        "Declined",
        WHY,
        "over-ada",
    )
    seconds = datetime.now(UTC) - datetime.fromisoformat(override["timestamp"])
    assert abs(seconds.total_seconds()) < 60
    # sent again, it is in force already; by another person or for another reason it is a conflict
    assert running.override(referred[0], decision="Declined").json() == body
    assert running.override(referred[0], decision="Declined", why="Another.").status_code == 409
    assert running.override(referred[0], "root", decision="Declined").status_code == 409
    assert running.override(approved[0]).status_code == 409
    # a further one comes on top
    assert running.override(referred[0], "root", why="Seen again.").status_code == 200
    history = running.ada.get(f"/predictions/{referred[0]}/overrides").json()
    assert [(one["decision"], one["username"]) for one in history["overrides"]] == [
        ("Declined", "over-ada"),
        ("Approved", "over-root"),
    ]
    assert running.override(declined[0]).status_code == 200
    one = running.ada.get(f"/predictions/{declined[0]}").json()
    assert (one["decision"], one["decision_override"]["decision"]) == ("Declined", "Approved")
    for overridden, expected in ((True, {referred[0], declined[0]}), (False, set(approved))):
        query = dict(overridden=overridden, limit=1000)
        page = running.ada.get("/predictions", params=query).json()["predictions"]
        found = {row["prediction_id"] for row in page}
        assert found == expected if overridden else found >= expected
        assert {row["decision_override"] is not None for row in page} == {overridden}


def test_only_who_may_can_override(running):
    id = running.of("Declined")[1]
    assert running.server.client_of().post(f"/predictions/{id}/override").status_code == 401
    assert running.override(id, "vera").status_code == 403
    assert running.override(id, "bert").status_code == 404
    assert running.override(str(uuid.uuid4()), "root").status_code == 404
    assert running.clients["bert"].get(f"/predictions/{id}/overrides").status_code == 404
    assert running.ada.get(f"/predictions/{id}/overrides").json()["overrides"] == []
    assert running.override(id, "root").status_code == 200


@pytest.mark.parametrize(
    "body, field",
    [
        (dict(why=" "), "why"),
        (dict(why=None), "why"),
        (dict(why="x" * 1001), "why"),
        (dict(why="a\0b"), "why"),
        (dict(why="\ud800"), "why"),
        (dict(decision="Referred"), "decision"),
        (dict(decision="approved"), "decision"),
        (dict(username="somebody"), "username"),
    ],
)
def test_what_is_no_override_is_refused_with_the_field(running, body, field):
    answer = running.ada.post(
        f"/predictions/{running.of('Declined')[2]}/override",
        content=json.dumps(dict(decision="Approved", why=WHY) | body),
        headers=JSON,
    )
    assert answer.status_code in (400, 422), answer.text
    check_error(answer)
    if answer.status_code == 422:
        assert [one["loc"][-1] for one in answer.json()["detail"]] == [field]
    assert "guarantor" not in answer.text


def test_what_is_no_request_is_refused(running):
    id = running.of("Declined")[2]
    broken = running.ada.post(f"/predictions/{id}/override", content="{", headers=JSON)
    assert broken.status_code == 400
    assert running.override("no-id").status_code == 422
    missing = running.ada.post(f"/predictions/{id}/override", json=dict(decision="Approved"))
    assert [one["loc"][-1] for one in missing.json()["detail"]] == ["why"]
    assert running.ada.get(f"/predictions/{id}").json()["decision_override"] is None


def test_performance_counts_them_by_direction_with_their_outcomes(running):
    outcomes = running.of("Declined")[:3] + running.of("Approved")[:5]
    now = datetime.now(UTC).isoformat()
    for i, id in enumerate(running.of("Declined")[3:5]):
        assert running.override(id, why=f"reason {i}").status_code == 200
        outcomes.append(id)
    told = [dict(prediction_id=id, defaulted=True, observed_at=now) for id in outcomes]
    assert running.ada.post("/outcomes", json=told).json()["recorded"] == len(outcomes)
    found = running.ada.get("/performance", params=dict(window_months=0))
    assert found.status_code == 200, found.text
    [model] = found.json()["models"].values()
    rows = {(row["model_decision"], row["decision"]): row for row in model["overrides"]}
    row = rows["Declined", "Approved"]
    with_outcome = row["n"]
    assert row["overridden"] >= with_outcome >= 2
    assert (row["defaults"], row["default_rate"]) == (with_outcome, 1)
    assert 0 < row["low"] < 1 and 0 < row["mean_pd"] < 1
    page = running.clients["root"].get("/predictions", params=dict(limit=1000)).json()
    decided = [(one["decision_override"] or one)["decision"] for one in page["predictions"]]
    assert model["declined"] == decided.count("Declined")


def test_reasons_stand_in_no_log_line(running):
    log = running.server.log.read_text()
    assert "/overrides" in log and "guarantor" not in log and "Seen again" not in log


def test_a_simulation_decides_about_the_referred_and_they_have_outcomes(running):
    token = running.ada.headers["Authorization"].removeprefix("Bearer ")
    portfolio, options = running.bundle.portfolio, SimulationOptions(run="reviews", seed=4)
    url = str(running.ada.base_url)
    made = simulate_production(url, token, portfolio, 200, "none", options)
    referred = made.decisions["Referred"]
    assert sum(made.reviews.values()) == referred >= 20
    assert all(0.2 * referred < n for n in made.reviews.values())
    loans = made.decisions["Approved"] + made.reviews["Approved"]
    assert (made.outcomes["sent"], made.outcomes["recorded"]) == (loans, loans)
    page = running.ada.get("/predictions", params=dict(limit=1000)).json()
    named = [(r["application_reference"] or "", r) for r in page["predictions"]]
    rows = [row for reference, row in named if reference.startswith("simulated/reviews/")]
    assert len(rows) == 200
    for row in rows:
        review = row["decision_override"]
        assert (review is not None) == (row["decision"] == "Referred")
        assert review is None or review["why"] == REVIEW_REASON
