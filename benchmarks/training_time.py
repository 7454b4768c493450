"""Measure the time of `train --preset quick` and of `make run` at two commits, in turns.

    python benchmarks/training_time.py COMMIT_A COMMIT_B [--commands quick run] [--rounds 3]
    [--portfolio gmsc] [--json FILE]

Each commit is unpacked into a temporary folder and run with this environment's packages, so the two
must not need different ones. A run begins with an empty model store and without kept margins. The
search has the portfolio's data (in CREDIT_DEFAULT_DATA), `run` the synthetic sample. The order is
A B A B; a ratio is of two runs side by side, so a machine that slows down slows both.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from io import BytesIO
from pathlib import Path
from statistics import median

import pandas as pd
from tqdm import tqdm

from credit_default.cli.terminal import NOT_MET
from credit_default.data.sources import find
from credit_default.portfolio.catalogue import get_portfolio

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-c", "from credit_default.cli.app import main; main()"]
COMMANDS = dict(
    quick=["train", "--preset", "quick"], full=["train", "--preset", "full"], run=["run"]
)


def unpacked(commit, folder):
    "A folder with the files of a commit, its modules compiled."
    git = ["git", "-C", str(ROOT), "archive", "--format=tar", commit]
    packed = subprocess.run(git, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    compiled = [sys.executable, "-m", "compileall", "-q", str(folder / "credit_default")]
    subprocess.run(compiled, check=True)
    return folder


def processor_seconds():
    "Processor time of the processes that were started here and have ended, and of theirs."
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(code, command, portfolio, real):
    "Seconds and processor seconds of a command, by the code in a folder."
    environment = os.environ | dict(PYTHONPATH=str(code), DO_NOT_TRACK="1")
    if real:
        environment["CREDIT_DEFAULT_DATA"] = str(Path(environment["CREDIT_DEFAULT_DATA"]).resolve())
    else:
        environment.pop("CREDIT_DEFAULT_DATA", None)
    with tempfile.TemporaryDirectory() as place:
        environment["BENTOML_HOME"] = str(Path(place, "bentoml"))
        before, began = processor_seconds(), time.monotonic()
        done = subprocess.run(
            [*COMMAND, *command, "--portfolio", portfolio],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
        )
        seconds = time.monotonic() - began
    if done.returncode not in (0, NOT_MET):
        sys.exit(done.stderr)
    return dict(seconds=seconds, processor=processor_seconds() - before)


def in_turns(folders, names, portfolio, rounds):
    "One row a run: command, round, commit, seconds, processor."
    turns = [(n, i, commit) for n in names for i in range(rounds) for commit in folders]
    for name, number, commit in tqdm(turns, unit="run"):
        found = measured(folders[commit], COMMANDS[name], portfolio, name != "run")
        yield dict(command=name, round=number, commit=commit) | found


def compared(rows, a, b):
    "One row a command: the medians of both commits, and the ratios B : A of the rounds."
    for name, table in pd.DataFrame(rows).groupby("command", sort=False):
        row = dict(command=name)
        for what in ("seconds", "processor"):
            by_round = table.pivot(index="round", columns="commit", values=what)
            ratios = sorted(by_round[b] / by_round[a])
            row |= {
                f"{what}_a": by_round[a].median(),
                f"{what}_b": by_round[b].median(),
                f"{what}_ratio": median(ratios),
                f"{what}_ratios": " ".join(f"{ratio:.3f}" for ratio in ratios),
            }
        yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("commits", nargs=2, metavar="COMMIT")
    parser.add_argument("--commands", nargs="+", default=["quick", "run"], choices=list(COMMANDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--portfolio", default="gmsc")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    a, b = given.commits
    if a == b:
        parser.error("two names are needed, also for one commit (such as main and HEAD)")
    source = find(get_portfolio(given.portfolio))
    if source.kind != "environment" and set(given.commands) != {"run"}:
        parser.error("set CREDIT_DEFAULT_DATA to the data's folder, or measure `--commands run`")
    with tempfile.TemporaryDirectory() as folder:
        folders = {
            commit: unpacked(commit, Path(folder, name)) for name, commit in (("a", a), ("b", b))
        }
        rows = list(in_turns(folders, given.commands, given.portfolio, given.rounds))
    table = pd.DataFrame(compared(rows, a, b))
    print(table.to_string(index=False, float_format="{:.3f}".format))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
