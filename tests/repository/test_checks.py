"""`make check` runs each of its tools, and each tool finds the fault that is planted for it."""

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
