"""Notebooks are the source: the check in this checkout, and the proof on small projects that it
finds what it must.
"""

import json
import re
import subprocess
import sys

import pytest
from source_of_truth import ROOT, problems

CHAPTER = {
    "cells": [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "a1",
            "metadata": {},
            "outputs": [],
            "source": "#| default_exp features",
        },
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "a2",
            "metadata": {},
            "outputs": [],
            "source": (
                '#| export\ndef utilisation(balance, limit):\n    "Share of the limit in '
                'use."\n    return balance / limit'
            ),
        },
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}
MODULE = "credit_default/features.py"
NOTEBOOK = "nbs/10_features.ipynb"


def nbdev(project, command):
    "Run nbdev's `command` in `project`, as its author would."
    subprocess.run(
        [sys.executable, "-c", f"from nbdev.{command}"],
        cwd=project,
        check=True,
        capture_output=True,
    )


def export(project):
    nbdev(project, "doclinks import nbdev_export; nbdev_export()")


def read(project):
    return json.loads((project / NOTEBOOK).read_text())


def write(project, notebook):
    (project / NOTEBOOK).write_text(json.dumps(notebook))
    nbdev(project, "clean import nbdev_clean; nbdev_clean()")


def snapshot(project):
    return {path: path.read_bytes() for path in sorted(project.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    "A project of one clean, exported chapter, one hand-written package and a version."
    project = tmp_path_factory.mktemp("project")
    (project / "settings.ini").write_text((ROOT / "settings.ini").read_text())
    (project / "nbs").mkdir()
    (project / "credit_default" / "store" / "migrations").mkdir(parents=True)
    (project / "credit_default" / "store" / "migrations" / "env.py").write_text("# by hand\n")
    write(project, CHAPTER)
    export(project)
    return project


@pytest.fixture
def project(exported, tmp_path):
    "A copy of it, to spoil."
    for path, content in snapshot(exported).items():
        copy = tmp_path / path.relative_to(exported)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
    return tmp_path


def checked(project):
    "The problems found, and the assurance that looking for them changed nothing."
    before = snapshot(project)
    found = problems(project)
    assert snapshot(project) == before
    return found


def test_this_checkout_is_clean_and_exported():
    assert not (found := problems()), "\n".join(found)


def test_an_exported_chapter_passes(project, monkeypatch):
    assert checked(project) == []
    monkeypatch.setenv("IN_TEST", "1")  # as inside nbdev_test, where nbdev_export does nothing
    assert checked(project) == []


def test_an_edit_of_a_chapter_passes_once_it_is_exported(project):
    notebook = read(project)
    notebook["cells"][1]["source"] = (
        "#| export\ndef utilisation(balance, limit): return balance / max(limit, 1)"
    )
    write(project, notebook)
    [found] = checked(project)
    assert MODULE in found and "nbdev_export" in found
    export(project)
    assert "max(limit, 1)" in (project / MODULE).read_text()
    assert checked(project) == []


def test_an_edit_of_a_module_is_found_and_left_alone(project, monkeypatch):
    edited = (project / MODULE).read_text().replace("balance / limit", "balance / limit * 100")
    (project / MODULE).write_text(edited)
    monkeypatch.setenv("IN_TEST", "1")
    [found] = checked(project)
    assert MODULE in found and NOTEBOOK in found and f"nbdev_update {MODULE}" in found
    assert "+    return balance / limit * 100" in found
    assert (project / MODULE).read_text() == edited


def with_execution_count(notebook):
    notebook["cells"][1]["execution_count"] = 3


def with_cell_metadata(notebook):
    notebook["cells"][0]["metadata"] = {"collapsed": True}


def with_language_info(notebook):
    notebook["metadata"]["language_info"] = {"name": "python"}


def without_a_cell_id(notebook):
    del notebook["cells"][0]["id"]


@pytest.mark.parametrize(
    "spoil", [with_execution_count, with_cell_metadata, with_language_info, without_a_cell_id]
)
def test_a_notebook_that_is_not_clean_is_named(project, spoil):
    notebook = read(project)
    spoil(notebook)
    (project / NOTEBOOK).write_text(
        json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    )
    [found] = [message for message in checked(project) if "is not clean" in message]
    assert f"nbdev_clean --fname {NOTEBOOK}" in found


def test_a_tag_for_papermill_is_clean(project):
    notebook = read(project)
    notebook["cells"][0]["metadata"] = {"tags": ["parameters"]}
    write(project, notebook)
    assert read(project)["cells"][0]["metadata"] == {"tags": ["parameters"]}
    assert checked(project) == []


def test_modules_and_notebooks_come_in_pairs(project):
    (project / "credit_default" / "scratch.py").write_text("x = 1\n")
    (project / MODULE).unlink()
    missing, stray = checked(project)
    assert MODULE in missing and "missing" in missing
    assert "credit_default/scratch.py is exported by no notebook" in stray


def test_the_version_comes_from_the_settings(project):
    settings = (project / "settings.ini").read_text()
    (project / "settings.ini").write_text(re.sub(r"(?m)^version = .*", "version = 99.0", settings))
    [found] = checked(project)
    assert "credit_default/__init__.py" in found and '__version__ = "99.0"' in found


def test_a_notebook_that_cannot_be_read_is_reported(project):
    (project / NOTEBOOK).write_text("<<<<<<< HEAD\n")
    [found] = checked(project)
    assert found.startswith("nbdev failed")
