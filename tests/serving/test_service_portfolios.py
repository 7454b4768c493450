"""One service, several portfolios: each under its own address, with its own applicant, champion,
figures and checks.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from served import (
    Server,
    add_user,
    answered,
    applicants,
    check_documented,
    check_error,
    scored,
    token_of,
)
from served import synthetic_bundle as trained

from credit_default.data.synthetic import synthesize
from credit_default.monitoring.simulation import SimulationOptions, simulate_production
from credit_default.portfolio.columns import parse_table
from credit_default.scoring.bundle_files import make_golden_rows
from credit_default.scoring.registry import load_bundle, promote_bundle, save_bundle

UNDER = (
    "/predict",
    "/predict_batch",
    "/predict_csv",
    "/explain",
    "/what_if",
    "/letter",
    "/model",
    "/model/history",
    "/drift/status",
    "/drift/detect",
    "/performance",
    "/challenger",
)


@pytest.fixture(scope="module")
def personal(bentoml_home):
    "A small model of the other portfolio, as its champion."
    return load_bundle(
        promote_bundle(save_bundle(trained("personal", 2000)), "personal", by="tests")
    )


@pytest.fixture(scope="module")
def both(bentoml_home, synthetic_bundle, personal, tmp_path_factory):
    "A service for both, gmsc the default one, and a client of each role."
    folder = tmp_path_factory.mktemp("both")
    with Server(
        bentoml_home,
        folder / "log",
        CREDIT_DEFAULT_MORE_PORTFOLIOS="personal",
        CREDIT_DEFAULT_DATABASE_URL=f"sqlite:///{folder / 'log.db'}",
        CREDIT_DEFAULT_SPOOL=str(folder / "spool.db"),
    ) as server:
        people = {
            role: server.client_of(token_of(add_user(server.database, f"both-{role}", role)))
            for role in ("viewer", "analyst", "admin")
        }
        yield SimpleNamespace(
            server=server,
            client=people["analyst"],
            nobody=server.client_of(),
            document=server.client.get("/docs.json").json(),
            **people,
        )
        for client in people.values():
            client.close()


@pytest.fixture(scope="module")
def of(synthetic_bundle, personal):
    """Of each portfolio: where it is asked, its bundle, some applicants as a table and as clients
    send them.
    """
    return {
        where: (bundle, *applicants(bundle.portfolio, 40))
        for where, bundle in (
            ("", synthetic_bundle),
            ("/portfolios/gmsc", synthetic_bundle),
            ("/portfolios/personal", personal),
        )
    }


@pytest.mark.parametrize("where", ["", "/portfolios/gmsc", "/portfolios/personal"])
def test_each_answers_what_its_bundle_computes(both, of, where):
    bundle, frame, sent = of[where]
    expected = scored(bundle, frame)
    alone = [both.client.post(f"{where}/predict", json=one).json() for one in sent[:10]]
    listed = both.client.post(f"{where}/predict_batch", json=sent)
    assert [answered(one) for one in alone] == expected[:10] and [
        answered(one) for one in listed.json()
    ] == expected
    assert {one["model_version"] for one in alone + listed.json()} == {bundle.tag}
    file = both.client.post(
        f"{where}/predict_csv",
        files={"file": ("applicants.csv", frame.to_csv(index=False).encode())},
    )
    assert [
        float(line.split(",")[file.text.splitlines()[0].split(",").index("probability_default")])
        for line in file.text.splitlines()[1:]
    ] == [one["probability_default"] for one in expected]
    assert both.client.get(f"{where}/model").json()["model_version"] == bundle.tag


def test_the_document_has_each_with_its_own_applicant(both, of):
    paths, schemas = both.document["paths"], both.document["components"]["schemas"]
    for prefix, name in (
        ("", "Applicant"),
        ("/portfolios/gmsc", "Applicant"),
        ("/portfolios/personal", "Applicant_personal"),
    ):
        assert {prefix + path for path in UNDER} <= set(paths)
        said = paths[f"{prefix}/predict"]["post"]["requestBody"]["content"]["application/json"]
        assert said["schema"] == {"$ref": f"#/components/schemas/{name}"}
        [example] = said["examples"].values()
        assert both.client.post(f"{prefix}/predict", json=example["value"]).status_code == 200
        assert {field.alias for field in of[prefix][0].portfolio.fields} < set(
            schemas[name]["properties"]
        )
    ids = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", UNDER)
@pytest.mark.parametrize("name", ["gmsc", "personal"])
def test_the_roles_are_the_same_under_each(both, name, path):
    [method] = both.document["paths"][path]
    for who in ("nobody", "viewer"):
        at_top, under = (
            getattr(both, who).request(
                method, f"{prefix}{path}", content=b"" if method == "POST" else None
            )
            for prefix in ("", f"/portfolios/{name}")
        )
        check_error(under) if under.status_code >= 400 else None
        assert at_top.status_code == under.status_code and (under.status_code == 401) == (
            who == "nobody"
        )
        assert (
            path.startswith(("/predict", "/explain", "/what_if", "/letter"))
            == (under.status_code == 403)
            or who == "nobody"
        )


@pytest.mark.parametrize(
    "path",
    [
        "/portfolios",
        "/portfolios/",
        "/portfolios/mortgage/predict",
        "/portfolios/personal",
        "/portfolios/personal/",
        "/portfolios/personal/predictions",
        "/portfolios/personal/login",
        "/portfolios/personal/health",
        "/portfolios/personal/metrics",
        "/portfolios/personal/docs",
        "/portfolios/gmsc/personal/predict",
    ],
)
def test_there_is_nothing_else_under_them(both, path):
    for method in ("GET", "POST"):
        assert both.nobody.request(method, path).status_code == 401
        answer = both.admin.request(method, path, json={} if method == "POST" else None)
        check_error(answer)
        assert answer.status_code == 404


def test_a_request_to_one_is_refused_by_the_other_with_its_own_fields(both, of):
    answer = both.client.post("/portfolios/personal/predict", json=of[""][2][0])
    check_documented(both.document, "POST", "/portfolios/personal/predict", answer)
    assert (
        answer.status_code == 422
        and "person_income" not in str(of[""][2][0])
        and "RevolvingUtilizationOfUnsecuredLines" in answer.text
    )


def test_a_key_belongs_to_the_portfolio_that_was_asked(both, of):
    key, at_top = {"Idempotency-Key": "portfolios-1"}, of[""][2][0]
    first = both.client.post("/predict", json=at_top, headers=key)
    again = both.client.post(
        "/portfolios/gmsc/predict", json=at_top, headers=key
    )  # the same portfolio at its other address: the same request
    assert (
        first.status_code == 200
        and again.content == first.content
        and again.headers["idempotent-replayed"] == "true"
    )
    other = both.client.post("/portfolios/personal/predict", json=at_top, headers=key)
    check_error(other)
    assert other.status_code == 422 and "another request" in other.text


def test_health_and_figures_name_each(both, of, personal, synthetic_bundle):
    health = both.nobody.get("/health").json()
    assert (
        health["portfolio"],
        health["model_version"],
        [
            (one["portfolio"], one["model_version"], one["refused_model"])
            for one in health["others"]
        ],
    ) == ("gmsc", synthetic_bundle.tag, [("personal", personal.tag, "")])
    check_documented(both.document, "GET", "/health", both.nobody.get("/health"))

    def counted():
        found = re.findall(
            r'^credit_default_predictions_total\{portfolio="(\w+)",rating="\w+"\} (\S+)$',
            both.nobody.get("/metrics").text,
            flags=re.M,
        )
        return {
            name: sum(float(n) for one, n in found if one == name) for name in ("gmsc", "personal")
        }

    before = counted()
    both.client.post("/portfolios/personal/predict_batch", json=of["/portfolios/personal"][2])
    both.client.post("/predict", json=of[""][2][0])
    assert counted() == {"gmsc": before["gmsc"] + 1, "personal": before["personal"] + 40}
    assert (
        'credit_default_requests_total{endpoint="/portfolios/personal/predict_batch",status="200"}'
        in both.nobody.get("/metrics").text
    )
    models = re.findall(
        r'^credit_default_model_info\{model_version="([^"]+)",synthetic="true"\} 1.0$',
        both.nobody.get("/metrics").text,
        flags=re.M,
    )
    assert sorted(models) == sorted([synthetic_bundle.tag, personal.tag])


def test_the_log_tells_them_apart(both, of, personal):
    answer = both.client.post(
        "/portfolios/personal/predict",
        json=of["/portfolios/personal"][2][0] | {"application_reference": "both-1"},
    ).json()
    rows = both.client.get("/predictions", params=dict(reference="both-1")).json()["predictions"]
    assert [(row["portfolio"], row["prediction_id"], row["model_version"]) for row in rows] == [
        ("personal", answer["prediction_id"], personal.tag)
    ]
    for name in ("gmsc", "personal"):
        assert {
            row["portfolio"]
            for row in both.admin.get("/predictions", params=dict(portfolio=name)).json()[
                "predictions"
            ]
        } == {name}
    assert (
        both.admin.get("/predictions", params=dict(portfolio="größer")).json()["predictions"] == []
    )


def test_drift_and_performance_are_of_one(both, of, personal, synthetic_bundle):
    for where, bundle in (("", synthetic_bundle), ("/portfolios/personal", personal)):
        both.client.post(f"{where}/predict_batch", json=of[where][2])
        found = both.viewer.post(f"{where}/drift/detect", json={"time_window_hours": 1})
        check_documented(both.document, "POST", f"{where}/drift/detect", found)
        assert (
            found.json()["model_version"] == bundle.tag
            and found.json()["samples_analysed"] > 0
            and set(found.json()["features"]) <= {field.alias for field in bundle.portfolio.fields}
        )
        status = both.viewer.get(f"{where}/drift/status").json()
        assert (status["model_version"], status["last_check"] is not None) == (bundle.tag, True)
        assert status["total_predictions_logged"] == len(
            [row for row in pages(both.admin, bundle.portfolio.name)]
        )
        early = both.viewer.get(f"{where}/performance", params=dict(window_months=0)).json()
        assert early["portfolio"] == bundle.portfolio.name
        wrong = both.viewer.post(
            f"{where}/drift/detect",
            json={
                "model_version": (personal if bundle is synthetic_bundle else synthetic_bundle).tag
            },
        )
        assert wrong.status_code == 404 and f"portfolio {bundle.portfolio.name}" in wrong.text


def pages(client, portfolio):
    "All logged predictions of a portfolio."
    after = None
    while True:
        page = client.get(
            "/predictions",
            params=dict(portfolio=portfolio, limit=1000) | ({"after": after} if after else {}),
        ).json()
        yield from page["predictions"]
        if (after := page["next"]) is None:
            return


def test_simulated_applicants_find_their_portfolio(both, personal):
    token = both.client.headers["Authorization"].removeprefix("Bearer ")
    made = simulate_production(
        str(both.server.client.base_url),
        token,
        personal.portfolio,
        50,
        options=SimulationOptions(run="both"),
    )
    assert made.scored == 50 and made.model_versions == {personal.tag: 50}


def test_a_new_champion_of_one_leaves_the_other(both, of, personal, synthetic_bundle):
    stricter = dataclasses.replace(
        personal,
        calibrator=dataclasses.replace(
            personal.calibrator, intercept=personal.calibrator.intercept + 0.2
        ),
        tag="",
    )
    stricter.golden = make_golden_rows(
        stricter, parse_table(personal.portfolio, synthesize(personal.portfolio, 300, seed=0)[0])
    )
    tag = promote_bundle(save_bundle(stricter), "personal", by="tests")
    try:
        begin = time.monotonic()
        while (seen := both.nobody.get("/health").json())["others"][0]["model_version"] != tag:
            assert time.monotonic() - begin < 20, seen
        assert (
            both.client.post(
                "/portfolios/personal/predict", json=of["/portfolios/personal"][2][0]
            ).json()["model_version"]
            == tag
        )
        assert (
            both.client.post("/predict", json=of[""][2][0]).json()["model_version"]
            == synthetic_bundle.tag
            == seen["model_version"]
        )
    finally:
        promote_bundle(personal.tag, "personal", by="tests")


def test_no_service_starts_without_the_model_of_each(bentoml_home, synthetic_bundle, tmp_path):
    code, output = (
        Server(bentoml_home, tmp_path / "log", CREDIT_DEFAULT_MORE_PORTFOLIOS="nowhere")
        .start()
        .finished()
    )
    assert code != 0 and "portfolio nowhere has no champion yet" in output, output


def test_a_bento_holds_the_models_of_all(bentoml_home, synthetic_bundle, personal):
    "What BentoML is told: the models to take in, and what the container is to serve."
    told = (
        "import json; from credit_default.service import CreditDefault as c; "
        "print(json.dumps([[str(m.tag) for m in c.models], {e.name: e.value for e in c.envs}]))"
    )
    environment = os.environ | dict(
        BENTOML_HOME=str(bentoml_home),
        CREDIT_DEFAULT_MORE_PORTFOLIOS="personal",
        CREDIT_DEFAULT_ENV_FILE=os.devnull,
    )
    said = subprocess.run(
        [sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(said.stdout) == [
        [synthetic_bundle.tag, personal.tag],
        {"CREDIT_DEFAULT_PORTFOLIO": "gmsc", "CREDIT_DEFAULT_MORE_PORTFOLIOS": "personal"},
    ]


def test_a_method_without_a_role_keeps_a_portfolio_from_being_served(monkeypatch):
    from credit_default.core.settings import read_settings
    from credit_default.serving.app import create_app
    from credit_default.serving.routes import model

    add_routes = model.add_routes

    def more(router, state, portfolio):
        add_routes(router, state, portfolio)
        router.delete("/model")(lambda: None)

    monkeypatch.setattr(model, "add_routes", more)
    with pytest.raises(
        RuntimeError, match="routes without a role.*DELETE.*/portfolios/personal/model"
    ):
        create_app(read_settings(more_portfolios="personal"))
