"""What surrounds the package holds together: the lock, the environments, the Makefile, the wheel,
JupyterLab.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import httpx
import pytest
import websocket
import yaml
from locked import AUTOGLUON, BENCH, LISTS, ROOT, direct, environment, locked
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BIN = Path(sys.executable).parent
BENCH_LOCK = ROOT / "requirements-bench.lock"
AUTOGLUON_LOCK = ROOT / "requirements-autogluon.lock"

# Where the project is meant to run: marker values, as pip would see them.
PLATFORMS = [
    {
        "python_version": python,
        "python_full_version": f"{python}.7",
        "sys_platform": system,
        "os_name": name,
        "platform_system": kind,
    }
    for python in ("3.11", "3.12")
    for system, name, kind in (
        ("linux", "posix", "Linux"),
        ("darwin", "posix", "Darwin"),
        ("win32", "nt", "Windows"),
    )
]


def applies(requirement, platform):
    return requirement.marker is None or requirement.marker.evaluate(platform)


def unmet(requirements, pins, platform):
    "Those of `requirements` that `pins` do not meet, exactly once each, on `platform`."
    by_name = {}
    for pin in pins:
        if applies(pin, platform):
            by_name.setdefault(canonicalize_name(pin.name), []).append(pin)
    wrong = []
    for requirement in requirements:
        if applies(requirement, platform):
            found = by_name.get(canonicalize_name(requirement.name), [])
            versions = [str(pin.specifier).removeprefix("==") for pin in found]
            if len(found) != 1 or not requirement.specifier.contains(versions[0], prereleases=True):
                wrong.append(f"{requirement}: {versions}")
    return wrong


@pytest.mark.parametrize(
    "platform", PLATFORMS, ids=lambda one: f"{one['sys_platform']}-{one['python_version']}"
)
def test_the_lock_meets_every_direct_requirement(platform):
    assert unmet(direct(), [pin for pin, _ in locked()], platform) == [], "run `make lock`"
    for lists, path in ((BENCH, BENCH_LOCK), (AUTOGLUON, AUTOGLUON_LOCK)):
        pins = [pin for pin, _ in locked(path.read_text())]
        assert unmet(direct(lists), pins, platform) == [], "run `make lock`"


def test_a_requirement_that_the_lock_does_not_meet_is_found():
    pins = [Requirement("numpy==2.4.6"), Requirement('xgboost==3.2.0; sys_platform == "darwin"')]
    wanted = [Requirement("numpy<2"), Requirement("xgboost"), Requirement("absent")]
    assert unmet(wanted, pins, PLATFORMS[0]) == ["numpy<2: ['2.4.6']", "xgboost: []", "absent: []"]


@pytest.mark.parametrize(
    "path", [ROOT / "requirements.lock", BENCH_LOCK, AUTOGLUON_LOCK], ids=lambda path: path.name
)
def test_the_lock_pins_everything_by_hash_and_says_nothing_of_where_from(path):
    text = path.read_text()
    for pin, hashes in locked(text):
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)) and pin.url is None, pin
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), pin
    lines = [line for line in text.splitlines() if not line.startswith("    --hash=")]
    assert not [
        line for line in lines if "://" in line or " @ " in line or line.startswith(("-", "#"))
    ]
    assert "--index-url" not in text and "--find-links" not in text


def test_the_benchmarks_are_locked_at_the_versions_of_the_lock():
    whole = {str(pin): set(hashes) for pin, hashes in locked()}
    names = {pin.name for pin, _ in locked()}
    bench = locked(BENCH_LOCK.read_text())
    assert [
        str(pin)
        for pin, hashes in bench
        if pin.name in names and whole.get(str(pin)) != set(hashes)
    ] == [], "run `make lock`"
    assert {"catboost"} <= {pin.name for pin, _ in bench} - names, (
        "what only the benchmarks need is not installed for development"
    )


def test_conda_users_get_the_direct_requirements_at_the_locked_versions():
    text = (ROOT / "environment.yml").read_text()
    assert text == environment(), "run `make lock`"
    described = yaml.safe_load(text)
    assert (described["name"], described["channels"]) == ("credit-default", ["conda-forge"])
    python, pip, section = described["dependencies"]
    assert (python, pip, list(section)) == ("python>=3.11,<3.13", "pip", ["pip"])
    *pins, project = section["pip"]
    assert project == "-e ."
    pins = [Requirement(line) for line in pins]
    assert {canonicalize_name(pin.name) for pin in pins} == {
        canonicalize_name(one.name) for one in direct()
    }
    for platform in PLATFORMS:
        assert unmet(direct(), pins, platform) == []


# setup.py's own view of its requirements, without building anything.
METADATA = """
import json, setuptools
def shown(**given):
    print(json.dumps(given["extras_require"] | {"": given["install_requires"]}))
setuptools.setup = shown
code = compile(open("setup.py").read(), "setup.py", "exec")
exec(code, {"__file__": "setup.py", "__name__": "__main__"})
"""


def test_the_same_direct_requirements_reach_the_lock_and_the_package():
    def printed(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout

    def read(lines):
        return {str(Requirement(line)) for line in lines}

    extras = {name: read(lines) for name, lines in json.loads(printed("-c", METADATA)).items()}
    assert (
        extras[""] | extras["dev"]
        == read(printed("tools/locked.py", "requirements").splitlines())
        == set(map(str, direct()))
    )
    assert (
        extras["bench"] - extras["train"]
        == read(printed("tools/locked.py", "bench").splitlines())
        == set(map(str, direct(BENCH)))
    )
    assert extras["train"] < extras["bench"]


def test_what_two_lists_name_they_ask_for_alike():
    asked = {}
    for one in direct((*LISTS, *BENCH)):
        asked.setdefault((canonicalize_name(one.name), str(one.marker)), set()).add(
            str(one.specifier)
        )
    assert not {name: specifiers for name, specifiers in asked.items() if len(specifiers) > 1}


def make(*arguments, cwd=ROOT, **environment):
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


def test_make_without_a_target_lists_the_targets():
    helped = make()
    assert helped.returncode == 0 and helped.stdout == make("help").stdout
    listed = dict(re.findall(r"^  ([a-z-]+)\s{2,}(\S.*)$", helped.stdout, flags=re.M))
    phony = (
        re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), flags=re.M).group(1).split()
    )
    assert set(listed) == set(phony)
    assert {"run", "test", "test-all", "lab", "serve", "report", "clean", "lock", "help"} <= set(
        listed
    )


@pytest.fixture
def stub_checkout(tmp_path):
    "The Makefile where no Python will do, since all that are found say they are 3.10."
    for name in ("Makefile", "requirements.lock", "settings.ini", "setup.py"):
        shutil.copy(ROOT / name, tmp_path)
    commands = tmp_path / "commands"
    commands.mkdir()
    for name in ("python", "python3", "python3.11", "python3.12"):
        (commands / name).write_text("#!/bin/sh\nexit 1\n")
        (commands / name).chmod(0o755)
    return tmp_path


def test_make_says_which_python_it_needs(stub_checkout):
    done = make(
        "run",
        cwd=stub_checkout,
        PATH=f"{stub_checkout / 'commands'}{os.pathsep}{os.environ['PATH']}",
    )
    assert done.returncode != 0
    assert "Python 3.11 or 3.12 is needed and was not found" in done.stderr
    assert not (stub_checkout / ".venv").exists()


def test_make_sets_up_once(stub_checkout):
    venv = stub_checkout / ".venv"
    (venv / "bin").mkdir(parents=True)
    called = venv / "bin" / "credit-default"
    called.write_text('#!/bin/sh\necho "$@"\n')
    called.chmod(0o755)
    (venv / ".set-up").touch()
    done = make("run", "PORTFOLIO=mortgage", cwd=stub_checkout)
    assert (done.returncode, done.stdout) == (0, "run --portfolio mortgage\n"), done.stderr
    for name in ("requirements.lock", "settings.ini", "setup.py"):
        later = time.time() + 10
        os.utime(stub_checkout / name, (later, later))
        assert "uv pip sync" in make("--dry-run", "run", cwd=stub_checkout).stdout
        os.utime(venv / ".set-up", (later, later))
        assert "uv pip sync" not in make("--dry-run", "run", cwd=stub_checkout).stdout


def test_the_wheel_ships_the_report_templates_and_the_portfolios(tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(
        ROOT / "credit_default",
        checkout / "credit_default",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copytree(ROOT / "nbs", checkout / "nbs")
    for name in ("settings.ini", "setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    (checkout / "nbs" / "reports").mkdir(exist_ok=True)
    (checkout / "nbs" / "reports" / "another.ipynb").write_text("{}")
    subprocess.run(
        [
            BIN / "uv",
            "build",
            "--quiet",
            "--offline",
            "--no-build-isolation",
            "--python",
            sys.executable,
            "--out-dir",
            tmp_path / "dist",
            checkout,
        ],
        check=True,
        capture_output=True,
    )
    [wheel] = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    templates = {path.name for path in (checkout / "nbs" / "reports").glob("*.ipynb")}
    assert {
        name.split("/")[-1] for name in names if name.startswith("credit_default/templates/")
    } == templates
    modules = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "credit_default").rglob("*.py")
    }
    assert modules <= set(names)
    assert {
        name.removeprefix("credit_default/portfolio/shipped/")
        for name in names
        if name.startswith("credit_default/portfolio/shipped/")
    } == {"gmsc.toml", "personal.toml", "mortgage.toml", "lending.toml"}
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    assert not [
        name for name in names if name.startswith(("tests/", "tools/", "benchmarks/", "build/"))
    ]


DIRTY = {
    "cells": [
        {
            "cell_type": "code",
            "execution_count": 7,
            "metadata": {"collapsed": True, "tags": ["parameters"]},
            "outputs": [
                {
                    "output_type": "execute_result",
                    "execution_count": 7,
                    "metadata": {},
                    "data": {"text/plain": "<Portfolio at 0x7f0c12345678>"},
                }
            ],
            "source": "portfolio",
        },
        {
            "cell_type": "markdown",
            "metadata": {},
            "source": "# Portfolio\n\nBad rate: 6.7 %, größer als erwartet.",
        },
    ],
    "metadata": {
        "language_info": {"name": "python", "version": "3.11.7"},
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
    },
    "nbformat": 4,
    "nbformat_minor": 4,
}


@pytest.fixture
def jupyterlab(tmp_path):
    "JupyterLab by `make lab`, with temporary folders for its notebooks and as its home."
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home, notebooks = tmp_path / "home", tmp_path / "notebooks"
    home.mkdir()
    notebooks.mkdir()
    others = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JUPYTER", "XDG_"))
    }
    flags = (
        f"--allow-root --no-browser --ip=127.0.0.1 --port={port} --ServerApp.port_retries=0 "
        f"--ServerApp.root_dir='{notebooks}' --IdentityProvider.token=secret"
    )
    with (tmp_path / "log").open("w") as log:
        # The packages are those that run this test: nothing is to be set up.
        server = subprocess.Popen(
            [
                "make",
                f"VENV={sys.prefix}",
                f"--assume-old={sys.prefix}/.set-up",
                "lab",
                f"LAB_FLAGS={flags}",
            ],
            cwd=ROOT,
            env=others | {"HOME": str(home)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}/api",
            headers={"Authorization": "token secret"},
            trust_env=False,
        ) as client:
            for _ in range(300):
                assert server.poll() is None, (tmp_path / "log").read_text()
                try:
                    client.get("/status").raise_for_status()
                    break
                except httpx.TransportError:
                    time.sleep(0.2)
            yield client, notebooks, home
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def test_jupyterlab_cleans_a_notebook_on_saving_it(jupyterlab, tmp_path):
    client, notebooks, home = jupyterlab
    for _ in range(2):  # a new notebook, and one that is there already
        saved = client.put(
            "/contents/chapter.ipynb", json={"type": "notebook", "format": "json", "content": DIRTY}
        )
        assert saved.is_success, saved.text
        on_disk = (notebooks / "chapter.ipynb").read_bytes()
        code, text = json.loads(on_disk)["cells"]
        assert code["execution_count"] is None and code["metadata"] == {"tags": ["parameters"]}
        assert code["outputs"][0]["execution_count"] is None
        assert "".join(code["outputs"][0]["data"]["text/plain"]) == "<Portfolio>"
        assert code["id"] and text["id"]
        assert list(json.loads(on_disk)["metadata"]) == ["kernelspec"]
    subprocess.run(
        [BIN / "nbdev_clean", "--fname", notebooks / "chapter.ipynb"], cwd=ROOT, check=True
    )
    assert (notebooks / "chapter.ipynb").read_bytes() == on_disk
    assert [path.name for path in notebooks.iterdir() if not path.name.startswith(".ipynb")] == [
        "chapter.ipynb"
    ]
    assert not list(home.rglob("*config.py"))
    text = client.put(
        "/contents/notes.txt", json={"type": "file", "format": "text", "content": "no notebook"}
    )
    assert text.is_success
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log and "Overriding existing" not in log, log


def test_a_terminal_of_jupyterlab_finds_the_commands(jupyterlab):
    client, _, _ = jupyterlab
    name = client.post("/terminals").json()["name"]
    address = str(client.base_url.join("/terminals/websocket/")).replace("http", "ws", 1)
    connection = websocket.create_connection(
        f"{address}{name}", header=["Authorization: token secret"], timeout=20
    )
    connection.send(json.dumps(["stdin", "command -v nbdev_export make; echo en''d\r"]))
    shown = ""
    while "\nend" not in shown:
        kind, *texts = json.loads(connection.recv())
        shown += "".join(texts) if kind == "stdout" else ""
    connection.close()
    assert f"{BIN / 'nbdev_export'}" in shown, shown


def test_the_package_is_found_from_the_clones_parent_folder(tmp_path):
    "The clone is named as the package, and is no package."
    (tmp_path / "credit_default").mkdir()
    shown = "import credit_default; print(credit_default.__version__)"
    done = subprocess.run(
        [sys.executable, "-c", shown], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_image_is_built_by_the_uv_of_the_lock():
    from credit_default.serving.bento import UV

    assert f"\n{UV} " in (ROOT / "requirements.lock").read_text()
