"""What the drift check finds and what it leaves alone: every scenario's own fields in windows of
1,000 applicants, nothing in small windows without drift.
"""

import numpy as np
import pytest

from credit_default.data.loading import load
from credit_default.data.scenario import (
    apply_scenario,
    draw_applicants,
    moved_fields,
    shifted_pd,
)
from credit_default.data.sources import find
from credit_default.data.split import split
from credit_default.data.synthetic import synthesize
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.columns import parse_table
from credit_default.scoring.psi import PSI_THRESHOLD
from credit_default.scoring.reference import Reference
from credit_default.scoring.scorecard import RATINGS, Scorecard, rating

WINDOWS, ENOUGH = (
    100,
    95,
)  # of 1,000 applicants; in so many of them exactly the shifted fields are named
SMALL, FALSE = 200, 16  # windows of 60, 200 and 500 applicants; at most so many false verdicts
OUTPUTS = ("probability_default", "credit_score", "rating")
SCENARIOS = [(p.name, s.name) for p in SHIPPED.values() for s in p.scenarios]


def outputs(pds):
    "What a perfect model of the sample would answer: it knows the true PD."
    scores = np.asarray(Scorecard(cut_off=0.1).score(np.log(pds / (1 - pds))), float)
    return dict(zip(OUTPUTS, (pds, scores, np.asarray(rating(scores), object))))


def reference_of(portfolio, columns):
    """Bins of a sample such as the holdout, as training makes them; with outputs where the columns
    have them.
    """
    categories = {f.name: f.categories for f in portfolio.fields if not f.numeric} | (
        {"rating": [band.rating for band in RATINGS]} if "rating" in columns else {}
    )
    return Reference.fit(
        columns,
        codes={f.name: tuple(f.codes) for f in portfolio.fields if f.codes},
        categories=categories,
    )


@pytest.fixture(scope="module")
def synthetic():
    """By portfolio: a reference of 30,000 synthetic rows, and the 100,000 other applicants that all
    windows are cut from.
    """
    made = {}
    for name, portfolio in SHIPPED.items():
        frame, _, pds = synthesize(portfolio, 30_000)
        made[name] = (
            reference_of(portfolio, parse_table(portfolio, frame) | outputs(pds)),
            draw_applicants(portfolio, 100_000)[0],
        )
    return made


def columns_after(portfolio, frame, scenario="none"):
    "Columns of applicants after a scenario, with the outputs."
    plan = portfolio.scenario(scenario)
    after = apply_scenario(portfolio, frame, plan)
    return parse_table(portfolio, after) | outputs(shifted_pd(portfolio, after, plan))


def cut(columns, n, times):
    "Windows of `n` rows, one after another: none has a row of another one."
    for i in range(times):
        yield {f: v[i * n : (i + 1) * n] for f, v in columns.items()}


def drawn(columns, n, times):
    "Windows of `n` rows by lot, where there are too few rows to cut them."
    size = len(next(iter(columns.values())))
    for i in range(times):
        rows = np.random.default_rng([n, i]).choice(size, n, replace=False)
        yield {f: np.asarray(v)[rows] for f, v in columns.items()}


def named(reference, windows):
    "Of each window, the fields (not outputs) that a comparison names."
    return [
        tuple(r.field for r in reference.compare(w) if r.drifted and r.field not in OUTPUTS)
        for w in windows
    ]


def false_verdicts(reference, windows):
    "In how many windows anything at all is named."
    return sum(any(r.drifted for r in reference.compare(w)) for w in windows)


@pytest.mark.parametrize("name, scenario", SCENARIOS)
def test_exactly_the_shifted_fields_are_named(synthetic, name, scenario):
    portfolio, (reference, pool) = SHIPPED[name], synthetic[name]
    found = named(reference, cut(columns_after(portfolio, pool, scenario), 1000, WINDOWS))
    assert found.count(moved_fields(portfolio, portfolio.scenario(scenario))) >= ENOUGH, set(found)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_small_window_is_not_drift(synthetic, name):
    reference, pool = synthetic[name]
    columns = columns_after(SHIPPED[name], pool)
    false = {n: false_verdicts(reference, cut(columns, n, SMALL)) for n in (60, 200, 500)}
    assert max(false.values()) <= FALSE, false


def test_a_model_raises_no_false_alarm(synthetic_bundle, synthetic):
    "The same with a model's own PD, score and rating, against the small holdout of that model."
    portfolio, (_, pool) = synthetic_bundle.portfolio, synthetic["gmsc"]
    columns = parse_table(portfolio, pool.iloc[:60_000])
    columns |= synthetic_bundle.score(columns, reasons=False).monitored()
    false = {
        n: false_verdicts(synthetic_bundle.reference, drawn(columns, n, SMALL))
        for n in (60, 200, 500)
    }
    assert max(false.values()) <= FALSE, false


@pytest.fixture(scope="module")
def read_real():
    "gmsc's holdout as reference, and the applicants without outcome; read once."
    kept = []

    def read():
        portfolio = SHIPPED["gmsc"]
        if not kept:
            _, holdout = split(load(portfolio, find(portfolio)))
            kept.extend(
                (
                    reference_of(portfolio, holdout.columns),
                    load(portfolio, find(portfolio, unlabelled=True), labelled=False).frame,
                )
            )
        return portfolio, *kept

    return read


@pytest.mark.parametrize("scenario", [s for p, s in SCENARIOS if p == "gmsc"])
def test_real_applicants_shifted(real_data, read_real, scenario):
    real_data("gmsc")
    portfolio, reference, current = read_real()
    plan = portfolio.scenario(scenario)
    found = named(
        reference,
        drawn(parse_table(portfolio, apply_scenario(portfolio, current, plan)), 1000, WINDOWS),
    )
    assert found.count(moved_fields(portfolio, plan)) >= ENOUGH, set(found)


def test_real_applicants_have_not_drifted(real_data, read_real):
    real_data("gmsc")
    portfolio, reference, current = read_real()
    columns = parse_table(portfolio, current)
    rows = reference.compare(columns)
    assert not any(r.drifted for r in rows) and max(r.psi for r in rows) < PSI_THRESHOLD / 10
    false = {n: false_verdicts(reference, drawn(columns, n, SMALL)) for n in (60, 200, 500)}
    assert max(false.values()) <= FALSE, false
