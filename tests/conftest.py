"""What all tests share: homes of their own, nobody's settings, and real data where there is any."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

OWN_SETTINGS = "CREDIT_DEFAULT_"
DATA = "CREDIT_DEFAULT_DATA"
NO_SKIP = "CREDIT_DEFAULT_NO_SKIP"

data_folder = pytest.StashKey[str]()
no_skip = pytest.StashKey[bool]()
temporary_home = pytest.StashKey[str]()
former_environment = pytest.StashKey[dict]()


def pytest_configure(config):
    """Cut this run off from the user's model store and settings, before any test module imports
    bentoml.
    """
    config.stash[former_environment] = dict(os.environ)
    given = getattr(config, "workerinput", os.environ)  # of pytest-xdist: see pytest_configure_node
    config.stash[data_folder] = given.get(DATA, "")
    config.stash[no_skip] = given.get(NO_SKIP) == "1"
    # CREDIT_DEFAULT_DATA goes too: without `real_data` a test sees the same on every machine.
    for name in [name for name in os.environ if name.startswith(OWN_SETTINGS)]:
        del os.environ[name]
    config.stash[temporary_home] = tempfile.mkdtemp(prefix="bentoml-")
    os.environ |= {
        "BENTOML_HOME": config.stash[temporary_home],
        "DO_NOT_TRACK": "1",
        "BENTOML_DO_NOT_TRACK": "True",
    }


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tell a worker of pytest-xdist what it cannot see any more: the settings were gone when it
    began.
    """
    former = node.config.stash[former_environment]
    node.workerinput |= {name: former[name] for name in (DATA, NO_SKIP) if name in former}


def pytest_unconfigure(config):
    "Leave nothing behind."
    if temporary_home in config.stash:
        shutil.rmtree(config.stash[temporary_home], ignore_errors=True)
        os.environ.clear()
        os.environ |= config.stash[former_environment]


@pytest.fixture(scope="session")
def bentoml_home(pytestconfig):
    "The folder that is BENTOML_HOME for all of this run."
    return Path(pytestconfig.stash[temporary_home])


@pytest.fixture
def real_data(pytestconfig, monkeypatch):
    """`real_data('gmsc')`: the folder of that portfolio's real data; the test sees
    CREDIT_DEFAULT_DATA, or is skipped.
    """

    def folder(portfolio):
        root = pytestconfig.stash[data_folder]
        if not root:
            pytest.skip(f"real data: {DATA} is not set")
        if not (Path(root) / portfolio).is_dir():
            pytest.skip(f"real data: {DATA} has no folder {portfolio}")
        monkeypatch.setenv(DATA, root)
        return Path(root) / portfolio

    return folder


@pytest.fixture(scope="session")
def synthetic_bundle(bentoml_home):
    "A small model of gmsc's synthetic sample, in the model store as its champion."
    from served import synthetic_bundle

    from credit_default.scoring.registry import load_bundle, promote_bundle, save_bundle

    tag = promote_bundle(save_bundle(synthetic_bundle()), "gmsc", by="tests")
    return load_bundle(tag)


@pytest.fixture(scope="session")
def service(synthetic_bundle, bentoml_home, tmp_path_factory):
    "`bentoml serve` with that model, started once: its `client`, its `log`, its `port`."
    from served import Server

    with Server(bentoml_home, tmp_path_factory.mktemp("service") / "log") as server:
        yield server


@pytest.fixture(scope="module")
def documented(service):
    "The OpenAPI document."
    return service.client.get("/docs.json").json()


@pytest.fixture(scope="module")
def valid(documented):
    "A valid applicant: the document's own example."
    return documented["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"][
        "examples"
    ]["an applicant"]["value"]


@pytest.fixture(scope="module")
def server():
    "A PostgreSQL server of this module's own."
    from postgres import Postgres

    if missing := Postgres.missing():
        pytest.skip(missing)
    with Postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    "The URL of a database that does not exist yet (SQLite), or is empty."
    return (
        f"sqlite:///{tmp_path}/log.db"
        if request.param == "sqlite"
        else request.getfixturevalue("server").database()
    )


@pytest.fixture
def store(url):
    "An empty store, with the newest schema."
    from credit_default.store.store import Store

    made = Store(url)
    made.upgrade()
    yield made
    made.close()


# With CREDIT_DEFAULT_NO_SKIP=1 (continuous integration) a skip is a failure: a browser or a tool
# that went missing
# there must not turn into tests that quietly no longer run. Real data is another matter, since it
# may not be handed
# out: where it was not provided, the tests that need it are left out, and counted as deselected.


def pytest_collection_modifyitems(config, items):
    "Leave out the tests on real data where skipping is a failure and there is none."
    if config.stash[no_skip] and not config.stash[data_folder]:
        without = [item for item in items if "real_data" in getattr(item, "fixturenames", ())]
        items[:] = [item for item in items if item not in without]
        config.hook.pytest_deselected(items=without)


def fail_if_skipped(config, report):
    "Turn `report` of a skip, not of an expected failure, into a failure that keeps the reason."
    if config.stash[no_skip] and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: {reason}. {NO_SKIP}=1: a skip is a failure."
    return report


# The outermost wrappers, so that pytest's own have already told skips from expected failures.


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    return fail_if_skipped(item.config, (yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector):
    return fail_if_skipped(collector.config, (yield))
