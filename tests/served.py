"""The service as tests see it: a model of the synthetic sample, and the real `bentoml serve` on a
port of its own.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import httpx
import jwt

ROOT = Path(__file__).resolve().parents[1]
SERVICE = "credit_default.service:CreditDefault"
JSON = {"Content-Type": "application/json"}
KEY = "the key of the tests, which is longer than 32 bytes"
ACCOUNT = dict(username="tests", email="tests@example.com", password="correct horse battery")


BLEND = {"xgboost": 0.5, "network": 0.3, "logistic": 0.2}


def blend_of(portfolio, train, shares=BLEND):
    "What a search might have chosen: a model of each of these kinds, with these shares."
    from credit_default.training.champion import choice_of
    from credit_default.training.folds import Folds
    from credit_default.training.search_space import default_recipes

    folds = Folds(portfolio, train.frame, train.y)
    members = {
        kind: (next(one for one in default_recipes(portfolio) if one.candidate == kind), share)
        for kind, share in shares.items()
    }
    return choice_of(members, folds)


def synthetic_bundle(name="gmsc", rows=4000):
    """A bundle of portfolio `name`, trained on its synthetic sample in seconds: a blend of a model
    of each form, no search.
    """
    from credit_default.data.loading import load
    from credit_default.data.sources import Source
    from credit_default.data.split import split
    from credit_default.portfolio.catalogue import SHIPPED
    from credit_default.training.champion import fit_choice
    from credit_default.training.training import evaluate_on_holdout

    portfolio = SHIPPED[name]
    dataset = load(portfolio, Source("synthetic", None, "synthetic sample"), seed=1).take(
        range(rows)
    )
    train, holdout = split(dataset, 0.25, seed=0)
    return evaluate_on_holdout(
        fit_choice(portfolio, blend_of(portfolio, train), train), train, holdout
    ).bundle


def applicants(portfolio, rows, seed=11):
    "Synthetic applicants as clients would send them: by alias, missing values null."
    from credit_default.data.synthetic import synthesize
    from credit_default.portfolio.columns import parse_table

    frame, _, _ = synthesize(portfolio, rows, seed=seed)
    return frame, as_sent(portfolio, parse_table(portfolio, frame))


def as_sent(portfolio, columns):
    "Columns as a list of JSON objects."
    from credit_default.scoring.reasons import sent_value

    n = len(columns[portfolio.fields[0].name])
    return [
        {f.alias: sent_value(f, columns[f.name][i]) for f in portfolio.fields} for i in range(n)
    ]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """`bentoml serve` in a process group of its own: `with Server(home, log) as server:
    server.client.post(...)`.
    """

    def __init__(self, home, log, python=sys.executable, target=SERVICE, cwd=ROOT, **settings):
        self.log, self.port = Path(log), free_port()
        settings = (
            dict(
                CREDIT_DEFAULT_SECRET_KEY=KEY,
                CREDIT_DEFAULT_SIGNUP="open",
                CREDIT_DEFAULT_ENV_FILE=os.devnull,
            )
            | settings
        )
        # PYTHONPATH as it is: a test's own folders must not lend the service what it lacks.
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CREDIT_DEFAULT_", "PROMETHEUS_", "PYTHONPATH"))
        }
        self.environment = (
            kept
            | {"BENTOML_HOME": str(home), "DO_NOT_TRACK": "1", "BENTOML_DO_NOT_TRACK": "True"}
            | settings
        )
        self.command = [
            str(python),
            "-m",
            "bentoml",
            "serve",
            str(target),
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        self.cwd = cwd
        self.database = (
            settings.get("CREDIT_DEFAULT_DATABASE_URL")
            or f"sqlite:///{Path(home).absolute() / 'credit_default' / 'service.db'}"
        )

    def start(self):
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=60
        )
        return self

    def __enter__(self):
        self.start().ready()
        log_in(self.client)
        return self

    def ready(self, seconds=90):
        "Waits until it can answer."
        begin = time.perf_counter()
        while True:
            assert self.process.poll() is None and time.perf_counter() - begin < seconds, (
                self.log.read_text()
            )
            try:
                if self.client.get("/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        self.seconds = time.perf_counter() - begin  # from the command to the first answer
        return self

    def client_of(self, token=None, address=None):
        "A client with this token; with another address of this machine, such as 127.0.0.9."
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(
            base_url=self.client.base_url,
            headers=headers,
            trust_env=False,
            timeout=60,
            transport=httpx.HTTPTransport(verify=False, local_address=address),
        )

    def __exit__(self, *_):
        self.client.close()
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(20)

    def finished(self, seconds=60):
        "The exit code and output of a service that is expected not to start."
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        finally:
            self.client.close()
        return code, self.log.read_text()


def log_in(client, account=ACCOUNT):
    "Signs up where nobody has done so yet, and gives the client a token: that of an analyst."
    signed = client.post("/signup", json=account)
    assert signed.status_code in (201, 409), signed.text
    token = client.post("/login", json={name: account[name] for name in ("username", "password")})
    assert token.status_code == 200, token.text
    client.headers["Authorization"] = f"Bearer {token.json()['access_token']}"


def add_user(database, username, role="analyst", **more):
    """A user of the service, as `credit-default user add` makes one; its password is that of
    ACCOUNT.
    """
    from credit_default.serving.passwords import Passwords
    from credit_default.store.store import Store
    from credit_default.store.users import UserRecord

    row = dict(
        id=str(uuid.uuid4()),
        username=username,
        email=f"{username}@example.com",
        role=role,
        password_hash=Passwords().hash_blocking(ACCOUNT["password"]),
    )
    store = Store(database)
    try:
        return vars(store.users.add(UserRecord(**row | more)))
    finally:
        store.close()


def token_of(user, key=KEY, algorithm="HS256", **claims):
    """A token for a user, as the service makes it, but for what `claims` say; a claim that is None
    is left out.
    """
    claims = dict(sub=user["id"], role=user["role"], exp=int(time.time()) + 600) | claims
    return jwt.encode(
        {name: value for name, value in claims.items() if value is not None}, key, algorithm
    )


def check_error(answer):
    "Raises where an answer has not the form of every error."
    assert answer.headers["content-type"] == "application/json", answer
    body = answer.json()
    assert set(body) == {"error", "detail"} and isinstance(body["error"], str) and body["error"], (
        body
    )
    for one in body["detail"]:
        assert (
            set(one) == {"loc", "msg"}
            and one["msg"]
            and all(isinstance(x, str | int) for x in one["loc"])
        ), body


def check_documented(documented, method, path, answer):
    """Raises where an answer's status is not in the OpenAPI document, or an error has not the form
    of errors.
    """
    assert str(answer.status_code) in documented["paths"][path][method.lower()]["responses"], (
        method,
        path,
        answer.status_code,
        answer.text[:300],
    )
    if answer.status_code >= 400:
        check_error(answer)


def answered(one):
    "An answer of the service without what is new in each."
    return {
        name: value
        for name, value in one.items()
        if name not in ("prediction_id", "timestamp", "model_version")
    }


def scored(bundle, frame):
    "What the bundle itself says of a frame's rows, as JSON would carry it."
    from credit_default.portfolio.columns import parse_table

    scores = bundle.score(parse_table(bundle.portfolio, frame))
    return json.loads(json.dumps([scores.answer(i) for i in range(len(scores))]))
