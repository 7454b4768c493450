"""Compare `credit-default train` with LightGBM's defaults on rows that neither has seen.

    python benchmarks/holdout.py --portfolio gmsc [--seeds 0 1 2]
    python benchmarks/holdout.py --portfolio mortgage [--keep credit_type,property_value,LTV,dtir1]

The portfolio's labelled rows (in CREDIT_DEFAULT_DATA or data/) are split into 80 and 20 percent, at
random or, if the loans have dates, into the earlier and the latest. `credit-default train` is run
on the first part and `credit-default evaluate --json` on the second. LightGBM is fitted with its
default settings on the raw columns of the same 80 percent, without those that the portfolio
excludes. `--keep` gives lender or leaky fields to both. Training holds out another fifth of its
rows for its own report; LightGBM gets all of them.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from credit_default.data.outcome import parse_dates, parse_outcome
from credit_default.data.sources import find, read_table
from credit_default.evaluation.calibration_errors import ece
from credit_default.evaluation.discrimination import auc, auc_difference
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.portfolio.columns import parse_table

COMMAND = [sys.executable, "-c", "from credit_default.cli.app import main; main()"]
CHECKS_NOT_MET = 5  # exit code of `train`: trained, but no champion


def lightgbm_pds(portfolio, keep, train, test):
    "PDs of LightGBM as it comes, on the raw fields that a model may see."

    def matrix(table):
        columns = parse_table(portfolio, table)
        return pd.DataFrame(
            {
                f.alias: pd.Categorical(columns[f.name], categories=f.categories)
                if not f.numeric
                else columns[f.name]
                for f in portfolio.inputs(keep)
            }
        )

    model = lightgbm.LGBMClassifier(n_jobs=2, verbose=-1).fit(
        matrix(train), parse_outcome(portfolio, train[portfolio.target].tolist())
    )
    return model.predict_proba(matrix(test))[:, 1]


def ece_by_chance(pds, draws=1000):
    "The ECE that nineteen in twenty draws of the outcomes stay below, if these PDs are true."
    rng = np.random.default_rng(0)
    return float(
        np.quantile(
            [ece((rng.random(len(pds)) < pds).astype(int), pds) for _ in range(draws)], 0.95
        )
    )


def once(portfolio, name, table, seed, preset, keep):
    "One split: the figures of `evaluate`, LightGBM's AUC and the seconds that training took."
    if portfolio.date:
        table = table.iloc[
            parse_dates(portfolio, table[portfolio.date].tolist()).argsort(kind="stable")
        ]
        train, test = table.iloc[: round(0.8 * len(table))], table.iloc[round(0.8 * len(table)) :]
    else:
        train, test = train_test_split(
            table, test_size=0.2, stratify=table[portfolio.target], random_state=seed
        )
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{part}.csv" for part in ("train", "test")]
        for path, part in zip(paths, (train, test), strict=True):
            part.to_csv(path, index=False)
        environment = os.environ | {"BENTOML_HOME": f"{folder}/bentoml", "DO_NOT_TRACK": "1"}
        kept = ["--keep", ",".join(keep)] if keep else []
        began = time.monotonic()
        trained = subprocess.run(
            [
                *COMMAND,
                "train",
                "--portfolio",
                name,
                "--path",
                str(paths[0]),
                "--preset",
                preset,
                *kept,
            ],
            check=False,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        if trained.returncode not in (0, CHECKS_NOT_MET):
            raise SystemExit(trained.stdout)
        [tag] = re.findall(r"^model: +(\S+)", trained.stdout, flags=re.M)
        seconds = time.monotonic() - began
        scored = Path(folder) / "scored.csv"
        subprocess.run(
            [*COMMAND, "score", str(paths[1]), str(scored), "--portfolio", name, "--model", tag],
            check=True,
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        pds = pd.read_csv(
            scored, usecols=["probability_default"], float_precision="round_trip"
        ).probability_default.to_numpy()
        told = subprocess.run(
            [*COMMAND, "evaluate", str(paths[1]), "--portfolio", name, "--model", tag, "--json"],
            check=True,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
        )
    ours, y, theirs = (
        json.loads(told.stdout),
        parse_outcome(portfolio, test[portfolio.target].tolist()),
        lightgbm_pds(portfolio, keep, train, test),
    )
    ahead = auc_difference(y, pds, theirs)
    return dict(
        seed=seed,
        n=ours["n"],
        auc=ours["auc"],
        lightgbm=auc(y, theirs),
        ahead=ahead.difference,
        low=ahead.low,
        high=ahead.high,
        mean_pd_over_rate=ours["mean_pd"] / ours["default_rate"],
        ece=ours["ece"],
        ece_by_chance=ece_by_chance(pds),
        slope=ours["calibration_slope"],
        seconds=round(seconds, 1),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--portfolio", default="gmsc")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--preset", default="quick")
    parser.add_argument(
        "--keep", default="", help="lender or leaky fields to use, separated by commas"
    )
    asked = parser.parse_args()
    portfolio = get_portfolio(asked.portfolio)
    source = find(portfolio)
    if source.path is None:
        sys.exit(source.message)
    table = read_table(source.path, portfolio)
    table[portfolio.target] = table[portfolio.target].astype(str)
    rows = [
        once(
            portfolio,
            asked.portfolio,
            table,
            seed,
            asked.preset,
            tuple(k for k in asked.keep.split(",") if k),
        )
        for seed in asked.seeds
    ]
    print(pd.DataFrame(rows).set_index("seed").round(4).to_string())


if __name__ == "__main__":
    main()
