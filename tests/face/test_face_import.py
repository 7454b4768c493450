"""`import credit_default` costs next to nothing, and finds each public name when it is used."""

import subprocess
import sys

import pytest

import credit_default as cd

HEAVY = ("pandas", "xgboost", "numpy", "sklearn", "pydantic", "optuna", "bentoml")


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_nothing_heavy_is_imported():
    loaded = run(f"import sys, credit_default; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded == "[]"


def test_importing_costs_under_50_ms():
    code = (
        "import time; t = time.perf_counter(); import credit_default; "
        "print(time.perf_counter() - t)"
    )
    assert min(float(run(code)) for _ in range(3)) < 0.05


def test_every_public_name_is_there_and_described():
    assert len(cd.__all__) == len(set(cd.__all__)) > 15
    assert "importlib" not in dir(cd)  # completion offers what is public
    for name in cd.__all__:
        assert name in dir(cd)
        value = getattr(cd, name)
        assert name == "__version__" or value.__doc__, name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lode_model'"):
        cd.lode_model  # noqa: B018 - the access is what is tested


@pytest.mark.parametrize(
    "name",
    [
        "load_portfolio",
        "propose_portfolio",
        "add_derived",
        "load_data",
        "train",
        "load_model",
        "drift",
        "strategy",
        "stress",
        "lifetime",
        "reject_inference",
        "register_candidate",
        "CreditDefaultClassifier",
        "CreditModel.predict",
        "CreditModel.explain",
        "CreditModel.reasons",
        "CreditModel.helped",
        "CreditModel.evaluate",
        "CreditModel.save",
        "CreditModel.promote",
        "TrainingRun.report",
        "TrainingRun.pd_intervals",
        "StressTable",
        "LifetimeTable",
        "RejectTable",
        "Evaluation",
        "DriftTable",
        "TrainingRun",
        "CreditModel",
        "Card",
    ],
)
def test_every_docstring_has_an_example(name):
    value = cd
    for part in name.split("."):
        value = getattr(value, part)
    assert "Examples\n" in value.__doc__


def test_errors_are_of_one_kind():
    for name in ("TableError", "RefusedRowsError", "CandidateError"):
        assert issubclass(getattr(cd, name), cd.CreditDefaultError)
        assert issubclass(getattr(cd, name), ValueError)


def test_wrong_arguments_are_of_that_kind():
    loans = cd.load_data("gmsc")
    for call in (
        lambda: cd.load_portfolio("gmcs"),
        lambda: cd.train(loans, preset="fast"),
        lambda: cd.train(loans, champion="best"),
        lambda: cd.train(loans, keep=["nothing"]),
        lambda: cd.add_derived(
            loans.portfolio, cd.Derived(name="x", op="missing", fields=("nothing",))
        ),
    ):
        with pytest.raises(cd.CreditDefaultError):
            call()
