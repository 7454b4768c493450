"""Compare the PSI of `credit_default.scoring.reference` with OptBinning's, on the same bins.

    python benchmarks/psi_peers.py [--rows 20000] [--json FILE]

Two comparisons are made on the portfolios' synthetic samples; in the current one, incomes are a
fifth lower. The first applies OptBinning's divergence to the shares in our bins of each field. The
second runs OptBinning's own scorecard and `ScorecardMonitoring`, and recomputes its PSI with our
code in its bins of the score. The PSIs agree to 1e-12 unless a bin is empty; the benchmark fails if
they do not.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from optbinning import BinningProcess, Scorecard
from optbinning.binning.metrics import jeffrey
from optbinning.binning.prebinning import PreBinning
from optbinning.scorecard import ScorecardMonitoring
from sklearn.linear_model import LogisticRegression

from credit_default.data.synthetic import synthesize
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.columns import parse_table
from credit_default.scoring.bins import fit_bins
from credit_default.scoring.psi import psi
from credit_default.scoring.reference import Reference

INCOME = dict(gmsc="MonthlyIncome", personal="person_income")
APART = 1e-12
QUANTILES = dict(method="quantile", n_bins=12, min_bin_size=0.05)


def samples(name, rows):
    "A reference and a current sample of a portfolio as frames, and the outcomes of both."
    (before, y_before, _), (now, y_now, _) = (
        synthesize(SHIPPED[name], rows, seed=seed) for seed in (1, 2)
    )
    return before, y_before, now.assign(**{INCOME[name]: (now[INCOME[name]] * 0.8).round()}), y_now


def by_field(name, before, now):
    "Ours and theirs for each field of a portfolio, and for how many bins no share is empty."
    portfolio = SHIPPED[name]
    reference = Reference.fit(
        parse_table(portfolio, before),
        codes={f.name: tuple(f.codes) for f in portfolio.fields if f.codes},
        categories={f.name: f.categories for f in portfolio.fields if not f.numeric},
    )
    counts = reference.counts(parse_table(portfolio, now))
    for row in reference.compare_counts(counts):
        p, q = (
            reference.bins[row.field].shares,
            counts[row.field] / counts[row.field].sum(),
        )
        both = (p > 0) | (
            q > 0
        )  # a bin that is empty in both samples is no bin to OptBinning, and adds nothing to ours
        whole = bool(((p > 0) & (q > 0))[both].all())
        yield dict(
            what=f"{name}: {row.field}",
            bins=int(both.sum()),
            ours=row.psi,
            theirs=float(jeffrey(q[both], p[both], return_sum=True)) if whole else None,
        )


def of_a_score(name, before, y_before, now, y_now):
    "OptBinning's scorecard and its monitoring, and the same bins of the same scores with ours."
    fields = [f.name for f in SHIPPED[name].fields if f.numeric]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # scikit-learn's and pandas' about calls that OptBinning makes
        card = Scorecard(
            BinningProcess(fields),
            LogisticRegression(),
            scaling_method="min_max",
            scaling_method_params=dict(min=300, max=900),
        ).fit(before[fields], y_before)
        monitoring = ScorecardMonitoring(
            card,
            psi_method=QUANTILES["method"],
            psi_n_bins=QUANTILES["n_bins"],
            psi_min_bin_size=QUANTILES["min_bin_size"],
        )
        monitoring.fit(now[fields], y_now, before[fields], y_before)
        *table, total = monitoring.psi_table().to_dict("records")
        then, current = (
            np.asarray(card.score(frame[fields]), dtype=float) for frame in (before, now)
        )
        edges = PreBinning(problem_type="classification", **QUANTILES).fit(then, y_before).splits
    bins = fit_bins("score", then, edges=edges)
    counts = bins.counts(current)
    assert [(r["Count A"], r["Count E"]) for r in table] == list(
        zip(counts.tolist(), bins.reference[:-1], strict=True)
    ), "the bins are not the same"
    return dict(
        what=f"{name}: OptBinning's score",
        bins=len(table),
        ours=psi(bins.shares, counts / counts.sum()),
        theirs=float(total["PSI"]),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    for name in INCOME:
        before, y_before, now, y_now = samples(name, asked.rows)
        rows += [*by_field(name, before, now), of_a_score(name, before, y_before, now, y_now)]
    table = pd.DataFrame(rows)
    table["apart"] = (table.ours - table.theirs).abs()
    print(
        table.to_string(
            index=False,
            na_rep="a bin is empty",
            formatters=dict(ours="{:.6f}".format, apart="{:.1e}".format),
        )
    )
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1))
    compared = table.apart.dropna()
    print(f"\n{len(compared)} of {len(table)} compared; largest difference {compared.max():.1e}")
    sys.exit(int(compared.empty or compared.max() > APART))


if __name__ == "__main__":
    main()
