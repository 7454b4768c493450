"""conftest.py is code that decides whether a test counts; these run it on tests of their own."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from interrupts import take_interrupts

TESTS = """
import os
import warnings

import pytest


def test_plain():
    assert "CREDIT_DEFAULT_DATA" not in os.environ and "CREDIT_DEFAULT_SIGNUP" not in os.environ


@pytest.mark.skip(reason="no browser here")
def test_skipped():
    pass


@pytest.mark.xfail
def test_expected_failure():
    assert False


def test_on_real_data(real_data):
    assert (real_data("gmsc") / "cs-training.csv").exists()
    assert (os.path.join(os.environ["CREDIT_DEFAULT_DATA"], "gmsc")) == str(real_data("gmsc"))
"""

MODULE_THAT_SKIPS = 'import pytest\n\npytest.importorskip("no_such_module")\n'


@pytest.fixture
def run(tmp_path):
    """Runs pytest on TESTS with conftest.py beside them, under the given settings; its exit code
    and output.
    """
    shutil.copy(Path(__file__).parents[1] / "conftest.py", tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS)

    def run(**settings):
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("CREDIT_DEFAULT_")
        }
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-rs",
                "-p",
                "no:cacheprovider",
                "--rootdir",
                tmp_path,
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=environment | settings,
        )
        return done.returncode, done.stdout

    return run


def test_a_skip_names_its_reason(run):
    code, output = run(CREDIT_DEFAULT_SIGNUP="open")
    assert code == 0, output
    assert "1 passed, 2 skipped, 1 xfailed" in output
    assert "real data: CREDIT_DEFAULT_DATA is not set" in output


def test_a_skip_is_a_failure_where_that_is_asked_for(run):
    code, output = run(CREDIT_DEFAULT_NO_SKIP="1")
    assert code == 1
    assert "no browser here" in output and "a skip is a failure" in output
    assert "1 passed, 1 deselected, 1 xfailed, 1 error" in output, output


def test_a_module_that_skips_is_a_failure_too(run, tmp_path):
    (tmp_path / "test_other.py").write_text(MODULE_THAT_SKIPS)
    code, output = run(CREDIT_DEFAULT_NO_SKIP="1")
    assert code != 0
    assert "no_such_module" in output and "a skip is a failure" in output


def test_real_data_is_seen_by_the_tests_that_ask_for_it(run, tmp_path):
    data = tmp_path / "data"
    (data / "gmsc").mkdir(parents=True)
    (data / "gmsc" / "cs-training.csv").write_text("")
    code, output = run(CREDIT_DEFAULT_DATA=str(data))
    assert "2 passed, 1 skipped, 1 xfailed" in output and code == 0, output


def test_this_run_has_a_model_store_of_its_own(bentoml_home):
    assert os.environ["BENTOML_HOME"] == str(bentoml_home) != str(Path.home() / "bentoml")
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_a_child_is_interrupted_also_where_the_tests_run_in_the_background():
    wait = "import time; print(flush=True); time.sleep(60)"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", wait], preexec_fn=take_interrupts, stdout=-1, stderr=-1
        )
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, error = child.communicate(timeout=20)
    finally:
        signal.signal(signal.SIGINT, before)
    assert child.returncode == -signal.SIGINT and b"KeyboardInterrupt" in error
