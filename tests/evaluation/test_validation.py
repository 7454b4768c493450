"""What a validator asks, on samples whose answer is known."""

import numpy as np
import pytest

from credit_default.core.numeric import pd_of
from credit_default.data.synthetic import synthesize
from credit_default.evaluation.calibration_errors import clipped_log_odds, ece
from credit_default.evaluation.discrimination import auc, auc_difference
from credit_default.evaluation.intervals import jeffreys_interval
from credit_default.evaluation.validation.calibration import (
    calibration_by_chance,
    jeffreys_deciles,
)
from credit_default.evaluation.validation.comparison import paired_auc, segment_overfit
from credit_default.evaluation.validation.fairness import fairness_table
from credit_default.evaluation.validation.importance import feature_auc
from credit_default.evaluation.validation.robustness import under_missing, under_noise
from credit_default.evaluation.validation.weak_spots import weak_spots
from credit_default.portfolio.catalogue import get_portfolio

GMSC = get_portfolio("gmsc")
FRAME, Y, TRUTH = (part[5000:] for part in synthesize(GMSC, 10_000, seed=4))
COLUMNS = {name: FRAME[name].to_numpy() for name in FRAME}
NAMES = [f.name for f in GMSC.inputs()]
PD = pd_of(clipped_log_odds(TRUTH) + np.random.default_rng(0).normal(0, 0.3, len(Y)))
INCOME, DEBT = "MonthlyIncome", "DebtRatio"


def score(columns):
    "A small model that looks at late payments, age, income and debt."
    late, income = columns["NumberOfTimes90DaysLate"], np.nan_to_num(columns[INCOME], nan=5000)
    return pd_of(
        -2
        + 0.8 * np.minimum(late, 3)
        - 0.03 * (columns["age"] - 52)
        - 0.3 * (np.log1p(income) - 8.5)
        + 0.2 * np.minimum(columns[DEBT], 2)
    )


def recorder():
    "The model above, and a list of the columns that it is asked for."
    seen = []
    return lambda columns: seen.append(columns) or score(columns), seen


def test_chance_is_what_draws_one_by_one_come_to():
    slowly = []
    for seed in range(500):
        drawn = np.random.default_rng(seed).random(len(TRUTH)) < TRUTH
        slowly.append((ece(drawn, TRUTH), abs(TRUTH.mean() / drawn.mean() - 1)))
    found = calibration_by_chance(TRUTH)
    quantiles = found.quantile([0.1, 0.5, 0.9]).to_numpy()
    np.testing.assert_allclose(
        quantiles, np.quantile(slowly, [0.1, 0.5, 0.9], axis=0), rtol=0, atol=0.01
    )
    assert found.ece.mean() == pytest.approx(np.mean([e for e, _ in slowly]), abs=3e-4)


def test_deciles_reject_pds_that_are_halved():
    assert not jeffreys_deciles(Y, TRUTH).rejected.any()
    assert jeffreys_deciles(Y, TRUTH / 2).rejected.any()


def test_one_holdout_is_a_comparison_of_one_fold():
    one, whole = paired_auc(Y, TRUTH, PD), auc_difference(Y, TRUTH, PD)
    assert (one.difference, one.se, one.low) == pytest.approx(
        (whole.difference, whole.se, whole.low), abs=1e-12
    )
    assert paired_auc(Y, PD, TRUTH).difference == pytest.approx(-one.difference, abs=1e-12)
    assert paired_auc(Y, PD, PD).won == 0


def test_folds_are_compared_one_by_one_and_averaged():
    fold = np.arange(len(Y)) % 5
    found = paired_auc(Y, TRUTH, PD, fold)
    parts = [
        auc(Y[fold == k], TRUTH[fold == k]) - auc(Y[fold == k], PD[fold == k]) for k in set(fold)
    ]
    assert found.difference == pytest.approx(np.mean(parts), abs=1e-12)
    assert found.won == sum(part > 0 for part in parts)
    with pytest.raises(ValueError, match="4999 folds for 5000 outcomes"):
        paired_auc(Y, TRUTH, PD, fold[1:])


def test_a_segment_that_falls_is_flagged():
    y, held = Y[:1000], np.arange(1000) < 500
    noise = np.random.default_rng(1).random(1000)
    segment = (~held).astype(int)
    after = np.where(held, 0.6 * y + 0.4 * noise, noise)
    t = segment_overfit(y, 0.5 * y + 0.5 * noise, segment, y, after, segment, ["held", "fell"])
    assert t.flag.tolist() == ["", "lower by more than 10%"] and t.low[1] > 0
    np.testing.assert_allclose(t.difference, t.auc_train - t.auc_holdout, atol=1e-12)


def test_a_segment_of_one_side_has_no_figure():
    whole, branch = np.zeros(5000, int), np.where(np.arange(5000) < 5, 1, 0)
    t = segment_overfit(Y, PD, whole, Y, PD, branch, ["all", "new branch"])
    assert t.n_train.tolist() == [5000, 0]
    assert t.flag[1].startswith("fewer than 10") and np.isnan(t.auc_holdout[1])


def test_fairness_by_hand():
    group = np.repeat([0, 1, 2, 3], [40, 40, 40, 5])
    bad = np.r_[np.repeat([1, 0, 1, 0], [10, 30, 20, 20]), np.zeros(40), np.ones(5)]
    declined = np.r_[
        np.repeat([1, 0, 1, 0], [8, 2, 2, 28]),
        np.repeat([1, 0, 1, 0], 10),
        np.zeros(40),
        np.ones(5),
    ]
    labels = ["north", "south", "west", "abroad"]
    t = fairness_table(bad, np.full(125, 0.25), declined, group, labels).set_index("group")
    assert t.flag.tolist() == ["", "", "no defaults", "fewer than 30 rows"]
    shown = ["approval_rate", "adverse_impact_ratio", "tpr", "fpr", "calibration_ratio"]
    assert t.loc["north", shown].tolist() == pytest.approx([0.75, 0.75, 0.8, 2 / 30, 1])
    assert t.loc["south", shown].tolist() == pytest.approx([0.5] * 5)
    assert t.loc["north", ["low", "high"]].tolist() == pytest.approx(jeffreys_interval(10, 40))
    assert np.isnan(t.tpr["west"]) and np.isnan(t.calibration_ratio["west"])
    assert (t.fpr["west"], t.low["west"]) == (0, 0)
    assert t.loc["abroad", "approval_rate":"calibration_ratio"].isna().all()
    assert t.n["abroad"] == 5


def test_fairness_needs_a_decision_for_each_outcome():
    with pytest.raises(ValueError, match=r"one decision per outcome is needed: \(4999,\)"):
        fairness_table(Y, PD, PD[1:] > 0.1, np.zeros(5000, int), ["all"])


def test_true_pds_have_no_weak_spot_however_bad_the_worst_looked():
    fields = list(GMSC.inputs())[:6]
    tables = [
        weak_spots(COLUMNS, np.random.default_rng(i).random(len(Y)) < TRUTH, TRUTH, fields)
        for i in range(20)
    ]
    assert np.mean([t.confirmed.any() for t in tables]) <= 0.1
    assert np.mean([t.z_found.abs().max() for t in tables]) > 2.5


def test_no_noise_changes_nothing():
    model, seen = recorder()
    table = under_noise(model, COLUMNS, Y, GMSC, NAMES, levels=(0, 0.1), cut_off=0.1)
    sent, same, _ = seen
    for name in NAMES:
        np.testing.assert_array_equal(same[name], sent[name])
    assert table.flipped[:2].tolist() == [0, 0]
    assert table.flipped[2] > 0.02 and table.auc_change[2] < 0


def test_noise_keeps_values_codes_gaps_and_distributions():
    model, seen = recorder()
    under_noise(model, COLUMNS, Y, GMSC, NAMES, levels=(0.1,))
    sent, noisy = seen
    for name in NAMES:
        known = sent[name][~np.isnan(sent[name])]
        assert np.isin(noisy[name][~np.isnan(noisy[name])], known).all()
        np.testing.assert_array_equal(np.isnan(noisy[name]), np.isnan(sent[name]))
        for code in GMSC[name].codes:
            np.testing.assert_array_equal(noisy[name] == code, sent[name] == code)
        middle = np.median(known)
        assert abs(np.mean(noisy[name] <= middle) - np.mean(sent[name] <= middle)) < 0.02


def test_noise_moves_no_amount_to_where_a_ratio_belongs():
    model, seen = recorder()
    under_noise(model, COLUMNS, Y, GMSC, NAMES, levels=(0.1,))
    sent, noisy = seen
    stated = sent[INCOME] > 1
    assert noisy[DEBT][stated].max() <= sent[DEBT][stated].max()
    none = sent[INCOME] <= 1  # or next to none: it stays
    np.testing.assert_array_equal(noisy[INCOME][none], sent[INCOME][none])


def test_a_ratio_to_an_income_that_is_taken_away_becomes_the_amount():
    model, seen = recorder()
    table = under_missing(model, COLUMNS, Y, GMSC, NAMES)
    assert table.missing.tolist() == [
        "as sent",
        "MonthlyIncome, of everybody",
        "NumberOfDependents, of everybody",
        "10% of all optional values",
        "30% of all optional values",
    ]
    sent, poor, _, _, many = seen
    assert np.isnan(poor[INCOME]).all() and not np.isnan(poor["age"]).any()
    stated = sent[INCOME] > 1
    np.testing.assert_allclose(poor[DEBT][stated], (sent[DEBT] * sent[INCOME])[stated], rtol=1e-9)
    np.testing.assert_array_equal(poor[DEBT][~stated], sent[DEBT][~stated])
    assert np.mean(np.isnan(many[INCOME][stated])) == pytest.approx(0.3, abs=0.02)


def test_a_field_of_one_direction_alone_is_worth_its_raw_values():
    [age] = feature_auc(COLUMNS, Y, [GMSC["age"]]).itertuples()
    assert age.low < auc(Y, pd_of(-COLUMNS["age"] / 20)) < age.high


def test_a_segment_that_training_ranks_backwards_has_no_relative_fall():
    from credit_default.evaluation.validation.comparison import segment_overfit

    y, backwards = np.repeat([0, 1], 20), np.repeat([0.4, 0.2], 20)
    segments = np.zeros(40, int)
    table = segment_overfit(y, backwards, segments, y, backwards[::-1], segments, ("all",))
    assert table.auc_train[0] == 0 and np.isnan(table.fall[0])
