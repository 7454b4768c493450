"""Trusted keys: what the service and an import take, and what they say of the rest."""

import shutil
from pathlib import Path

import pytest
from served import Server

from credit_default.core.extras import MissingExtra
from credit_default.scoring import signing
from credit_default.scoring.bundle import BundleError
from credit_default.scoring.bundle_files import checked_files
from credit_default.scoring.bundle_import import import_bundle
from credit_default.scoring.registry import bundle_path


@pytest.fixture
def key(tmp_path):
    signing.write_signing_key(tmp_path / "risk.pem")
    return signing.read_signing_key(tmp_path / "risk.pem")


@pytest.fixture
def home(synthetic_bundle, bentoml_home, tmp_path):
    "A model store of this test's own, with that champion."
    for name in ("models", "credit_default"):
        shutil.copytree(bentoml_home / name, tmp_path / "home" / name)
    return tmp_path / "home"


def sign(synthetic_bundle, home, key):
    "Signs the model, and moves the signature into the other store."
    here = bundle_path(synthetic_bundle.tag)
    public = signing.sign_bundle(synthetic_bundle.tag, "gmsc", key)
    there = home / "models" / Path(*synthetic_bundle.tag.split(":"))
    shutil.move(here / signing.SIGNATURE, there / signing.SIGNATURE)
    return public


def test_a_service_takes_only_what_a_trusted_key_has_signed(synthetic_bundle, home, key, tmp_path):
    settings = dict(CREDIT_DEFAULT_TRUSTED_KEYS=signing.public_key(key))
    code, log = Server(home, tmp_path / "log", **settings).start().finished()
    assert code != 0 and f"{synthetic_bundle.tag} is not signed" in log
    sign(synthetic_bundle, home, key)
    with Server(home, tmp_path / "log", **settings) as server:
        assert server.client.get("/health").json()["model_version"] == synthetic_bundle.tag


def test_a_signature_by_another_key_is_foreign(synthetic_bundle, home, key, tmp_path):
    signing.write_signing_key(tmp_path / "other.pem")
    other = signing.read_signing_key(tmp_path / "other.pem")
    sign(synthetic_bundle, home, other)
    settings = dict(CREDIT_DEFAULT_TRUSTED_KEYS=signing.public_key(key))
    code, log = Server(home, tmp_path / "log", **settings).start().finished()
    assert code != 0 and "a key that CREDIT_DEFAULT_TRUSTED_KEYS does not name" in log


@pytest.fixture
def sent(synthetic_bundle, tmp_path):
    "The bundle as a folder that somebody has sent."
    stored, folder = bundle_path(synthetic_bundle.tag), tmp_path / "acme" / "credit-gmsc"
    folder.mkdir(parents=True)
    for name in (*checked_files(stored), "manifest.json"):
        shutil.copy(stored / name, folder)
    yield folder
    (stored / signing.SIGNATURE).unlink(missing_ok=True)


def test_an_import_takes_only_what_a_trusted_key_has_signed(
    synthetic_bundle, sent, key, monkeypatch
):
    stored = bundle_path(synthetic_bundle.tag)
    monkeypatch.setenv("CREDIT_DEFAULT_TRUSTED_KEYS", signing.public_key(key))
    with pytest.raises(BundleError, match="acme/credit-gmsc, version .* is not signed"):
        import_bundle(sent)
    signing.sign_bundle(synthetic_bundle.tag, "gmsc", key)
    shutil.move(stored / signing.SIGNATURE, sent)
    assert import_bundle(sent) == synthetic_bundle.tag
    assert signing.load_trusted(synthetic_bundle.tag, "gmsc").tag == synthetic_bundle.tag


def test_a_signature_goes_through_the_hub(synthetic_bundle, sent, key, monkeypatch):
    from hub_server import TOKEN, running_hub

    from credit_default.tracking.hub import pull_bundle, push_bundle

    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        push_bundle(synthetic_bundle.tag, "acme/credit-gmsc")  # as a training does, unsigned
        signing.sign_bundle(synthetic_bundle.tag, "gmsc", key)
        push_bundle(synthetic_bundle.tag, "acme/credit-gmsc")
        (bundle_path(synthetic_bundle.tag) / signing.SIGNATURE).unlink()
        monkeypatch.setenv("CREDIT_DEFAULT_TRUSTED_KEYS", signing.public_key(key))
        assert pull_bundle("acme/credit-gmsc", "gmsc") == synthetic_bundle.tag
        assert pull_bundle("acme/credit-gmsc", "gmsc", synthetic_bundle.tag) == synthetic_bundle.tag
        hub.change("acme/credit-gmsc", signature__json=None)
        with pytest.raises(BundleError, match="is not signed"):
            pull_bundle("acme/credit-gmsc", "gmsc")


def test_keys_without_the_package_trust_nobody(synthetic_bundle, sent, key, monkeypatch):
    signing.sign_bundle(synthetic_bundle.tag, "gmsc", key)
    monkeypatch.setenv("CREDIT_DEFAULT_TRUSTED_KEYS", signing.public_key(key))
    monkeypatch.setattr("credit_default.core.extras.find_spec", lambda module: None)
    with pytest.raises(MissingExtra, match="Install the extra `signing`"):
        signing.load_trusted(synthetic_bundle.tag, "gmsc")


def test_serving_needs_no_cryptography():
    root = Path(__file__).resolve().parents[2]
    assert "\ncryptography==" not in (root / "requirements-serving.lock").read_text()
