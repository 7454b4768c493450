"""Drift, outcomes and performance, as people ask a running service for them; and the whole way from
a recession to the report, by the command line.
"""

import asyncio
import dataclasses
import json
import re
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import jsonschema
import numpy as np
import psutil
import pytest
import sqlalchemy as sa
from browser import Browser, chromium
from dateutil.relativedelta import relativedelta
from made_reports import numbers_shown
from served import ROOT, Server, add_user, as_sent, check_documented, token_of

from credit_default.data.synthetic import synthesize
from credit_default.evaluation.discrimination import auc_interval
from credit_default.evaluation.intervals import jeffreys_interval, jeffreys_test
from credit_default.evaluation.metrics import compute_metrics
from credit_default.monitoring.backtest import FITS, MORE, TOO_FEW, backtest_groups
from credit_default.monitoring.drift import NO_PREDICTIONS, assess_drift, check_record
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.columns import parse_table
from credit_default.scoring.bundle_files import make_golden_rows
from credit_default.scoring.reference import Reference
from credit_default.scoring.registry import load_bundle, save_bundle
from credit_default.serving.active_model import log_rows
from credit_default.serving.routes.monitoring import _check_status
from credit_default.serving.schemas import MAX_OUTCOMES
from credit_default.store.predictions import Entry
from credit_default.store.schema import predictions
from credit_default.store.store import Store

GMSC = SHIPPED["gmsc"]
CANARY, NUMBER = (
    "Musterfrau4711",
    471147.11,
)  # stand for an applicant's data, wherever a client could put it
COMPARED = ("psi", "severity", "chance", "drifted", "missing_reference", "missing_current")
MAIN = [sys.executable, "-c", "from credit_default.cli.app import main; main()"]
NOW = datetime.now(UTC)
WINDOW = relativedelta(months=GMSC.performance_window_months)


def written(at):
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def applicants(n, seed, **changed):
    frame, _, _ = synthesize(GMSC, n, seed=seed)
    return frame.assign(**{name: change(frame[name]) for name, change in changed.items()})


@pytest.fixture(scope="module")
def other(synthetic_bundle):
    "Another model in the store, not promoted, which was made for people with half the income."
    bundle = dataclasses.replace(
        synthetic_bundle,
        calibrator=dataclasses.replace(
            synthetic_bundle.calibrator, intercept=synthetic_bundle.calibrator.intercept + 0.1
        ),
        tag="",
    )
    columns = parse_table(GMSC, applicants(2000, 50, MonthlyIncome=lambda x: (x / 2).round()))
    codes, categories = (
        {f.name: tuple(f.codes) for f in GMSC.fields if f.codes},
        {"rating": synthetic_bundle.reference.bins["rating"].categories},
    )
    bundle.reference = Reference.fit(
        columns | bundle.score(columns, reasons=False).monitored(),
        codes=codes,
        categories=categories,
    )
    bundle.golden = make_golden_rows(bundle, parse_table(GMSC, synthesize(GMSC, 300, seed=0)[0]))
    return load_bundle(save_bundle(bundle))


def put(database, bundle, frame, at, **more):
    "Predictions as the service would have left them at an earlier time: the log's rows."
    columns = parse_table(GMSC, frame)
    rows = log_rows(bundle, columns, bundle.score(columns), at, [None] * len(frame))
    for row in rows:
        row |= (
            dict(endpoint="csv", user_id=None, username=None, latency_ms=1.0, request_id="tests")
            | more
        )
    store = Store(database)
    try:
        store.predictions.append([Entry(rows)])
    finally:
        store.close()
    return rows


def settings(folder, **more):
    """A log of its own. A check gives way to everything else on the machine, so it may take its
    time here.
    """
    return (
        dict(
            CREDIT_DEFAULT_DATABASE_URL=f"sqlite:///{folder / 'log.db'}",
            CREDIT_DEFAULT_SPOOL=str(folder / "spool.db"),
            CREDIT_DEFAULT_TIMEOUT="120",
        )
        | more
    )


@pytest.fixture(scope="module")
def running(synthetic_bundle, other, bentoml_home, tmp_path_factory):
    """A service with a log of its own. In it: today's applicants (`usual`, and then `poor`, whose
    incomes fell), those of yesterday's morning (`earlier`), some whom another model answered
    (`others`), and loans of three years ago (`old`).
    """
    folder = tmp_path_factory.mktemp("monitoring")
    with Server(bentoml_home, folder / "log", **settings(folder)) as server:
        users = {
            name: add_user(server.database, f"monitoring-{name}", role)
            for name, role in dict(
                anna="analyst", bert="analyst", vera="viewer", ada="admin"
            ).items()
        }
        clients = {
            name: server.client_of(token_of(user, exp=int(time.time()) + 3600))
            for name, user in users.items()
        }
        for client in clients.values():
            client.timeout = 120
        frames = dict(
            usual=applicants(350, 61),
            poor=applicants(350, 62, MonthlyIncome=lambda x: (x * 0.4).round()),
            earlier=applicants(150, 63),
            others=applicants(120, 64),
            old=applicants(2500, 65),
        )
        rows = dict(
            earlier=put(
                server.database, synthetic_bundle, frames["earlier"], NOW - timedelta(hours=30)
            ),
            others=put(server.database, other, frames["others"], NOW - timedelta(hours=1)),
            old=put(server.database, synthetic_bundle, frames["old"], NOW - relativedelta(years=3)),
        )
        for name, client in dict(usual=clients["anna"], poor=clients["bert"]).items():
            time.sleep(0.01)  # times are told in milliseconds
            answer = client.post(
                "/predict_batch", json=as_sent(GMSC, parse_table(GMSC, frames[name]))
            )
            assert answer.status_code == 200, answer.text[:300]
            rows[name] = answer.json()
        server.documented = server.client.get("/docs.json").json()
        yield SimpleNamespace(
            server=server,
            frames=frames,
            rows=rows,
            tag=synthetic_bundle.tag,
            bundle=synthetic_bundle,
            other=other,
            **clients,
        )
        for client in clients.values():
            client.close()


def fits(documented, name, answer):
    """Raises where an answer has not all the parts of its schema and no others, or one of them is
    not what the schema says.
    """

    def whole(schema, part):
        if "$ref" in schema:
            schema = documented["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if "properties" in schema and isinstance(part, dict):
            assert set(part) == set(schema["properties"]), set(part) ^ set(schema["properties"])
            for key, value in part.items():
                whole(schema["properties"][key], value)
        if (
            "additionalProperties" in schema
            and isinstance(schema["additionalProperties"], dict)
            and isinstance(part, dict)
        ):
            for value in part.values():
                whole(schema["additionalProperties"], value)

    schema = {"$ref": f"#/components/schemas/{name}"}
    jsonschema.Draft202012Validator(
        {"components": documented["components"]} | schema, format_checker=jsonschema.FormatChecker()
    ).validate(answer)
    whole(schema, answer)


@pytest.fixture
def ask(running):
    """`ask(who, method, path)`: the answer, which the document knows and which holds to its schema;
    no error repeats what was sent.
    """
    names = {
        "/drift/status": "DriftStatus",
        "/drift/detect": "DriftReport",
        "/outcomes": "OutcomesTaken",
        "/performance": "Performance",
    }

    def ask(who, method, path, **kwargs):
        answer = getattr(running, who).request(method, path, **kwargs)
        check_documented(running.server.documented, method, path, answer)
        if answer.status_code == 200:
            fits(running.server.documented, names[path], answer.json())
        else:
            assert CANARY not in answer.text and str(NUMBER) not in answer.text
        return answer

    return ask


def detected(ask, **window):
    answer = ask("vera", "POST", "/drift/detect", json=window)
    assert answer.status_code == 200, answer.text
    return answer.json()


def check_compared(found, bundle, *frames):
    """Raises where an answer is not, to the last digit, what the reference says of these
    applicants, or names others than those that drifted.
    """
    parts = [parse_table(GMSC, frame) for frame in frames]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    expected = {
        row.field: row.to_dict()
        for row in bundle.reference.compare(
            columns | bundle.score(columns, reasons=False).monitored()
        )
    }
    answered = {GMSC[f].alias if f in columns else f: f for f in expected}
    both = found["features"] | found["outputs"]
    assert {name: {k: both[name][k] for k in COMPARED} for name in both} == {
        name: {k: expected[f][k] for k in COMPARED} for name, f in answered.items()
    }
    assert (
        found["samples_analysed"] == len(columns["age"])
        and found["baseline_samples"] == bundle.reference.bins["age"].n
        and found["model_version"] == bundle.tag
    )
    named = {GMSC[f].alias if f in columns else f for f, row in expected.items() if row["drifted"]}
    assert set(found["drifted_features"] + found["drifted_outputs"]) == named and found[
        "drift_detected"
    ] == bool(named)
    for name in found["features"]:
        bins = bundle.reference.bins[answered[name]]
        assert (both[name]["reference"], both[name]["current"]) == (
            bins.summary,
            pytest.approx(bins.summarize(columns[answered[name]])),
        )
    return named


# Drift


def test_the_last_day_is_compared_unless_it_is_said_otherwise(running, ask):
    frames = running.frames
    asked = [detected(ask), ask("vera", "POST", "/drift/detect").json()]
    for found in asked:
        assert "MonthlyIncome" in check_compared(
            found, running.bundle, frames["usual"], frames["poor"]
        )
    assert asked[0]["samples_of_other_models"] == 120 and read(asked[0]["to"]) - read(
        asked[0]["from"]
    ) == timedelta(hours=24)
    longer = detected(ask, time_window_hours=48)
    check_compared(longer, running.bundle, frames["earlier"], frames["usual"], frames["poor"])


def test_two_times_are_a_window_and_an_end_may_be_open(running, ask):
    frames, (usual, poor) = (
        running.frames,
        (running.rows[name][0]["timestamp"] for name in ("usual", "poor")),
    )
    quiet = detected(ask, **{"from": usual, "to": poor})
    assert check_compared(quiet, running.bundle, frames["usual"]) == set() and quiet[
        "verdict"
    ].startswith("No drift in 13 columns")
    assert (quiet["from"], quiet["to"]) == (usual, poor)
    moved = detected(ask, **{"from": poor.replace("Z", "+00:00")})
    assert (
        "MonthlyIncome" in check_compared(moved, running.bundle, frames["poor"])
        and moved["to"] is None
        and moved["verdict"].startswith("Drift in ")
    )
    median = (
        moved["features"]["MonthlyIncome"]["current"]["median"]
        / moved["features"]["MonthlyIncome"]["reference"]["median"]
    )
    assert 0.35 < median < 0.45
    before = detected(ask, to=written(NOW - timedelta(days=2)))
    check_compared(before, running.bundle, frames["old"])
    assert before["from"] is None


def test_another_model_is_compared_with_its_own_reference(running, ask):
    found = detected(ask, model_version=running.other.tag)
    assert "MonthlyIncome" in check_compared(found, running.other, running.frames["others"])
    assert found["samples_of_other_models"] == 700


def test_a_window_without_predictions_is_an_answer(running, ask):
    found = detected(ask, **{"from": "2001-01-01T00:00:00Z", "to": "2001-02-01T00:00:00+01:00"})
    assert (
        found["verdict"],
        found["samples_analysed"],
        found["features"],
        found["outputs"],
        found["drift_detected"],
    ) == (NO_PREDICTIONS, 0, {}, {}, None)
    assert found["to"] == "2001-01-31T23:00:00.000Z"


def test_status_tells_of_the_last_check_and_what_is_watched(running, ask):
    found = detected(ask, **{"from": running.rows["poor"][0]["timestamp"]})
    status = ask("vera", "GET", "/drift/status").json()
    assert (
        status["status"],
        status["last_check"],
        status["last_verdict"],
        status["drifted_features"],
    ) == ("drift", found["checked_at"], found["verdict"], found["drifted_features"])
    assert (
        status["baseline_features"] == [f.alias for f in GMSC.fields]
        and status["baseline_samples"] == found["baseline_samples"] == 1000
    )
    assert (status["total_predictions_logged"], status["recent_predictions_24h"]) == (
        350 + 350 + 150 + 120 + 2500,
        350 + 350 + 120,
    )
    assert (
        status["drift_detector_initialized"],
        status["monitoring_active"],
        status["model_version"],
        status["psi_threshold"],
    ) == (True, False, running.tag, 0.2)
    quiet = detected(
        ask,
        **{
            "from": running.rows["usual"][0]["timestamp"],
            "to": running.rows["poor"][0]["timestamp"],
        },
    )
    status = ask("anna", "GET", "/drift/status").json()
    assert (status["status"], status["last_check"], status["drifted_features"]) == (
        "no drift",
        quiet["checked_at"],
        [],
    )
    assert (
        "credit_default_drift_psi" not in running.server.client.get("/metrics").text
    )  # nobody watches
    nothing = detected(ask, **{"from": "2001-01-01T00:00:00Z", "to": "2001-01-02T00:00:00Z"})
    status = ask("anna", "GET", "/drift/status").json()
    assert (nothing["samples_analysed"], nothing["drift_detected"]) == (0, None)
    assert status["status"] == "nothing compared", "what saw nothing is no all-clear"


def test_no_drift_in_few_predictions_is_null_and_documented(running, synthetic_bundle):
    "What the routes write of sixty applicants: null, which their schemas allow, and no all-clear."
    columns = parse_table(GMSC, applicants(60, 66))
    counts = synthetic_bundle.reference.counts(
        columns | synthetic_bundle.score(columns, reasons=False).monitored()
    )
    found = assess_drift(GMSC, synthetic_bundle.reference, counts, model_version=running.tag)
    answer = found.to_dict()
    fits(running.server.documented, "DriftReport", answer)
    assert answer["drift_detected"] is None and answer["verdict"].startswith("Not judged: ")
    assert {column["drifted"] for column in answer["features"].values()} == {None}
    assert _check_status(check_record(found, "endpoint")) == "not judged"


DAY = dict(zip(("from", "to"), ("2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z")))
WRONG_WINDOWS = [
    (dict(time_window_hours=0), ["time_window_hours"]),
    (dict(time_window_hours=-1), ["time_window_hours"]),
    (dict(time_window_hours=1e9), ["time_window_hours"]),
    (dict(time_window_hours=CANARY), ["time_window_hours"]),
    (dict(time_window_hours="24"), ["time_window_hours"]),
    (dict(time_window_hours=True), ["time_window_hours"]),
    (dict(time_window_hours=[24]), ["time_window_hours"]),
    ({"from": CANARY}, ["from"]),
    ({"from": "2026-03-01T00:00:00"}, ["from"]),
    ({"from": "2026-03-01"}, ["from"]),
    ({"to": 1_700_000_000}, ["to"]),
    ({"to": "2026-13-01T00:00:00Z"}, ["to"]),
    (DAY, []),
    (DAY | {"to": DAY["from"]}, []),
    ({"time_window_hours": 1, "from": DAY["to"]}, []),
    (dict(model_version=CANARY + "\n"), ["model_version"]),
    (dict(model_version=""), ["model_version"]),
    (dict(model_version=NUMBER), ["model_version"]),
    (dict(model_version="x" * 201), ["model_version"]),
    (dict(hours=24), ["hours"]),
    ([], []),
    ("24", []),
    (24, []),
]


@pytest.mark.parametrize("body, loc", WRONG_WINDOWS)
def test_a_wrong_question_names_the_field(ask, body, loc):
    answer = ask("vera", "POST", "/drift/detect", json=body)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == loc, answer.text


@pytest.mark.parametrize(
    "status, sent",
    [
        (400, dict(content=b'{"time_window_hours": 24')),
        (422, dict(content=b'{"time_window_hours": NaN}')),
        (422, dict(content=b"null")),
        (413, dict(content=b" " * 9000)),
        (
            415,
            dict(
                content=b"time_window_hours=24",
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            ),
        ),
    ],
)
def test_a_body_that_is_none(ask, status, sent):
    headers = {"Content-Type": "application/json"} | sent.pop("headers", {})
    assert ask("vera", "POST", "/drift/detect", headers=headers, **sent).status_code == status


@pytest.mark.parametrize(
    "tag",
    [
        "credit_default_gmsc:0123456789abcdef",
        "credit_default_personal:0123456789abcdef",
        "../../etc/passwd",
        CANARY,
        "champion\\",
        "credit_default_gmsc:",
    ],
)
def test_a_model_that_there_is_not(ask, tag):
    for answer in (
        ask("vera", "POST", "/drift/detect", json=dict(model_version=tag)),
        ask("vera", "GET", "/performance", params=dict(model_version=tag)),
    ):
        assert answer.status_code == 404 and answer.json()["detail"][0]["loc"] == [
            "model_version"
        ], answer.text


# Outcomes


def told(rows, defaulted=False, at=None, **more):
    return [
        dict(
            prediction_id=row["prediction_id"],
            defaulted=defaulted,
            observed_at=written(at or datetime.now(UTC)),
        )
        | more
        for row in rows
    ]


def outcomes(ask, who, *items):
    answer = ask(who, "POST", "/outcomes", json=list(items))
    assert answer.status_code == 200, answer.text
    return {name: value for name, value in answer.json().items() if value}


def held(running):
    store = Store(running.server.database)
    try:
        with store.database.engine.connect() as c:
            return {
                row.prediction_id: (bool(row.defaulted), row.recorded_by)
                for row in c.execute(
                    sa.text(
                        "SELECT p.prediction_id, o.defaulted, o.recorded_by FROM outcomes o JOIN "
                        "predictions p USING (seq)"
                    )
                )
            }
    finally:
        store.close()


def test_who_may_tell_what_became_of_a_loan(running, ask):
    annas, berts = told(running.rows["usual"][:3]), told(running.rows["poor"][:3])
    assert ask("vera", "POST", "/outcomes", json=annas).status_code == 403
    assert running.server.client_of().post("/outcomes", json=annas).status_code == 401
    assert outcomes(ask, "anna", *annas, *berts) == dict(
        recorded=3, unknown=[one["prediction_id"] for one in berts]
    )
    assert outcomes(ask, "bert", *annas[:1], *berts[:1]) == dict(
        recorded=1, unknown=[annas[0]["prediction_id"]]
    )
    assert outcomes(ask, "ada", *annas, *berts) == dict(recorded=2, unchanged=4)
    mine = held(running)
    assert [mine[one["prediction_id"]] for one in (*annas, *berts)] == [
        (False, "monitoring-anna")
    ] * 3 + [(False, "monitoring-bert")] + [(False, "monitoring-ada")] * 2


def test_told_again_nothing_changes_and_the_last_observation_holds(running, ask):
    row, now = running.rows["usual"][10], datetime.now(UTC)
    [first], [later], [before] = (
        told([row], bad, now + timedelta(minutes=minutes))
        for bad, minutes in ((False, 0), (True, 1), (False, -1))
    )
    assert [outcomes(ask, "anna", one) for one in (first, first, later, later)] == [
        dict(recorded=1),
        dict(unchanged=1),
        dict(changed=1),
        dict(unchanged=1),
    ]
    assert (
        outcomes(ask, "anna", before) == dict(older=[row["prediction_id"]])
        and held(running)[row["prediction_id"]][0] is True
    )
    assert (
        outcomes(ask, "anna", later | dict(defaulted=False)) == dict(changed=1)
        and held(running)[row["prediction_id"]][0] is False
    )
    [one, other] = told([running.rows["usual"][11]] * 2, at=now)
    assert outcomes(
        ask, "anna", one, other | dict(defaulted=True, observed_at=later["observed_at"]), one
    ) == dict(recorded=1)  # the last one of a list holds
    assert held(running)[one["prediction_id"]][0] is True


def test_what_cannot_be_is_named_and_not_taken(running, ask):
    rows, now = running.rows["usual"][20:25], datetime.now(UTC)
    [future], [early], [good] = (
        told(rows[:1], at=now + timedelta(hours=1)),
        told(rows[1:2], at=now - timedelta(days=3)),
        told(rows[2:3]),
    )
    unknown = dict(good, prediction_id=str(uuid.uuid4()))
    ids = {
        name: [one["prediction_id"]]
        for name, one in dict(future=future, early=early, unknown=unknown).items()
    }
    assert outcomes(ask, "anna", future, early, unknown, good) == dict(recorded=1) | ids
    assert {one["prediction_id"] for one in (future, early)} & set(held(running)) == set()
    assert outcomes(ask, "anna", *told(rows[3:4], at=now + timedelta(minutes=4))) == dict(
        recorded=1
    )  # a clock that is ahead


def test_only_what_was_simulated_may_lie_in_the_future(running, ask):
    [sent] = as_sent(GMSC, parse_table(GMSC, running.frames["usual"].iloc[:1]))
    references = ("simulated/a/1", "simulated", "Simulated/a/1", "a/simulated/1")
    rows = [
        running.anna.post("/predict", json=sent | dict(application_reference=reference)).json()
        for reference in references
    ]
    answer = outcomes(ask, "anna", *told(rows, at=NOW + WINDOW + timedelta(days=1)))
    assert answer == dict(recorded=1, future=[row["prediction_id"] for row in rows[1:]])


ID = str(uuid.UUID(int=7))
OUTCOME = dict(prediction_id=ID, defaulted=True, observed_at="2026-03-01T12:00:00Z")


@pytest.mark.parametrize(
    "items, loc",
    [
        ([OUTCOME, OUTCOME | dict(defaulted="yes")], [1, "defaulted"]),
        ([OUTCOME | dict(defaulted=1)], [0, "defaulted"]),
        ([OUTCOME | dict(defaulted=None)], [0, "defaulted"]),
        ([OUTCOME | dict(prediction_id=CANARY)], [0, "prediction_id"]),
        ([OUTCOME | dict(prediction_id=NUMBER)], [0, "prediction_id"]),
        ([OUTCOME | dict(observed_at="2026-03-01")], [0, "observed_at"]),
        ([OUTCOME | dict(observed_at="2026-03-01T12:00:00")], [0, "observed_at"]),
        ([OUTCOME | dict(observed_at=1_772_366_400)], [0, "observed_at"]),
        ([OUTCOME | dict(observed_at=CANARY)], [0, "observed_at"]),
        ([{k: v for k, v in OUTCOME.items() if k != "observed_at"}], [0, "observed_at"]),
        ([OUTCOME | dict(amount=NUMBER)], [0, "amount"]),
        ([OUTCOME, CANARY], [1]),
        ([None], [0]),
        ([], []),
        (OUTCOME, []),
        ([OUTCOME] * (MAX_OUTCOMES + 1), []),
    ],
)
def test_wrong_outcomes_name_the_field_and_none_is_taken(running, ask, items, loc):
    before = held(running)
    answer = ask("ada", "POST", "/outcomes", json=items)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == loc, answer.text
    assert held(running) == before


def test_the_most_outcomes_are_taken_in_one_request(running, ask):
    items = [OUTCOME | dict(prediction_id=str(uuid.uuid4())) for _ in range(MAX_OUTCOMES)]
    assert len(outcomes(ask, "ada", *items)["unknown"]) == MAX_OUTCOMES


@pytest.mark.parametrize(
    "at",
    [
        "0001-01-01T00:00:00+14:00",
        pytest.param("9999-12-31T23:59:59-14:00", marks=pytest.mark.slow),
    ],
)
def test_the_first_and_the_last_day_there_is(running, ask, at):
    [one] = told(running.rows["usual"][30:31])
    assert sum(len(ids) for ids in outcomes(ask, "anna", one | dict(observed_at=at)).values()) == 1
    assert ask("vera", "GET", "/performance", params=dict(as_of=at)).status_code == 200
    assert detected(ask, **{"from" if at < "1" else "to": at})["samples_analysed"] > 3000


# Performance


@pytest.fixture(scope="module")
def repaid(running):
    """What became of the loans of three years ago: one in 50 was lost from sight, the declined got
    none. The rows, and 1 for each that defaulted.
    """
    rng, rows = (
        np.random.default_rng(8),
        [row for row in running.rows["old"] if row["decision"] == "Approved"],
    )
    rows = [row for row in rows if rng.random() > 0.02]
    bad = (
        rng.random(len(rows)) < 1.5 * np.array([row["probability_default"] for row in rows]) + 0.02
    )
    items = [
        one
        for row, b in zip(rows, bad)
        for one in told([row], bool(b), row["at"] + (timedelta(days=250) if b else WINDOW))
    ]
    answer = running.ada.post("/outcomes", json=items).json()
    assert answer["recorded"] == len(items)
    return rows, bad.astype(float)


def test_performance_is_what_the_evaluation_says_of_the_same_rows(running, ask, repaid):
    rows, y = repaid
    pd = np.array([row["probability_default"] for row in rows])
    found = ask("vera", "GET", "/performance", params=dict(model_version=running.tag)).json()
    [figures] = found["models"].values()
    expected = compute_metrics(y, pd).to_dict()
    assert {name: figures[name] for name in expected} == {
        name: pytest.approx(value, abs=1e-12) for name, value in expected.items()
    }
    assert (figures["n"], figures["defaults"], figures["mean_pd"]) == (
        len(y),
        y.sum(),
        pytest.approx(pd.mean(), abs=1e-15),
    )
    assert (figures["auc_low"], figures["auc_high"]) == pytest.approx(
        [getattr(auc_interval(y, pd), end) for end in ("low", "high")], abs=1e-12
    )
    assert (figures["default_rate_low"], figures["default_rate_high"]) == pytest.approx(
        jeffreys_interval(y.sum(), len(y)), abs=1e-12
    )
    assert (
        figures["p_value"]
        == pytest.approx(float(jeffreys_test(y.sum(), len(y), pd.mean())), rel=1e-9)
        and figures["verdict"] == MORE
    )
    declined = sum(row["decision"] == "Declined" for row in running.rows["old"])
    assert (figures["mature"], figures["with_outcome"], figures["declined_without_outcome"]) == (
        2500,
        len(y),
        declined,
    )
    for one in figures["ratings"]:
        among = np.array([row["rating"] == one["rating"] for row in rows])
        assert (one["n"], one["defaults"], one["default_rate"]) == (
            among.sum(),
            y[among].sum(),
            pytest.approx(y[among].mean()),
        )
        assert one["mean_pd"] == pytest.approx(pd[among].mean()) and (
            one["low"],
            one["high"],
        ) == pytest.approx(jeffreys_interval(y[among].sum(), among.sum()))
    assert (
        sum(one["n"] for one in figures["ratings"])
        == sum(one["n"] for one in figures["cohorts"])
        == len(y)
    )
    assert any("Declined, and so without an outcome" in note for note in found["notes"]) and any(
        "Younger than 24 months" in note for note in found["notes"]
    )


def test_performance_as_it_was_known(running, ask, repaid):
    def models(**asked):
        return ask("vera", "GET", "/performance", params=asked).json()["models"]

    assert (
        set(models()) == {running.tag, running.other.tag}
        and models()[running.other.tag]["verdict"] == TOO_FEW
    )
    before = models(as_of=written(NOW - relativedelta(months=13)), model_version=running.tag)[
        running.tag
    ]
    assert (before["mature"], before["n"]) == (0, 0)
    at_once = models(
        as_of=written(NOW - relativedelta(months=13)), window_months=0, model_version=running.tag
    )[running.tag]
    assert (at_once["n"], at_once["default_rate"]) == (
        repaid[1].sum(),
        1,
    )  # what is known early are the defaults
    assert [
        one["cohort"]
        for one in models(by="year", model_version=running.tag)[running.tag]["cohorts"]
    ] == [str((NOW - relativedelta(years=3)).year)]


@pytest.mark.parametrize(
    "asked, loc",
    [
        (dict(as_of=CANARY), "as_of"),
        (dict(as_of="2026-03-01"), "as_of"),
        (dict(as_of="2026-03-01T00:00:00"), "as_of"),
        (dict(as_of="1700000000"), "as_of"),
        (dict(window_months=-1), "window_months"),
        (dict(window_months="24.5"), "window_months"),
        (dict(window_months=601), "window_months"),
        (dict(by=CANARY), "by"),
        (dict(model_version="x" * 201), "model_version"),
    ],
)
def test_a_wrong_question_about_performance_names_what_is_wrong(ask, asked, loc):
    answer = ask("vera", "GET", "/performance", params=asked)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"][-1] == loc, answer.text


# While it computes, and where it cannot


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


def children(server):
    "Checks that run beside the workers now: children of the process that waits for them."
    found = []
    for one in psutil.Process(server.process.pid).children(recursive=True):
        try:
            found += (
                [one]
                if all(
                    "credit_default.monitoring.process" in process.cmdline()
                    for process in (one, one.parent())
                )
                else []
            )
        except (psutil.NoSuchProcess, AttributeError):
            continue
    return found


@pytest.fixture
def many(running):
    "200,000 predictions of the year 2020 more, for as long as a test takes."
    store, names = (
        Store(running.server.database),
        ", ".join(
            c.name
            for c in predictions.columns
            if c.name not in ("seq", "prediction_id", "at", "request_id")
        ),
    )
    with store.database.engine.begin() as c:
        c.exec_driver_sql(f"""WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
            WHERE i < 80)
            INSERT INTO predictions (prediction_id, at, request_id, {names})
            SELECT lower(hex(randomblob(16))), '2020-06-15 12:00:00.000000', 'many', {names}
            FROM predictions, n WHERE request_id = 'tests' AND seq IN
            (SELECT seq FROM predictions
            WHERE model_version = '{running.tag}' AND request_id = 'tests'
            ORDER BY seq DESC LIMIT 2500)""")
    yield
    with store.database.engine.begin() as c:
        c.exec_driver_sql("DELETE FROM predictions WHERE request_id = 'many'")
    store.close()


def test_applicants_are_answered_while_a_long_check_runs(running, ask, many):
    [sent] = as_sent(GMSC, parse_table(GMSC, running.frames["usual"].iloc[:1]))
    with ThreadPoolExecutor(2) as threads:
        begin = time.perf_counter()
        checks = [
            threads.submit(
                detected, ask, **{"from": "2020-01-01T00:00:00Z", "to": "2021-01-01T00:00:00Z"}
            ),
            threads.submit(ask, "ada", "GET", "/performance"),
        ]
        waited = []
        while not all(check.done() for check in checks):
            time.sleep(0.01)
            if not children(running.server):
                continue  # not yet, or between the two
            asked = time.perf_counter()
            assert running.anna.post("/predict", json=sent).status_code == 200
            if children(running.server):
                waited.append(time.perf_counter() - asked)
    print(
        f"{len(waited)} predictions in {time.perf_counter() - begin:.1f} s of checking, the "
        f"slowest in {1000 * max(waited):.0f} ms"
    )
    assert (
        checks[0].result()["samples_analysed"] == 200_000
        and checks[1].result().json()["answered"] > 200_000
        and len(waited) >= 5
    )


def test_who_waits_too_long_for_another_check_is_told(synthetic_bundle):
    "In the form of all errors, and before BentoML loses its patience."
    from credit_default.serving.refusals import ServiceBusy, to_api_error
    from credit_default.serving.routes.monitoring import compute_check

    async def asked():
        state = SimpleNamespace(check_lock=asyncio.Lock(), settings=SimpleNamespace(timeout=1.2))
        async with state.check_lock:
            with pytest.raises(ServiceBusy) as raised:
                await compute_check(state, {})
        refusal = to_api_error(raised.value)
        return refusal.status, refusal.error, state.check_lock.locked()

    assert asyncio.run(asked()) == (503, "too busy", False)


def test_bins_of_another_reference_are_said(running, ask):
    """As after a bundle was exchanged under the same tag: nothing is compared with the wrong
    reference.
    """
    put(
        running.server.database,
        running.other,
        running.frames["others"].iloc[:20],
        NOW - relativedelta(years=10),
        bins="z" * len(running.other.reference.bins),
    )
    answer = ask(
        "vera",
        "POST",
        "/drift/detect",
        json=dict(model_version=running.other.tag, to=written(NOW - relativedelta(years=9))),
    )
    assert (
        answer.status_code == 422
        and answer.json()["detail"][0]["loc"] == ["model_version"]
        and "another reference" in answer.json()["detail"][0]["msg"]
    )


def test_nothing_of_an_applicant_is_in_the_log(running, ask):
    [sent] = as_sent(GMSC, parse_table(GMSC, running.frames["usual"].iloc[:1]))
    [row] = running.anna.post(
        "/predict_batch", json=[sent | dict(MonthlyIncome=NUMBER, application_reference=CANARY)]
    ).json()
    outcomes(ask, "anna", *told([row]))
    ask(
        "anna",
        "POST",
        "/outcomes",
        content=f'[{{"{CANARY}": {NUMBER}'.encode(),
        headers={"Content-Type": "application/json"},
    )
    ask("anna", "GET", "/performance", params={"by": CANARY, CANARY: NUMBER})
    for path, body in (
        ("/outcomes", [OUTCOME | {CANARY: NUMBER}]),
        ("/drift/detect", {CANARY: NUMBER}),
        (f"/drift/{CANARY}?{CANARY}={NUMBER}", {}),
    ):
        answer = running.anna.post(
            path, json=body
        )  # a name that may be one is repeated, to the client
        assert answer.status_code in (404, 422) and str(NUMBER) not in answer.text
    detected(ask, time_window_hours=1)
    log = running.server.log.read_text()
    assert '"endpoint": "/drift/detect"' in log and '"endpoint": "/outcomes"' in log
    assert (
        CANARY not in log
        and str(NUMBER)[:6] not in log
        and row["prediction_id"] not in log
        and "Traceback" not in log
        and "ERROR" not in log
    )


@pytest.mark.slow
def test_a_database_that_is_away_is_said(synthetic_bundle, bentoml_home, tmp_path, server):
    "PostgreSQL, two workers: each question gets its refusal, and its answer again afterwards."
    with Server(
        bentoml_home,
        tmp_path / "log",
        **settings(
            tmp_path, CREDIT_DEFAULT_DATABASE_URL=server.database(), CREDIT_DEFAULT_WORKERS="2"
        ),
    ) as service:
        documented, applicant = (
            service.client.get("/docs.json").json(),
            as_sent(GMSC, parse_table(GMSC, applicants(1, 3)))[0],
        )
        row = service.client.post("/predict", json=applicant).json()
        every = [
            ("GET", "/drift/status", {}),
            ("POST", "/drift/detect", dict(json={})),
            ("POST", "/outcomes", dict(json=told([row]))),
            ("GET", "/performance", {}),
        ]
        assert [
            service.client.request(method, path, **sent).status_code for method, path, sent in every
        ] == [200] * 4
        server.stop()
        try:
            for method, path, sent in every:
                answer = service.client.request(method, path, **sent)
                check_documented(documented, method, path, answer)
                assert (
                    answer.status_code == 503
                    and answer.json()["error"] == "the database is away"
                    and answer.json()["detail"][0]["loc"] == ["database"]
                    and "retry-after" in answer.headers
                ), answer.text
        finally:
            server.start()
        until(
            lambda: all(
                service.client.request(method, path, **sent).status_code == 200
                for method, path, sent in every
            )
        )
        assert "Traceback" not in service.log.read_text()


# The whole way


@pytest.fixture(scope="module")
def live(synthetic_bundle, bentoml_home, tmp_path_factory):
    """A service of two workers that nobody has asked yet, and the command line of its operator:
    `live.command('watch', code=3)`.
    """
    folder = tmp_path_factory.mktemp("live")
    told_to = f"cat >> {folder}/alerts.jsonl; echo >> {folder}/alerts.jsonl"
    with Server(
        bentoml_home, folder / "log", **settings(folder, CREDIT_DEFAULT_WORKERS="2")
    ) as server:

        def command(*arguments, code=0):
            done = subprocess.run(
                [*MAIN, *map(str, arguments)],
                cwd=folder,
                env=server.environment
                | {"PYTHONPATH": str(ROOT), "CREDIT_DEFAULT_ALERT_COMMAND": told_to},
                capture_output=True,
                text=True,
            )
            assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
            return done.stdout

        def alerts():
            return (
                [json.loads(line) for line in (folder / "alerts.jsonl").read_text().splitlines()]
                if (folder / "alerts.jsonl").exists()
                else []
            )

        yield SimpleNamespace(
            server=server,
            client=server.client,
            url=str(server.client.base_url),
            command=command,
            alerts=alerts,
            folder=folder,
            tag=synthetic_bundle.tag,
        )


def from_both_workers(live, path):
    "The answer of each worker."
    mark, said = uuid.uuid4().hex[:8], []
    for _ in range(10):
        with ThreadPoolExecutor(8) as threads:
            clients = [
                live.server.client_of(live.client.headers["Authorization"].removeprefix("Bearer "))
                for _ in range(8)
            ]
            for one in clients:
                one.get("/livez")  # connects: to whichever worker is free
            said += threads.map(
                lambda one: one.get(path, headers={"X-Request-ID": f"{mark}."}).json(), clients
            )
            for one in clients:
                one.close()
        if (
            len(
                {
                    json.loads(line)["pid"]
                    for line in live.server.log.read_text().splitlines()
                    if f'"request_id": "{mark}."' in line
                }
            )
            == 2
        ):
            return said
    pytest.fail("all connections went to one worker")


def gauges(live):
    "What /metrics says of drift."
    return {
        name: float(value)
        for name, value in re.findall(
            r"^credit_default_(drift_[^ ]+) (\S+)$", live.client.get("/metrics").text, flags=re.M
        )
    }


def days_pass(live, before):
    "Two days between the applicants before that time and the others."
    store = Store(live.server.database)
    try:
        with store.database.engine.begin() as c:
            early = [
                (row.seq, row.at)
                for row in c.execute(
                    sa.select(predictions.c.seq, predictions.c.at).where(predictions.c.at < before)
                )
            ]
            for seq, at in early:
                c.execute(
                    sa.update(predictions)
                    .where(predictions.c.seq == seq)
                    .values(at=at - timedelta(days=2))
                )
    finally:
        store.close()
    return len(early)


def before_and_after(cohorts, day):
    """The verdicts on all loans of before that day, and on those from then on: who applies around
    midnight is in two cohorts of one time.
    """
    group, y, pd = [], [], []
    for i, side in enumerate(
        [
            [one for one in cohorts if one["cohort"] < day],
            [one for one in cohorts if one["cohort"] >= day],
        ]
    ):
        n, defaults, expected = (
            sum(one[name] for one in side) for name in ("n", "defaults", "expected_defaults")
        )
        group, y, pd = (
            group + [i] * n,
            y + [1.0] * defaults + [0.0] * (n - defaults),
            pd + [expected / n] * n,
        )
    return [
        one.verdict for one in backtest_groups(["before", "after"], *map(np.array, (group, y, pd)))
    ]


def test_a_recession_is_found_told_and_shown(live, tmp_path):
    """Applicants go through the service, and half-way comes a recession. A check names what moved.
    The watch tells it once. What becomes of the loans shows that the PDs no longer hold, and the
    report says both.
    """
    said = live.command(
        "simulate", "--rows", 1600, "--scenario", "recession", "--change-at", 0.5, "--url", live.url
    )
    moved = [
        "RevolvingUtilizationOfUnsecuredLines",
        "NumberOfTime30_59DaysPastDueNotWorse",
        "DebtRatio",
        "MonthlyIncome",
    ]
    assert (
        "1,600 of 1,600 applicants scored" in said
        and f"a drift check should name: {', '.join(moved)}" in said
    )
    since, as_of = re.search(
        r"look: credit-default drift --since (\S+) --as-of (\S+)\n", said
    ).groups()
    assert from_both_workers(live, "/drift/status")[0]["status"] == "not checked"

    def detect(**window):
        answer = live.client.post("/drift/detect", json=window)
        assert answer.status_code == 200, answer.text
        return answer.json()

    first, second = detect(to=since), detect(**{"from": since})
    assert (first["drifted_features"], first["drift_detected"], second["drifted_features"]) == (
        [],
        False,
        moved,
    )
    assert (
        first["samples_analysed"] + second["samples_analysed"] == 1600
        and 790 <= first["samples_analysed"] <= 800
    )  # four connections

    assert days_pass(live, read(since)) == first["samples_analysed"] and live.alerts() == []
    assert f"gmsc: drift in {moved[-1]}, " in live.command("watch", "--no-report", code=3)
    [alert] = live.alerts()
    assert (
        alert["began"],
        alert["over"],
        alert["drifted_features"],
        alert["samples_analysed"],
        alert["synthetic"],
    ) == (["drift"], [], moved, second["samples_analysed"], True)
    live.command("watch", "--no-report", code=3)
    assert live.alerts() == [alert]
    for status in from_both_workers(live, "/drift/status"):
        assert (
            status["status"],
            status["drifted_features"],
            status["monitoring_active"],
            status["recent_predictions_24h"],
        ) == ("drift", moved, True, second["samples_analysed"])

    found = live.client.get(
        "/performance", params=dict(as_of=f"{as_of}T00:00:00Z", by="day")
    ).json()
    model = found["models"][live.tag]
    assert model["verdict"] == MORE and before_and_after(
        model["cohorts"], f"{read(since) - timedelta(days=1):%Y-%m-%d}"
    ) == [FITS, MORE]
    assert (
        model["n"] == int(re.search(r"outcomes: ([\d,]+) of \1 recorded", said)[1].replace(",", ""))
        and model["calibration_intercept"] > 0.5
    )

    assert live.command("watch", "--no-report", "--as-of", as_of, code=3).endswith(
        "; more defaults than expected\n"
    )
    [_, worse] = live.alerts()
    assert (worse["began"], worse["troubles"], worse["performance"]["defaults"]) == (
        ["performance"],
        ["drift", "performance"],
        model["defaults"],
    )

    written = live.command("drift", "--window-hours", 1, "--as-of", as_of, code=3)
    report = live.folder / re.search(r"^report: (\S+)$", written, flags=re.M)[1]
    content = json.loads(report.with_suffix(".json").read_text())
    assert (
        content["result"]["drifted_features"] == moved
        and content["result"]["performance"] == MORE
        and content["synthetic"] is True
    )
    page = report.read_text()
    [drift, performance] = re.findall(r'<p class="verdict bad">(.*?)</p>', page)
    assert drift == content["result"]["verdict"] == second["verdict"] and performance.startswith(
        f"More defaults than expected: <b>{model['defaults']}</b> of "
    )
    assert numbers_shown(SimpleNamespace(content=content, html=report))[1] == []

    shown = until(
        lambda: (now := gauges(live)).get('drift_detected{portfolio="gmsc"}') and now
    )  # the workers look every quarter of a minute
    assert {
        re.search('field="([^"]+)"', name)[1]: value
        for name, value in shown.items()
        if name.startswith("drift_psi{")
    } == {name: one["psi"] for name, one in (second["features"] | second["outputs"]).items()}
    assert datetime.fromtimestamp(
        shown['drift_last_check_timestamp_seconds{portfolio="gmsc"}'], UTC
    ) - read(second["checked_at"]) < timedelta(minutes=5)
    detect(to="2001-01-01T00:00:00Z")
    assert (
        gauges(live) == shown and from_both_workers(live, "/drift/status")[0]["monitoring_active"]
    )  # what somebody asks is no watch
    if chromium() is None:
        pytest.skip("no chromium on this machine: the report was not looked at")
    with Browser(tmp_path / "profile") as browser:
        browser.open(report)
        assert browser.requests() == [] and browser.complaints() == []
        assert browser.run(
            "[...document.querySelectorAll('.verdict.bad')].map(one => "
            "one.getBoundingClientRect().bottom < innerHeight)"
        ) == [True, True]
        browser.screenshot(picture := live.folder / "report.png")
        browser.screenshot(live.folder / "whole.png", height=browser.height_of_page())
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 50_000
    print(f"looks like this: {picture}")
