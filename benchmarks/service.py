"""Measure requests per second and latency of our service, BentoML, FastAPI and the usual pickled
Pipeline, side by side on one machine.

    python benchmarks/service.py [--arms a,b,d] [--seconds 4] [--rounds 3] [--json FILE]

Each arm is a server with one worker on its own port, to which wrk sends requests over 1, 8 and 32
connections. The arms alternate in short rounds, and each figure is the median of its rounds, so
that other load on the machine affects all arms alike. The run fails if a response is not 2xx or is
missing from the prediction log. See benchmarks/README.md.
"""

import argparse
import io
import itertools
import json
import os
import pickle
import platform
import secrets
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CONNECTIONS = (1, 8, 32)
APPLICANTS = 500  # different bodies, sent in turn
CSV_ROWS = 100_000
WARM_UP = 1  # seconds before each measurement, at as many connections
TREES = dict(n_estimators=200, max_depth=4, learning_rate=0.05, subsample=0.8)


@dataclass
class Arm:
    "A server to be measured."

    title: str
    command: list[str]  # what follows `python -m`
    ours: bool = False  # with users and a prediction log
    settings: dict[str, str] = field(default_factory=dict)
    ready: str = "/readyz"


BENTO, FASTAPI = (
    ["bentoml", "serve", "--host", "127.0.0.1"],
    ["uvicorn", "--app-dir", str(HERE / "arms"), "--no-access-log", "--log-level", "warning"],
)
OURS = [*BENTO, "credit_default.service:CreditDefault"]
ARMS = {
    "a": Arm("ours, whole: users, validation, PD, score, reasons, durable log", OURS, ours=True),
    "champion": Arm("the same with the champion", OURS, ours=True),
    "b": Arm("ours without reasons", OURS, ours=True, settings={"CREDIT_DEFAULT_REASONS": "false"}),
    "c": Arm(
        "BentoML, empty endpoint, our settings",
        [*BENTO, "--working-dir", str(HERE / "arms"), "bentoml_shipped:Empty"],
    ),
    "c0": Arm(
        "BentoML, empty endpoint, as it comes",
        [*BENTO, "--working-dir", str(HERE / "arms"), "bentoml_empty:Empty"],
    ),
    "d": Arm(
        "FastAPI, pickled Pipeline, one-row DataFrame",
        [*FASTAPI, "fastapi_pipeline:app"],
        ready="/openapi.json",
    ),
    "e": Arm("FastAPI, empty endpoint", [*FASTAPI, "fastapi_empty:app"], ready="/openapi.json"),
}

# Arm over arm, at so many connections, and the least that it should be.
RATIOS = [("a", "d", 8, 2.5), ("b", "d", 8, 4), ("c", "c0", 8, 2.2)]
TAIL = 4  # p99 of (a) at 8 connections should be at most so many times its p50
CSV_GAIN = (
    10  # a row of POST /predict_csv should be at least so many times faster than a single request
)


# What is served: one small forest for all arms, and the champion


def trees(portfolio, train, holdout):
    "The bundle of the small forest."
    from credit_default.training.recipe import Recipe
    from credit_default.training.training import fit_recipe

    recipe = Recipe(candidate="xgboost", imputation="median", parameters=TREES)
    return fit_recipe(portfolio, recipe, train, holdout).bundle


def pipeline(portfolio, train):
    "The usual Pipeline with a forest of the same shape, fitted on the same rows."
    import pandas as pd
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from xgboost import XGBClassifier

    X = pd.DataFrame({f.alias: train.columns[f.name] for f in portfolio.fields})
    # n_jobs=1: a second thread makes a prediction of one row slower.
    model = Pipeline(
        [
            ("imputer", SimpleImputer(strategy="median")),
            ("scaler", StandardScaler()),
            ("model", XGBClassifier(**TREES, n_jobs=1, random_state=0)),
        ]
    )
    return model.fit(X, train.y)


def champion_of(home, portfolio):
    """The champion in the user's own model store, else a blend of the synthetic sample; and which
    it is.
    """
    from credit_default.scoring.bundle_files import read_bundle

    events = home / "credit_default" / portfolio.name / "champion.json"
    if events.exists():
        tag = json.loads(events.read_text())[-1]["tag"]
        return read_bundle(home / "models" / tag.replace(":", "/")), f"the champion {tag}"
    sys.path.insert(0, str(ROOT / "tests"))
    from served import BLEND, synthetic_bundle

    return synthetic_bundle(portfolio.name), "a blend of " + " + ".join(
        f"{share:g} {kind}" for kind, share in BLEND.items()
    )


def prepare(folder, home, arms):
    """Writes models, bodies and a CSV file into `folder`; the tag for each arm of ours, and words
    about the champion.
    """
    from credit_default.data.loading import load
    from credit_default.data.sources import Source
    from credit_default.data.split import split
    from credit_default.data.synthetic import synthesize, write_csv
    from credit_default.portfolio.catalogue import get_portfolio
    from credit_default.portfolio.columns import parse_table
    from credit_default.scoring.reasons import sent_value
    from credit_default.scoring.registry import promote_bundle, save_bundle

    portfolio, tags, words = get_portfolio("gmsc"), {}, ""
    train, holdout = split(
        load(portfolio, Source("synthetic", None, "synthetic sample"), seed=1), 0.2, seed=0
    )
    if {"a", "b"} & set(arms):
        tags["a"] = tags["b"] = promote_bundle(
            save_bundle(trees(portfolio, train, holdout)), portfolio.name, by="benchmark"
        )
    if "champion" in arms:
        bundle, words = champion_of(home, portfolio)
        tags["champion"] = save_bundle(bundle)
    if "d" in arms:
        (folder / "pipeline.pickle").write_bytes(pickle.dumps(pipeline(portfolio, train)))
    columns = parse_table(portfolio, synthesize(portfolio, APPLICANTS, seed=11)[0])
    bodies = [
        json.dumps({f.alias: sent_value(f, columns[f.name][i]) for f in portfolio.fields})
        for i in range(APPLICANTS)
    ]
    if "a" in arms:
        write_csv(folder / "applicants.csv", synthesize(portfolio, CSV_ROWS, seed=12)[0])
    return bodies, tags, words


# Servers


class Server:
    "An arm, running."

    def __init__(self, name, arm, folder, **settings):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.name, self.arm, self.folder = name, arm, folder / name
        self.folder.mkdir()
        self.log, self.database, self.headers, self.answered = (
            self.folder / "log",
            self.folder / "service.db",
            {"Content-Type": "application/json"},
            0,
        )
        if arm.ours:
            settings |= {
                "CREDIT_DEFAULT_DATABASE_URL": f"sqlite:///{self.database}",
                "CREDIT_DEFAULT_SPOOL": str(self.folder / "spool.db"),
            }
        self.settings = settings | arm.settings

    def start(self):
        "Starts the process, and waits for nothing."
        # Nothing of the user's settings, of ours or of BentoML, changes what is measured.
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(
                ("CREDIT_DEFAULT_", "BENTOML_CONFIG", "PROMETHEUS_", "PYTHONPATH")
            )
        }
        common = {
            "PYTHONPATH": str(ROOT),
            "CREDIT_DEFAULT_ENV_FILE": os.devnull,
            "CREDIT_DEFAULT_SIGNUP": "open",
            "CREDIT_DEFAULT_SECRET_KEY": secrets.token_urlsafe(48),
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.arm.command, "--port", str(self.port)],
                cwd=self.folder,
                env=kept | common | self.settings,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.client, self.begin = (
            httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=600),
            time.monotonic(),
        )
        return self

    def wait(self):
        "Waits until it answers, and logs in."
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() - self.begin > 120:
                self.fail("did not start")
            time.sleep(0.1)
        if self.arm.ours:
            self.headers["Authorization"] = f"Bearer {self.token()}"
        self.processes = [
            psutil.Process(self.process.pid),
            *psutil.Process(self.process.pid).children(recursive=True),
        ]

    def cpu(self):
        "Seconds of computing that its processes have taken."
        return sum(sum(process.cpu_times()[:2]) for process in self.processes)

    def is_ready(self):
        try:
            return self.client.get(self.arm.ready).status_code == 200
        except httpx.TransportError:
            return False

    def token(self):
        "Signs up and logs in: a bearer token."
        user = dict(
            username="benchmark", email="benchmark@example.com", password=secrets.token_urlsafe(16)
        )
        self.checked(self.client.post("/signup", json=user))
        return self.checked(
            self.client.post("/login", json={k: user[k] for k in ("username", "password")})
        ).json()["access_token"]

    def checked(self, answer):
        if not answer.is_success:
            self.fail(
                f"answered {answer.status_code} to {answer.request.method} "
                f"{answer.request.url.path}: {answer.text[:500]}"
            )
        return answer

    def fail(self, what):
        "Ends the run."
        sys.exit(f"arm {self.name} {what}\n" + "\n".join(self.log.read_text().splitlines()[-15:]))

    def try_all(self, bodies):
        "Every body once: all must be answered."
        for body in bodies:
            self.checked(self.client.post("/predict", content=body, headers=self.headers))
        self.answered += len(bodies)

    def logged(self, endpoint):
        "Rows that the prediction log holds of an endpoint."
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True) as database:
            return database.execute(
                "SELECT count(*) FROM predictions WHERE endpoint = ?", [endpoint]
            ).fetchone()[0]

    def stop(self):
        self.client.close()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)


# wrk

SCRIPT = """
local headers, requests, at = {HEADERS}, {}, 0
function init(args)
  for body in io.lines(BODIES) do
    requests[#requests + 1] = wrk.format("POST", "/predict", headers, body)
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency, requests)
  local e = summary.errors
  local form = '{"requests": %d, "microseconds": %d, "refused": %d, "broken": %d, '
    .. '"p50": %f, "p99": %f}'
  io.write('RESULT ' .. string.format(form, summary.requests, summary.duration, e.status,
    e.connect + e.read + e.write + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000) .. '\\n')
end
"""


def lua(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def script_for(server, bodies):
    "The path of wrk's script for a server: all bodies in turn, with its token."
    script = server.folder / "predict.lua"
    headers = ", ".join(f"[{lua(name)}] = {lua(value)}" for name, value in server.headers.items())
    script.write_text(
        SCRIPT.replace("{HEADERS}", "{" + headers + "}").replace("BODIES", lua(str(bodies)))
    )
    return script


def wrk(server, script, connections, seconds):
    "Requests a second; p50, p99 and what the server computes for a request, in milliseconds."
    before = server.cpu()
    done = subprocess.run(
        [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            "30s",
            "-s",
            str(script),
            f"http://127.0.0.1:{server.port}",
        ],
        capture_output=True,
        text=True,
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if done.returncode or line is None:
        server.fail(f"could not be asked by wrk: {done.stdout}{done.stderr}")
    found = json.loads(line.removeprefix("RESULT "))
    server.answered += found["requests"]
    if found["refused"] or found["broken"] or not found["requests"]:
        server.fail(f"did not answer all requests: {found}")
    return dict(
        rps=found["requests"] / found["microseconds"] * 1e6,
        p50=found["p50"],
        p99=found["p99"],
        cpu=(server.cpu() - before) / found["requests"] * 1000,
    )


def measure(server, script, connections, seconds):
    "One measurement after a warm-up."
    wrk(server, script, connections, WARM_UP)
    return wrk(server, script, connections, seconds)


# Other figures of the run


def fsyncs(folder, times=100):
    "Milliseconds of appending a page to a file on that disk and waiting for it, each time."
    out = []
    with (folder / "fsync").open("ab") as file:
        for _ in range(times):
            begin = time.perf_counter()
            file.write(os.urandom(4096))
            file.flush()
            os.fsync(file.fileno())
            out.append((time.perf_counter() - begin) * 1000)
    return out


def upload(server, path):
    "Seconds of one POST /predict_csv of the whole file."
    content = path.read_bytes()
    headers = {k: v for k, v in server.headers.items() if k != "Content-Type"}
    begin = time.perf_counter()
    answer = server.checked(
        server.client.post(
            "/predict_csv",
            files={"file": ("applicants.csv", io.BytesIO(content), "text/csv")},
            headers=headers,
        )
    )
    seconds = time.perf_counter() - begin
    rows = answer.content.count(b"\n") - 1
    if rows != CSV_ROWS:
        server.fail(f"answered {rows} rows to a CSV file of {CSV_ROWS}")
    return seconds


def median_of(runs):
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def machine():
    "Words about where this ran."
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return dict(
        cpu=cpu,
        cores=os.cpu_count(),
        python=platform.python_version(),
        load=round(os.getloadavg()[0], 2),
    )


def run(asked, folder, home):
    "All measurements, as plain values."
    bodies, tags, champion = prepare(folder, home, asked.arms)
    (folder / "bodies").write_text("\n".join(bodies) + "\n")
    servers, runs, synced, csv = {}, {}, [], None
    out = dict(
        machine=machine(),
        seconds=asked.seconds,
        rounds=asked.rounds,
        titles={name: ARMS[name].title for name in asked.arms},
        champion=champion,
    )
    try:
        for name in asked.arms:
            settings = {"PIPELINE": str(folder / "pipeline.pickle")} | (
                {"CREDIT_DEFAULT_MODEL": tags[name]} if name in tags else {}
            )
            servers[name] = Server(name, ARMS[name], folder, **settings).start()
        for server in servers.values():
            server.wait()
            server.try_all(bodies)
        scripts = {name: script_for(server, folder / "bodies") for name, server in servers.items()}
        for turn, connections in itertools.product(range(asked.rounds), asked.connections):
            synced += fsyncs(folder)
            order = (
                asked.arms[turn % len(asked.arms) :] + asked.arms[: turn % len(asked.arms)]
            )  # not always the same one after the same
            for name in order:
                found = measure(servers[name], scripts[name], connections, asked.seconds)
                runs.setdefault((name, connections), []).append(found)
                print(
                    f"round {turn + 1}, {connections} connections, {name}: {found['rps']:.0f}/s, "
                    f"p99 {found['p99']:.1f} ms",
                    file=sys.stderr,
                    flush=True,
                )
        for name, server in servers.items():
            if ARMS[name].ours and (logged := server.logged("predict")) < server.answered:
                server.fail(
                    f"answered {server.answered} requests, but its log holds {logged} of them"
                )
        if "a" in servers and asked.csv:
            csv = statistics.median(
                upload(servers["a"], folder / "applicants.csv") for _ in range(asked.rounds)
            )
            if (logged := servers["a"].logged("csv")) != CSV_ROWS * asked.rounds:
                servers["a"].fail(f"holds {logged} of the CSV file's rows in its log")
    finally:
        for server in servers.values():
            server.stop()
    figures = {
        name: {c: median_of(runs[name, c]) for c in asked.connections} for name in asked.arms
    }
    each = {name: {c: runs[name, c] for c in asked.connections} for name in asked.arms}
    synced.sort()
    return out | dict(
        figures=figures,
        runs=each,
        csv_seconds=csv,
        load_after=round(os.getloadavg()[0], 2),
        fsync_ms=dict(p50=statistics.median(synced), p99=synced[int(0.99 * len(synced))]),
    )


# Tables


def table(header, rows):
    "A Markdown table, its first column of words."
    return "\n".join(
        "| " + " | ".join(row) + " |"
        for row in [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    )


def ratios(found):
    "What is held against a target: what, how much, target, whether it is met."
    figures = found["figures"]

    def at(name, connections):
        return figures.get(name, {}).get(connections)

    for one, other, connections, least in RATIOS:
        if not (at(one, connections) and at(other, connections)):
            continue
        value = at(one, connections)["rps"] / at(other, connections)["rps"]
        yield (
            f"requests/s of ({one}) over ({other}), {connections} connections",
            value,
            f"at least {least}",
            value >= least,
        )
    if at("a", 8):
        value = at("a", 8)["p99"] / at("a", 8)["p50"]
        yield "p99 over p50 of (a), 8 connections", value, f"at most {TAIL}", value <= TAIL
    if at("a", 1) and found["csv_seconds"]:
        value = CSV_ROWS / found["csv_seconds"] / at("a", 1)["rps"]
        yield (
            "rows/s of POST /predict_csv over requests/s of (a), 1 connection",
            value,
            f"at least {CSV_GAIN}",
            value >= CSV_GAIN,
        )


def markdown(found):
    "The figures as a person reads them."
    m, connections = found["machine"], list(next(iter(found["figures"].values())))
    header = (
        ["arm"]
        + [f"{words}, {c}" for c in connections for words in ("requests/s", "p50 ms", "p99 ms")]
        + [f"CPU ms, {connections[-1]}"]
    )
    rows = [
        [f"({name}) {found['titles'][name]}"]
        + [
            f"{figures[c][k]:,.{0 if k == 'rps' else 2}f}"
            for c in connections
            for k in ("rps", "p50", "p99")
        ]
        + [f"{figures[connections[-1]]['cpu']:.2f}"]
        for name, figures in found["figures"].items()
    ]
    held = [
        [what, f"{value:.2f}", target, "yes" if met else "NO"]
        for what, value, target, met in ratios(found)
    ]
    parts = [
        f"{m['cores']} cores of {m['cpu']}, Python {m['python']}, one worker each; load "
        f"{m['load']} before and {found['load_after']} after. "
        f"Median of {found['rounds']} rounds of {found['seconds']} s; columns by number of "
        "connections. "
        f"fsync on the log's disk: {found['fsync_ms']['p50']:.2f} ms, p99 "
        f"{found['fsync_ms']['p99']:.2f} ms.",
        table(header, rows),
    ]
    if found["champion"]:
        parts.append(
            f"(champion) is {found['champion']}; all other arms that predict hold "
            f"{TREES['n_estimators']} trees of depth {TREES['max_depth']}."
        )
    if found["csv_seconds"]:
        parts.append(
            f"POST /predict_csv, {CSV_ROWS:,} rows: {found['csv_seconds']:.2f} s, "
            f"{found['csv_seconds'] / CSV_ROWS * 1e6:.1f} µs a row."
        )
    if held:
        parts.append(table(["", "found", "target", "met"], held))
    return "\n\n".join(parts)


def names(text):
    "Arms that were asked for."
    found = text.split(",")
    if unknown := set(found) - set(ARMS):
        raise argparse.ArgumentTypeError(
            f"no arm {', '.join(sorted(unknown))}; there are {', '.join(ARMS)}"
        )
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--arms",
        type=names,
        default=list(ARMS),
        help=f"arms to run, of {','.join(ARMS)}, separated by commas",
    )
    parser.add_argument("--connections", type=int, nargs="+", default=list(CONNECTIONS))
    parser.add_argument("--seconds", type=int, default=4, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-csv", dest="csv", action="store_false", help="skip POST /predict_csv")
    parser.add_argument(
        "--folder",
        type=Path,
        default=HERE / ".cache",
        help="folder for the prediction logs: use a disk, not a RAM disk",
    )
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    asked = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit(
            "wrk is not on the PATH. It is in Debian's and Ubuntu's package of that name: apt-get "
            "install wrk"
        )
    asked.folder.mkdir(parents=True, exist_ok=True)
    home = Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="service-") as folder:
        folder = Path(folder)
        os.environ |= {
            "BENTOML_HOME": str(folder / "home"),
            "BENTOML_DO_NOT_TRACK": "True",
            "DO_NOT_TRACK": "1",
        }  # before bentoml is imported
        found = run(asked, folder, home)
    print(markdown(found))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
