"""Settings come from the environment or a file; what is wrong is named, and no secret is shown."""

import pytest

from credit_default.core.addresses import parse_addresses
from credit_default.core.settings import SettingsError, read_settings, secret_key, variable_name


@pytest.fixture
def environment(monkeypatch, tmp_path):
    "Set variables of settings, with no file of settings around."
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    monkeypatch.setenv("CREDIT_DEFAULT_ENV_FILE", str(tmp_path / "none.env"))

    def set_variables(**values):
        for name, value in values.items():
            monkeypatch.setenv(variable_name(name), value)

    return set_variables


def test_the_defaults_serve_one_machine(environment, tmp_path):
    settings = read_settings()
    assert settings.database == f"sqlite:///{tmp_path}/credit_default/service.db"
    assert settings.spool_url == f"sqlite:///{tmp_path}/credit_default/spool.db"
    assert (settings.workers, settings.signup) == (1, "closed")
    assert settings.portfolio_names == ("gmsc",)


def test_portfolios_are_named_once_each(environment):
    settings = read_settings(more_portfolios="personal, gmsc,mortgage,")
    assert settings.portfolio_names == ("gmsc", "personal", "mortgage")


def test_a_portfolio_may_be_given_by_its_file(environment, tmp_path):
    (tmp_path / "cars.toml").write_text('name = "car_loans"\n', encoding="utf-8")
    assert read_settings(portfolio=str(tmp_path / "cars.toml")).portfolio_name == "car_loans"


def test_everything_that_is_wrong_is_named_at_once_and_not_repeated(environment):
    environment(workers="many", secret_key="hunter2", signup="everybody")
    with pytest.raises(SettingsError) as error:
        read_settings()
    for name in ("workers", "secret_key", "signup"):
        assert variable_name(name) in str(error.value)
    for value in ("many", "hunter2", "everybody"):
        assert value not in str(error.value)


def test_no_secret_is_shown(environment):
    environment(
        secret_key="k" * 48,
        database_url="postgresql+psycopg://credit:s3cret@db/credit",
        alert_command="logger s3cret",
        smtp_url="smtps://risk%40bank:s3cret@mail.example.com:465",
        alert_email="risk@bank.example.com, root@localhost,",
        workers="",
    )
    settings = read_settings()
    assert "s3cret" not in repr(settings) and "kkk" not in repr(settings)
    assert secret_key(settings) == "k" * 48
    assert settings.database == "postgresql+psycopg://credit:s3cret@db/credit"
    assert settings.workers == 1
    assert parse_addresses(settings.alert_email) == ("risk@bank.example.com", "root@localhost")


@pytest.mark.parametrize(
    "values, expected",
    [
        (
            dict(alert_email="risk@bank.example.com"),
            "ALERT_EMAIL: needs a mail server: set CREDIT_DEFAULT_SMTP_URL",
        ),
        (dict(smtp_url="smtp://risk@mail.example.com"), "a user needs a password"),
        (dict(smtp_url="smtp://mail.example.com/inbox"), "nothing may follow the port"),
        (
            dict(smtp_url="smtp://mail.example.com", alert_from="a@b.example, c@d.example"),
            "one address only",
        ),
        (dict(alert_webhook="hooks.example.com/T0/s3cret"), "must begin with https:// or http://"),
        (dict(smtp_url="smtp://risk:s3cret@mail.example.com:many"), "must begin with smtp://"),
    ],
)
def test_where_alerts_go_is_checked(environment, values, expected):
    environment(**values)
    with pytest.raises(SettingsError, match=expected) as error:
        read_settings()
    assert "s3cret" not in str(error.value)


def test_the_environment_goes_before_the_file(environment, monkeypatch, tmp_path):
    file = tmp_path / "settings.env"
    file.write_text("CREDIT_DEFAULT_WORKERS=2\nCREDIT_DEFAULT_SIGNUP=open\n", encoding="utf-8")
    monkeypatch.setenv("CREDIT_DEFAULT_ENV_FILE", str(file))
    environment(workers="3")
    settings = read_settings()
    assert (settings.workers, settings.signup) == (3, "open")
