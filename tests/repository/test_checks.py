"""`make check` runs each of its tools, and each tool finds the fault that is planted for it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

CLEAN = '''"""A module."""


def utilization(balance: float, limit: float) -> float:
    """Return the share of the limit in use."""
    return balance / limit
'''


def run(*command, cwd):
    return subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def planted(tmp_path):
    "A project with this one's configuration and one module: `planted(text)` writes it."
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    package = tmp_path / "planted"
    package.mkdir()
    (package / "__init__.py").write_text('"""A package."""\n')

    def write(text):
        (package / "module.py").write_text(text)
        return tmp_path

    return write


def test_make_check_runs_all_tools():
    commands = run("make", "--dry-run", "check", cwd=ROOT).stdout
    for tool in (
        "source_of_truth.py",
        "ruff format --check",
        "ruff check",
        "bin/mypy",
        "bin/lint-imports",
    ):
        assert tool in commands


# `make check` itself, on a project of one chapter and this project's configuration.

LAYERS = [
    "cli",
    "service",
    "face",
    "tracking",
    "reporting",
    "training",
    "serving",
    "monitoring",
    "evaluation",
    "store",
    "scoring",
    "data",
    "portfolio",
    "core",
]
CHAPTER = """#| export
def utilization(balance: float, limit: float) -> float:
    "Return the share of the limit in use."
    return balance / limit"""


def code_cell(number, source):
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": f"cell{number}",
        "metadata": {},
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }


class Project:
    """A checkout with one chapter, `core/01_usage`, exported and clean."""

    def __init__(self, root):
        self.root = root
        self.chapter = root / "nbs" / "core" / "01_usage.ipynb"
        self.module = root / "credit_default" / "core" / "usage.py"
        for name in ("Makefile", "pyproject.toml", "settings.ini", "tools/source_of_truth.py"):
            (root / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, root / name)
        (root / ".venv").symlink_to(BIN.parent)
        for name in LAYERS:
            package = root / "credit_default" / name
            package.mkdir(parents=True)
            (package / "__init__.py").write_text(f'"""{name.title()}."""\n')
        version = (ROOT / "credit_default" / "__init__.py").read_text().split("__version__ = ")[1]
        (root / "credit_default" / "__init__.py").write_text(
            f'"""A package."""\n\n__version__ = {version.splitlines()[0]}\n'
        )
        (root / "credit_default" / "scoring" / "__init__.py").write_text(
            '"""Scoring."""\n\nSCALE = 1.0\n'
        )
        self.write(CHAPTER)

    def write(self, source):
        "Write the chapter with this exported cell, and export it."
        title = {
            "cell_type": "markdown",
            "id": "cell0",
            "metadata": {},
            "source": ["# Usage\n", "\n", "> How much of a limit is in use."],
        }
        cells = [code_cell(1, "#| default_exp core.usage"), title, code_cell(2, source)]
        notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        self.chapter.parent.mkdir(parents=True, exist_ok=True)
        self.chapter.write_text(json.dumps(notebook))
        commands = (
            "from nbdev.doclinks import nbdev_export; from nbdev.clean import nbdev_clean; "
            "nbdev_export(); nbdev_clean()"
        )
        done = run(sys.executable, "-c", commands, cwd=self.root)
        assert done.returncode == 0, done.stderr

    def check(self):
        "Return what `make check` does; the environment is not set up again."
        done = run("make", "-o", ".venv/.set-up", "check", cwd=self.root)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv("IN_TEST", raising=False)
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    monkeypatch.setenv("MYPY_CACHE_DIR", os.devnull)
    return Project(tmp_path)


def test_make_check_passes_on_a_sound_project(project):
    code, said = project.check()
    assert code == 0, said


@pytest.mark.parametrize(
    ("change", "report"),
    [
        (("balance / limit", "balance/limit"), "Not formatted"),
        (("#| export\n", "#| export\nimport os\n\n\n"), "F401"),
        (("balance / limit", "str(balance / limit)"), "return-value"),
        (
            (
                "#| export\n",
                "#| export\nfrom credit_default.scoring import SCALE\n\n\n",
                "balance / limit",
                "balance / limit * SCALE",
            ),
            "BROKEN",
        ),
    ],
    ids=["ruff format", "ruff check", "mypy", "import-linter"],
)
def test_make_check_fails_on_a_fault_in_a_chapter(project, change, report):
    source = CHAPTER
    for old, new in zip(change[::2], change[1::2]):
        source = source.replace(old, new)
    project.write(source)
    code, said = project.check()
    assert code != 0 and report in said, said


def test_make_check_fails_on_a_module_that_was_edited(project):
    project.module.write_text(project.module.read_text().replace("share", "part"))
    code, said = project.check()
    assert code != 0 and "does not match what the notebooks export" in said


def test_make_check_fails_on_a_chapter_that_is_not_clean(project):
    notebook = json.loads(project.chapter.read_text())
    notebook["cells"][2]["execution_count"] = 3
    project.chapter.write_text(json.dumps(notebook, indent=1, sort_keys=True) + "\n")
    code, said = project.check()
    assert code != 0 and "is not clean" in said


# Each tool by itself, with this project's configuration.

TOOLS = {
    "format": [BIN / "ruff", "format", "--check", "planted"],
    "style": [BIN / "ruff", "check", "planted"],
    "types": [BIN / "mypy", "--cache-dir=.types", "--config-file=pyproject.toml", "-p", "planted"],
}
BRANCHES = "".join(f"    if x == {i}:\n        return {i * i}\n" for i in range(12))
FAULTS = {
    "an unformatted line": (
        "format",
        CLEAN.replace("balance / limit\n", "balance/limit\n"),
        "module",
    ),
    "an unused import": (
        "style",
        CLEAN.replace('."""\n\n\n', '."""\n\nimport os\n\n\n', 1),
        "F401",
    ),
    "a long line": ("style", CLEAN + f"\n\n# {'long ' * 20}\n", "E501"),
    "no docstring": (
        "style",
        CLEAN.replace('    """Return the share of the limit in use."""\n', ""),
        "D103",
    ),
    "a tangle": (
        "style",
        CLEAN + f'\n\ndef tangle(x):\n    """Return it."""\n{BRANCHES}    return None\n',
        "C901",
    ),
    "many parameters": (
        "style",
        CLEAN + '\n\ndef wide(a, b, c, d, e, f, g, h, i):\n    """Return it."""\n',
        "PLR0913",
    ),
    "a wrong type": (
        "types",
        CLEAN.replace("balance / limit\n", "str(balance / limit)\n"),
        "return-value",
    ),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_clean_module_passes(planted, tool):
    done = run(*TOOLS[tool], cwd=planted(CLEAN))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_named(planted, fault):
    tool, text, name = FAULTS[fault]
    assert text != CLEAN
    done = run(*TOOLS[tool], cwd=planted(text))
    assert done.returncode != 0 and name in done.stdout + done.stderr


@pytest.fixture
def package(tmp_path):
    "A copy of the package and of its contracts."
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "credit_default", tmp_path / "credit_default", ignore=ignored)
    return tmp_path


@pytest.mark.parametrize(
    "module, line",
    [
        ("core/paths.py", "import credit_default.scoring.bundle"),
        ("store/engine.py", "import pandas"),
        ("scoring/features.py", "import credit_default.training.training"),
    ],
)
def test_an_import_against_the_layers_is_found(package, module, line):
    with (package / "credit_default" / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = run(BIN / "lint-imports", "--no-cache", cwd=package)
    assert done.returncode != 0 and "BROKEN" in done.stdout
    assert f"credit_default.{module.removesuffix('.py').replace('/', '.')}" in done.stdout
