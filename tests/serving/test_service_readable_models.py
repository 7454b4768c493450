"""A glass box and a points scorecard behind the API: what the notebook says, to the last digit."""

import numpy as np
import pytest
from served import Server, add_user, answered, applicants, scored, token_of

from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.columns import parse_table
from credit_default.scoring.registry import promote_bundle, save_bundle
from credit_default.training.search_space import additive_recipe, scorecard_recipe
from credit_default.training.training import fit_recipe

SMALL = dict(bins=32, pairs=5, bags=3)


def glass_box_recipe(portfolio):
    "A small additive model."
    return additive_recipe(portfolio).model_copy(update=dict(parameters=SMALL))


@pytest.fixture(
    scope="module",
    params=[
        (glass_box_recipe, "personal"),
        (glass_box_recipe, "mortgage"),
        (scorecard_recipe, "gmsc"),
        (scorecard_recipe, "mortgage"),
    ],
    ids=lambda case: f"{case[0].__name__}-{case[1]}",
)
def served_model(request, bentoml_home, tmp_path_factory):
    "A model as a portfolio's champion, and a service of it."
    recipe_of, name = request.param
    portfolio = SHIPPED[name]
    sides = split(load(portfolio, None).take(np.arange(3000)))
    training = fit_recipe(portfolio, recipe_of(portfolio), *sides)
    promote_bundle(save_bundle(training.bundle), name, by="tests")
    folder = tmp_path_factory.mktemp(name)
    with Server(
        bentoml_home,
        folder / "log",
        CREDIT_DEFAULT_PORTFOLIO=name,
        CREDIT_DEFAULT_DATABASE_URL=f"sqlite:///{folder / 'log.db'}",
        CREDIT_DEFAULT_SPOOL=str(folder / "spool.db"),
    ) as server:
        user = add_user(server.database, f"{recipe_of.__name__}-{name}", "analyst")
        client = server.client_of(token_of(user))
        yield training.bundle, client
        client.close()


def test_the_service_says_what_the_notebook_says(served_model):
    notebook, client = served_model
    frame, sent = applicants(notebook.portfolio, 300)
    expected = scored(notebook, frame)
    answers = client.post("/predict_batch", json=sent)
    assert answers.status_code == 200, answers.text
    assert [answered(one) for one in answers.json()] == expected
    for applicant, one in zip(sent[:20], expected, strict=False):
        assert answered(client.post("/predict", json=applicant).json()) == one
    assert any(one["reasons"] for one in expected)
    if notebook.points:  # a scorecard's points add up to the score of each answer
        columns = parse_table(notebook.portfolio, frame)
        (X,) = notebook.matrices(notebook.clean(columns))
        sums = notebook.points.points(X).sum(axis=1).tolist()
        assert [one["credit_score"] for one in answers.json()] == sums
