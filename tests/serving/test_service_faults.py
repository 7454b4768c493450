"""The service where it hurts: processes killed, databases that go and come, full disks, models
exchanged under load. Nothing that was acknowledged is lost.
"""

import itertools
import json
import os
import random
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing, suppress

import httpx
import psutil
import pytest
from postgres import Postgres
from served import ACCOUNT, KEY, ROOT, Server, applicants, log_in, scored
from served import synthetic_bundle as another_bundle

# ---- clients who know to the byte what became of each request

BUSY = "the prediction could not be recorded"


class Connection:
    """One keep-alive connection at a time. An answer is a status; else what stands for it: refused,
    closed (before a byte), half, silent.
    """

    def __init__(self, port, token, seconds=40):
        self.port, self.seconds, self.socket = port, seconds, None
        self.headers = f"Host: localhost\r\nAuthorization: Bearer {token}\r\n"

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None

    def ask(self, method, path, body=b"", kind="application/json"):
        "Status and body."
        got = bytearray()
        try:
            if self.socket is None:
                self.socket = socket.create_connection(
                    ("127.0.0.1", self.port), timeout=self.seconds
                )
        except ConnectionError:
            return "refused", b""
        try:
            self.socket.sendall(
                f"{method} {path} HTTP/1.1\r\n{self.headers}Content-Type: "
                f"{kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            while (answer := whole(got)) is None:
                piece = self.socket.recv(1 << 18)
                if not piece:
                    raise ConnectionResetError
                got += piece
        except TimeoutError:
            self.close()
            return "silent", bytes(got)
        except ConnectionError:
            self.close()
            return "half" if got else "closed", bytes(got)
        if b"\r\nconnection: close" in bytes(got[:2000]).lower():
            self.close()
        return answer


def whole(got):
    "Status and body of a complete HTTP answer; None as long as it is not complete."
    head, end, body = bytes(got[:4000]).partition(b"\r\n\r\n")
    if not end:
        return None
    status, lower = int(head.split(b" ", 2)[1]), head.lower()
    start = len(head) + 4
    if b"transfer-encoding: chunked" in lower:
        return (status, bytes(got[start:])) if got.endswith(b"0\r\n\r\n") else None
    length = int(lower.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    return (status, bytes(got[start : start + length])) if len(got) >= start + length else None


class Load:
    """Clients who send one applicant after the other: `with Load(port, token, sent) as load:
    load.more(100)`.
    """

    def __init__(self, port, token, sent, clients=4, pause=0.002):
        self.port, self.token, self.pause = port, token, pause
        self.bodies = [json.dumps(one).encode() for one in sent]
        self.acknowledged, self.outcomes, self.refused, self.ended = (
            {},
            [],
            [],
            threading.Event(),
        )  # acknowledged: id -> (applicant, model version, PD)
        self.threads = [
            threading.Thread(target=self._client, args=(i, clients), daemon=True)
            for i in range(clients)
        ]

    def _client(self, first, step):
        connection = Connection(self.port, self.token)
        for i in itertools.cycle(range(first, len(self.bodies), step)):
            if self.ended.wait(self.pause):
                connection.close()
                return
            begin = time.monotonic()
            outcome, body = connection.ask("POST", "/predict", self.bodies[i])
            if outcome == 200:
                answer = json.loads(body)
                self.acknowledged[answer["prediction_id"]] = (
                    i,
                    answer["model_version"],
                    answer["probability_default"],
                )
            elif isinstance(outcome, int):
                self.refused.append((outcome, json.loads(body)))
            self.outcomes.append((outcome, begin, time.monotonic()))
            if outcome != 200:
                self.ended.wait(0.02)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self.threads)

    def more(self, n=50, seconds=60):
        "Waits for so many further acknowledgements."
        wanted = len(self.acknowledged) + n
        until(
            lambda: len(self.acknowledged) >= wanted,
            seconds,
            lambda: f"no more answers: {self.kinds()} {self.refused[-1:]}",
        )

    def kinds(self):
        return Counter(outcome for outcome, *_ in self.outcomes)

    def check_refusals(self):
        "Whatever was not answered was refused in the form of errors, and in words."
        for status, body in self.refused:
            assert status == 503 and set(body) == {"error", "detail"} and body["error"], (
                status,
                body,
            )


def until(true, seconds=30, why=lambda: "it did not happen in time"):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, why()
        time.sleep(0.02)


# ---- what the log holds

WANTED = "SELECT prediction_id, model_version, probability_default FROM predictions"


def rows_of(file):
    "The predictions in a SQLite file, which must be a sound one."
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return db.execute(WANTED).fetchall()


def check_kept(acknowledged, rows, expected=None):
    """Every acknowledged prediction is there once, as it was answered; what else is there are
    requests whose clients got no answer.
    """
    counted = Counter(one for one, *_ in rows)
    assert acknowledged and not {one: n for one, n in counted.items() if n > 1}
    lost = acknowledged.keys() - counted.keys()
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged predictions are lost"
    kept = {one: (version, pd) for one, version, pd in rows}
    for one, (i, version, pd) in acknowledged.items():
        assert kept[one] == (version, pd)
        if expected:
            assert pd == expected[version][i], (version, i)


# ---- services, and all of their processes


@pytest.fixture(scope="module")
def models(bentoml_home, synthetic_bundle, tmp_path_factory):
    """A folder with a model store of two bundles, the applicants that clients send, and what each
    bundle says of them.
    """
    from credit_default.scoring.registry import save_bundle

    bundle = another_bundle(rows=2500)
    save_bundle(bundle)
    home = tmp_path_factory.mktemp("models") / "home"
    shutil.copytree(
        bentoml_home,
        home,
        ignore=shutil.ignore_patterns("prometheus_multiproc_dir", "tmp", "credit_default"),
    )
    (home / "credit_default" / "gmsc").mkdir(parents=True)
    (home / "credit_default" / "gmsc" / "champion.json").write_text(
        json.dumps(
            [dict(tag=synthetic_bundle.tag, at="2026-01-01T00:00:00+00:00", by="tests", why="")]
        )
    )
    frame, sent = applicants(synthetic_bundle.portfolio, 200, seed=3)
    expected = {
        one.tag: [answer["probability_default"] for answer in scored(one, frame)]
        for one in (synthetic_bundle, bundle)
    }
    first, second = expected.values()
    assert sum(a != b for a, b in zip(first, second)) > 190  # an answer says which of them gave it
    return home, sent, expected


class Service(Server):
    "A service in a home of its own, all of whose processes can be found, whoever started them."

    def __init__(self, models, folder, home=None, log="log", **settings):
        self.folder, self.home = folder, home or folder / "home"
        if not self.home.exists():
            shutil.copytree(models, self.home)
        lean, temporary = (
            folder / "lean",
            folder / "tmp",
            # the worker starts in half the time, as where only the serving requirements are
            # installed
        )
        for one in (lean, temporary):
            one.mkdir(exist_ok=True)
        (lean / "sitecustomize.py").write_text(
            'import sys\nsys.modules |= dict.fromkeys(("sklearn", "pandas"))\n'
        )
        super().__init__(
            self.home, folder / log, **dict(PYTHONPATH=str(lean), TMPDIR=str(temporary)) | settings
        )
        self.mark, self.token, self.database = (
            self.environment["TMPDIR"],
            None,
            self.home / "credit_default" / "service.db",
        )

    def processes(self):
        "All that are alive."
        found = []
        for one in psutil.process_iter():
            with suppress(psutil.Error):
                if (
                    one.environ().get("TMPDIR") == self.mark
                    and one.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(one)
        return found

    def workers(self):
        found = []
        for one in self.processes():
            with suppress(psutil.Error):
                if "_bentoml_impl.worker.service" in one.cmdline():
                    found.append(one)
        return found

    def log_in(self):
        log_in(self.client)
        self.token = self.client.headers["Authorization"].removeprefix("Bearer ")
        return self

    def up(self):
        return self.start().ready().log_in()

    def health(self):
        answer = self.client.get("/health")
        return answer.json() if answer.status_code == 200 else dict(status=answer.text, spooled=0)

    def is_well(self, looks=8):
        "Nothing waits, and nothing is amiss, at any worker: connections are shared among them."
        for _ in range(looks):
            with httpx.Client(base_url=self.client.base_url, trust_env=False, timeout=20) as client:
                answer = client.get("/health")
            if (
                answer.status_code != 200
                or answer.json()["status"] != "ok"
                or answer.json()["spooled"]
            ):
                return False
        return True

    def load(self, sent, **options):
        return Load(self.port, self.token, sent, **options)

    def said(self):
        "What is in its log besides requests."
        return "\n".join(
            line for line in self.log.read_text().splitlines() if '"event": "request"' not in line
        )[-5000:]

    def port_is_free(self):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
                probe.listen()
            except OSError:
                return False
            return True

    def end(self):
        "Whatever is left of it."
        for one in self.processes():
            with suppress(psutil.Error):
                one.kill()
        if getattr(self, "process", None):
            self.process.wait(20)
            self.client.close()


class Commands:
    """`credit-default ...` for one service, one command after the other in one process: it is the
    imports that take time.
    """

    def __init__(self, service):
        code = (
            "import shlex, sys\nfrom credit_default.cli.app import app\nfor line in sys.stdin:\n   "
            " try: app(shlex.split(line), prog_name='credit-default')\n"
            "    except SystemExit as e: print(f'exit {e.code or 0}', flush=True)\n"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=service.environment | {"TMPDIR": str(service.folder)},
            text=True,
            bufsize=1,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def __call__(self, *words):
        self.process.stdin.write(shlex.join(map(str, words)) + "\n")
        told = []
        for line in self.process.stdout:
            if line.startswith("exit "):
                assert line == "exit 0\n", "".join(told)
                return "".join(told)
            told.append(line)
        raise AssertionError("".join(told))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(20)


@pytest.fixture
def make(models, tmp_path):
    "Makes services, and ends them."
    made = []

    def make(**options):
        made.append(Service(models[0], tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture(scope="module")
def two_workers(models, tmp_path_factory):
    service = Service(models[0], tmp_path_factory.mktemp("two"), CREDIT_DEFAULT_WORKERS="2")
    yield service
    service.end()


@pytest.fixture
def running(two_workers):
    """A service of two workers on SQLite. It serves several tests; one that ends it leaves it to
    the next to start it again.
    """
    if not two_workers.processes():
        two_workers.up()
    return two_workers


@pytest.fixture(scope="module")
def command(two_workers):
    "`command('models', 'promote', tag)` for that service: what it printed."
    with Commands(two_workers) as command:
        yield command


# ---- kill -9


class Supervisor(threading.Thread):
    "Starts a service again whenever it ends, as systemd does with Restart=always."

    def __init__(self, service):
        super().__init__(daemon=True)
        self.service, self.starts, self.ended = service, 0, threading.Event()

    def run(self):
        while not self.ended.is_set():
            with self.service.log.open("a") as log:
                self.service.process = subprocess.Popen(
                    self.service.command,
                    cwd=ROOT,
                    env=self.service.environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self.starts += 1
            self.service.process.wait()
            self.ended.wait(0.2)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.service.end()
        self.join(20)


def kill(*processes):
    for one in processes:
        with suppress(psutil.Error):
            one.kill()


# worker: one of two; tree: all at once; parent: the supervising process alone; young: all at once,
# and then the parent of the next ones alone while its workers are still starting; respawned:
# nobody, but both workers are there
SHORT = ["worker", "parent", "worker", "young", "worker"]
LONG = ["worker", "worker", "respawned", "parent", "tree", "young"]


@pytest.mark.parametrize(
    "victims",
    [
        pytest.param(SHORT, id="short"),
        pytest.param(LONG * 20, marks=pytest.mark.slow, id="20 times"),
    ],
)
def test_killed_under_load(make, models, victims):
    service, chance = make(CREDIT_DEFAULT_WORKERS="2"), random.Random(1)
    service.client = httpx.Client(
        base_url=f"http://127.0.0.1:{service.port}", trust_env=False, timeout=60
    )

    def is_ready():
        with suppress(httpx.TransportError):
            return service.client.get("/readyz").status_code == 200

    with Supervisor(service) as supervisor:
        until(is_ready, 90, service.said)
        service.log_in()
        with service.load(models[1]) as load:
            for victim in victims:
                load.more(20 + chance.randrange(30))
                parent, starts, workers = service.process, supervisor.starts, service.workers()
                if victim == "worker":
                    kill(chance.choice(workers))
                    # the other one goes on; where there is none, clients wait for the next
                    continue
                if victim == "respawned":
                    until(lambda: len(service.workers()) == 2)
                    continue
                if victim == "young":
                    kill(*service.processes())
                    until(lambda: supervisor.starts > starts and service.workers(), 60)
                    parent, starts, workers = service.process, supervisor.starts, service.workers()
                    time.sleep(chance.random())
                if victim == "tree":
                    kill(*service.processes())
                else:
                    kill(psutil.Process(parent.pid))
                    until(
                        lambda: not any(map(psutil.Process.is_running, workers)),
                        60 if victim == "young" else 5,
                        lambda: f"{victim}: orphans keep the port",
                    )
                until(lambda: supervisor.starts > starts, 10)
                load.more(1, seconds=90)
                check_kept(dict(load.acknowledged), rows_of(service.database), models[2])
            load.more(20)
        until(service.is_well)
        assert service.client.get("/metrics").status_code == 200
        assert load.kinds().keys() <= {200, 503, "refused", "closed", "half"}
        load.check_refusals()
        spool = service.database.with_name("spool.db")
        check_kept(load.acknowledged, rows_of(service.database) + rows_of(spool), models[2])
    # the last worker lets go of the port a moment after its parent
    until(lambda: not service.processes() and service.port_is_free(), 10)


# ---- PostgreSQL


def in_words(answer, error, where=None):
    "An error of the service: its form, and what it says."
    assert answer.status_code == 503, answer.text
    body = answer.json()
    assert body["error"] == error and (
        where is None or [one["loc"] for one in body["detail"]] == [where]
    ), body
    return body["detail"][0]["msg"] if body["detail"] else ""


def cut_off(server):
    """As by a power cut, also where it hangs: one that goes on again first would take up the
    connections that wait for it.
    """
    server._signal(signal.SIGKILL)
    server.process.wait(20)


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_postgresql_comes_and_goes(make, models, times):
    from credit_default.serving.roles import Role, User
    from credit_default.serving.tokens import Tokens

    if missing := Postgres.missing():
        pytest.skip(missing)
    with Postgres() as server:
        name = (url := server.database()).rpartition("/")[2]
        server.pause()
        service = make(CREDIT_DEFAULT_DATABASE_URL=url, CREDIT_DEFAULT_WORKERS="2").start()
        token = Tokens(KEY).issue(User("known-from-before", "anna", Role.analyst))[0]

        def probe():
            with suppress(httpx.TransportError):
                return service.client.get("/readyz").status_code

        # started while it hangs, then while it is not there at all
        until(lambda: probe() == 503, 60, service.said)
        for away in ("hangs", "is stopped")[:times]:
            if away == "is stopped":
                cut_off(server)
            in_words(service.client.get("/readyz"), "not ready", ["database"])
            in_words(service.client.get("/health"), "the prediction log is away", ["database"])
            with Load(service.port, token, models[1], clients=3) as early:
                slowest, end = 0.0, time.monotonic() + 2
                while time.monotonic() < end:
                    begin = time.monotonic()
                    assert service.client.get("/livez").status_code == 200
                    slowest = max(slowest, time.monotonic() - begin)
            assert early.kinds().keys() == {503} and not early.acknowledged
            assert {body["detail"][0]["loc"][0] for _, body in early.refused} == {
                "database"
            } and all(
                "database" in body["error"] or "log" in body["error"] for _, body in early.refused
            )
            assert slowest < 1, (
                f"PostgreSQL {away}: a request that waits for it keeps all others waiting for "
                f"{slowest:.1f} s"
            )
            said = service.client.post(
                "/login", json={k: ACCOUNT[k] for k in ("username", "password")}
            )
            in_words(said, "the database is away", ["database"])
        (server.resume if times == 1 else server.start)()
        until(lambda: probe() == 200, 20)
        service.ready().log_in()
        until(service.is_well, 20)  # the other worker connects a moment later

        with service.load(models[1]) as load:
            for turn in range(2 * times):
                load.more(50)
                pause = turn >= times
                (server.pause if pause else server.stop)()
                until(
                    lambda: (
                        service.health()["status"] == "degraded" and service.health()["spooled"] > 0
                    ),
                    20,
                )
                load.more(50)
                told = service.health()
                assert (
                    told["status"] == "degraded"
                    and told["spooled"] > 0
                    and "database" in told["database"]
                )
                assert probe() == 200
                (server.resume if pause else server.start)()
                load.more(50)
                until(service.is_well, 40, lambda: f"still {service.health()}")
        # a worker that has not noticed yet may still have written to the spool a moment ago, and
        # each tells of the spool as of its last look
        until(lambda: rows_of(service.database.with_name("spool.db")) == [])
        assert load.kinds().keys() == {200}, (load.kinds(), load.refused[:3])
        check_kept(load.acknowledged, server.sql(WANTED, name), models[2])


# ---- full disks


@pytest.fixture
def volume(tmp_path):
    """Makes small disks of the given megabytes: a folder each, and a function that fills it to the
    last byte, or makes room again.
    """
    made = []

    def volume(name, megabytes=96):
        folder = tmp_path / name
        folder.mkdir()
        done = (
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder],
                capture_output=True,
                text=True,
            )
            if os.geteuid() == 0
            else None
        )
        if done is None or done.returncode:
            pytest.skip(
                f"a small disk: {done.stderr.strip() if done else 'only root may mount one'}"
            )
        made.append(folder)

        def fill(full=True):
            if not full:
                (folder / "filler").unlink()
                return
            with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
                for size in (1 << 20, 4096, 1):
                    with suppress(OSError):
                        while file.write(b"\0" * size):
                            continue
            assert shutil.disk_usage(folder).free == 0

        return folder, fill

    yield volume
    for folder in made:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize(
    "kept_apart",
    [True, pytest.param(False, marks=pytest.mark.slow)],
    ids=["spool elsewhere", "spool beside it"],
)
def test_a_full_disk(make, models, volume, kept_apart):
    log, fill_log = volume("log's disk")
    spool, fill_spool = volume("spool's disk") if kept_apart else (log, None)
    service = make(
        CREDIT_DEFAULT_DATABASE_URL=f"sqlite:///{log}/service.db",
        CREDIT_DEFAULT_SPOOL=f"{spool}/spool.db",
    ).up()
    with service.load(models[1]) as load:
        load.more(50)
        fill_log()
        if kept_apart:
            until(lambda: service.health()["spooled"] > 0)
            load.more(50)
            told = service.health()
            assert (told["status"], told["database"]) == (
                "degraded",
                "the database's disk is full",
            ) and not load.refused
            fill_spool()
        until(lambda: len(load.refused) >= 50)
        load.check_refusals()
        assert {body["error"] for _, body in load.refused} == {BUSY}
        assert (
            service.health()["status"] == "degraded"
            and service.client.get("/livez").status_code == 200
        )
        if not kept_apart:  # and started again on the full disk
            kill(*service.processes())
            service.process.wait(20)
            service.start()
            refused = len(load.refused)
            until(lambda: len(load.refused) > refused + 20, 60, service.said)
        fill_log(False)
        if kept_apart:
            load.more(50)
            fill_spool(False)
        load.more(100)
        until(service.is_well, 20, lambda: f"still {service.health()}")
        load.more(50)
    until(service.is_well)
    assert load.kinds().keys() <= (
        {200, 503} if kept_apart else {200, 503, "refused", "closed", "half"}
    ), load.kinds()
    load.check_refusals()
    check_kept(
        load.acknowledged, rows_of(log / "service.db") + rows_of(spool / "spool.db"), models[2]
    )


@pytest.mark.slow
def test_a_disk_that_is_full_of_everything(make, models, volume):
    """Log, spool, home and the workers' figures on one disk, as in a container: no worker dies of
    it, and each request is told.
    """
    disk, fill = volume("disk", 160)
    (disk / "tmp").mkdir()
    service = make(home=disk / "home", TMPDIR=str(disk / "tmp")).up()
    with service.load(models[1]) as load:
        load.more(50)
        workers = service.workers()
        fill()
        until(lambda: load.refused)
        for path in [
            "/docs",
            "/model",
            "/predictions",
            "/nowhere",
            "/docs.json",
            "/metrics",
        ] * 3:  # endpoints that were not counted yet
            assert service.client.get(path).status_code in (200, 404), path
        service.client.post("/predict", json=[])
        time.sleep(1)
        assert service.workers() == workers
        load.check_refusals()
        fill(False)
        load.more(50)
    until(service.is_well)
    assert load.kinds().keys() == {200, 503}
    check_kept(load.acknowledged, rows_of(service.database), models[2])


# ---- models that change under load


@pytest.mark.parametrize("times", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_promoted_back_and_forth_under_load(running, command, models, times):
    "Two workers: each answer is that of the model which it names."
    first, second = models[2]
    batches = []

    def send():
        connection = Connection(running.port, running.token)
        while not load.ended.wait(0.05):
            batches.append(connection.ask("POST", "/predict_batch", json.dumps(models[1]).encode()))

    with running.load(models[1]) as load:
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        begin = time.monotonic()
        for turn in range(times):
            tag = (second, first)[turn % 2]
            at = time.monotonic()
            command("models", "promote", tag, "--because", f"turn {turn}")
            seen = len(load.acknowledged)
            if times == 4 or turn == times - 1:
                until(
                    lambda: (
                        sorted(
                            {version for _, version, _ in list(load.acknowledged.values())[-60:]}
                        )
                        == [tag]
                        and len(load.acknowledged) > seen + 60
                    ),
                    10,
                )
            else:
                time.sleep(max(0.0, 60 / times - (time.monotonic() - at)))
        seconds = time.monotonic() - begin
    sender.join(20)
    assert load.kinds().keys() == {200}, (load.kinds(), load.refused[:3])
    rows = rows_of(running.database)
    check_kept(load.acknowledged, rows, models[2])
    answered = Counter(version for _, version, _ in load.acknowledged.values())
    assert answered.keys() == {first, second} and min(answered.values()) > 50
    assert len(batches) > 5 and {status for status, _ in batches} == {200}
    for one in (json.loads(body) for _, body in batches):
        [version] = {answer["model_version"] for answer in one}
        assert [answer["probability_default"] for answer in one] == models[2][version]
        check_kept(
            {
                answer["prediction_id"]: (i, version, answer["probability_default"])
                for i, answer in enumerate(one)
            },
            rows,
        )
    if times > 4:
        assert seconds >= 55


def test_a_damaged_champion_is_not_taken_up(running, command, models):
    """Written into champion.json by hand, as no command would: the old one goes on. Mended or taken
    back, all is well again.
    """
    first, second = models[2]
    champions, folder = (
        running.home / "credit_default" / "gmsc" / "champion.json",
        running.home / "models" / second.replace(":", "/"),
    )
    until(running.is_well)
    history = json.loads(champions.read_text())
    assert history[-1]["tag"] == first
    model = next(folder.glob("*.ubj"))
    sound = model.read_bytes()
    model.write_bytes(sound[:-1])
    event = history[-1] | dict(tag=second, by="somebody's hand")

    def told():
        "What each worker says."
        out = []
        for _ in range(12):
            with httpx.Client(base_url=running.client.base_url, trust_env=False) as client:
                out.append(client.get("/health").json())
        return out

    with running.load(models[1]) as load:
        load.more(20)
        champions.write_text(json.dumps(history + [event]))
        until(lambda: all(one["status"] == "degraded" for one in told()), 10)
        assert {one["model_version"] for one in told()} == {first} and all(
            "damaged" in one["refused_model"] and model.name in one["refused_model"]
            for one in told()
        )
        load.more(50)
        command("models", "rollback", "--why", "it is damaged")
        until(running.is_well, 10, lambda: f"after the rollback: {running.health()}")
        assert {one["model_version"] for one in told()} == {first}
        assert {version for _, version, _ in load.acknowledged.values()} == {first}

        champions.write_text(
            json.dumps(
                json.loads(champions.read_text()) + [event | dict(at="2026-01-02T00:00:00+00:00")]
            )
        )
        until(lambda: all(one["status"] == "degraded" for one in told()), 10)
        model.write_bytes(sound)
        command("models", "promote", second, "--because", "it is whole again")
        until(
            lambda: {one["model_version"] for one in told()} == {second} and running.is_well(),
            10,
            lambda: f"mended and promoted, it is not taken up: {running.health()}",
        )
        load.more(50)
        command("models", "rollback")
        until(lambda: {one["model_version"] for one in told()} == {first} and running.is_well(), 10)
    assert load.kinds().keys() == {200}
    check_kept(load.acknowledged, rows_of(running.database), models[2])


# ---- backup and restore


def test_a_backup_under_load_is_whole(running, command, make, models, tmp_path):
    "And a service starts on it: users, predictions, all that was acknowledged before."
    copy = tmp_path / "copy.db"
    with running.load(models[1]) as load:
        load.more(200)
        before = dict(load.acknowledged)
        command("log", "backup", copy)
        after = len(load.acknowledged)
        load.more(50)
    assert load.kinds().keys() == {200} and copy.stat().st_mode & 0o777 == 0o600
    rows = rows_of(copy)
    check_kept(before, rows, models[2])
    service = make(
        CREDIT_DEFAULT_DATABASE_URL=f"sqlite:///{tmp_path / 'restored' / 'service.db'}",
        CREDIT_DEFAULT_SIGNUP="closed",
    )
    (tmp_path / "restored").mkdir()
    shutil.copy(copy, tmp_path / "restored" / "service.db")
    service.start().ready()
    service.client.headers["Authorization"] = (
        f"Bearer {running.token}"  # the same key, and the user is in it
    )
    kept, page = [], None
    while page is None or page["next"]:
        page = service.client.get(
            "/predictions", params=dict(limit=1000) | ({"after": page["next"]} if page else {})
        ).json()
        kept += [
            (one["prediction_id"], one["model_version"], one["probability_default"])
            for one in page["predictions"]
        ]
    assert sorted(kept) == sorted(rows) and len(rows) >= after - 10
    with Load(service.port, running.token, models[1]) as further:
        further.more(20)
    check_kept(
        before | further.acknowledged, rows_of(tmp_path / "restored" / "service.db"), models[2]
    )


# ---- SIGTERM: after all that the service of two workers has been through

CSV_ROWS = 20_000


def csv_upload(portfolio, rows):
    frame, _ = applicants(portfolio, rows, seed=4)
    return (
        b'--part\r\nContent-Disposition: form-data; name="file"; '
        b'filename="loans.csv"\r\nContent-Type: text/csv\r\n\r\n'
        + frame.to_csv(index=False).encode()
        + b"\r\n--part--\r\n"
    )


@pytest.mark.parametrize("whom", ["parent", pytest.param("everybody", marks=pytest.mark.slow)])
def test_sigterm_under_load(running, models, synthetic_bundle, whom):
    """To the supervising process alone, as `docker stop` does, or to all processes at once, as
    systemd does.
    """
    upload, many = (
        csv_upload(synthetic_bundle.portfolio, CSV_ROWS),
        json.dumps(models[1] * 25).encode(),
    )
    large = []

    def send(path, body, kind):
        connection = Connection(running.port, running.token)
        while not large or large[-1][1] == 200:
            large.append((path, *connection.ask("POST", path, body, kind)))

    senders = [
        threading.Thread(target=send, args=one, daemon=True)
        for one in (
            ("/predict_csv", upload, "multipart/form-data; boundary=part"),
            ("/predict_batch", many, "application/json"),
        )
    ]
    before, logged = len(rows_of(running.database)), len(running.log.read_text())
    with running.load(models[1], clients=6, pause=0) as load:
        for one in senders:
            one.start()
        load.more(300)
        until(lambda: {"/predict_csv", "/predict_batch"} <= {path for path, *_ in large})
        begin = time.monotonic()
        for one in (
            [psutil.Process(running.process.pid)] if whom == "parent" else running.processes()
        ):
            one.terminate()
        assert running.process.wait(15) == 0, running.said()
        assert time.monotonic() - begin < 15
        until(lambda: not running.processes(), 2)
        assert running.port_is_free()
        for one in senders:
            one.join(20)
    assert load.kinds().keys() <= {200, 503, "refused", "closed"}, load.kinds()
    assert {outcome for _, outcome, _ in large} <= {200, 503, "refused", "closed"}, [
        one[:2] for one in large
    ]
    load.check_refusals()
    rows = rows_of(running.database)
    check_kept(load.acknowledged, rows, models[2])
    for _, answer in [one[1:] for one in large if one[:2] == ("/predict_batch", 200)]:
        check_kept(
            {
                one["prediction_id"]: (i % 200, one["model_version"], one["probability_default"])
                for i, one in enumerate(json.loads(answer))
            },
            rows,
            models[2],
        )
    answered = sum(path == "/predict_csv" and outcome == 200 for path, outcome, _ in large)
    assert answered and len(rows) - before - len(load.acknowledged) >= answered * CSV_ROWS
    assert not [
        line for line in running.log.read_text()[logged:].splitlines() if '"level": "error"' in line
    ]


# ---- memory


@pytest.mark.slow
def test_memory_stays(make, models, tmp_path):
    "After 200,000 requests at most 1.2 times that after 20,000."
    service = make().up()
    [worker] = service.workers()
    script = tmp_path / "post.lua"
    bodies = ", ".join(f"[[{json.dumps(one)}]]" for one in models[1])
    script.write_text(
        f"local bodies, i = {{{bodies}}}, 0\nwrk.method = 'POST'\nwrk.headers['Content-Type'] = "
        "'application/json'\n"
        f"wrk.headers['Authorization'] = 'Bearer {service.token}'\nrequest = function() i = i % "
        "#bodies + 1; return wrk.format(nil, nil, nil, bodies[i]) end\n"
    )

    def answered():
        with closing(
            sqlite3.connect(f"file:{service.database}?mode=ro", uri=True, timeout=20)
        ) as db:
            return db.execute("SELECT max(seq) FROM predictions").fetchone()[0] or 0

    def reach(n):
        if shutil.which("wrk"):
            while answered() < n:
                done = subprocess.run(
                    [
                        "wrk",
                        "-t1",
                        "-c16",
                        "-d5s",
                        "-s",
                        script,
                        f"http://127.0.0.1:{service.port}/predict",
                    ],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, (
                    done.stdout
                )
        else:
            with service.load(models[1], clients=16, pause=0) as load:
                load.more(n - answered(), seconds=1200)
            assert load.kinds().keys() == {200}
        return worker.memory_info().rss / 2**20

    early, late = reach(20_000), reach(200_000)
    print(f"{early:.1f} MiB after 20,000 requests, {late:.1f} MiB after {answered():,}")
    assert late <= 1.2 * early
