"""A book of loans whose outcomes are known up to one day only, with the truth beside it."""

import numpy as np
import pandas as pd

from credit_default.portfolio.definition import Portfolio

FIRST, LAST = np.datetime64("2019-01-01"), np.datetime64("2022-12-31")  # four years
MONTHS = 24
CARDS = Portfolio.model_validate(
    dict(
        name="cards",
        title="Cards",
        description="Credit cards of a small bank",
        target="bad",
        default_definition="90 days late within two years",
        performance_window_months=MONTHS,
        date="opened",
        fields=[
            dict(name="income", title="Income", kind="number", required=True, hard=[0, None]),
            dict(name="late", title="Late payments", kind="integer", required=True),
            dict(name="use", title="Utilisation", kind="number", required=True, hard=[0, None]),
        ],
        synthetic=dict(
            intercept=-3.0,
            rows=2000,
            dates=["2019-01-01", "2022-12-31"],
            terms=[dict(field="late", coefficient=0.8)],
        ),
    )
)


def censored_book(n=30_000, seed=0):
    """Loans over four years. A loan that defaults does so on a day of its window, more often in its
    second year than in its first months, and the file knows of it if that is before the file's last
    day. Return the table as a lender has it, and (n,) the truth: whether it defaults in its window.
    """
    rng = np.random.default_rng(seed)
    days = (LAST - FIRST).astype(int) + 1
    opened = FIRST + np.sort(rng.integers(0, days, n))
    opened[-1] = LAST
    income, late = rng.lognormal(8, 0.5, n).round(2), rng.poisson(0.4, n)
    use = rng.beta(1.2, 2, n).round(4)
    z = -3.75 + 0.9 * late + 1.6 * use - 0.5 * (np.log(income) - 8)
    truth = rng.random(n) < 1 / (1 + np.exp(-z))
    wait = (730 * rng.beta(2.2, 1.3, n)).astype(int)  # days until the default
    known = truth & (opened + wait <= LAST)
    table = pd.DataFrame(dict(opened=opened.astype(str), income=income, late=late, use=use))
    return table.assign(bad=known.astype(int)), truth
