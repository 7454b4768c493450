"""A command and its report read the file once, and leave no applicant behind."""

import os
import signal
import subprocess
import sys
import time

import pytest
from interrupts import take_interrupts
from made_reports import comparable, reports

from credit_default.reporting.running import ReportRun

COMMAND = [sys.executable, "-c", "from credit_default.cli.app import main; main()"]
# Python imports it in each process before anything else
WATCH = """
import os, sys

def note(event, arguments):
    if event == "open" and str(arguments[0]).endswith(os.environ["WATCHED"]):
        with open(os.environ["OPENED"], "a") as readers:
            readers.write(f"{os.getpid()}\\n")

sys.addaudithook(note)
"""


@pytest.fixture
def place(tmp_path):
    "Folders of a command: `work`, where it runs, and `temporary`; and its environment."
    for name in ("work", "temporary", "hook"):
        (tmp_path / name).mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(WATCH)
    environment = dict(
        BENTOML_HOME=str(tmp_path / "bentoml"),
        PYTHONPATH=str(tmp_path / "hook"),
        TMPDIR=str(tmp_path / "temporary"),
        OPENED=str(tmp_path / "opened"),
    )
    return tmp_path, os.environ | environment


def kept(folder):
    return list((folder / "temporary").glob("credit-default-*"))


def test_a_report_takes_the_rows_that_its_command_has_read(place):
    made, (folder, environment) = reports("gmsc"), place
    command = [*COMMAND, "eda", "--path", str(made.data)]
    done = subprocess.run(
        command,
        cwd=folder / "work",
        env=environment | dict(WATCHED=made.data.name),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    readers = (folder / "opened").read_text().split()
    assert len(readers) == 1 and not kept(folder)
    [run] = (folder / "work" / "reports" / "gmsc").glob("*/eda.json")
    paths = (run.with_suffix(suffix) for suffix in (".html", ".ipynb", ".json"))
    found = ReportRun("eda", run.parent, *paths)
    assert comparable(found) == comparable(made.runs["eda"])
    assert "SHARED_ROWS" not in found.html.read_text() + found.notebook.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_command_leaves_no_rows_behind(place, number):
    made, (folder, environment) = reports("gmsc"), place
    process = subprocess.Popen(
        [*COMMAND, "eda", "--path", str(made.data)],
        cwd=folder / "work",
        env=environment | dict(WATCHED=made.data.name),
        preexec_fn=take_interrupts,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120
    while not any(found.glob("*/frame.feather") for found in kept(folder)):
        assert time.monotonic() < until
        time.sleep(0.05)
    [rows] = kept(folder)
    assert rows.stat().st_mode & 0o777 == 0o700
    process.send_signal(number)
    assert process.wait(60) and not kept(folder)
