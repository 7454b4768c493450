"""Compare our models with LightGBM's defaults, with and without the fields a portfolio excludes.

    python benchmarks/leakage.py [--portfolios mortgage personal] [--seeds 0 1 2]

There are two arms on the same rows: the portfolio as it ships, without lender and leaky fields; and
with those that most published figures use. Each arm is one run of `holdout.py`: `credit-default
train` and `credit-default evaluate` against LightGBM with its default settings, on a fifth of the
rows that neither has seen.
"""

import argparse
import json
import sys
from pathlib import Path

import pandas as pd
from holdout import once

from credit_default.data.sources import find, read_table
from credit_default.portfolio.catalogue import get_portfolio

KEPT = dict(
    mortgage="leaky", personal="lender"
)  # the role whose fields published figures rest on: of mortgage all but the three prices
MOST_ECE = 0.01


def arms(portfolio):
    "The fields to keep, by the arm's name."
    kept = [f.name for f in portfolio.fields if f.role == KEPT[portfolio.name]]
    return {"as it ships": (), f"{', '.join(kept)} kept": tuple(kept)}


def measured(name, seeds, preset):
    "One row for each arm and split."
    portfolio = get_portfolio(name)
    source = find(portfolio)
    if source.path is None:
        sys.exit(source.message)
    table = read_table(source.path, portfolio)
    for arm, keep in arms(portfolio).items():
        for seed in seeds:
            row = dict(portfolio=name, arm=arm) | once(portfolio, name, table, seed, preset, keep)
            print(
                f"{name}, {arm}, seed {seed}: {row['auc']:.4f}, LightGBM {row['lightgbm']:.4f}",
                file=sys.stderr,
                flush=True,
            )
            yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--portfolios", nargs="+", choices=list(KEPT), default=list(KEPT))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--preset", choices=["quick", "full"], default="quick")
    parser.add_argument("--json", metavar="FILE", help="write all figures with all digits")
    asked = parser.parse_args()
    rows = pd.DataFrame(
        [row for name in asked.portfolios for row in measured(name, asked.seeds, asked.preset)]
    )
    if asked.json:
        with Path(asked.json).open("w", encoding="utf-8") as file:
            json.dump(rows.to_dict("records"), file, indent=1)
    shown = [
        "portfolio",
        "arm",
        "seed",
        "n",
        "auc",
        "lightgbm",
        "ahead",
        "low",
        "high",
        "ece",
        "ece_by_chance",
        "mean_pd_over_rate",
        "slope",
        "seconds",
    ]
    print(rows[shown].round(4).to_string(index=False))
    means = rows.groupby(["portfolio", "arm"], sort=False)[
        ["auc", "lightgbm", "ahead", "ece"]
    ].mean()
    print("", means.round(4).to_string(), "", sep="\n")
    worth = means.auc.groupby(level="portfolio", sort=False).agg(
        lambda aucs: aucs.iloc[-1] - aucs.iloc[0]
    )
    for name, gain in worth.items():
        print(f"{name}: the fields that are kept are worth {gain:+.4f} of AUC")
    print(
        f"not below LightGBM, in the mean of the splits of each arm: "
        f"{'met' if (means.ahead >= 0).all() else 'NOT met'}"
    )
    print(
        f"ECE at most {MOST_ECE}: {'met' if (rows.ece <= MOST_ECE).all() else 'NOT met'}; within "
        f"what chance gives true PDs: "
        f"{'met' if (rows.ece <= rows.ece_by_chance).all() else 'NOT met'}"
    )


if __name__ == "__main__":
    main()
