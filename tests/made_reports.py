"""The three reports on a small synthetic file, made once for all tests that look at them."""

import functools
import html
import math
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from credit_default.data.synthetic import save_sample
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.reporting.running import ReportRun, run_report

ROWS = 2000


@dataclass
class Made:
    folder: Path
    data: Path
    current: Path
    portfolio: str
    runs: dict[str, ReportRun]

    def again(self, name, run):
        "The same report once more, in a folder of its own."
        return report(name, self, run)


def report(name, made, run):
    parameters = dict(
        eda=dict(data=made.data),
        training=dict(data=made.data, trials=2),
        drift=dict(current=made.current),
    )[name]
    # A model store of its own: other tests of this session have champions too.
    with patch.dict(os.environ, BENTOML_HOME=str(made.folder / "bentoml")):
        found = run_report(
            name, made.portfolio, parameters, root=made.folder / "reports", run=run, progress=False
        )
        if found.content["run"].get("held_back"):
            # two trials on two thousand rows meet not all checks: the tests decide all the same
            promote(found.content["result"]["model_version"], made.portfolio)
    return found


def promote(tag, portfolio):
    "Make a model champion that does not meet its checks, in a process that knows this store."
    code = (
        "import sys; from credit_default.scoring.registry import promote_bundle; "
        "promote_bundle(*sys.argv[1:], by='tests', why='a test', failed_checks=True)"
    )
    subprocess.run([sys.executable, "-c", code, tag, portfolio], check=True)


@functools.cache
def reports(portfolio):
    "EDA, training and drift of a portfolio."
    folder = Path(tempfile.mkdtemp(prefix="reports-"))
    definition = get_portfolio(portfolio)
    made = Made(
        folder,
        save_sample(definition, folder, ROWS, seed=1),
        save_sample(definition, folder / "current", ROWS, seed=2),
        portfolio,
        {},
    )
    for name in ("eda", "training", "drift"):
        made.runs[name] = report(name, made, "first")
    return made


def comparable(run):
    "What two runs with the same parameters and data have in common: all but times and places."
    return {k: v for k, v in run.content.items() if k != "run"}


def values(content, kind):
    "All values of a type in nested JSON."
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        return [v for item in content for v in values(item, kind)]
    return [content] if isinstance(content, kind) and not isinstance(content, bool) else []


def text_of(cell):
    return (
        html.unescape(re.sub(r"<[^>]+>", "", cell))
        .replace("\u202f%", "%")
        .replace("\u2212", "-")
        .strip()
    )


NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d+))?(?:e[+-]?\d+)?(%?)")


def stands_in(shown, known):
    "Whether one of the known numbers, rounded, is the one that is shown."
    decimals, percent = NUMBER.fullmatch(shown).groups()
    value = float(shown.rstrip("%").replace(",", ""))
    rounding = 0.5000001 * 10 ** -len(decimals or "")
    if "e" in shown:
        rounding = abs(value) * 1e-3
    # a number without decimals may be rounded to four digits that count
    return any(
        math.isclose(v * (100 if percent else 1), value, rel_tol=0, abs_tol=rounding) for v in known
    )


def numbers_shown(run):
    "The numbers in the page's tables and sentences, and those of them that its JSON does not hold."
    known, texts = values(run.content, (int, float)), set(values(run.content, str))
    page = re.sub(r'srcdoc="[^"]*"', "", run.html.read_text(encoding="utf-8"))
    cells = [
        text_of(cell)
        for cell in re.findall(r"<td[^>]*>(.*?)</td>|<b>(.*?)</b>", page, flags=re.S)
        for cell in cell
        if cell
    ]
    numbers = [cell for cell in cells if NUMBER.fullmatch(cell) and cell not in texts]
    return numbers, [cell for cell in numbers if not stands_in(cell, known)]
