"""Scenarios change what they say they change, and nothing else."""

import numpy as np
import pytest

from credit_default.data.scenario import (
    apply_scenario,
    draw_applicants,
    moved_fields,
    shifted_pd,
)
from credit_default.data.synthetic import true_pd
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.portfolio.columns import find_refused, parse_table
from credit_default.portfolio.definition import Portfolio
from credit_default.portfolio.values import implausible_mask

CASES = [
    (name, scenario.name)
    for name in ("gmsc", "personal")
    for scenario in (get_portfolio(name).scenario("none"), *get_portfolio(name).scenarios)
]


def implausible(portfolio, frame):
    "Count the implausible values of each numeric field."
    fields = [f for f in portfolio.fields if f.numeric]
    return {f.name: implausible_mask(f, frame[f.name].to_numpy()).sum() for f in fields}


@pytest.mark.parametrize(("name", "scenario"), CASES)
def test_a_scenario_moves_its_fields_and_only_those(name, scenario):
    portfolio = get_portfolio(name)
    plan, people = portfolio.scenario(scenario), draw_applicants(portfolio, 5000, seed=2)[0]
    after = apply_scenario(portfolio, people, plan, seed=1)
    assert after.equals(apply_scenario(portfolio, people, plan, seed=1))
    changed = {column for column in people if not after[column].equals(people[column])}
    assert changed == set(moved_fields(portfolio, plan))


@pytest.mark.parametrize(("name", "scenario"), CASES)
def test_every_value_stays_within_what_its_field_allows(name, scenario):
    portfolio = get_portfolio(name)
    plan, people = portfolio.scenario(scenario), draw_applicants(portfolio, 5000, seed=2)[0]
    after = apply_scenario(portfolio, people, plan, seed=1)
    assert find_refused(portfolio, parse_table(portfolio, after)) == []
    before = implausible(portfolio, people)
    assert all(n <= before[field] for field, n in implausible(portfolio, after).items())


def test_codes_stay_what_they_are():
    gmsc = get_portfolio("gmsc")
    frame, late = draw_applicants(gmsc, 20_000)[0], "NumberOfTime30-59DaysPastDueNotWorse"
    coded = frame[late].isin([96, 98])
    after = apply_scenario(gmsc, frame, gmsc.scenario("recession"))
    assert coded.any() and after[late][coded].isin([96, 98]).all()


def test_a_recession_raises_the_true_pd_beyond_what_the_fields_show():
    gmsc = get_portfolio("gmsc")
    recession, (frame, pds) = gmsc.scenario("recession"), draw_applicants(gmsc, 20_000)
    after = apply_scenario(gmsc, frame, recession)
    by_fields = true_pd(gmsc, parse_table(gmsc, after))
    assert shifted_pd(gmsc, after, recession).mean() > by_fields.mean() + 0.03 > pds.mean() + 0.06


def test_without_a_logit_the_log_odds_are_added_to_the_pds_drawn():
    worse = dict(name="worse", title="Worse", log_odds=1)
    shop = Portfolio.model_validate(
        dict(
            name="shop",
            title="Shop",
            target="bad",
            fields=[dict(name="income", hard=(0, None))],
            scenarios=[worse],
        )
    )
    people, pds = draw_applicants(shop, 500)
    after = shifted_pd(shop, people, shop.scenario("worse"), pds=pds)
    log_odds = [np.log(p / (1 - p)) for p in (pds, after)]
    assert log_odds[1] - log_odds[0] == pytest.approx(1)
