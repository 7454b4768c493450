"""Who may ask, across processes, databases and time: the real store, a flood of logins, a database
that hangs, limits that several workers share.
"""

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits.errors import StorageError
from postgres import Postgres
from served import free_port

from credit_default.serving.accounts import Login, Signup
from credit_default.serving.passwords import Passwords, TooManyLogins
from credit_default.serving.rate_limits import Limits
from credit_default.serving.roles import Role, User
from credit_default.serving.tokens import Claims, InvalidToken, Tokens
from credit_default.serving.users import SignupRefused, Users, check_login, invite
from credit_default.store.errors import DatabaseUnavailable, NameTaken
from credit_default.store.store import Store

KEY = "the key of these tests: 32 bytes or more"
PASSWORD = "a long and quiet river"


@pytest.fixture(scope="module")
def passwords():
    return Passwords()


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'service.db'}"


def form(name, **more):
    return Signup(**dict(username=name, email=f"{name}@example.com", password=PASSWORD) | more)


def joined(users, passwords, name, mode="open", **more):
    return asyncio.run(users.signup(form(name, **more), mode, passwords))


def claims(user, role=Role.admin):
    return Claims(user.id, role, time.time() + 60)


def until(true, seconds=10.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


# What is asked for by a name


@pytest.mark.parametrize(
    "taken, more",
    [
        ("username", dict(email="other@example.com")),
        ("username", {}),
        ("email", dict(username="other", email="ADA@Example.com")),
    ],
)
def test_names_and_addresses_are_taken_without_regard_to_case(store, passwords, taken, more):
    users = Users(store)
    joined(users, passwords, "ada")
    with pytest.raises(NameTaken) as raised:
        joined(
            users,
            passwords,
            **dict(name="ADA", email="Ada@example.com")
            | ({"name": more.pop("username")} if "username" in more else {})
            | more,
        )
    assert raised.value.field == taken


@pytest.mark.parametrize("form_", [Signup, Login])
@pytest.mark.parametrize(
    "sent",
    [
        None,
        [],
        "text",
        {},
        dict(username=1),
        dict(username="ada", email="ada@example.com", password=["tell-nobody-this"]),
        dict(username=None, password="tell-nobody-this"),
        dict(username="ada", email="ada@example.com", password="tell-nobody-this\0"),
        dict(username="a" * 65, email="ada@example.com", password="tell-nobody-this"),
        dict(username="ada", email="ada@example.com", password="tell-nobody-this" * 9),
        dict(username="tell-nobody-this", email="a@example.com", password="tell-nobody-this", no=1),
    ],
)
def test_what_is_refused_names_the_field_and_repeats_nothing(form_, sent):
    with pytest.raises(ValueError) as raised:
        form_.model_validate(sent)
    said = json.dumps(
        raised.value.errors(include_input=False, include_url=False, include_context=False)
    )
    assert "nobody-this" not in said and "nobody-this" not in str(raised.value)
    assert all(
        isinstance(one["loc"], tuple) and (one["loc"] or not isinstance(sent, dict))
        for one in raised.value.errors()
    )


@pytest.mark.parametrize(
    "name, fits",
    [
        ("ada", True),
        ("a" * 64, True),
        ("A.b_c-9", True),
        ("ad", False),
        ("a" * 65, False),
        ("ada\n", False),
        ("a da", False),
        ("adä", False),
        ("ада", False),
        ("ad\0", False),
    ],
)
def test_usernames(name, fits):
    if fits:
        assert form("ada", username=name).username == name
    else:
        with pytest.raises(ValueError, match="3 to 64 letters"):
            form("ada", username=name)


@pytest.mark.parametrize(
    "password, fits",
    [
        ("x" * 12, True),
        ("x" * 128, True),
        ("x" * 11, False),
        ("x" * 129, False),
        ("пароль-длинный", True),
        ("            ", True),
    ],
)
def test_passwords_are_judged_by_their_length(password, fits):
    if fits:
        assert form("ada", password=password).password.get_secret_value() == password
    else:
        with pytest.raises(ValueError, match="12 to 128"):
            form("ada", password=password)


# Tokens

tokens = Tokens(KEY)
GOOD = tokens.issue(User("an id", "ada", Role.analyst))[0]


@given(
    st.text(max_size=200) | st.lists(st.text("abcXYZ019-_="), min_size=3, max_size=3).map(".".join)
)
@settings(max_examples=300, deadline=None)
def test_no_text_is_a_token_by_chance(text):
    with pytest.raises(InvalidToken):
        tokens.read(text)


def test_a_token_with_one_character_changed_is_refused_or_says_the_same():
    good, same = tokens.read(GOOD), []
    for i, character in enumerate(GOOD):
        for other in "A_." if character != "A" else "B_.":
            if other == character:
                continue
            try:
                assert tokens.read(GOOD[:i] + other + GOOD[i + 1 :]) == good
                same.append(i)
            except InvalidToken:
                pass
    assert set(same) <= {len(GOOD) - 1}  # its last character holds bits that nobody reads


@given(
    st.dictionaries(
        st.sampled_from(["sub", "role", "exp", "nbf", "iat", "aud", "iss", "jti"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.lists(st.integers()),
    )
)
@settings(max_examples=300, deadline=None)
def test_whatever_a_signed_token_says_it_is_read_or_refused(said):
    "As after the change of a key that leaked: nothing but InvalidToken may come out."
    try:
        token = jwt.api_jws.encode(json.dumps(said).encode(), KEY, "HS256")
    except UnicodeEncodeError:
        return
    try:
        read = tokens.read(token)
    except InvalidToken:
        return
    assert (
        isinstance(read.sub, str) and read.role.value == said["role"] and read.exp > time.time() - 5
    )


def test_a_token_runs_out():
    short = Tokens(KEY, minutes=1 / 60)
    token, seconds = short.issue(User("an id", "ada", Role.viewer))
    assert seconds == 1 and short.read(token).role == Role.viewer
    time.sleep(1.2)
    with pytest.raises(InvalidToken):
        short.read(token)


@pytest.mark.parametrize("keys", [("short", None), ("x" * 31, None), (KEY, "x" * 31), ("", None)])
def test_a_short_key_is_refused_with_how_to_make_one(keys):
    with pytest.raises(ValueError, match=r"32 bytes; .*secrets\.token_urlsafe"):
        Tokens(*keys)


# Users


def test_what_one_worker_changes_the_other_knows_within_seconds(url, store, passwords):
    here, there = Users(store, 0.1), Users(Store(url), 0.1)
    for users in (here, there):
        users.start()
    try:
        ada = joined(here, passwords, "ada")
        assert (
            there.who(claims(ada)).role == Role.analyst
        )  # at once, and not as what the token says
        store.users.change(ada.id, role="viewer")
        until(lambda: there.who(claims(ada)).role == Role.viewer)
        store.users.change(ada.id, disabled=True)
        until(lambda: there.who(claims(ada)) is None and here.who(claims(ada)) is None)
        store.users.change(ada.id, disabled=False, role="admin")
        assert asyncio.run(there.login("Ada", PASSWORD, passwords)).role == Role.admin
        assert there.who(claims(ada, Role.viewer)).role == Role.admin
        store.users.delete(ada.id)
        until(lambda: there.who(claims(ada)) is None)
        assert asyncio.run(there.login("ada", PASSWORD, passwords)) is None
    finally:
        for users in (here, there):
            users.stop()


def test_the_copy_goes_on_whatever_reading_it_raises(store, passwords, monkeypatch):
    users = Users(store, 0.05)
    ada = joined(users, passwords, "ada")
    users.start()
    users.start()  # the service starts it again where the recorder found the database away
    assert (
        sum(thread.name == "users" and thread is users._thread for thread in threading.enumerate())
        == 1
    )
    try:
        with monkeypatch.context() as patched:
            failed = threading.Event()
            patched.setattr(store.users, "all", lambda: failed.set() or 1 / 0)
            assert failed.wait(5)
            assert users.who(claims(ada)).username == "ada"
        store.users.change(ada.id, disabled=True)
        until(lambda: users.who(claims(ada)) is None)
    finally:
        users.stop()


def test_a_role_that_does_not_exist_may_do_nothing_and_harms_nobody_else(store, passwords):
    users = Users(store)
    ada, eve = joined(users, passwords, "ada"), joined(users, passwords, "eve")
    store.users.change(eve.id, role="owner")
    users.refresh()
    assert users.who(claims(ada)) and users.who(claims(eve)) is None
    assert asyncio.run(users.login("eve", PASSWORD, passwords)) is None


def test_one_invitation_makes_one_user_however_many_ask_at_once(url, store, passwords):
    invitation = invite(store, Role.viewer, by="ada")
    stores = [Store(url) for _ in range(2)]  # two workers

    def attempt(i):
        try:
            return joined(
                Users(stores[i % 2]), passwords, f"guest{i}", "invite", invitation=invitation
            ).role
        except SignupRefused:
            return None

    with ThreadPoolExecutor(6) as pool:
        roles = list(pool.map(attempt, range(6)))
    assert sorted(roles, key=str) == [None] * 5 + [Role.viewer] and len(store.users.all()) == 1


@pytest.mark.parametrize("mode", ["invite", "closed"])
def test_who_may_not_sign_up_costs_no_hash(store, mode):
    class Counted(Passwords):
        hashes = 0

        def hash_blocking(self, password):
            self.hashes += 1
            return super().hash_blocking(password)

    passwords = Counted()
    for invitation in (None, "made up", invite(store, Role.admin, "ada", days=-1)):
        with pytest.raises(SignupRefused):
            joined(Users(store), passwords, "eve", mode, invitation=invitation)
    assert passwords.hashes == 0 and store.users.all() == []


def test_nothing_secret_is_in_the_file(tmp_path, store, passwords):
    invitation = invite(store, Role.viewer, by="ada")
    joined(Users(store), passwords, "ada")
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("service.db*"))
    assert b"ada@example.com" in kept and b"$argon2id$" in kept
    assert PASSWORD.encode() not in kept and invitation.encode() not in kept


# Passwords, and a flood of them


def test_a_login_takes_as_long_where_there_is_no_such_user(store, passwords):
    users = Users(store)
    joined(users, passwords, "ada")
    store.users.change(joined(users, passwords, "off").id, disabled=True)

    def spent(name):
        "In seconds of this thread's own work, whatever else the machine does."
        begin = time.thread_time()
        assert check_login(store, name, "a guess of some length", passwords) is None
        return time.thread_time() - begin

    names = ("ada", "grace", "off", "\0", "a" * 64)
    rounds = [[spent(name) for name in names] for _ in range(9)]
    found = [min(one) for one in zip(*rounds)]
    assert min(found) > 0.005 and max(found) < 1.5 * min(found), found


def test_a_flood_of_logins_is_turned_away_and_the_loop_goes_on(store):
    passwords, users = Passwords(), Users(store)
    joined(users, passwords, "ada")

    async def flood():
        logins, late = (
            asyncio.gather(
                *(users.login("ada", "a guess of some length", passwords) for _ in range(300)),
                return_exceptions=True,
            ),
            [],
        )
        while not logins.done():
            begin = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - begin - 0.001)
        return await logins, sorted(late)

    answers, late = asyncio.run(flood())
    assert (
        sum(one is None for one in answers) == 50
        and sum(isinstance(one, TooManyLogins) for one in answers) == 250
    )
    assert late[len(late) // 2] < 0.02  # a login takes longer, and none of them holds the loop
    assert asyncio.run(users.login("ada", PASSWORD, passwords)).username == "ada"


def test_who_gave_up_waiting_holds_no_place(store):
    passwords, users = Passwords(limit=4), Users(store)
    joined(users, passwords, "ada")

    async def impatient():
        for _ in range(10):
            waiting = [
                asyncio.create_task(users.login("ada", PASSWORD, passwords)) for _ in range(4)
            ]
            await asyncio.sleep(0)
            for one in waiting:
                one.cancel()
            assert all(
                isinstance(one, asyncio.CancelledError)
                for one in await asyncio.gather(*waiting, return_exceptions=True)
            )
        return await users.login("ada", PASSWORD, passwords)

    assert asyncio.run(impatient()).username == "ada"


# The database away


@pytest.fixture(scope="module")
def postgres():
    if Postgres.missing():
        pytest.skip(Postgres.missing())
    with Postgres() as server:
        yield server


def test_while_postgresql_is_away_the_last_copy_decides(postgres, passwords):
    store = Store(postgres.database(), timeout=1.0)
    store.upgrade()
    users, wanted = Users(store, 0.2), form("grace")
    ada = joined(users, passwords, "ada")

    def nobody():
        return Claims(
            str(uuid.uuid4()), Role.admin, 0
        )  # a new one each time: the last answer would be remembered

    assert (
        asyncio.run(users.login("\0", PASSWORD, passwords)) is None
    )  # PostgreSQL cannot even be asked for it
    users.start()
    try:
        for leave, come in (
            (postgres.pause, postgres.resume),
            (lambda: postgres.stop(immediate=True), postgres.start),
        ):
            leave()
            try:
                until(lambda: users._away)
                begin = time.perf_counter()
                for _ in range(100):
                    assert users.who(claims(ada)).username == "ada"
                    with pytest.raises(DatabaseUnavailable):
                        users.who(nobody())
                assert (
                    time.perf_counter() - begin < 0.5
                )  # no request waits for a database that hangs
                with pytest.raises(DatabaseUnavailable):
                    asyncio.run(users.login("ada", PASSWORD, passwords))
                with pytest.raises(DatabaseUnavailable):
                    asyncio.run(users.signup(wanted, "open", passwords))
            finally:
                come()
            until(lambda: not users._away)
            assert (
                users.who(nobody()) is None
                and asyncio.run(users.login("ada", PASSWORD, passwords)).id == ada.id
            )
        store.users.change(ada.id, disabled=True)
        until(lambda: users.who(claims(ada)) is None)
    finally:
        users.stop()
        store.close()


# Limits

ASKS = """
import sys
from pathlib import Path
from credit_default.serving.rate_limits import Limits
limits, n = Limits(sys.argv[1], sys.argv[4] or None, Path(sys.argv[2])), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
print(sum(limits.hit("user", "ada") == 0 for _ in range(n)))
"""


def passed(files, storage=""):
    "How many of 120 requests pass that three processes count at the same moment, 60 being allowed."
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", ASKS, "60/minute;1000/hour", file, "40", storage],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for file in files
    ]
    assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 3
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    return sum(int(worker.communicate(timeout=60)[0]) for worker in workers)


def test_workers_share_a_limit_from_the_first_request_on(tmp_path):
    "With no file yet."
    assert passed([tmp_path / "sub" / "limits.db"] * 3) == 60


@contextmanager
def redis(folder, port):
    "A Redis server of this test's own."
    command = [
        "redis-server",
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(folder),
        "--requirepass",
        PASSWORD.replace(" ", "-"),
    ]
    with (folder / "log").open("a") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.02)
        yield f"redis://:{PASSWORD.replace(' ', '-')}@127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait()


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="Redis: no redis-server on PATH")
def test_machines_share_a_limit_through_redis(tmp_path, monkeypatch):
    """With files of their own, which they do not use. Without the server nobody is counted, and
    nobody waits; with the next one counting begins anew.
    """
    monkeypatch.setattr("credit_default.serving.rate_limits.PAUSE_SECONDS", 0.2)
    port = free_port()
    with redis(tmp_path, port) as url:
        assert passed([tmp_path / f"{machine}.db" for machine in "abc"], url) == 60
        limits = Limits("3/minute", url, tmp_path / "d.db")
        assert [limits.hit("address", "192.0.2.1") > 0 for _ in range(5)] == [False] * 3 + [
            True
        ] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    begin = time.perf_counter()
    for _ in range(50):
        with pytest.raises(StorageError) as raised:
            limits.hit("address", "192.0.2.1")
        assert PASSWORD.replace(" ", "-") not in str(raised.value)
    assert time.perf_counter() - begin < 5
    time.sleep(0.3)
    with redis(tmp_path, port):
        assert [limits.hit("address", "192.0.2.1") > 0 for _ in range(5)] == [False] * 3 + [
            True
        ] * 2


def test_what_the_minute_refuses_does_not_use_up_the_hour(tmp_path):
    limits = Limits("4/hour;2/second", None, tmp_path / "limits.db")  # in whatever order
    assert [limits.hit("user", "ada") > 0 for _ in range(20)] == [False] * 2 + [True] * 18
    time.sleep(1.1)
    assert [limits.hit("user", "ada") > 0 for _ in range(2)] == [False, False]
    time.sleep(1.1)
    assert 3500 < limits.hit("user", "ada") <= 3600  # now it is the hour that refuses, and says so


def test_users_and_addresses_are_counted_apart(tmp_path):
    limits = Limits("1/minute", None, tmp_path / "limits.db")
    asked = [
        ("user", "ada"),
        ("user", "grace"),
        ("address", "ada"),
        ("address", "192.0.2.1"),
        ("address", "2001:db8::1"),
        ("address", "2001:db8:0:1::1"),
        ("address", ""),
    ]
    assert [limits.hit(*one) for one in asked] == [0.0] * len(asked)
    assert all(
        limits.hit(*one) > 0
        for one in [*asked, ("address", "2001:db8::2"), ("address", "::ffff:192.0.2.1")]
    )


@pytest.mark.parametrize(
    "text",
    ["often", "60", "0/minute", "60/minute;0/hour", "60/fortnight", "60/minute;", "-1/minute", " "],
)
def test_a_limit_that_cannot_be_read_names_the_setting(tmp_path, text):
    with pytest.raises(ValueError, match=r"CREDIT_DEFAULT_RATE_LIMIT: .*60/minute;1000/hour"):
        Limits(text, None, tmp_path / "limits.db")


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "memcached://secret@host",
        "postgresql://ada:secret@host/db",
        "secret",
        "redis:secret@[",
        "http://ada:secret@host",
    ],
)
def test_a_storage_that_workers_cannot_share_is_refused_without_repeating_it(tmp_path, url):
    with pytest.raises(ValueError, match="CREDIT_DEFAULT_RATE_LIMIT_STORAGE") as raised:
        Limits("60/minute", url, tmp_path / "limits.db")
    assert "secret" not in str(raised.value)


def test_redis_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch):
    for name in ("redis", "redis.backoff", "redis.retry"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"install credit-default\[redis\]") as raised:
        Limits("60/minute", "redis://:secret@host:6379/0", tmp_path / "limits.db")
    assert "secret" not in str(raised.value)


def test_counters_that_come_back_count_again(tmp_path, monkeypatch):
    "Who is told that they are away lets the request pass; nobody has to start anything anew."
    monkeypatch.setattr("credit_default.serving.rate_limits.PAUSE_SECONDS", 0.1)
    (tmp_path / "folder").touch()  # a file where the folder should be
    limits = Limits("1/minute", None, tmp_path / "folder" / "limits.db")
    for _ in range(3):
        with pytest.raises(StorageError):
            limits.hit("user", "ada")
    (tmp_path / "folder").unlink()
    time.sleep(0.15)
    assert limits.hit("user", "ada") == 0 and limits.hit("user", "ada") > 0
    (tmp_path / "folder" / "limits.db").write_bytes(
        b"no database" * 1000
    )  # damaged while in use, as by a power cut
    for end in ("-wal", "-shm"):
        (tmp_path / "folder" / f"limits.db{end}").unlink(missing_ok=True)
    again = Limits(
        "1/minute", None, tmp_path / "folder" / "limits.db"
    )  # the first stays in use: closed, it would write what it knows into the file
    with pytest.raises(StorageError):
        again.hit("user", "ada")
    time.sleep(0.15)
    assert again.hit("user", "ada") == 0 and again.hit("user", "ada") > 0
    del limits


def test_the_service_can_do_without_the_packages_of_training():
    code = (
        "import sys, credit_default.serving.users, credit_default.serving.rate_limits; "
        "training = 'pandas', 'sklearn', 'scipy', 'pyarrow', 'redis'; "
        "print([name for name in training if name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )
