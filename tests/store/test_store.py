"""The store with SQLite and with a real PostgreSQL server: the same answers, nothing lost, and
`DatabaseUnavailable` within seconds.
"""

import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from postgres import PASSWORD, Postgres, binaries

from credit_default.store import engine, errors, export, schema, upkeep, windows
from credit_default.store.answers import StoredAnswer
from credit_default.store.checks import CheckRecord
from credit_default.store.errors import (
    DatabaseUnavailable,
    InvalidInvitation,
    InvalidRow,
    NameTaken,
    StoreError,
)
from credit_default.store.outcomes import OutcomeCoverage, RecordedOutcomes
from credit_default.store.overrides import Override, OverrideResult
from credit_default.store.predictions import Entry
from credit_default.store.schema import COLUMNS, ROW, TABLES, example_prediction
from credit_default.store.schema_version import HEAD
from credit_default.store.shadow import ShadowScore
from credit_default.store.store import Store
from credit_default.store.users import UserRecord

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUICK = dict(timeout=1.0)


def row(i=0, **other):
    own = dict(
        user_id="anna-id",
        reference=f"A-{i}",
        sent=json.dumps({"age": 31, "Name": "Zoë"}),
        scored='{"age": 31.0}',
        log_odds=-3.44,
        request_id=f"r-{i}",
    )
    return example_prediction(0, NOON + timedelta(seconds=i), **own) | other


def answer(key, user_id="anna-id", **other):
    answer = StoredAnswer(
        user_id=user_id,
        key=key,
        endpoint="predict",
        body_hash="9f86d081",
        status=200,
        content=b"\x00\xffcompressed",
        at=NOON,
    )
    return replace(answer, **other)


def without_seq(logged):
    return {name: value for name, value in vars(logged).items() if name != "seq"}


def ids(store):
    return [one.prediction_id for one in store.predictions.find(limit=10**6)]


def away(call, *args, within=8.0):
    "The text of the DatabaseUnavailable that `call` raises, within so many seconds."
    begin = time.monotonic()
    with pytest.raises(DatabaseUnavailable) as raised:
        call(*args)
    assert time.monotonic() - begin < within
    return str(raised.value)


def test_the_migrations_make_the_tables_of_the_chapter(store):
    with store.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), TABLES) == []
    config = Config()
    config.set_main_option("script_location", "credit_default.store:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_a_schema_that_is_another_is_away(store):
    assert store.ready()
    for found, says in (("0000", "run `credit-default db upgrade`"), ("9999", "too old for it")):
        with store.database.transaction(writes=True) as c:
            c.execute(sa.text(f"UPDATE alembic_version SET version_num = '{found}'"))
        assert says in away(store.ready)
    assert "too old for it" in away(store.upgrade)


def test_without_a_schema_it_is_away_and_nothing_is_made(url):
    fresh = Store(url)
    assert away(fresh.ready) == "the database has no tables yet: run `credit-default db upgrade`"
    assert fresh.file is None or not fresh.file.exists()
    if fresh.file:
        fresh.file.touch()
    assert "run `credit-default db upgrade`" in away(
        fresh.predictions.append, [Entry([row()])]
    ) and "run `credit-default db upgrade`" in away(fresh.users.all)


def migrated(store, how, revision):
    "Bring the schema to a revision, by Alembic itself."
    config = Config()
    config.set_main_option("script_location", "credit_default.store:migrations")
    with store.database.transaction(writes=True) as connection:
        config.attributes["connection"] = connection
        how(config, revision)


def tables_of(store):
    with store.database.transaction() as c:
        found = sa.inspect(c)
        return {
            table: (
                [one["name"] for one in found.get_columns(table)],
                sorted(
                    (one["name"], tuple(one["column_names"])) for one in found.get_indexes(table)
                ),
            )
            for table in found.get_table_names()
        }


def test_the_first_schema_is_upgraded_with_what_is_in_it(url):
    store = Store(url)
    if store.file:
        store.file.touch()
    migrated(store, command.upgrade, "0001")
    first = tables_of(store)
    store.predictions.append([Entry([row(i) for i in range(50)], answer("k"))])
    user = store.users.add(
        UserRecord(id="1", username="anna", email=None, password_hash="$argon2id$", role="analyst")
    )
    kept = store.predictions.find()
    assert (
        "has schema 0001, and 0004 is needed" in away(store.ready)
        and store.schema.version() == "0001"
    )
    store.upgrade()
    assert store.ready() and store.schema.version() == HEAD == "0004"
    assert (
        store.predictions.find(),
        store.answers.get("anna-id", "k"),
        store.users.all(),
    ) == (
        kept,
        answer("k"),
        [user],
    )
    assert (
        store.windows.versions("gmsc") == {kept[0].model_version: 50}
        and "".join(store.windows.bins("gmsc", kept[0].model_version)) == "3:\n" * 50
    )
    assert told(store, (vars(kept[0]), True, 800)).recorded == 1
    store.predictions.append([Entry([row(50)])])
    assert store.predictions.find(limit=1)[0].seq > kept[0].seq
    migrated(store, command.downgrade, "0001")
    assert tables_of(store) == first and store.predictions.count() == 51


def test_a_check_that_could_not_tell_says_so_after_an_upgrade(url):
    store = Store(url)
    if store.file:
        store.file.touch()
    migrated(store, command.upgrade, "0002")
    second = tables_of(store)
    found = {1: (False, False), 2: (False, None), 3: (True, True), 4: (False, None)}
    for drifted, detected in found.values():
        result = json.dumps(dict(drift_detected=detected, drifted_features=[]))
        check = CheckRecord(NOON, "gmsc", "gmsc:1", "watch", None, NOON, 4, drifted, result)
        store.checks.add(check)
    store.upgrade()
    kept = {check.id: check.drifted for check in store.checks.find("gmsc")}
    assert kept == {id: detected for id, (_, detected) in found.items()}
    check = CheckRecord(NOON, "gmsc", "gmsc:1", "watch", None, NOON, 0, None, "{}")
    assert store.checks.add(check) == 5
    with store.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), TABLES) == []
    migrated(store, command.downgrade, "0002")
    assert tables_of(store) == second
    assert [check.drifted for check in store.checks.find("gmsc")] == [
        False,
        False,
        True,
        False,
        False,
    ]


def upgraded(url, barrier, outcome):
    "What one of several processes does as it starts."
    fresh = Store(url)
    barrier.wait(30)
    fresh.upgrade()
    outcome.put(fresh.ready())


def test_processes_may_upgrade_at_once(url):
    processes = multiprocessing.get_context("fork")
    barrier, outcome = processes.Barrier(4), processes.Queue()
    running = [processes.Process(target=upgraded, args=(url, barrier, outcome)) for _ in range(4)]
    for one in running:
        one.start()
    assert [outcome.get(timeout=60) for _ in running] == [True] * 4
    for one in running:
        one.join(30)
    assert [one.exitcode for one in running] == [0] * 4


def test_what_was_written_is_what_is_read(store):
    rows = [
        row(
            i,
            user_id=None,
            username=None,
            reference=None,
            at=NOON.astimezone(timezone(timedelta(hours=-5))) + timedelta(microseconds=i),
        )
        for i in range(3)
    ]
    many = [
        row(
            i, sent=json.dumps({"quoted": 'a "b" {c}, \\', "null": None}), rating="NULL", reasons=""
        )
        for i in range(100)
    ]  # PostgreSQL: as arrays
    assert store.predictions.append([Entry(rows[:1]), Entry(rows[1:]), Entry([])]) == [
        True
    ] * 3 and store.predictions.append([Entry(many)]) == [True]
    found = store.predictions.find(limit=200)
    assert [one.seq for one in found] == sorted((one.seq for one in found), reverse=True)
    assert [without_seq(one) for one in found[::-1]] == [
        one | dict(idempotency_key=None) for one in rows + many
    ]
    assert [one.at.utcoffset() for one in found[-3:]] == [timedelta(0)] * 3
    assert found[-1].at == rows[0]["at"]
    assert set(ROW) | {"idempotency_key"} == set(COLUMNS) == set(without_seq(found[0]))


def test_a_prediction_is_written_once(store):
    entry = Entry([row(i) for i in range(30)])
    assert store.predictions.append([entry, entry]) == store.predictions.append([entry]) == [
        True
    ] * 2 or store.predictions.append([Entry([entry.rows[0]])]) == [True]
    assert sorted(ids(store)) == sorted(one["prediction_id"] for one in entry.rows)


def test_a_key_is_used_once(store):
    first, other = Entry([row(1)], answer("k")), Entry([row(2)], answer("k", content=b"another"))
    assert store.predictions.append(
        [
            Entry([row(0)]),
            first,
            other,
            Entry([row(3)], answer("k", user_id="bert-id")),
            Entry([], answer("empty")),
        ]
    ) == [True, True, False, True, True]
    assert store.predictions.append([other, Entry([row(4)])]) == [False, True]
    assert [one.reference for one in store.predictions.find()] == ["A-4", "A-3", "A-1", "A-0"]
    assert store.answers.get("anna-id", "k") == first.answer and set(vars(first.answer)) == set(
        schema.answers.columns.keys()
    )
    assert (
        store.answers.get("anna-id", "unknown") is None
        and store.answers.get("anna-id", "\0") is None
    )
    assert (
        store.answers.prune(NOON) == 0
        and store.answers.prune(NOON + timedelta(seconds=1)) == 3
        and store.answers.get("anna-id", "k") is None
    )


def test_of_two_at_once_with_one_key_one_is_written(store):
    def write(i):
        return store.predictions.append(
            [Entry([row(i)], answer(key)) for key in (("a", "b") if i % 2 else ("b", "a"))]
        )

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(write, range(40)))
    assert sum(map(sum, done)) == 2 and store.predictions.count() == 2


def test_what_cannot_be_stored_is_refused_whole_and_without_its_value(store):
    for wrong, says in (
        (dict(reference="secret\0"), "reference"),
        (dict(username="secret \ud800"), "username"),
        (dict(at=datetime(2026, 3, 1)), "at"),
        (dict(income="secret"), "income"),
        (dict(rating=None), "rating"),
    ):
        with pytest.raises(InvalidRow) as raised:
            store.predictions.append([Entry([row(0)]), Entry([row(1, sent="secret") | wrong])])
        assert (
            says in str(raised.value)
            and "secret" not in str(raised.value)
            and raised.value.__cause__ is None
        )
    with pytest.raises(InvalidRow, match="prediction_id is missing"):
        store.predictions.append([Entry([{}])])
    assert store.predictions.count() == 0
    with pytest.raises(InvalidRow):
        store.users.add(
            UserRecord(id="1", username="secret", email=None, password_hash=None, role="viewer")
        )


def test_questions_with_any_text_find_nothing(store):
    store.predictions.append([Entry([row(0)])])
    for text in ("\0", "\ud800", "x" * 100_000, "'; DROP TABLE predictions; --", "%"):
        assert (
            store.predictions.get(text) is None
            and store.predictions.find(reference=text) == []
            and store.predictions.count(user_id=text) == 0
        )
        assert (
            store.users.get(username=text) is None
            and store.users.get(id=text) is None
            and store.users.invitation(text) is None
        )
    assert [len(store.predictions.find(after=after)) for after in (2**80, 2, 1, 0, -(2**80))] == [
        1,
        1,
        0,
        0,
        0,
    ]
    east, west = (
        datetime.fromisoformat("0001-01-01T00:00:00+14:00"),
        datetime.fromisoformat("9999-12-31T23:59:59-14:00"),
    )
    assert (
        store.predictions.count(since=east, until=west) == 1
        and store.predictions.count(since=west) == store.predictions.count(until=east) == 0
    )


def test_pages_and_filters(store):
    other = dict(
        portfolio="german",
        user_id="bert-id",
        decision="Declined",
        rating="Poor",
        model_version="credit_default_german:1",
        reference="B",
    )
    store.predictions.append([Entry([row(i, **(other if i % 4 == 0 else {}))]) for i in range(50)])
    pages, after = [], None
    while page := store.predictions.find(after=after, limit=7, user_id="anna-id"):
        pages.append(page)
        after = page[-1].seq
        store.predictions.append(
            [Entry([row(1000 + len(pages))])]
        )  # what arrives meanwhile shifts nothing
    assert [one.reference for page in pages for one in page] == [
        f"A-{i}" for i in range(49, -1, -1) if i % 4
    ]
    for name in other:
        assert (
            store.predictions.count(**{name: other[name]})
            == len(store.predictions.find(**{name: other[name]}))
            == 13
        )
    assert (
        store.predictions.count(
            since=NOON + timedelta(seconds=10), until=NOON + timedelta(seconds=20)
        )
        == 10
    )
    assert store.predictions.count(**other, until=NOON + timedelta(seconds=1)) == 1


# Monitoring: windows, outcomes, checks

GMSC = row()["model_version"]


@pytest.fixture
def logged(store):
    """Predictions of two models and two portfolios, mixed, a third of them of one moment; slices of
    seven.
    """
    store.windows.slice_rows = 7
    kinds = [
        dict(),
        dict(portfolio="german", model_version="credit_default_german:1"),
        dict(model_version="credit_default_gmsc:older"),
    ]
    rows = [
        row(
            i if i < 80 else 80,
            bins=f"{i:04d}",
            prediction=i % 2,
            decision=("Approved", "Declined")[i % 2],
            **kinds[(i // 3) % 3],
        )
        for i in range(120)
    ]
    store.predictions.append([Entry(rows)])
    return rows


SAMPLED = ("sent", "probability_default", "credit_score", "rating", "decision", "at")


def some_of(store, *window, **asked):
    sample = windows.WindowSample(**asked)
    for _ in store.windows.bins(*window, sample=sample):
        pass
    return store.windows.sampled(sample)


def of(rows, since=0, until=10**6, version=GMSC):
    return [
        one
        for one in rows
        if one["model_version"] == version
        and NOON + timedelta(seconds=since) <= one["at"] < NOON + timedelta(seconds=until)
    ]


@pytest.mark.parametrize(
    "since, until", [(None, None), (10, 50), (80, 81), (10, None), (None, 80), (81, None), (5, 5)]
)
def test_a_window_is_read_whole_and_once(store, logged, since, until):
    window = [None if s is None else NOON + timedelta(seconds=s) for s in (since, until)]
    there = of(logged, since or 0, until or 10**6)
    chunks = list(store.windows.bins("gmsc", GMSC, *window))
    assert (
        sorted("".join(chunks).splitlines()) == sorted(one["bins"] for one in there)
        and max(map(len, chunks), default=0) <= 7 * 5
    )
    first = store.windows.first("gmsc", GMSC, window[0])
    assert first == min((one["at"] for one in of(logged, since or 0)), default=None)
    assert store.windows.versions("gmsc", *window) == {
        name: len(of(logged, since or 0, until or 10**6, name))
        for name in (GMSC, "credit_default_gmsc:older")
        if of(logged, since or 0, until or 10**6, name)
    }
    every = some_of(store, "gmsc", GMSC, *window)
    assert (
        some_of(store, "gmsc", GMSC, *window, width=4) == every
        and some_of(store, "gmsc", GMSC, *window, width=5) == []
    )
    assert sorted(map(str, every)) == sorted(
        str(windows.SampledPrediction(**{name: one[name] for name in SAMPLED})) for one in there
    )
    assert [one.at for one in every] == sorted(one["at"] for one in there)
    if since is None:
        declined = sum(one["prediction"] for one in there)
        assert store.outcomes.coverage("gmsc", GMSC, window[1]) == OutcomeCoverage(
            n=len(there), declined=declined, with_outcome=0, declined_with_outcome=0
        )


def test_totals_and_unknown_windows(store, logged):
    assert store.windows.totals("gmsc", NOON + timedelta(seconds=80)) == (
        sum(one["portfolio"] == "gmsc" for one in logged),
        len(of(logged, 80)) + len(of(logged, 80, version="credit_default_gmsc:older")),
    )
    assert (
        store.windows.totals("nobody", NOON) == (0, 0)
        and store.windows.versions("\0") == {}
        and store.windows.first("\0", GMSC) is store.windows.first("gmsc", "nobody") is None
    )
    assert store.windows.versions("gmsc", but=GMSC) == {
        "credit_default_gmsc:older": len(of(logged, version="credit_default_gmsc:older"))
    }
    for text in ("\0", "\ud800", "'; DROP TABLE predictions; --", "%", ""):
        assert (
            list(store.windows.bins("gmsc", text))
            == some_of(store, "gmsc", text)
            == list(store.outcomes.matured("gmsc", text or "%"))
            == []
        )
        assert store.outcomes.coverage("gmsc", text) == OutcomeCoverage()


@pytest.mark.parametrize("among", [1, 2, 50], ids=["alone", "every second row", "every 50th row"])
def test_samples_are_spread_evenly(store, monkeypatch, among):
    """Also where another portfolio's rows come in between in a fixed order. The circle is a small
    one: many rows go round it.
    """
    monkeypatch.setattr(windows, "_CIRCLE", 1024)
    monkeypatch.setattr(windows, "_STEP", 633)
    store.predictions.append(
        [
            Entry(
                [
                    row(i, credit_score=i, portfolio="gmsc" if i % among == 0 else "german")
                    for i in range(1000 * among)
                ]
            )
        ]
    )
    for most in (1, 10, 100, 999):
        found = [one.credit_score / among for one in some_of(store, "gmsc", GMSC, most=most)]
        assert 0.9 * most - 1 <= len(found) <= most
        if most == 100:
            assert all(
                15 <= sum(part <= one < part + 200 for one in found) <= 25
                for part in range(0, 1000, 200)
            )


def test_a_reader_in_the_middle_of_a_window_holds_nobody_up(store, logged):
    told(store, *((one, False, 800) for one in logged))
    bins, with_outcome = store.windows.bins("gmsc", GMSC), store.outcomes.matured("gmsc")
    next(bins), next(with_outcome)
    hasty = Store(store.database.url.render_as_string(hide_password=False), timeout=1)
    assert (
        hasty.predictions.append([Entry([row(9999)])]) == [True] and hasty.upkeep.erase("A-0") == 1
    )
    if store.file:
        with closing(sqlite3.connect(store.file)) as c:
            assert (
                c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
            )  # no reader is in the way
    else:
        with hasty.database.transaction(writes=True) as c:
            c.execute(
                sa.text("LOCK TABLE predictions, outcomes IN ACCESS EXCLUSIVE MODE")
            )  # nobody has them in use
    assert len("".join(bins)) > 0 and sum(len(part["at"]) for part in with_outcome) > 0


def test_counting_reads_no_row_of_the_table(tmp_path):
    store = sqlite_store(tmp_path)
    asked = []
    sa.event.listen(
        store.database.engine,
        "before_cursor_execute",
        lambda c, cursor, statement, values, *_: (
            asked.append((statement, values)) if "predictions" in statement else None
        ),
    )
    (
        list(
            store.windows.bins(
                "gmsc",
                GMSC,
                NOON,
                NOON + timedelta(days=1),
                sample=windows.WindowSample(5, width=4),
            )
        ),
        store.windows.totals("gmsc", NOON),
        store.outcomes.coverage("gmsc", GMSC),
        store.windows.first("gmsc", GMSC),
    )
    with store.database.transaction() as c:
        windows.place_of(
            c,
            [schema.predictions.c.portfolio == "gmsc", schema.predictions.c.model_version == GMSC],
            5,
            NOON,
        )
    assert len(asked) >= 6
    with closing(sqlite3.connect(store.file)) as c:
        for statement, values in asked:
            plan = [one[-1] for one in c.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            read = [
                step
                for step in plan
                if "SEARCH" in step or "SCAN" in step and "SCAN anon_1" not in step
            ]
            assert "COVERING INDEX predictions_window" in read[0] and "TEMP B-TREE" not in str(
                plan
            ), (statement, plan)


def outcome(one, defaulted, days):
    return dict(
        prediction_id=one["prediction_id"],
        defaulted=defaulted,
        observed_at=NOON + timedelta(days=days),
    )


def told(store, *statements, by="anna", user_id=None, latest=None):
    return store.outcomes.record(
        [outcome(*one) for one in statements], by=by, user_id=user_id, latest=latest
    )


def held(store):
    "seq -> defaulted, days after noon."
    with store.database.transaction() as c:
        o = schema.outcomes.c
        return {
            seq: (defaulted, (at - NOON).total_seconds() / 86400)
            for seq, defaulted, at in c.execute(sa.select(o.seq, o.defaulted, o.observed_at))
        }


def recorded(**counts):
    "What was done, where the rest is nothing."
    nothing = dict(recorded=0, changed=0, unchanged=0, unknown=[], older=[], early=[], future=[])
    return RecordedOutcomes(**(nothing | counts))


def test_of_several_outcomes_the_one_observed_last_holds(store):
    rows = [row(i) for i in range(3)]
    store.predictions.append([Entry(rows)])
    seqs = [one.seq for one in store.predictions.find()][::-1]
    a, b, c = rows
    assert told(store) == recorded()
    assert told(store, (a, False, 700), (b, True, 100)) == recorded(recorded=2)
    assert told(store, (a, False, 700), (b, True, 100)) == recorded(unchanged=2)
    assert told(store, (a, True, 600), (b, False, 99), (c, False, 700)) == recorded(
        recorded=1, older=[a["prediction_id"], b["prediction_id"]]
    )
    assert told(store, (a, False, 701), (b, False, 100)) == recorded(
        changed=2
    )  # newer; of the same time, said later
    assert told(
        store, (c, True, 900), (c, False, 800), (c, True, 900), (c, False, 900)
    ) == recorded(changed=2, unchanged=1, older=[c["prediction_id"]])
    assert held(store) == {seqs[0]: (False, 701), seqs[1]: (False, 100), seqs[2]: (False, 900)}
    with store.database.transaction() as connection:
        noted = connection.execute(
            sa.select(schema.outcomes.c.recorded_by, schema.outcomes.c.recorded_at)
        ).first()
    assert noted.recorded_by == "anna" and abs(noted.recorded_at - datetime.now(UTC)) < timedelta(
        minutes=5
    )
    east = outcome(a, False, 701) | dict(
        observed_at=(NOON + timedelta(days=701)).astimezone(timezone(timedelta(hours=9)))
    )
    assert store.outcomes.record([east], by=None, user_id=None) == recorded(unchanged=1)
    with pytest.raises(ValueError, match="without a zone"):
        store.outcomes.record(
            [outcome(b, True, 800), outcome(a, True, 800) | dict(observed_at=datetime(2029, 1, 1))],
            by=None,
            user_id=None,
        )
    assert held(store)[seqs[1]] == (False, 100)


def test_outcomes_that_are_not_taken_are_named(store):
    mine, theirs, nobodys, simulated, unnamed = rows = [
        row(0),
        row(1, user_id="bert-id"),
        row(2, user_id=None),
        row(3, reference="simulated/7/3"),
        row(4, reference=None),
    ]
    store.predictions.append([Entry(rows)])
    ids = [one["prediction_id"] for one in rows]
    unknown = [
        outcome(dict(prediction_id=text), True, 700)
        for text in ("4a1c", "\0", "\ud800", "x" * 100_000, "'--")
    ]
    found = store.outcomes.record(
        unknown + [outcome(one, True, 700) for one in rows], by="anna", user_id="anna-id"
    )
    assert found == recorded(
        recorded=3, unknown=["4a1c", "\0", "\ud800", "x" * 100_000, "'--", ids[1], ids[2]]
    )
    assert told(store, *((one, True, 700) for one in rows)) == recorded(
        recorded=2, unchanged=3
    )  # an administrator's are all
    latest = NOON + timedelta(days=1000)
    assert told(store, *((one, True, 1001) for one in rows), latest=latest) == recorded(
        changed=1, future=[ids[0], ids[1], ids[2], ids[4]]
    )
    assert told(store, (mine, False, 1000), latest=latest) == recorded(changed=1)
    assert told(store, (mine, False, -1.01), (theirs, False, -2), (mine, False, -1.01)) == recorded(
        early=ids[:2]
    )
    new = row(5)
    store.predictions.append([Entry([new])])
    assert told(store, (new, False, -0.9)) == recorded(recorded=1)  # the lender's clock, or a date
    far = [
        outcome(new, True, 0) | dict(observed_at=datetime.fromisoformat(text))
        for text in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")
    ]
    assert store.outcomes.record(far, by=None, user_id=None, latest=latest) == recorded(
        early=[new["prediction_id"]], future=[new["prediction_id"]]
    )


def test_ten_thousand_outcomes_in_one_call(store):
    rows = [row(i) for i in range(10_500)]
    store.predictions.append([Entry(rows)])
    statements = [outcome(one, i % 20 == 0, 700) for i, one in enumerate(rows[:10_000])]
    begin = time.monotonic()
    assert store.outcomes.record(statements, by="anna", user_id="anna-id") == recorded(
        recorded=10_000
    )
    assert store.outcomes.record(statements[::-1], by="anna", user_id="anna-id") == recorded(
        unchanged=10_000
    )
    assert time.monotonic() - begin < 10
    unknown = [outcome(row(i), True, 700) for i in range(10_000)]
    assert store.outcomes.record(unknown, by="anna", user_id=None) == recorded(
        unknown=[one["prediction_id"] for one in unknown]
    )
    assert store.outcomes.coverage("gmsc", GMSC) == OutcomeCoverage(
        n=10_500, declined=0, with_outcome=10_000, declined_with_outcome=0
    )
    assert sum(sum(part["defaulted"]) for part in store.outcomes.matured("gmsc")) == 500


def test_outcomes_are_read_with_their_predictions(store, logged):
    known = [one for i, one in enumerate(logged) if i % 4 == 0]
    told(store, *((one, i % 2 == 0, 700 + i) for i, one in enumerate(known)))
    parts = list(store.outcomes.matured("gmsc"))
    assert max(len(part["at"]) for part in parts) <= 7 and all(
        len({len(column) for column in part.values()}) == 1 for part in parts
    )
    found = sorted(one for part in parts for one in zip(*part.values()))
    assert found == sorted(
        (
            one["at"],
            one["probability_default"],
            one["credit_score"],
            one["rating"],
            one["decision"],
            None,  # nobody has overridden it
            one["prediction"],
            one["model_version"],
            int(i % 2 == 0),
            NOON + timedelta(days=700 + i),
        )
        for i, one in enumerate(known)
        if one["portfolio"] == "gmsc"
    )
    assert list(parts[0]) == [
        "at",
        "probability_default",
        "credit_score",
        "rating",
        "decision",
        "override",
        "declined",
        "model_version",
        "defaulted",
        "observed_at",
    ]
    window = dict(made_since=NOON + timedelta(seconds=20), made_before=NOON + timedelta(seconds=60))
    assert sum(len(part["at"]) for part in store.outcomes.matured("gmsc", GMSC, **window)) == len(
        of(known, 20, 60)
    )
    there = of(logged, 0, 60)
    assert store.outcomes.coverage("gmsc", GMSC, NOON + timedelta(seconds=60)) == OutcomeCoverage(
        n=len(there),
        declined=sum(one["prediction"] for one in there),
        with_outcome=sum(one in known for one in there),
        declined_with_outcome=sum(one["prediction"] for one in there if one in known),
    )


def test_an_outcome_goes_with_its_prediction(store, monkeypatch):
    monkeypatch.setattr(upkeep, "PRUNED_ROWS", 7)
    rows = [row(i, reference="Erika" if i % 10 == 9 else f"A-{i}") for i in range(40)]
    store.predictions.append([Entry(rows)])
    told(store, *((one, True, 700) for one in rows))
    assert store.upkeep.erase("Erika") == 4 and len(held(store)) == 36
    assert store.upkeep.prune(NOON + timedelta(seconds=20)) == 18 and sorted(held(store)) == sorted(
        one.seq for one in store.predictions.find()
    )
    with store.database.transaction(writes=True) as c:  # whoever removes it
        assert c.execute(sa.text("DELETE FROM predictions WHERE reference = 'A-30'")).rowcount == 1
    assert len(held(store)) == store.predictions.count() == 17
    assert told(store, (rows[9], True, 700)) == recorded(unknown=[rows[9]["prediction_id"]])


def test_what_is_said_and_erased_at_the_same_time_is_in_order(store):
    """Nobody fails, nothing is counted twice, no older statement wins, and no outcome is left
    without its prediction.
    """
    rows = [row(i) for i in range(60)]
    store.predictions.append([Entry(rows)])
    with ThreadPoolExecutor(8) as pool:
        saying = [
            pool.submit(
                told,
                store,
                *((one, day % 2 == 0, day) for one in (rows if day % 3 else rows[::-1])),
            )
            for day in range(700, 740)
        ]
        erasing = [pool.submit(store.upkeep.erase, f"A-{i}") for i in range(0, 60, 3)]
        found = [one.result(60) for one in saying]
        assert [one.result(60) for one in erasing] == [1] * 20
    assert all(
        one.recorded + one.changed + len(one.older) + len(one.unknown) == 60 for one in found
    )
    assert 40 <= sum(one.recorded for one in found) <= 60
    assert (
        held(store) == {one.seq: (False, 739) for one in store.predictions.find()}
        and store.predictions.count() == 40
    )


def override(decision, why="A guarantor signed.", days=1, user_id="anna-id", username="anna"):
    return Override(decision, why, NOON + timedelta(days=days), user_id, username)


def test_an_override_is_added_and_the_newest_is_in_force(store):
    rows = [row(i) for i in range(4)]
    store.predictions.append([Entry(rows)])
    first, second, third, _ = (one["prediction_id"] for one in rows)
    log = store.overrides
    assert log.record(first, override("Approved"), None) == OverrideResult("Approved", None, False)
    declined = override("Declined", why="Die Angaben stimmen nicht: Zoë.")
    assert log.record(first, declined, "anna-id") == OverrideResult("Approved", declined, True)
    # the same once more, by another person, by somebody who may not, and of what is not there
    assert log.record(first, declined, None) == OverrideResult("Approved", declined, False)
    assert log.record(first, override("Declined", user_id="b"), None).in_force == declined
    assert log.record(second, declined, "bert-id") is None
    assert log.record(str(uuid.uuid4()), declined, None) is None
    log.record(third, override("Declined"), None)
    withdrawn = override("Approved", why="A mistake.", days=3)
    assert log.record(third, withdrawn, None).recorded
    seqs = [one.seq for one in store.predictions.find()[::-1]]
    assert log.newest(seqs) == {seqs[0]: declined, seqs[2]: withdrawn}
    assert [one.decision for one in log.history(seqs[2])] == ["Declined", "Approved"]
    version = rows[0]["model_version"]
    assert log.counts("gmsc", version) == {("Approved", "Declined"): 1}
    assert log.counts("gmsc", version, NOON + timedelta(days=2)) == {("Approved", "Declined"): 2}
    assert log.counts("gmsc", "\0") == {}
    assert [one.seq for one in store.predictions.find(overridden=True)] == [seqs[2], seqs[0]]
    assert store.predictions.count(overridden=False, portfolio="gmsc") == 2


def test_of_several_who_override_at_once_one_is_recorded(store):
    store.predictions.append([Entry([row()])])
    [logged] = store.predictions.find()
    start = threading.Barrier(8)

    def decide(i):
        start.wait()
        one = override("Declined", why=f"reason {i}")
        return store.overrides.record(logged.prediction_id, one, None)

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(decide, range(8)))
    assert sum(result.recorded for result in results) == len(store.overrides.history(1)) == 1
    assert {result.in_force for result in results} == set(store.overrides.history(1))


def test_an_override_counts_in_what_became_of_the_loans_and_goes_with_its_prediction(store):
    rows = [row(i, reference=f"A-{i % 5}") for i in range(10)]
    store.predictions.append([Entry(rows)])
    version = rows[0]["model_version"]
    for i in (0, 1, 2):
        store.overrides.record(rows[i]["prediction_id"], override("Declined", days=i), None)
    told(store, (rows[1], True, 700), (rows[4], False, 700))
    assert store.outcomes.coverage("gmsc", version) == OutcomeCoverage(10, 3, 2, 1)
    early = store.outcomes.coverage("gmsc", version, decided_before=NOON + timedelta(days=1.5))
    assert early == OutcomeCoverage(10, 2, 2, 1)
    [part] = store.outcomes.matured("gmsc", version)
    shown = list(zip(part["decision"], part["override"], part["declined"]))
    assert shown == [("Approved", "Declined", 1), ("Approved", None, 0)]
    [part] = store.outcomes.matured("gmsc", version, decided_before=NOON)
    assert part["override"] == [None, None]
    assert store.upkeep.erase("A-1") == 2
    assert store.overrides.counts("gmsc", version) == {("Approved", "Declined"): 2}
    assert store.upkeep.prune(NOON + timedelta(seconds=1)) == 1
    with store.database.transaction() as c:
        left = c.execute(sa.select(schema.overrides.c.why)).scalars().all()
    assert left == ["A guarantor signed."]


def test_an_export_holds_the_override_in_force(store, tmp_path, request):
    import pandas as pd

    rows = [row(i) for i in range(6)]
    store.predictions.append([Entry(rows)])
    store.overrides.record(rows[1]["prediction_id"], override("Declined"), None)
    assert store.upkeep.export(tmp_path / "log.parquet") == 6
    frame = pd.read_parquet(tmp_path / "log.parquet")
    names = ["decision", "decision_override", "override_why", "override_username", "override_at"]
    [found] = frame[frame.decision_override.notna()][names].values.tolist()
    day = NOON + timedelta(days=1)
    assert found == ["Approved", "Declined", "A guarantor signed.", "anna", day]
    # another database gets what was decided since, and each change once
    target = (
        f"sqlite:///{tmp_path}/warehouse.db"
        if store.file
        else request.getfixturevalue("server").database()
    )
    assert store.upkeep.export(target) == 6
    store.overrides.record(rows[1]["prediction_id"], override("Approved", days=2), None)
    store.overrides.record(rows[5]["prediction_id"], override("Declined", days=3), None)
    assert [store.upkeep.export(target), store.upkeep.export(target)] == [2, 0]
    now = sa.select(sa.column("decision_override")).select_from(sa.table("predictions"))
    engine = sa.create_engine(target)
    with engine.connect() as c:
        held = c.execute(now.order_by(sa.column("seq"))).scalars().all()
    engine.dispose()
    assert held == [None, "Approved", None, None, None, "Declined"]


def in_the_shadow(prediction_id, pd=0.25):
    at = NOON + timedelta(minutes=5)
    return ShadowScore(prediction_id, at, "gmsc:2", pd, 600, "Average", "Declined", 0.03)


def test_a_shadow_score_is_written_once_and_goes_with_its_prediction(store, tmp_path, request):
    import pandas as pd

    rows = [row(i) for i in range(1200)]
    store.predictions.append([Entry(rows)])
    scores = [in_the_shadow(one["prediction_id"]) for one in rows]
    target = (
        f"sqlite:///{tmp_path}/warehouse.db"
        if store.file
        else request.getfixturevalue("server").database()
    )
    assert store.upkeep.export(target) == 1200
    assert len(store.shadow.add(scores[:1000])) == 1000
    again = [in_the_shadow(one["prediction_id"], 0.9) for one in rows[900:]]
    assert len(store.shadow.add(again)) == 300 and store.shadow.count("gmsc:2") == 1200
    assert store.shadow.add([in_the_shadow(str(uuid.uuid4()))]) == set()
    assert [store.upkeep.export(target), store.upkeep.export(target)] == [1200, 0]
    store.upkeep.export(tmp_path / "log.parquet")
    frame = pd.read_parquet(tmp_path / "log.parquet")
    assert frame.shadow_probability_default.tolist() == [0.25] * 1000 + [0.9] * 200
    assert set(frame.shadow_model_version) == {"gmsc:2"}
    assert store.upkeep.erase("A-7") == 1 and store.shadow.count("gmsc:2") == 1199
    assert store.upkeep.prune(NOON + timedelta(seconds=100)) == 99
    assert store.shadow.count("gmsc:2") == 1100


def test_dropped_shadow_scores_are_counted(store):
    for reason, n in (("queue full", 3), ("stopped", 2), ("queue full", 4)):
        store.shadow.add_drops("gmsc", "gmsc:2", reason, n)
    store.shadow.add_drops("personal", "personal:1", "stopped", 1)
    assert store.shadow.drops("gmsc", "gmsc:2") == {"queue full": 7, "stopped": 2}
    store.upkeep.prune(datetime.now(UTC) + timedelta(days=1))
    assert store.shadow.drops("gmsc", "gmsc:2") == {}


def test_checks_are_kept_and_pruned(store):
    def check(i, **other):
        return store.checks.add(
            CheckRecord(
                **dict(
                    at=NOON + timedelta(hours=i),
                    portfolio="gmsc",
                    model_version=GMSC,
                    source="watch",
                    since=NOON,
                    until=None,
                    samples=i,
                    drifted=i % 2 == 1,
                    result=json.dumps(dict(verdict="Zoë")),
                    every_seconds=3600.0,
                )
                | other
            )
        )

    ids = [check(i) for i in range(5)] + [
        check(5, source="report", every_seconds=None, alerted=False),
        check(6, portfolio="german"),
    ]
    assert ids == sorted(set(ids))
    assert [one.samples for one in store.checks.find("gmsc")] == [5, 4, 3, 2, 1, 0] and [
        one.samples for one in store.checks.find("gmsc", 2)
    ] == [5, 4]
    last = store.checks.last("gmsc")
    assert last == CheckRecord(
        id=ids[5],
        at=NOON + timedelta(hours=5),
        portfolio="gmsc",
        model_version=GMSC,
        source="report",
        since=NOON,
        until=None,
        samples=5,
        drifted=True,
        every_seconds=None,
        alerted=False,
        result=last.result,
    ) and json.loads(last.result) == dict(verdict="Zoë")
    store.checks.mark_alerted(ids[5])
    assert (
        store.checks.last("gmsc", "report").alerted is True
        and store.checks.last("gmsc", "watch").alerted is None
    )
    assert (
        store.checks.last("gmsc", source="watch").samples == 4
        and store.checks.last("gmsc", "endpoint") is store.checks.last("nobody") is None
    )
    with pytest.raises(InvalidRow):
        check(7, result=None)
    now = store.checks.add(replace(last, at=datetime.now(UTC)))
    assert now > max(ids) and abs(store.checks.last("gmsc").at - datetime.now(UTC)) < timedelta(
        minutes=5
    )
    assert store.upkeep.prune(NOON + timedelta(hours=4)) == 0 and [
        one.id for one in store.checks.find("gmsc")
    ] == [now, ids[5], ids[4]]


def test_a_spool_is_replayed_in_order_and_doubles_nothing(store, tmp_path):
    spool = Store(f"sqlite:///{tmp_path}/spool/spool.db")
    spool.upgrade()
    rows = [row(i) for i in range(100)]
    spool.predictions.append([Entry([one]) for one in rows[:60]] + [Entry(rows[60:], answer("k"))])
    assert spool.predictions.waiting() == 101
    while taken := spool.predictions.oldest(33):
        assert store.predictions.append([entry for _, entry in taken]) == [True] * len(taken)
        if store.predictions.count() == 66:
            store.predictions.append([entry for _, entry in taken])  # a crash before `remove`
        spool.predictions.append([Entry([late := row(500 + len(rows))])])
        rows += [late] if len(rows) < 103 else []
        if len(rows) == 103 and late is not rows[-1]:
            spool.predictions.remove(
                [([one.seq for one in spool.predictions.find(limit=1)], Entry([]))]
            )
        spool.predictions.remove(taken)
    assert spool.predictions.waiting() == 0 and spool.predictions.oldest(10) == []
    assert ids(store)[::-1] == [one["prediction_id"] for one in rows]
    assert (
        store.answers.get("anna-id", "k") == answer("k")
        and store.predictions.find(reference="A-99")[0].idempotency_key == "k"
    )


def test_users_and_invitations(store):
    def add(name, email, invitation=None):
        return store.users.add(
            UserRecord(
                id=str(uuid.uuid4()),
                username=name,
                email=email,
                password_hash="$argon2id$",
                role="viewer",
            ),
            invitation=invitation,
        )

    zoe = add("Zoë", "Zoë@lender.example")
    assert (
        store.users.get(username="ZOË")
        == store.users.get(username="zoe\u0308")
        == store.users.get(id=zoe.id)
        == zoe
        == store.users.all()[0]
    )
    assert zoe.disabled is False and zoe.created_at.tzinfo
    for name, email, field in (
        ("zOË", "other@lender.example", "username"),
        ("other", "ZOË@LENDER.example", "email"),
    ):
        with pytest.raises(NameTaken) as raised:
            add(name, email)
        assert raised.value.field == field
    add("first without", None)
    add("second without", None)
    in_a_week = datetime.now(UTC) + timedelta(days=7)
    store.users.add_invitation("hash", "analyst", created_by=zoe.id, expires_at=in_a_week)
    store.users.add_invitation(
        "old", "admin", created_by=zoe.id, expires_at=in_a_week - timedelta(days=7, seconds=1)
    )
    with pytest.raises(NameTaken):
        add("Zoë", None, "hash")
    assert (
        store.users.invitation("hash").role == "analyst" and store.users.invitation("old") is None
    )

    def try_to(i):
        try:
            return add(f"invited {i}", None, "hash").role
        except InvalidInvitation:
            return None

    with ThreadPoolExecutor(8) as pool:
        assert sorted(filter(None, pool.map(try_to, range(8)))) == ["analyst"]
    for token in ("hash", "old", "unknown"):
        with pytest.raises(InvalidInvitation):
            add("late", None, token)
    assert store.users.get(username="late") is None and len(store.users.all()) == 4
    assert store.users.change(
        zoe.id, role="admin", disabled=True, password_hash="new"
    ) and not store.users.change("nobody", disabled=True)
    assert store.users.get(id=zoe.id) == replace(
        zoe, role="admin", disabled=True, password_hash="new"
    )
    assert (
        store.users.delete(zoe.id)
        and not store.users.delete(zoe.id)
        and store.users.get(id=zoe.id) is None
    )


def test_old_predictions_are_pruned_in_slices(store, monkeypatch):
    monkeypatch.setattr(upkeep, "PRUNED_ROWS", 7)
    store.predictions.append(
        [
            Entry([row(i) for i in range(40)]),
            Entry([row(40)], answer("old")),
            Entry([row(41)], answer("new", at=NOON + timedelta(days=1))),
        ]
    )
    highest = store.predictions.find(limit=1)[0].seq
    assert (
        store.upkeep.prune(NOON + timedelta(seconds=30)) == 30
        and store.upkeep.prune(NOON + timedelta(seconds=30)) == 0
    )
    assert [one.reference for one in store.predictions.find()] == [
        f"A-{i}" for i in range(41, 29, -1)
    ]
    assert store.answers.get("anna-id", "old") is None and store.answers.get("anna-id", "new")
    assert store.upkeep.prune(NOON + timedelta(days=2)) == 12 and store.predictions.count() == 0
    store.predictions.append([Entry([row(0)])])
    assert store.predictions.find()[0].seq > highest


def test_an_applicant_is_erased(store):
    theirs = [
        Entry([row(0, reference="Erika"), row(1)], answer("theirs")),
        Entry([row(2, reference="Erika", user_id="bert-id", username="bert")]),
    ]
    store.predictions.append(
        [
            *theirs,
            Entry([row(3)], answer("another")),
            Entry([row(4)], answer("theirs", user_id="bert-id")),
        ]
    )
    if store.file:
        assert b"Erika" in store.file.read_bytes() + Path(f"{store.file}-wal").read_bytes()
    assert (
        store.upkeep.erase("Erika") == 2
        and store.upkeep.erase("Erika") == store.upkeep.erase("\0") == 0
    )
    assert [one.reference for one in store.predictions.find()] == ["A-4", "A-3", "A-1"]
    assert [
        bool(store.answers.get(*one))
        for one in (("anna-id", "theirs"), ("anna-id", "another"), ("bert-id", "theirs"))
    ] == [False, True, True]
    if store.file:
        assert b"Erika" not in store.file.read_bytes() + Path(f"{store.file}-wal").read_bytes()


def test_what_is_written_during_an_erasure_goes_or_stays_with_its_answer(store):
    """What was acknowledged before is gone. A request that comes between any two statements is a
    new one or erased, but never an answer whose prediction is gone; its key is free again then.
    """
    other, late = Store(store.database.url.render_as_string(hide_password=False)), []
    store.predictions.append([Entry([row(0, reference="Erika")], answer("before"))])

    def write(i, key):
        return other.predictions.append([Entry([row(i, reference="Erika")], answer(key))])

    with ThreadPoolExecutor(8) as pool:

        def meanwhile(c, cursor, statement, *_):
            if statement.split()[0] in ("SELECT", "DELETE"):
                key = f"late-{len(late)}"
                late.append((key, pool.submit(write, 100 + len(late), key)))
                # a writer to SQLite waits until the erasure is complete
                wait([late[-1][1]], timeout=0.2 if store.file else 10)

        sa.event.listen(store.database.engine, "before_cursor_execute", meanwhile)
        try:
            assert store.upkeep.erase("Erika") >= 1
        finally:
            sa.event.remove(store.database.engine, "before_cursor_execute", meanwhile)
        assert len(late) >= 2 and all(one.result(60) == [True] for _, one in late)
    keys = ["before", *(key for key, _ in late)]
    kept = {key for key in keys if store.answers.get("anna-id", key)}
    assert kept == {one.idempotency_key for one in store.predictions.find()}
    assert "before" not in kept
    store.upkeep.erase("Erika")
    assert store.predictions.count() == 0
    assert not any(store.answers.get("anna-id", key) for key in keys)
    assert write(99, "before") == [True] and store.predictions.count() == 1


def test_a_file_s_answer_that_goes_during_an_erasure_does_not_stop_it(store):
    entries = [Entry([row(0, reference="Erika")]), Entry([row(1)], answer("file", endpoint="csv"))]
    store.predictions.append(entries)
    other, gone = Store(store.database.url.render_as_string(hide_password=False)), []

    def meanwhile(c, cursor, statement, *_):
        if statement.startswith("SELECT answers.content") and not gone:
            gone.append(True)
            other.upkeep.forget_answer("anna-id", "file")

    if not store.file:  # nobody else writes to SQLite during a transaction
        sa.event.listen(store.database.engine, "before_cursor_execute", meanwhile)
    assert store.upkeep.erase("Erika") == 1 and store.predictions.count() == 1
    assert store.file or gone


def test_export_to_parquet_while_it_is_written_to(store, tmp_path, monkeypatch):
    import pandas as pd

    monkeypatch.setattr(export, "EXPORT_ROWS", 25)
    rows = [row(i, reference=None if i % 2 else f"A-{i}") for i in range(90)]
    store.predictions.append([Entry(rows)])
    seen = []

    def progress(*both):
        seen.append(both)
        store.predictions.append([Entry([row(1000)])])

    out = tmp_path / "log.parquet"
    assert store.upkeep.export(out, progress=progress) == 90 and seen == [
        (25, 90),
        (50, 90),
        (75, 90),
        (90, 90),
    ]
    frame = pd.read_parquet(out)
    assert (
        list(frame.prediction_id) == [one["prediction_id"] for one in rows]
        and frame.seq.is_monotonic_increasing
    )
    assert list(frame["at"]) == [one["at"] for one in rows]
    assert {
        name: str(frame[name].dtype) for name in ("seq", "prediction", "probability_default")
    } == {"seq": "int64", "prediction": "int32", "probability_default": "float64"}
    assert out.stat().st_mode & 0o077 == 0 and len(list(tmp_path.glob("log.parquet"))) == 1
    assert (
        store.upkeep.export(
            out, since=NOON + timedelta(seconds=10), until=NOON + timedelta(seconds=20)
        )
        == 10
    )
    before = out.read_bytes()
    monkeypatch.setattr(
        store.database, "transaction", None
    )  # it breaks off: the old file stays, and nothing lies beside it
    with pytest.raises(TypeError):
        store.upkeep.export(out)
    assert (
        out.read_bytes() == before
        and list(tmp_path.glob("*.part")) == list(tmp_path.glob(".*.part")) == []
    )


def test_export_to_another_database(store, tmp_path, request):
    store.predictions.append([Entry([row(i) for i in range(1000)])])
    targets = [f"sqlite:///{tmp_path}/warehouse.db"] + (
        [request.getfixturevalue("server").database()] if not store.file else []
    )
    for target in targets:
        assert [
            store.upkeep.export(target, until=NOON + timedelta(seconds=600)),
            store.upkeep.export(target),
            store.upkeep.export(target),
        ] == [600, 400, 0]
        with closing(sa.create_engine(target).connect()) as c:
            assert sorted(
                one for (one,) in c.execute(sa.text("SELECT prediction_id FROM predictions"))
            ) == sorted(ids(store))
    for nowhere in (
        "bigquery9://project/dataset",
        "sqlite:////nowhere/at/all.db",
        "postgresql+psycopg://u:secret@127.0.0.1:1/x?connect_timeout=2",
    ):
        with pytest.raises(StoreError) as raised:
            store.upkeep.export(nowhere)
        assert "secret" not in str(raised.value)


def test_an_export_says_what_became_of_the_loans(store, tmp_path, monkeypatch, request):
    import pandas as pd

    monkeypatch.setattr(export, "EXPORT_ROWS", 4)
    rows = [row(i) for i in range(10)]
    store.predictions.append([Entry(rows)])

    def tell(*said):
        store.outcomes.record(
            [
                dict(
                    prediction_id=rows[i]["prediction_id"],
                    defaulted=bad,
                    observed_at=NOON + timedelta(days=day),
                )
                for i, bad, day in said
            ],
            by="anna",
            user_id=None,
        )

    tell((2, True, 90), (7, False, 730))
    assert store.upkeep.export(tmp_path / "log.parquet") == 10
    frame = pd.read_parquet(tmp_path / "log.parquet")
    assert (
        list(frame.columns)[22:24] == ["defaulted", "outcome_observed_at"]
        and str(frame.outcome_observed_at.dtype) == "datetime64[us, UTC]"
    )
    known = frame[frame.defaulted.notna()]
    assert list(zip(known.prediction_id, known.defaulted, known.outcome_observed_at)) == [
        (rows[2]["prediction_id"], True, NOON + timedelta(days=90)),
        (rows[7]["prediction_id"], False, NOON + timedelta(days=730)),
    ]
    assert list(frame.outcome_observed_at.notna()) == list(frame.defaulted.notna())

    # another database, whose table is of a time before there were outcomes, gets what became known
    # since
    older = sa.Table(
        "predictions",
        sa.MetaData(),
        *(
            sa.Column(c.name, sa.BigInteger() if c.name == "seq" else c.type, nullable=c.nullable)
            for c in schema.predictions.columns
        ),
    )
    target = (
        f"sqlite:///{tmp_path}/warehouse.db"
        if store.file
        else request.getfixturevalue("server").database()
    )
    engine = sa.create_engine(target)
    older.create(engine)
    now = sa.select(
        sa.column("prediction_id"),
        sa.column("defaulted", sa.Boolean()),
        sa.column("outcome_observed_at", schema.Timestamp()),
    ).select_from(sa.table("predictions"))

    def held():
        with engine.connect() as c:
            return {one: (bad, at) for one, bad, at in c.execute(now) if bad is not None}

    assert store.upkeep.export(target, until=NOON + timedelta(seconds=5)) == 5 and held() == {
        rows[2]["prediction_id"]: (True, NOON + timedelta(days=90))
    }
    tell((2, False, 730), (4, True, 300))
    assert [store.upkeep.export(target), store.upkeep.export(target)] == [
        5 + 2,
        0,
    ]  # five new rows, and two of which more is known
    assert held() == {
        rows[i]["prediction_id"]: (bad, NOON + timedelta(days=day))
        for i, bad, day in ((2, False, 730), (4, True, 300), (7, False, 730))
    }
    engine.dispose()


def test_sqlite_is_backed_up_in_use_and_restored(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/log.db")
    store.upgrade()
    stop = threading.Event()

    def write():
        while not stop.is_set():
            store.predictions.append([Entry([row(0)])])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while store.predictions.count() < 20:
            time.sleep(0.01)
        known = set(ids(store))
        store.upkeep.backup(tmp_path / "copy.db")
    finally:
        stop.set()
        writer.join()
    store.close()
    for name in ("log.db", "log.db-wal", "log.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy.db"] and (
        tmp_path / "copy.db"
    ).stat().st_mode & 0o077 == 0
    (tmp_path / "copy.db").rename(tmp_path / "log.db")
    restored = Store(f"sqlite:///{tmp_path}/log.db")
    restored.upgrade()
    assert restored.ready() and known <= set(ids(restored))
    with restored.database.transaction() as c:
        assert c.execute(sa.text("PRAGMA integrity_check")).scalar() == "ok"
    restored.predictions.append([Entry([row(1)])])


def test_a_file_that_came_back_in_another_mode_is_put_into_wal(tmp_path):
    store = sqlite_store(tmp_path)
    store.close()
    with closing(sqlite3.connect(store.file)) as c:
        assert c.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    store.upgrade()
    store.close()  # a connection from before learns of it with its next question
    with store.database.transaction() as c:
        assert (
            c.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
            and c.execute(sa.text("PRAGMA synchronous")).scalar() == 2
        )
    assert store.predictions.count() == 1


def test_postgresql_is_backed_up_and_restored_with_its_own_tools(server, tmp_path):
    store = Store(server.database())
    store.upgrade()
    store.predictions.append([Entry([row(i) for i in range(50)], answer("k"))])
    with pytest.raises(StoreError) as raised:
        store.upkeep.backup(tmp_path / "log.dump")
    assert PASSWORD not in str(raised.value)
    command = (
        str(raised.value)
        .split(": ", 1)[1]
        .split(", and ")[0]
        .replace("pg_dump", str(binaries() / "pg_dump"))
    )
    environment = os.environ | {"PGPASSWORD": PASSWORD}
    subprocess.run(command, shell=True, check=True, env=environment)
    target = server.database()
    subprocess.run(
        [
            binaries() / "pg_restore",
            "--dbname",
            Store(target)
            .database.url.set(drivername="postgresql")
            .render_as_string(hide_password=False),
            tmp_path / "log.dump",
        ],
        check=True,
    )
    restored = Store(target)
    restored.upgrade()
    assert (
        restored.ready()
        and restored.predictions.find() == store.predictions.find()
        and restored.answers.get("anna-id", "k") == answer("k")
    )
    restored.predictions.append([Entry([row(99)])])
    assert restored.predictions.find(limit=1)[0].reference == "A-99"


# SQLite, away


def sqlite_store(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/log.db", **QUICK)
    store.upgrade()
    store.predictions.append([Entry([row(0)])])
    return store


def test_a_locked_file_is_away_for_writing_and_there_for_reading(tmp_path):
    store = sqlite_store(tmp_path)
    with closing(sqlite3.connect(store.file, isolation_level=None)) as somebody:
        somebody.execute("BEGIN IMMEDIATE")
        assert (
            away(store.predictions.append, [Entry([row(1)])]) == errors.LOCKED
            and away(store.upkeep.erase, "A-0") == errors.LOCKED
        )
        assert store.ready() and store.predictions.count() == 1
    assert store.predictions.append([Entry([row(1)])]) == [True] and store.predictions.count() == 2


BROKEN = """
import os, resource, signal, sys
sys.path[:0] = {folders!r}
from test_store import DatabaseUnavailable, Entry, Store, row
store = Store({url!r}, timeout=1)
{before}
try: store.predictions.append([Entry([row(i) for i in range(2000)])])
except DatabaseUnavailable as e: print(e)
{after}
store.predictions.append([Entry([row(1)])])
print(store.predictions.count())
"""


@pytest.mark.parametrize(
    "before, after, says",
    [
        (
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))",
            "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, "
            "resource.RLIM_INFINITY))",
            errors.BROKEN_DISK,
        ),
        (
            "store.database.engine.dispose(); limits = resource.getrlimit(resource.RLIMIT_NOFILE); "
            "resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))",
            "resource.setrlimit(resource.RLIMIT_NOFILE, limits)",
            errors.UNOPENED,
        ),
    ],
    ids=["a file that may not grow", "no more files"],
)
def test_what_the_system_refuses_is_away_and_recovers(tmp_path, before, after, says):
    store = sqlite_store(tmp_path)
    code = BROKEN.format(
        folders=[str(folder) for folder in Path(__file__).parents[:2]],
        url=store.url_shown,
        before=before,
        after=after,
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{says}\n2\n"), done.stderr
    assert store.predictions.count() == 2


def mounted(folder, *options):
    "Mount a small tmpfs there; False where that is not allowed."
    return (
        subprocess.run(
            ["mount", "-t", "tmpfs", *options, "tmpfs", folder], capture_output=True
        ).returncode
        == 0
    )


@pytest.fixture
def small_disk(tmp_path):
    "A disk of 512 kB."
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted(folder, "-o", "size=512k"):
        pytest.skip("tmpfs: mounting one needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_away_and_recovers(small_disk):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(200_000))
    store = Store(f"sqlite:///{small_disk}/log.db", **QUICK)
    store.upgrade()
    written = 0
    with pytest.raises(DatabaseUnavailable, match="disk is full"):
        while True:
            store.predictions.append([Entry([row(written) for _ in range(20)])])
            written += 20
    filler.unlink()
    assert store.predictions.count() == written
    store.predictions.append([Entry([row(0)])])
    assert store.predictions.count() == written + 1


def test_a_read_only_disk_is_away(small_disk):
    Store(f"sqlite:///{small_disk}/log.db").upgrade()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    store = Store(f"sqlite:///{small_disk}/log.db", **QUICK)
    assert away(store.predictions.append, [Entry([row(0)])]) in (errors.READ_ONLY, errors.UNOPENED)
    assert away(Store(f"sqlite:///{small_disk}/new/log.db").upgrade) == errors.UNOPENED
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert store.predictions.append([Entry([row(0)])]) == [True]


def test_a_file_that_is_no_database_is_away(tmp_path):
    (tmp_path / "log.db").write_bytes(b"applicants, once" * 1000)
    store = Store(f"sqlite:///{tmp_path}/log.db")
    assert (
        away(store.ready)
        == away(store.upgrade)
        == away(store.predictions.append, [Entry([row(0)])])
        == errors.DAMAGED
    )


# PostgreSQL, away


@pytest.fixture
def own_server():
    "A server for a test that stops it."
    if missing := Postgres.missing():
        pytest.skip(missing)
    with Postgres() as running:
        yield running


def test_a_server_that_hangs_is_away_within_seconds(own_server):
    store = Store(own_server.database(), timeout=1)
    store.upgrade()
    store.predictions.append([Entry([row(0)])])
    own_server.pause()
    assert (
        away(store.predictions.append, [Entry([row(0)])], within=5) == errors.UNREACHED
    )  # a connection that was in use
    assert (
        away(store.predictions.append, [Entry([row(0)])], within=4) == errors.UNREACHED
    )  # a new one
    own_server.resume()
    assert store.predictions.append([Entry([row(1)])]) == [True] and store.ready()
    time.sleep(engine.IDLE_SECONDS)
    own_server.pause()
    assert away(store.users.all, within=5) == errors.UNREACHED  # an idle one
    own_server.resume()
    big = [
        Entry([row(i, sent=json.dumps("x" * 50_000)) for i in range(400)])
    ]  # more than a socket holds
    store.predictions.append([Entry([row(2)])])
    own_server.pause()
    assert away(store.predictions.append, big, within=5) == errors.UNREACHED
    own_server.resume()
    assert store.predictions.append(big) == [True] and store.predictions.count() >= 402


def test_a_lock_held_by_somebody_is_away(server):
    store = Store(server.database(), timeout=1)
    store.upgrade()
    with psycopg.connect(
        host="127.0.0.1",
        port=server.port,
        user="credit",
        password=PASSWORD,
        dbname=store.database.url.database,
    ) as somebody:
        somebody.execute("LOCK TABLE predictions")
        assert away(store.predictions.append, [Entry([row(0)])]) in (errors.LOCKED, errors.SLOW)
    assert store.predictions.append([Entry([row(0)])]) == [True]


def test_a_server_that_only_reads_or_allows_nothing_is_away(server):
    store = Store(server.database())
    store.upgrade()
    server.sql(
        f"ALTER DATABASE {store.database.url.database} SET default_transaction_read_only = on"
    )
    store.close()
    assert away(store.predictions.append, [Entry([row(0)])]) == errors.READ_ONLY
    server.sql(f"ALTER DATABASE {store.database.url.database} RESET default_transaction_read_only")
    server.sql("DROP ROLE IF EXISTS reader")
    server.sql("CREATE ROLE reader LOGIN PASSWORD 'reads'")
    reader = store.database.url.set(username="reader", password="reads").render_as_string(
        hide_password=False
    )
    assert away(Store(reader).predictions.append, [Entry([row(0)])]) == errors.DENIED
    assert away(Store(reader.replace("reads", "guesses")).ready) == errors.UNREACHED


def test_a_commit_is_durable_whatever_the_database_is_set_to(server):
    store = Store(server.database())
    for setting, expected in (("off", "on"), ("remote_write", "remote_write")):
        server.sql(
            f"ALTER DATABASE {store.database.url.database} SET synchronous_commit = {setting}"
        )
        store.close()
        with store.database.transaction() as c:
            assert (
                c.execute(sa.text("SHOW synchronous_commit")).scalar() == expected
                and c.execute(sa.text("SHOW fsync")).scalar() == "on"
            )


@pytest.mark.parametrize("immediate", [False, True], ids=["stopped", "killed"])
def test_nothing_acknowledged_is_lost_or_doubled_when_the_server_goes(own_server, immediate):
    """Whoever writes tries again until it is written, as the recorder does: what was returned is
    there, once.
    """
    store = Store(own_server.database(), timeout=3)
    store.upgrade()
    stop, acknowledged, misses = threading.Event(), [], []

    def write():
        while not stop.is_set():
            entry = Entry([row(0) for _ in range(5)])
            while True:
                try:
                    store.predictions.append([entry])
                    break
                except DatabaseUnavailable as e:
                    misses.append(str(e))
                    time.sleep(0.05)
            acknowledged.extend(one["prediction_id"] for one in entry.rows)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for one in writers:
        one.start()
    try:
        for _ in range(3):
            time.sleep(0.5)
            own_server.stop(immediate)
            time.sleep(0.2)
            own_server.start()
            before = len(acknowledged)
            while len(acknowledged) < before + 50:
                time.sleep(0.02)
    finally:
        stop.set()
        for one in writers:
            one.join(30)
    assert misses and set(misses) <= {errors.UNREACHED, errors.BUSY}
    found = ids(store)
    assert len(set(found)) == len(found) and set(found) == set(acknowledged)


def test_no_password_is_shown(server):
    shown = Store(server.url + "?sslpassword=alsosecret").url_shown
    assert shown == f"postgresql+psycopg://credit:***@127.0.0.1:{server.port}/credit"
    for url in (
        "mysql://u:secret@h/db",
        "postgresql://u:secret@h",
        "postgresql+asyncpg://u:secret@h/db",
        "u:secret",
        "sqlite:///:memory:",
        "",
    ):
        with pytest.raises(StoreError) as raised:
            Store(url)
        assert "secret" not in str(raised.value) and "sqlite:///PATH" in str(raised.value)


def test_one_row_costs_little():
    "CPU beside the disk: the file lies in memory."
    folder = Path("/dev/shm")
    if not folder.is_dir():
        pytest.skip("/dev/shm: this system has no disk in memory")
    name = folder / f"store-{uuid.uuid4()}.db"
    store = Store(f"sqlite:///{name}")
    try:
        store.upgrade()
        entries = [[Entry([row(i)])] for i in range(400)]
        best = 1.0
        for part in range(0, 400, 100):
            begin = time.process_time()
            for one in entries[part : part + 100]:
                store.predictions.append(one)
            best = min(best, (time.process_time() - begin) / 100)
        begin = time.process_time()
        store.predictions.append([Entry([row(i) for i in range(10_000)])])
        assert best < 0.0003 and time.process_time() - begin < 0.6
    finally:
        store.close()
        for one in folder.glob(f"{name.name}*"):
            one.unlink()


def test_a_store_that_is_read_only_is_not_ready(store, url):
    "The schema is there, and no prediction could be kept. A spool is such a store, too."
    assert store.predictions.ready()
    database = store.predictions.database
    database.close()

    @sa.event.listens_for(database.engine, "connect")
    def read_only(connection, _):
        if database.file:
            connection.execute("PRAGMA query_only=ON")
        else:
            connection.execute("SET default_transaction_read_only = on")
            connection.commit()

    with pytest.raises(DatabaseUnavailable, match="read-only"):
        store.predictions.ready()
    assert store.ready()  # the schema alone


def test_an_applicant_is_erased_from_the_kept_answer_of_a_file(store):
    "Also where the row was refused, and so is in the answer alone."
    import zlib

    def kept(key, text):
        content = zlib.compress(text.encode())
        return StoredAnswer("anna-id", key, "csv", "9f86", 200, content, datetime.now(UTC))

    csv_rows = [row(i, reference=f"A-{i}", endpoint="csv", user_id="anna-id") for i in range(2)]
    store.predictions.append(
        [
            Entry([one | {"idempotency_key": "file"} for one in csv_rows]),
            Entry([], kept("file", "name,reference\nErika,A-0\nBert,A-1\n")),
            Entry([], kept("refused", "name,reference,error\nErika,A-0,age is missing\n")),
            Entry([], kept("other", "name,reference\nBert,A-1\n")),
        ]
    )
    assert store.upkeep.erase("A-0") == 1
    left = [bool(store.answers.get("anna-id", key)) for key in ("file", "refused", "other")]
    assert left == [False, False, True]


def test_erasing_while_somebody_reads_is_no_success(tmp_path):
    "The reader sees the old rows, so the WAL keeps them; afterwards it is emptied."
    url = f"sqlite:///{tmp_path}/log.db"
    store = Store(url, timeout=0.5)
    store.upgrade()
    store.predictions.append([Entry([row(i, reference="Erika Beispiel")]) for i in range(5)])
    wal = Path(f"{store.file}-wal")
    reader = sqlite3.connect(store.file, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM predictions").fetchone() == (5,)
    with pytest.raises(DatabaseUnavailable, match="write-ahead log"):
        store.upkeep.erase("Erika Beispiel")
    assert store.predictions.count() == 0 and b"Erika Beispiel" in wal.read_bytes()
    reader.close()
    assert store.upkeep.erase("Erika Beispiel") == 0
    assert b"Erika Beispiel" not in store.file.read_bytes() + wal.read_bytes()
    store.close()


def test_pruning_while_somebody_reads_is_no_success(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/log.db", timeout=0.5)
    store.upgrade()
    store.predictions.append([Entry([row(0)])])
    reader = sqlite3.connect(store.file, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM predictions").fetchone()
    with pytest.raises(DatabaseUnavailable, match="write-ahead log"):
        store.upkeep.prune(datetime.now(UTC) + timedelta(days=365))
    reader.close()
    store.close()
