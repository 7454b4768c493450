"""Do the reasons name what moved the PD? Held against Shapley values of the fields by sampling.

Takes the holdout's declined applicants of stored models. The reference replaces fields of other
applicants of the holdout by the applicant's, in random orders and their reverses, and computes the
margin anew each time, derived features and imputation included. It is repeated once: two samples
agree in so many first reasons, and no method can be held to more. The cost is paired: with and
without the bundle's reference population in turns, the median of the rounds.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from credit_default.core.paths import portfolio_home
from credit_default.portfolio.columns import parse_table
from credit_default.portfolio.values import Columns
from credit_default.scoring.bundle import Bundle
from credit_default.scoring.features import Clean
from credit_default.scoring.reasons import ReasonFinder
from credit_default.scoring.registry import load_bundle
from credit_default.training.champion import add_background


def some_rows(columns: Columns, rows: np.ndarray) -> Columns:
    return {name: values[rows] for name, values in columns.items()}


def hybrids(
    bundle: Bundle, clean: Clean, mine: np.ndarray, theirs: np.ndarray, x: np.ndarray
) -> Clean:
    "Return rows `mine` where `x` (n, fields) is true, and rows `theirs` elsewhere."
    features = bundle.members[0].features
    k = x[:, [bundle.names.index(f.name) for f in features.numeric]]
    c = x[:, [bundle.names.index(f.name) for f in features.categories]]
    return Clean(
        *(
            np.where(taken, part[mine], part[theirs])
            for taken, part in (
                (k, clean.values),
                (k, clean.coded),
                (k, clean.stated),
                (c, clean.levels),
            )
        )
    )


def shapley_by_sampling(
    bundle: Bundle, clean: Clean, rows: np.ndarray, population: np.ndarray, pairs: int, seed: int
) -> np.ndarray:  # (rows, fields) in log-odds before calibration
    "Return the fields' Shapley values against a population, by orders and their reverses."
    rng, fields, found = np.random.default_rng(seed), len(bundle.names), []
    for row in rows:
        order = rng.permuted(np.tile(np.arange(fields), (pairs, 1)), axis=1)
        rank = np.argsort(np.stack([order, order[:, ::-1]], axis=1), axis=2)
        changed = rank[:, :, None, :] < np.arange(fields + 1)[:, None]
        theirs = np.repeat(rng.choice(population, pairs), 2 * (fields + 1))
        mine = np.full(len(theirs), row)
        tried = hybrids(bundle, clean, mine, theirs, changed.reshape(-1, fields))
        margins = bundle.margin(bundle.matrices(tried)).reshape(pairs, 2, fields + 1)
        steps = np.take_along_axis(np.diff(margins, axis=2), rank, axis=2)
        found.append(steps.mean(axis=(0, 1)))
    return np.array(found)


def first_reasons(bundle: Bundle, contributions: np.ndarray, columns: Columns) -> np.ndarray:
    everybody = np.ones(len(contributions), bool)  # all of them are declined
    answers = ReasonFinder(bundle.portfolio, bundle.names).raised(contributions, columns, everybody)
    return np.array([reasons[0]["code"] if reasons else "" for reasons in answers])


def agreement(bundle: Bundle, columns: Columns, applicants: int, pairs: int) -> dict[str, float]:
    "Return in how many of the declined the first reason is that of the reference."
    declined = np.flatnonzero(bundle.score(columns, reasons=False).prediction == 1)
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(declined, min(applicants, len(declined)), replace=False))
    n, own = len(next(iter(columns.values()))), some_rows(columns, rows)
    rest = np.setdiff1d(np.arange(n), rows)
    if bundle.background is None:
        bundle = add_background(bundle, some_rows(columns, rest), 0)
    clean = bundle.clean(columns)
    both = [shapley_by_sampling(bundle, clean, rows, rest, pairs, seed) for seed in (1, 2)]
    first = [first_reasons(bundle, values, own) for values in both]
    wanted = first_reasons(bundle, sum(both) / 2, own)
    out = dict(applicants=len(rows), replicates=float((first[0] == first[1]).mean()))
    for name, one in (("before", replace(bundle, background=None)), ("after", bundle)):
        _, contributions = one.explain(one.clean(own))
        out[name] = float((first_reasons(one, contributions, own) == wanted).mean())
    return out


def paired_cost(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    "Return the median microseconds of calls that take turns."
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            spent[name].append(1e6 * (time.perf_counter() - begin))
    return {name: float(np.median(values)) for name, values in spent.items()}


def costs(bundle: Bundle, columns: Columns) -> dict[str, float]:
    "Return the cost after as a multiple of that before."
    if bundle.background is None:
        bundle = add_background(bundle, columns, 0)
    before, out = replace(bundle, background=None), {}
    for rows, rounds in ((1, 500), (1000, 9)):
        some = some_rows(columns, np.arange(rows))
        clean = bundle.clean(some)
        for what, call in (
            ("reasons", lambda b, some=some: b.score(some)),
            ("contributions", lambda b, clean=clean: b.explain(clean)),
        ):
            call(before), call(bundle)
            pair = {"before": lambda c=call: c(before), "after": lambda c=call: c(bundle)}
            spent = paired_cost(pair, rounds)
            name = f"{what}, {rows} at a time"
            out[f"{name}: us before"] = spent["before"] / rows
            out[f"{name}: us after"] = spent["after"] / rows
            out[f"{name}: times"] = spent["after"] / spent["before"]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tags", nargs="+", help="tags of stored models, as `models list` shows")
    parser.add_argument("--applicants", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=512, help="orders with their reverses")
    options, table = parser.parse_args(), {}
    for tag in options.tags:
        name, version = tag.removeprefix("credit_default_").split(":")
        bundle = load_bundle(tag, name)
        frame = pd.read_parquet(portfolio_home(name) / version / "reference.parquet")
        fields = [f.name for f in bundle.portfolio.fields if f.name in frame]
        columns = parse_table(bundle.portfolio, {f: frame[f].tolist() for f in fields})
        compared = {}
        if options.applicants:
            compared = agreement(bundle, columns, options.applicants, options.pairs)
        table[tag] = compared | costs(bundle, columns)
        print(pd.Series(table[tag], name=tag).round(3).to_string(), flush=True)


if __name__ == "__main__":
    main()
