"""The portfolios that ship: their TOML files mean exactly what bundles already hold."""

import hashlib
import json
import subprocess
import sys

import pydantic
import pytest

from credit_default.portfolio.applicant import applicant_model
from credit_default.portfolio.catalogue import SHIPPED, get_portfolio
from credit_default.portfolio.columns import find_refused, parse_table

# A bundle's content hash depends on the first, the synthetic sample and simulations on the second.
# Whoever changes a definition on purpose changes these lines, and every new bundle's tag with them.
DEFINITIONS = {
    "gmsc": (
        "870cf6ce9d6c4c6fadaa395aaf0ac82517f07fdd10c0428aa8afed412ab12f0d",
        "53c66dcce09529364902348b4cf4ef76b7c8bd55758bbac65e11f2b29dad1c26",
    ),
    "personal": (
        "18461b579c3ba42d57f15eadb2654fce3eeeec70bd8d09338594aa8b622ee2c6",
        "580563871aa1892800255244ef5396b85ee93f948c4327be2115e04099b42090",
    ),
    "mortgage": (
        "4f9318ac9bd30507c8393995364e14836629d4bda5655fbe8a82871f41ee8eb6",
        "5a0d055d808b6a2caab46f2e7c1740165c7af69b55639b20369766761501799a",
    ),
    "lending": (
        "758868ac5967e494f34f828a64a4f6f3709a58cf29fe2f8157130d4ccbc17e2b",
        "b005cb2b6c5d29cc145fa7c6b835054fee3f7cab1fefb532932b183f6ddac1ab",
    ),
}


def digest(content):
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_definition_is_the_one_that_bundles_hold(name):
    portfolio = SHIPPED[name]
    assert DEFINITIONS[name] == (
        digest(portfolio.to_json()),
        digest(portfolio.model_dump(mode="json", exclude_defaults=True)),
    )


def test_every_file_is_in_the_list_and_is_named_as_its_portfolio():
    assert [p.name for p in SHIPPED.values()] == list(SHIPPED) == list(DEFINITIONS)
    assert len(SHIPPED) == len(DEFINITIONS) and "persnal" not in SHIPPED
    with pytest.raises(KeyError):
        SHIPPED["persnal"]


def test_a_portfolio_is_read_once_and_does_not_remember_its_folder():
    assert get_portfolio("gmsc") is SHIPPED["gmsc"]
    assert SHIPPED["gmsc"].folder is None


def test_importing_the_list_reads_no_file():
    code = (
        "from credit_default.portfolio import catalogue\n"
        "print(catalogue._read_shipped.cache_info().misses)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


@pytest.mark.parametrize("name", SHIPPED)
def test_a_definition_read_from_a_bundle_is_the_same_but_for_its_scenarios(name, tmp_path):
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(SHIPPED[name].to_json()))
    expected = SHIPPED[name].model_copy(update=dict(scenarios=()))
    assert get_portfolio(path).model_dump() == expected.model_dump()


def test_a_file_that_is_missing_or_broken_is_named(tmp_path):
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(ValueError, match="cannot be read"):
        get_portfolio(tmp_path / "broken.toml")
    with pytest.raises(ValueError, match="no file missing.toml"):
        get_portfolio(tmp_path / "missing.toml")


REFUSED = {
    "mortgage": (
        dict(age=45),
        dict(age="44"),
        dict(Gender="joint"),
        dict(loan_amount=None),
        dict(year=2019),
    ),
    "lending": (
        dict(gender="male"),
        dict(income=None),
        dict(disbursal_date="2024-01-01"),
        dict(loan_purpose="Boat"),
    ),
}


def example_of(name):
    "The example of each field that an applicant states."
    return {f.alias: f.example for f in SHIPPED[name].fields if f.role == "applicant"}


@pytest.mark.parametrize("name, change", [(n, change) for n in REFUSED for change in REFUSED[n]])
def test_an_applicant_outside_the_definition_is_refused(name, change):
    model = applicant_model(SHIPPED[name])
    model.model_validate(example_of(name))
    with pytest.raises(pydantic.ValidationError):
        model.model_validate(example_of(name) | change)


def test_optional_fields_of_a_mortgage_may_be_missing():
    change = dict(Gender="Joint", age=None, income=0)
    applicant_model(SHIPPED["mortgage"]).model_validate(example_of("mortgage") | change)


@pytest.mark.parametrize("name, field", [("mortgage", "Gender"), ("lending", "marital_status")])
def test_a_protected_field_is_never_an_input(name, field):
    with pytest.raises(ValueError, match="protected"):
        SHIPPED[name].inputs(keep=(field,))


def test_a_leaky_field_that_is_kept_has_to_be_stated():
    kept = applicant_model(SHIPPED["mortgage"], keep=("credit_type",))
    with pytest.raises(pydantic.ValidationError, match="credit_type"):
        kept.model_validate(example_of("mortgage"))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_examples_of_all_fields_are_accepted(name):
    portfolio = SHIPPED[name]
    columns = parse_table(portfolio, {f.name: [f.example] for f in portfolio.fields})
    assert find_refused(portfolio, columns) == []
