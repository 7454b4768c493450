"""Simulated production: through the real service, and against one that has bad days."""

import json
import threading
import uuid
import zlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest

from credit_default.data.scenario import apply_scenario, draw_applicants, moved_fields
from credit_default.data.synthetic import save_sample
from credit_default.monitoring.simulation import (
    SimulationError,
    SimulationOptions,
    simulate_production,
)
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.columns import parse_table
from credit_default.serving.schemas import Outcomes
from credit_default.store.store import Store

GMSC = SHIPPED["gmsc"]
ROWS = 600


def token_of(service):
    return service.client.headers["Authorization"].removeprefix("Bearer ")


def logged(service, run):
    "The rows of the prediction log that belong to a run, in the order of the applicants."
    store = Store(service.database)
    try:
        rows = [
            r
            for r in store.predictions.find(limit=1_000_000)
            if (r.reference or "").startswith(f"simulated/{run}/")
        ]
    finally:
        store.close()
    return sorted(rows, key=lambda r: int(r.reference.rpartition("/")[2]))


@pytest.fixture(scope="module")
def recession(service):
    """A recession at half time, through the real service; what was said of it, and the number done
    as it was told.
    """
    told = []
    made = simulate_production(
        str(service.client.base_url),
        token_of(service),
        GMSC,
        ROWS,
        "recession",
        options=SimulationOptions(change_at=0.5, run="recession", progress=told.append),
    )
    return made, told


def test_each_applicant_is_scored_once_as_the_model_scores_them(
    recession, service, synthetic_bundle
):
    made, told = recession
    rows = logged(service, "recession")
    assert told == list(range(2, ROWS + 1)) and made.scored == ROWS and made.refused == 0
    assert [r.reference for r in rows] == [f"simulated/recession/{i}" for i in range(ROWS)]
    before, _ = draw_applicants(GMSC, ROWS)
    sent = pd.concat(
        [
            before.iloc[: ROWS // 2],
            apply_scenario(GMSC, before, GMSC.scenario("recession")).iloc[ROWS // 2 :],
        ]
    )
    expected = synthetic_bundle.score(parse_table(GMSC, sent), reasons=False)
    assert [r.probability_default for r in rows] == expected.probability_default.tolist()
    assert made.decisions == Counter(r.decision for r in rows) and made.ratings == Counter(
        r.rating for r in rows
    )
    assert made.model_versions == {synthetic_bundle.tag: ROWS} and made.mean_pd == pytest.approx(
        expected.probability_default.mean()
    )


def test_the_log_shows_the_drift_from_the_change_on(recession, service, synthetic_bundle):
    made, _ = recession
    rows, reference = logged(service, "recession"), synthetic_bundle.reference
    fields = {f.name for f in GMSC.fields}

    def named(part):
        return {
            r.field
            for r in reference.compare_counts(reference.decode("".join(r.bins for r in part)))
            if r.drifted and r.field in fields
        }

    assert named(rows[: ROWS // 2]) == set()
    assert named(rows[ROWS // 2 :]) == set(
        moved_fields(GMSC, GMSC.scenario("recession"))
    ) and made.moves == [GMSC[n].alias for n in moved_fields(GMSC, GMSC.scenario("recession"))]
    begin, changed, end = (
        datetime.fromisoformat(getattr(made, name).replace("Z", "+00:00"))
        for name in ("begin", "changed", "end")
    )
    assert begin < changed < end
    slack = timedelta(milliseconds=1)  # the answer's time is cut to milliseconds
    assert (
        all(r.at >= changed for r in rows[ROWS // 2 :])
        and sum(r.at < changed + slack for r in rows[: ROWS // 2]) >= ROWS // 2 - 4
    )  # four connections


def test_outcomes_of_the_approved_are_recorded(recession, service):
    made, _ = recession
    told, approved = made.outcomes, made.decisions["Approved"]
    assert (told["sent"], told["recorded"]) == (approved, approved) and 0 < told[
        "defaults"
    ] < approved / 2
    assert not any(
        told[name] for name in ("changed", "unchanged", "unknown", "older", "early", "future")
    )
    later = datetime.now(UTC) + timedelta(
        days=750
    )  # two years on: all of them count, the declined have none
    found = service.client.get("/performance", params=dict(as_of=later.isoformat())).json()
    figures = found["models"][next(iter(made.model_versions))]
    assert (
        figures["with_outcome"] >= approved
        and figures["declined_without_outcome"] >= made.decisions["Declined"]
    )


def test_applicants_of_a_file(service, tmp_path):
    file = save_sample(GMSC, tmp_path, 40, seed=5)
    made = simulate_production(
        str(service.client.base_url),
        token_of(service),
        GMSC,
        60,
        "new-segment",
        options=SimulationOptions(file=file, rate=200, run="file"),
    )
    assert (
        made.scored == 60
        and made.mean_true_pd is None
        and made.outcomes is None
        and made.seconds >= 59 / 200
    )
    assert len(logged(service, "file")) == 60


# A service that has bad days.


class Bad(BaseHTTPRequestHandler):
    """Says what the test's `answers` has for a path and how often it was asked; predictions are
    answered well.
    """

    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

    def log_message(self, *_):
        pass

    def do_POST(self):
        body, service = (
            json.loads(self.rfile.read(int(self.headers["Content-Length"]))),
            self.server,
        )
        key = self.headers["Idempotency-Key"]
        with service.lock:
            service.asked.append((self.path, key, self.headers["Authorization"], body))
            turn = sum(path == self.path and k == key for path, k, *_ in service.asked)
        status, more = service.answers(self.path, body, turn, self.headers)
        if status == 200 and self.path == "/predict":
            more = dict(
                prediction_id=str(uuid.uuid5(uuid.NAMESPACE_OID, key)),
                timestamp="2026-03-01T12:00:00."
                f"{int(body['application_reference'].split('/')[-1]) % 1000:03d}Z",
                model_version="m",
                decision="Declined" if body["age"] < 40 else "Approved",
                rating="Good",
                probability_default=0.05,
            )
        content = json.dumps(more).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
        }.items():
            self.send_header(name, value)
        if status in (429, 503):
            self.send_header("Retry-After", str(service.retry_after))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def bad():
    "`bad(answers)` starts such a service; its `url`, and what was `asked`."
    servers = []

    def start(answers, retry_after=0):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Bad)
        server.answers, server.retry_after, server.asked, server.lock, server.url = (
            answers,
            retry_after,
            [],
            threading.Lock(),
            f"http://127.0.0.1:{server.server_port}",
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def taken(path, body, turn, headers):
    return 200, dict(recorded=len(body)) if path == "/outcomes" else {}


def error(text, detail=()):
    return dict(error=text, detail=list(detail))


def test_outcomes_as_they_are_sent(bad, monkeypatch):
    """Of approved applicants only, each once, as the service's own contract takes them, within the
    performance window or just after it.
    """
    monkeypatch.setattr("credit_default.monitoring.simulation.MAX_OUTCOMES_SENT", 150)
    service = bad(taken)
    made = simulate_production(
        service.url, "t", GMSC, 500, "recession", options=SimulationOptions(seed=3, run="r")
    )
    lists = [body for path, _, _, body in service.asked if path == "/outcomes"]
    for one in lists:
        Outcomes.model_validate(one)
    items = [x for one in lists for x in one]
    ages = {key: body["age"] for path, key, _, body in service.asked if path == "/predict"}
    assert {x["prediction_id"] for x in items} == {
        str(uuid.uuid5(uuid.NAMESPACE_OID, key)) for key, age in ages.items() if age >= 40
    }
    assert max(map(len, lists)) == 150 and made.outcomes == dict(
        sent=len(items), defaults=sum(x["defaulted"] for x in items), recorded=len(items)
    )
    assert all(
        x["observed_at"] <= "2028-03-01T12:00:00.999Z"
        if x["defaulted"]
        else "2028-03-01T12:00:00.001" <= x["observed_at"] <= "2028-03-01T12:00:01.000Z"
        for x in items
    )
    rate = np.mean([x["defaulted"] for x in items])
    assert rate == pytest.approx(made.mean_true_pd, abs=0.06) and made.mean_true_pd > 0.1
    again = simulate_production(
        service.url, "t", GMSC, 500, "recession", options=SimulationOptions(seed=3, run="r")
    )
    assert again.outcomes == made.outcomes


def test_a_service_that_comes_back_has_lost_and_doubled_nothing(bad):
    def answers(path, body, turn, headers):
        return (
            (503, error("the database is away"))
            if turn <= 2 and zlib.crc32(headers["Idempotency-Key"].encode()) % 3 == 0
            else taken(path, body, turn, headers)
        )

    service = bad(answers)
    made = simulate_production(
        service.url, "t", GMSC, 200, options=SimulationOptions(with_outcomes=False)
    )
    keys = Counter(key for _, key, _, _ in service.asked)
    assert made.scored == 200 and len(keys) == 200 and set(keys.values()) == {1, 3}
    assert made.asked_again == {"503": sum(keys.values()) - 200}
    bodies = {}
    for _, key, _, body in service.asked:
        assert bodies.setdefault(key, body) == body  # the same key, the same applicant


def test_a_service_that_stays_away_is_given_up_in_its_own_words(bad):
    service = bad(
        lambda path, body, turn, headers: (
            503,
            error("the prediction log is away", [dict(loc=["database"], msg="connection refused")]),
        )
    )
    with pytest.raises(
        SimulationError,
        match=(
            r"/predict: 503, the prediction log is away \(database connection refused\); not "
            r"waited for longer than 0.5 seconds"
        ),
    ):
        simulate_production(service.url, "t", GMSC, 50, options=SimulationOptions(patience=0.5))


def test_a_wait_longer_than_the_patience_is_not_begun(bad):
    service = bad(lambda *_: (429, error("too many requests")), retry_after=3600)
    with pytest.raises(SimulationError, match="429, too many requests"):
        simulate_production(service.url, "t", GMSC, 50, options=SimulationOptions(patience=5))
    assert len(service.asked) == 1


def test_the_first_error_ends_all(bad):
    "The cause is told, not what became of the other connections."

    def answers(path, body, turn, headers):
        return (
            (403, error("the role viewer may not do this"))
            if body["application_reference"].endswith("/20")
            else (429, error("later"))
            if turn == 1 and body["application_reference"][-1] == "9"
            else (200, {})
        )

    service = bad(answers, retry_after=1)
    with pytest.raises(SimulationError, match="403, the role viewer"):
        simulate_production(service.url, "t", GMSC, 5000)
    assert len(service.asked) < 100


def test_a_refused_applicant_is_counted_and_a_wrong_portfolio_is_said(bad):
    refusal = (
        422,
        error(
            "the applicant was refused",
            [dict(loc=["age"], msg="must be a whole number from 0 to 150")],
        ),
    )
    some = bad(
        lambda path, body, turn, headers: (
            refusal if body["application_reference"][-2:] in ("/5", "/7") else (200, {})
        )
    )
    made = simulate_production(
        some.url, "t", GMSC, 30, options=SimulationOptions(with_outcomes=False)
    )
    assert (made.scored, made.refused) == (28, 2)
    all_of_them = bad(lambda *_: refusal)
    with pytest.raises(SimulationError, match="portfolio gmsc"):
        simulate_production(all_of_them.url, "t", GMSC, 30)
    assert len(all_of_them.asked) == 1


def test_a_token_that_runs_out_is_renewed(bad):
    tokens = iter(["first", "second"])

    def answers(path, body, turn, headers):
        return (
            (401, error("the token has run out"))
            if headers["Authorization"] == "Bearer first" and len(service.asked) > 20
            else (200, {})
        )

    service = bad(answers)
    made = simulate_production(
        service.url, lambda: next(tokens), GMSC, 60, options=SimulationOptions(with_outcomes=False)
    )
    assert made.scored == 60 and {token for _, _, token, _ in service.asked[-20:]} == {
        "Bearer second"
    }
    with pytest.raises(SimulationError, match="401, the token has run out"):
        simulate_production(
            bad(lambda *_: (401, error("the token has run out"))).url, "first", GMSC, 5
        )


def test_a_scenario_that_there_is_not_is_named_with_those_there_are():
    with pytest.raises(
        ValueError,
        match=(
            "no scenario 'boom'; there are: none .*income-shift .*missing-income .*recession "
            ".*new-segment"
        ),
    ):
        simulate_production("http://127.0.0.1:1", "t", GMSC, 5, "boom")
