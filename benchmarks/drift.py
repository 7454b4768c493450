"""Measure drift checks over a million logged predictions while the service answers, and over a file
beside Evidently.

    python benchmarks/drift.py [--rows 1000000] [--arms sqlite,postgresql,file] [--json FILE]

For the log: seconds and memory of `detect` in its own process, as the endpoint runs it, and the
latency of predictions at a steady rate while POST /drift/detect processes the whole log repeatedly.
For the file: `Reference.compare` and Evidently's DataDriftPreset(method="psi") on the same rows.
See benchmarks/README.md.
"""

import argparse
import http.client
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(HERE)]

APPLICANTS = 5000  # different ones, of which the log is made
TRAINED_ON = 8000  # rows, of which a quarter is the reference
REFERENCE = 50_000  # rows of the file's reference
DAYS = 40  # that the log reaches back
LANES = 8  # connections of the client, in turn: a slow answer does not hold up the next request
WARM_UP = 3  # seconds of requests that are not counted
TARGETS = dict(seconds=3, megabytes=300, p99=2, evidently=5)


# The log: some thousand applicants as the service would write them, and the rest by SQL with ids
# and times of their own

SQLITE = """INSERT INTO predictions ({columns})
    WITH RECURSIVE one(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM one WHERE i < {rows} - 1)
    SELECT {values} FROM one JOIN predictions p ON p.seq = 1 + one.i % {applicants}"""
POSTGRESQL = """INSERT INTO predictions ({columns})
    SELECT {values} FROM generate_series(0, {rows} - 1) AS one(i)
    JOIN predictions p ON p.seq = 1 + mod(one.i, {applicants})"""
NEW = dict(
    sqlite=dict(
        at="strftime('%Y-%m-%d %H:%M:%f', '{begin}', (one.i * {step}) || ' seconds') || '000'",
        reference="'A-' || one.i",
        request_id="lower(hex(randomblob(16)))",
        prediction_id=(
            "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || "
            "substr(hex(randomblob(2)), 2) || '-a' || substr(hex(randomblob(2)), 2) || '-' || "
            "hex(randomblob(6)))"
        ),
    ),
    postgresql=dict(
        at="timestamptz '{begin}Z' + one.i * interval '{step} seconds'",
        reference="'A-' || one.i",
        request_id="replace(gen_random_uuid()::text, '-', '')",
        prediction_id="gen_random_uuid()::text",
    ),
)


def fill(store, bundle, rows):
    "Logs `rows` predictions of the last days."
    import sqlalchemy as sa

    from credit_default.data.synthetic import synthesize
    from credit_default.portfolio.columns import parse_table
    from credit_default.serving.active_model import log_rows
    from credit_default.store.predictions import Entry
    from credit_default.store.schema import COLUMNS

    columns, at = (
        parse_table(bundle.portfolio, synthesize(bundle.portfolio, APPLICANTS, seed=21)[0]),
        datetime(2000, 1, 1, tzinfo=UTC),
    )
    written = log_rows(bundle, columns, bundle.score(columns), at, [None] * APPLICANTS)
    for row in written:
        row |= dict(
            endpoint="predict", user_id=None, username="lender", latency_ms=1.9, request_id="first"
        )
    store.upgrade()
    store.predictions.append([Entry(written)])
    kind, step = "sqlite" if store.file else "postgresql", DAYS * 86_400 / rows
    begin = (datetime.now(UTC) - timedelta(days=DAYS)).strftime("%Y-%m-%d %H:%M:%S")
    new = {name: text.format(begin=begin, step=step) for name, text in NEW[kind].items()}
    text = dict(sqlite=SQLITE, postgresql=POSTGRESQL)[kind].format(
        columns=", ".join(COLUMNS),
        values=", ".join(new.get(name, f"p.{name}") for name in COLUMNS),
        rows=rows,
        applicants=APPLICANTS,
    )
    engine = sa.create_engine(
        store.database.url
    )  # without the store's patience: this takes longer than any request may
    with engine.begin() as c:
        c.exec_driver_sql(text)
        c.exec_driver_sql("DELETE FROM predictions WHERE at < '2001-01-01'")
    with (
        engine.execution_options(isolation_level="AUTOCOMMIT").connect() as c
    ):  # what autovacuum does in the life of a server; SQLite's file as after a quiet moment
        c.exec_driver_sql(
            "PRAGMA wal_checkpoint(TRUNCATE)" if store.file else "VACUUM ANALYZE predictions"
        )
    engine.dispose()


# What is measured of it

ALONE = """
import asyncio, json, os, sys, time
import psutil
from credit_default.monitoring.process import Checker, read_task
task = read_task(json.load(sys.stdin))

async def measured(check):
    begin, under_way, most, cpu = time.perf_counter(), asyncio.ensure_future(check(task)), 0, {}
    while not under_way.done():
        resident = 0
        for process in psutil.Process().children(recursive=True):
            try:
                resident += process.memory_info().rss
                cpu[process.pid] = sum(process.cpu_times()[:2])
            except psutil.Error:
                continue  # it has ended
        most = max(most, resident)
        await asyncio.sleep(0.02)
    return time.perf_counter() - begin, most / 1e6, cpu, under_way.result()

async def several():
    check = Checker()
    first, *_ = await measured(check)
    seconds, megabytes, cpu, found = await measured(check)
    await check.close()
    figures = dict(first=first, seconds=seconds, cpu=max(cpu.values()), megabytes=megabytes)
    figures |= dict(samples=found.samples_analysed, verdict=found.verdict)
    json.dump(figures, sys.stdout)

asyncio.run(several())
"""


def alone(task):
    """A check as the endpoint runs it: seconds of the first, with the start of the process that
    waits for checks, and of one after it; its computing, and the most memory of both processes
    together.
    """
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        input=json.dumps(task.to_dict()),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"detect failed: {done.stderr}")
    return json.loads(done.stdout)


def client(port, rate, seconds):
    """Sends the bodies of standard input at a steady rate; milliseconds from when each was due to
    its answer. A process of its own.
    """
    told = json.load(sys.stdin)
    bodies, headers, took = told["bodies"], told["headers"], {}
    begin = time.perf_counter() + 0.1

    def lane(n):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for i in range(n, int(rate * seconds), LANES):
            due = begin + i / rate
            time.sleep(max(0, due - time.perf_counter()))
            connection.request("POST", "/predict", bodies[i % len(bodies)], headers)
            answer = connection.getresponse()
            answer.read()
            took[i] = (time.perf_counter() - due) * 1000 if answer.status == 200 else None
        connection.close()

    lanes = [threading.Thread(target=lane, args=(n,)) for n in range(LANES)]
    for one in lanes:
        one.start()
    for one in lanes:
        one.join()
    json.dump([took.get(i) for i in range(int(rate * seconds))], sys.stdout)


def latencies(server, bodies, rate, seconds):
    "p50 and p99 of POST /predict at this rate, in milliseconds."
    told = json.dumps(
        dict(
            bodies=bodies,
            headers={
                "Content-Type": "application/json",
                "Authorization": server.client.headers["Authorization"],
            },
        )
    )
    done = subprocess.run(
        [sys.executable, __file__, "--client", str(server.port), str(rate), str(seconds + WARM_UP)],
        input=told,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"the client failed: {done.stderr}")
    took = json.loads(done.stdout)
    if None in took:
        sys.exit(f"{took.count(None)} of {len(took)} predictions were not answered")
    counted = sorted(took[int(rate * WARM_UP) :])
    return dict(
        p50=statistics.median(counted), p99=counted[int(0.99 * len(counted))], most=counted[-1]
    )


class Again:
    "Asks POST /drift/detect for the whole log again and again, until the end of the block."

    def __init__(self, server, rows):
        self.server, self.rows, self.seconds, self.failed = server, rows, [], None

    def __enter__(self):
        self.thread, self.ended = threading.Thread(target=self.run), threading.Event()
        self.thread.start()
        return self

    def run(self):
        window = {"from": (datetime.now(UTC) - timedelta(days=DAYS + 1)).isoformat()}
        while not self.ended.is_set() and not self.failed:
            begin = time.perf_counter()
            answer = self.server.client.post("/drift/detect", json=window)
            self.seconds.append(time.perf_counter() - begin)
            if answer.status_code != 200 or answer.json()["samples_analysed"] < self.rows:
                self.failed = answer.text[:500]

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        if self.failed:
            sys.exit(f"POST /drift/detect failed: {self.failed}")


def log_arm(asked, url, bundle, bodies, folder):
    "All figures of one database."
    from served import Server, log_in

    from credit_default.monitoring.process import DriftTask
    from credit_default.store.store import Store

    store, begin = Store(url), time.perf_counter()
    fill(store, bundle, asked.rows)
    print(
        f"{folder.name}: {asked.rows:,} predictions logged in {time.perf_counter() - begin:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    detect = DriftTask(url, bundle.portfolio, bundle.reference, model_version=bundle.tag)
    checks = [alone(detect) for _ in range(asked.checks)]
    if any(one["samples"] < asked.rows for one in checks):
        sys.exit(f"detect has not seen all rows: {checks}")
    usual, meanwhile, endpoint = [], [], []
    home = os.environ["BENTOML_HOME"]
    settings = dict(
        CREDIT_DEFAULT_DATABASE_URL=url,
        CREDIT_DEFAULT_SPOOL=str(folder / "spool.db"),
        CREDIT_DEFAULT_TIMEOUT="60",
        CREDIT_DEFAULT_SECRET_KEY=secrets.token_urlsafe(48),
    )
    with Server(
        home, folder / "service.log", cwd=folder, PYTHONPATH=str(ROOT), **settings
    ) as server:
        log_in(server.client)
        latencies(server, bodies, asked.rate, WARM_UP)
        for turn in range(asked.rounds):
            for busy in (False, True) if turn % 2 == 0 else (True, False):
                with Again(server, asked.rows) if busy else nullcontext() as again:
                    found = latencies(server, bodies, asked.rate, asked.seconds)
                (meanwhile if busy else usual).append(found)
                if busy:
                    endpoint += again.seconds
                print(
                    f"round {turn + 1}, {'while drift is detected' if busy else 'usual'}: p50 "
                    f"{found['p50']:.1f}, p99 {found['p99']:.1f} ms; load {os.getloadavg()[0]:.1f}",
                    file=sys.stderr,
                    flush=True,
                )
    store.close()
    return dict(
        checks=checks,
        usual=usual,
        meanwhile=meanwhile,
        endpoint_seconds=endpoint,
        seconds=statistics.median(one["seconds"] for one in checks),
        first=statistics.median(one["first"] for one in checks),
        cpu=statistics.median(one["cpu"] for one in checks),
        megabytes=max(one["megabytes"] for one in checks),
        p99_usual=statistics.median(one["p99"] for one in usual),
        p99_meanwhile=statistics.median(one["p99"] for one in meanwhile),
    )


# The file


def drawn_samples(bundle, rows):
    "The columns that are compared, a reference sample, and one with incomes a third lower."
    import pandas as pd

    from credit_default.data.synthetic import synthesize
    from credit_default.portfolio.columns import parse_table

    portfolio = bundle.portfolio
    names = [*(f.name for f in portfolio.fields), "probability_default", "credit_score"]

    def scored(rows, seed):
        columns = parse_table(portfolio, synthesize(portfolio, rows, seed=seed)[0])
        scores = bundle.score(columns, reasons=False).monitored()
        return pd.DataFrame({name: (columns | scores)[name] for name in names})

    parts = [scored(100_000, 32 + i) for i in range(-(-rows // 100_000))]
    now = pd.concat(parts, ignore_index=True)[:rows]
    now["MonthlyIncome"] = (now["MonthlyIncome"] * 0.7).round()
    return names, scored(REFERENCE, 31), now


def evidently_psi(now, before):
    "The PSI of each column by Evidently's preset."
    from evidently import Report
    from evidently.presets import DataDriftPreset

    found = Report([DataDriftPreset(method="psi")]).run(now, before).dict()
    return {
        m["config"]["column"]: float(m["value"])
        for m in found["metrics"]
        if "column" in m["config"]
    }


def file_arm(asked, bundle, folder):
    "Seconds of our comparison and of Evidently's, on the same rows."
    import pandas as pd

    os.environ["DO_NOT_TRACK"] = "1"
    from evidently import DataDefinition, Dataset

    from credit_default.scoring import stability

    portfolio = bundle.portfolio
    names, before, now = drawn_samples(bundle, asked.rows)
    for name, frame in (("before", before), ("now", now)):
        frame.to_parquet(folder / f"{name}.parquet")
    definition = DataDefinition(
        numerical_columns=[f.name for f in portfolio.fields if f.numeric] + names[-2:],
        categorical_columns=[f.name for f in portfolio.fields if not f.numeric],
    )
    codes, categories = (
        {f.name: tuple(f.codes) for f in portfolio.fields if f.codes},
        {f.name: f.categories for f in portfolio.fields if not f.numeric},
    )

    def columns_of(frame):
        return {name: frame[name].to_numpy() for name in names}

    def fit(columns):
        return stability.Reference.fit(columns, codes=codes, categories=categories)

    def ours(reference, columns):
        return {row.field: row.psi for row in reference.compare(columns)}

    def dataset(frame):
        return Dataset.from_pandas(frame, data_definition=definition)

    def timed(call):
        stability._chance.cache_clear()  # as for a sample of a size that was not compared before
        begin = time.perf_counter()
        found = call()
        return time.perf_counter() - begin, found

    reference, columns, sets = (
        fit(columns_of(before)),
        columns_of(now),
        (dataset(now), dataset(before)),
    )

    def read(name):
        return pd.read_parquet(folder / f"{name}.parquet")

    ways = {
        "ours": lambda: ours(reference, columns),
        "ours, with the bins made of the reference's rows": lambda: ours(
            fit(columns_of(before)), columns
        ),
        "Evidently": lambda: evidently_psi(*sets),
        "ours, read from Parquet": lambda: ours(reference, columns_of(read("now"))),
        "Evidently, read from Parquet": lambda: evidently_psi(
            dataset(read("now")), dataset(read("before"))
        ),
    }
    took, psis = {name: [] for name in ways}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its libraries about their own future
        for _ in range(asked.checks):
            for name, call in ways.items():
                seconds, psis[name] = timed(call)
                took[name].append(seconds)
    for name in ("ours", "Evidently"):
        if psis[name].keys() != set(names):
            sys.exit(f"{name} has not compared all columns: {sorted(psis[name])}")
    return dict(
        rows=len(now),
        reference_rows=len(before),
        columns=len(names),
        runs=took,
        seconds={name: statistics.median(one) for name, one in took.items()},
        psi={name: {kind: psis[kind][name] for kind in ("ours", "Evidently")} for name in names},
    )


# All of it


def run(asked, folder):
    "All measurements, as plain values."
    from postgres import Postgres
    from served import applicants, synthetic_bundle
    from service import machine

    from credit_default.scoring.registry import load_bundle, promote_bundle, save_bundle

    bundle = synthetic_bundle("gmsc", TRAINED_ON)
    bundle.tag = promote_bundle(save_bundle(bundle), "gmsc", by="benchmark")
    bundle = load_bundle(bundle.tag)
    bodies = [json.dumps(one) for one in applicants(bundle.portfolio, 500, seed=11)[1]]
    out = dict(
        machine=machine(),
        rows=asked.rows,
        rate=asked.rate,
        rounds=asked.rounds,
        seconds=asked.seconds,
        left_out={},
        logs={},
        file=None,
    )
    for name in asked.arms:
        here = folder / name
        here.mkdir()
        if name == "sqlite":
            out["logs"][name] = log_arm(asked, f"sqlite:///{here}/service.db", bundle, bodies, here)
        if name == "postgresql":
            if why := Postgres.missing():
                out["left_out"][name] = why
                continue
            with Postgres() as server:
                out["logs"][name] = log_arm(asked, server.database(), bundle, bodies, here)
        if name == "file":
            out["file"] = file_arm(asked, bundle, here)
    return out | dict(load_after=round(os.getloadavg()[0], 2))


def held(found):
    "What is held against a target: what, how much, target, whether it is met."
    for name, one in found["logs"].items():
        title = dict(sqlite="SQLite", postgresql="PostgreSQL")[name]
        yield (
            f"{title}: detect over {found['rows']:,} predictions, s",
            one["seconds"],
            f"at most {TARGETS['seconds']}",
            one["seconds"] <= TARGETS["seconds"],
        )
        yield (
            f"{title}: peak memory of its processes, MB",
            one["megabytes"],
            f"at most {TARGETS['megabytes']}",
            one["megabytes"] <= TARGETS["megabytes"],
        )
        value = one["p99_meanwhile"] / one["p99_usual"]
        yield (
            f"{title}: predictions' p99 meanwhile over usual",
            value,
            f"at most {TARGETS['p99']}",
            value <= TARGETS["p99"],
        )
    if found["file"]:
        seconds = found["file"]["seconds"]
        for one, other in (
            ("ours", "Evidently"),
            ("ours, with the bins made of the reference's rows", "Evidently"),
            ("ours, read from Parquet", "Evidently, read from Parquet"),
        ):
            value = seconds[other] / seconds[one]
            yield (
                f"seconds of {other}, over those of {one}",
                value,
                f"at least {TARGETS['evidently']}",
                value >= TARGETS["evidently"],
            )


def markdown(found):
    "The figures as a person reads them."
    from service import table

    m = found["machine"]
    parts = [
        f"{m['cores']} cores of {m['cpu']}, Python {m['python']}; load {m['load']} before and "
        f"{found['load_after']} after."
    ]
    if found["logs"]:
        rows = [
            [
                name,
                f"{one['seconds']:.2f}",
                f"{one['first']:.2f}",
                f"{one['cpu']:.2f}",
                f"{statistics.median(one['endpoint_seconds']):.2f}",
                f"{one['megabytes']:.0f}",
            ]
            + [
                f"{statistics.median(r[k] for r in one[when]):.2f}"
                for when in ("usual", "meanwhile")
                for k in ("p50", "p99")
            ]
            for name, one in found["logs"].items()
        ]
        parts.append(
            f"{found['rows']:,} predictions in the log. Latency at {found['rate']:g} predictions a "
            f"second, median of {found['rounds']} rounds of {found['seconds']} s."
        )
        parts.append(
            table(
                [
                    "",
                    "detect s",
                    "the first s",
                    "its CPU s",
                    "endpoint s",
                    "MB",
                    "usual p50 ms",
                    "usual p99",
                    "meanwhile p50",
                    "meanwhile p99",
                ],
                rows,
            )
        )
    if one := found["file"]:
        parts.append(
            f"{one['rows']:,} rows against {one['reference_rows']:,}, {one['columns']} columns:"
        )
        parts.append(
            table(["", "s"], [[name, f"{seconds:.2f}"] for name, seconds in one["seconds"].items()])
        )
        parts.append(
            table(
                ["PSI", "ours", "Evidently"],
                [
                    [name, f"{both['ours']:.4f}", f"{both['Evidently']:.4f}"]
                    for name, both in one["psi"].items()
                ],
            )
        )
    parts += [f"Left out: {name} ({why})." for name, why in found["left_out"].items()]
    parts.append(
        table(
            ["", "found", "target", "met"],
            [
                [what, f"{value:.2f}", target, "yes" if met else "NO"]
                for what, value, target, met in held(found)
            ],
        )
    )
    return "\n\n".join(parts)


ARMS = ("sqlite", "postgresql", "file")


def names(text):
    "Arms that were asked for."
    found = text.split(",")
    if unknown := set(found) - set(ARMS):
        raise argparse.ArgumentTypeError(
            f"no arm {', '.join(sorted(unknown))}; there are {', '.join(ARMS)}"
        )
    return found


def main():
    if sys.argv[1:2] == ["--client"]:
        client(int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--arms",
        type=names,
        default=list(ARMS),
        help=f"arms to run, of {','.join(ARMS)}, separated by commas",
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--checks", type=int, default=5, help="repetitions of each timed check")
    parser.add_argument("--rate", type=float, default=50, help="predictions per second")
    parser.add_argument(
        "--seconds", type=int, default=20, help="length of each measurement of latency"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder",
        type=Path,
        default=HERE / ".cache",
        help="folder for SQLite's log: use a disk, not a RAM disk",
    )
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="drift-") as folder:
        folder = Path(folder)
        os.environ |= {
            "BENTOML_HOME": str(folder / "home"),
            "BENTOML_DO_NOT_TRACK": "True",
            "DO_NOT_TRACK": "1",
        }  # before bentoml is imported
        found = run(asked, folder)
    print(markdown(found))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
