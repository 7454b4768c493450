"""What a definition cannot mean is refused when it is read, in words that name the place."""

import pydantic
import pytest

from credit_default.portfolio.checks import RESERVED
from credit_default.portfolio.definition import Portfolio
from credit_default.portfolio.derived import Derived
from credit_default.portfolio.field import Field
from credit_default.portfolio.files import Table
from credit_default.portfolio.sampling import Leak, Marginal, Synthetic, Term
from credit_default.portfolio.scenarios import NO_CHANGE, Scenario, Shift
from credit_default.scoring.batch_rows import RESULT_COLUMNS

AGE = Field(name="age", kind="integer", required=True, hard=(0, 150), plausible=(18, 120))
INCOME = Field(name="income", hard=(0, None))
HOUSING = Field(name="housing", kind="category", categories=("OWN", "RENT"))


def shop(*fields, **keys):
    "A portfolio of these fields, or of the three above."
    return Portfolio(name="shop", title="Shop", target="bad", fields=fields or SHOP, **keys)


SHOP = (AGE, INCOME, HOUSING)


def message(error) -> str:
    return error.value.errors()[0]["msg"].removeprefix("Value error, ")


@pytest.mark.parametrize(
    "keys, expected",
    [
        (dict(kind="category"), "f: a category needs `categories`"),
        (
            dict(kind="category", categories=("None", "High")),
            "f: 'None' cannot be a category: files write it for a missing value, or with blanks "
            "around it. Where it is a value, name it in `stated` too",
        ),
        (
            dict(kind="category", categories=("OWN", "RENT"), synonyms={"RENTT": "TENT"}),
            "f: a synonym is another spelling of one of the categories, as in {misspelt = 'OWN'}",
        ),
        (
            dict(kind="category", categories=("OWN",), hard=(0, 1)),
            "f: ranges and codes are for numbers, not for a category",
        ),
        (
            dict(categories=("OWN",)),
            "f: `categories`, `stated` and `synonyms` are for kind 'category', not 'number'",
        ),
        (dict(hard=(120, 18)), "f: hard range is upside down: 120.0 to 18.0"),
        (
            dict(hard=(0, 1e16)),
            "f: hard range must lie within 1e+15; `inf` or nothing leaves a side open",
        ),
        (dict(hard=(0, 150), example=-5), "f: its example must be a number from 0 to 150"),
        (
            dict(alias="model_dump"),
            "f: alias 'model_dump' cannot be a name in the API; give another in `alias`",
        ),
        (dict(plausable=(18, 120)), "Extra inputs are not permitted"),
    ],
)
def test_a_field_that_cannot_be_meant(keys, expected):
    with pytest.raises(pydantic.ValidationError) as error:
        Field(name="f", **keys)
    assert message(error) == expected


def test_an_open_side_is_inf_in_toml():
    assert Field(name="age", hard=(0, float("inf"))).hard == (0, None)


@pytest.mark.parametrize(
    "shift, expected",
    [
        (dict(op="times"), "`times` needs a finite number"),
        (dict(op="times", value=0), "`times` needs a number above 0"),
        (dict(op="missing", value=0), "`missing` takes no value"),
        (dict(op="set"), "`set` needs a value"),
    ],
)
def test_a_shift_that_cannot_be_meant(shift, expected):
    with pytest.raises(pydantic.ValidationError) as error:
        Shift(field="income", **shift)
    assert message(error) == f"shift of income: {expected}"


@pytest.mark.parametrize(
    "derived, expected",
    [
        (dict(op="ratio", fields=("a",)), "`ratio` takes 2 fields, not 1"),
        (dict(op="above", fields=("a", "b")), "`above` takes 1 field, not 2"),
        (dict(op="sum", fields=()), "names no field"),
        (dict(op="ratio", fields=("a", "b"), floor=0), "`floor` of a ratio must be above 0"),
        (dict(op="sum", fields=("a",), scale=100), "`scale` is for `ratio`"),
        (
            dict(op="sum", fields=("a", "b"), weights=(1,)),
            "`weights` is for `sum`, one for each field",
        ),
    ],
)
def test_a_derived_feature_that_cannot_be_meant(derived, expected):
    with pytest.raises(pydantic.ValidationError) as error:
        Derived(name="d", **derived)
    assert message(error) == f"d: {expected}"


CHICKEN = Field(name="chicken", sample=Marginal(missing_with="egg"))
EGG = Field(name="egg", sample=Marginal(missing_with="chicken"))
LEAKING = Field(name="repaid", sample=Marginal(leak=Leak(defaulted=0.5)))
LOANS = Table(name="loans", file="loans.csv")


def leak(**keys):
    return Field(name="repaid", sample=Marginal(leak=Leak(defaulted=0.5, **keys)))


@pytest.mark.parametrize(
    "fields, keys, expected",
    [
        (
            (Field(name="credit_score"),),
            {},
            "credit_score is a reserved name for an output of the model: rename the column",
        ),
        ((AGE, AGE), {}, "field given twice: age"),
        (
            (AGE, Field(name="years", alias="age")),
            {},
            "the alias age of one field is the name of another",
        ),
        (
            (Field(name="x-1", alias="x"), Field(name="x-2", alias="x")),
            {},
            "alias given twice: x",
        ),
        ((Field(name="bad"),), {}, "the target bad must not be a field as well"),
        (
            SHOP,
            dict(derived=(Derived(name="d", op="sum", fields=("agee",)),)),
            "derived d: no field or earlier derived feature named agee",
        ),
        (
            SHOP,
            dict(derived=(Derived(name="age", op="sum", fields=("income",)),)),
            "derived age: that name is taken",
        ),
        (
            SHOP,
            dict(derived=(Derived(name="d", op="sum", fields=("housing",)),)),
            "derived d: housing is text, not a number",
        ),
        (
            SHOP,
            dict(
                derived=(
                    Derived(name="d", op="sum", fields=("income",)),
                    Derived(name="gaps", op="missing", fields=("d",)),
                )
            ),
            "derived gaps: `missing` is about what was stated, so it takes fields, not d",
        ),
        (
            (Field(name="debt_ratio", per="income"),),
            {},
            "debt_ratio: it is a ratio to 'income', which must be another field that is a number",
        ),
        ((EGG,), {}, "egg: its sample depends on chicken, which is no field"),
        (
            (CHICKEN, EGG),
            {},
            "the samples of these fields depend on each other: egg, chicken",
        ),
        ((leak(becomes="none"),), {}, "repaid: its leak must become a number, or missing"),
        (
            (AGE, leak(together="age")),
            {},
            "repaid: 'age', which it leaks together with, has no leak",
        ),
        (
            (LEAKING,),
            dict(synthetic=Synthetic(terms=(Term(field="repaid", coefficient=1),))),
            "synthetic outcome: repaid is changed by the outcome, so the outcome cannot depend on "
            "it",
        ),
        (
            SHOP,
            dict(synthetic=Synthetic(terms=(Term(field="salary", coefficient=1),))),
            "synthetic outcome: no field named salary",
        ),
        (SHOP, dict(date="age"), "the date age must not be a field or the target as well"),
        (SHOP, dict(tables=(LOANS,)), "`tables` need a `key` that joins them"),
        (SHOP, dict(key="customer"), "a `key` is for `tables`"),
        (
            SHOP,
            dict(tables=(LOANS,), key="age"),
            "the key age must not be a field: it tells who somebody is, not what they are like",
        ),
        (
            SHOP,
            dict(tables=(Table(name="loans", file="l.csv", optional=True),), key="id"),
            "table loans is the main one, which cannot be optional",
        ),
        (SHOP, dict(tables=(LOANS, LOANS), key="id"), "table given twice: loans"),
        (
            SHOP,
            dict(tables=(LOANS, Table(name="bureau", file="b.csv", fields=("score",))), key="id"),
            "table bureau: no field named score",
        ),
        (
            SHOP,
            dict(
                tables=(LOANS, Table(name="bureau", file="b.csv", fields=("age",), optional=True)),
                key="id",
            ),
            "table bureau is optional, so age cannot be required",
        ),
        (
            SHOP,
            dict(scenarios=(NO_CHANGE,)),
            "every portfolio has the scenario none: give yours another name",
        ),
        (
            SHOP,
            dict(scenarios=(Scenario(name="s", title="S"), Scenario(name="s", title="T"))),
            "scenario s is given twice",
        ),
    ],
)
def test_a_portfolio_that_cannot_be_meant(fields, keys, expected):
    with pytest.raises(pydantic.ValidationError) as error:
        shop(*fields, **keys)
    assert message(error) == expected


def with_shift(**shift):
    return shop(scenarios=(Scenario(name="s", title="S", shifts=(Shift(**shift),)),))


@pytest.mark.parametrize(
    "shift, expected",
    [
        (dict(field="salary", op="missing"), "salary is no field; there are age, income, housing"),
        (dict(field="age", op="missing"), "age is required, so it cannot be missing"),
        (
            dict(field="housing", op="plus", value=1),
            "housing is text: `set` and `missing` are for it",
        ),
        # what a scenario sets has to be allowed, too
        (dict(field="age", op="set", value=-5), f"age must be set to {AGE.allowed()}"),
        (dict(field="age", op="set", value="45"), f"age must be set to {AGE.allowed()}"),
        (dict(field="housing", op="set", value="TENT"), "housing must be set to one of OWN, RENT"),
        (dict(field="housing", op="set", value=1), "housing must be set to one of OWN, RENT"),
    ],
)
def test_a_scenario_is_held_against_the_fields(shift, expected):
    with pytest.raises(pydantic.ValidationError) as error:
        with_shift(**shift)
    assert message(error) == f"scenario s: {expected}"


def test_a_scenario_may_set_what_is_allowed():
    assert with_shift(field="age", op="set", value=30).scenarios[0].shifts[0].value == 30.0


def test_no_field_may_have_the_name_of_a_result():
    assert {*RESULT_COLUMNS, "prediction_id", "timestamp", "outcome"} <= RESERVED
