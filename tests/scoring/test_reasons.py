"""Which reasons are told, and to whom: the smallest one, and what several fields share."""

import numpy as np
import pytest
from pydantic import ValidationError

from credit_default.data.synthetic import synthesize
from credit_default.portfolio.catalogue import SHIPPED
from credit_default.portfolio.columns import parse_table
from credit_default.portfolio.definition import Portfolio
from credit_default.portfolio.field import Field
from credit_default.scoring.bundle import Bundle
from credit_default.scoring.bundle_files import make_golden_rows, read_bundle, write_bundle
from credit_default.scoring.calibration import Calibrator
from credit_default.scoring.ensemble import export_member
from credit_default.scoring.reasons import MIN_CONTRIBUTION, ReasonFinder, reason_text
from credit_default.scoring.scorecard import Scorecard
from credit_default.training.champion import add_background
from credit_default.training.pipeline import make_pipeline
from credit_default.training.search_space import default_recipes

NO_FILE = "No file at the credit bureau"
CODES = {98: "the bureau gave a code"}
FIELDS = (
    Field(name="lines", title="Lines", reason_missing=NO_FILE, hard=(0, 98), codes=CODES),
    Field(
        name="late", title="Late", reason_missing=NO_FILE, hard=(0, 98), codes=CODES, direction=1
    ),
    Field(name="score", title="Score", kind="category", categories=("A",), reason_missing=NO_FILE),
    Field(name="income", title="Income"),
)
NAMES = [f.name for f in FIELDS]
GAP = dict(lines=None, late=None, score=None, income=5)
CODED = dict(lines=98, late=98, score="A", income=5)
VALUES = dict(lines=3, late=2, score="A", income=5)


def loans(**keys) -> Portfolio:
    return Portfolio(name="loans", title="Loans", target="bad", fields=FIELDS, **keys)


def told(contributions, applicant, declined=True, **keys):
    "The reasons of one applicant, as fields, texts and contributions."
    columns = parse_table(loans(**keys), {name: [value] for name, value in applicant.items()})
    finder = ReasonFinder(loans(**keys), NAMES)
    [reasons] = finder.raised(np.array([contributions]), columns, np.array([declined]))
    return [(r["field"], r["text"], round(r["contribution"], 10)) for r in reasons]


def test_less_than_the_smallest_reason_is_not_told():
    parts = [0.4, 0.1, 0.0999, 0.2]
    assert [field for field, *_ in told(parts, VALUES)] == ["lines", "income", "late"]
    assert [field for field, *_ in told(parts, VALUES, smallest_reason=0.3)] == ["lines"]
    assert len(told(parts, VALUES, smallest_reason=0)) == 4


@pytest.mark.parametrize("strongest, n", [(0.09, 1), (MIN_CONTRIBUTION, 1), (0.0009, 0), (-0.1, 0)])
def test_whoever_is_declined_is_told_the_strongest_reason_that_is_not_nothing(strongest, n):
    parts = [strongest - 0.1, strongest - 0.2, strongest, strongest - 0.0001]
    assert [field for field, *_ in told(parts, VALUES)] == ["score"][:n]
    assert told(parts, VALUES, declined=False) == []


def test_the_strongest_may_be_a_value_that_cannot_be_better():
    assert told([0.05, 0.09, 0, 0], VALUES | dict(late=0)) == [("lines", "Lines", 0.05)]


def test_a_smallest_reason_of_zero_tells_no_contribution_of_nothing():
    assert told([0.0009, 0, 0, 0], VALUES, smallest_reason=0) == []


@pytest.mark.parametrize("wrong", [-0.01, float("nan"), float("inf"), "much"])
def test_the_smallest_reason_is_a_number_from_zero(wrong):
    with pytest.raises(ValidationError, match="smallest_reason"):
        loans(smallest_reason=wrong)


def test_a_gap_that_fields_share_is_told_once_with_the_net():
    assert told([0.4, 0.3, -0.2, 0.45], GAP) == [
        ("lines", NO_FILE, 0.5),
        ("income", "Income", 0.45),
    ]
    # the net decides the order and whether it is told
    assert told([0.4, 0.3, -0.3, 0.45], GAP)[0] == ("income", "Income", 0.45)
    assert told([0.4, 0.3, -0.65, 0.0], GAP) == [("lines", NO_FILE, 0.05)]
    assert told([0.4, 0.3, -0.7, 0.0], GAP) == told([0.4, 0.3, -0.9, 0.0], GAP) == []
    # small shares of one gap make a reason together
    assert told([0.05, 0.06, 0.05, 0.0], GAP, declined=False) == [("late", NO_FILE, 0.16)]


def test_only_gaps_are_counted_together():
    partly = GAP | dict(late=3)
    assert told([0.4, 0.3, -0.2, 0.0], partly) == [("late", "Late", 0.3), ("lines", NO_FILE, 0.2)]
    assert told([0.4, 0.3, -0.2, 0.0], GAP | dict(late=3, score="A"))[0] == ("lines", NO_FILE, 0.4)


def test_a_code_that_fields_share_is_told_with_the_net():
    meaning = "the bureau gave a code"
    assert told([0.4, 0.3, 0.5, 0.0], CODED) == [
        ("lines", f"Lines: {meaning}", 0.7),
        ("score", "Score", 0.5),
    ]
    assert told([0.4, -0.35, 0.5, 0.0], CODED) == [("score", "Score", 0.5)]
    # a code is no value that could be the best
    assert told([0, 0.3, 0, 0], CODED) == [("late", f"Late: {meaning}", 0.3)]


RATIO = (
    Field(
        name="late", title="Late", direction=1, reason_low="Paid on time", reason_high="Paid late"
    ),
    Field(
        name="debt",
        title="Debt",
        per="income",
        per_floor=1,
        plausible=(0, 1e6),
        reason="Debt over income",
        reason_low="Debt is low for the income",
        reason_high="Debt is high for the income",
        reason_amount="Amount of debt",
    ),
    Field(name="income", title="Income", reason_low="Income is low", reason_high="Income is high"),
)
CENTRES = dict(debt=0.4, income=3000)


def text_of(field, sent, centres=CENTRES, fields=RATIO):
    "What is told of one field that raised the PD."
    portfolio = Portfolio(name="loans", title="Loans", target="bad", fields=fields)
    names = [f.name for f in fields]
    columns = parse_table(portfolio, {name: [sent.get(name)] for name in names})
    parts = np.array([[float(name == field) for name in names]])
    finder = ReasonFinder(portfolio, names, centres)
    [[reason]] = finder.raised(parts, columns, np.array([True]))
    return reason["text"]


@pytest.mark.parametrize(
    "field, sent, text",
    [
        ("income", dict(income=2000), "Income is low"),
        ("income", dict(income=9000), "Income is high"),
        ("income", dict(income=3000), "Income"),
        ("income", dict(), "Income not stated"),
        ("late", dict(late=2), "Paid late"),
        ("late", dict(late=0), "Paid late"),  # the direction decides, not the value
        ("debt", dict(debt=0.5, income=2000), "Debt is high for the income"),
        ("debt", dict(debt=0.3, income=2000), "Debt is low for the income"),
        ("debt", dict(debt=0.4, income=2000), "Debt over income"),
        ("debt", dict(debt=2e6, income=2000), "Debt over income"),  # implausible: as missing
        ("debt", dict(debt=1500), "Amount of debt"),
        ("debt", dict(debt=1500, income=1), "Amount of debt"),
        ("debt", dict(debt=1500, income=1.5), "Debt is high for the income"),
    ],
)
def test_a_text_says_whether_the_value_was_low_or_high(field, sent, text):
    assert text_of(field, sent) == text


def test_without_a_population_and_without_texts_there_is_the_one_reason():
    sent = dict(debt=0.9, income=2000, late=1)
    assert [text_of(name, sent, {}) for name in ("income", "debt", "late")] == [
        "Income",
        "Debt over income",
        "Paid late",
    ]
    bare = [f.model_copy(update=dict(reason_low="", reason_high="")) for f in RATIO]
    bare[1] = bare[1].model_copy(update=dict(reason_amount=""))
    texts = [text_of(name, sent, CENTRES, bare) for name in ("income", "debt", "late")]
    assert texts == ["Income", "Debt over income", "Late"]
    assert text_of("debt", dict(debt=900), CENTRES, bare) == "Debt over income"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_portfolios_have_texts_for_low_and_high(name):
    for field in SHIPPED[name].inputs():
        if field.numeric and "age" not in (field.name, field.name.removeprefix("person_")):
            texts = {field.reason, field.reason_low, field.reason_high}
            assert "" not in texts and field.reason_low != field.reason_high, field.name
        assert bool(field.per) == bool(field.reason_amount)


def test_a_category_is_told_by_its_own_text():
    "Its one `reason` would name the other category: a loan with security is not one without."
    field = SHIPPED["lending"]["loan_type"]
    assert reason_text(field, "Unsecured") == "Loan without security"
    assert reason_text(field, "Secured") == "Loan with security"
    assert reason_text(SHIPPED["personal"]["cb_person_default_on_file"], "N").startswith("No ")
    bare = field.model_copy(update=dict(reason_by_category={}))
    assert reason_text(bare, "Secured") == reason_text(bare, "Unsecured") == "Security of the loan"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_portfolios_name_all_categories_of_a_field_or_none(name):
    for field in SHIPPED[name].inputs():
        named = set(field.reason_by_category)
        assert not named or named == set(field.categories), field.name


def test_gmsc_applicants_without_income_are_told_of_an_amount():
    """Their DebtRatio is the debt in money, and can be neither high nor low for their income. Nor
    is anybody told that a low debt counted against them, which they are to lower.
    """
    portfolio = SHIPPED["gmsc"]
    frame, y, _ = synthesize(portfolio, 3000, seed=3)
    recipe = next(r for r in default_recipes(portfolio) if r.candidate == "xgboost")
    member = export_member(make_pipeline(portfolio, recipe).fit(frame, y))
    columns = parse_table(portfolio, frame)
    bundle = Bundle(portfolio, [member], Calibrator(), Scorecard(cut_off=0.1))
    bundle = add_background(bundle, columns, 0)
    debt, seen = portfolio["DebtRatio"], set()
    centre = bundle.finder.centres["DebtRatio"]
    for i, reasons in enumerate(bundle.score(columns).reasons):
        for reason in reasons:
            if reason["field"] != "DebtRatio":
                continue
            income, value = columns["MonthlyIncome"][i], columns["DebtRatio"][i]
            if not income > 1:
                wanted = debt.reason_amount
            else:
                wanted = debt.reason_high if value > centre else debt.reason
            assert reason["text"] == wanted
            seen.add(wanted)
    assert seen == {debt.reason_amount, debt.reason_high, debt.reason}


def helped(contributions, applicant, approved=True):
    "What helped one applicant, as fields, texts and contributions."
    columns = parse_table(loans(), {name: [value] for name, value in applicant.items()})
    finder = ReasonFinder(loans(), NAMES, dict(income=3))
    [some] = finder.helped(np.array([contributions]), columns, np.array([approved]))
    return [(r["field"], r["text"], round(r["contribution"], 10)) for r in some]


def test_what_helped_follows_the_same_rules():
    parts = [-0.4, -0.0999, 0.7, -0.5]
    assert helped(parts, VALUES) == [("income", "Income", -0.5), ("lines", "Lines", -0.4)]
    assert helped(parts, VALUES, approved=False) == []
    assert helped([-0.05] * 4, VALUES) == []  # nobody has to be told what helped
    # of a gap the net, at the field that helped most; never in both lists
    gap = [-0.4, 0.1, -0.2, -0.3]
    assert helped(gap, GAP) == [("lines", NO_FILE, -0.5), ("income", "Income", -0.3)]
    assert told(gap, GAP) == []
    # a value that cannot be better did help
    assert helped([0, -0.3, 0, 0], VALUES | dict(late=0)) == [("late", "Late", -0.3)]


def test_what_helped_is_told_with_the_text_of_the_other_side():
    portfolio = Portfolio(name="loans", title="Loans", target="bad", fields=RATIO)
    names = [f.name for f in RATIO]
    columns = parse_table(portfolio, dict(late=[0], debt=[0.2], income=[9000]))
    finder = ReasonFinder(portfolio, names, CENTRES)
    [some] = finder.helped(np.array([[-0.3, -0.2, -0.1]]), columns, np.array([True]))
    assert [r["text"] for r in some] == [
        "Paid on time",
        "Debt is low for the income",
        "Income is high",
    ]


def test_one_applicant_is_told_the_same_as_among_many():
    rng = np.random.default_rng(0)
    contributions = rng.normal(scale=0.3, size=(400, 4))
    table = {
        name: [[GAP, CODED, VALUES][k][name] for k in rng.integers(3, size=400)] for name in NAMES
    }
    columns, declined = parse_table(loans(), table), rng.random(400) < 0.5
    finder = ReasonFinder(loans(), NAMES)
    many = finder.raised(contributions, columns, declined)
    for i in range(400):
        own = {name: values[i : i + 1] for name, values in columns.items()}
        assert finder.raised(contributions[i : i + 1], own, declined[i : i + 1]) == [many[i]]


def test_without_a_credit_file_there_is_one_reason_for_it(tmp_path):
    """Eight fields of the lending portfolio lack it together; what is told is what all of them
    contribute, in a bundle from disk as well.
    """
    portfolio = SHIPPED["lending"].model_copy(update=dict(smallest_reason=0.05))
    frame, y, _ = synthesize(portfolio, 3000, seed=3)
    recipe = next(r for r in default_recipes(portfolio) if r.candidate == "logistic")
    member = export_member(make_pipeline(portfolio, recipe).fit(frame, y))
    columns = parse_table(portfolio, frame)
    plain = Bundle(portfolio, [member], Calibrator(), Scorecard(cut_off=0.1))
    plain.golden = make_golden_rows(plain, {name: values[:20] for name, values in columns.items()})
    write_bundle(add_background(plain, columns, 0), tmp_path)
    bundle = read_bundle(tmp_path)
    assert bundle.portfolio.smallest_reason == 0.05
    sharing = [f.name for f in portfolio.fields if f.reason_missing == NO_FILE]
    at = [bundle.names.index(name) for name in sharing]
    scores = bundle.score(columns)
    _, contributions = bundle.explain(scores.clean)
    gaps = np.array([np.isnan(columns[name]) for name in sharing]).all(axis=0)
    assert gaps.sum() > 50
    for i in np.flatnonzero(gaps):
        own = [r for r in scores.reasons[i] if r["text"] == NO_FILE]
        net = contributions[i, at].sum()
        assert len(own) <= 1 and (own or net < 0.05 or len(scores.reasons[i]) == 4)
        assert not own or abs(own[0]["contribution"] - net) < 1e-12
    for reasons, declined in zip(scores.reasons, scores.prediction, strict=True):
        assert reasons or not declined
        assert all(r["contribution"] >= 0.05 for r in reasons[1:])
        assert [r["contribution"] for r in reasons] == sorted(
            [r["contribution"] for r in reasons], reverse=True
        )
