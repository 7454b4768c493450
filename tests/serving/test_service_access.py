"""Who may ask the service what: tokens on every route there is, signing up and in, limits, and what
outlasts a restart.
"""

import base64
import hmac
import http.client
import json
import re
import socket
import statistics
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import jwt
import pytest
from served import ACCOUNT, JSON, KEY, Server, add_user, check_documented, check_error, token_of

from credit_default.core.settings import Settings
from credit_default.serving.roles import Role, User
from credit_default.serving.users import invite
from credit_default.store.store import Store

PASSWORD = ACCOUNT["password"]
ROLES = {role.value: rank for rank, role in enumerate(Role)}
OTHER_KEY = "another key of the tests, which is also longer than 32 bytes"


@pytest.fixture(scope="module")
def people(service):
    "A user of each role, and one that is disabled: their rows in the table."
    made = {role: add_user(service.database, f"access-{role}", role) for role in ROLES}
    return made | {
        "disabled": add_user(service.database, "access-disabled", "admin", disabled=True)
    }


@pytest.fixture(scope="module")
def clients(service, people):
    "A client of each role, and one of nobody."
    made = {role: service.client_of(token_of(people[role])) for role in ROLES} | {
        None: service.client_of()
    }
    yield made
    for client in made.values():
        client.close()


@contextmanager
def store_of(server):
    store = Store(server.database)
    try:
        yield store
    finally:
        store.close()


def operations(documented):
    "Method, path and description of all that the document knows."
    return [
        (method.upper(), path, operation)
        for path, methods in documented["paths"].items()
        for method, operation in methods.items()
    ]


def concrete(path):
    "The path of a route with something in place of its variable parts."
    return re.sub(r"\{[^}]+\}", lambda _: str(uuid.uuid4()), path)


def role_table(documented):
    "The table in the document's text: (method, path) -> least role, None for everybody."
    rows = re.findall(r"^\| (\w+) \| (`.+`) \|$", documented["info"]["description"], re.M)
    return {
        tuple(one.split()): None if who == "anybody" else who
        for who, what in rows
        for one in re.findall(r"`([^`]+)`", what)
    }


# Tokens, on every route

# What the document does not name, or not by this method. The service must not tell those without a
# token what there is.
BESIDES = [
    ("GET", "/schema.json"),
    ("GET", "/openapi.json"),
    ("GET", "/redoc"),
    ("GET", "/nowhere"),
    ("GET", "/docs/nothing"),
    ("GET", "/docs/staticx"),
    ("GET", "/docs/static"),
    ("GET", "/predict"),
    ("HEAD", "/predict"),
    ("OPTIONS", "/predict"),
    ("PUT", "/predict"),
    ("PATCH", "/predict_batch"),
    ("DELETE", "/predict_csv"),
    ("TRACE", "/predict"),
    ("POST", "/predict/"),
    ("POST", "/predict/1"),
    ("POST", "/%2Fpredict"),
    ("POST", "/PREDICT"),
    ("POST", "/%70redict/"),
    ("POST", "/predictions"),
    ("GET", "/predictions/"),
    ("GET", "/predictions/1/2"),
    ("HEAD", "/predictions"),
    ("DELETE", f"/predictions/{uuid.UUID(int=1)}"),
    ("HEAD", "/model"),
    ("POST", "/model"),
    ("OPTIONS", "/model"),
]
# What neither needs a token nor stands in the document.
OPEN = [
    ("GET", "/", 307),
    ("HEAD", "/", 307),
    ("GET", "/docs", 200),
    ("HEAD", "/docs", 405),
    ("GET", "/docs.json", 200),
    ("HEAD", "/docs.json", 200),
    ("GET", "/docs/static/swagger-ui.css", 200),
    ("HEAD", "/docs/static/swagger-ui.css", 200),
    ("GET", "/docs/static/nothing.js", 404),
    ("HEAD", "/health", 200),
    ("HEAD", "/livez", 200),
    ("HEAD", "/readyz", 200),
    ("HEAD", "/healthz", 200),
    # another method than an open path has: it has nothing to hide, and a token would not help
    ("POST", "/", 405),
    ("POST", "/docs", 405),
    ("PUT", "/docs.json", 405),
    ("POST", "/docs/static/swagger-ui.css", 405),
    ("OPTIONS", "/login", 405),
    ("TRACE", "/login", 405),
    ("GET", "/signup", 405),
    ("PUT", "/metrics", 405),
    ("DELETE", "/health", 405),
    ("TRACE", "/health", 405),
    ("POST", "/livez", 405),
]


def guarded(documented):
    "Method and path of all that needs a token."
    return [
        (method, path)
        for method, path, operation in operations(documented)
        if operation.get("security")
    ] + BESIDES


def encoded(part):
    return (
        base64.urlsafe_b64encode(part if isinstance(part, bytes) else json.dumps(part).encode())
        .rstrip(b"=")
        .decode()
    )


def crafted(head, claims, key=KEY):
    "A token with this head and these claims, signed as HS256 does it, whatever the head says."
    text = f"{encoded(head)}.{encoded(claims)}"
    return f"{text}.{encoded(hmac.digest(key.encode(), text.encode(), 'sha256'))}"


def unsigned(user, algorithm):
    return crafted(dict(alg=algorithm, typ="JWT"), claims_of(user)).rpartition(".")[0] + "."


def claims_of(user, **changed):
    return dict(sub=user["id"], role=user["role"], exp=int(time.time()) + 600) | changed


def raised(user):
    "A viewer's token, in which the role was changed and the signature left."
    head, _, signature = token_of(user, role="viewer").split(".")
    return ".".join((head, encoded(claims_of(user, role="admin")), signature))


def by_private_key(user):
    from cryptography.hazmat.primitives.asymmetric import ec

    return token_of(user, ec.generate_private_key(ec.SECP256R1()), "ES256")


HEAD = dict(alg="HS256", typ="JWT")
# Each would be good, and an administrator's, but for one thing.
TOKENS = {
    "expired": lambda user: token_of(user, exp=int(time.time()) - 1),
    "expired long ago": lambda user: token_of(user, exp=0),
    "not yet good": lambda user: token_of(user, nbf=int(time.time()) + 300),
    "another key": lambda user: token_of(user, OTHER_KEY),
    "the key cut short": lambda user: token_of(user, KEY[:-1]),
    "an empty key": lambda user: crafted(HEAD, claims_of(user), ""),
    "a signature cut short": lambda user: token_of(user)[:-3],
    "no signature": lambda user: token_of(user).rpartition(".")[0] + ".",
    "no signature, no dot": lambda user: token_of(user).rpartition(".")[0],
    "alg none": lambda user: unsigned(user, "none"),
    "alg None": lambda user: unsigned(user, "None"),
    "alg NONE": lambda user: unsigned(user, "NONE"),
    "alg none, signed": lambda user: crafted(dict(alg="none"), claims_of(user)),
    "no alg": lambda user: crafted(dict(typ="JWT"), claims_of(user)),
    "alg is no text": lambda user: crafted(dict(alg=["HS256"]), claims_of(user)),
    "HS384": lambda user: token_of(user, algorithm="HS384"),
    "HS512": lambda user: token_of(user, algorithm="HS512"),
    "ES256": by_private_key,
    "RS256, signed by HS256": lambda user: crafted(dict(alg="RS256"), claims_of(user)),
    "the role raised": raised,
    "no exp": lambda user: token_of(user, exp=None),
    "no sub": lambda user: token_of(user, sub=None),
    "no role": lambda user: token_of(user, role=None),
    "exp is text": lambda user: crafted(HEAD, claims_of(user, exp="soon")),
    "exp is endless": lambda user: crafted(HEAD, claims_of(user, exp=float("inf"))),
    "exp is huge": lambda user: crafted(HEAD, claims_of(user) | dict(exp=-(10**400))),
    "exp is a list": lambda user: crafted(HEAD, claims_of(user, exp=[2**40])),
    "sub is a number": lambda user: crafted(HEAD, claims_of(user, sub=1)),
    "sub is a list": lambda user: crafted(HEAD, claims_of(user, sub=[user["id"]])),
    "sub holds NUL": lambda user: crafted(HEAD, claims_of(user, sub=user["id"] + "\0")),
    "sub is half a character": lambda user: crafted(HEAD, claims_of(user, sub="\ud800")),
    "an unknown role": lambda user: token_of(user, role="root"),
    "a list of roles": lambda user: crafted(HEAD, claims_of(user, role=["admin"])),
    "claims are a list": lambda user: crafted(HEAD, [user["id"]]),
    "claims are nested deeply": lambda user: crafted(HEAD, b"[" * 5000),
    "a head with critical extensions": lambda user: crafted(
        HEAD | dict(crit=["x"], x=1), claims_of(user)
    ),
    "nobody's": lambda user: token_of(user, sub=str(uuid.uuid4())),
    "no token at all": lambda user: "null",
    "dots": lambda user: "..",
    "long": lambda user: "a" * 8000,
    "two tokens": lambda user: f"{token_of(user)} {token_of(user)}",
    "quoted": lambda user: f'"{token_of(user)}"',
    "a comma": lambda user: f"{token_of(user)}, Bearer {token_of(user)}",
}
HEADERS = {
    "no header": lambda user: {},
    "an empty header": lambda user: {"Authorization": ""},
    "Bearer and nothing": lambda user: {"Authorization": "Bearer"},
    "the token alone": lambda user: {"Authorization": token_of(user)},
    "another scheme": lambda user: {"Authorization": f"Token {token_of(user)}"},
    "the password": lambda user: {
        "Authorization": "Basic "
        + base64.b64encode(f"{user['username']}:{PASSWORD}".encode()).decode()
    },
    "a scheme run together": lambda user: {"Authorization": f"Bearer{token_of(user)}"},
    "a tab": lambda user: {"Authorization": f"Bearer\t{token_of(user)}"},
    "another header": lambda user: {
        "X-Authorization": f"Bearer {token_of(user)}",
        "Proxy-Authorization": f"Bearer {token_of(user)}",
        "X-Api-Key": token_of(user),
    },
    "a cookie": lambda user: {"Cookie": f"access_token={token_of(user)}; token={token_of(user)}"},
    "no ASCII": lambda user: {"Authorization": "Bearer größer".encode()},
    "a header that names the user": lambda user: {
        "X-User": user["username"],
        "X-Forwarded-User": user["username"],
        "Remote-User": user["username"],
    },
}
REFUSED = {
    **HEADERS,
    **{
        name: (lambda user, make=make: {"Authorization": f"Bearer {make(user)}"})
        for name, make in TOKENS.items()
    },
}


def check_refused(method, path, answer):
    assert answer.status_code == 401, (method, path, answer.status_code, answer.text[:300])
    assert (
        answer.headers["www-authenticate"].startswith("Bearer") and answer.headers["x-request-id"]
    )
    if method == "HEAD":
        assert answer.content == b""
    else:
        check_error(answer)


@pytest.mark.parametrize("name", REFUSED)
def test_without_a_good_token_every_route_is_closed(clients, people, documented, name):
    headers = REFUSED[name](people["admin"])
    said = set()
    for method, path in guarded(documented):
        answer = clients[None].request(method, concrete(path), headers=headers)
        check_refused(method, path, answer)
        if method != "HEAD":
            said.add(answer.content)
    assert len(said) == 1, "a refusal that tells one path from another"


def test_what_is_refused_would_be_good_but_for_that(clients, people, documented):
    user = people["admin"]
    good = (
        token_of(user),
        crafted(HEAD, claims_of(user)),
        token_of(user, nbf=int(time.time()) - 5),
        token_of(user, more="x"),
    )
    headers = [
        {"Authorization": f"{scheme} {token}"}
        for token in good
        for scheme in ("Bearer", "bearer", "BEARER")
    ]
    for one in headers:
        assert clients[None].get("/predictions", headers=one).status_code == 200
    for method, path in guarded(documented):
        assert clients["admin"].request(method, concrete(path)).status_code not in (401, 403), (
            method,
            path,
        )


def test_a_token_in_the_address_is_none(clients, people):
    token = token_of(people["admin"])
    for name in ("token", "access_token", "Authorization"):
        check_refused(
            "GET", "/predictions", clients[None].get("/predictions", params={name: token})
        )


@pytest.mark.parametrize("who", ["disabled", "deleted"])
def test_a_token_of_one_who_may_not_any_more(service, clients, people, documented, who):
    user = people.get(who) or add_user(service.database, "access-deleted", "admin")
    if who == "deleted":
        with store_of(service) as store:
            assert store.users.delete(user["id"])
    for method, path in guarded(documented):
        check_refused(
            method,
            path,
            clients[None].request(
                method, concrete(path), headers={"Authorization": f"Bearer {token_of(user)}"}
            ),
        )


@pytest.mark.parametrize("credentials", ["none", "bad"])
def test_open_routes_need_no_token_and_mind_none(clients, people, documented, credentials):
    headers = {
        "none": {},
        "bad": {"Authorization": f"Bearer {token_of(people['admin'], OTHER_KEY)}"},
    }[credentials]
    for method, path, status in OPEN:
        assert clients[None].request(method, path, headers=headers).status_code == status, (
            method,
            path,
        )
    for method, path, operation in operations(documented):
        if operation.get("security"):
            continue
        answer = clients[None].request(
            method, path, headers=headers | JSON, content=b"{}" if method == "POST" else None
        )
        assert answer.status_code == (422 if method == "POST" else 200), (
            method,
            path,
            answer.text[:300],
        )


def test_the_role_table_of_the_document_is_what_is_enforced(clients, documented):
    table = role_table(documented)
    assert set(table) == {(method, path) for method, path, _ in operations(documented)} and set(
        table.values()
    ) == {None, "viewer", "analyst"}
    for method, path, operation in operations(documented):
        least, responses = table[method, path], operation["responses"]
        schemes = [] if least is None else [{"password": []}, {"token": []}]
        assert operation.get("security", []) == schemes
        assert (
            least is None
            or f"Role: {least}" in operation["description"]
            and {"401", "403"} <= set(responses)
        )
        for role in ROLES:
            answer = clients[role].request(
                method, concrete(path), content=b"{}" if method == "POST" else None, headers=JSON
            )
            check_documented(documented, method, path, answer)
            if least is None or ROLES[role] >= ROLES[least]:
                assert answer.status_code not in (401, 403), (role, method, path, answer.text[:300])
            else:
                assert answer.status_code == 403 and least in answer.text, (
                    role,
                    method,
                    path,
                    answer.text[:300],
                )


def test_what_a_viewer_may_not_do_is_not_done(service, clients, people):
    applicant = service.client.get("/docs.json").json()["paths"]["/predict"]["post"]["requestBody"][
        "content"
    ]["application/json"]["examples"]["an applicant"]["value"]
    sent = applicant | dict(application_reference=f"viewer:{uuid.uuid4()}")
    for path, body in (("/predict", sent), ("/predict_batch", [sent])):
        assert clients["viewer"].post(path, json=body).status_code == 403
    raised = {
        "Authorization": f"Bearer {token_of(people['viewer'], role='admin')}"
    }  # signed well, but the role is that of the table
    assert clients[None].post("/predict", json=sent, headers=raised).status_code == 403
    assert (
        clients[None]
        .get(
            "/predictions",
            headers={"Authorization": f"Bearer {token_of(people['admin'], role='viewer')}"},
        )
        .status_code
        == 200
    )
    assert (
        clients["admin"]
        .get("/predictions", params=dict(reference=sent["application_reference"]))
        .json()["predictions"]
        == []
    )


def asked_raw(server, method, path, headers=()):
    "Status and body of a request whose path is sent as it stands."
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/docs/static/../../schema.json",
        "/docs/static/..%2f..%2fschema.json",
        "/docs/static/%2e%2e/%2e%2e/predictions",
        "/docs/static//predictions",
        "/docs/static/../../predictions",
        "/docs/static/%2fetc%2fpasswd",
        "/docs/static/../../../../../../etc/passwd",
        "/docs/static/",
        "/docs/static/\\..\\..\\__init__.py",
        "/docs/static/../__init__.py",
        "/docs/static/%00",
    ],
)
def test_the_open_folder_leads_nowhere_else(service, path):
    status, body = asked_raw(service, "GET", path)
    assert status == 404 and set(json.loads(body)) == {"error", "detail"}


def test_every_way_to_write_a_path_needs_a_token(service):
    for path in (
        "/%70redictions",
        "/predictions?",
        "/./predictions",
        "/docs/../predictions",
        "/livez/../predictions",
        "/predictions#",
        "http://127.0.0.1/predictions",
        "/predictions;x=1",
        "/predictions%00",
        "/model?x=/docs/static/",
        "/model%3f/docs/static/",
    ):
        assert asked_raw(service, "GET", path)[0] in (400, 401), path


def test_a_web_socket_leads_nowhere(service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        for line in (
            "GET /predict HTTP/1.1",
            "Host: x",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "",
        ):
            connection.sendall(line.encode() + b"\r\n")
        status = int(connection.recv(1000).split()[1])
    assert 400 <= status < 500


def test_who_has_no_token_is_refused_before_anything_is_read(service):
    "A body of a gigabyte, announced and never sent, keeps nobody waiting."
    for path in ("/predict", "/predict_batch", "/predict_csv"):
        with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
            connection.sendall(
                f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: "
                f"application/json\r\nContent-Length: 1000000000\r\n\r\n{{".encode()
            )
            assert b" 401 " in connection.recv(1000).partition(b"\r\n")[0]


def test_a_new_route_needs_a_token_before_anybody_thinks_of_it(synthetic_bundle):
    import warnings

    warnings.filterwarnings("ignore", message=".*starlette.testclient.*")
    from starlette.testclient import TestClient

    from credit_default.serving.app import create_app
    from credit_default.serving.guard import Guard

    app = create_app(Settings(_env_file=None, secret_key=KEY))
    state = app.state.service
    state.read_keys()
    state.users.who = lambda claims: User(claims.sub, "somebody", claims.role)
    app.add_api_route("/new/{thing}", lambda thing: thing, methods=["GET", "POST"])
    client, somebody = TestClient(Guard(app, state, app.state.roles)), dict(id="1", role="viewer")
    for method in ("GET", "POST"):
        check_refused(method, "/new", client.request(method, "/new/1"))
        assert (
            client.request(
                method, "/new/1", headers={"Authorization": f"Bearer {token_of(somebody)}"}
            ).json()
            == "1"
        )
        assert ("/new/{thing}" in app.openapi()["paths"]) and app.openapi()["paths"][
            "/new/{thing}"
        ][method.lower()]["security"], "the tables above would not see it"


def test_a_running_service_learns_within_seconds(service):
    "Who is disabled, deleted, or gets another role."
    users = {
        name: add_user(service.database, f"access-soon-{name}")
        for name in ("disabled", "deleted", "viewer", "admin")
    }
    clients = {name: service.client_of(token_of(user)) for name, user in users.items()}

    def statuses():
        return {
            name: client.post("/predict", content=b"{}", headers=JSON).status_code
            for name, client in clients.items()
        }

    def sees():
        return len(clients["admin"].get("/predictions", params=dict(limit=1)).json()["predictions"])

    try:
        service.client.post("/predict_batch", json=applicants_of(service, 1))
        assert set(statuses().values()) == {422} and sees() == 0
        with store_of(service) as store:
            store.users.change(users["disabled"]["id"], disabled=True)
            store.users.delete(users["deleted"]["id"])
            for role in ("viewer", "admin"):
                store.users.change(users[role]["id"], role=role)
        wanted, begin = dict(disabled=401, deleted=401, viewer=403, admin=422), time.monotonic()
        while statuses() != wanted or not sees():
            assert time.monotonic() - begin < 20, statuses()
            time.sleep(0.25)
    finally:
        for client in clients.values():
            client.close()


def applicants_of(server, n, **more):
    "Valid applicants: the example of the service's document."
    content = server.client.get("/docs.json").json()["paths"]["/predict"]["post"]["requestBody"][
        "content"
    ]["application/json"]
    return [content["examples"]["an applicant"]["value"] | more for _ in range(n)]


# Signing up and in


def account(name, **changed):
    return dict(username=name, email=f"{name}@example.com", password=PASSWORD) | changed


def test_open_signup_makes_an_analyst(clients, documented):
    answer = clients[None].post("/signup", json=account("access.Ada"))
    check_documented(documented, "POST", "/signup", answer)
    assert (
        answer.status_code == 201
        and answer.json() == dict(id=answer.json()["id"], username="access.Ada", role="analyst")
        and uuid.UUID(answer.json()["id"])
    )
    for spelling in ("access.Ada", "ACCESS.ADA"):
        login = clients[None].post("/login", json=dict(username=spelling, password=PASSWORD))
        assert (
            login.status_code == 200
            and login.json()["token_type"] == "bearer"
            and login.headers["cache-control"] == "no-store"
        )
        claims = jwt.decode(
            login.json()["access_token"],
            KEY,
            ["HS256"],
            options=dict(require=["exp", "sub", "role"]),
        )
        assert (
            claims["sub"] == answer.json()["id"]
            and claims["role"] == "analyst"
            and abs(claims["exp"] - time.time() - login.json()["expires_in"]) < 10
        )


UNFIT = [
    ({"role": "admin"}, "role"),
    ({"id": str(uuid.UUID(int=1))}, "id"),
    ({"disabled": False}, "disabled"),
    ({"username": "a b"}, "username"),
    ({"username": "ä" * 5}, "username"),
    ({"username": ["ada"]}, "username"),
    ({"email": "nobody"}, "email"),
    ({"email": "a@b@c.de"}, "email"),
    ({"password": "tooshort471"}, "password"),
    ({"password": 123456789012}, "password"),
    ({"password": "x" * 129}, "password"),
    ({"password": "Access-Unfit@example.com"}, "password"),
    ({"password": "a long river \0"}, "password"),
    ({"password": "a long river \ud800"}, "password"),
    ({"password": None}, "password"),
    ({"invitation": 5}, "invitation"),
]


@pytest.mark.parametrize("changed, where", UNFIT)
def test_nobody_signs_up_as_what_he_must_not_be(service, clients, documented, changed, where):
    answer = clients[None].post(
        "/signup", content=json.dumps(account("access-unfit", **changed)), headers=JSON
    )
    check_documented(documented, "POST", "/signup", answer)
    assert answer.status_code == 422 and [one["loc"] for one in answer.json()["detail"]] == [
        [where]
    ], answer.text
    for value in changed.values():
        assert not (isinstance(value, str) and len(value) > 9) or value not in answer.text
    with store_of(service) as store:
        assert store.users.get(username="access-unfit") is None


def test_a_name_and_an_address_are_taken_once(clients, documented):
    assert clients[None].post("/signup", json=account("access-twice")).status_code == 201
    for changed, where in (
        (dict(), "username"),
        (dict(username="Access-TWICE", email="access-other@example.com"), "username"),
        (dict(username="access-other"), "email"),
        (dict(username="access-other", email="ACCESS-Twice@EXAMPLE.com"), "email"),
    ):
        answer = clients[None].post("/signup", json=account("access-twice", **changed))
        check_documented(documented, "POST", "/signup", answer)
        assert (answer.status_code, [one["loc"] for one in answer.json()["detail"]]) == (
            409,
            [[where]],
        )


def test_of_many_who_want_a_name_at_once_one_gets_it(service):
    def sign_up(i):
        with service.client_of() as client:
            return client.post(
                "/signup", json=account("access-race", email=f"access-race-{i}@example.com")
            ).status_code

    with ThreadPoolExecutor(8) as threads:
        assert Counter(threads.map(sign_up, range(8))) == {201: 1, 409: 7}


def test_login_does_not_tell_who_there_is(service, clients, people, documented):
    """The same bytes, and about the same time, whether the name or the password is wrong or the
    user is disabled.
    """
    wrong = "a wrong battery horse"
    asked = {
        "password": (people["analyst"]["username"], wrong),
        "name": ("access-nobody", wrong),
        "password of another": ("access-nobody", PASSWORD),
        "disabled": ("access-disabled", PASSWORD),
        "no name": ("", PASSWORD),
        "no password": (people["analyst"]["username"], ""),
        "a name that cannot be": ("a b'; --", wrong),
        "a name with NUL": ("a\0b", wrong),
    }
    seconds, said = {name: [] for name in asked}, set()
    for _ in range(9):
        for name, (username, password) in asked.items():
            begin = time.perf_counter()
            answer = clients[None].post("/login", json=dict(username=username, password=password))
            seconds[name].append(time.perf_counter() - begin)
            check_documented(documented, "POST", "/login", answer)
            said.add(
                (
                    answer.status_code,
                    answer.content,
                    tuple(
                        sorted(
                            (k, v)
                            for k, v in answer.headers.items()
                            if k not in ("x-request-id", "date")
                        )
                    ),
                )
            )
    [(status, content, _)] = said
    assert status == 401 and wrong.encode() not in content
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    assert max(medians.values()) < 3 * min(medians.values()), medians
    assert min(medians.values()) > 0.005, "a password that is compared without work"


def test_passwords_and_tokens_are_not_in_the_log(service, clients):
    secret = f"Musterfrau4711 {uuid.uuid4()}"
    clients[None].post("/signup", json=account("access-secret", password=secret))
    token = (
        clients[None]
        .post("/login", json=dict(username="access-secret", password=secret))
        .json()["access_token"]
    )
    clients[None].post("/login", json=dict(username="access-secret", password=secret[:-1]))
    clients[None].get("/predictions", headers={"Authorization": f"Bearer {token}"})
    clients[None].get("/predictions", headers={"Authorization": f"Bearer {token[:-1]}"})
    written = service.log.read_text()
    assert (
        "Musterfrau4711" not in written
        and token[:-1] not in written
        and token.split(".")[1] not in written
        and "access-secret" not in written
    )
    with store_of(service) as store:
        assert store.users.get(username="access-secret").password_hash.startswith("$argon2id$")


# Keys that are changed, and what outlasts a restart


def address():
    "An address of this machine that nobody else asks from: limits count by it."
    address.last += 1
    return f"127.0.7.{address.last}"


address.last = 0


MOST, WINDOW = 30, 5  # requests, seconds
UPLOAD = 200_000  # bytes


@pytest.fixture(scope="module")
def changed(synthetic_bundle, bentoml_home, tmp_path_factory):
    """A service that ran with an old key and no signup, and runs now with a new key, two workers,
    signup by invitation and limits; and what it said before.
    """
    folder = tmp_path_factory.mktemp("changed")
    settings = dict(
        CREDIT_DEFAULT_DATABASE_URL=f"sqlite:///{folder / 'service.db'}",
        CREDIT_DEFAULT_SPOOL=str(folder / "spool.db"),
    )
    before = SimpleNamespace()
    old = Server(
        bentoml_home,
        folder / "old",
        CREDIT_DEFAULT_SIGNUP="closed",
        CREDIT_DEFAULT_SECRET_KEY=OTHER_KEY,
        **settings,
    ).start()
    try:
        old.ready()
        before.user = add_user(old.database, "stays")
        before.signup = old.client.post("/signup", json=account("nobody-yet"))
        before.signup_invited = old.client.post(
            "/signup", json=account("nobody-yet", invitation=invitation(old))
        )
        before.login = old.client.post("/login", json=dict(username="stays", password=PASSWORD))
        before.token = before.login.json()["access_token"]
        before.sent = applicants_of(old, 1, application_reference="before")[0]
        with old.client_of(before.token) as client:
            before.answers = [
                client.post(path, headers={"Idempotency-Key": key} | JSON, content=json.dumps(body))
                for path, key, body in repeated(before)
            ]
    finally:
        old.__exit__()
    new = Server(
        bentoml_home,
        folder / "new",
        CREDIT_DEFAULT_SIGNUP="invite",
        CREDIT_DEFAULT_PREVIOUS_SECRET_KEY=OTHER_KEY,
        CREDIT_DEFAULT_WORKERS="2",
        CREDIT_DEFAULT_RATE_LIMIT=f"{MOST}/{WINDOW}second",
        CREDIT_DEFAULT_MAX_CSV_BYTES=str(UPLOAD),
        **settings,
    ).start()
    try:
        yield SimpleNamespace(before=before, server=new.ready())
    finally:
        new.__exit__()


def invitation(server, role=Role.analyst, **more):
    with store_of(server) as store:
        return invite(store, role, "tests", **more)


def upload(content):
    return dict(files={"file": ("applicants.csv", content, "text/csv")})


def repeated(before):
    return [("/predict", "one", before.sent), ("/predict_batch", "two", [before.sent, before.sent])]


@pytest.fixture
def newcomer(changed):
    "`newcomer(role)`: a client of a new user of it, with an address of its own."
    made = []

    def newcomer(role="analyst"):
        user = add_user(changed.server.database, f"newcomer-{uuid.uuid4().hex[:8]}", role)
        made.append(changed.server.client_of(token_of(user), address()))
        made[-1].user = user
        return made[-1]

    yield newcomer
    for client in made:
        client.close()


def test_closed_signup_takes_nobody(changed):
    for answer in (changed.before.signup, changed.before.signup_invited):
        check_error(answer)
        assert answer.status_code == 403 and "administrator" in answer.text


def test_by_invitation_one_user_signs_up_with_its_role(changed):
    server = changed.server
    with server.client_of(address=address()) as client:
        for wrong in (
            dict(),
            dict(invitation=None),
            dict(invitation="guessed"),
            dict(invitation=""),
            dict(invitation=invitation(server, days=-1)),
            dict(invitation="\0"),
        ):
            answer = client.post("/signup", json=account("invited", **wrong))
            check_error(answer)
            assert answer.status_code == 403, answer.text
        code = invitation(server, Role.viewer)
        assert (
            client.post("/signup", json=account("stays", invitation=code)).status_code == 409
        )  # which uses it up as little as a form that is refused
        assert (
            client.post(
                "/signup", json=account("invited", invitation=code, password="short")
            ).status_code
            == 422
        )
        answer = client.post("/signup", json=account("invited", invitation=code))
        assert (answer.status_code, answer.json()["role"]) == (201, "viewer"), answer.text
        assert client.post("/signup", json=account("invited-2", invitation=code)).status_code == 403


def test_an_invitation_is_good_once_in_two_workers(changed):
    code = invitation(changed.server)

    def sign_up(i):
        with changed.server.client_of(address=address()) as client:
            return client.post("/signup", json=account(f"guest-{i}", invitation=code)).status_code

    with ThreadPoolExecutor(8) as threads:
        assert Counter(threads.map(sign_up, range(8))) == {201: 1, 403: 7}


def test_who_signs_up_at_one_worker_is_known_to_the_other(changed):
    with changed.server.client_of(address=address()) as client:
        assert (
            client.post(
                "/signup", json=account("everywhere", invitation=invitation(changed.server))
            ).status_code
            == 201
        )
        token = client.post("/login", json=dict(username="everywhere", password=PASSWORD)).json()[
            "access_token"
        ]
    for _ in range(16):  # each on a connection of its own, for either worker
        with changed.server.client_of(token, address()) as client:
            assert client.get("/predictions").status_code == 200


def test_a_token_of_the_old_key_is_good_while_keys_are_changed_over(changed):
    server, before = changed.server, changed.before
    assert jwt.decode(before.token, OTHER_KEY, ["HS256"])["sub"] == before.user["id"]
    with server.client_of(before.token, address()) as client:
        assert client.get("/predictions").status_code == 200
        fresh = client.post("/login", json=dict(username="stays", password=PASSWORD)).json()[
            "access_token"
        ]
    assert jwt.decode(fresh, KEY, ["HS256"])["sub"] == before.user["id"]  # the new key signs
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(fresh, OTHER_KEY, ["HS256"])
    with server.client_of(None, address()) as client:
        for token, status in (
            (fresh, 200),
            (token_of(before.user, "a third key of the tests, longer than 32 bytes"), 401),
            (token_of(before.user, OTHER_KEY, exp=1), 401),
            (token_of(before.user, OTHER_KEY, "HS512"), 401),
        ):
            assert (
                client.get("/predictions", headers={"Authorization": f"Bearer {token}"}).status_code
                == status
            )


def test_a_key_that_is_no_longer_set_is_not_good(clients, people):
    check_refused(
        "GET",
        "/predictions",
        clients[None].get(
            "/predictions",
            headers={"Authorization": f"Bearer {token_of(people['admin'], OTHER_KEY)}"},
        ),
    )


def test_a_repeated_request_gets_its_first_answer_after_a_restart(changed):
    with changed.server.client_of(changed.before.token, address()) as client:
        for first, (path, key, body) in zip(
            changed.before.answers, repeated(changed.before), strict=True
        ):
            again = client.post(
                path, headers={"Idempotency-Key": key} | JSON, content=json.dumps(body)
            )
            assert first.status_code == again.status_code == 200 and again.content == first.content
            assert (
                again.headers["idempotent-replayed"] == "true"
                and "idempotent-replayed" not in first.headers
            )
            other = client.post(
                path, headers={"Idempotency-Key": key} | JSON, content=json.dumps(body) + " "
            )
            assert other.status_code == 422
        assert (
            len(client.get("/predictions", params=dict(reference="before")).json()["predictions"])
            == 3
        )


@pytest.mark.parametrize("path, n", [("/predict", 1), ("/predict_csv", 2200)])
def test_one_key_at_two_workers_at_once_is_one_request(changed, newcomer, path, n):
    def workers(mark):
        return {
            json.loads(line)["pid"]
            for line in changed.server.log.read_text().splitlines()
            if f'"request_id": "{mark}."' in line
        }

    for _ in range(10):  # until both workers were asked
        client, mark = newcomer(), uuid.uuid4().hex[:12]
        sent = changed.before.sent | dict(application_reference=mark)
        body = (
            dict(json=sent)
            if n == 1
            else upload(
                "\n".join([",".join(sent), *[",".join(map(str, sent.values()))] * n]).encode()
            )
        )
        clients = [changed.server.client_of(token_of(client.user), address()) for _ in range(8)]
        for one in clients:
            one.get("/livez")  # connects: to whichever worker is free

        def send(one):
            return one.post(
                path, headers={"Idempotency-Key": "at-once", "X-Request-ID": f"{mark}."}, **body
            )

        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(send, clients * 2))
        for one in clients:
            one.close()
        assert {answer.status_code for answer in answers} <= {200, 409} and all(
            "retry-after" in answer.headers for answer in answers if answer.status_code == 409
        ), [answer.text[:300] for answer in answers]
        assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
        with store_of(changed.server) as store:
            assert store.predictions.count(reference=mark) == n
        if len(workers(mark)) == 2:
            return
    pytest.fail("all connections went to one worker")


# Limits


def counted(send, n):
    "Statuses of n requests, sent by eight at once, and the seconds that they took."
    begin = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send, range(n)))
    return answers, time.monotonic() - begin


def check_limited(make, after):
    """Of twice as many as are allowed just half is answered; the rest is told when to come again,
    and is answered then. `make()` gives a function that sends.
    """
    for _ in range(3):
        send = make()
        answers, seconds = counted(send, 2 * MOST)
        if seconds < WINDOW:
            break  # else the machine stood still, and a second window began
    statuses, refused = (
        Counter(answer.status_code for answer in answers),
        [answer for answer in answers if answer.status_code == 429],
    )
    assert statuses[429] == MOST and sum(statuses.values()) == 2 * MOST, statuses
    for answer in refused:
        check_error(answer)
        assert 1 <= int(answer.headers["retry-after"]) <= WINDOW + 1
    after(send)
    time.sleep(int(send(0).headers["retry-after"]))
    assert send(0).status_code != 429


def test_one_address_may_ask_so_often_at_both_workers_together(changed):
    "By whatever it asks; but probes are never refused."
    token = token_of(changed.before.user)
    paths = ["/docs.json", "/nowhere", "/docs/static/swagger-ui.css", "/predictions"]

    def make():
        here = address()

        def send(i):
            with changed.server.client_of(None, here) as client:
                return client.get(
                    paths[i % 4],
                    headers={
                        "X-Forwarded-For": f"10.0.0.{i}",
                        "Forwarded": f"for=10.0.0.{i}",
                        "X-Real-IP": f"10.0.0.{i}",
                    },
                )

        send.here = here
        return send

    def probes(send):
        with changed.server.client_of(None, send.here) as client:
            for path in ("/livez", "/readyz", "/healthz", "/health", "/metrics") * 10:
                assert client.get(path).status_code == 200
            assert (
                client.post("/login", json=dict(username="stays", password=PASSWORD)).status_code
                == 429
            )  # nor may it guess on
        with changed.server.client_of(token, address()) as client:
            assert client.get("/predictions").status_code == 200  # which is nobody else's matter

    check_limited(make, probes)


def test_one_user_may_ask_so_often_from_wherever(changed, newcomer):
    def make():
        user = newcomer().user

        def send(i):
            with changed.server.client_of(token_of(user), address()) as client:
                return client.get("/predictions")

        send.user = user
        return send

    def other(send):
        assert newcomer().get("/predictions").status_code == 200

    check_limited(make, other)


def test_a_file_may_be_so_large_announced_or_not(changed, newcomer, synthetic_bundle):
    client = newcomer()
    header = ",".join(field.name for field in synthetic_bundle.portfolio.fields)
    line = ",".join(
        str(changed.before.sent.get(field.alias, "")) for field in synthetic_bundle.portfolio.fields
    )

    def text(size):
        return (header + "\n" + (line + "\n") * (size // (len(line) + 1) + 1)).encode()[
            :size
        ].rpartition(b"\n")[0] + b"\n"

    fits = client.post("/predict_csv", **upload(text(UPLOAD - 1000)))
    assert fits.status_code == 200 and fits.text.count("\n") == text(UPLOAD - 1000).count(b"\n")
    before = len(client.get("/predictions", params=dict(limit=1000)).json()["predictions"])
    large = httpx.Request("POST", "http://x", **upload(text(UPLOAD + 1000)))
    body = large.read()

    def pieces():
        for i in range(0, len(body), 4096):
            yield body[i : i + 4096]

    for content in (body, pieces()):
        answer = client.post(
            "/predict_csv", content=content, headers={"Content-Type": large.headers["content-type"]}
        )
        check_error(answer)
        assert answer.status_code == 413, answer.text
    assert len(client.get("/predictions", params=dict(limit=1000)).json()["predictions"]) == before


# Without a key


def test_without_a_key_or_with_a_short_one_nothing_starts(tmp_path):
    short = "Geheim4711-too-short"
    for server in [
        Server(tmp_path, tmp_path / name, CREDIT_DEFAULT_SECRET_KEY=key).start()
        for name, key in (("none", ""), ("short", short))
    ]:
        code, output = server.finished()
        assert (
            code != 0
            and "CREDIT_DEFAULT_SECRET_KEY" in output
            and 'python -c "import secrets' in output
        ), output
        assert "Geheim" not in output and KEY not in output and "Traceback" not in output, output
        with (
            pytest.raises(ConnectionRefusedError),
            socket.create_connection(("127.0.0.1", server.port)),
        ):
            pass
