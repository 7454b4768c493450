"""What would have to change? Counterfactuals of the holdout's declined applicants, each verified.

Asks the stored model for up to 1,000 declined applicants of its holdout, and scores each answer
again as any applicant is: the changes alone, written into the applicant. Prints how many have one,
how many fields it takes, which fields they are, and what one applicant costs.
"""

import argparse
import time

import numpy as np
import pandas as pd

from credit_default.data.loading import load
from credit_default.data.sources import find
from credit_default.data.split import split
from credit_default.portfolio.columns import find_refused
from credit_default.portfolio.values import Columns
from credit_default.scoring.bundle import Bundle
from credit_default.scoring.changes import with_changes
from credit_default.scoring.counterfactuals import (
    Counterfactual,
    Counterfactuals,
    find_counterfactuals,
)
from credit_default.scoring.moves import ChangeFinder
from credit_default.scoring.registry import load_bundle


def row_of(columns: Columns, i: int) -> Columns:
    return {name: values[[i]] for name, values in columns.items()}


def is_verified(bundle: Bundle, row: Columns, one: Counterfactual) -> bool:
    "Return whether the service would approve the applicant with these changes, and accept them."
    portfolio = bundle.portfolio
    new = {
        c.field: np.array([c.after], float if portfolio[c.field].numeric else object)
        for c in one.changes
    }
    after = with_changes(portfolio, row, new)
    accepted = not list(find_refused(portfolio, after, bundle.keep))
    return accepted and bundle.score(after).decision == ["Approved"]


def report(bundle: Bundle, rows: list[Columns], found: list[Counterfactuals]) -> None:
    "Print the figures."
    portfolio = bundle.portfolio
    pairs = [(row, one) for row, each in zip(rows, found) for one in each.found]
    flipped = sum(is_verified(bundle, row, one) for row, one in pairs)
    changed = [c.field for _, one in pairs for c in one.changes]
    fixed = sum(not portfolio[name].changeable for name in changed)
    fewest = [len(each.found[0].changes) if each.found else 0 for each in found]
    share = pd.Series(fewest).value_counts(normalize=True).sort_index()
    print(f"applicants with a counterfactual: {np.mean(np.array(fewest) > 0):.1%}")
    print("fields that the first one changes (0: none was found):")
    print(share.map("{:.1%}".format).to_string())
    print(f"alternatives: {len(pairs):,}, of which approved when scored again: {flipped:,}")
    print(f"changes of a field that is not changeable: {fixed}")
    print("fields, in how many alternatives:")
    print(pd.Series(changed).value_counts().to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tag", help="a stored model, trained on data with outcomes")
    parser.add_argument("--applicants", type=int, default=1000)
    options = parser.parse_args()
    bundle = load_bundle(options.tag, options.tag.split(":")[0].removeprefix("credit_default_"))
    loans = load(bundle.portfolio, find(bundle.portfolio))
    columns = split(loans)[1].columns
    declined = np.flatnonzero(bundle.score(columns, reasons=False).prediction)
    chosen = np.random.default_rng(0).permutation(declined)[: options.applicants]
    rows, finder = [row_of(columns, i) for i in np.sort(chosen)], ChangeFinder(bundle)
    find_counterfactuals(finder, rows[0])  # what is computed once
    begin = time.process_time()
    found = [find_counterfactuals(finder, row) for row in rows]
    cost = 1000 * (time.process_time() - begin) / len(rows)
    print(f"{bundle.tag}: {len(rows):,} of {len(declined):,} declined, {len(loans):,} loans")
    report(bundle, rows, found)
    print(f"processor time of an applicant: {cost:.1f} ms")


if __name__ == "__main__":
    main()
