"""The recorder with the real store: nothing that was acknowledged is lost, doubled or out of order,
whatever dies, hangs or fills up.
"""

import asyncio
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from credit_default.serving.group_commit import (
    STOPPED,
    TOO_MANY,
    IdempotencyKeyUsed,
    PredictionNotRecorded,
)
from credit_default.serving.recorder import (
    BEHIND,
    STORE_FULL,
    UNSURE,
    LogStatus,
    Recorder,
    SpoolAccess,
    replay_lock,
)
from credit_default.store.answers import StoredAnswer
from credit_default.store.errors import READ_ONLY, UNOPENED, DatabaseUnavailable, InvalidRow
from credit_default.store.predictions import Entry, PredictionLog
from credit_default.store.schema import example_prediction
from credit_default.store.store import Store

OFF = "switched off by a test"


class SwitchedLog(PredictionLog):
    "A log that is away while a file exists, and that says how many entries each transaction had."

    def __init__(self, database, switch=None):
        super().__init__(database)
        self.switch, self.groups = switch, []

    def ready(self):
        if self.switch and self.switch.exists():
            raise DatabaseUnavailable(OFF)
        return super().ready()

    def append(self, entries):
        if self.switch and self.switch.exists():
            raise DatabaseUnavailable(OFF)
        done = super().append(entries)
        self.groups.append(len(entries))
        return done


class HangingLog(SwitchedLog):
    "A log that answers when it is let."

    def __init__(self, database):
        super().__init__(database)
        self.free = threading.Event()

    def append(self, entries):
        self.free.wait()
        return super().append(entries)


class DeadlyLog(PredictionLog):
    "A spool whose process dies, as by a power cut, between the store's commit and its own."

    def remove(self, taken):
        os.kill(os.getpid(), signal.SIGKILL)


def row(name, **other):
    nobody = dict(user_id=None, username=None, reference=None)
    return example_prediction(0, datetime.now(UTC), prediction_id=name, **nobody) | other


def entry(name, key=None, rows=1):
    answer = key and StoredAnswer(
        user_id="anna-id",
        key=key,
        endpoint="predict",
        body_hash="9f86d081",
        status=200,
        content=name.encode(),
        at=datetime.now(UTC),
    )
    return Entry([row(name if rows == 1 else f"{name}-{i}") for i in range(rows)], answer)


def opened(url, kind=PredictionLog, timeout=5.0, **options):
    "A store whose log is of this kind."
    store = Store(url, timeout=timeout)
    store.predictions = kind(store.database, **options)
    return store


def made(url, kind=PredictionLog, **options):
    store = opened(url, kind, **options)
    store.upgrade()
    return store


@pytest.fixture
def urls(tmp_path):
    "Of a store and of a spool."
    return f"sqlite:///{tmp_path}/log.db", f"sqlite:///{tmp_path}/spool.db"


@contextmanager
def recording(store, spool, **options):
    "A recorder that looks often and leaves a test's small disk alone, and the events that it told."
    told = []
    recorder = Recorder(
        store.predictions,
        spool.predictions,
        DatabaseUnavailable,
        on_event=lambda event, **figures: told.append((event, figures)),
        **dict(retry_seconds=0.05, keep_free=0) | options,
    )
    recorder.start()
    try:
        yield recorder, told
    finally:
        assert recorder.stop()
        store.close()
        spool.close()


def ids(log):
    "In order of arrival."
    return [row.prediction_id for row in log.find(limit=10**6)][::-1]


async def until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)


class Load:
    "Clients who each send one entry after the other, named client.number."

    def __init__(self, recorder, clients=8, name="c"):
        (
            self.recorder,
            self.acknowledged,
            self.refused,
            self.seconds,
            self.stopped,
            self.longest_pause,
        ) = recorder, [], [], [], False, 0.0
        self.names = [f"{name}{i}" for i in range(clients)]

    async def _client(self, name):
        for i in itertools.count():
            if self.stopped:
                return
            begin = time.monotonic()
            try:
                await self.recorder.record(entry(f"{name}.{i}"))
                self.acknowledged.append(f"{name}.{i}")
            except PredictionNotRecorded as e:
                self.refused.append(str(e))
            self.seconds.append((begin, time.monotonic() - begin))

    async def _watch(self):
        last = time.monotonic()
        while not self.stopped:
            await asyncio.sleep(0.01)
            last, pause = time.monotonic(), time.monotonic() - last
            self.longest_pause = max(self.longest_pause, pause)

    async def more(self, n=50):
        "Wait for so many further answers."
        wanted = len(self.acknowledged) + n
        await until(lambda: len(self.acknowledged) >= wanted)

    @asynccontextmanager
    async def running(self):
        tasks = [asyncio.create_task(self._client(name)) for name in self.names] + [
            asyncio.create_task(self._watch())
        ]
        try:
            yield self
        finally:
            self.stopped = True
            await asyncio.gather(*tasks)


def check_kept(log, acknowledged):
    """All that was acknowledged is there, once, and what one client sent is in the order in which
    he sent it.
    """
    kept = ids(log)
    assert acknowledged and len(kept) == len(set(kept))
    assert not set(acknowledged) - set(kept)
    of_client = defaultdict(list)
    for one in kept:
        client, _, number = one.rpartition(".")
        of_client[client].append(int(number))
    for client, numbers in of_client.items():
        assert numbers == sorted(numbers), client
    return kept


def test_requests_that_come_together_share_commits(urls):
    store = made(urls[0], SwitchedLog)
    with recording(store, made(urls[1])) as (recorder, told):

        async def many():
            await asyncio.gather(*(recorder.record(entry(f"c.{i}")) for i in range(500)))

        asyncio.run(many())
        assert recorder.depth == 0 and not recorder.away and told == []
    assert sum(store.predictions.groups) == 500 and len(store.predictions.groups) <= 50
    assert ids(store.predictions) == [f"c.{i}" for i in range(500)]


def test_tasks_and_threads_at_once(urls):
    with recording(made(urls[0]), made(urls[1]), most=500) as (recorder, _):

        async def both():
            def file():  # as POST /predict_csv does
                for i in range(4):
                    recorder.record_blocking(entry(f"csv{i}", rows=500))

            async with Load(recorder, 4).running() as load:
                await asyncio.to_thread(file)
                await load.more(8)
            return load

        load = asyncio.run(both())
        kept = ids(recorder.store)
    csv = [one for one in kept if one.startswith("csv")]
    assert csv == [f"csv{i}-{j}" for i in range(4) for j in range(500)]
    assert not load.refused and sorted(set(kept) - set(csv)) == sorted(load.acknowledged)


@pytest.fixture(params=["sqlite", "postgresql"])
def outage(request, urls):
    "A database's URL, and how it goes away and comes back."
    if request.param == "sqlite":

        @contextmanager
        def locked():  # somebody keeps the file to himself
            with closing(
                sqlite3.connect(urls[0].removeprefix("sqlite:///"), isolation_level=None)
            ) as other:
                other.execute("BEGIN EXCLUSIVE")
                yield
                other.execute("ROLLBACK")

        return urls[0], locked
    server = request.getfixturevalue("server")

    @contextmanager
    def stopped():
        server.stop()
        try:
            yield
        finally:
            server.start()

    return server.database(), stopped


def test_away_and_back_under_load(outage, urls):
    url, gone = outage
    with recording(made(url, timeout=0.3), made(urls[1])) as (recorder, told):

        async def day():
            async with Load(recorder).running() as load:
                await load.more()
                for _ in range(2):
                    with gone():
                        await until(lambda: recorder.away)
                        await load.more()
                        assert recorder.spooled and recorder.why and recorder.status.since.tzinfo
                    await until(lambda: not recorder.away)
                    assert recorder.why == "" and recorder.status.since is None
                    await load.more()
            return load

        load = asyncio.run(day())
        assert recorder.spool.waiting() == recorder.spooled == 0
        assert not load.refused
        kept = check_kept(recorder.store, load.acknowledged)
    assert len(kept) == len(load.acknowledged)
    assert [event for event, _ in told if event in ("away", "back")] == ["away", "back"] * 2
    assert {event for event, _ in told} == {"away", "back", "replayed"}


def test_a_database_that_hangs_keeps_nobody_else_waiting(server, urls):
    """Stopped in the middle, it says nothing at all: the first group waits for its time-out, the
    event loop and the groups after it do not.
    """
    with recording(made(server.database(), timeout=1.0), made(urls[1])) as (recorder, _):

        async def hang():
            async with Load(recorder).running() as load:
                await load.more()
                server.pause()
                try:
                    await until(lambda: recorder.away)
                    known = time.monotonic()
                    await asyncio.sleep(3)  # in which each look at the database hangs as well
                    await load.more()
                finally:
                    server.resume()
                await until(lambda: not recorder.away)
                await load.more()
            return load, known

        load, known = asyncio.run(hang())
        kept = check_kept(recorder.store, load.acknowledged)
    assert not load.refused and len(kept) == len(load.acknowledged)
    spooled = [seconds for begin, seconds in load.seconds if known < begin < known + 2.5]
    assert len(spooled) > 50 and max(spooled) < 0.8
    assert load.longest_pause < 0.8


def test_a_hanging_store_leaves_the_event_loop_alone(urls):
    store = made(urls[0], HangingLog)
    with recording(store, made(urls[1])) as (recorder, _):

        async def hang():
            load = Load(recorder, clients=0)
            async with load.running():
                waiting = asyncio.create_task(recorder.record(entry("c.0")))
                await asyncio.sleep(2)
                assert not waiting.done() and recorder.depth == 1
                store.predictions.free.set()
                await waiting
            return load.longest_pause

        assert asyncio.run(hang()) < 0.5
    assert ids(store.predictions) == ["c.0"]


def test_who_gives_up_leaves_the_others_waiting(urls):
    store = made(urls[0], HangingLog)
    with recording(store, made(urls[1])) as (recorder, _):

        async def leave():
            tasks = [asyncio.create_task(recorder.record(entry(f"c.{i}"))) for i in range(3)]
            await asyncio.sleep(0.05)
            tasks[1].cancel()
            await asyncio.sleep(0.05)
            store.predictions.free.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

        assert [type(e) for e in asyncio.run(leave())] == [
            type(None),
            asyncio.CancelledError,
            type(None),
        ]

        async def gone():  # a whole event loop that ends before its answer
            store.predictions.free.clear()
            asyncio.create_task(recorder.record(entry("c.3")))
            await asyncio.sleep(0.05)

        asyncio.run(gone())
        store.predictions.free.set()
        recorder.record_blocking(entry("c.4"))
    assert ids(store.predictions) == [f"c.{i}" for i in range(5)]


def test_a_full_queue_refuses_at_once(urls):
    store = made(urls[0], HangingLog)
    with recording(store, made(urls[1]), most_queued=10) as (recorder, _):

        async def crowd():
            tasks = [
                asyncio.create_task(recorder.record(entry(f"c.{i}", rows=1 + (i == 2) * 7)))
                for i in range(6)
            ]  # 1 + 1 + 8 rows, then three too many
            await until(lambda: tasks[-1].done(), 5)
            refused, depth = [t.exception() for t in tasks[3:]], recorder.depth
            store.predictions.free.set()
            await asyncio.gather(*tasks[:3])
            await recorder.record(entry("large", rows=30))  # nobody before it: taken
            return refused, depth

        refused, depth = asyncio.run(crowd())
    assert [str(e) for e in refused] == [TOO_MANY] * 3 and all(
        type(e) is PredictionNotRecorded for e in refused
    )
    assert depth == 3 and len(ids(store.predictions)) == 10 + 30


def test_stop_writes_what_is_queued(urls):
    store = made(urls[0], HangingLog)
    with recording(store, made(urls[1]), most=20) as (recorder, _):

        async def stopping():
            tasks = [asyncio.create_task(recorder.record(entry(f"c.{i}"))) for i in range(100)]
            await asyncio.sleep(0.05)
            stop = asyncio.create_task(asyncio.to_thread(recorder.stop))
            await asyncio.sleep(0.05)
            late = asyncio.create_task(recorder.record(entry("late.0")))
            await asyncio.sleep(0)
            store.predictions.free.set()
            return await stop, await asyncio.gather(*tasks, late, return_exceptions=True)

        done, outcomes = asyncio.run(stopping())
    assert done and outcomes[:100] == [None] * 100 and str(outcomes[100]) == STOPPED
    assert (
        ids(store.predictions) == [f"c.{i}" for i in range(100)]
        and max(store.predictions.groups) == 20
    )


def test_a_stop_that_takes_too_long_acknowledges_nothing(urls):
    store = made(urls[0], HangingLog)
    recorder = Recorder(store.predictions, made(urls[1]).predictions, DatabaseUnavailable)
    recorder.start()
    outcomes = []

    def waits():
        try:
            recorder.record_blocking(entry("c.0"))
        except PredictionNotRecorded as e:
            outcomes.append(str(e))

    thread = threading.Thread(target=waits)
    thread.start()
    while not recorder.depth:
        time.sleep(0.01)
    assert recorder.stop(0.2) is False
    thread.join(5)
    assert outcomes == [STOPPED]
    store.predictions.free.set()


def test_a_key_that_another_process_used_first(urls, tmp_path):
    store, switch = made(urls[0], SwitchedLog, switch=tmp_path / "away"), tmp_path / "away"
    child("keyed", *urls, switch).communicate()
    with recording(store, made(urls[1])) as (recorder, _):

        async def ask():
            entries = (
                entry("ours", key="order-1"),
                entry("new", key="order-2"),
                entry("twice", key="order-2"),
                entry("plain"),
            )
            outcomes = await asyncio.gather(
                *(recorder.record(e) for e in entries), return_exceptions=True
            )
            switch.touch()
            away = await asyncio.gather(
                recorder.record(entry("unsure", key="order-3")),
                recorder.record(entry("spooled")),
                return_exceptions=True,
            )
            switch.unlink()
            await until(lambda: not recorder.away)
            await recorder.record(entry("again", key="order-3"))
            return outcomes, away

        outcomes, away = asyncio.run(ask())
        assert [type(e) for e in outcomes] == [
            IdempotencyKeyUsed,
            type(None),
            IdempotencyKeyUsed,
            type(None),
        ]
        assert str(away[0]) == UNSURE and away[1] is None
        assert store.answers.get("anna-id", "order-1").content == b"theirs"
        assert sorted(ids(store.predictions)) == ["again", "new", "plain", "spooled", "theirs"]


@pytest.mark.parametrize("off", [False, True], ids=["store", "spool"])
def test_a_row_that_does_not_fit_fails_alone(urls, tmp_path, off):
    switch = tmp_path / "away"
    if off:
        switch.touch()
    with recording(made(urls[0], SwitchedLog, switch=switch), made(urls[1])) as (recorder, _):

        async def ask():
            entries = [
                Entry([row(f"c.{i}", reference="A\0" if i == 7 else "A")]) for i in range(20)
            ]
            outcomes = await asyncio.gather(
                *(recorder.record(e) for e in entries), return_exceptions=True
            )
            assert recorder.away == off
            switch.unlink(missing_ok=True)
            await until(lambda: not recorder.away)
            return outcomes

        outcomes = asyncio.run(ask())
        assert [i for i, e in enumerate(outcomes) if e] == [7] and type(outcomes[7]) is InvalidRow
        assert ids(recorder.store) == [f"c.{i}" for i in range(20) if i != 7]


def test_a_spool_that_cannot_be_used_is_said_and_stands_in_nobodys_way(urls, tmp_path):
    switch = tmp_path / "away"
    switch.touch()
    missing = Store(f"sqlite:///{tmp_path}/nowhere/spool.db")
    with recording(made(urls[0], SwitchedLog, switch=switch), missing) as (recorder, _):
        with pytest.raises(PredictionNotRecorded):
            recorder.record_blocking(entry("c.0"))
        assert recorder.why == OFF and recorder.status.spool_why
        switch.unlink()
        asyncio.run(until(lambda: not recorder.away))
        recorder.record_blocking(entry("c.1"))
        assert ids(recorder.store) == ["c.1"] and recorder.status.spool_why


def test_rows_under_way_do_not_come_back_after_an_erasure(urls):
    "Whoever erases holds the lock, so that no row is between spool and store."
    store, spool = made(urls[0]), made(urls[1])
    spool.predictions.append([Entry([row("c.0", reference="A-1"), row("c.1", reference="A-2")])])
    with replay_lock(spool.file), recording(made(urls[0]), made(urls[1])) as (recorder, _):
        time.sleep(0.3)
        assert recorder.why == BEHIND and ids(recorder.store) == []
        assert spool.upkeep.erase("A-1") + store.upkeep.erase("A-1") == 1
    with recording(store, spool) as (recorder, _):
        asyncio.run(until(lambda: not recorder.away))
        assert ids(store.predictions) == ["c.1"] and spool.predictions.waiting() == 0


# ---- a store that goes away while nobody sends anything


def hidden(folder):
    "The folder is unmounted, or removed."
    folder.rename(folder.with_name("elsewhere"))
    return lambda: folder.with_name("elsewhere").rename(folder)


def read_only(folder):
    "Nobody may write to what is in it; root is held by nothing but a mount."
    if os.geteuid():
        for file in folder.iterdir():
            file.chmod(0o400)
        return lambda: [file.chmod(0o600) for file in folder.iterdir()]
    for options in (["--bind"], ["-o", "remount,bind,ro"]):
        if subprocess.run(["mount", *options, folder, folder], capture_output=True).returncode:
            pytest.skip("a read-only mount: not allowed")
    return lambda: subprocess.run(["umount", "--lazy", folder], check=True)


def full(folder):
    "The disk has no byte left."
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            continue
    return filler.unlink


@pytest.fixture
def small_folder(tmp_path):
    "A folder on a disk of its own, of 8 MB."
    folder = tmp_path / "small"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder]
    if subprocess.run(mounting, capture_output=True).returncode:
        pytest.skip("a small disk: only root may mount one")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def check_idle(recorder, told, take_away, says):
    "Without one prediction it is said that the store is away, and that it is back."
    time.sleep(0.3)
    assert not recorder.away and not told
    bring_back = take_away()
    try:
        asyncio.run(until(lambda: recorder.why == says))
        assert not recorder.refuses
        recorder.record_blocking(entry("c.0"))  # to the spool: nobody notices
        assert recorder.spooled == 1
    finally:
        bring_back()
    asyncio.run(until(lambda: not recorder.away))
    assert ids(recorder.store) == ["c.0"]
    assert [event for event, _ in told if event != "replayed"] == ["away", "back"]


@pytest.mark.parametrize("way, says", [(hidden, UNOPENED), (read_only, READ_ONLY)])
def test_a_store_that_goes_away_while_idle_is_noticed(tmp_path, way, says):
    folder = tmp_path / "log"
    folder.mkdir()
    store, spool = made(f"sqlite:///{folder}/log.db"), made(f"sqlite:///{tmp_path}/spool.db")
    with recording(store, spool) as (recorder, told):
        check_idle(recorder, told, lambda: way(folder), says)


def test_a_disk_that_fills_up_while_idle_is_noticed(tmp_path, small_folder):
    store, spool = made(f"sqlite:///{small_folder}/log.db"), made(f"sqlite:///{tmp_path}/spool.db")
    with recording(store, spool) as (recorder, told):
        check_idle(recorder, told, lambda: full(small_folder), STORE_FULL)


def test_a_server_that_turns_read_only_while_idle_is_noticed(server, tmp_path):
    def take_away():
        def set_to(value):
            server.sql(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
            server.sql("SELECT pg_reload_conf()")

        set_to("on")
        return lambda: set_to("off")

    store, spool = made(server.database()), made(f"sqlite:///{tmp_path}/spool.db")
    with recording(store, spool) as (recorder, told):
        check_idle(recorder, told, take_away, READ_ONLY)


def test_a_spool_that_goes_away_too_while_idle_is_noticed(tmp_path):
    "Only then would a prediction be refused, and only then is that said."
    folders = [tmp_path / "log", tmp_path / "spool"]
    for folder in folders:
        folder.mkdir()
    store, spool = (made(f"sqlite:///{folder}/file.db") for folder in folders)
    with recording(store, spool) as (recorder, told):
        for folder in folders:
            folder.rename(f"{folder} away")
        asyncio.run(until(lambda: recorder.refuses == recorder.status.spool_why == UNOPENED))
        with pytest.raises(PredictionNotRecorded):
            recorder.record_blocking(entry("c.0"))
        for folder in folders[::-1]:
            Path(f"{folder} away").rename(folder)
            asyncio.run(until(lambda: not recorder.refuses))
        asyncio.run(until(lambda: not recorder.away and not recorder.status.spool_why))
        recorder.record_blocking(entry("c.1"))
        assert ids(recorder.store) == ["c.1"]


def test_a_store_that_is_written_to_is_not_asked(urls):
    "While predictions come, they are the test: a look costs them nothing."

    class CountedLog(PredictionLog):
        asked = 0

        def ready(self):
            self.asked += 1
            return super().ready()

    store, spool = made(urls[0], CountedLog), made(urls[1])
    recorder = Recorder(store.predictions, spool.predictions, DatabaseUnavailable, keep_free=0)
    asked = []
    for is_written in (True, True, False, False, True):
        if is_written:
            recorder.replay.writer.write([entry(f"c.{len(asked)}")])
        recorder.replay.look()
        asked.append(store.predictions.asked)
    assert asked == [0, 0, 1, 2, 2]
    store.close()
    spool.close()


def test_nothing_is_acknowledged_into_a_file_that_is_gone(tmp_path):
    "The system would let an open file be written to whose folder is no longer there."
    folder = tmp_path / "log"
    folder.mkdir()
    store, spool = made(f"sqlite:///{folder}/log.db"), made(f"sqlite:///{tmp_path}/spool.db")
    with recording(store, spool, retry_seconds=30) as (recorder, _):  # no look in between
        time.sleep(0.3)
        recorder.record_blocking(entry("c.0"))
        bring_back = hidden(folder)
        recorder.record_blocking(entry("c.1"))
        assert ids(recorder.spool) == ["c.1"] and not folder.exists()
        bring_back()
        assert ids(recorder.store) == ["c.0"]


def test_a_look_while_rows_are_put_aside_counts_them_once(urls):
    spool = made(urls[1]).predictions
    access = SpoolAccess(spool, DatabaseUnavailable, LogStatus(None), keep_free=0)
    looks = []

    class LookedAt:
        """The spool, at which the replay's thread looks when rows are in it and nothing else is
        done yet.
        """

        file = spool.file

        def append(self, entries):
            outcomes = spool.append(entries)
            looks.append(threading.Thread(target=access.count))
            looks[0].start()
            looks[0].join(0.3)
            return outcomes

        def waiting(self):
            return spool.waiting()

    access.spool = LookedAt()
    access.append([entry("A", rows=3)])
    looks[0].join()
    assert access.rows == spool.waiting() == 3


# ---- processes that die, and processes that share a spool


def child(do, store_url, spool_url, switch, name="c", out=subprocess.DEVNULL):
    return subprocess.Popen(
        [sys.executable, __file__, do, store_url, spool_url, str(switch), name],
        stdout=out,
        cwd=Path(__file__).parent,
    )


def be_child(do, store_url, spool_url, switch, name):
    """What a child does: `switch` is the file that makes its store be away; `switch`.end tells it
    to stop.
    """
    switch, end = Path(switch), Path(f"{switch}.end")
    if do == "keyed":
        made(store_url).predictions.append([entry("theirs", key="order-1")])
        return
    recorder = Recorder(
        opened(store_url, SwitchedLog, switch=switch).predictions,
        opened(spool_url, DeadlyLog if do == "dies" else PredictionLog).predictions,
        DatabaseUnavailable,
        retry_seconds=0.05,
        most=50,
        keep_free=0,
    )
    recorder.start()

    async def client(who):
        for i in itertools.count():
            if end.exists():
                return
            await recorder.record(entry(f"{who}.{i}"))
            os.write(1, f"{who}.{i}\n".encode())  # acknowledged: whoever reads this may rely on it

    async def work():
        await asyncio.gather(*(client(f"{name}{i}") for i in range(4)))
        await until(lambda: not recorder.away)

    asyncio.run(work())
    assert recorder.stop()


def wait_for_lines(file, n, child=None):
    end = time.monotonic() + 60
    while file.read_bytes().count(b"\n") < n:
        assert child is None or child.poll() is None, "the child has ended"
        assert time.monotonic() < end, "the child does not answer"
        time.sleep(0.01)


def lines(file):
    "Whole lines: the last may be cut short by a kill."
    return file.read_text().split("\n")[:-1]


def test_killed_between_the_commits_of_store_and_spool(urls, tmp_path):
    switch, out = tmp_path / "away", tmp_path / "acknowledged"
    store, spool = made(urls[0]), made(urls[1])
    switch.touch()
    with out.open("wb") as file:
        process = child("dies", *urls, switch, out=file)
    wait_for_lines(out, 100)
    switch.unlink()
    assert process.wait(30) == -signal.SIGKILL
    both = set(ids(store.predictions)) & set(ids(spool.predictions))
    assert both, "it was to die with rows in both places"
    with recording(store, spool) as (recorder, told):
        assert recorder.away or told
        recorder.record_blocking(entry("new.0"))
        asyncio.run(until(lambda: not recorder.away))
        assert spool.predictions.waiting() == 0
        kept = check_kept(store.predictions, lines(out) + ["new.0"])
    assert kept[-1] == "new.0"


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_anywhere(urls, tmp_path, times):
    """kill -9 under load while the database comes and goes; each child takes over what the one
    before left.
    """
    switch, acknowledged = tmp_path / "away", []
    store, spool = made(urls[0]), made(urls[1])
    for i in range(times):
        out = tmp_path / f"acknowledged{i}"
        with out.open("wb") as file:
            process = child("works", *urls, switch, f"run{i}-", out=file)
        wait_for_lines(out, 20)
        switch.touch()
        wait_for_lines(out, 20 + 10 * (i % 5) + out.read_bytes().count(b"\n"))
        switch.unlink()
        time.sleep(0.02 * (i % 5))
        process.kill()
        process.wait()
        acknowledged += lines(out)
    with recording(store, spool) as (recorder, _):
        asyncio.run(until(lambda: not recorder.away and not recorder.spooled))
        check_kept(store.predictions, acknowledged)
        assert spool.predictions.waiting() == 0


def test_two_processes_share_a_spool(urls, tmp_path):
    switch, outs = tmp_path / "away", [tmp_path / "first", tmp_path / "second"]
    store, spool = made(urls[0]), made(urls[1])
    processes = []
    for name, out in zip("ab", outs):
        with out.open("wb") as file:
            processes.append(child("works", *urls, switch, name, out=file))
    for _ in range(3):
        for out, process in zip(outs, processes):
            wait_for_lines(out, 50 + out.read_bytes().count(b"\n"), process)
        switch.touch()
        for out, process in zip(outs, processes):
            wait_for_lines(out, 50 + out.read_bytes().count(b"\n"), process)
        assert spool.predictions.waiting()
        switch.unlink()
    Path(f"{switch}.end").touch()
    assert [process.wait(60) for process in processes] == [0, 0]
    acknowledged = lines(outs[0]) + lines(outs[1])
    with recording(store, spool) as (
        recorder,
        _,
    ):  # one process may have left while the other still wrote to the spool
        asyncio.run(until(lambda: not recorder.away and not recorder.spooled))
        kept = check_kept(store.predictions, acknowledged)
        assert sorted(kept) == sorted(acknowledged) and spool.predictions.waiting() == 0


if __name__ == "__main__":
    be_child(*sys.argv[1:])
