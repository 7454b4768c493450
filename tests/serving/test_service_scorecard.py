"""A points scorecard behind the API: the score of each answer is the sum of the points."""

import numpy as np
import pytest
from served import Server, add_user, answered, applicants, scored, token_of

from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.columns import parse_table
from credit_default.scoring.registry import promote_bundle, save_bundle
from credit_default.training.search_space import scorecard_recipe
from credit_default.training.training import fit_recipe


@pytest.fixture(scope="module", params=["gmsc", "mortgage"])
def scorecard(request, bentoml_home, tmp_path_factory):
    "A scorecard as a portfolio's champion, and a service of it."
    portfolio = SHIPPED[request.param]
    sides = split(load(portfolio, None).take(np.arange(3000)))
    training = fit_recipe(portfolio, scorecard_recipe(portfolio), *sides)
    promote_bundle(save_bundle(training.bundle), portfolio.name, by="tests")
    folder = tmp_path_factory.mktemp(request.param)
    with Server(
        bentoml_home,
        folder / "log",
        CREDIT_DEFAULT_PORTFOLIO=portfolio.name,
        CREDIT_DEFAULT_DATABASE_URL=f"sqlite:///{folder / 'log.db'}",
        CREDIT_DEFAULT_SPOOL=str(folder / "spool.db"),
    ) as server:
        user = add_user(server.database, f"scorecard-{portfolio.name}", "analyst")
        client = server.client_of(token_of(user))
        yield training.bundle, client
        client.close()


def test_the_service_says_what_the_notebook_says_and_the_points_add_up(scorecard):
    notebook, client = scorecard
    frame, sent = applicants(notebook.portfolio, 300)
    expected = scored(notebook, frame)
    answers = client.post("/predict_batch", json=sent)
    assert answers.status_code == 200, answers.text
    assert [answered(one) for one in answers.json()] == expected
    for applicant, one in zip(sent[:20], expected, strict=False):
        assert answered(client.post("/predict", json=applicant).json()) == one
    assert any(one["reasons"] for one in expected)
    columns = parse_table(notebook.portfolio, frame)
    (X,) = notebook.matrices(notebook.clean(columns))
    sums = notebook.points.points(X).sum(axis=1).tolist()
    assert [one["credit_score"] for one in answers.json()] == sums
