"""The roles of the routes: stated at each, and read by guard and document."""

import pytest
from fastapi import APIRouter, FastAPI
from starlette.routing import Route
from starlette.testclient import TestClient

from credit_default.core.settings import read_settings
from credit_default.serving.access import RoleTable, has_role, require_role
from credit_default.serving.app import add_error_handlers, create_app
from credit_default.serving.roles import Role

ANYBODY = None


@pytest.fixture(scope="module")
def roles():
    return create_app(read_settings()).state.roles


@pytest.mark.parametrize(
    "method, path, least",
    [
        ("POST", "/predict", Role.analyst),
        ("HEAD", "/model", Role.viewer),
        ("GET", "/predictions/4a1c", Role.analyst),
        ("GET", "/predictions/4a/1c", Role.viewer),
        ("GET", "/livez", ANYBODY),
        ("GET", "/docs/static/swagger-ui.css", ANYBODY),
        ("GET", "/docs/static", Role.viewer),
        ("GET", "/docs.json", ANYBODY),
        ("GET", "/nowhere", Role.viewer),
        ("DELETE", "/health", ANYBODY),  # answered with 405
        # no way around the token by the name of a portfolio, served or not
        ("POST", "/portfolios/personal/predict", Role.analyst),
        ("GET", "/portfolios/personal/model", Role.viewer),
        ("POST", "/portfolios/personal/login", Role.viewer),
        ("GET", "/portfolios/a/b/model", Role.viewer),
    ],
)
def test_the_least_role_of_a_request(roles, method, path, least):
    assert roles.least_role(method, path) == least


def test_each_route_states_who_may_ask():
    app = create_app(read_settings(more_portfolios="personal"))
    assert not RoleTable(app.routes).unstated
    assert ("POST", "/portfolios/personal/predict") in app.state.roles.by_route


def test_without_the_guard_a_route_refuses_all_the_same():
    app, router = FastAPI(), APIRouter()
    router.get("/model", dependencies=[require_role(Role.viewer)])(lambda: "a model")
    app.routes.extend(router.routes)
    add_error_handlers(app)
    answer = TestClient(app).get("/model")
    assert (answer.status_code, answer.json()["error"]) == (401, "a token is needed")


def test_a_route_of_another_kind_is_no_business_of_the_table():
    assert RoleTable([Route("/files", lambda request: None)]).by_route == {}
    assert has_role is require_role(Role.admin).dependency
