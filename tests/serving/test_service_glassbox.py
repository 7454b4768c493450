"""A glass box behind the API: what the notebook says, to the last digit, and why."""

import numpy as np
import pytest
from served import Server, add_user, answered, applicants, scored, token_of

from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.scoring.registry import promote_bundle, save_bundle
from credit_default.training.search_space import additive_recipe
from credit_default.training.training import fit_recipe

SMALL = dict(bins=32, pairs=5, bags=3)


@pytest.fixture(scope="module", params=["personal", "mortgage"])
def glassbox(request, bentoml_home, tmp_path_factory):
    "A small additive model as a portfolio's champion, and a service of it."
    portfolio = SHIPPED[request.param]
    recipe = additive_recipe(portfolio).model_copy(update=dict(parameters=SMALL))
    sides = split(load(portfolio, None).take(np.arange(3000)))
    training = fit_recipe(portfolio, recipe, *sides)
    promote_bundle(save_bundle(training.bundle), portfolio.name, by="tests")
    folder = tmp_path_factory.mktemp(request.param)
    with Server(
        bentoml_home,
        folder / "log",
        CREDIT_DEFAULT_PORTFOLIO=portfolio.name,
        CREDIT_DEFAULT_DATABASE_URL=f"sqlite:///{folder / 'log.db'}",
        CREDIT_DEFAULT_SPOOL=str(folder / "spool.db"),
    ) as server:
        user = add_user(server.database, f"glassbox-{portfolio.name}", "analyst")
        client = server.client_of(token_of(user))
        yield training.bundle, client
        client.close()


def test_the_service_says_what_the_notebook_says(glassbox):
    notebook, client = glassbox
    frame, sent = applicants(notebook.portfolio, 300)
    expected = scored(notebook, frame)
    answers = client.post("/predict_batch", json=sent)
    assert answers.status_code == 200, answers.text
    assert [answered(one) for one in answers.json()] == expected
    for applicant, one in zip(sent[:20], expected, strict=False):
        assert answered(client.post("/predict", json=applicant).json()) == one
    assert any(one["reasons"] for one in expected)
