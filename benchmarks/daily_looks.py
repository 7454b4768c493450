"""Count the simulated years in which somebody who looks every day calls a challenger better.

    python benchmarks/daily_looks.py [--years 400] [--found-years 40] [--json FILE]

Two models see the risk of the same made-up applicants, each through noise of its own. In the first
kind of year they see it equally well, and whoever finds a winner is wrong: the sequential intervals
may do so in at most 7.5 % of the years (nominal: 5 %). In the second kind the challenger's AUC is
0.005 higher, which should be found. The run fails where one of the two does not hold.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from credit_default.core.numeric import pd_of
from credit_default.evaluation.discrimination import auc_difference
from credit_default.evaluation.sequential import overall_verdict, sequential_differences

DAYS = 365
NOISE = 0.35  # of the champion
BETTER_NOISE = 0.285  # of a challenger whose AUC is 0.005 higher
MOST_WRONG, LEAST_FOUND = 0.075, 0.8  # shares of the years


def simulated_year(loans_a_day, challenger_noise, seed):
    "Outcomes of a year in order, and the PDs of two models that are calibrated; 9.8 % default."
    rng = np.random.default_rng(seed)
    n = DAYS * loans_a_day
    risk = rng.normal(size=n)
    y = (rng.random(n) < pd_of(-2.9 + 1.4 * risk)).astype(int)
    pds = []
    for noise in (NOISE, challenger_noise):
        seen = (risk + noise * rng.normal(size=n)) / (1 + noise**2)
        unseen = 1.96 * noise**2 / (1 + noise**2)  # variance of the log-odds given what is seen
        pds.append(pd_of((-2.9 + 1.4 * seen) / np.sqrt(1 + np.pi * unseen / 8)))
    return y, *pds


def sequential(y, p, q):
    "Whether the sequential intervals call the challenger better."
    return overall_verdict(sequential_differences(y, p, q)) == "challenger better"


def ordinary(y, p, q):
    "Whether the ordinary 95 % interval of the AUC's difference does."
    return 2 <= y.sum() <= len(y) - 2 and auc_difference(y, q, p).low > 0


def day_found(year, decide, loans_a_day, every=1):
    "The first day on which a look calls the challenger better; None where none does."
    for day in range(every, DAYS + 1, every):
        if decide(*(values[: day * loans_a_day] for values in year)):
            return day
    return None


def share_found(decide, years, loans_a_day, noise, every=1):
    "The share of the years in which the challenger is called better, and the median day."
    days = [
        day_found(simulated_year(loans_a_day, noise, seed), decide, loans_a_day, every)
        for seed in range(years)
    ]
    found = [day for day in days if day is not None]
    return dict(
        years=years,
        loans_a_day=loans_a_day,
        looks_every_days=every,
        share=len(found) / years,
        median_day=float(np.median(found)) if found else None,
    )


def main():
    "Run the years, print the shares, and return the exit code."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--years", type=int, default=400, help="without a difference")
    parser.add_argument("--found-years", type=int, default=40, help="with a better challenger")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    figures = {
        "equal, sequential": share_found(sequential, options.years, 30, NOISE),
        "equal, ordinary": share_found(ordinary, options.found_years, 30, NOISE),
        "better, sequential": share_found(sequential, options.found_years, 250, BETTER_NOISE, 7),
    }
    for name, figure in figures.items():
        print(f"{name}: called better in {figure['share']:.1%} of {figure['years']} years")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    is_right = figures["equal, sequential"]["share"] <= MOST_WRONG
    return int(not (is_right and figures["better, sequential"]["share"] >= LEAST_FOUND))


if __name__ == "__main__":
    sys.exit(main())
