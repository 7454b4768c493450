"""How often the checks of a new model fail one whose PDs are all true, and one that is wrong.

    python benchmarks/checks.py [--models 400] [--wrong 40] [--first 0]

Each model is of a synthetic sample of gmsc of its own, whose true PDs are known. It is put to all
checks that look at outcomes: not to those of directions, which need a model and not only its PDs,
and not to the comparison with benchmark models, which has a tenth of the stated error for itself.
"""

import argparse
from collections import Counter

import numpy as np

from credit_default.core.numeric import pd_of
from credit_default.data.synthetic import synthesize
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.columns import parse_table
from credit_default.scoring.scorecard import Scorecard
from credit_default.training.checks.checking import check_model
from credit_default.training.checks.judged import JudgedModel, JudgedSide

TRAIN, HOLDOUT = 8000, 4000
GMSC = SHIPPED["gmsc"]


def noisy(x, columns):
    "Log-odds with an error of one for each applicant, as of a model that was fitted to noise."
    return x + np.random.default_rng(len(x)).normal(0, 1, len(x))


WRONG = {
    "PDs too low by a third": lambda x, columns: x - 0.4,
    "PDs too extreme": lambda x, columns: 1.4 * x + 1.0,
    "wrong for applicants of 60 and over": lambda x, columns: x + 1.2 * (columns["age"] >= 60),
    "overfitted: an error of 1 in the log-odds": noisy,
}


def simulated(seed, wrong=lambda x, columns: x):
    "Return a model that knows all log-odds, but for what `wrong` does to them."
    frame, y, true = synthesize(GMSC, TRAIN + HOLDOUT, seed=seed)
    columns, x = parse_table(GMSC, frame), np.log(true / (1 - true))
    sides, stated = [], []
    for part in (slice(TRAIN), slice(TRAIN, None)):
        own = {name: values[part] for name, values in columns.items()}
        # overfitting shows on new loans only
        stated.append(x[part] if wrong is noisy and part.start is None else wrong(x[part], own))
        sides.append(JudgedSide(own, y[part], pd_of(stated[-1])))
    scale = Scorecard(cut_off=0.1)
    score = scale.score(stated[-1])
    names = [f.name for f in GMSC.inputs()]
    rating = np.digitize(score, [500, 650, 750])
    return JudgedModel(GMSC, names, scale, *sides, score, rating, seed)


def failing(seed, wrong=lambda x, columns: x):
    "Return the checks that a model does not meet."
    return [c.question for c in check_model(simulated(seed, wrong)).checks if c.holds is False]


def binomial_range(n, p=0.05):
    "Return the middle 95 % of how many of n models fail, if each does with probability p."
    from scipy.stats import binom

    return int(binom.ppf(0.025, n, p)), int(binom.ppf(0.975, n, p))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=400)
    parser.add_argument("--wrong", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="seed of the first model")
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.models)
    by_check, failed = Counter(), 0
    for seed in seeds:
        found = failing(seed)
        by_check.update(found)
        failed += bool(found)
    low, high = binomial_range(len(seeds))
    print(
        f"true models: {failed} of {len(seeds)} fail a check ({failed / len(seeds):.2%}); the "
        f"binomial range of 5 % is {low} to {high}",
        flush=True,
    )
    for question, n in by_check.most_common():
        print(f"  {n:4} {question}", flush=True)
    for what, wrong in WRONG.items():
        found = [failing(seed, wrong) for seed in range(given.wrong)]
        most = Counter(q for one in found for q in one).most_common(3)
        print(
            f"{what}: {sum(map(bool, found))} of {len(found)} fail; most often {most}", flush=True
        )


if __name__ == "__main__":
    main()
