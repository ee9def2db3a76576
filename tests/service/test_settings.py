"""Settings: flags before variables before the file before defaults, wrong ones named, secrets kept."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import InputError
from service.settings import LONGEST_SOCKET_PATH, Settings, load_settings, write_once
from service.urls import without_secrets
from tests.yard import ROOT, TIMEOUT


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("TRAINYARD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    return tmp_path


def test_the_defaults_work_on_one_machine(home):
    settings = load_settings()
    assert settings.embedded_database
    assert settings.embedded_broker
    assert settings.database == f"sqlite:///{home}/trainyard.db"
    assert settings.host == "127.0.0.1"
    assert settings.lease_seconds >= 4 * settings.heartbeat_seconds


def test_flags_go_before_variables_before_the_file_before_defaults(home, monkeypatch):
    assert load_settings().port == 8750
    (home / "config.toml").write_text('port = 1\nlease_seconds = 7\nbroker_url = "redis://file/0"\n')
    assert load_settings().port == 1
    monkeypatch.setenv("TRAINYARD_PORT", "2")
    assert load_settings().port == 2
    assert load_settings(port=3).port == 3
    assert load_settings(port=None).port == 2
    assert (load_settings().lease_seconds, load_settings().broker) == (7, "redis://file/0")


def test_the_file_is_that_of_the_home_a_flag_names(home, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "config.toml").write_text("port = 5\n")
    assert load_settings(home=other).port == 5
    assert load_settings().port == 8750


def test_an_empty_variable_counts_as_none(monkeypatch):
    monkeypatch.setenv("TRAINYARD_DATABASE_URL", "")
    monkeypatch.setenv("TRAINYARD_BROKER_URL", "")
    assert load_settings().embedded_database
    assert load_settings().embedded_broker


def test_a_home_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings(home=Path("yard")).home == tmp_path / "yard"
    assert load_settings(home=Path("~/yard")).home == tmp_path / "yard"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_every_way_to_write_postgresql_names_the_driver(scheme):
    assert load_settings(database_url=f"{scheme}://h/yard").database == "postgresql+psycopg://h/yard"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("port", "99999", ""),
        ("port", "many", ""),
        ("lease_seconds", "0", ""),
        ("heartbeat_seconds", "0", ""),
        ("database_url", "mysql://h/x", "'mysql' is no database Trainyard knows; use sqlite:///FILE or postgresql://…"),
        ("database_url", "postgresql://u:pw@h:port/x", "it is no URL; use sqlite:///FILE or "),
        ("broker_url", "amqp://h", "'amqp' is no broker Trainyard knows; use redis://, "),
        ("broker_url", "redis://:pw@h:65536/0", "it is no URL; use redis://:PASSWORD@HOST:PORT/0"),
        ("broker_url", "redis+cluster://h", "Redis Cluster cannot carry Celery's queues"),
    ],
)
def test_a_wrong_setting_is_named_with_its_variable(monkeypatch, name, value, sentence):
    monkeypatch.setenv(f"TRAINYARD_{name.upper()}", value)
    with pytest.raises(InputError) as refused:
        load_settings()
    assert str(refused.value).startswith(f"setting {name} (TRAINYARD_{name.upper()}): {sentence}")
    assert "pw" not in str(refused.value)


def test_a_file_that_is_no_toml_is_told(home):
    (home / "config.toml").write_text("port 1\n")
    with pytest.raises(InputError, match=r"config\.toml cannot be read: "):
        load_settings()


def test_the_brokers_password_is_made_once_for_the_owner_alone(home):
    first = load_settings().broker_password
    assert len(first) == 48
    assert load_settings().broker_password == first
    assert stat.S_IMODE((home / "broker" / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "broker").stat().st_mode) == 0o700
    assert f":{first}@{home}/broker/broker.sock" in load_settings().broker


def test_of_programs_that_write_a_secret_at_once_all_get_the_same(tmp_path):
    file = tmp_path / "secret"
    code = "import sys; from pathlib import Path; from service.settings import write_once;"
    code += "sys.stdin.read(); print(write_once(Path(sys.argv[1]), sys.argv[2]), end='')"
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(file), str(number)], cwd=ROOT, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    for program in programs:
        assert program.stdin is not None
        program.stdin.close()
        program.stdin = None
    found = [program.communicate(timeout=TIMEOUT)[0] for program in programs]
    assert found == [file.read_text()] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert write_once(file, "later") == found[0]


def test_a_socket_whose_path_would_be_too_long_is_elsewhere_and_differs_by_home(tmp_path):
    deep = [tmp_path / ("a" * 100) / name for name in ("one", "two")]
    sockets = [Settings(home=home).broker_socket for home in deep]
    assert all(len(str(socket)) <= LONGEST_SOCKET_PATH for socket in sockets)
    assert len(set(sockets)) == 2
    assert Settings(home=deep[0]).broker_socket == sockets[0]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:pw@h:1/0", "redis://:***@h:1/0"),
        ("rediss://ada:pw@h", "rediss://ada:***@h"),
        ("redis://h/0?password=pw&x=1", "redis://h/0?password=***&x=1"),
        ("redis+socket://:pw@/a/b.sock?virtual_host=0", "redis+socket://:***@/a/b.sock?virtual_host=0"),
        ("sentinel://:pw@a:1;sentinel://:pw@b:2", "sentinel://:***@a:1;sentinel://:***@b:2"),
        ("postgresql://u:p/w@x@h:5432/x", "postgresql://u:***@h:5432/x"),
        ("postgresql://h/x?user=u&password=pw", "postgresql://h/x?user=u&password=***"),
        ("postgresql://u@h/x", "postgresql://u@h/x"),
        ("sqlite:////home/a:b@c/yard.db", "sqlite:////home/a:b@c/yard.db"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, shown):
    assert without_secrets(url) == shown
