"""House rules that no linter knows: small cells, short functions, one meaning for a name."""

import ast
import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_CELL_LINES = 40
MAX_FUNCTION_LINES = 50
MAX_SUBTITLE = 94  # characters, so that the docstring of the module fits a line of 100
# What each module has for itself: its logger, and what it adds to the routes of the application.
OF_EACH_MODULE = {"log", "add_routes"}


def is_imports(source):
    "Whether a cell does nothing but import."
    return all(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(source).body)


def long_cells(folder):
    "Exported cells of too many lines, by notebook."
    found = []
    for path in sorted(folder.rglob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"]).strip()
            n = len(source.splitlines())
            if source.startswith("#| export") and n > MAX_CELL_LINES and not is_imports(source):
                found.append(f"{path.relative_to(folder)}: cell {cell.get('id')} of {n} lines")
    return found


def long_subtitles(folder):
    "Chapters whose subtitle, the docstring of their module, is too long for a line."
    found = []
    for path in sorted(folder.rglob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in cells]
        if sources and sources[0].startswith("#| default_exp"):
            title = next(source for source in sources if source.startswith("# "))
            subtitle = next(line for line in title.splitlines() if line.startswith("> "))
            if len(subtitle.removeprefix("> ")) > MAX_SUBTITLE:
                found.append(str(path.relative_to(folder)))
    return found


def kept_warnings(folder):
    "Chapters that keep a warning of a package, which names a folder of somebody's machine."
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*.ipynb"))
        if "site-packages/" in path.read_text(encoding="utf-8")
    ]


def numbers_used_twice(folder):
    "Numbers that several chapters of a folder have."
    where = Counter(
        (str(path.parent.relative_to(folder)), path.name.partition("_")[0])
        for path in folder.rglob("[0-9]*_*.ipynb")
    )
    return sorted(place for place, n in where.items() if n > 1)


def modules(folder):
    "The syntax of each module that was written, by path."
    return {
        path.relative_to(folder): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.py"))
        if path.name not in ("__init__.py", "_modidx.py") and "migrations" not in path.parts
    }


def long_functions(folder):
    "Functions of too many lines."
    return [
        f"{path}: {node.name}, {node.end_lineno - node.lineno + 1} lines"
        for path, tree in modules(folder).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    ]


def names_of(tree):
    "The public functions, classes and constants that a module defines."
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        yield from (name for name in names if not name.startswith("_"))


def names_with_two_meanings(folder):
    "Public names that several modules define, with the modules."
    where = defaultdict(set)
    for path, tree in modules(folder).items():
        for name in names_of(tree):
            where[name].add(str(path))
    return {
        name: sorted(paths)
        for name, paths in where.items()
        if len(paths) > 1 and name not in OF_EACH_MODULE
    }


def test_exported_cells_are_small():
    assert long_cells(ROOT / "nbs") == []


def test_no_chapter_keeps_a_warning_of_a_package(tmp_path):
    assert kept_warnings(ROOT / "nbs") == []
    (tmp_path / "a.ipynb").write_text('"/home/ada/lib/site-packages/tqdm/auto.py:21: TqdmWarning"')
    assert kept_warnings(tmp_path) == ["a.ipynb"]


def test_subtitles_fit_a_line():
    assert long_subtitles(ROOT / "nbs") == []


def test_each_chapter_has_a_number_of_its_own():
    assert numbers_used_twice(ROOT / "nbs") == []


def test_functions_are_short():
    assert long_functions(ROOT / "credit_default") == []


def test_a_public_name_has_one_meaning():
    assert names_with_two_meanings(ROOT / "credit_default") == {}


@pytest.mark.parametrize("n, is_found", [(39, False), (40, True)])
def test_a_long_cell_is_found(tmp_path, n, is_found):
    lines = ["#| export\n", *(f"a{i} = {i}\n" for i in range(n))]
    cells = [{"cell_type": "code", "id": "0a1b", "source": lines}]
    (tmp_path / "01_some.ipynb").write_text(json.dumps({"cells": cells}))
    assert bool(long_cells(tmp_path)) == is_found


def test_a_long_function_and_a_name_used_twice_are_found(tmp_path):
    body = "".join(f"    a{i} = {i}\n" for i in range(50))
    (tmp_path / "a.py").write_text(f"def measure():\n{body}\nLIMIT = 3\n_OWN = 1\n")
    (tmp_path / "b.py").write_text("LIMIT: int = 4\n_OWN = 2\nlog = None\n")
    assert long_functions(tmp_path) == ["a.py: measure, 51 lines"]
    assert names_with_two_meanings(tmp_path) == {"LIMIT": ["a.py", "b.py"]}


@pytest.mark.parametrize("n, is_found", [(94, False), (95, True)])
def test_a_long_subtitle_and_a_number_used_twice_are_found(tmp_path, n, is_found):
    sources = ["#| default_exp a", f"# A\n\n> {'b' * n}\n"]
    cells = [{"cell_type": "raw", "source": [source]} for source in sources]
    for name in ("01_some.ipynb", "02_others.ipynb"):
        (tmp_path / name).write_text(json.dumps({"cells": cells}))
    assert bool(long_subtitles(tmp_path)) == is_found
    assert numbers_used_twice(tmp_path) == []
    (tmp_path / "02_more.ipynb").write_text(json.dumps({"cells": cells}))
    assert numbers_used_twice(tmp_path) == [(".", "02")]
