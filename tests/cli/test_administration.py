"""The commands for whoever keeps a service running, as a person or a script meets them: what they
print, their exit codes, what is in the database.
"""

import asyncio
import json
import os
import pty
import select
import sqlite3
import stat
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from postgres import Postgres
from typer.testing import CliRunner

from credit_default.cli import app as cli
from credit_default.cli import log
from credit_default.cli.environment import make_env
from credit_default.core.settings import read_settings, secret_key
from credit_default.store.answers import StoredAnswer
from credit_default.store.predictions import Entry
from credit_default.store.schema_version import HEAD
from credit_default.store.store import Store

COMMANDS = [
    "db upgrade",
    "user add",
    "user list",
    "user disable",
    "user enable",
    "user remove",
    "user role",
    "user password",
    "user invite",
    "log export",
    "log prune",
    "log erase",
    "log backup",
    "tracking sync",
]
SCRIPT = Path(sys.executable).with_name("credit-default")
PASSWORD = "a long and quiet river"
START = datetime(2026, 3, 1, tzinfo=UTC)


def shell(*arguments, given=None):
    "The command, in this process; `given`: its standard input."
    result = CliRunner().invoke(
        cli.app, [str(one) for one in arguments], prog_name="credit-default", input=given
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def answer(*arguments, given=None):
    "What the command says with --json."
    result = shell(*arguments, "--json", given=given)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def place(tmp_path, monkeypatch):
    "An empty folder to stand in, with the settings of a service of its own."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CREDIT_DEFAULT_DATABASE_URL", f"sqlite:///{tmp_path}/data/service.db")
    monkeypatch.setenv("CREDIT_DEFAULT_SPOOL", str(tmp_path / "data" / "spool.db"))
    return tmp_path


@pytest.fixture
def store(place):
    "Its database, up to date."
    store = Store(read_settings().database)
    store.upgrade()
    yield store
    store.close()


def prediction(i, **other):
    "A row of the log: one a day."
    return {
        "prediction_id": str(uuid.uuid4()),
        "at": START + timedelta(days=i),
        "endpoint": "predict",
        "user_id": "7c0f",
        "username": "anna",
        "reference": f"APP-{i}",
        "portfolio": "gmsc",
        "model_version": "credit_default_gmsc:0a1b2c3d4e5f6071",
        "sent": '{"age": 45}',
        "scored": '{"age": 45}',
        "bins": "3",
        "probability_default": 0.031,
        "log_odds": -3.44,
        "prediction": 0,
        "credit_score": 697,
        "rating": "Good",
        "decision": "Approved",
        "reasons": "[]",
        "latency_ms": 1.9,
        "request_id": f"r-{i}",
    } | other


def kept(i):
    "The answer that is kept for a repeated request."
    return StoredAnswer(
        user_id="7c0f",
        key=f"key-{i}",
        endpoint="predict",
        body_hash="00",
        status=200,
        content=b"{}",
        at=START + timedelta(days=i),
    )


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command):
    helped = shell(*command.split(), "--help")
    assert helped.exit_code == 0 and "--json" in helped.stdout
    assert f"  credit-default {command}" in helped.stdout.split("Examples:")[1]


@pytest.mark.parametrize("group", ["db", "user", "log", "tracking"])
def test_a_group_lists_its_commands(group):
    lines = shell(group, "--help").stdout.split("Commands:\n")[1].splitlines()
    assert [
        f"{group} {line.split()[0]}" for line in lines if line.startswith("  ") and line[2] != " "
    ] == [c for c in COMMANDS if c.startswith(group)]
    assert shell(group).exit_code == 2


def test_help_of_a_command_needs_nothing_heavy():
    code = (
        "import sys; from credit_default.cli.app import app; app(['log', 'export', '--help'], "
        "standalone_mode=False); "
        "print(sorted({'numpy', 'pandas', 'sqlalchemy', 'alembic', 'argon2', 'jwt', 'pyarrow', "
        "'rich'} & set(sys.modules)))"
    )
    assert subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.endswith("[]\n")


# The database


def test_upgrade_says_where_and_from_which_revision_to_which(place):
    first = answer("db", "upgrade")
    assert first == {"database": f"sqlite:///{place}/data/service.db", "from": None, "to": HEAD}
    assert answer("db", "upgrade") == first | {"from": HEAD}
    assert "already" in shell("db", "upgrade").stdout
    assert stat.S_IMODE((place / "data" / "service.db").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "command",
    [
        "user list",
        "user add anna --email anna@bank.example.com",
        "user disable anna",
        "user invite",
        "log export out.parquet",
        "log prune --older-than 1d --yes",
        "log erase APP-1",
    ],
)
def test_without_a_database_nothing_is_made_and_the_way_is_said(place, command):
    result = shell(*command.split())
    assert (
        result.exit_code == 1
        and len(result.stderr.splitlines()) == 1
        and "credit-default db upgrade" in result.stderr
    )
    assert not list(place.iterdir())


@pytest.mark.parametrize(
    "url, code, said",
    [
        ("mysql://root:hunter2@db/credit", 2, "sqlite:///PATH or postgresql://"),
        ("postgresql+psycopg://credit:hunter2@127.0.0.1:1/credit", 1, "cannot be reached"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_without_its_password(
    place, monkeypatch, url, code, said
):
    monkeypatch.setenv("CREDIT_DEFAULT_DATABASE_URL", url)
    for command in ("db upgrade", "user list", "log prune --older-than 1d --yes"):
        result = shell(*command.split())
        assert (
            result.exit_code == code
            and said in result.stderr
            and len(result.stderr.splitlines()) == 1
        )
        assert "hunter2" not in result.output


def test_a_wrong_setting_is_named(place, monkeypatch):
    monkeypatch.setenv("CREDIT_DEFAULT_WORKERS", "many")
    result = shell("user", "list")
    assert result.exit_code == 2 and "CREDIT_DEFAULT_WORKERS" in result.stderr


def test_postgresql_is_upgraded_and_left_to_its_own_backup(place, monkeypatch):
    if Postgres.missing():
        pytest.skip(Postgres.missing())
    with Postgres() as server:
        monkeypatch.setenv("CREDIT_DEFAULT_DATABASE_URL", server.database())
        made = answer("db", "upgrade")
        assert (made["from"], made["to"]) == (None, HEAD) and "tests" not in made["database"]
        Store(read_settings().database).predictions.append(
            [Entry([prediction(i) for i in range(3)])]
        )
        assert answer("log", "export", "out.parquet")["rows"] == 3
        assert answer("log", "erase", "APP-1") == {"removed": 1}
        assert answer("log", "prune", "--older-than", "1d", "--yes")["removed"] == 2
        result = shell("log", "backup", "copy.dump")
        assert (
            result.exit_code == 2
            and "pg_dump --format=custom --file=copy.dump" in result.stderr
            and "tests" not in result.stderr
        )


# Users


def added(username, **options):
    "A user that the command made."
    more = [
        part
        for name, value in ({"email": f"{username}@bank.example.com"} | options).items()
        for part in (f"--{name}", value)
    ]
    return answer("user", "add", username, *more, "--password-stdin", given=f"{PASSWORD}\n")


def let_in(store, username, password):
    "The user that a login with this password is, or None."
    from credit_default.serving.passwords import Passwords
    from credit_default.serving.users import Users

    return asyncio.run(Users(store).login(username, password, Passwords()))


def test_a_user_that_was_added_logs_in(store):
    made = added("Anna", role="admin")
    assert made | {
        "username": "Anna",
        "email": "Anna@bank.example.com",
        "role": "admin",
        "disabled": False,
    } == made and "password" not in str(made)
    assert (
        answer("user", "list") == [made] and "Anna@bank.example.com" in shell("user", "list").stdout
    )
    found = let_in(store, "anna", PASSWORD)
    assert (
        found.id == made["id"]
        and found.role.value == "admin"
        and let_in(store, "anna", PASSWORD + "s") is None
    )
    assert store.users.get(username="anna").password_hash.startswith("$argon2id$")


def test_a_new_user_is_an_analyst_and_roles_are_those_of_the_service(store):
    from credit_default.serving.roles import Role

    assert added("anna")["role"] == "analyst"
    assert (
        f"--role {'|'.join(role.value for role in Role)}" in shell("user", "add", "--help").stdout
    )
    assert [added(role.value, role=role.value)["role"] for role in Role] == [
        role.value for role in Role
    ]


@pytest.mark.parametrize("given", [PASSWORD, f"{PASSWORD}\n", f"{PASSWORD}\r\n"])
def test_only_the_end_of_the_line_is_not_the_password(store, given):
    answer(
        "user", "add", "anna", "--email", "anna@bank.example.com", "--password-stdin", given=given
    )
    assert let_in(store, "anna", PASSWORD)


@pytest.mark.parametrize(
    "command, given, said",
    [
        ("add bernd --email bernd@bank.example.com", "", "--password-stdin"),
        (
            "add bernd --email bernd@bank.example.com --password-stdin",
            "",
            "standard input is empty",
        ),
        (
            "add bernd --email bernd@bank.example.com --password-stdin",
            b"\xff\xfe secret and long",
            "not UTF-8",
        ),
        (
            "add bernd --email bernd@bank.example.com --password-stdin",
            "secret",
            "password: 12 to 128",
        ),
        (
            "add bernd --email bernd@bank.example.com --password-stdin",
            "secret" * 30,
            "password: 12 to 128",
        ),
        (
            "add bernd.secretly --email bernd@bank.example.com --password-stdin",
            "Bernd.Secretly",
            "must not be the username",
        ),
        ("add bernd --email bernd --password-stdin", "secret" * 3, "email: "),
        ("add bernd --password-stdin", "secret" * 3, "--email"),
        (
            "add b/d --email bernd@bank.example.com --password-stdin",
            "secret" * 3,
            "username: 3 to 64 letters",
        ),
        (
            "add ANNA --email bernd@bank.example.com --password-stdin",
            "secret" * 3,
            "username is taken",
        ),
        (
            "add bernd --email ANNA@bank.example.com --password-stdin",
            "secret" * 3,
            "email is taken",
        ),
        (
            "add bernd --email bernd@bank.example.com --role boss --password-stdin",
            "secret" * 3,
            "viewer, analyst, admin",
        ),
        ("add bernd --email bernd@bank.example.com --password secretsecret", "", "No such option"),
        ("password anna", "", "--password-stdin"),
        ("password anna secretsecret", "", "unexpected extra argument"),
        ("password anna --password-stdin", "secret", "password: 12 to 128"),
        ("password bernd --password-stdin", "secret" * 3, "there is no user 'bernd'"),
        ("disable bernd", "", "there is no user 'bernd'"),
        ("enable bernd", "", "there is no user 'bernd'"),
        ("role bernd admin", "", "there is no user 'bernd'"),
        ("role anna boss", "", "there is no role 'boss'; there are viewer, analyst, admin"),
        ("disable \udcff", "", "there is no user"),
        ("invite --role boss", "", "viewer, analyst, admin"),
        ("invite --days 0", "", "--days"),
    ],
)
def test_a_user_that_cannot_be_is_bad_input_and_the_password_not_repeated(
    store, command, given, said
):
    added("anna")
    before = store.users.all()
    result = shell("user", *command.split(), given=given)
    assert result.exit_code == 2 and said in result.stderr, result.output
    assert "secret" not in result.output.replace("secretsecret", "") and store.users.all() == before
    assert let_in(store, "anna", PASSWORD)


def test_a_name_that_cannot_be_is_said_before_a_password_is_asked_for(store):
    result = shell("user", "add", "b/d", "--email", "bernd@bank.example.com")
    assert (
        result.exit_code == 2 and "username: " in result.stderr and "assword" not in result.output
    )


def test_who_is_disabled_is_not_let_in_until_enabled(store):
    added("anna")
    added("bernd")
    assert (
        answer("user", "disable", "ANNA")["disabled"]
        and let_in(store, "anna", PASSWORD) is None
        and let_in(store, "bernd", PASSWORD)
    )
    assert "anna is disabled already" in shell("user", "disable", "anna").stdout
    assert [one["disabled"] for one in answer("user", "list")] == [True, False]
    assert not answer("user", "enable", "anna")["disabled"] and let_in(store, "anna", PASSWORD)


def test_who_is_removed_is_gone_and_the_name_is_free(store):
    added("anna")
    first = store.users.get(username="anna").id
    refused = shell("user", "remove", "anna")
    assert refused.exit_code == 2 and "give --yes" in refused.stderr
    assert let_in(store, "anna", PASSWORD)
    assert answer("user", "remove", "ANNA", "--yes")["id"] == first
    assert let_in(store, "anna", PASSWORD) is None and not answer("user", "list")
    assert shell("user", "remove", "anna", "--yes").exit_code == 2
    added("anna")
    assert store.users.get(username="anna").id != first


def test_another_role_takes_the_place_of_the_first(store):
    added("anna")
    assert (
        answer("user", "role", "anna", "viewer")["role"] == "viewer"
        and store.users.get(username="anna").role == "viewer"
    )


def test_another_password_takes_the_place_of_the_first(store):
    added("anna")
    assert (
        shell(
            "user", "password", "anna", "--password-stdin", given="a short and noisy street"
        ).exit_code
        == 0
    )
    assert let_in(store, "anna", PASSWORD) is None and let_in(
        store, "anna", "a short and noisy street"
    )


def test_an_invitation_makes_one_user_with_its_role(store, monkeypatch):
    from credit_default.serving.accounts import Signup
    from credit_default.serving.passwords import Passwords
    from credit_default.serving.users import SignupRefused, Users

    assert "closed" in shell("user", "invite").stderr
    monkeypatch.setenv("CREDIT_DEFAULT_SIGNUP", "invite")
    said = shell("user", "invite", "--role", "viewer")
    assert said.exit_code == 0 and len(said.stdout.split()) == 1
    for text in ("one person", "role viewer", "within 7 days", "POST /signup", "`invitation`"):
        assert text in said.stderr

    def sign_up(username):
        wanted = Signup(
            username=username,
            email=f"{username}@bank.example.com",
            password=PASSWORD,
            invitation=said.stdout.strip(),
        )
        return asyncio.run(Users(store).signup(wanted, "invite", Passwords()))

    assert sign_up("anna").role.value == "viewer"
    with pytest.raises(SignupRefused):
        sign_up("bernd")
    assert answer("user", "invite", "--days", "2") | {"role": "analyst", "days": 2} != {
        "role": "analyst",
        "days": 2,
    }
    assert said.stdout.strip().encode() not in b"".join(
        path.read_bytes() for path in store.file.parent.iterdir()
    )


# At a terminal


def at_terminal(*arguments, replies):
    """The console script as somebody at a terminal meets it: what it showed, its exit code.
    `replies`: what is typed after which text.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(SCRIPT, ["credit-default", *arguments])
    said = b""

    def read():
        assert select.select([terminal], [], [], 60)[0], said
        try:
            return os.read(terminal, 4096)
        except OSError:  # it has ended
            return b""

    for prompt, reply in replies:
        while not said.endswith(f"{prompt} ".encode()):  # the space is said when the echo is off
            assert (more := read()), said
            said += more
        os.write(terminal, f"{reply}\n".encode())
    while more := read():
        said += more
    os.close(terminal)
    return said.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def script(*arguments, **options):
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, **options)


def test_an_administrators_day_through_the_console_script(place):
    assert (
        script("db", "upgrade").stdout
        == f"sqlite:///{place}/data/service.db: made, at revision {HEAD}\n"
    )
    store = Store(read_settings().database)
    said, code = at_terminal(
        "user",
        "add",
        "anna",
        "--email",
        "anna@bank.example.com",
        replies=[
            ("Password:", PASSWORD + "s"),
            ("The same again:", PASSWORD),
            ("Password:", PASSWORD),
            ("The same again:", PASSWORD),
        ],
    )
    assert (
        code == 0
        and "do not match" in said
        and "anna is a user now: analyst" in said
        and PASSWORD not in said
    )
    assert let_in(store, "anna", PASSWORD)

    store.predictions.append([Entry([prediction(i) for i in range(5000)])])
    gone = store.predictions.count(until=datetime.now(UTC) - timedelta(days=1))
    said, code = at_terminal("log", "prune", "--older-than", "1d", replies=[("[y/N]:", "n")])
    assert (
        code == 1
        and f"Remove {gone:,} predictions from before" in said
        and store.predictions.count() == 5000
    )
    said, code = at_terminal("log", "prune", "--older-than", "1d", replies=[("[y/N]:", "y")])
    assert (
        code == 0
        and "removing" in said
        and f"{gone:,} predictions from before" in said
        and store.predictions.count() == 5000 - gone
    )
    failed = script("log", "erase", "APP-1")
    assert (
        failed.returncode == 2
        and failed.stdout == ""
        and failed.stderr
        == "credit-default: no prediction has this reference; nothing was deleted\n"
    )


# The prediction log


def test_export_takes_since_in_and_until_not(store, place):
    import pyarrow.parquet as pq

    store.predictions.append([Entry([prediction(i) for i in range(10)])])
    assert answer("log", "export", "all.parquet") == {"out": "all.parquet", "rows": 10}
    assert (
        "3 predictions copied to part.parquet"
        in shell(
            "log",
            "export",
            "part.parquet",
            "--since",
            "2026-03-03",
            "--until",
            "2026-03-06T01:00+01:00",
        ).stdout
    )
    assert pq.read_table("part.parquet")["reference"].to_pylist() == ["APP-2", "APP-3", "APP-4"]
    assert stat.S_IMODE(Path("part.parquet").stat().st_mode) == 0o600
    assert (
        answer("log", "export", "none.parquet", "--since", "2030-01-01")["rows"] == 0
        and pq.read_table("none.parquet").num_rows == 0
    )


def test_export_to_another_database_adds_what_is_not_there(store, place):
    store.predictions.append([Entry([prediction(i) for i in range(5)])])
    url = f"sqlite:///{place}/warehouse.db"
    assert [
        answer("log", "export", url, "--until", "2026-03-03")["rows"],
        answer("log", "export", url)["rows"],
    ] == [2, 3]
    with sqlite3.connect("warehouse.db") as warehouse:
        assert warehouse.execute(
            "SELECT count(*), count(DISTINCT prediction_id) FROM predictions"
        ).fetchone() == (5, 5)


@pytest.mark.parametrize(
    "command, label",
    [("export out.parquet", "exporting"), ("prune --older-than 1d --yes", "removing")],
)
def test_what_takes_long_shows_how_far_it_is(store, monkeypatch, command, label):
    seen = {}

    @contextmanager
    def bar(label, total):
        seen[label] = [total]
        yield seen[label].append

    monkeypatch.setattr(log, "progress_bar", bar)
    begin = datetime.now(UTC) - timedelta(days=100)
    store.predictions.append(
        [Entry([prediction(i, at=begin + timedelta(seconds=i)) for i in range(20_500)])]
    )
    answer("log", *command.split())
    [[total, *done]] = seen.values()
    assert (
        seen.keys() == {label}
        and total == 20_500
        and done == sorted(done)
        and (label == "removing" or done == [10_000, 20_000, 20_500])
    )


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["out.csv"], "neither a Parquet file"),
        (["nowhere/out.parquet"], "nowhere/out.parquet"),
        (["nosuch://user:hunter2@host/db"], "no driver for 'nosuch'"),
        (["postgresql+psycopg://credit:hunter2@127.0.0.1:1/credit"], "cannot be reached"),
        (
            ["out.parquet", "--since", "2026-03-02", "--until", "2026-03-02"],
            "--since must be before --until",
        ),
        (["out.parquet", "--since", "yesterday"], "is not a time such as"),
        ([], "OUT"),
    ],
)
def test_an_export_that_cannot_be_is_bad_input(store, place, arguments, said):
    store.predictions.append([Entry([prediction(1)])])
    result = shell("log", "export", *arguments)
    assert result.exit_code == 2 and said in result.stderr and "hunter2" not in result.output
    assert [path.name for path in place.iterdir()] == ["data"]


def test_prune_removes_what_is_older_and_no_more(store):
    now = datetime.now(UTC)
    store.predictions.append(
        [Entry([prediction(i, at=now - timedelta(days=i, minutes=1))]) for i in range(10)]
    )
    refused = shell("log", "prune", "--older-than", "6d")
    assert (
        refused.exit_code == 2
        and "4 predictions" in refused.stderr
        and "--yes" in refused.stderr
        and store.predictions.count() == 10
    )
    pruned = answer("log", "prune", "--older-than", "6d", "--yes")
    assert pruned["removed"] == 4 and abs(
        datetime.fromisoformat(pruned["before"]) - (now - timedelta(days=6))
    ) < timedelta(minutes=1)
    assert {row.reference for row in store.predictions.find()} == {f"APP-{i}" for i in range(6)}
    assert answer("log", "prune", "--older-than", "6d")["removed"] == 0  # nothing to ask about


@pytest.mark.parametrize("age", ["365", "1y", "0d", "-5d", "1.5d", "100000d", ""])
def test_an_age_that_is_none_removes_nothing(store, age):
    store.predictions.append([Entry([prediction(1)])])
    result = shell("log", "prune", "--older-than", age, "--yes")
    assert (
        result.exit_code == 2
        and "12h, 365d or 52w" in result.stderr
        and store.predictions.count() == 1
    )


def test_the_longest_age_that_is_one_is_taken(store):
    assert answer("log", "prune", "--older-than", "99999w", "--yes")["removed"] == 0


def test_erase_forgets_an_applicant_also_in_the_spool(store, place):
    spool = Store(read_settings().spool_url)
    spool.upgrade()
    for one in (store, spool):
        one.predictions.append(
            [Entry([prediction(i)], kept(i)) for i in range(3)] + [Entry([prediction(1)])]
        )
    assert answer("log", "erase", "APP-1") == {"removed": 4}
    for one in (store, spool):
        assert {row.reference for row in one.predictions.find()} == {"APP-0", "APP-2"}
        assert one.answers.get("7c0f", "key-1") is None and one.answers.get("7c0f", "key-0")
        assert not any(
            b"APP-1" in path.read_bytes() for path in one.file.parent.glob(f"{one.file.name}*")
        )
    again = shell("log", "erase", "APP-1")
    assert (
        again.exit_code == 2
        and "nothing was deleted" in again.stderr
        and "APP-1" not in again.stderr
    )


def test_erase_waits_for_rows_that_are_on_their_way(store, place, monkeypatch):
    from credit_default.serving.recorder import replay_lock

    spool = Store(read_settings().spool_url)
    spool.upgrade()
    spool.predictions.append([Entry([prediction(1)])])
    with replay_lock(spool.file), monkeypatch.context() as hasty:
        hasty.setattr(log, "REPLAY_SECONDS", 0.1)
        result = shell("log", "erase", "APP-1")
    assert (
        result.exit_code == 1
        and "nothing was deleted" in result.stderr
        and spool.predictions.count() == 1
    )
    assert answer("log", "erase", "APP-1") == {"removed": 1} and spool.predictions.count() == 0


def test_erase_makes_no_spool(store, place):
    store.predictions.append([Entry([prediction(1)])])
    assert (
        answer("log", "erase", "APP-1") == {"removed": 1}
        and not (place / "data" / "spool.db").exists()
    )


def test_a_backup_taken_under_load_is_whole_and_can_be_gone_back_to(store, place):
    def write(n):
        return [
            store.predictions.append([Entry([prediction(i) for i in range(5)])]) for _ in range(n)
        ]

    write(20)
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(write, 60)
        saved = answer("log", "backup", "copy.db")
        work.result()
    assert (
        saved["bytes"] == Path("copy.db").stat().st_size
        and stat.S_IMODE(Path("copy.db").stat().st_mode) == 0o600
    )
    with sqlite3.connect("copy.db") as copy:
        found = copy.execute("SELECT count(*) FROM predictions").fetchone()[0]
    assert 100 <= found <= 400 and found % 5 == 0  # transactions are whole or not there
    again = shell("log", "backup", "copy.db")
    assert again.exit_code == 2 and "is there already" in again.stderr

    store.close()  # as the help says: stop, remove, copy, start
    for path in store.file.parent.glob(f"{store.file.name}*"):
        path.unlink()
    store.file.write_bytes(Path("copy.db").read_bytes())
    assert answer("db", "upgrade")["to"] == HEAD
    assert answer("log", "export", "restored.parquet")["rows"] == found
    with sqlite3.connect(store.file) as restored:
        assert restored.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# The key


def test_a_key_is_made_once_for_this_machine(place):
    assert make_env(".env") and not make_env(".env")
    text = Path(".env").read_text()
    assert len(secret_key(read_settings())) == 64 and read_settings().signup == "open"
    assert (
        stat.S_IMODE(Path(".env").stat().st_mode) == 0o600
        and text.startswith("#")
        and text.count("SECRET_KEY") == 1
    )


@pytest.mark.parametrize(
    "held, added",
    [
        (b"CREDIT_DEFAULT_WORKERS=2", 3),
        (b"# mine\r\nCREDIT_DEFAULT_WORKERS=2\r\n", 3),
        (b"CREDIT_DEFAULT_SIGNUP=invite\n", 2),
        (b'CREDIT_DEFAULT_SECRET_KEY=\nOTHER="two words"\n', 3),
        (b"", 3),
    ],
)
def test_what_the_file_holds_stays_and_decides(place, held, added):
    Path(".env").write_bytes(held)
    Path(".env").chmod(0o644)
    assert make_env(".env")
    text = Path(".env").read_bytes()
    assert (
        text.startswith(held)
        and len(text[len(held) :].strip().splitlines()) == added
        and stat.S_IMODE(Path(".env").stat().st_mode) == 0o600
    )
    assert len(secret_key(read_settings())) == 64 and read_settings().signup == (
        "invite" if b"invite" in held else "open"
    )
    assert read_settings().workers == (2 if b"WORKERS" in held else 1)


@pytest.mark.parametrize(
    "held",
    [
        b"CREDIT_DEFAULT_SECRET_KEY=" + b"k" * 40 + b"\n",
        b"export credit_default_secret_key='" + b"k" * 40 + b"'\n",
        b"CREDIT_DEFAULT_SECRET_KEY=short\n",
    ],
)
def test_a_key_that_is_there_is_left_alone(place, held):
    Path(".env").write_bytes(held)
    Path(".env").chmod(0o640)
    assert not make_env(".env")
    assert Path(".env").read_bytes() == held and stat.S_IMODE(Path(".env").stat().st_mode) == 0o640


def test_a_key_of_the_environment_needs_no_file(place, monkeypatch):
    monkeypatch.setenv("CREDIT_DEFAULT_SECRET_KEY", "k" * 40)
    assert not make_env(".env") and not list(place.iterdir())
    monkeypatch.setenv("CREDIT_DEFAULT_SECRET_KEY", "")
    assert make_env(".env")


def test_many_that_start_at_once_make_one_key(place):
    code = "from credit_default.cli.environment import make_env; print(make_env('.env'))"
    made = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    assert sorted(one.communicate()[0].strip() for one in made) == ["False"] * 5 + ["True"]
    assert Path(".env").read_text().count("SECRET_KEY") == 1
