"""The three reports on a small synthetic file, made once for all tests that look at them."""
import functools
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from credit_default.data import save_sample
from credit_default.portfolios import get_portfolio
from credit_default.reporting import Run, run_report

ROWS = 2000


@dataclass
class Made:
    folder: Path
    data: Path
    current: Path
    portfolio: str
    runs: dict[str, Run]

    def again(self, name, run):
        "The same report once more, in a folder of its own."
        return report(name, self, run)


def report(name, made, run):
    parameters = dict(
        eda=dict(data=made.data),
        training=dict(data=made.data, trials=2),
        drift=dict(current=made.current))[name]
    # A model store of its own: other tests of this session have champions too.
    with patch.dict(os.environ, BENTOML_HOME=str(made.folder / "bentoml")):
        return run_report(name, made.portfolio, parameters, root=made.folder / "reports", run=run, progress=False)


@functools.cache
def reports(portfolio):
    "EDA, training and drift of a portfolio."
    folder = Path(tempfile.mkdtemp(prefix="reports-"))
    definition = get_portfolio(portfolio)
    made = Made(folder, save_sample(definition, folder, ROWS, seed=1), save_sample(definition, folder / "current", ROWS, seed=2), portfolio, {})
    for name in ("eda", "training", "drift"):
        made.runs[name] = report(name, made, "first")
    return made
