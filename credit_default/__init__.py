"""From a table of past loans to a reviewed, calibrated, explained probability of default.

What a data scientist types in a notebook::

    import credit_default as cd

    portfolio = cd.load_portfolio("gmsc")
    training = cd.train(cd.load_data(portfolio))
    training.model.predict(applicants)

Nothing is imported before it is used: the service and the commands import this package too.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Whoever waits for another thread sleeps instead of spinning. On a machine that does other work
# too, spinning makes XGBoost several times slower. OpenMP reads this once, when the library is
# first imported, so it stands here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from .core.errors import CreditDefaultError as CreditDefaultError
    from .core.errors import InvalidInput as InvalidInput
    from .core.errors import Unavailable as Unavailable
    from .data.sources import DataError as DataError
    from .evaluation.hazard import HistoryError as HistoryError
    from .evaluation.lifetime import LifetimeError as LifetimeError
    from .evaluation.stress import StressError as StressError
    from .face.classifier import CreditDefaultClassifier as CreditDefaultClassifier
    from .face.display import Card as Card
    from .face.drift import DriftTable as DriftTable
    from .face.drift import drift as drift
    from .face.evaluation import Evaluation as Evaluation
    from .face.lifetime import LifetimeTable as LifetimeTable
    from .face.lifetime import lifetime as lifetime
    from .face.loans import LoanData as LoanData
    from .face.loans import add_derived as add_derived
    from .face.loans import load_data as load_data
    from .face.loans import load_portfolio as load_portfolio
    from .face.loans import propose_portfolio as propose_portfolio
    from .face.model import CreditModel as CreditModel
    from .face.model import UnknownModelError as UnknownModelError
    from .face.model import load_model as load_model
    from .face.rejects import RejectTable as RejectTable
    from .face.rejects import reject_inference as reject_inference
    from .face.strategy import StrategyTable as StrategyTable
    from .face.strategy import strategy as strategy
    from .face.stress import StressTable as StressTable
    from .face.stress import stress as stress
    from .face.tables import RefusedRowsError as RefusedRowsError
    from .face.tables import TableError as TableError
    from .face.training import TrainingRun as TrainingRun
    from .face.training import train as train
    from .portfolio.definition import Portfolio as Portfolio
    from .portfolio.derived import Derived as Derived
    from .portfolio.field import Field as Field
    from .portfolio.strategy import StrategyError as StrategyError
    from .scoring.bundle import BundleError as BundleError
    from .training.candidates import CandidateError as CandidateError
    from .training.candidates import register_candidate as register_candidate
    from .training.candidates import registered_candidates as registered_candidates
    from .training.candidates import remove_candidate as remove_candidate

# Each public name, by the module that defines it.
_MODULES = {
    "core.errors": ("CreditDefaultError", "InvalidInput", "Unavailable"),
    "data.sources": ("DataError",),
    "evaluation.hazard": ("HistoryError",),
    "evaluation.lifetime": ("LifetimeError",),
    "evaluation.stress": ("StressError",),
    "face.classifier": ("CreditDefaultClassifier",),
    "face.display": ("Card",),
    "face.drift": ("DriftTable", "drift"),
    "face.evaluation": ("Evaluation",),
    "face.lifetime": ("LifetimeTable", "lifetime"),
    "face.loans": (
        "LoanData",
        "add_derived",
        "load_data",
        "load_portfolio",
        "propose_portfolio",
    ),
    "face.model": ("CreditModel", "UnknownModelError", "load_model"),
    "face.rejects": ("RejectTable", "reject_inference"),
    "face.strategy": ("StrategyTable", "strategy"),
    "face.stress": ("StressTable", "stress"),
    "face.tables": ("RefusedRowsError", "TableError"),
    "face.training": ("TrainingRun", "train"),
    "portfolio.definition": ("Portfolio",),
    "portfolio.derived": ("Derived",),
    "portfolio.field": ("Field",),
    "portfolio.strategy": ("StrategyError",),
    "scoring.bundle": ("BundleError",),
    "training.candidates": (
        "CandidateError",
        "register_candidate",
        "registered_candidates",
        "remove_candidate",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", *sorted(_MODULE_OF)]


def __getattr__(name: str) -> Any:
    "Import a public name when it is first used."
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    except ModuleNotFoundError as error:
        from .core.extras import explain_import

        raise explain_import(error) or error from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    "Return what may be typed after `cd.`."
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
