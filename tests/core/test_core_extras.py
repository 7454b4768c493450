"""The extras: the list in the chapter is that of settings.ini, and whatever is missing is named."""

import os
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from credit_default.core.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[2]

SERVING = re.findall(r"^([\w.-]+)==", (ROOT / "requirements-serving.lock").read_text(), flags=re.M)
HIDDEN = {m for packages in EXTRAS.values() for p, m in packages.items() if p not in SERVING}
# Python as it is where the packages of the extras are not installed.
WITHOUT_EXTRAS = f"""
import sys
from importlib.machinery import PathFinder
HIDDEN = {HIDDEN!r}
class WithoutExtras(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutExtras
"""


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_packages_of_an_extra_are_those_of_the_settings(extra):
    parser = ConfigParser(delimiters=["="], interpolation=None)
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    lines = parser["DEFAULT"][f"{extra}_requirements"].split("\n")
    assert set(EXTRAS[extra]) == {Requirement(line).name for line in lines if line.strip()}


@pytest.fixture
def without_extras(tmp_path):
    "A function that runs Python code in an empty folder, without the packages of the extras."
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(WITHOUT_EXTRAS)
    (tmp_path / "empty").mkdir()
    own = {k: v for k, v in os.environ.items() if not k.startswith("CREDIT_DEFAULT_")}
    environment = own | dict(
        PYTHONPATH=f"{tmp_path / 'hook'}:{ROOT}", BENTOML_HOME=str(tmp_path / "bentoml")
    )

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path / "empty",
            env=environment,
            capture_output=True,
            text=True,
        )

    run.folder = tmp_path
    return run


@pytest.mark.parametrize(
    "command",
    [
        "data",
        "audit loans.csv --target defaulted",
        "init loans.csv --target defaulted",
        "eda",
        "train",
        "drift",
        "watch",
        "simulate",
        "evaluate loans.csv",
        "reproduce champion",
        "models compare 3f0c9a1b2c3d4e5f",
        "run",
        "score applicants.parquet scored.parquet",
        "log export 2026.parquet",
    ],
)
def test_a_command_names_its_extra_before_it_touches_anything(without_extras, command):
    done = without_extras("-m", "credit_default.cli", *command.split())
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"credit-default: not installed: .*\[train\]'\n", done.stderr), done.stderr
    assert not [*(without_extras.folder / "empty").iterdir()]
    assert not (without_extras.folder / "bentoml").exists()


def test_bigquery_is_an_extra_of_its_own(without_extras):
    done = without_extras("-m", "credit_default.cli", "log", "export", "bigquery://risk/log")
    assert done.returncode == 1 and "pip install 'credit-default[bigquery]'" in done.stderr


@pytest.mark.parametrize("command", ["models list", "user list", "serve --help", "train --help"])
def test_other_commands_and_all_helps_need_no_extra(without_extras, command):
    done = without_extras("-m", "credit_default.cli", *command.split())
    assert "not installed" not in done.stderr and "Traceback" not in done.stderr


def test_the_python_api_names_the_extra_too(without_extras):
    done = without_extras("-c", "import credit_default as cd; cd.load_data()")
    assert "MissingExtra: not installed: " in done.stderr and "[train]" in done.stderr
