"""A challenger beside the champion of a running service: each prediction is scored by both."""

import csv
import dataclasses
import io
import json
import signal
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from served import Server, add_user, applicants, check_documented, token_of

from credit_default.core.paths import portfolio_home
from credit_default.data.synthetic import synthesize
from credit_default.portfolio.columns import parse_table
from credit_default.scoring.bundle_files import make_golden_rows
from credit_default.scoring.challenge import begin_challenge, stop_challenge
from credit_default.scoring.registry import bundle_path, load_bundle, save_bundle
from credit_default.store.store import Store

WORKERS = "2"


def shifted(bundle, intercept):
    "The same model with other PDs, in the model store."
    calibrator = bundle.calibrator
    moved = dataclasses.replace(calibrator, intercept=calibrator.intercept + intercept)
    other = dataclasses.replace(bundle, calibrator=moved, tag="")
    columns = parse_table(bundle.portfolio, synthesize(bundle.portfolio, 300, seed=0)[0])
    other.golden = make_golden_rows(other, columns)
    return load_bundle(save_bundle(other))


@pytest.fixture(scope="module")
def challenger(synthetic_bundle):
    "A model that is stricter than the champion."
    return shifted(synthetic_bundle, 0.4)


def started(bentoml_home, folder, **settings):
    return Server(
        bentoml_home,
        folder / "log",
        CREDIT_DEFAULT_WORKERS=WORKERS,
        CREDIT_DEFAULT_DATABASE_URL=f"sqlite:///{folder / 'log.db'}",
        CREDIT_DEFAULT_SPOOL=str(folder / "spool.db"),
        **settings,
    )


@pytest.fixture
def running(bentoml_home, synthetic_bundle, challenger, tmp_path):
    "A service with two workers, its log, and an analyst's client."
    with started(bentoml_home, tmp_path) as server:
        client = server.client_of(token_of(add_user(server.database, "ada", "analyst")))
        store = Store(server.database)
        yield SimpleNamespace(server=server, client=client, store=store, folder=tmp_path)
        client.close()
        store.close()
    stop_challenge("gmsc")


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def taken_up(running, times):
    "Wait until all workers have taken a challenger up."
    lines = "runs beside"
    wait_for(lambda: running.server.log.read_text().count(lines) == times * int(WORKERS))


def as_csv(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def all_scored(store, tag):
    "Wait until as many have been scored or dropped as there are predictions."
    wait_for(
        lambda: (
            store.shadow.count(tag) + sum(store.shadow.drops("gmsc", tag).values())
            == store.predictions.count()
        )
    )


def test_each_prediction_is_scored_by_the_challenger_once(running, challenger, synthetic_bundle):
    begin_challenge(challenger.tag, "gmsc", by="tests")
    taken_up(running, 1)
    frame, sent = applicants(challenger.portfolio, 300)
    for i in range(60):  # the last twenty are sent again
        headers = {"Idempotency-Key": f"k-{i % 40}"}
        answer = running.client.post("/predict", json=sent[i % 40], headers=headers)
        assert answer.json()["model_version"] == synthetic_bundle.tag, answer.text
    assert running.client.post("/predict_batch", json=sent).status_code == 200
    upload = {"file": ("loans.csv", as_csv(sent[:100]), "text/csv")}
    for _ in range(2):
        answer = running.client.post("/predict_csv", files=upload, headers={"Idempotency-Key": "f"})
        assert answer.status_code == 200
    all_scored(running.store, challenger.tag)
    assert running.store.predictions.count() == 40 + 300 + 100
    assert running.store.shadow.count(challenger.tag) == 440
    pds = challenger.score(parse_table(challenger.portfolio, frame), reasons=False)
    running.store.upkeep.export(running.folder / "log.parquet")
    logged = pd.read_parquet(running.folder / "log.parquet")
    batch = logged[logged.endpoint == "batch"]
    assert np.array_equal(batch.shadow_probability_default, pds.probability_default)
    assert batch.shadow_credit_score.tolist() == pds.credit_score.tolist()
    assert batch.shadow_decision.tolist() == pds.decision
    counted = 'credit_default_shadow_scores_total{portfolio="gmsc"} 440.0'
    wait_for(lambda: counted in running.client.get("/metrics").text)
    shown = running.client.get("/challenger")
    check_documented(running.client.get("/docs.json").json(), "GET", "/challenger", shown)
    found = shown.json()
    assert found["challenger"] == challenger.tag and found["share"] == 0 and found["problem"] == ""
    assert found["model_version"] == synthetic_bundle.tag and found["begun_by"] == "tests"
    assert found["comparison"]["compared"] == 440 and found["comparison"]["psi"] > 0
    assert sum(group["n"] for group in found["comparison"]["swap_set"]) == 440
    # nothing more is scored once it has ended
    stop_challenge("gmsc", by="tests")
    time.sleep(5)
    over = running.client.get("/challenger").json()
    assert (over["challenger"], over["comparison"]) == (None, None)
    running.client.post("/predict", json=sent[0])
    time.sleep(1)
    assert running.store.shadow.count(challenger.tag) == 440


def test_a_service_that_ends_scores_what_waits(running, challenger):
    begin_challenge(challenger.tag, "gmsc", by="tests")
    taken_up(running, 1)
    _, sent = applicants(challenger.portfolio, 2000)
    for i in range(4):
        assert running.client.post("/predict_batch", json=sent, timeout=60).status_code == 200, i
    running.server.process.send_signal(signal.SIGTERM)
    running.server.process.wait(30)
    n = running.store.shadow.count(challenger.tag)
    drops = running.store.shadow.drops("gmsc", challenger.tag)
    assert n + sum(drops.values()) == running.store.predictions.count() == 8000
    assert n > 0
    # a restart doubles nothing, and goes on
    running.server.start().ready()
    running.server.client.headers.update(running.client.headers)
    assert running.server.client.post("/predict", json=sent[0]).status_code == 200
    wait_for(lambda: running.store.shadow.count(challenger.tag) == n + 1)
    assert json.dumps(sent[0]) not in running.server.log.read_text()


def arms_of(client, sent, references, endpoint="predict", **headers):
    "Which model answers each of these applications."
    asked = [one | {"application_reference": name} for one, name in zip(sent, references)]
    if endpoint == "batch":
        answer = client.post("/predict_batch", json=asked, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return [one["model_version"] for one in answer.json()]
    return [
        client.post("/predict", json=one, headers=headers).json()["model_version"] for one in asked
    ]


def test_a_share_is_answered_by_the_challenger_and_always_the_same(
    running, challenger, synthetic_bundle
):
    begun = begin_challenge(challenger.tag, "gmsc", 0.1, by="tests")
    taken_up(running, 1)
    _, sent = applicants(challenger.portfolio, 4000)
    names = [f"2026-{i}" for i in range(4000)]
    first = arms_of(running.client, sent, names, "batch")
    share = first.count(challenger.tag) / len(first)
    assert abs(share - 0.1) < 4 * np.sqrt(0.1 * 0.9 / len(first))
    assert set(first) == {challenger.tag, synthetic_bundle.tag}
    # who asks with other values, alone, and from either worker is answered by the same
    asked = [*range(20), *(i for i, tag in enumerate(first) if tag == challenger.tag)][:40]
    for _ in range(2):
        again = arms_of(running.client, sent, [names[i] for i in asked])
        assert again == [first[i] for i in asked]
    # without a reference the values decide, in any order
    answered = [running.client.post("/predict", json=one).json() for one in sent[:30]]
    turned = [dict(reversed(one.items())) for one in sent[:30]]
    again = running.client.post("/predict_batch", json=turned).json()
    both = [(one["model_version"], one["probability_default"]) for one in answered]
    assert both == [(one["model_version"], one["probability_default"]) for one in again]
    # the answer to a question comes from the same model
    explained = running.client.post("/explain", json=sent[0]).json()
    assert (explained["model_version"], explained["probability_default"]) == both[0]
    # the other model scores in the shadow
    wait_for(lambda: sum(map(running.store.shadow.count, {*first})) == len(first) + 80 + 60)
    by_challenger = running.store.predictions.count(model_version=challenger.tag)
    assert running.store.shadow.count(synthetic_bundle.tag) == by_challenger
    # a kept answer stays as it was, also when the challenge is over; then the champion answers
    name = names[first.index(challenger.tag)]
    kept = arms_of(running.client, sent, [name], **{"Idempotency-Key": "share"})
    assert stop_challenge("gmsc") == begun
    wait_for(lambda: arms_of(running.client, sent, [name] * 8) == [synthetic_bundle.tag] * 8)
    assert arms_of(running.client, sent, [name], **{"Idempotency-Key": "share"}) == kept
    assert kept == [challenger.tag]


def test_after_a_restart_the_arms_are_the_same(running, challenger):
    begin_challenge(challenger.tag, "gmsc", 0.5, by="tests")
    taken_up(running, 1)
    _, sent = applicants(challenger.portfolio, 60)
    names = [f"2026-{i}" for i in range(60)]
    first = arms_of(running.client, sent, names, "batch")
    running.server.process.send_signal(signal.SIGTERM)
    running.server.process.wait(30)
    running.server.start().ready()
    running.server.client.headers.update(running.client.headers)
    # from the first answer on
    assert arms_of(running.server.client, sent, names) == first
    assert first.count(challenger.tag) in range(15, 46)


def test_a_challenger_that_is_damaged_is_left_alone(running, challenger, synthetic_bundle):
    other = shifted(synthetic_bundle, 0.7)
    begun = begin_challenge(other.tag, "gmsc", by="tests")
    stop_challenge("gmsc")
    (bundle_path(other.tag) / "calibrator.json").write_bytes(b"{}")
    path = portfolio_home("gmsc") / "challenger.json"
    events = json.loads(path.read_text())
    path.write_text(json.dumps([*events, begun.to_dict() | dict(at="later")]))
    refused = "The challenger was not taken up"
    wait_for(lambda: running.server.log.read_text().count(refused) == int(WORKERS))
    _, sent = applicants(challenger.portfolio, 1)
    answer = running.client.post("/predict", json=sent[0])
    assert answer.json()["model_version"] == synthetic_bundle.tag
    time.sleep(2.5)  # nor is it tried again while nothing changes
    assert running.server.log.read_text().count(refused) == int(WORKERS)
