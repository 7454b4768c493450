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
        "512fb825c3890e5abaee7e47401ab9d365588b9c3849d53a26295fcce119384c",
        "95a07a58e5826b64054d514ab91fdaee8ff9b90aff60d14973786b64be2aca08",
    ),
    "personal": (
        "b048d2aae7c2960234f58725ade0c3de87c0d0b5535e9602b028ffd84b9f3d1c",
        "40290548d8fee045ecff79306a71a7d9e4964881004b806ec04a1a385bb23c1d",
    ),
    "mortgage": (
        "02ca4e690e13d8730542d9b2ccdbfd67ee078da258b72a4b5877636ccbc58733",
        "1ecfeebcd92e78eadb31a2f473ca12b25281cb6029cc702ff3fbaefbbcf81d50",
    ),
    "lending": (
        "4d35dade0c0bffc202e477aaf29e9d65507d7958515ee8a0a6a87d19fa4bf30d",
        "423e3f49cec5cc2d80e7d882188c20706f9b193a2facbaea70d2ea4bb2b6255f",
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
