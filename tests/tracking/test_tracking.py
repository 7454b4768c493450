"""Runs in MLflow: what they show, that they are sent once, and that MLflow can be away."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

from credit_default.core.errors import InvalidInput
from credit_default.core.extras import MissingExtra
from credit_default.portfolio.columns import parse_table
from credit_default.scoring.bundle import BundleError
from credit_default.scoring.bundle_files import checked_files
from credit_default.scoring.registry import bundle_path
from credit_default.tracking import address, pyfunc, registered
from credit_default.tracking.record import RunRecord, held_record, read_run_record, spooled_folders
from credit_default.tracking.sending import deliver_runs
from credit_default.tracking.tracked import tracked_training

AWAY = "http://risk:hunter2@127.0.0.1:9"
OPTIONS = dict(preset="quick", trials=2, keep=("a", "b"), timeout=None)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    "An SQLite file with MLflow's tables, which take seconds to make."
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").get_experiment_by_name("none")
    return path


@pytest.fixture
def store(empty_store, tmp_path, monkeypatch):
    "MLflow in an SQLite file, which is what is configured, and a spool of the test's own."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("credit_default.tracking.record.service_home", lambda: tmp_path / "home")
    uri = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'mlflow.db')}"
    monkeypatch.setenv("CREDIT_DEFAULT_MLFLOW_URI", uri)
    return uri


@pytest.fixture
def report(tmp_path, synthetic_bundle):
    "A folder of reports, and the figures of the training report."
    folder = tmp_path / "20261128T090000Z"
    folder.mkdir()
    for name in ("eda.html", "training.html", "eda.json", "candidates.json", "loans.parquet"):
        (folder / name).write_text("{}")
    content = dict(
        result=dict(model_version=synthetic_bundle.tag),
        figures=dict(out_of_fold=dict(values=dict(auc=0.85, calibration_slope=None))),
    )
    (folder / "training.json").write_text(json.dumps(content))
    return folder, content


def runs_of(uri):
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("credit_default_gmsc")
    return client.search_runs([experiment.experiment_id]) if experiment else []


def files_of(uri, run, folder=None):
    client = MlflowClient(uri)
    for entry in client.list_artifacts(run.info.run_id, folder):
        if entry.is_dir:
            yield from files_of(uri, run, entry.path)
        else:
            yield entry.path


def test_a_run_shows_what_a_training_was_and_made(store, report, synthetic_bundle, tmp_path):
    folder, content = report
    lines = []
    with tracked_training("gmsc", folder.name, OPTIONS, "first try", say=lines.append) as run:
        assert [one.info.status for one in runs_of(store)] == ["RUNNING"]
        run.add_report(folder, content)
    [made] = runs_of(store)
    bundle = synthetic_bundle
    data, provenance = made.data, bundle.provenance
    assert made.info.status == "FINISHED" and made.info.run_name == folder.name
    assert data.params.items() >= dict(preset="quick", trials="2", keep="a, b").items()
    assert data.params["xgboost.weight"] == "0.5" and "timeout" not in data.params
    assert data.tags["model_version"] == bundle.tag
    assert data.tags["data_sha256"] == provenance["data"]["sha256"]
    assert data.tags["code_sha256"] == provenance["code"]["sha256"]
    assert data.tags["lock_sha256"] == provenance["code"]["lock"]
    assert data.tags["mlflow.note.content"] == "first try"
    assert data.metrics["holdout/auc"] == pytest.approx(bundle.metrics["auc"])
    assert data.metrics["out_of_fold/auc"] == 0.85
    assert "out_of_fold/calibration_slope" not in data.metrics
    [dataset] = made.inputs.dataset_inputs
    assert dataset.dataset.digest == provenance["data"]["sha256"][:16]
    files = set(files_of(store, made))
    assert files >= {"reports/eda.html", "reports/training.html", "reports/training.json"}
    assert not [name for name in files if "loans" in name or "candidates" in name]
    assert len(lines) == 1 and "20261128T090000Z of experiment credit_default_gmsc" in lines[0]
    local = MlflowClient(store).download_artifacts(
        made.info.run_id, "model/data/bundle", str(tmp_path)
    )
    assert checked_files(type(tmp_path)(local))
    assert spooled_folders() == []


@pytest.mark.parametrize(
    "error, failure",
    [
        (InvalidInput("no column age"), "no column age"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(143), "ended with exit code 143"),
        (ValueError("a salary of 4200"), "ValueError"),
    ],
)
def test_a_training_that_ends_early_has_failed(store, error, failure):
    with (
        pytest.raises(type(error)),
        tracked_training("gmsc", "one", OPTIONS, say=lambda line: None),
    ):
        raise error
    [run] = runs_of(store)
    assert run.info.status == "FAILED" and failure in run.data.tags["failure"]
    assert "4200" not in run.data.tags["failure"]


def test_without_an_address_mlflow_is_not_imported():
    code = (
        "import sys; from credit_default.tracking.tracked import tracked_training\n"
        "with tracked_training('gmsc', 'one', {}) as run: assert run is None\n"
        "assert not [m for m in sys.modules if m.partition('.')[0] == 'mlflow']"
    )
    env = os.environ | {"CREDIT_DEFAULT_ENV_FILE": os.devnull}
    env.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_mlflow_that_is_away_stops_nothing_and_gets_the_run_later(store, report, monkeypatch):
    folder, content = report
    lines = []
    monkeypatch.setenv("CREDIT_DEFAULT_MLFLOW_URI", AWAY)
    with tracked_training("gmsc", folder.name, OPTIONS, say=lines.append) as run:
        run.add_report(folder, content)
    assert len(lines) == 2 and all("the connection was refused" in line for line in lines)
    assert "hunter2" not in "".join(lines) and "tracking sync" in lines[1]
    [kept] = spooled_folders()
    everything = [path for path in kept.rglob("*") if path.is_file()]
    assert not [path for path in everything if path.suffix in (".pkl", ".pickle", ".joblib")]
    assert not [path for path in everything if b"hunter2" in path.read_bytes()]
    assert runs_of(store) == []
    assert deliver_runs(store).sent and not deliver_runs(store).sent
    [sent] = runs_of(store)
    assert (sent.info.status, sent.info.run_name) == ("FINISHED", folder.name)
    assert sent.data.tags["content_hash"] == run.record.model.split(":")[1]
    assert sent.info.start_time == run.record.started and sent.info.end_time == run.record.ended


def test_mlflow_that_leaves_in_the_middle_gets_the_rest_of_the_same_run(store, monkeypatch):
    with monkeypatch.context() as away:
        away.setattr(registered, "deliver_runs", lambda uri: deliver_runs(AWAY))
        with tracked_training("gmsc", "one", OPTIONS, say=lambda line: None) as run:
            first = run.record.run_id
    [running] = runs_of(store)
    assert running.info.status == "RUNNING" and len(spooled_folders()) == 1
    assert len(deliver_runs(store).sent) == 1
    [ended] = runs_of(store)
    assert (ended.info.run_id, ended.info.status) == (first, "FINISHED")


def test_a_run_of_a_killed_process_has_failed_and_one_that_lasts_is_left_alone(store):
    killed, lasting = RunRecord("gmsc", "killed"), RunRecord("gmsc", "lasting")
    for record in (killed, lasting):
        record.write()
    with held_record(lasting.folder):
        delivery = deliver_runs(store)
    assert (len(delivery.sent), delivery.waiting) == (1, 0)
    [run] = runs_of(store)
    assert (run.info.run_name, run.info.status) == ("killed", "FAILED")
    assert spooled_folders() == [lasting.folder]


def test_a_damaged_record_holds_up_no_other(store):
    damaged, good = RunRecord("gmsc", "damaged"), RunRecord("gmsc", "good")
    for record in (damaged, good):
        record.end("FINISHED")
        record.write()
    (damaged.folder / "record.json").write_text("{")
    delivery = deliver_runs(store)
    assert len(delivery.sent) == 1 and delivery.waiting == 1
    assert "missing or damaged" in delivery.problem
    assert [run.info.run_name for run in runs_of(store)] == ["good"]


def test_a_server_that_never_answers_costs_seconds(store, monkeypatch):
    monkeypatch.setitem(address.CLIENT_DEFAULTS, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begin = time.monotonic()
        RunRecord("gmsc", "one").write()
        delivery = deliver_runs(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert "did not answer in time" in delivery.problem and delivery.waiting == 1
    assert time.monotonic() - begin < 10


def test_without_the_extra_the_run_is_kept_and_the_extra_named(store, monkeypatch):
    def missing(extra):
        raise MissingExtra(extra, ["mlflow-skinny"])

    monkeypatch.setattr(address, "require_extra", missing)
    lines = []
    with tracked_training("gmsc", "one", OPTIONS, say=lines.append):
        pass
    assert "credit-default[mlflow]" in lines[0] and len(lines) == 2
    assert read_run_record(*spooled_folders()).status == "FINISHED"


def test_a_folder_that_cannot_be_written_to_stops_no_training(store, monkeypatch, tmp_path):
    (tmp_path / "home").write_text("a file where a folder should be")
    lines = []
    with tracked_training("gmsc", "one", OPTIONS, say=lines.append) as run:
        assert run is None
    assert "not recorded for MLflow" in lines[0]


def test_results_that_cannot_be_read_stop_no_training(store):
    lines = []
    with tracked_training("gmsc", "one", OPTIONS, say=lines.append) as run:
        run.add_report(run.record.folder / "nowhere", {})
    assert "KeyError" in lines[0]
    assert [one.info.status for one in runs_of(store)] == ["FINISHED"]


@pytest.mark.parametrize(
    "uri, shown",
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://a:b@h.example/x", "https://h.example/x"),
        ("https://a:b%40c@h.example?token=s", "https://h.example"),
        ("postgresql+psycopg://a:b@h/db", "postgresql+psycopg://h/db"),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db"),
        ("mlruns", "mlruns"),
    ],
)
def test_an_address_is_shown_without_its_secrets(uri, shown):
    parsed = address.parse_mlflow_uri(uri)
    assert parsed.shown == shown and shown in repr(parsed)
    assert "a:b" not in repr(parsed)


@pytest.fixture
def champion(store, synthetic_bundle, monkeypatch):
    "The tag of the champion, with no challenge."
    monkeypatch.setattr(registered, "current_challenge", lambda portfolio: None)
    return synthetic_bundle.tag


def aliases_of(uri):
    [model] = MlflowClient(uri).search_registered_models("name = 'credit_default_gmsc'")
    return {alias: str(version) for alias, version in model.aliases.items()}


def test_a_trained_model_is_one_version_and_the_champion_has_its_alias(store, report, champion):
    folder, content = report
    for name in ("one", "again"):
        with tracked_training("gmsc", name, OPTIONS, say=lambda line: None) as run:
            run.add_report(folder, content)
    lines = []
    registered.follow_aliases("gmsc", say=lines.append)
    [version] = MlflowClient(store).search_model_versions("name = 'credit_default_gmsc'")
    assert version.tags["content_hash"] == champion.split(":")[1]
    assert version.tags["promoted_by"] == "tests" and aliases_of(store) == {"champion": "1"}
    assert lines == [f"MLflow: alias champion of credit_default_gmsc is version 1, {champion}"]


def test_a_promotion_while_mlflow_is_away_is_made_good_once(store, champion, monkeypatch):
    monkeypatch.setenv("CREDIT_DEFAULT_MLFLOW_URI", AWAY)
    lines = []
    registered.follow_aliases("gmsc", say=lines.append)
    assert len(lines) == 1 and "tracking sync" in lines[0] and "hunter2" not in lines[0]
    assert len(registered.deliver_all(store).sent) == 1  # a model from before gets a run as well
    assert not registered.deliver_all(store).sent and aliases_of(store) == {"champion": "1"}
    [run] = runs_of(store)
    assert run.data.tags["model_version"] == champion


def test_a_challenger_has_an_alias_until_its_challenge_ends(store, champion, monkeypatch):
    challenge = type("Challenge", (), {"tag": champion})
    monkeypatch.setattr(registered, "current_challenge", lambda portfolio: challenge)
    registered.follow_aliases("gmsc", say=lambda line: None)
    assert aliases_of(store) == {"champion": "1", "challenger": "1"}
    monkeypatch.setattr(registered, "current_challenge", lambda portfolio: None)
    registered.follow_aliases("gmsc", say=lambda line: None)
    assert aliases_of(store) == {"champion": "1"}


def test_a_pyfunc_gives_the_same_answers_and_holds_no_pickle(synthetic_bundle, tmp_path):
    import mlflow.pyfunc
    from served import applicants

    pyfunc.write_pyfunc(bundle_path(synthetic_bundle.tag), tmp_path / "model")
    files = [path.name for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".joblib"))]
    frame, _ = applicants(synthetic_bundle.portfolio, 200)
    found = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(frame)
    columns = parse_table(synthetic_bundle.portfolio, frame)
    scores = synthetic_bundle.score(columns, reasons=False)
    assert found.probability_default.tolist() == scores.probability_default.tolist()
    assert found.credit_score.tolist() == scores.credit_score.tolist()
    with pytest.raises(InvalidInput, match="row 1: age") as refused:
        pyfunc.BundleModel(synthetic_bundle).predict(frame.head(2).assign(age=[40, -77]))
    assert "77" not in str(refused.value)


def test_a_damaged_bundle_is_no_pyfunc(synthetic_bundle, tmp_path):
    folder = shutil.copytree(bundle_path(synthetic_bundle.tag), tmp_path / "bundle")
    with (folder / "calibrator.json").open("a") as file:
        file.write(" ")
    with pytest.raises(BundleError, match=r"calibrator\.json is damaged"):
        pyfunc.write_pyfunc(folder, tmp_path / "model")


def test_a_signature_that_was_made_after_the_training_follows_with_the_alias(
    store, report, champion, monkeypatch, tmp_path
):
    import mlflow.pyfunc

    from credit_default.scoring import signing

    signing.write_signing_key(tmp_path / "risk.pem")
    key = signing.read_signing_key(tmp_path / "risk.pem")
    folder, content = report
    with tracked_training("gmsc", "one", OPTIONS, say=lambda line: None) as run:
        run.add_report(folder, content)
    signature = bundle_path(champion) / signing.SIGNATURE
    monkeypatch.setenv("CREDIT_DEFAULT_TRUSTED_KEYS", signing.public_key(key))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    try:
        registered.follow_aliases("gmsc", say=lambda line: None)
        with pytest.raises(BundleError, match="the model is not signed"):
            mlflow.pyfunc.load_model("models:/credit_default_gmsc@champion")
        signing.sign_bundle(champion, "gmsc", key)
        registered.follow_aliases("gmsc", say=lambda line: None)
        assert mlflow.pyfunc.load_model("models:/credit_default_gmsc@champion")
    finally:
        signature.unlink(missing_ok=True)
