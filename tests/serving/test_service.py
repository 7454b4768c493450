"""The service as its clients meet it: `bentoml serve` on a port, asked over HTTP."""

import json
import re
import shutil
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from served import (
    JSON,
    KEY,
    Server,
    answered,
    applicants,
    as_sent,
    check_documented,
    check_error,
    scored,
)

CANARY = "Musterfrau4711"  # stands for an applicant's data wherever a client could put it
NUMBER = 471147114711  # the same as a number


@pytest.fixture
def ask(service, documented):
    "Sends a request, and holds the answer against the OpenAPI document and the form of errors."

    def ask(method, path, **kwargs):
        answer = service.client.request(method, path, **kwargs)
        if method.lower() in documented["paths"].get(path, {}):
            check_documented(documented, method, path, answer)
        elif answer.status_code >= 400:
            check_error(answer)
        if answer.status_code >= 400:
            assert CANARY not in answer.text and str(NUMBER) not in answer.text
        return answer

    return ask


def found(answer):
    return [one["loc"] for one in answer.json()["detail"]]


# Predictions


def test_an_answer_has_the_fields_that_the_design_names(ask, valid, synthetic_bundle):
    answer = ask("POST", "/predict", json=valid).json()
    assert list(answer) == [
        "prediction_id",
        "probability_default",
        "probability_no_default",
        "prediction",
        "prediction_label",
        "decision",
        "credit_score",
        "rating",
        "risk",
        "reasons",
        "helped",
        "model_version",
        "timestamp",
    ]
    assert uuid.UUID(answer["prediction_id"]) and answer["model_version"] == synthetic_bundle.tag
    assert answer["probability_default"] + answer["probability_no_default"] == 1
    at = datetime.fromisoformat(answer["timestamp"])
    assert at.utcoffset() == timedelta(0) and abs(datetime.now(UTC) - at) < timedelta(minutes=1)
    assert isinstance(answer["credit_score"], int) and 300 <= answer["credit_score"] <= 900
    assert answer["prediction_label"] == ("Default" if answer["prediction"] else "No Default")
    assert answer["decision"] == ("Declined" if answer["prediction"] else "Approved")
    for told in ("reasons", "helped"):
        assert len(answer[told]) <= 4 and all(
            {"code", "field", "text", "value", "contribution"} == set(one) for one in answer[told]
        )


def test_whoever_is_approved_is_told_what_helped(ask, synthetic_bundle):
    from credit_default.portfolio.columns import parse_table

    frame, sent = applicants(synthetic_bundle.portfolio, 60)
    scores = synthetic_bundle.score(parse_table(synthetic_bundle.portfolio, frame))
    decisions = set()
    for applicant, helped in zip(sent, scores.helped, strict=True):
        answer = ask("POST", "/predict", json=applicant).json()
        assert answer["helped"] == helped and (answer["prediction"] == 0 or not helped)
        assert all(one["contribution"] <= -0.1 for one in answer["helped"])
        decisions.add((answer["decision"], bool(helped)))
    assert {("Approved", True), ("Declined", False)} <= decisions


def test_predict_says_what_the_bundle_says_to_the_last_digit(ask, synthetic_bundle):
    frame, sent = applicants(synthetic_bundle.portfolio, 500)
    for applicant, expected in zip(sent, scored(synthetic_bundle, frame), strict=True):
        answer = ask("POST", "/predict", json=applicant)
        assert answer.status_code == 200, answer.text
        assert answered(answer.json()) == expected


def test_a_batch_says_the_same_in_the_same_order(ask, synthetic_bundle):
    frame, sent = applicants(synthetic_bundle.portfolio, 2000)
    answers = ask("POST", "/predict_batch", json=sent).json()
    assert [answered(one) for one in answers] == scored(synthetic_bundle, frame)
    assert len({one["prediction_id"] for one in answers}) == 2000


def test_every_synthetic_applicant_is_answered(ask, synthetic_bundle):
    for applicants_ in chunks(applicants(synthetic_bundle.portfolio, 20_000, seed=5)[1]):
        assert ask("POST", "/predict_batch", json=applicants_).status_code == 200


def chunks(rows, size=10_000):
    return [rows[i : i + size] for i in range(0, len(rows), size)]


@pytest.mark.slow
def test_every_real_applicant_is_answered(ask, synthetic_bundle, real_data):
    from credit_default.data.loading import load
    from credit_default.data.sources import find
    from credit_default.portfolio.columns import parse_table

    portfolio = synthetic_bundle.portfolio
    frame = load(portfolio, find(portfolio, path=real_data(portfolio.name))).frame
    for rows in chunks(as_sent(portfolio, parse_table(portfolio, frame))):
        answer = ask("POST", "/predict_batch", json=rows)
        assert answer.status_code == 200 and len(answer.json()) == len(rows), answer.text[:500]


@pytest.mark.slow
def test_every_real_borrower_of_the_other_portfolio_is_answered(bentoml_home, tmp_path, real_data):
    from served import synthetic_bundle

    from credit_default.data.loading import load
    from credit_default.data.sources import find
    from credit_default.scoring.registry import promote_bundle, save_bundle

    bundle = synthetic_bundle("personal")
    promote_bundle(save_bundle(bundle), "personal", by="tests")
    columns = load(bundle.portfolio, find(bundle.portfolio, path=real_data("personal"))).columns
    with Server(bentoml_home, tmp_path / "log", CREDIT_DEFAULT_PORTFOLIO="personal") as server:
        for rows in chunks(as_sent(bundle.portfolio, columns)):
            answer = server.client.post("/predict_batch", json=rows)
            assert answer.status_code == 200 and len(answer.json()) == len(rows), answer.text[:500]


@pytest.mark.parametrize("name", ["gmsc", "personal"])
def test_every_real_applicant_is_accepted(name, real_data):
    from credit_default.data.loading import load
    from credit_default.data.sources import find
    from credit_default.portfolio.applicant import applicant_model
    from credit_default.portfolio.catalogue import SHIPPED
    from credit_default.portfolio.columns import parse_table

    portfolio = SHIPPED[name]
    data = load(portfolio, find(portfolio, path=real_data(name)))
    assert data.provenance["rows_refused"] == 0
    applicant = applicant_model(portfolio)
    for one in as_sent(portfolio, parse_table(portfolio, data.frame)):
        applicant.model_validate(json.loads(json.dumps(one)))


def test_both_spellings_of_a_name_are_one_field(ask, valid, synthetic_bundle):
    hyphens = {
        field.name: valid[field.alias]
        for field in synthetic_bundle.portfolio.fields
        if field.alias in valid
    }
    assert (
        "NumberOfTime30-59DaysPastDueNotWorse" in hyphens
        and "NumberOfTime30_59DaysPastDueNotWorse" in valid
    )
    one, other = (ask("POST", "/predict", json=body) for body in (valid, hyphens))
    assert one.status_code == other.status_code == 200 and answered(one.json()) == answered(
        other.json()
    )


def test_null_and_missing_are_the_same_applicant(ask, valid):
    null = ask("POST", "/predict", json=valid | {"MonthlyIncome": None})
    missing = ask(
        "POST",
        "/predict",
        json={name: value for name, value in valid.items() if name != "MonthlyIncome"},
    )
    assert null.status_code == missing.status_code == 200 and answered(null.json()) == answered(
        missing.json()
    )
    assert answered(null.json()) != answered(ask("POST", "/predict", json=valid).json())


def test_whole_numbers_may_be_written_as_decimals(ask, valid):
    decimal = ask(
        "POST", "/predict", json=valid | {"age": float(valid["age"]), "NumberOfDependents": 2.0}
    )
    assert answered(decimal.json()) == answered(
        ask("POST", "/predict", json=valid | {"NumberOfDependents": 2}).json()
    )


# Refusals

REFUSED = {
    "negative age": ({"age": -5}, ["age"]),
    "age of a tree": ({"age": 10**30}, ["age"]),
    "an age and a half": ({"age": 45.5}, ["age"]),
    "text": ({"age": "abc"}, ["age"]),
    "a number in quotes": ({"MonthlyIncome": "5000"}, ["MonthlyIncome"]),
    "true": ({"age": True}, ["age"]),
    "NaN": ({"MonthlyIncome": float("nan")}, ["MonthlyIncome"]),
    "Infinity": ({"DebtRatio": float("inf")}, ["DebtRatio"]),
    "minus Infinity": ({"DebtRatio": float("-inf")}, ["DebtRatio"]),
    "an income without end": ({"MonthlyIncome": 1e308}, ["MonthlyIncome"]),
    "400 digits": ({"MonthlyIncome": 10**400}, ["MonthlyIncome"]),
    "400 digits for a count": ({"NumberOfDependents": 10**400}, ["NumberOfDependents"]),
    "a list": ({"age": [45]}, ["age"]),
    "an object": ({"age": {"years": 45}}, ["age"]),
    "a required field that is null": ({"age": None}, ["age"]),
    "an unknown field": ({"IQ": 130}, ["IQ"]),
    "both spellings at once": (
        {"NumberOfTime30-59DaysPastDueNotWorse": 0},
        ["NumberOfTime30_59DaysPastDueNotWorse"],
    ),
    "the outcome": ({"SeriousDlqin2yrs": 0}, ["SeriousDlqin2yrs"]),
    "the applicant in a value": ({"age": CANARY}, ["age"]),
    "the applicant in a number": ({"age": NUMBER}, ["age"]),
    "the applicant in a list": ({"DebtRatio": [CANARY, NUMBER]}, ["DebtRatio"]),
    "an applicant's sentence as a name": (
        {f"{CANARY} is <40> & lives in ...": 1},
        ["(not a field's name)"],
    ),
    "half a character as a name": ({"\ud800": 1}, None),
    "half a character as a value": ({"age": "\udfff"}, ["age"]),
    "no name": ({"": 1}, ["(not a field's name)"]),
    "a very long name": ({"x" * 10_000: 1}, ["(not a field's name)"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_applicant_is_refused_by_name(ask, valid, name):
    changed, loc = REFUSED[name]
    body = json.dumps(valid | changed)
    answer = ask("POST", "/predict", content=body, headers=JSON)
    assert answer.status_code == 422, answer.text
    assert loc is None or loc in found(answer)
    many = ask("POST", "/predict_batch", content=f"[{json.dumps(valid)}, {body}]", headers=JSON)
    assert many.status_code == 422 and (loc is None or [1, *loc] in found(many))


def test_a_missing_field_is_named(ask, valid):
    answer = ask(
        "POST", "/predict", json={name: value for name, value in valid.items() if name != "age"}
    )
    assert (answer.status_code, found(answer)) == (422, [["age"]])


def test_every_problem_is_named_at_once(ask, valid):
    answer = ask("POST", "/predict", json=valid | {"age": -1, "DebtRatio": "x", "IQ": 1})
    assert (answer.status_code, found(answer)) == (422, [["age"], ["DebtRatio"], ["IQ"]])


def test_a_name_that_stands_twice_is_refused(ask, valid):
    twice = json.dumps(valid)[:-1] + ', "age": 21}'
    answer = ask("POST", "/predict", content=twice, headers=JSON)
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        [{"loc": ["age"], "msg": "is given twice"}],
    )
    many = ask("POST", "/predict_batch", content=f"[{json.dumps(valid)}, {twice}]", headers=JSON)
    assert (many.status_code, found(many)) == (422, [[1, "age"]])


@pytest.mark.parametrize("body", [[], {}, None, 5, "abc", True, [[]], [None], [5], ["abc"]])
def test_what_is_no_list_of_applicants_is_refused(ask, body):
    for path in ("/predict", "/predict_batch"):
        assert ask("POST", path, content=json.dumps(body), headers=JSON).status_code == 422


def test_a_batch_holds_ten_thousand_and_not_one_more(ask, valid):
    assert len(ask("POST", "/predict_batch", json=[valid] * 10_000).json()) == 10_000
    assert ask("POST", "/predict_batch", json=[valid] * 10_001).status_code == 422


def test_a_batch_of_bad_applicants_lists_some_of_them(ask, valid):
    answer = ask("POST", "/predict_batch", json=[valid | {"age": -1}] * 10_000)
    assert answer.status_code == 422 and len(answer.content) < 20_000
    assert found(answer)[:2] == [[0, "age"], [1, "age"]] and answer.json()["detail"][-1] == {
        "loc": [],
        "msg": "and perhaps more: the rest was not checked",
    }


BROKEN = {
    "empty": b"",
    "a bracket": b"{",
    "a comma": b'{"age": 45,}',
    "single quotes": b"{'age': 45}",
    "two values": b"{}{}",
    "text": CANARY.encode(),
    "a broken value": b'{"age": ' + CANARY.encode(),
    "not UTF-8": b'{"age": "\xff"}',
    "UTF-16": '{"age": 45}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"age": 45}',
    "deeply nested": b"[" * 30_000,
    "deeply nested objects": b'{"a":' * 10_000,
    "zeros": bytes(100),
    "leading zero": b'{"age": 045}',
    "hexadecimal": b'{"age": 0x2d}',
}


@pytest.mark.parametrize("path", ["/predict", "/predict_batch"])
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_not_json_is_400(ask, name, path):
    assert ask("POST", path, content=BROKEN[name], headers=JSON).status_code == 400


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/jsonp",
    ],
)
def test_what_is_not_announced_as_json_is_415(ask, valid, kind):
    assert (
        ask(
            "POST", "/predict", content=json.dumps(valid), headers={"Content-Type": kind}
        ).status_code
        == 415
    )


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/vnd.loan+json",
        None,
    ],
)
def test_json_goes_by_several_names(ask, valid, kind):
    assert (
        ask(
            "POST",
            "/predict",
            content=json.dumps(valid),
            headers={"Content-Type": kind} if kind else {},
        ).status_code
        == 200
    )


@pytest.mark.parametrize("path", ["/predict", "/predict_batch"])
def test_twenty_megabytes_are_refused_announced_or_not(ask, path):
    body = b" " * 20_000_000
    assert ask("POST", path, content=body, headers=JSON).status_code == 413
    pieces = (body[i : i + 65_536] for i in range(0, len(body), 65_536))
    assert (
        ask("POST", path, content=pieces, headers=JSON).status_code == 413
    )  # chunked, its length not announced


def test_unknown_paths_and_methods_have_the_form_of_errors(ask, service):
    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("POST", "/predict/1", 404),
        ("GET", "/predict", 405),
        ("DELETE", "/health", 405),
        ("POST", "/livez", 405),
        ("PUT", "/metrics", 405),
        ("POST", "/docs.json", 405),
    ):
        answer = ask(method, path)
        assert answer.status_code == status, (method, path, answer.status_code)
        assert status != 405 or answer.headers["allow"]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=12,
)


@examples(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(anything=JSON_VALUES, values=st.dictionaries(st.integers(0, 9), JSON_VALUES, max_size=4))
def test_whatever_is_json_gets_a_documented_answer(ask, valid, anything, values):
    names = list(valid)
    for body in (anything, valid | {names[i % len(names)]: value for i, value in values.items()}):
        for path in ("/predict", "/predict_batch"):
            assert ask("POST", path, content=json.dumps(body), headers=JSON).status_code in (
                200,
                413,
                422,
            )


@examples(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.binary(max_size=200))
def test_whatever_is_bytes_gets_a_documented_answer(ask, body):
    assert ask("POST", "/predict", content=body, headers=JSON).status_code in (400, 422)


# The service itself


def test_health_and_probes(ask, synthetic_bundle):
    health = ask("GET", "/health").json()
    assert (
        health["status"],
        health["portfolio"],
        health["model_version"],
        health["synthetic"],
    ) == ("ok", "gmsc", synthetic_bundle.tag, True)
    assert [ask("GET", path).status_code for path in ("/livez", "/readyz", "/healthz")] == [200] * 3


def test_model_says_what_is_behind_the_answers(ask, synthetic_bundle):
    from credit_default.serving.schemas import ModelCard

    card = ask("GET", "/model").json()
    ModelCard.model_validate(card)
    assert card["metrics"] == synthetic_bundle.metrics and card["notice"].startswith("SYNTHETIC")
    assert card["card"] == json.loads(json.dumps(synthetic_bundle.card)) and card["card"]["limits"][
        0
    ].startswith("SYNTHETIC")
    assert card["provenance"]["members"] == ["xgboost", "network", "logistic"]
    assert [field["field"] for field in card["fields"]] == [
        field.alias for field in synthetic_bundle.portfolio.fields
    ]
    assert "/" not in json.dumps(card["provenance"]), "a path of the machine that trained it"


def test_the_history_of_promotions_is_told(ask, synthetic_bundle):
    from credit_default.scoring.registry import promotion_history

    told = ask("GET", "/model/history").json()["promotions"]
    assert told == [event.to_dict() for event in promotion_history("gmsc")]
    assert told[-1]["tag"] == synthetic_bundle.tag and told[-1]["by"] == "tests"


@pytest.mark.parametrize("path", ["/health", "/model"])
def test_head_is_get_without_a_body(ask, path):
    get, head = ask("GET", path), ask("HEAD", path)
    assert (
        head.status_code == 200
        and head.content == b""
        and head.headers["content-type"] == get.headers["content-type"]
    )
    assert head.headers["content-length"] == get.headers["content-length"]


def test_the_start_page_leads_to_the_docs_which_ask_no_other_host(ask):
    assert ask("GET", "/").headers["location"] == "/docs"
    page = ask("GET", "/docs").text
    parts = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert (
        len(parts) == 3
        and all(part.startswith("/docs/static/") for part in parts)
        and not re.search(r"https?:", page)
    )
    for part in parts:
        assert ask("GET", part).status_code == 200


def test_metrics_have_fine_buckets_and_bounded_labels(ask, service, valid):
    ask("POST", "/predict", json=valid)

    def series():
        return {
            line.rpartition(" ")[0]
            for line in ask("GET", "/metrics").text.splitlines()
            if not line.startswith("#")
        }

    for path in ("/scan/1", "/metrics"):
        ask("GET", path)
    before = series()
    for i in range(50):
        ask("GET", f"/{CANARY}/{i}")
    assert series() == before
    assert 'credit_default_request_seconds_bucket{endpoint="/predict",le="0.00025"}' in before
    assert 'credit_default_requests_total{endpoint="other",status="404"}' in before
    assert any(
        one.startswith('credit_default_predictions_total{portfolio="gmsc",rating=')
        for one in before
    )
    assert not [one for one in before if "bentoml" in one]


def test_the_openapi_document_holds_together(documented, valid, ask):
    assert documented["openapi"].startswith("3.1")
    schemas = documented["components"]["schemas"]
    for name in re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(documented)):
        assert name in schemas
    assert set(documented["paths"]) == {
        "/predict",
        "/explain",
        "/what_if",
        "/letter",
        "/predict_batch",
        "/predict_csv",
        "/predictions",
        "/predictions/{prediction_id}",
        "/predictions/{prediction_id}/override",
        "/predictions/{prediction_id}/overrides",
        "/drift/status",
        "/drift/detect",
        "/outcomes",
        "/performance",
        "/challenger",
        "/signup",
        "/login",
        "/health",
        "/model",
        "/model/history",
        "/metrics",
        "/livez",
        "/readyz",
        "/healthz",
    }
    whole = {"$defs": schemas, "components": {"schemas": schemas}}

    def validator(name):
        return jsonschema.Draft202012Validator(whole | {"$ref": f"#/components/schemas/{name}"})

    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    validator("Applicant").validate(valid)
    validator("Applicant").validate(valid | {"MonthlyIncome": None})
    for wrong in ({"IQ": 1}, {"age": -5}, {"age": None}, {"age": "45"}, {"MonthlyIncome": -1}):
        assert not validator("Applicant").is_valid(valid | wrong), wrong
    validator("Prediction").validate(ask("POST", "/predict", json=valid).json())
    validator("Error").validate(ask("POST", "/predict", json={}).json())
    validator("ModelCard").validate(ask("GET", "/model").json())
    validator("ModelHistory").validate(ask("GET", "/model/history").json())
    validator("Health").validate(ask("GET", "/health").json())
    properties = schemas["Applicant"]["properties"]
    assert all("description" in field and "examples" in field for field in properties.values())


def test_single_applicants_need_not_wait_for_a_long_list(service, valid):
    with ThreadPoolExecutor() as threads:
        batch = threads.submit(service.client.post, "/predict_batch", json=[valid] * 10_000)
        time.sleep(0.15)
        waited = []
        while not batch.done():
            begin = time.perf_counter()
            assert service.client.post("/predict", json=valid).status_code == 200
            waited.append(time.perf_counter() - begin)
    assert batch.result().status_code == 200
    assert len(waited) > 3 and sorted(waited)[len(waited) // 2] < 0.5


def test_a_client_that_goes_away_is_no_error(service, valid):
    for sent in (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
        b"500\r\n\r\n{",
        b"POST /pre",
    ):
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(sent)
    time.sleep(0.2)
    assert service.client.post("/predict", json=valid).status_code == 200


def test_nothing_of_an_applicant_is_in_the_log(service, ask, valid):
    distinct = valid | {"MonthlyIncome": 471147.11}
    ask("POST", "/predict", json=distinct)
    ask("POST", "/predict", json=distinct | {"age": CANARY})
    service.client.post(
        "/predict", json=distinct | {CANARY: NUMBER}
    )  # a name that may be one is repeated, to the client
    ask("POST", "/predict_batch", json=[distinct, {"age": [CANARY]}])
    ask("POST", "/predict", content=json.dumps(distinct)[:-1], headers=JSON)
    ask("POST", f"/{CANARY}?{CANARY}={NUMBER}", json=distinct)
    written = service.log.read_text()
    assert "Serving credit_default_gmsc" in written and "SYNTHETIC" in written
    assert (
        CANARY not in written
        and "471147" not in written
        and "Traceback" not in written
        and "ERROR" not in written
    ), written


# Without a model, and with a damaged one


@pytest.fixture
def home(bentoml_home, synthetic_bundle, tmp_path):
    "A copy of the model store, to damage."
    shutil.copytree(
        bentoml_home,
        tmp_path / "home",
        ignore=shutil.ignore_patterns("prometheus_multiproc_dir", "tmp"),
    )
    return tmp_path / "home"


def test_a_bundle_cut_by_a_byte_is_not_served(home, synthetic_bundle, tmp_path):
    folder = home / "models" / synthetic_bundle.tag.replace(":", "/")
    model = next(folder.glob("*.ubj"))
    model.write_bytes(model.read_bytes()[:-1])
    code, output = Server(home, tmp_path / "log").start().finished()
    assert (
        code != 0 and model.name in output and "damaged" in output and "Traceback" not in output
    ), output


def test_without_a_champion_nothing_is_served(tmp_path):
    code, output = Server(tmp_path, tmp_path / "log").start().finished()
    assert code != 0 and "has no champion yet" in output and "Traceback" not in output, output


def test_a_wrong_setting_is_named(tmp_path):
    code, output = (
        Server(tmp_path, tmp_path / "log", CREDIT_DEFAULT_WORKERS=CANARY).start().finished()
    )
    assert code != 0 and "CREDIT_DEFAULT_WORKERS" in output and CANARY not in output, output


@pytest.fixture
def inside(synthetic_bundle, tmp_path):
    """The application in this process, behind its guard, to break it: the state, and an analyst's
    client.
    """
    import warnings

    warnings.filterwarnings("ignore", message=".*starlette.testclient.*")
    from starlette.testclient import TestClient

    from credit_default.core.settings import read_settings
    from credit_default.serving.app import create_app, route_paths
    from credit_default.serving.guard import Guard
    from credit_default.serving.metrics import Metrics
    from credit_default.serving.roles import Role, User
    from credit_default.store.users import UserRecord

    app = create_app(
        read_settings(
            secret_key=KEY,
            database_url=f"sqlite:///{tmp_path / 'log.db'}",
            spool=tmp_path / "spool.db",
        )
    )
    state = app.state.service
    state.read_keys()
    state.count_in(Metrics(route_paths(app.routes), ["gmsc"]))
    state.start()
    user = UserRecord(
        id=str(uuid.uuid4()),
        username="ada",
        email="ada@example.com",
        password_hash="",
        role="analyst",
    )
    state.store.users.add(user)
    token, _ = state.tokens.issue(User(user.id, "ada", Role.analyst))
    with TestClient(
        Guard(app, state, app.state.roles),
        raise_server_exceptions=False,
        headers={"Authorization": f"Bearer {token}"},
    ) as client:
        yield state, client
    state.stop()


def test_without_a_model_there_is_no_answer_and_no_health(inside):
    state, client = inside
    for method, path in (
        ("POST", "/predict"),
        ("POST", "/predict_batch"),
        ("GET", "/health"),
        ("GET", "/model"),
    ):
        answer = client.request(method, path, json={} if method == "POST" else None)
        check_error(answer)
        assert (answer.status_code, answer.json()["error"]) == (503, "no model is loaded")
    assert client.get("/docs.json").status_code == 200


def test_a_fault_of_ours_is_logged_by_its_place_alone(
    inside, synthetic_bundle, caplog, monkeypatch
):
    import copy
    import logging

    from credit_default.serving.active_model import ActiveModel

    state, client = inside
    state.default.active = model = ActiveModel(copy.copy(synthetic_bundle))

    def broken(*_):
        raise ValueError(CANARY)

    monkeypatch.setattr(model.bundle, "score", broken, raising=False)
    with caplog.at_level(logging.INFO):
        answer = client.post("/predict", json=model.example)
    check_error(answer)
    assert answer.status_code == 500 and CANARY not in caplog.text
    assert [record.place for record in caplog.records if record.levelno == logging.ERROR][
        0
    ].startswith("ValueError at test_service.py")


@pytest.mark.slow
def test_a_body_that_never_ends_is_given_up(service):
    from credit_default.serving.bodies import BODY_SECONDS

    assert BODY_SECONDS < 15  # BentoML's own timeout, which would answer in another form
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Authorization: " + service.client.headers["Authorization"].encode() + b"\r\n"
            b"Content-Length: 500\r\n\r\n{"
        )
        connection.settimeout(BODY_SECONDS + 5)
        assert b" 408 " in connection.recv(1000)


@pytest.mark.slow
def test_two_workers_answer_as_one(bentoml_home, synthetic_bundle, tmp_path, home):
    frame, sent = applicants(synthetic_bundle.portfolio, 200)
    expected = scored(synthetic_bundle, frame)
    with (
        Server(home, tmp_path / "log", CREDIT_DEFAULT_WORKERS="2") as server,
        ThreadPoolExecutor(8) as threads,
    ):

        def one(i):
            with httpx.Client(
                base_url=server.client.base_url, headers=server.client.headers, trust_env=False
            ) as client:
                return client.post("/predict", json=sent[i])

        answers = list(threads.map(one, range(200)))
        assert [answered(a.json()) for a in answers] == expected
        counted = [
            line
            for line in server.client.get("/metrics").text.splitlines()
            if line.startswith("credit_default_predictions_total")
        ]
        assert (
            sum(float(line.rpartition(" ")[2]) for line in counted) == 200
        )  # summed over the workers
