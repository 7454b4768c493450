"""Monitoring over a real log, in SQLite and PostgreSQL: the figures of other chapters, windows cut
by hand, a process of its own.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import numpy as np
import psutil
import pytest
import uvloop
from dateutil.relativedelta import relativedelta
from postgres import PASSWORD
from served import applicants, as_sent

from credit_default.data.synthetic import synthesize
from credit_default.evaluation.discrimination import auc_interval
from credit_default.evaluation.intervals import jeffreys_interval
from credit_default.evaluation.metrics import compute_metrics
from credit_default.evaluation.tables import rating_table
from credit_default.monitoring.backtest import (
    FEWER,
    FITS,
    MIN_OUTCOMES,
    MORE,
    TOO_FEW,
    UNJUDGED,
    backtest_groups,
)
from credit_default.monitoring.drift import (
    NO_PREDICTIONS,
    MonitoringError,
    detect_drift,
)
from credit_default.monitoring.performance import measure_performance
from credit_default.monitoring.process import (
    CheckAnswer,
    Checker,
    CheckTimeout,
    DriftTask,
    PerformanceTask,
    run_in_process,
    run_task,
)
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.columns import parse_table
from credit_default.scoring.psi import psi_severity
from credit_default.scoring.reference import Reference
from credit_default.scoring.scorecard import RATINGS
from credit_default.serving.active_model import log_rows
from credit_default.store.errors import SCHEMA, UNOPENED, UNREACHED, DatabaseUnavailable
from credit_default.store.predictions import Entry
from credit_default.store.store import Store

GMSC = SHIPPED["gmsc"]
TAG, OTHER = "credit_default_gmsc:0a1b2c3d4e5f6071", "credit_default_gmsc:ffffffffffffffff"


def detect(*args, **options):
    "Drift, as the endpoint answers it."
    return detect_drift(*args, **options).to_dict()


def performance(*args, **options):
    "Performance, as the endpoint answers it."
    return measure_performance(*args, **options).to_dict()


COMPARED = ("psi", "severity", "chance", "drifted", "missing_reference", "missing_current")
MARCH = datetime(2026, 3, 1, tzinfo=UTC)


def row(at, pd=0.05, tag=TAG, bins="", sent="{}", **other):
    "A prediction as the service would log it."
    score = int(np.clip(round(650 + 72.1 * (np.log((1 - pd) / pd) - np.log(20))), 300, 900))
    rating = [r.rating for r in RATINGS if score >= r.lowest][-1]
    return (
        dict(
            prediction_id=str(uuid.uuid4()),
            at=at,
            endpoint="predict",
            user_id="anna",
            username="anna",
            reference=None,
            portfolio="gmsc",
            model_version=tag,
            sent=sent,
            scored=sent,
            bins=bins,
            probability_default=pd,
            log_odds=float(np.log(pd / (1 - pd))),
            prediction=int(pd >= 0.3),
            credit_score=score,
            rating=rating,
            decision="Declined" if pd >= 0.3 else "Approved",
            reasons="[]",
            latency_ms=1.0,
            request_id="r",
        )
        | other
    )


def log(store, bundle, frame, times):
    "Score applicants, and log what the service would log."
    columns = parse_table(bundle.portfolio, frame)
    scores = bundle.score(columns, reasons=False)
    rows = log_rows(bundle, columns, scores, times[0], [None] * len(frame))
    store.predictions.append(
        [
            Entry(
                [
                    one
                    | dict(
                        at=at,
                        endpoint="csv",
                        user_id=None,
                        username=None,
                        latency_ms=1.0,
                        request_id="r",
                    )
                    for one, at in zip(rows, times)
                ]
            )
        ]
    )
    return columns | scores.monitored()


def without_time(answer):
    return {name: value for name, value in answer.items() if name != "checked_at"}


def check_json(answer):
    "It goes through JSON and back as it is, without NaN."
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer


# Drift


def test_drift_from_the_log_is_drift_of_the_applicants(store, url, synthetic_bundle):
    frame, _ = applicants(GMSC, 900, seed=5)
    frame.loc[frame.index[300:], "MonthlyIncome"] *= 0.4
    columns = log(store, synthetic_bundle, frame, [MARCH + timedelta(hours=i) for i in range(900)])
    store.predictions.append(
        [
            Entry(
                [
                    row(
                        MARCH + timedelta(hours=i),
                        tag=OTHER,
                        bins="0" * len(synthetic_bundle.reference.bins),
                    )
                    for i in range(0, 900, 100)
                ]
            )
        ]
    )
    for first, last in ((0, 900), (0, 300), (300, 900), (250, 251)):
        since, until = MARCH + timedelta(hours=first), MARCH + timedelta(hours=last)
        answer = detect(store, GMSC, synthetic_bundle.reference, synthetic_bundle.tag, since, until)
        expected = {
            r.field: r.to_dict()
            for r in synthetic_bundle.reference.compare(
                {name: values[first:last] for name, values in columns.items()}
            )
        }
        by_field = {
            GMSC[alias].name: found for alias, found in answer["features"].items()
        } | answer["outputs"]
        assert {f: {name: found[name] for name in COMPARED} for f, found in by_field.items()} == {
            f: {name: r[name] for name in COMPARED} for f, r in expected.items()
        }
        assert list(by_field) == list(synthetic_bundle.reference.bins)
        for name, found in by_field.items():
            bins = synthetic_bundle.reference.bins[name]
            now = bins.summarize(columns[name][first:last])
            assert (
                found["reference"] == bins.summary
                and found["reference"]
                and found["current"] == now
            )
        assert (
            answer["samples_analysed"],
            answer["samples_of_other_models"],
            answer["summary_rows"],
        ) == (last - first, -(-last // 100) - -(-first // 100), last - first)
        found = any(r["drifted"] for r in expected.values())
        assert answer["drift_detected"] == (found or (False if last - first >= 100 else None))
        shares = Counter(columns["rating"][first:last])
        assert {name: both["current"] for name, both in answer["ratings"].items()} == {
            r.rating: pytest.approx(shares[r.rating] / (last - first)) for r in RATINGS
        }
        check_json(answer)
        asked = DriftTask(
            url,
            GMSC,
            synthetic_bundle.reference,
            model_version=synthetic_bundle.tag,
            since=since,
            until=until,
        )
        assert without_time(run_task(asked).to_dict()) == without_time(answer)
    assert (
        answer["features"]["MonthlyIncome"]["current"] == {}
    )  # one applicant alone has no summary: it would be his income
    assert without_time(asyncio.run(run_in_process(asked)).to_dict()) == without_time(answer)


def test_what_another_reference_binned_is_left_out_and_counted(store, url):
    values = {"MonthlyIncome": np.arange(100.0), "age": np.arange(100.0)}
    reference = Reference.fit(values)
    bins = reference.encode(values)
    strange = [
        "",
        "0",
        "000",
        "0000",
        "0" * 40,
    ]  # of fewer fields, and of more; two fields of four are not two rows
    store.predictions.append(
        [
            Entry(
                [
                    row(
                        MARCH + timedelta(minutes=i),
                        bins=text,
                        sent='{"MonthlyIncome": 1e9}'
                        if text in strange
                        else '{"MonthlyIncome": 5}',
                    )
                    for i, text in enumerate(bins + strange)
                ]
            )
        ]
    )
    store.predictions.append([Entry([row(MARCH, tag=OTHER, bins="00")])])
    answer = detect(store, GMSC, reference, TAG)
    assert (
        answer["samples_analysed"],
        answer["samples_of_other_models"],
        answer["summary_rows"],
        answer["drift_detected"],
    ) == (100, 6, 100, False)
    assert (
        answer["features"]["MonthlyIncome"]["current"]["p95"] == 5
        and answer["features"]["age"]["psi"] == 0
    )
    only = detect(store, GMSC, reference, TAG, since=MARCH + timedelta(minutes=100))
    assert (only["samples_analysed"], only["samples_of_other_models"], only["verdict"]) == (
        0,
        5,
        NO_PREDICTIONS,
    )
    store.predictions.append(
        [Entry([row(MARCH, bins="zz")])]
    )  # as many fields, and bins that they do not have
    with pytest.raises(MonitoringError, match="another reference wrote them"):
        asyncio.run(run_in_process(DriftTask(url, GMSC, reference, model_version=TAG)))


def test_categories_and_a_portfolio_without_a_performance_window(store):
    personal = SHIPPED["personal"]
    columns = parse_table(personal, synthesize(personal, 600, seed=2)[0])
    later = parse_table(personal, synthesize(personal, 400, seed=3)[0])
    name = next(f.name for f in personal.fields if not f.numeric)
    later[name] = np.array(
        [None if i % 2 else value for i, value in enumerate(later[name])], dtype=object
    )
    reference = Reference.fit(
        columns,
        codes={f.name: tuple(f.codes) for f in personal.fields if f.codes},
        categories={f.name: f.categories for f in personal.fields if not f.numeric},
    )
    sent = as_sent(personal, later)
    rows = [
        row(
            MARCH + timedelta(minutes=i),
            bins=bins,
            portfolio="personal",
            sent=json.dumps({f.name: one[f.alias] for f in personal.fields}),
        )
        for i, (bins, one) in enumerate(zip(reference.encode(later), sent))
    ]
    store.predictions.append([Entry(rows)])
    store.outcomes.record(
        [
            dict(
                prediction_id=one["prediction_id"],
                defaulted=True,
                observed_at=one["at"] + timedelta(days=30),
            )
            for one in rows[:30]
        ],
        by="tests",
        user_id=None,
    )
    answer = detect(store, personal, reference, TAG)
    assert (
        answer["drifted_features"] == [personal[name].alias]
        and answer["outputs"] == answer["ratings"] == {}
    )
    assert answer["features"][personal[name].alias]["missing_current"] == pytest.approx(
        0.5, abs=0.05
    )
    assert [found["current"] for found in answer["features"].values()] == [
        reference.bins[f].summarize(later[f]) for f in reference.bins
    ]
    found = performance(store, personal, as_of=MARCH + timedelta(days=60))
    assert (
        found["performance_window_months"],
        found["models"][TAG]["n"],
        found["models"][TAG]["defaults"],
    ) == (None, 30, 30)
    assert "has no performance window" in found["notes"][0]
    check_json([answer, found])


def test_the_sample_of_a_large_window_is_summarized_and_all_of_it_is_counted(store):
    rng = np.random.default_rng(1)
    income = np.round(rng.lognormal(8.6, 0.65, 3000))
    reference = Reference.fit({"MonthlyIncome": income})
    store.predictions.append(
        [
            Entry(
                [
                    row(
                        MARCH + timedelta(seconds=i),
                        bins=bins,
                        sent=json.dumps({"MonthlyIncome": value}),
                    )
                    for i, (bins, value) in enumerate(
                        zip(reference.encode({"MonthlyIncome": income}), income)
                    )
                ]
            )
        ]
    )
    answer = detect(store, GMSC, reference, TAG, most=500)
    assert answer["samples_analysed"] == 3000 and 300 <= answer["summary_rows"] <= 500
    assert answer["features"]["MonthlyIncome"]["psi"] == 0
    assert answer["features"]["MonthlyIncome"]["current"]["median"] == pytest.approx(
        answer["features"]["MonthlyIncome"]["reference"]["median"], rel=0.15
    )


def skewed(rng, n):
    "Incomes as lenders' files have them: some yearly, some in cents."
    income = np.round(rng.lognormal(8.6, 0.65, n))
    income[rng.random(n) < 0.004] *= 60
    return income


@pytest.mark.parametrize(
    "change, least, drifted",
    [
        (lambda x, rng: x * 0.8, 0.09, False),
        (lambda x, rng: x * 0.65, 0.2, True),
        (lambda x, rng: np.where(rng.random(len(x)) < 0.5, np.nan, x), 0.5, True),
        (lambda x, rng: x, 0.0, False),
    ],
    ids=["a fifth lower", "a third lower", "half missing", "the same"],
)
def test_what_bins_of_equal_width_and_dropped_gaps_do_not_see_is_found(
    tmp_path, change, least, drifted
):
    rng = np.random.default_rng(7)
    reference = Reference.fit({"MonthlyIncome": skewed(rng, 20_000)})
    now = change(skewed(rng, 5000), rng)
    with_gaps = [None if v != v else v for v in now.tolist()]
    store = Store(f"sqlite:///{tmp_path}/log.db")
    store.upgrade()
    store.predictions.append(
        [
            Entry(
                [
                    row(MARCH, bins=bins, sent=json.dumps({"MonthlyIncome": v}))
                    for bins, v in zip(reference.encode({"MonthlyIncome": now}), with_gaps)
                ]
            )
        ]
    )
    answer = detect(store, GMSC, reference, TAG)
    found = answer["features"]["MonthlyIncome"]
    assert found["psi"] >= least and found["drifted"] == answer["drift_detected"] == drifted
    assert found["missing_current"] == pytest.approx(np.isnan(now).mean())
    assert (found["psi"] > found["chance"]) == (
        least > 0
    )  # none of the moves is chance, whatever its size
    assert found["severity"] == psi_severity(found["psi"])
    # equal-width bins over both samples, without the missing values, as Evidently counts
    both = np.r_[now[~np.isnan(now)], skewed(np.random.default_rng(7), 20_000)]
    edges = np.histogram_bin_edges(both, bins="sturges")
    p, q = (
        np.maximum(np.histogram(v, edges)[0] / len(v), 1e-4)
        for v in (skewed(np.random.default_rng(7), 20_000), now[~np.isnan(now)])
    )
    assert np.sum((p - q) * np.log(p / q)) < 0.05


# Performance


def by_hand(rows, said, as_of, months):
    """The rows whose window has passed, and of those the outcomes that count: one after another, as
    the words have it.
    """
    mature, counted = [], []
    for one in rows:
        end = one["at"] + relativedelta(months=months)
        if end > as_of:
            continue
        mature.append(one)
        if one["prediction_id"] not in said:
            continue
        defaulted, observed = said[one["prediction_id"]]
        if observed > as_of:
            continue
        if defaulted and observed <= end:
            counted.append((one, 1))
        elif observed >= end - timedelta(days=1):  # the day, where only that is told
            counted.append((one, 0))
    return mature, counted


AS_OF = [
    datetime(2026, 2, 28, 12, tzinfo=UTC),
    datetime(2025, 3, 30, 8, 30, tzinfo=UTC),
    datetime(2024, 2, 29, 23, tzinfo=UTC),
    datetime(2025, 12, 31, tzinfo=UTC),
]


def test_windows_and_cohorts_are_those_cut_by_hand(store):
    rng = np.random.default_rng(3)
    times = [
        datetime(2022, 1, 1, tzinfo=UTC) + timedelta(seconds=int(s))
        for s in rng.integers(0, 4 * 365 * 86_400, 1500)
    ]
    # around the moment that decides, to the microsecond, and on the days that a short month folds
    # together
    for as_of in AS_OF:
        for months in (1, 24):
            cut = as_of - relativedelta(months=months)
            times += [
                cut + timedelta(days=d, microseconds=us) for d in range(-3, 4) for us in (-1, 0, 1)
            ]
    rows = [
        row(at, pd=float(p)) for at, p in zip(times, np.clip(rng.beta(1, 9, len(times)), 1e-3, 0.9))
    ]
    said = {}
    for one in rows:
        if rng.random() < 0.1:
            continue
        ends = [one["at"] + relativedelta(months=m) for m in (1, 24)]
        near = ends[int(rng.integers(2))] + timedelta(
            days=int(rng.integers(-1, 1)), microseconds=int(rng.integers(-1, 2))
        )
        observed = [one["at"] + timedelta(days=float(rng.uniform(0, 900))), ends[1], near][
            int(rng.integers(3))
        ]
        said[one["prediction_id"]] = bool(rng.random() < 0.3), observed
    store.predictions.append([Entry(rows)])
    taken = store.outcomes.record(
        [dict(prediction_id=name, defaulted=d, observed_at=at) for name, (d, at) in said.items()],
        by="tests",
        user_id=None,
    )
    assert taken.recorded == len(said)
    for as_of in AS_OF:
        for months in (1, 24):
            mature, counted = by_hand(rows, said, as_of, months)
            for by, name_of in (
                ("month", lambda at: f"{at:%Y-%m}"),
                ("quarter", lambda at: f"{at.year}-Q{(at.month + 2) // 3}"),
                ("year", lambda at: f"{at.year}"),
            ):
                answer = performance(store, GMSC, as_of=as_of, window_months=months, by=by)
                model = answer["models"][TAG]
                assert (model["answered"], model["mature"], model["n"], model["defaults"]) == (
                    len(rows),
                    len(mature),
                    len(counted),
                    sum(y for _, y in counted),
                )
                assert (answer["by"], answer["performance_window_months"], answer["mature"]) == (
                    by,
                    months,
                    len(mature),
                )
                assert model["with_outcome"] == sum(one["prediction_id"] in said for one in mature)
                assert model["declined"] == sum(one["prediction"] for one in mature)
                assert model["declined_without_outcome"] == sum(
                    one["prediction"] and one["prediction_id"] not in said for one in mature
                )
                assert model["not_final"] == model["with_outcome"] - model["n"]
                n, d = (
                    Counter(name_of(one["at"]) for one, _ in counted),
                    Counter(name_of(one["at"]) for one, y in counted if y),
                )
                assert [(c["cohort"], c["n"], c["defaults"]) for c in model["cohorts"]] == [
                    (name, n[name], d[name]) for name in sorted(n)
                ]
                assert sum(r["n"] for r in model["ratings"]) == len(counted)
                check_json(answer)


@pytest.mark.parametrize("midnight", ["T00:00:00+00:00", "T00:00:00+14:00", "T00:00:00-11:00"])
@pytest.mark.parametrize("hour", [0, 11, 23])
def test_an_outcome_may_be_dated_with_the_last_day_of_its_window(tmp_path, hour, midnight):
    """Whatever the lender's zone and the hour of the loan: repaid on the window's last day counts,
    a day earlier nothing is final.
    """
    store, zone = (
        Store(f"sqlite:///{tmp_path}/log.db"),
        datetime.fromisoformat(f"2026-03-01{midnight}").tzinfo,
    )
    store.upgrade()
    rows = [row(datetime(2024, 3, 1, hour, 59, 59, 999_999, tzinfo=zone)) for _ in range(5)]
    dated = [
        (False, "2026-03-01"),
        (False, "2026-02-28"),
        (False, "2026-03-02"),
        (True, "2026-03-01"),
        (True, "2026-03-02"),
    ]
    store.predictions.append([Entry(rows)])
    store.outcomes.record(
        [
            dict(
                prediction_id=one["prediction_id"],
                defaulted=bad,
                observed_at=datetime.fromisoformat(date + midnight),
            )
            for one, (bad, date) in zip(rows, dated)
        ],
        by="tests",
        user_id=None,
    )

    def how_many(as_of):
        model = performance(store, GMSC, as_of=as_of)["models"][TAG]
        return model["mature"], model["n"], model["defaults"], model["not_final"]

    assert how_many(rows[0]["at"] + relativedelta(months=24, microseconds=-1)) == (0, 0, 0, 0)
    assert how_many(datetime(2026, 3, 4, tzinfo=UTC)) == (
        5,
        4,
        1,
        1,
    )  # a default of the day after is none of the window


def loans(
    store,
    n=3000,
    true=lambda p: p,
    tag=TAG,
    seed=4,
    first=datetime(2023, 1, 1, tzinfo=UTC),
    **other,
):
    """Predictions of 2023 and their outcomes, default drawn from `true` of the PD; outcomes and PDs
    in the order of the log.
    """
    rng = np.random.default_rng(seed)
    p = np.clip(rng.beta(1, 12, n), 1e-3, 0.29)
    y = rng.random(n) < true(p)
    rows = [
        row(first + timedelta(hours=2.9 * i), pd=float(one), tag=tag, **other)
        for i, one in enumerate(p)
    ]
    store.predictions.append([Entry(rows)])
    store.outcomes.record(
        [
            dict(
                prediction_id=one["prediction_id"],
                defaulted=bool(bad),
                observed_at=one["at"] + (timedelta(days=200) if bad else relativedelta(months=24)),
            )
            for one, bad in zip(rows, y)
        ],
        by="tests",
        user_id=None,
    )
    return y.astype(float), p, [one["rating"] for one in rows], rows


def test_the_figures_are_those_of_evaluation(store):
    y, p, rating, rows = loans(store)
    as_of = datetime(2026, 6, 1, tzinfo=UTC)
    answer = performance(store, GMSC, as_of=as_of)
    model = answer["models"][TAG]
    expected = compute_metrics(y, p).to_dict()
    assert {name: model[name] for name in expected} == {
        name: pytest.approx(value, rel=1e-12) for name, value in expected.items()
    }
    interval, (low, high) = auc_interval(y, p), jeffreys_interval(y.sum(), len(y))
    assert (
        model["auc_low"],
        model["auc_high"],
        model["default_rate_low"],
        model["default_rate_high"],
    ) == pytest.approx((interval.low, interval.high, low, high), rel=1e-12)
    table = rating_table(y, p, rating).set_index("rating")
    for found in model["ratings"]:
        assert [found[c] for c in table.columns if c != "share"] == pytest.approx(
            table.loc[found["rating"]].drop("share").tolist(), rel=1e-9
        )
    assert [r["rating"] for r in model["ratings"]] == [
        r.rating for r in RATINGS if r.rating in rating
    ]
    assert (model["verdict"], model["too_few"], model["coverage"], answer["by"]) == (
        FITS,
        None,
        1.0,
        "month",
    )
    assert {r["verdict"] for r in model["ratings"] + model["cohorts"]} == {FITS} and len(
        model["cohorts"]
    ) == 12


@pytest.mark.parametrize("factor, verdict", [(1.5, MORE), (0.6, FEWER), (1.0, FITS)])
def test_more_and_fewer_defaults_than_the_pds_say(tmp_path, factor, verdict):
    store = Store(f"sqlite:///{tmp_path}/log.db")
    store.upgrade()
    loans(store, true=lambda p: factor * p)
    loans(store, n=40, true=lambda p: p, tag=OTHER)
    answer = performance(store, GMSC, as_of=datetime(2026, 6, 1, tzinfo=UTC))
    assert answer["models"][TAG]["verdict"] == verdict
    other = answer["models"][OTHER]
    assert (
        other["n"] == 40
        and other["auc"] is other["ks"] is other["calibration_slope"] is None
        and str(MIN_OUTCOMES) in other["too_few"]
    )
    assert other["brier"] is not None and f"{OTHER}: {other['too_few']}" in answer["notes"]
    assert {c["verdict"] for c in other["cohorts"]} <= {FITS, TOO_FEW}
    check_json(answer)


def test_a_model_without_outcomes_and_a_simulated_future(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/log.db")
    store.upgrade()
    empty = performance(store, GMSC)
    assert (empty["models"], empty["answered"], empty["notes"]) == ({}, 0, [])
    now = datetime.now(UTC)
    store.predictions.append([Entry([row(now - timedelta(days=3), pd=0.5)])])
    young = performance(store, GMSC)
    assert (
        young["models"][TAG]["mature"],
        young["models"][TAG]["coverage"],
        young["models"][TAG]["cohorts"],
    ) == (0, None, [])
    matures = (now - timedelta(days=3) + relativedelta(months=24)).date()
    assert any(
        f"becomes mature on {day}" in young["notes"][0]
        for day in (matures, matures - timedelta(days=1))
    )
    loans(store, n=100, first=now - timedelta(days=20), tag=OTHER, reference="simulated/7/1")
    later = performance(store, GMSC, as_of=now + timedelta(days=900), model_version=OTHER)
    assert later["models"].keys() == {OTHER} and later["models"][OTHER]["n"] == 100
    assert (
        later["notes"][0].startswith("As of ")
        and later["notes"][1] == "In the future, because simulated: 100 outcomes."
    )
    check_json([empty, young, later])


# A process of its own


def test_a_check_in_a_process_of_its_own(store, url):
    loans(store, n=500)
    asked = PerformanceTask(url, GMSC, as_of=datetime(2026, 6, 1, tzinfo=UTC))
    seen = []

    async def watched():
        check = asyncio.ensure_future(run_in_process(asked))
        while not check.done():
            for child in psutil.Process().children():
                try:
                    line, environment = child.cmdline(), child.environ()
                    if "credit_default.monitoring.process" in line:
                        seen.append((" ".join(line), str(environment), child.nice()))
                except psutil.Error:
                    continue  # it has ended
            await asyncio.sleep(0.02)
        return await check

    answer = asyncio.run(watched())
    assert answer == run_task(asked) == uvloop.run(run_in_process(asked))
    assert answer.models[TAG].figures.n == 500
    # it makes way for the service, whatever precedence that has
    assert seen and max(nice for *_, nice in seen) == min(19, psutil.Process().nice() + 10)
    written = " ".join(line + environment for line, environment, _ in seen)
    assert (
        PASSWORD not in written
        and PASSWORD.replace(" ", "%20") not in written
        and "log.db" not in written
    )


def test_a_database_that_is_away_is_away_here_too(server, tmp_path):
    url = server.database()
    Store(url).upgrade()

    def why(url, kind=DatabaseUnavailable, **how):
        with pytest.raises(kind) as raised:
            asyncio.run(run_in_process(PerformanceTask(url, GMSC), **how))
        assert PASSWORD not in str(raised.value) and "%20" not in str(raised.value)
        return str(raised.value)

    assert why(url.replace(str(server.port), "1")) == UNREACHED
    assert why(f"sqlite:///{tmp_path}/none.db") == UNOPENED
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "empty.db").touch()
    assert why(f"sqlite:///{tmp_path}/empty.db") == SCHEMA
    server.pause()
    try:
        assert why(url, CheckTimeout, timeout=4) == (
            "the check did not end within 4 seconds: select one model version, or "
            "increase the timeout"
        )
    finally:
        server.resume()
    assert ended(checking())


def test_a_check_that_takes_too_long_is_no_database_that_is_away(tmp_path):
    url = f"sqlite:///{tmp_path}/log.db"
    Store(url).upgrade()
    for asked, said in (
        (DriftTask(url, GMSC, Reference(), model_version=TAG), "ask for a shorter window"),
        (PerformanceTask(url, GMSC), "select one model version, or increase the timeout"),
    ):
        with pytest.raises(CheckTimeout) as raised:
            asyncio.run(run_in_process(asked, timeout=0.0123456))
        assert str(
            raised.value
        ) == f"the check did not end within 0.01 seconds: {said}" and not isinstance(
            raised.value, DatabaseUnavailable
        )


OTHERS = (
    set()
)  # processes of the service in other modules' tests, which wait for checks until this process ends


def checking():
    "Processes of a test that wait for a check or do one."
    found = set()
    for child in psutil.Process().children(recursive=True):
        try:
            found |= (
                {child.pid} if "credit_default.monitoring.process" in child.cmdline() else set()
            )
        except psutil.NoSuchProcess:
            continue  # it has ended meanwhile
    return found - OTHERS


@pytest.fixture(autouse=True)
def others():
    OTHERS.clear()
    OTHERS.update(checking())


def ended(pids):
    """Whether these processes end within some seconds. Who took over an orphan may be slow to take
    notice.
    """

    def runs(pid):
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    end = time.monotonic() + 20
    while any(map(runs, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(runs, pids))


def test_whoever_no_longer_waits_ends_the_process(tmp_path):
    Store(f"sqlite:///{tmp_path}/log.db").upgrade()

    async def impatient():
        check = asyncio.ensure_future(
            run_in_process(PerformanceTask(f"sqlite:///{tmp_path}/log.db", GMSC))
        )
        await asyncio.sleep(0.2)
        started = checking()
        check.cancel()
        with pytest.raises(asyncio.CancelledError):
            await check
        return started

    started = asyncio.run(impatient())
    assert started and ended(started)


def waiting():
    """Those that wait: one that was forked has a process of ours for its parent, and may be about
    to end.
    """
    ours = {child.pid for child in psutil.Process().children()}
    return checking() & ours


def test_one_process_waits_for_checks_and_is_forked_for_each(tmp_path):
    url = f"sqlite:///{tmp_path}/log.db"
    store = Store(url)
    store.upgrade()
    loans(store, n=200)
    asked = PerformanceTask(url, GMSC, as_of=datetime(2026, 6, 1, tzinfo=UTC))

    async def several():
        check = Checker()
        assert await check(asked) == run_task(asked)
        [first] = waiting()
        with pytest.raises(RuntimeError, match="ValueError in"):
            await check(PerformanceTask(url, GMSC, by="never"))
        with pytest.raises(DatabaseUnavailable):
            await check(PerformanceTask(f"sqlite:///{tmp_path}/none.db", GMSC))
        assert await check(asked) == run_task(asked) and waiting() == {first}
        with pytest.raises(CheckTimeout):
            await check(
                asked, timeout=0.001
            )  # it goes with what it was doing: nobody waits for that
        assert not checking() and await check(asked) == run_task(asked)
        [again] = waiting()
        os.kill(again, signal.SIGKILL)  # as when memory runs out
        while checking():
            await asyncio.sleep(0.01)
        try:
            found = await check(asked)
        except RuntimeError as e:
            assert str(e) == "the check failed: its process has ended"  # it was not known yet
        else:
            assert found == run_task(asked)
        assert await check(asked) == run_task(asked)
        await check.close()
        await check.close()
        assert not checking()

    asyncio.run(several())


def test_a_check_that_is_killed_is_told(tmp_path):
    "The process that waits stays."
    url = f"sqlite:///{tmp_path}/log.db"
    Store(url).upgrade()
    code = """import json, os, signal, sys, credit_default.monitoring.process as m
m.answer_task = lambda task: os.kill(os.getpid(), signal.SIGKILL)
m.answer_tasks()"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=b"{}\n{}\n", capture_output=True, check=True
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        asdict(CheckAnswer(failed="its process ended with -9"))
    ] * 2


def test_the_process_that_waits_ends_with_the_one_that_started_it(tmp_path):
    Store(f"sqlite:///{tmp_path}/log.db").upgrade()
    asked = json.dumps(PerformanceTask(f"sqlite:///{tmp_path}/log.db", GMSC).to_dict())
    code = f"""import asyncio, json, os, psutil
from credit_default.monitoring.process import Checker, read_task
async def one():
    check = Checker()
    await check(read_task(json.loads({asked!r})))
    # What it forked has answered, and ends.
    while len(pids := [child.pid for child in psutil.Process().children(recursive=True)]) > 1:
        await asyncio.sleep(0.01)
    print(*pids, flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(one())"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -9
    pids = list(map(int, done.stdout.split()))
    assert len(pids) == 1 and ended(pids)


def test_a_failure_tells_its_place_and_no_value(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/log.db")
    store.upgrade()
    reference = Reference.fit({"MonthlyIncome": np.arange(100.0)})
    store.predictions.append(
        [Entry([row(MARCH, bins="0", sent='{"MonthlyIncome": "4711-Musterfrau"}')])]
    )  # a row that no version of ours has written
    with pytest.raises(RuntimeError) as raised:
        asyncio.run(
            run_in_process(
                DriftTask(f"sqlite:///{tmp_path}/log.db", GMSC, reference, model_version=TAG)
            )
        )
    assert "ValueError in " in str(raised.value) and "Musterfrau" not in str(raised.value)


def test_importing_it_imports_nothing_heavy():
    heavy = (
        "pandas",
        "sklearn",
        "scipy",
        "matplotlib",
        "xgboost",
        "bentoml",
        "optuna",
        "evidently",
        "alembic",
        "credit_default.evaluation",
    )
    code = (
        f"import sys, credit_default.monitoring.process; print([m for m in {heavy!r} if m in "
        "sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_a_group_whose_test_has_no_p_value_is_not_judged():
    "A PD that is not a number is neither fitting nor too low nor too high."
    y, pds = np.repeat([1.0, 0.0], [30, 170]), np.full(200, 0.15)
    assert backtest_groups(["all"], np.zeros(200, int), y, pds)[0].verdict == FITS
    pds[7] = np.nan
    for outcomes in (y, 1 - y, 0 * y):
        [whole] = backtest_groups(["all"], np.zeros(200, int), outcomes, pds)
        assert np.isnan(whole.p_value) and whole.verdict == UNJUDGED
