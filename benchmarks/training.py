"""Measure time and peak memory of a trial and of `train` with both presets, by number of rows.

    python benchmarks/training.py [--portfolio gmsc] [--rows 12000 60000 120000] [--presets quick
    full]

The rows are drawn at random (stratified by outcome, seeded) from the portfolio's labelled file (in
CREDIT_DEFAULT_DATA or data/). A trial is one recipe fitted and evaluated on three folds, features
and imputation included. LightGBM with its defaults on the same folds is the yardstick for comparing
machines. Memory is the peak of the command and all its children together, with shared pages counted
once.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import lightgbm
import pandas as pd
import psutil
from sklearn.metrics import roc_auc_score

from credit_default.data.dataset import from_table
from credit_default.data.sources import find, read_table
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.training.folds import Folds
from credit_default.training.search_space import default_recipes

COMMAND = [sys.executable, "-c", "from credit_default.cli.app import main; main()"]


def sample(table, target, rows):
    "So many rows of the table, with its default rate."
    if rows >= len(table):
        return table
    return pd.concat(
        [
            part.sample(round(len(part) * rows / len(table)), random_state=0)
            for _, part in table.groupby(target)
        ]
    ).sample(frac=1, random_state=0)


def memory(process):
    "Bytes that a process and its children hold, shared pages divided among those who share them."
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            info = one.memory_full_info()
            total += getattr(info, "pss", info.rss)
        except psutil.Error:
            pass  # it has ended
    return total


def run(command, **how):
    "Seconds that a command takes, and the peak of its memory in MiB."
    began, peak = time.monotonic(), [0]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **how)
    watched = psutil.Process(process.pid)

    def watch():
        while process.poll() is None:
            try:
                peak[0] = max(peak[0], memory(watched))
            except psutil.Error:
                return
            time.sleep(0.5)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    if process.wait():
        sys.exit(f"{' '.join(command[3:])} failed")
    watcher.join()
    return time.monotonic() - began, peak[0] / 2**20


def trials(portfolio, table):
    "Seconds of the first trial of each kind of model, and of LightGBM on the same folds."
    dataset = from_table(portfolio, table)
    for recipe in {r.candidate: r for r in reversed(default_recipes(portfolio))}.values():
        began = time.monotonic()
        folds = Folds(portfolio, dataset.frame, dataset.y)
        auc = sum(folds.auc(k, recipe) for k in range(len(folds))) / len(folds)
        yield f"trial: {recipe.candidate}", time.monotonic() - began, auc
    folds = Folds(portfolio, dataset.frame, dataset.y)
    began = time.monotonic()
    aucs = []
    for k, (train, valid) in enumerate(folds.splits):
        X, X_valid = folds.matrices(k, "none", False)
        aucs.append(
            roc_auc_score(
                folds.y[valid],
                lightgbm.LGBMClassifier(n_jobs=2, verbose=-1)
                .fit(X, folds.y[train])
                .predict(X_valid, raw_score=True),
            )
        )
    yield "LightGBM, the yardstick", time.monotonic() - began, sum(aucs) / len(aucs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--portfolio", default="gmsc")
    parser.add_argument("--rows", type=int, nargs="+", default=[12_000, 60_000, 120_000])
    parser.add_argument(
        "--presets", nargs="*", default=["quick", "full"], choices=["quick", "full"]
    )
    asked = parser.parse_args()
    portfolio = get_portfolio(asked.portfolio)
    source = find(portfolio)
    if source.path is None:
        sys.exit(source.message)
    table = read_table(source.path)
    rows = []
    for n in asked.rows:
        part = sample(table, portfolio.target, n)
        for what, seconds, auc in trials(portfolio, part):
            rows.append(dict(rows=len(part), what=what, seconds=seconds, auc=auc))
        with tempfile.TemporaryDirectory() as folder:
            part.to_csv(Path(folder) / "loans.csv", index=False)
            for preset in asked.presets:
                print(f"train --preset {preset} on {len(part):,} rows", file=sys.stderr, flush=True)
                seconds, peak = run(
                    [
                        *COMMAND,
                        "train",
                        "--portfolio",
                        asked.portfolio,
                        "--path",
                        "loans.csv",
                        "--preset",
                        preset,
                    ],
                    cwd=folder,
                    env=os.environ | {"BENTOML_HOME": f"{folder}/bentoml", "DO_NOT_TRACK": "1"},
                )
                rows.append(
                    dict(
                        rows=len(part),
                        what=f"train --preset {preset}",
                        seconds=seconds,
                        peak_mib=peak,
                    )
                )
    table = pd.DataFrame(rows)
    yardstick = table[table.what.str.startswith("LightGBM")].set_index("rows").seconds
    table["times_lightgbm"] = table.seconds / table.rows.map(yardstick)
    print(
        table.to_string(
            index=False,
            formatters=dict(
                seconds="{:.1f}".format,
                peak_mib=lambda v: "" if v != v else f"{v:.0f}",
                auc=lambda v: "" if v != v else f"{v:.4f}",
                times_lightgbm="{:.1f}".format,
            ),
        )
    )


if __name__ == "__main__":
    main()
