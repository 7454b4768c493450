"""Below the requests: heads without end, compressed bodies, clients that do not read, and a stop
that cuts nobody off.
"""

import gzip
import http.client
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections import Counter

import psutil
import pytest
from browser import Browser, chromium
from served import KEY, Server, add_user, check_documented, token_of

from credit_default.serving.connections import (
    DRAIN_SECONDS,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    STOP_SECONDS,
)


def connect(service):
    return socket.create_connection(("127.0.0.1", service.port), timeout=20)


def answer_of(connection):
    "Status, and body, of what arrives until the connection is closed."
    received = b""
    while piece := connection.recv(65536):
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


GET = b"GET /livez HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    "head",
    [
        GET + b"x: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n",
        GET + b"x: " + b"a" * 2_000_000,  # that does not end
        GET + b"x: a\r\n" * MAX_HEADERS + b"\r\n",
        GET + b"".join(b"x%d: %s\r\n" % (i, b"a" * 4000) for i in range(50)) + b"\r\n",
        b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
    ids=["long", "endless", "many", "together", "address"],
)
def test_a_large_head_is_refused(service, head):
    with connect(service) as connection:
        connection.sendall(head)
        status, body = answer_of(connection)
    assert status == 431 and body["error"] == "the head of the request is too large"
    assert service.client.get("/livez").status_code == 200


def test_what_is_within_the_limits_is_taken(service):
    for headers in ({"x": "a" * 30_000}, {f"x{i}": "a" for i in range(MAX_HEADERS - 10)}):
        assert service.client.get("/livez", headers=headers).status_code == 200


def test_what_is_not_http_is_refused_in_the_one_form(service):
    with connect(service) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        status, body = answer_of(connection)
    assert status == 400 and body["error"] and body["detail"]


def test_a_head_without_end_does_not_hold_up_others(service, valid):
    "Nor is it kept: 50 MiB of a header that does not end."
    workers = [p for p in psutil.Process(service.process.pid).children(recursive=True)]
    before = sum(p.memory_info().rss for p in workers)

    def send():
        with connect(service) as connection:
            try:
                connection.sendall(GET + b"x: ")
                for _ in range(50):
                    connection.sendall(b"a" * 2**20)
            except OSError:
                pass  # it was cut off

    sender = threading.Thread(target=send)
    sender.start()
    longest = 0.0
    while sender.is_alive():
        begin = time.perf_counter()
        assert service.client.post("/predict", json=valid).status_code == 200
        longest = max(longest, time.perf_counter() - begin)
    assert longest < 1
    assert sum(p.memory_info().rss for p in workers) - before < 30 * 2**20


def test_one_analyst_cannot_starve_the_others(own, valid):
    "Two connections, each with list after list of 16 MiB in which nothing is right."
    one = json.dumps({f"made_up_{i}": i for i in range(200)})
    body = ("[" + ",".join([one] * (15 * 2**20 // len(one))) + "]").encode()
    headers = {"Authorization": f"Bearer {own.token}", "Content-Type": "application/json"}
    own.client.headers.update(headers)
    assert own.client.post("/predict", json=valid).status_code == 200
    workers = psutil.Process(own.process.pid).children(recursive=True)
    before = sum(p.memory_info().rss for p in workers)
    statuses, done = Counter(), threading.Event()

    def send():
        with own.client_of(own.token) as client:
            while not done.is_set():
                statuses[
                    client.post("/predict_batch", content=body, headers=headers).status_code
                ] += 1

    senders = [threading.Thread(target=send) for _ in range(2)]
    for sender in senders:
        sender.start()
    times, most = [], 0
    end = time.monotonic() + 6
    while time.monotonic() < end:
        for ask in (
            lambda: own.client.post("/predict", json=valid),
            lambda: own.client.get("/livez"),
        ):
            begin = time.perf_counter()
            assert ask().status_code == 200
            times.append(time.perf_counter() - begin)
        most = max(most, sum(p.memory_info().rss for p in workers))
    done.set()
    for sender in senders:
        sender.join(20)
    assert set(statuses) == {422} and sum(statuses.values()) > 4, statuses
    assert (most - before) / 2**20 < 400, most
    assert sorted(times)[int(0.99 * len(times))] < 1.5, sorted(times)[-5:]
    print(statuses, (most - before) / 2**20, sorted(times)[int(0.99 * len(times))], max(times))


@pytest.mark.parametrize("path", ["/predict", "/predict_batch", "/login", "/outcomes"])
def test_a_compressed_body_is_refused_as_such(service, documented, valid, path):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps(valid).encode())
    answer = service.client.post(path, content=body, headers=headers)
    check_documented(documented, "POST", path, answer)
    if path != "/outcomes":  # an analyst may not
        assert answer.status_code == 415 and answer.headers["accept-encoding"] == "identity"
        assert "Content-Encoding" in answer.json()["detail"][0]["msg"]


def test_a_compressed_upload_is_refused_as_such(service, documented):
    files = {"file": ("loans.csv", b"age\n45\n")}
    headers = {"Content-Encoding": "gzip"}
    answer = service.client.post("/predict_csv", files=files, headers=headers)
    check_documented(documented, "POST", "/predict_csv", answer)
    assert answer.status_code == 415 and answer.headers["accept-encoding"] == "identity"


def test_pages_bind_the_browser(service):
    page = service.client.get("/docs").headers
    assert page["x-frame-options"] == "DENY" and page["referrer-policy"] == "no-referrer"
    policy = page["content-security-policy"]
    assert "default-src 'none'" in policy and "http" not in policy
    for path in ("/docs", "/docs.json", "/health", "/metrics", "/nowhere", "/livez"):
        assert service.client.get(path).headers["x-content-type-options"] == "nosniff", path


@pytest.mark.parametrize("head", ["age\n", ""], ids=["a row", "the header"])
def test_a_line_of_an_upload_has_an_end(service, documented, head):
    text = head.encode() + b"45," * (2 << 20)
    answer = service.client.post("/predict_csv", files={"file": ("loans.csv", text)})
    check_documented(documented, "POST", "/predict_csv", answer)
    assert answer.status_code == 422 and "longer than 1,048,576 characters" in answer.text


FILL = """((selector, text) => {
  const input = document.querySelector(selector);
  const put = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
  put.call(input, text);
  input.dispatchEvent(new Event("input", {bubbles: true}));
  input.dispatchEvent(new Event("change", {bubbles: true}));
})"""


def test_the_page_of_the_api_works_within_its_policy(service, tmp_path):
    "In a browser: it renders, nothing is blocked, and Authorize signs in and survives a reload."
    if chromium() is None:
        pytest.skip("no chromium on this machine: the page was not looked at")
    name = f"looking-{uuid.uuid4().hex[:8]}"
    account = dict(username=name, email=f"{name}@bank.example.com", password="a quiet river here")
    assert service.client.post("/signup", json=account).status_code == 201
    address = f"http://127.0.0.1:{service.port}/docs"
    with Browser(tmp_path / "profile", reaches_this_machine=True) as browser:
        browser.open(address, settle=3)
        assert browser.complaints() == []
        assert all(url.startswith(address.removesuffix("/docs")) for url in browser.requests())
        assert browser.run("document.querySelectorAll('.opblock').length") >= 15
        browser.run("document.querySelector('.btn.authorize').click()")
        form = ".auth-container:has(#oauth_username)"
        assert browser.run(f"!!document.querySelector('{form}')")
        browser.run(f"{FILL}('#oauth_username', {json.dumps(name)})")
        browser.run(f"{FILL}('#oauth_password', {json.dumps(account['password'])})")
        browser.run(f"document.querySelector('{form} .btn.authorize').click()")
        signed_in = f"document.querySelector('{form.split(':')[0]}').innerText"
        end = time.monotonic() + 20
        while "Logout" not in (shown := browser.run("document.body.innerText")):
            assert time.monotonic() < end, (shown[-500:], browser.run(signed_in))
            time.sleep(0.2)
        browser.open(address, settle=3)
        assert browser.run("document.querySelectorAll('.btn.authorize.locked').length") == 1
        assert browser.complaints() == []
        browser.screenshot(tmp_path / "docs.png")


# ---- the stop


@pytest.fixture
def own(request, synthetic_bundle, bentoml_home, tmp_path):
    "A service of the test's own, on the models of all; with a token, and the workers asked for."
    database = f"sqlite:///{tmp_path}/service.db"
    settings = dict(CREDIT_DEFAULT_DATABASE_URL=database, CREDIT_DEFAULT_SECRET_KEY=KEY)
    settings["CREDIT_DEFAULT_WORKERS"] = str(getattr(request, "param", 1))
    server = Server(bentoml_home, tmp_path / "log", **settings)
    server.start().ready()
    server.token = token_of(add_user(database, "stopping"))
    yield server
    server.client.close()
    if server.process.poll() is None:
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait(10)


def seconds_to_stop(server):
    begin = time.monotonic()
    psutil.Process(server.process.pid).terminate()
    server.process.wait(60)
    return time.monotonic() - begin


def test_a_client_that_does_not_read_does_not_hold_up_the_stop(own, valid):
    names = list(valid)
    row = ",".join(str(valid[name]) for name in names)
    table = (",".join(names) + "\n" + f"{row}\n" * 60_000).encode()
    body = (
        b'--part\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
        + table
        + b"\r\n--part--\r\n"
    )
    head = (
        f"POST /predict_csv HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {own.token}\r\n"
        "content-type: multipart/form-data; boundary=part\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", own.port))
        connection.sendall(head.encode() + body)
        connection.recv(100)  # the answer has begun
        time.sleep(3)
        assert seconds_to_stop(own) < DRAIN_SECONDS + STOP_SECONDS + 5


def test_a_stop_without_requests_is_quick(own):
    assert seconds_to_stop(own) < 5


def workers_of(server):
    "The workers' processes, those that are still starting among them."
    return [
        child
        for child in psutil.Process(server.process.pid).children()
        if child.status() != psutil.STATUS_ZOMBIE and "worker" in " ".join(child.cmdline())
    ]


class Senders:
    """Clients that ask one after the other until they are told to stop, or are refused.

    `outcomes` counts what became of their requests.
    """

    def __init__(self, server, valid, keep=False, clients=12):
        self.outcomes, self.done = Counter(), threading.Event()
        self.server, self.body, self.keep = server, json.dumps(valid), keep
        self.headers = {
            "Authorization": f"Bearer {server.token}",
            "Content-Type": "application/json",
        }
        self.threads = [threading.Thread(target=self.send) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def send(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        while not self.done.is_set():
            try:
                connection.connect() if connection.sock is None else None
            except OSError as e:
                self.outcomes[type(e).__name__] += 1
                return
            try:
                connection.request("POST", "/predict", self.body, self.headers)
                answer = connection.getresponse()
                answer.read()
                self.outcomes[answer.status] += 1
            except (OSError, http.client.HTTPException) as e:
                self.outcomes[f"cut off: {type(e).__name__}"] += 1
                return
            if not self.keep:
                connection.close()

    def end(self):
        "Let the last requests be answered, and return the outcomes."
        self.done.set()
        for thread in self.threads:
            thread.join(90)
        return self.outcomes


@pytest.mark.parametrize(
    "own, keep",
    [(1, True), (1, False), (2, False)],
    indirect=["own"],
    ids=["kept", "new", "new, two workers"],
)
def test_a_stop_resets_nobody(own, valid, keep):
    "Each request that was sent is answered; from then on connections are refused."
    senders = Senders(own, valid, keep)
    time.sleep(2)
    assert seconds_to_stop(own) < 10
    for thread in senders.threads:
        thread.join(20)
    outcomes = senders.end()
    assert set(outcomes) == {200, "ConnectionRefusedError"}, outcomes
    assert outcomes[200] > 100


@pytest.mark.parametrize("own", [2], indirect=True)
def test_a_worker_that_stops_beside_another_resets_nobody(own, valid):
    "Nor is anybody refused: the other worker takes what waits in the queue of both."
    senders = Senders(own, valid)
    time.sleep(1)
    one, _ = workers_of(own)
    one.terminate()
    assert psutil.wait_procs([one], 20)[0]
    time.sleep(1)
    outcomes = senders.end()
    assert set(outcomes) == {200} and outcomes[200] > 100, outcomes


def test_those_who_come_while_there_is_no_worker_are_answered_by_the_next(own, valid):
    "The only one stops, for example to be replaced: the queue waits for its successor."
    [worker] = workers_of(own)
    worker.terminate()
    assert psutil.wait_procs([worker], 20)[0]
    senders = Senders(own, valid)
    while not senders.outcomes:
        time.sleep(0.1)
    outcomes = senders.end()
    assert set(outcomes) == {200} and outcomes[200] >= 12, outcomes


@pytest.mark.slow
@pytest.mark.parametrize("own", [2], indirect=True)
@pytest.mark.parametrize("how", ["one after the other", "both", "reload"])
def test_workers_that_are_replaced_again_and_again_reset_nobody(own, valid, how):
    "One worker is stopped, or both are, or the service is told to replace them (SIGHUP)."
    senders = Senders(own, valid)
    for turn in range(4):
        before = workers_of(own)
        if how == "reload":
            psutil.Process(own.process.pid).send_signal(signal.SIGHUP)
            stopping = before
        else:
            stopping = before if how == "both" else before[turn % 2 : turn % 2 + 1]
            for worker in stopping:
                worker.terminate()
        assert not psutil.wait_procs(stopping, 30)[1]
        answered, end = senders.outcomes[200], time.monotonic() + 120
        while len(workers_of(own)) < 2 or senders.outcomes[200] < answered + 750:
            assert time.monotonic() < end, senders.end()
            time.sleep(0.2)
    outcomes = senders.end()
    assert set(outcomes) == {200} and outcomes[200] >= 3000, outcomes
    print(how, outcomes)


def test_a_service_on_a_read_only_store_is_not_ready(tmp_path, monkeypatch):
    "It says so before the first prediction, and connects once the store can be written to."
    import sqlalchemy as sa

    from credit_default.core.settings import read_settings
    from credit_default.serving import state as module
    from credit_default.store.store import Store

    url = f"sqlite:///{tmp_path}/service.db"
    Store(url).upgrade()
    settings = read_settings(secret_key=KEY, database_url=url, spool=tmp_path / "spool.db")
    made = module.ServiceState(settings)
    engine, is_read_only = made.store.predictions.database.engine, [True]

    @sa.event.listens_for(engine, "checkout")
    def read_only(connection, *_):
        connection.execute(f"PRAGMA query_only={'ON' if is_read_only[0] else 'OFF'}")

    connecting = threading.Thread(target=module.connect, args=(made,))
    connecting.start()
    try:
        time.sleep(1)
        assert made.log.problem == "the database is read-only" and made.log.recorder is None
        is_read_only[0] = False
        connecting.join(20)
        assert made.log.recorder and not made.log.problem
    finally:
        made.stop()


def test_a_running_service_says_before_a_request_that_it_could_not_be_written_down(
    synthetic_bundle, bentoml_home, tmp_path, valid
):
    "Ready while the database or the spool takes predictions; degraded, and why, where one does."
    log, spool = tmp_path / "log", tmp_path / "spool"
    settings = dict(
        CREDIT_DEFAULT_DATABASE_URL=f"sqlite:///{log}/service.db",
        CREDIT_DEFAULT_SPOOL=f"{spool}/spool.db",
    )
    with Server(bentoml_home, tmp_path / "log of the service", **settings) as server:

        def told():
            health, ready = server.client.get("/health").json(), server.client.get("/readyz")
            return health["status"], health["database"], ready.status_code

        def wait_for(*expected):
            end = time.monotonic() + 20
            while (last := told()) != expected:
                assert time.monotonic() < end, last
                time.sleep(0.1)

        gone = "the database's file cannot be opened"
        wait_for("ok", "ok", 200)
        log.rename(f"{log}-gone")
        wait_for("degraded", gone, 200)
        assert server.client.post("/predict", json=valid).status_code == 200  # kept in the spool
        spool.rename(f"{spool}-gone")
        wait_for("degraded", gone, 503)
        assert server.client.post("/predict", json=valid).status_code == 503
        (tmp_path / "spool-gone").rename(spool)
        wait_for("degraded", gone, 200)
        (tmp_path / "log-gone").rename(log)
        wait_for("ok", "ok", 200)
        assert len(server.client.get("/predictions").json()["predictions"]) == 1


def test_the_image_has_what_bentoml_makes_on_its_start(tmp_path):
    "Else a container with a read-only root file system would not start."
    import subprocess
    import sys

    from credit_default.serving.bento import BENTOML_FOLDERS

    home = tmp_path / "home"
    environment = os.environ | {"BENTOML_HOME": str(home)}
    code = "import bentoml; bentoml.models.list()"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert {path.name for path in home.iterdir()} <= set(BENTOML_FOLDERS)


def test_an_applicant_of_a_file_is_erased_with_its_kept_answer(own, valid):
    "After `log erase` the key gives no row of the applicant back."
    from credit_default.store.store import Store

    names = list(valid)
    header = ",".join([*names, "application_reference", "name"])
    line = ",".join(str(valid[name]) for name in names)
    table = f"{header}\n{line},APP-1,Erika\n{line},APP-2,Bert\n".encode()
    headers = {"Authorization": f"Bearer {own.token}", "Idempotency-Key": "the-file"}
    files = {"file": ("loans.csv", table)}
    assert b"Erika" in own.client.post("/predict_csv", files=files, headers=headers).content
    store = Store(own.database)
    assert store.answers.get(store.users.all()[0].id, "the-file")
    assert store.upkeep.erase("APP-1") == 1
    assert store.answers.get(store.users.all()[0].id, "the-file") is None
    assert store.predictions.count(reference="APP-2") == 1
    store.close()


def file_of(valid, rows):
    "An uploaded file of so many applicants, each with a reference."
    names = list(valid)
    line = ",".join(str(valid[name]) for name in names)
    lines = [f"{line},APP-{i}" for i in range(rows)]
    header = ",".join([*names, "application_reference"])
    return {"file": ("loans.csv", "\n".join([header, *lines, ""]).encode())}


def test_an_answer_that_is_still_given_while_an_applicant_is_erased_is_not_kept(own, valid):
    "The client reads slowly: the service has rows to go, and stores the answer at the end."
    from credit_default.store.store import Store

    headers = {"Authorization": f"Bearer {own.token}", "Idempotency-Key": "slow"}
    files, store = file_of(valid, 30_000), Store(own.database)
    with own.client.stream("POST", "/predict_csv", files=files, headers=headers) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        assert store.answers.get(store.users.all()[0].id, "slow") is None
        assert store.upkeep.erase("APP-1") == 1
        for _ in pieces:
            pass
    end = time.monotonic() + 20
    while store.predictions.count() < 30_000 - 1:
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(1)
    assert store.answers.get(store.users.all()[0].id, "slow") is None
    assert not store.predictions.count(reference="APP-1")
    store.close()


def counted(service):
    "How many predictions /metrics counts."
    text = service.client.get("/metrics").text
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith("credit_default_predictions_total{")
    )


def test_a_file_that_comes_again_after_it_broke_off_is_counted_once(own, valid):
    from credit_default.store.store import Store

    headers = {"Authorization": f"Bearer {own.token}", "Idempotency-Key": "broken"}
    files, store = file_of(valid, 30_000), Store(own.database)
    with own.client.stream("POST", "/predict_csv", files=files, headers=headers) as answer:
        next(answer.iter_raw())  # and the client is gone
    end = time.monotonic() + 20
    while (again := own.client.post("/predict_csv", files=files, headers=headers)).is_error:
        assert again.status_code == 409 and time.monotonic() < end, again.text
        time.sleep(0.5)
    assert store.predictions.count() == 30_000 == counted(own)
    store.close()


def test_a_stop_leaves_no_write_ahead_log(own, valid, tmp_path):
    headers = {"Authorization": f"Bearer {own.token}"}
    assert own.client.post("/predict", json=valid, headers=headers).status_code == 200
    assert (tmp_path / "service.db-wal").stat().st_size
    seconds_to_stop(own)
    wal = tmp_path / "service.db-wal"
    assert not wal.exists() or not wal.stat().st_size


# ---- OAuth2's password flow, as the page of the documentation uses it

FORM = "application/x-www-form-urlencoded"


def test_the_document_names_the_login_as_password_flow(documented):
    schemes = documented["components"]["securitySchemes"]
    flow = schemes["password"]["flows"]["password"]
    assert schemes["password"]["type"] == "oauth2" and flow["tokenUrl"] == "login"
    assert documented["paths"]["/predict"]["post"]["security"] == [{"password": []}, {"token": []}]
    assert set(documented["paths"]["/login"]["post"]["requestBody"]["content"]) == {
        "application/json",
        FORM,
    }


def test_a_login_takes_the_form_of_the_password_flow(service, documented, valid):
    sent = dict(grant_type="password", scope="", username="tests", password="correct horse battery")
    answer = service.client.post("/login", data=sent)
    check_documented(documented, "POST", "/login", answer)
    assert answer.status_code == 200 and answer.json()["token_type"] == "bearer"
    with service.client_of(answer.json()["access_token"]) as client:
        assert client.post("/predict", json=valid).status_code == 200
    for body, status in (
        (sent | {"password": "wrong"}, 401),
        ({"username": "tests"}, 422),
        ({f"field_{i}": i for i in range(30)}, 400),
    ):
        answer = service.client.post("/login", data=body)
        check_documented(documented, "POST", "/login", answer)
        assert answer.status_code == status
    answer = service.client.post("/login", content=b"%ff&&=", headers={"Content-Type": FORM})
    assert answer.status_code == 400


def test_the_page_keeps_the_authorization(service):
    assert '"persistAuthorization": true' in service.client.get("/docs").text
