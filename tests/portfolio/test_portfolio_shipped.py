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
        "bd4cdd0930ed6104a50193a5abb7610b9b7014abbb4dac69f1a8a65e0f734a3b",
        "aa607a575f1608b78e4e2ff99bed1b46495e579162eab89844f03f3012448292",
    ),
    "personal": (
        "c84a1606d9a639579affef294633a2ed1925798ad999e9e42bb2aa5246083468",
        "ce39dd747b8d6628c15478b5bd66500a9945439cbcf8eee216a0112d2f0dd75c",
    ),
    "mortgage": (
        "568444129c5994fd026e7d0cc1c110e0c2153ed12db7886c4a451a5bb7cd423a",
        "bc990fcbaa4e452b49d47dc1823b042830cc6f681acc4f09ca3b996501243d7a",
    ),
    "lending": (
        "b3a88fdc70fa87cba217793702e2761d880db7faa39e4a7d2240fe0c9562e88d",
        "a2be804bf73874b4e117f340afecbda830d2cd3d0823f6a3b4a7059df1a0c771",
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
