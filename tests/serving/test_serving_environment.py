"""The service where nothing is installed but what it needs, and inside a bento: the same digits,
and nothing too much.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
from ast import literal_eval
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
import yaml
from locked import ROOT, locked
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from served import Server, answered, applicants, scored
from serving import LINUX, applies, direct, entries

from credit_default.core.settings import read_settings
from credit_default.portfolio.catalogue import SHIPPED

LOCK = ROOT / "requirements-serving.lock"
TRAINING = (
    "sklearn",
    "pandas",
    "evidently",
    "optuna",
    "matplotlib",
    "imblearn",
    "fancyimpute",
    "papermill",
    "plotly",
    "pyarrow",
    "nbdev",
)
# What an operator runs inside the image, beside the service itself.
ENTRANCES = (
    "credit_default.service",
    "credit_default.cli.app",
    "credit_default.cli.database",
    "credit_default.cli.log",
    "credit_default.cli.users",
    "credit_default.monitoring.process",
    "credit_default.monitoring.performance",
    "credit_default.monitoring.live_comparison",
    "credit_default.evaluation.metrics",
)


def pins():
    "Each entry of requirements-serving.lock: its requirement and its whole text."
    return [
        (Requirement(one.split(" \\")[0].strip()), one)
        for parts in entries(LOCK.read_text()).values()
        for one in parts
    ]


def test_the_serving_lock_is_a_part_of_the_lock():
    whole = [
        one for parts in entries((ROOT / "requirements.lock").read_text()).values() for one in parts
    ]
    assert [str(pin) for pin, text in pins() if text not in whole] == [], "run `make lock`"


def needed_here():
    """What settings.ini asks of a server, and what that asks for in turn as the packages installed
    here say it: all requirements.
    """
    todo, reached = direct(), {}
    for requirement in todo:  # grows on the way
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - reached.setdefault(name, set()):
            reached[name].add(extra)
            try:
                further = map(Requirement, requires(name) or [])
            except PackageNotFoundError:
                continue
            todo += [
                one
                for one in further
                if not one.marker
                or any(one.marker.evaluate(where | {"extra": extra}) for where in LINUX)
            ]
    return todo


def test_the_serving_lock_is_what_serving_needs_and_no_more():
    found = {}
    for pin, _ in pins():
        found.setdefault(canonicalize_name(pin.name), []).append(
            str(pin.specifier).removeprefix("==")
        )
    for requirement in needed_here():
        versions = found.get(canonicalize_name(requirement.name), [])
        assert any(requirement.specifier.contains(one, prereleases=True) for one in versions), (
            f"{requirement} is not in {LOCK.name}: run `make lock`"
        )
    assert set(found) == {canonicalize_name(one.name) for one in needed_here()}
    assert "xgboost-cpu" in found and not {
        "scikit-learn",
        "pandas",
        "matplotlib",
        "evidently",
        "optuna",
        "xgboost",
    } & set(found)
    assert all(applies(pin) for pin, _ in pins())


@pytest.fixture(scope="session")
def serving_python(tmp_path_factory):
    "The Python of a virtual environment with the serving requirements alone."
    folder = tmp_path_factory.mktemp("serving") / "venv"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    python = folder / "bin" / "python"
    for offline in (["--offline"], []):  # from uv's cache if it can be
        done = subprocess.run(
            [*uv, "pip", "sync", "--quiet", *offline, "--python", python, "--require-hashes", LOCK],
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            return python
    pytest.skip(
        f"serving environment: the packages of {LOCK.name} cannot be had: "
        f"{done.stderr.strip().splitlines()[-1]}"
    )


@pytest.fixture(scope="session")
def serving_modules(serving_python):
    """The files of the package that an image needs, below the checkout: those that its entrances
    load where nothing of training is installed.
    """
    code = f"""
import importlib, importlib.util, sys
print([name for name in {TRAINING!r} if importlib.util.find_spec(name)])
for name in {ENTRANCES!r}: importlib.import_module(name)
print(sorted(module.__file__ for name, module in sys.modules.items()
             if name.startswith("credit_default")))
"""
    done = subprocess.run(
        [serving_python, "-W", "error::DeprecationWarning:credit_default", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    installed, imported = map(literal_eval, done.stdout.splitlines())
    assert installed == []
    return {os.path.relpath(path, ROOT) for path in imported}


def test_nothing_of_training_is_installed_or_asked_for(serving_modules):
    assert {
        "credit_default/service.py",
        "credit_default/scoring/bundle.py",
        "credit_default/store/engine.py",
    } <= serving_modules
    assert not [
        path
        for path in serving_modules
        if path.startswith(
            ("credit_default/training/", "credit_default/reporting/", "credit_default/data/")
        )
    ]


def same_digits(server, bundle, rows=300):
    "Raises where a server and the bundle in this process differ in any digit."
    frame, sent = applicants(bundle.portfolio, rows, seed=23)
    expected = scored(bundle, frame)
    answers = server.client.post("/predict_batch", json=sent).json()
    assert [answered(one) for one in answers] == expected
    for one, wanted in list(zip(sent, expected))[:50]:
        assert answered(server.client.post("/predict", json=one).json()) == wanted


def test_the_same_digits_where_only_serving_is_installed(
    serving_python, synthetic_bundle, bentoml_home, tmp_path
):
    with Server(bentoml_home, tmp_path / "log", python=serving_python) as server:
        same_digits(server, synthetic_bundle)
        print(f"{server.seconds:.1f} s from `bentoml serve` to the first answer")


@pytest.fixture(scope="session")
def bento(synthetic_bundle, tmp_path_factory):
    "The folder of a bento that was built without a network and exported."
    folder, environment = (
        tmp_path_factory.mktemp("bento"),
        os.environ
        | {"UV_OFFLINE": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    environment |= {
        f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https", "all")
    }  # nobody is there

    def bentoml(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "bentoml", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )

    built = bentoml("build", "--output", "tag")
    assert built.returncode == 0, built.stdout + built.stderr
    tag = built.stdout.strip().removeprefix("__tag__:").splitlines()[-1]
    exported = bentoml("export", tag, str(folder / "credit_default.bento"))
    assert exported.returncode == 0, exported.stdout + exported.stderr
    with tarfile.open(folder / "credit_default.bento") as archive:
        archive.extractall(folder / "bento", filter="data")
    return folder / "bento"


def test_a_bento_holds_the_code_the_model_and_no_applicant(
    bento, synthetic_bundle, serving_modules
):
    files = {path.relative_to(bento).as_posix() for path in bento.rglob("*") if path.is_file()}
    code = {one.removeprefix("src/") for one in files if one.startswith("src/")}
    shipped = {f"credit_default/portfolio/shipped/{name}.toml" for name in SHIPPED}
    assert shipped <= code
    assert code - shipped <= {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "credit_default").rglob("*.py")
    } | {"LICENSE", "bentofile.yaml"}
    assert {one for one in code if "/migrations/" in one} == {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "credit_default" / "store" / "migrations").rglob("*.py")
    }
    assert serving_modules <= code
    assert not [one for one in code if re.match("credit_default/(training|reporting|data)/", one)]
    described = yaml.safe_load((bento / "bento.yaml").read_text())
    assert [model["tag"] for service in described["services"] for model in service["models"]] == [
        synthetic_bundle.tag
    ]
    model = "models/" + synthetic_bundle.tag.replace(":", "/") + "/"
    assert {f"{model}manifest.json", f"{model}golden.json"} <= files and len(
        [one for one in files if one.endswith("manifest.json")]
    ) == 1
    assert not [
        one for one in files if one.endswith((".parquet", ".csv", ".pkl", ".gz", ".ipynb", ".env"))
    ]
    assert (
        str(ROOT)
        not in (bento / "bento.yaml").read_text() + (bento / "env/docker/Dockerfile").read_text()
    )
    golden = json.loads((bento / model / "golden.json").read_text())
    assert golden == json.loads(
        json.dumps(vars(synthetic_bundle.golden))
    )  # of the synthetic sample


def test_a_bento_asks_for_the_locked_packages(bento):
    wanted = [
        (str(pin), set(hashes))
        for pin, hashes in locked((bento / "env/python/requirements.txt").read_text())
    ]
    pinned = [(str(pin), set(hashes)) for pin, hashes in locked(LOCK.read_text())]
    assert [one for one in wanted if one not in pinned] == [
        (f"bentoml=={version('bentoml')}", set())
    ]  # BentoML adds itself once more
    assert [one for one in pinned if one not in wanted] == []


def test_an_image_keeps_no_tools_and_its_log_where_the_volume_is(bento, monkeypatch):
    "By its steps; benchmarks/container.sh runs them, and measures what comes of it."
    steps = (bento / "env/docker/Dockerfile").read_text()
    env = dict(re.findall(r"^ENV (\w+)=(.+)$", steps, flags=re.M))
    assert "apt-get" not in steps and steps.index("> /usr/local/bin/uv ") < steps.index(
        "uv venv"
    ) < steps.index("uv --directory")
    made = re.search(r"^RUN install -d -m 700 -o bentoml -g bentoml (\S+)$", steps, flags=re.M)[1]
    volume = re.search(
        r"docker run .* -v \w+:(\S+)", (ROOT / "nbs/guides/operation.ipynb").read_text()
    )[1]
    monkeypatch.setenv("BENTOML_HOME", env["BENTOML_HOME"])
    monkeypatch.setenv("CREDIT_DEFAULT_ENV_FILE", os.devnull)
    settings = read_settings()
    assert {
        made,
        volume,
        str(Path(settings.database.removeprefix("sqlite:///")).parent),
        str(Path(settings.spool_url.removeprefix("sqlite:///")).parent),
    } == {made}


def test_an_exported_bento_answers_with_the_same_digits(
    bento, serving_python, synthetic_bundle, tmp_path
):
    "In an empty home and outside of the checkout: code, settings and model are its own."
    with Server(
        tmp_path / "home", tmp_path / "log", python=serving_python, target=bento, cwd=tmp_path
    ) as server:
        assert server.client.get("/health").json()["model_version"] == synthetic_bundle.tag
        same_digits(server, synthetic_bundle)
