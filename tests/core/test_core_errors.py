"""The tree that the chapter on errors draws is the one that the modules make."""

import importlib
import json
import pkgutil
import re
from pathlib import Path

import credit_default
from credit_default.core.errors import CreditDefaultError

CHAPTER = Path(__file__).resolve().parents[2] / "nbs" / "core" / "01_errors.ipynb"


def drawn_tree() -> dict[str, str]:
    "Each exception of the drawing with its parent."
    cells = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]
    [drawing] = [s for c in cells if "├──" in (s := "".join(c["source"]))]
    parents, path = {}, []
    for line in drawing.splitlines():
        if not (found := re.match(r"([│ ]*)([├└]── )?([A-Z]\w+) ", line)):
            continue
        depth = (len(found[1]) + len(found[2] or "")) // 4
        path = [*path[:depth], found[3]]
        parents[found[3]] = path[-2] if depth else ""
    return parents


def kinds(parent) -> dict[str, str]:
    "Each exception below this one with its parent."
    found = {}
    for kind in parent.__subclasses__():
        if kind.__module__.startswith("credit_default."):
            found |= {kind.__name__: parent.__name__} | kinds(kind)
    return found


def test_the_tree_is_drawn_as_it_is():
    for module in pkgutil.walk_packages(credit_default.__path__, "credit_default."):
        if ".migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert drawn_tree() == {"CreditDefaultError": ""} | kinds(CreditDefaultError)
