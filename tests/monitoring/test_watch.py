"""Alerts to real receivers on this machine that refuse, hang or are not there; and checks that tell
each change of state once, whatever dies in between.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default as default_policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import tenacity
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from interrupts import take_interrupts
from served import ROOT, free_port

from credit_default.core.settings import SettingsError, read_settings
from credit_default.monitoring import alerts
from credit_default.monitoring.alerts import (
    Alert,
    Command,
    DeliveryFailed,
    Mail,
    Webhook,
    read_channels,
    send_alert,
)
from credit_default.monitoring.changes import Trouble
from credit_default.monitoring.watch import (
    AlreadyWatched,
    CheckOptions,
    mark_report,
    prune_reports,
    read_state,
    run_check,
    watch_lock,
    watch_portfolio,
)
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.scoring.reference import Reference
from credit_default.store.checks import CheckRecord
from credit_default.store.errors import DatabaseUnavailable
from credit_default.store.predictions import Entry
from credit_default.store.schema import example_prediction
from credit_default.store.store import Store

SECRET = "s3cret-of-the-tests"
APPLICANT = "98765.4321"  # an income that must not be told
ALERT = Alert(
    "credit_default: gmsc: drift in age",
    "Applicants differ: age has a PSI of 0.412.\nReport: drift.html",
    dict(portfolio="gmsc", psi={"age": 0.412}),
)
AT_ONCE = dict(wait=tenacity.wait_none())
TAG = "credit_default_gmsc:0a1b2c3d4e5f6071"


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    "A home of the test's own; no proxy between it and its receivers."
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CREDIT_DEFAULT_ENV_FILE", os.devnull)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


class Web:
    "A webhook's receiver: answers with `answers` in turn, then with 200; keeps what it took."

    def __init__(self):
        web = self
        self.answers, self.asked, self.taken = [], [], []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = web.answers.pop(0) if web.answers else 200
                web.asked.append((self.path, status))
                if status == 200:
                    web.taken.append(json.loads(body))
                self.send_response(status, SECRET)  # what it says is not repeated either
                self.send_header("Location", f"http://127.0.0.1:{web.port}/elsewhere/{SECRET}")
                self.end_headers()
                self.wfile.write(SECRET.encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/services/{SECRET}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Mailbox:
    "A mail server: answers messages with `refusals` in turn, then takes them."

    def __init__(self, **options):
        self.refusals, self.taken, self.quits, self.logins, self.unknown = [], [], [], [], set()
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)
        self.controller = Controller(
            self, hostname="127.0.0.1", port=free_port(), authenticator=self.authenticate, **options
        )
        self.controller.start()
        self.address = f"127.0.0.1:{self.controller.port}"

    def authenticate(self, server, session, envelope, mechanism, data):
        self.logins.append((data.login, data.password, session.ssl is not None))
        return AuthResult(success=data.password == SECRET.encode(), handled=False)

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802  the library's name
        if address in self.unknown:
            return f"550 no {SECRET}"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802  the library's name
        if self.refusals:
            return self.refusals.pop(0)
        self.taken.append(envelope)
        return "250 taken"

    async def handle_QUIT(self, server, session, envelope):  # noqa: N802  the library's name
        self.quits.append(session)
        server.transport.abort()  # no goodbye
        return "221 Bye"


@pytest.fixture
def web():
    server = Web()
    yield server
    server.close()


@pytest.fixture
def mailbox():
    made = []

    def make(**options):
        made.append(Mailbox(**options))
        return made[-1]

    yield make
    for one in made:
        one.controller.stop()


@pytest.fixture
def silent():
    "The port of a server that takes connections and says nothing."
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def mail(address, *recipients, scheme="smtp", **options):
    return Mail(
        f"{scheme}://{address}",
        "risk@bank.example.com",
        recipients or ("anna@bank.example.com",),
        **options,
    )


def why(channel):
    with pytest.raises(DeliveryFailed) as raised:
        channel.deliver(ALERT)
    assert SECRET not in "".join(
        map(str, [raised.value, channel, raised.getrepr(showlocals=False, chain=True)])
    )
    return str(raised.value), raised.value.again


# Channels


def test_a_webhook_that_fails_twice_is_told_at_the_third_attempt(web):
    web.answers += [503, 429]
    assert send_alert(ALERT, [Webhook(web.url)], **AT_ONCE) == []
    assert [status for _, status in web.asked] == [503, 429, 200]
    assert web.taken == [{"text": f"*{ALERT.subject}*\n{ALERT.text}"}]


def test_what_a_name_holds_is_text_in_a_chat_room_and_in_a_mail(web, mailbox):
    hostile, box = "<!channel> <http://x.example|age> & @everyone", mailbox()
    alert = Alert(f"drift in {hostile}", f"Applicants differ: {hostile}")
    assert send_alert(alert, [Webhook(web.url), mail(box.address)], **AT_ONCE) == []
    shown = "&lt;!channel&gt; &lt;http://x.example|age&gt; &amp; @\u200beveryone"
    assert web.taken == [{"text": f"*drift in {shown}*\nApplicants differ: {shown}"}]
    message = message_from_bytes(box.taken[0].content, policy=default_policy)
    assert message.get_content_type() == "text/plain" and not message.is_multipart()
    assert message.get_content().strip() == alert.text


def test_a_mail_server_that_fails_twice_is_told_at_the_third_attempt(mailbox):
    box = mailbox()
    box.refusals += ["451 come back later", "421 too busy"]
    assert (
        send_alert(ALERT, [mail(box.address, "anna@bank.example.com", "root@localhost")], **AT_ONCE)
        == []
    )
    [envelope] = box.taken
    message = message_from_bytes(envelope.content, policy=default_policy)
    assert (envelope.mail_from, envelope.rcpt_tos) == (
        "risk@bank.example.com",
        ["anna@bank.example.com", "root@localhost"],
    )
    assert (message["Subject"], message["From"], message["To"]) == (
        ALERT.subject,
        "risk@bank.example.com",
        "anna@bank.example.com, root@localhost",
    )
    assert (
        message["Auto-Submitted"] == "auto-generated"
        and message["Message-ID"].endswith("@bank.example.com>")
        and message["Date"]
    )
    assert message.get_content().replace("\r\n", "\n") == ALERT.text + "\n"


def test_a_server_that_hangs_up_after_taking_a_message_is_not_told_twice(mailbox):
    box = mailbox()
    assert send_alert(ALERT, [mail(box.address)], **AT_ONCE) == []
    assert len(box.taken) == len(box.quits) == 1


def test_an_unknown_recipient_does_not_keep_it_from_the_others(mailbox):
    box = mailbox()
    box.unknown.add("gone@bank.example.com")
    [problem] = send_alert(
        ALERT, [mail(box.address, "anna@bank.example.com", "gone@bank.example.com")], **AT_ONCE
    )
    assert (problem.delivered, str(problem), len(box.taken)) == (
        True,
        "alert by email: 1 of 2 recipients were refused",
        1,
    )
    [problem] = send_alert(ALERT, [mail(box.address, "gone@bank.example.com")], **AT_ONCE)
    assert (problem.delivered, problem.text, len(box.taken)) == (
        False,
        "every recipient was refused",
        1,
    )


@pytest.fixture
def certificate(tmp_path):
    "A certificate of 127.0.0.1 that it signed itself, with its key."
    made = tmp_path / "certificate.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            tmp_path / "key.pem",
            "-out",
            made,
        ],
        check=True,
        capture_output=True,
    )
    return made


def test_a_password_goes_over_tls_to_a_server_that_is_verified(mailbox, certificate, monkeypatch):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.parent / "key.pem")
    box = mailbox(tls_context=context, auth_require_tls=True)
    way = mail(f"risk%40bank:{SECRET}@{box.address}")
    assert (
        why(way)
        == (
            "no TLS connection to the mail server: check its certificate and the port",
            False,
        )
        and box.logins == []
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert way.deliver(ALERT) == "" and len(box.taken) == 1
    assert box.logins == [(b"risk@bank", SECRET.encode(), True)]
    assert why(mail(f"risk:{SECRET}x@{box.address}")) == (
        "the mail server answered with code 535",
        False,
    )
    assert why(mail(f"risk:%C3%A4{SECRET}@{box.address}")) == (
        "the mail server does not accept this password or address",
        False,
    )


def test_without_tls_a_password_goes_to_this_machine_alone(mailbox, monkeypatch):
    box = mailbox(auth_require_tls=False)
    assert mail(f"risk:{SECRET}@{box.address}").deliver(ALERT) == "" and box.logins == [
        (b"risk", SECRET.encode(), False)
    ]
    monkeypatch.setattr(alerts, "is_this_machine", lambda host: False)
    assert why(mail(f"risk:{SECRET}@{box.address}")) == (
        "the mail server offers no TLS, and a password is not sent without it",
        False,
    )
    assert len(box.logins) == len(box.taken) == 1


def test_who_is_down_or_says_nothing_is_named_without_the_address(silent, caplog):
    caplog.set_level(logging.DEBUG)
    nobody = free_port()
    assert why(Webhook(f"http://127.0.0.1:{nobody}/{SECRET}")) == ("cannot be reached", True)
    assert why(mail(f"risk:{SECRET}@127.0.0.1:{nobody}")) == (
        "the mail server cannot be reached",
        True,
    )
    begin = time.monotonic()
    assert why(Webhook(f"http://127.0.0.1:{silent}/{SECRET}", seconds=0.3)) == (
        "did not answer within 0.3 seconds",
        True,
    )
    assert why(mail(f"risk:{SECRET}@127.0.0.1:{silent}", seconds=0.3)) == (
        "the mail server closed the connection or did not answer within 0.3 seconds",
        True,
    )
    assert time.monotonic() - begin < 5 and SECRET not in caplog.text


def test_no_log_holds_the_address_of_a_webhook(web, mailbox, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    web.answers += [500, 302, 404]
    box = mailbox(auth_require_tls=False)
    box.refusals += [f"451 {SECRET}", f"554 {SECRET}"]
    ways = [Webhook(web.url), mail(f"risk:{SECRET}@{box.address}"), Command(f": {SECRET}; exit 7")]
    problems = send_alert(ALERT, ways, attempts=3, **AT_ONCE)
    assert [str(problem) for problem in problems] == [
        (
            "alert by webhook: answered with status 302: is the address still correct?, after "
            "2 attempts"
        ),
        "alert by email: the mail server answered with code 554, after 2 attempts",
        "alert by command: ended with exit code 7, after 3 attempts",
    ]
    assert all(
        path == f"/services/{SECRET}" for path, _ in web.asked
    )  # it did not follow the redirect
    kept = [
        record.getMessage()
        for record in caplog.records
        if record.name.split(".")[0] in ("httpx", "credit_default", "tenacity", "root")
    ]
    assert SECRET not in repr([problems, ways, kept]) and SECRET not in "".join(capfd.readouterr())


def test_a_command_gets_the_figures_and_the_text_and_no_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("CREDIT_DEFAULT_SECRET_KEY", SECRET * 3)
    Command(
        f'cat > {tmp_path}/json; printf %s "$CREDIT_DEFAULT_ALERT" > {tmp_path}/text; env > '
        f"{tmp_path}/env"
    ).deliver(ALERT)
    assert json.loads((tmp_path / "json").read_text()) == ALERT.payload | dict(
        subject=ALERT.subject, text=ALERT.text
    )
    assert (tmp_path / "text").read_text() == f"{ALERT.subject}\n{ALERT.text}" and SECRET not in (
        tmp_path / "env"
    ).read_text()


def test_a_command_that_fails_is_run_again_and_one_that_reads_nothing_is_well(tmp_path):
    [problem] = send_alert(
        ALERT, [Command(f"echo once >> {tmp_path}/runs; exit 7")], attempts=3, **AT_ONCE
    )
    assert (
        problem.text == "ended with exit code 7, after 3 attempts"
        and (tmp_path / "runs").read_text().count("once") == 3
    )
    assert (
        send_alert(Alert("much", "text", dict(rows=["x" * 1000] * 1000)), [Command("true")]) == []
    )
    assert why(Command(f"{SECRET} 2> /dev/null")) == ("ended with exit code 127", False)


def test_a_command_that_hangs_is_stopped_with_what_it_started(tmp_path):
    begin = time.monotonic()
    assert why(Command(f"(sleep 2; touch {tmp_path}/late) & sleep 600", seconds=0.5)) == (
        "did not end within 0.5 seconds and was stopped",
        True,
    )
    assert time.monotonic() - begin < 2
    time.sleep(2.2)
    assert not (tmp_path / "late").exists()


def test_the_settings_name_the_channels_and_a_wrong_one_is_not_repeated():
    made = read_channels(
        read_settings(
            alert_webhook=f"https://hooks.example.com/{SECRET}",
            smtp_url=f"smtp://risk:{SECRET}@mail.example.com:587",
            alert_email="anna@bank.example.com, b@bank.example.com",
            alert_from="risk@bank.example.com",
            alert_command=f": {SECRET}",
        )
    )
    assert [one.name for one in made] == ["webhook", "email", "command"]
    assert (made[1].sender, made[1].recipients) == (
        "risk@bank.example.com",
        ("anna@bank.example.com", "b@bank.example.com"),
    )
    wrong = [
        ("alert_webhook", url)
        for url in (
            f"hooks.example.com/{SECRET}",
            f"ftp://{SECRET}",
            f"https://host:{SECRET}/",
            f"https://a {SECRET}/",
        )
    ]
    wrong += [
        ("smtp_url", url)
        for url in (
            f"mail.example.com:{SECRET}",
            f"smtp://risk:{SECRET}@:25",
            f"smtp://a..b{SECRET}",
            f"smtp://risk:{SECRET}#1@host",
            f"smtp://{SECRET}@host",
        )
    ]
    wrong += [("alert_email", text) for text in (SECRET, f"a@b.example\nBcc: {SECRET}@c.example")]
    for name, value in wrong:
        with pytest.raises(SettingsError, match="CREDIT_DEFAULT_(ALERT|SMTP)") as raised:
            read_settings(**{"smtp_url": "smtp://host", name: value})
        assert SECRET not in str(raised.value)


# Checks

RNG = np.random.default_rng(3)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def columns(n, factor=1.0):
    return dict(
        MonthlyIncome=np.round(RNG.lognormal(8.6, 0.65, n) * factor),
        age=RNG.integers(21, 90, n).astype(float),
    )


def bundle_of(reference, tag=TAG):
    "As much of a bundle as a check looks at."
    return SimpleNamespace(
        portfolio=get_portfolio("gmsc"), reference=reference, tag=tag, synthetic=False
    )


@pytest.fixture
def model():
    return bundle_of(Reference.fit(columns(4000)))


@pytest.fixture
def store(tmp_path):
    made = Store(f"sqlite:///{tmp_path}/log.db", timeout=1)
    made.upgrade()
    yield made
    made.close()


def rows_of(model, at, n=200, factor=1.0):
    values = columns(n, factor)
    rows = []
    for i, bins in enumerate(model.reference.encode(values)):
        sent = {name: float(v[i]) for name, v in values.items()} | (
            {"MonthlyIncome": float(APPLICANT)} if i == 0 else {}
        )
        rows.append(
            example_prediction(
                0,
                at + timedelta(seconds=i),
                username=f"anna-{APPLICANT}",
                reference=f"A-{APPLICANT}",
                model_version=model.tag,
                sent=json.dumps(sent),
                scored=json.dumps(sent),
                bins=bins,
                probability_default=0.05,
            )
        )
    return rows


def log(store, model, at, **how):
    rows = rows_of(model, at, **how)
    store.predictions.append([Entry(rows)])
    return rows


CHECK = """
import json, sys, tenacity
from datetime import datetime
from types import SimpleNamespace
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.core.settings import read_settings
from credit_default.scoring.reference import Reference
from credit_default.store.store import Store
from credit_default.monitoring.watch import CheckOptions, run_check, watch_portfolio
url, reference, tag, now = sys.argv[1:]
reference = Reference.from_dict(json.load(open(reference)))
model = SimpleNamespace(
    portfolio=get_portfolio("gmsc"), reference=reference, tag=tag, synthetic=False)
store, now = Store(url), datetime.fromisoformat(now)
def once(stop):
    options = CheckOptions(now=now, attempts=3, wait=tenacity.wait_fixed(.05), stop=stop)
    checked = run_check(store, read_settings(), model, options=options)
    return checked
def done(checked):
    for problem in checked.problems: print(problem)
watch_portfolio(once, "gmsc", on_result=done)
"""


@pytest.fixture
def process(store, model, tmp_path):
    "A check in a process of its own: what it printed, or the process itself."
    (tmp_path / "reference.json").write_text(json.dumps(model.reference.to_dict()))

    def start(now, script=CHECK, **settings):
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith("CREDIT_DEFAULT_")
        } | {"CREDIT_DEFAULT_ENV_FILE": os.devnull, "PYTHONPATH": str(ROOT)}
        environment |= {f"CREDIT_DEFAULT_{k.upper()}": v for k, v in settings.items()}
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                script,
                store.url_shown,
                tmp_path / "reference.json",
                model.tag,
                now.isoformat(),
            ],
            preexec_fn=take_interrupts,
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(now, **settings):
        started = start(now, **settings)
        out, error = started.communicate(timeout=60)
        assert started.returncode == 0, error
        assert SECRET not in out + error and APPLICANT not in out + error
        return out.splitlines()

    run.start = start
    return run


DAY = timedelta(days=1)


def test_each_change_is_told_once_by_processes_that_fail_and_end(
    store, model, process, web, mailbox
):
    """As cron does it: each check is a process of its own, and the receivers refuse twice before
    they take anything.
    """
    box = mailbox(auth_require_tls=False)
    settings = dict(
        alert_webhook=web.url,
        smtp_url=f"smtp://risk:{SECRET}@{box.address}",
        alert_email="anna@bank.example.com",
    )
    for day, factor in enumerate((1, 0.4, 0.4, None, 1)):
        if factor:
            log(store, model, NOON + day * DAY, factor=factor)
        web.answers[:], box.refusals[:] = [503, 503], ["451 later", "451 later"]
        assert process(NOON + day * DAY + DAY / 2, **settings) == []
    changes = [
        "credit_default: gmsc: drift in MonthlyIncome",
        "credit_default: gmsc: no more drift",
    ]
    assert [one["text"].split("\n")[0].strip("*") for one in web.taken] == changes
    messages = [
        message_from_bytes(envelope.content, policy=default_policy) for envelope in box.taken
    ]
    assert [message["Subject"] for message in messages] == changes
    assert APPLICANT not in repr(web.taken) + repr([message.as_string() for message in messages])
    checks = store.checks.find("gmsc", 20)
    assert [(row.alerted, row.drifted, row.samples) for row in reversed(checks)] == [
        (None, False, 200),
        (True, True, 200),
        (None, True, 200),
        (None, None, 0),  # nothing to compare: no all-clear
        (True, False, 200),
    ]
    text = messages[0].get_content()
    assert all(
        part in text
        for part in (
            model.tag,
            "200 predictions from 2026-03-02 00:00 to 2026-03-03 00:00 UTC",
            "MonthlyIncome (PSI ",
            "What to do:",
        )
    )


@pytest.fixture
def told(store, model):
    "A check at that time, by a connection of its own: its problems."

    def run(now, **settings):
        mine = Store(store.url_shown)
        try:
            return run_check(
                mine,
                read_settings(**settings),
                model,
                options=CheckOptions(now=now, attempts=3, **AT_ONCE),
            ).problems
        finally:
            mine.close()

    return run


def test_a_channel_that_was_down_is_told_at_the_next_check_and_nobody_else_again(
    store, model, told, mailbox, web
):
    box = mailbox()
    nobody = f"http://127.0.0.1:{free_port()}/{SECRET}"
    mails = dict(smtp_url=f"smtp://{box.address}", alert_email="anna@bank.example.com")
    for day in range(4):
        log(store, model, NOON + day * DAY, factor=0.4)
    down = "alert by webhook: cannot be reached, after 3 attempts"
    assert told(NOON + DAY / 2, alert_webhook=nobody, **mails) == [down]
    assert told(NOON + DAY * 1.5, alert_webhook=nobody, **mails) == [down]
    assert store.checks.last("gmsc", "watch").alerted is False
    assert (
        told(NOON + DAY * 2.5, alert_webhook=web.url, **mails)
        == []
        == told(NOON + DAY * 3.5, alert_webhook=web.url, **mails)
    )
    assert (len(box.taken), len(web.taken)) == (1, 1)
    assert store.checks.last("gmsc", "watch").alerted is None and read_state(
        store.checks.last("gmsc", "watch")
    ).told == dict(webhook=[Trouble.DRIFT], email=[Trouble.DRIFT])


def test_what_was_over_before_anybody_could_be_told_is_not_told(store, model, told, web):
    log(store, model, NOON, factor=0.4)
    log(store, model, NOON + DAY)
    web.answers += [503] * 3
    assert (
        told(NOON + DAY / 2, alert_webhook=web.url)
        and told(NOON + DAY * 1.5, alert_webhook=web.url) == []
    )
    assert web.taken == [] and store.checks.last("gmsc", "watch").alerted is None


def test_a_process_that_is_killed_while_it_tells_is_made_good_by_the_next(
    store, model, process, tmp_path
):
    log(store, model, NOON, factor=0.4)
    told = f"cat >> {tmp_path}/told"
    killed, begun = (
        process.start(
            NOON + DAY / 2,
            alert_command=(
                f"echo $$ > {tmp_path}/pid; mv {tmp_path}/pid {tmp_path}/begun; exec sleep 600"
            ),
        ),
        tmp_path / "begun",
    )
    begin = time.monotonic()
    while not begun.exists():
        assert killed.poll() is None and time.monotonic() - begin < 60, killed.communicate()
        time.sleep(0.02)
    killed.kill()
    os.kill(int(begun.read_text()), signal.SIGKILL)  # the command has a session of its own
    killed.communicate()
    assert store.checks.last("gmsc", "watch").alerted is False
    log(store, model, NOON + DAY, factor=0.4)
    assert process(NOON + DAY * 1.5, alert_command=told) == []
    assert json.loads((tmp_path / "told").read_text())["began"] == [Trouble.DRIFT]


def test_nobody_to_tell_is_noted_and_a_channel_that_comes_later_hears_of_it(store, model, web):
    log(store, model, NOON, factor=0.4)
    checked = run_check(store, read_settings(), model, options=CheckOptions(now=NOON + DAY / 2))
    assert (
        checked.drift
        and checked.changed == [Trouble.DRIFT]
        and (checked.alerts, checked.problems) == ([], [])
    )
    assert store.checks.last("gmsc", "watch").alerted is None
    assert (
        run_check(
            store,
            read_settings(alert_webhook=web.url),
            model,
            options=CheckOptions(now=NOON + DAY / 2),
        ).changed
        == []
        and len(web.taken) == 1
    )


def test_checks_of_others_are_not_the_watchs(store, model, web):
    log(store, model, NOON, factor=0.4)
    store.checks.add(
        CheckRecord(
            at=datetime.now(UTC),
            portfolio="gmsc",
            model_version=TAG,
            source="endpoint",
            since=None,
            until=None,
            samples=9,
            drifted=True,
            result="{}",
        )
    )
    assert (
        run_check(
            store,
            read_settings(alert_webhook=web.url),
            model,
            options=CheckOptions(now=NOON + DAY / 2),
        ).changed
        == [Trouble.DRIFT]
        and len(web.taken) == 1
    )


def test_a_database_that_takes_no_rows_leads_to_no_alert(store, model, web, monkeypatch):
    "Else the same alert would come at each check, as nobody could note that it was told."
    log(store, model, NOON, factor=0.4)

    def full(_):
        raise DatabaseUnavailable("the database's disk is full")

    monkeypatch.setattr(store.checks, "add", full)
    with pytest.raises(DatabaseUnavailable):
        run_check(
            store,
            read_settings(alert_webhook=web.url),
            model,
            options=CheckOptions(now=NOON + DAY / 2),
        )
    assert web.asked == []


def test_defaults_beyond_what_was_expected_are_told_once_and_per_model(store, model, web):
    "Two years after 400 loans with a PD of 5 %, 80 of them have defaulted."
    rows = log(store, model, NOON, n=400)
    later = NOON + 800 * DAY
    settings = read_settings(alert_webhook=web.url)
    assert run_check(store, settings, model, options=CheckOptions(now=later)).troubles == []
    observed = [(True, NOON + 300 * DAY)] * 80 + [(False, NOON + 760 * DAY)] * 320
    store.outcomes.record(
        [
            dict(prediction_id=row["prediction_id"], defaulted=bad, observed_at=when)
            for row, (bad, when) in zip(rows, observed)
        ],
        by="anna",
        user_id=None,
    )
    checked = run_check(store, settings, model, options=CheckOptions(now=later))
    assert (checked.troubles, checked.figures.n, checked.figures.defaults) == (
        [Trouble.PERFORMANCE],
        400,
        80,
    )
    assert "credit_default: gmsc: more defaults than expected" in web.taken[0]["text"]
    assert (
        "Of 400 loans whose performance window has passed 80 defaulted, 20.00%; the model expected "
        "5.00%." in web.taken[0]["text"]
    )
    assert (
        run_check(store, settings, model, options=CheckOptions(now=later + DAY)).troubles
        == [Trouble.PERFORMANCE]
        and len(web.taken) == 1
    )
    assert web.taken[0]["text"].count("as known on") == 0
    other = bundle_of(model.reference, "credit_default_gmsc:7f6e5d4c3b2a1908")
    assert run_check(store, settings, other, options=CheckOptions(now=later + DAY)).troubles == []
    assert len(web.taken) == 2 and "A new model is in use" in web.taken[1]["text"]
    assert "not known yet" in json.dumps(web.taken[1]) and "again" not in json.dumps(web.taken[1])


def test_what_lies_in_the_future_is_told_of_a_check_as_of_then(store, model, web):
    "The applicants are those of now, the outcomes those of a simulation."
    rows, settings = log(store, model, NOON, n=400), read_settings(alert_webhook=web.url)
    observed = [(True, NOON + 300 * DAY)] * 80 + [(False, NOON + 760 * DAY)] * 320
    store.outcomes.record(
        [
            dict(prediction_id=row["prediction_id"], defaulted=bad, observed_at=when)
            for row, (bad, when) in zip(rows, observed)
        ],
        by="anna",
        user_id=None,
    )
    assert (
        run_check(store, settings, model, options=CheckOptions(now=NOON + DAY / 2)).troubles == []
    )
    checked = run_check(
        store, settings, model, options=CheckOptions(now=NOON + DAY / 2, as_of=NOON + 800 * DAY)
    )
    assert (checked.troubles, checked.drift_result.samples_analysed, checked.figures.n) == (
        [Trouble.PERFORMANCE],
        400,
        400,
    )
    [told] = web.taken
    assert (
        "Performance is as known on 2028-05-09 12:00 UTC." in told["text"]
        and checked.alerts[0].payload["as_of"] == "2028-05-09T12:00:00.000Z"
    )
    assert (
        run_check(store, settings, model, options=CheckOptions(now=NOON + DAY / 2)).troubles
        == [Trouble.PERFORMANCE]
        and len(web.taken) == 1
    )  # the next one knows nothing else


def test_only_a_watchs_own_reports_are_removed(tmp_path):
    """Not a report that somebody asked for, nor a run that somebody copied, renamed or wrote a note
    into, nor what a link points to.
    """

    def run(name, claimed=True, *more):
        folder = tmp_path / "gmsc" / name
        folder.mkdir(parents=True)
        if claimed:
            mark_report(folder)
        for file in ("drift.html", "drift.ipynb", "drift.json", *more):
            (folder / file).write_text("{}")
        return folder

    asked, noted, renamed = (
        run("20260101T000000Z", False),
        run("20260102T000000Z", True, "note.txt"),
        run("20260103T000000Z").rename(tmp_path / "gmsc" / "20260103T000001Z"),
    )
    training = run("20260104T000000Z", True, "training.html")
    (outside := tmp_path / "elsewhere").mkdir()
    mark_report(outside)
    (tmp_path / "gmsc" / "elsewhere").symlink_to(outside)
    own = [run(f"202602{day:02}T000000Z") for day in range(1, 6)]
    (own[0] / "drift.html").unlink()  # it failed: only the notebook tells why
    assert (
        prune_reports(tmp_path / "gmsc", 0) == []
        and prune_reports(tmp_path / "gmsc", 5) == []
        and prune_reports(tmp_path / "nowhere", 5) == []
    )
    assert (
        prune_reports(tmp_path / "gmsc", 2) == own[:3] and prune_reports(tmp_path / "gmsc", 2) == []
    )
    assert sorted(path.name for path in (tmp_path / "gmsc").iterdir()) == sorted(
        [*(path.name for path in (asked, noted, renamed, training, *own[3:])), "elsewhere"]
    )
    assert len(list(outside.iterdir())) == 1 and len(list(noted.iterdir())) == 5


def test_a_report_that_fails_keeps_nobody_from_being_told(store, model, web):
    log(store, model, NOON, factor=0.4)

    def broken(since, until, tag):
        raise ValueError(f"could not convert {APPLICANT}")

    [problem] = run_check(
        store,
        read_settings(alert_webhook=web.url),
        model,
        report=broken,
        options=CheckOptions(now=NOON + DAY / 2),
    ).problems
    assert (
        problem.startswith("no report was made: ValueError")
        and APPLICANT not in problem
        and len(web.taken) == 1
    )


# The loop

LOOP = (
    CHECK.split("def once")[0]
    + """
import time
def once(stop):
    print("begin", flush=True)
    options = CheckOptions(now=now, every=.2, stop=stop)
    return run_check(store, read_settings(), model, options=options)
watch_portfolio(once, "gmsc", .2, on_result=lambda checked: print(checked.problems, flush=True),
      on_failure=lambda text: print(text, flush=True))
print("ended")
"""
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_the_loop_ends_cleanly_while_it_waits_to_try_again(store, model, process, number):
    """The receiver is down: left alone, this check would wait for 15 seconds in all before it gives
    up.
    """
    log(store, model, NOON, factor=0.4)
    running = process.start(
        NOON + DAY / 2, LOOP, alert_webhook=f"http://127.0.0.1:{free_port()}/{SECRET}"
    )
    assert running.stdout.readline() == "begin\n"
    time.sleep(1.5)
    with (
        pytest.raises(AlreadyWatched, match="another watch of gmsc is running"),
        watch_lock("gmsc"),
    ):
        pass
    running.send_signal(number)
    begin = time.monotonic()
    out, error = running.communicate(timeout=30)
    assert time.monotonic() - begin < 5 and running.returncode == 0, error
    assert (
        "cannot be reached" in out
        and out.endswith("ended\n")
        and SECRET not in out + error
        and error == ""
    )
    assert store.checks.last("gmsc", "watch").alerted is False
    with watch_lock("gmsc"):
        pass


def test_the_loop_goes_on_after_a_database_that_was_away(store, model, process, tmp_path):
    "The file is moved away and comes back."
    log(store, model, NOON)
    running = process.start(NOON + DAY / 2, LOOP)
    try:
        assert [running.stdout.readline() for _ in range(2)] == ["begin\n", "[]\n"]
        store.close()
        with store.database.engine.connect() as c:
            c.exec_driver_sql("ALTER TABLE checks RENAME TO elsewhere")
            c.commit()

        def until(text):
            begin = time.monotonic()
            while text not in (line := running.stdout.readline()):
                assert line and time.monotonic() - begin < 30
            return line

        assert "the check failed: the database lacks a table or a column" in until("failed")
        with store.database.engine.connect() as c:
            c.exec_driver_sql("ALTER TABLE elsewhere RENAME TO checks")
            c.commit()
        until("[]")
    finally:
        running.terminate()
    out, error = running.communicate(timeout=20)
    assert running.returncode == 0 and error == "", error


def test_a_second_watch_is_refused_and_the_lock_of_a_killed_one_is_free(store, model, process):
    log(store, model, NOON)
    running = process.start(NOON + DAY / 2, LOOP)
    assert running.stdout.readline() == "begin\n"
    second = process.start(NOON + DAY / 2)
    out, error = second.communicate(timeout=60)
    assert second.returncode == 1 and error.splitlines()[-1].endswith(
        "AlreadyWatched: another watch of gmsc is running on this machine"
    )
    running.kill()
    running.communicate()
    assert process(NOON + DAY / 2) == []


def test_a_single_check_that_fails_raises(store):
    def away(stop):
        raise DatabaseUnavailable("the database cannot be reached")

    with pytest.raises(DatabaseUnavailable):
        watch_portfolio(away, "gmsc")
    with watch_lock("gmsc"):
        pass


def test_a_single_check_that_is_interrupted_waits_for_no_channel(store, model, process):
    log(store, model, NOON, factor=0.4)
    patient = CHECK.replace("wait_fixed(.05)", "wait_fixed(60)")
    running = process.start(
        NOON + DAY / 2, patient, alert_webhook=f"http://127.0.0.1:{free_port()}/{SECRET}"
    )
    begin = time.monotonic()
    while store.checks.last("gmsc", "watch") is None:
        assert running.poll() is None and time.monotonic() - begin < 60, running.communicate()
        time.sleep(0.05)
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    out, error = running.communicate(timeout=20)
    assert (
        running.returncode == -signal.SIGINT
        and error.splitlines()[-1] == "KeyboardInterrupt"
        and SECRET not in out + error
    )
    assert store.checks.last("gmsc", "watch").alerted is False
