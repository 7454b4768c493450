"""Models through a Hub over HTTP: pushed, pulled, tampered with, served, and out of reach."""

import json
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hub_server import TOKEN, running_hub
from served import ROOT, Server

from credit_default.scoring.bundle import BundleError
from credit_default.scoring.bundle_files import readable_json, sha256
from credit_default.tracking.hub import HubError, pull_bundle, push_bundle

REPO = "acme/credit-gmsc"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    "A Hub of this test's own, which this process and its children use."
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        yield running


@pytest.fixture
def command(tmp_path):
    "A function that runs a command on a machine of its own: another BENTOML_HOME."

    def run(*arguments, home=tmp_path / "fresh", **settings):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CREDIT_DEFAULT_")}
        environment |= {"BENTOML_HOME": str(home), "CREDIT_DEFAULT_ENV_FILE": os.devnull}
        done = subprocess.run(
            [sys.executable, "-m", "credit_default.cli", *map(str, arguments)],
            cwd=tmp_path,
            env=environment | settings,
            capture_output=True,
            text=True,
        )
        assert TOKEN not in done.stdout + done.stderr
        return done

    return run


def version_of(bundle):
    return bundle.tag.partition(":")[2]


def test_a_model_goes_to_the_hub_and_comes_to_a_fresh_machine(
    hub, command, synthetic_bundle, bentoml_home
):
    done = command("hub", "push", "--repo", REPO, "--json", home=bentoml_home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tag"] == synthetic_bundle.tag
    assert hub.private[REPO]
    listed = json.loads(hub.files(REPO)["manifest.json"])["files"]
    beside = {"manifest.json", "README.md", ".gitattributes"}
    assert set(hub.files(REPO)) == set(listed) | beside
    pulled = command("hub", "pull", version_of(synthetic_bundle), "--repo", REPO)
    assert pulled.stdout == f"{synthetic_bundle.tag}: verified, from {REPO}\n", pulled.stderr
    models = json.loads(command("models", "list", "--json").stdout)
    assert [(m["tag"], m["champion"]) for m in models] == [(synthetic_bundle.tag, False)]
    promoted = command("hub", "pull", "--repo", REPO, "--promote", "--why", "approved")
    assert "now the champion" in promoted.stdout, promoted.stderr


def test_a_revision_holds_the_bundle_and_nothing_else(hub, synthetic_bundle):
    push_bundle(synthetic_bundle.tag, REPO)
    first = hub.files(REPO, version_of(synthetic_bundle))
    hub.change(REPO, **{"train__csv": b"age,income\n"})
    push_bundle(synthetic_bundle.tag, REPO)
    assert set(hub.files(REPO)) == set(first) and "train.csv" not in first
    assert pull_bundle(REPO, "gmsc", synthetic_bundle.tag) == synthetic_bundle.tag


def test_the_readme_is_the_model_card(hub, synthetic_bundle):
    from huggingface_hub import ModelCard

    push_bundle(synthetic_bundle.tag, REPO, "apache-2.0")
    text = hub.files(REPO)["README.md"].decode()
    data = ModelCard(text).data
    assert (data.license, data.library_name) == ("apache-2.0", "credit-default")
    results = {result.metric_type: result.metric_value for result in data.eval_results}
    assert results["roc_auc"] == pytest.approx(synthetic_bundle.metrics["auc"], abs=1e-6)
    for limit in synthetic_bundle.portfolio.limits:
        assert limit.split(",")[0] in text


def manifest_with(hub, **files):
    "Files, and a manifest that was adapted to them."
    manifest = json.loads(hub.files(REPO)["manifest.json"])
    manifest["files"] |= {name.replace("__", "."): sha256(c) for name, c in files.items()}
    return files | {"manifest__json": readable_json(manifest)}


@pytest.mark.parametrize(
    "changed, named",
    [
        (lambda hub: {"calibrator__json": b"{}"}, "calibrator.json is damaged or was changed"),
        (lambda hub: {"scorecard__json": None}, "scorecard.json is missing"),
        (lambda hub: {"manifest__json": None}, "manifest.json is missing"),
        (lambda hub: manifest_with(hub, calibrator__json=b"{}"), "manifest.json was changed"),
        (lambda hub: {"model__pkl": pickle.dumps(1)}, "'model.pkl' may be a pickle"),
        (lambda hub: manifest_with(hub, model__pkl=b"."), "'model.pkl' may be a pickle"),
        (lambda hub: {"notes__json": b"{}"}, "'notes.json' is not in the manifest"),
        (lambda hub: {"loans__csv": b"age\n30\n"}, "'loans.csv' is no file of a bundle"),
        (lambda hub: {"../../evil__json": b"{}"}, "'../../evil.json' is no plain file name"),
        (lambda hub: {"/etc/evil__json": b"{}"}, "'/etc/evil.json' is no plain file name"),
        (lambda hub: {"a/b__json": b"{}"}, "'a/b.json' is no plain file name"),
    ],
)
def test_what_was_tampered_with_is_refused_by_name(hub, synthetic_bundle, changed, named):
    push_bundle(synthetic_bundle.tag, REPO)
    hub.change(REPO, **changed(hub))
    hub.asked.clear()
    with pytest.raises(BundleError) as refused:
        pull_bundle(REPO, "gmsc")
    assert str(refused.value).startswith(REPO) and named in str(refused.value)
    if "plain" in named or "pickle" in named or "no file of" in named:
        assert not [line for line in hub.asked if "/resolve/" in line]  # nothing was downloaded


def test_a_fresh_machine_keeps_nothing_of_what_was_refused(hub, command, synthetic_bundle):
    push_bundle(synthetic_bundle.tag, REPO)
    hub.change(REPO, calibrator__json=b"{}")
    done = command("hub", "pull", "--repo", REPO)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert f"{REPO}: calibrator.json is damaged or was changed" in done.stderr
    assert command("models", "list", "--json").stdout.strip() == "[]"


def test_a_huge_file_is_not_downloaded(hub, monkeypatch, synthetic_bundle):
    push_bundle(synthetic_bundle.tag, REPO)
    monkeypatch.setattr("credit_default.scoring.bundle_import.MAX_BUNDLE_BYTES", 1000)
    hub.asked.clear()
    with pytest.raises(BundleError, match="a bundle has at most 1,000"):
        pull_bundle(REPO, "gmsc")
    assert not [line for line in hub.asked if "/resolve/" in line]


def test_a_tag_that_was_moved_to_another_model_is_refused(hub, synthetic_bundle):
    push_bundle(synthetic_bundle.tag, REPO)
    hub.refs[REPO]["0123456789abcdef"] = hub.refs[REPO]["main"]
    with pytest.raises(BundleError, match=f"version {version_of(synthetic_bundle)} of portfolio"):
        pull_bundle(REPO, "gmsc", "0123456789abcdef")


def test_a_repository_of_another_portfolio_is_left_alone(hub, synthetic_bundle):
    push_bundle(synthetic_bundle.tag, REPO)
    portfolio = json.loads(hub.files(REPO)["portfolio.json"]) | dict(name="personal")
    hub.change(REPO, portfolio__json=json.dumps(portfolio).encode())
    before = hub.files(REPO)
    with pytest.raises(HubError, match="holds models of portfolio personal"):
        push_bundle(synthetic_bundle.tag, REPO)
    assert hub.files(REPO) is before


def test_a_synthetic_model_does_not_replace_a_real_one(hub, synthetic_bundle):
    push_bundle(synthetic_bundle.tag, REPO)
    hub.change(REPO, provenance__json=b'{"synthetic": false}')
    with pytest.raises(HubError, match="a model of real loans"):
        push_bundle(synthetic_bundle.tag, REPO)


@pytest.mark.parametrize(
    "repo, version, settings, said",
    [
        ("acme/other", "", {}, "check the name"),
        (REPO, "0123456789abcdef", {}, "no such revision"),
        (REPO, "", {"HF_TOKEN": "hf_wrong"}, "HF_TOKEN"),
        (REPO, "", {"HF_TOKEN": "hf_wröng"}, REPO),
        (REPO, "", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "could not be used"),
    ],
)
def test_errors_say_what_to_do_and_no_token(
    hub, synthetic_bundle, monkeypatch, repo, version, settings, said
):
    push_bundle(synthetic_bundle.tag, REPO)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(HubError) as told:
        pull_bundle(repo, "gmsc", version)
    assert said in str(told.value) and "hf_w" not in str(told.value)
    assert "\n" not in str(told.value) and told.value.__suppress_context__


def test_a_service_without_a_model_starts_from_the_hub(hub, synthetic_bundle, tmp_path):
    push_bundle(synthetic_bundle.tag, REPO)
    settings = dict(CREDIT_DEFAULT_HUB_REPO="acme/credit-{portfolio}")
    settings |= dict(CREDIT_DEFAULT_MODEL=synthetic_bundle.tag)
    with Server(tmp_path / "home", tmp_path / "log", **settings) as server:
        assert server.client.get("/health").json()["model_version"] == synthetic_bundle.tag
    assert TOKEN not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    "break_it, said",
    [
        (lambda hub: hub.change(REPO, calibrator__json=b"{}"), "calibrator.json is damaged"),
        (lambda hub: hub.refs.pop(REPO), "check the name"),
    ],
)
def test_a_service_that_gets_no_model_says_why(hub, synthetic_bundle, tmp_path, break_it, said):
    push_bundle(synthetic_bundle.tag, REPO)
    break_it(hub)
    settings = dict(CREDIT_DEFAULT_HUB_REPO=REPO)
    code, log = Server(tmp_path / "home", tmp_path / "log", **settings).start().finished()
    assert code != 0 and said in log
    assert TOKEN not in log


def test_nothing_of_the_hub_is_imported_without_a_repository(synthetic_bundle, bentoml_home):
    program = """
import sys
import credit_default.service as service
service.verify_parts(None)
import credit_default.cli.app, credit_default
absent = ("huggingface_hub", "credit_default.tracking")
print([name for name in sys.modules if name.startswith(absent)])
"""
    key = dict(CREDIT_DEFAULT_SECRET_KEY="k" * 40, BENTOML_HOME=str(bentoml_home))
    environment = os.environ | key | dict(CREDIT_DEFAULT_ENV_FILE=os.devnull)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stdout + done.stderr
    serving = (ROOT / "requirements-serving.lock").read_text()
    assert "huggingface-hub==" not in serving
    assert "credit_default/tracking" not in (ROOT / "bentofile.yaml").read_text()


@pytest.fixture
def train(synthetic_bundle, monkeypatch, tmp_path):
    "A function that trains, but for the search: the report says that it made this bundle."
    from credit_default.cli import reports

    result = synthetic_bundle.metrics | dict(model_version=synthetic_bundle.tag, synthetic=True)
    made = SimpleNamespace(content=dict(result=result), html=tmp_path / "training.html")
    monkeypatch.setattr(reports, "_write_training_report", lambda request, folder: made)
    monkeypatch.setenv("CREDIT_DEFAULT_HUB_REPO", "acme/credit-{portfolio}")
    monkeypatch.setenv("CREDIT_DEFAULT_ENV_FILE", os.devnull)
    monkeypatch.chdir(tmp_path)
    return lambda: reports.run_training(reports.TrainingRequest("gmsc"), checked=True)


def test_a_training_uploads_its_model(hub, train, synthetic_bundle, capsys):
    made, tag = train()
    version = version_of(synthetic_bundle)
    said = f"hub: {tag} is revision {version} of {REPO}, its latest model\n"
    assert tag == synthetic_bundle.tag and capsys.readouterr().out.endswith(said)
    assert hub.files(REPO, version) is hub.files(REPO, "main")


def test_a_model_that_is_not_champion_does_not_become_the_latest(hub, train, monkeypatch, capsys):
    monkeypatch.setattr("credit_default.scoring.registry.champion_tag", lambda portfolio: "m:1")
    _, tag = train()
    assert "on the branch candidates" in capsys.readouterr().out
    assert set(hub.files(REPO, "main")) == {".gitattributes"}
    assert pull_bundle(REPO, "gmsc", tag) == tag
    with pytest.raises(HubError, match="holds no model yet"):
        pull_bundle(REPO, "gmsc")


@pytest.mark.parametrize(
    "settings",
    [
        {"HF_ENDPOINT": "http://127.0.0.1:9"},
        {"HF_TOKEN": "hf_wrong"},
        {"CREDIT_DEFAULT_HUB_REPO": "nonsense"},
    ],
)
def test_an_upload_that_fails_spoils_no_training(hub, train, monkeypatch, capsys, settings):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    _, tag = train()
    [line] = [line for line in capsys.readouterr().err.splitlines() if "NOT UPLOADED" in line]
    assert f"Upload it later: `credit-default hub push {tag}`" in line and "hf_w" not in line


@pytest.mark.slow
def test_a_whole_training_uploads_and_another_machine_serves(hub, command, tmp_path):
    from credit_default.data.synthetic import save_sample
    from credit_default.portfolio.catalogue import get_portfolio

    path = save_sample(get_portfolio("gmsc"), tmp_path / "loans", 6000, seed=8)
    settings = dict(CREDIT_DEFAULT_HUB_REPO="acme/credit-{portfolio}")
    options = ("--champion", "single", "--trials", 1)
    done = command("train", "--path", path, *options, home=tmp_path / "first", **settings)
    assert done.returncode in (0, 5), done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("hub: ")]
    settings["CREDIT_DEFAULT_MODEL"] = version = line.split("revision ")[1].split(" ")[0]
    with Server(tmp_path / "second", tmp_path / "log", **settings) as server:
        assert server.client.get("/health").json()["model_version"].endswith(version)
