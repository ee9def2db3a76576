"""Passwords are shown nowhere, however their URL is written, right or wrong, and whether anyone answers or not."""

from __future__ import annotations

import contextlib
import io
import logging
from urllib.parse import quote

import pytest

from service.cli import context
from service.cli.main import main
from service.errors import InputError
from service.queue import BrokerUnreachable, Tickets
from service.settings import load_settings
from service.urls import broker_risks, check_broker, check_database, database_risks, for_kombu, without_secrets
from tests.yard import clean_environment

SECRET = "Tr4in-s3cret"
HARD = "@:/#?;%& " + SECRET + "@:/#?;%& " + SECRET  # every mark that has a meaning in a URL
ESCAPED = quote(HARD, safe="")

DATABASES = [
    "postgresql://ada:{}@127.0.0.1:1/yard",
    "postgres://ada:{}@127.0.0.1:1/yard?connect_timeout=2",
    "postgresql+psycopg://:{}@127.0.0.1:1/yard",
    "postgresql://127.0.0.1:1/yard?user=ada&password={}",
    "postgresql://127.0.0.1:1/yard?user=ada&PASSWORD={}",
    "postgresql://127.0.0.1:1/yard?sslpassword={}&user=ada",
    "postgresql://ada:{}@/yard?host=/nowhere",
    "postgresql://ada:{}@127.0.0.1:1/yard?sslmode=nonsense",
    "postgresql://ada:{}@127.0.0.1:1/yard?nonsense=1",
    "postgresql://ada:{}@127.0.0.1:99999/yard",
]
BROKERS = [
    "redis://:{}@127.0.0.1:1/0",
    "redis://ada:{}@127.0.0.1:1",
    "rediss://:{}@127.0.0.1:1/0",
    "rediss://:{}@127.0.0.1:1/0?ssl_cert_reqs=none",
    "redis+socket://:{}@/nowhere/broker.sock",
    "redis+socket://ada:{}@/nowhere/broker.sock?virtual_host=2",
    "redis+socket:///nowhere/broker.sock?password={}",
    "sentinel://:{0}@127.0.0.1:1;sentinel://:{0}@127.0.0.1:2/0?master_name=yard",
]
WRONG_DATABASES = [
    "{}", "postgresql:/ada:{}@h/yard", "postgresql:ada:{}@h/yard", "ada:{}@h/yard", "//ada:{}@h/yard",
    "mysql://ada:{}@h/yard", "postgresql+asyncpg://ada:{}@h/yard", "postgresql://ada:{}@h:port/yard",
    "postgresql://ada:x@{}@h/yard", "host=h password={}", "postgresql://ada:{}@h/yard\n", " postgresql://ada:{}@h/yard",
    "postgresql://ada:{} x@h/yard", "postgresql://ada:{}@h:1,i:2/yard", "POSTGRESQL://ada:{}@h/yard",
]  # fmt: skip
WRONG_BROKERS = [
    "{}", "redis:/:{}@h", "redis:{}@h", "//:{}@h", "redis://{}@h", "redis://h?password={}", "redis://:x@{}@h", "redis://:x/{}@h",
    "redis://:12?{}@h", "redis://:12#{}@h", "redis://:12/{}@h", "redis://:x;{}@h", "redis://:{}@[::1", "redis://:{}@h:port",
    "redis://:{}@h:99999", "redis://:{}@h/zero", "redis://:{}@h?x=1", "rediss://:{}@h?ssl_cert_reqs=maybe",
    "redis+socket://:{}@", "redis+socket://:{}@/a?virtual_host=x", "sentinel://:{}@h:99999", "sentinel://:{}@a:1;{}@b:2",
    "amqp://ada:{}@h", "redis+cluster://:{}@h", "redis://:{}@h\n", " redis://:{}@h", "redis://:{} x@h", "REDIS://:{}@h",
    "redis://h#{}", "redis://h?x=:{}@",
]  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    import os

    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    return tmp_path


def said(*arguments: str) -> str:
    """All that a command says, and what is logged meanwhile."""
    context.flags.clear()
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger().addHandler(handler)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        main(list(arguments))
    logging.getLogger().removeHandler(handler)
    assert said.getvalue()
    return said.getvalue()


def require_hidden(text: str) -> None:
    assert SECRET not in text
    assert "Traceback" not in text
    assert "should not happen" not in text, text


@pytest.mark.parametrize("url", DATABASES)
def test_no_command_shows_the_password_of_a_database_that_is_away(monkeypatch, url):
    monkeypatch.setenv("TRAINYARD_DATABASE_URL", url.format(ESCAPED))
    for words in (["status", "--json"], ["doctor"], ["workers", "list", "--json"], ["db", "check"]):
        shown = said(*words)
        require_hidden(shown)
        assert "127.0.0.1" in shown or "host=/nowhere" in shown  # it is told which one


@pytest.mark.parametrize("url", BROKERS)
def test_no_command_shows_the_password_of_a_broker_that_is_away(monkeypatch, url):
    monkeypatch.setenv("TRAINYARD_BROKER_URL", url.format(ESCAPED))
    for words in (["status", "--json"], ["status"], ["doctor"]):
        shown = said(*words)
        require_hidden(shown)
        assert "127.0.0.1" in shown or "/nowhere/broker.sock" in shown


def test_the_password_with_every_mark_arrives_as_it_is():
    import kombu
    from sqlalchemy import make_url

    assert make_url(load_settings(database_url=DATABASES[0].format(ESCAPED)).database).password == HARD
    for url in BROKERS[:4]:
        settings = load_settings(broker_url=url.format(ESCAPED))
        assert kombu.Connection(for_kombu(settings.broker)[0]).password == HARD


@pytest.mark.parametrize("url", WRONG_DATABASES)
def test_a_wrong_url_of_a_database_is_refused_and_not_repeated(monkeypatch, url):
    monkeypatch.setenv("TRAINYARD_DATABASE_URL", url.format(SECRET))
    refused_without_the_secret("database_url")


@pytest.mark.parametrize("url", WRONG_BROKERS)
def test_a_wrong_url_of_a_broker_is_refused_and_not_repeated(monkeypatch, url):
    monkeypatch.setenv("TRAINYARD_BROKER_URL", url.replace("{}", SECRET))
    refused_without_the_secret("broker_url")


def refused_without_the_secret(name: str) -> None:
    with pytest.raises(InputError) as refused:
        load_settings()
    assert str(refused.value).startswith(f"setting {name} (TRAINYARD_{name.upper()}): ")
    require_hidden(str(refused.value))
    require_hidden(said("doctor"))


@pytest.mark.parametrize(
    "line",
    [
        f'broker_url = "redis://:{SECRET}@h',
        f'broker_url = ["redis://:{SECRET}@h"]',
        f'broker_url = {{url = "redis://:{SECRET}@h"}}',
        f"broker_url = redis://:{SECRET}@h",
        f'broker_url = "redis://{SECRET}@h"',
        f'database_url = "{SECRET}"\ndatabase_url = "{SECRET}"',
        f'database_url = "\\{SECRET}"',
    ],
)
def test_a_file_with_a_mistake_is_told_without_its_secrets(home, line):
    (home / "config.toml").write_text(line)
    require_hidden(said("status"))
    assert said("status").startswith("error: ")


@pytest.mark.parametrize("shape", ["redis://:{}@{}", "redis://ada:{}@{}"])
def test_a_broker_that_refuses_us_is_told_without_the_password(redis_url, shape):
    with pytest.raises(BrokerUnreachable) as refused:
        Tickets(shape.format(ESCAPED, redis_url.rpartition("@")[2])).ping()
    require_hidden(str(refused.value))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:a;b@h/x", "postgresql://u:***@h/x"),
        ("postgresql://h/x?user=u&PASSWORD=a;b", "postgresql://h/x?user=u&PASSWORD=***"),
        ("postgresql://h/x?sslpassword=a&sslmode=require", "postgresql://h/x?sslpassword=***&sslmode=require"),
        ("postgresql://h/x?pass%77ord=a", "postgresql://h/x?pass%77ord=***"),
        ("redis+socket:///a?password=a;b&virtual_host=1", "redis+socket:///a?password=***&virtual_host=1"),
        (
            "sentinel://:a@h:1;sentinel://:b@i:2/0?master_name=x",
            "sentinel://:***@h:1;sentinel://:***@i:2/0?master_name=x",
        ),
        ("redis://:a\nb@h", "redis://:***@h"),
    ],
)
def test_no_part_of_a_password_is_left_in_a_url(url, shown):
    assert without_secrets(url) == shown


# What is not protected on its way


@pytest.mark.parametrize(
    ("url", "risks"),
    [
        ("redis://127.0.0.1:6379/0", []),
        ("redis://localhost", []),
        ("redis://[::1]", []),
        ("redis://127.1.2.3", []),
        ("redis+socket:///run/redis.sock", []),
        ("rediss://:pw@far.example", []),
        ("rediss://:pw@far.example?ssl_cert_reqs=required", []),
        ("redis://:pw@far.example", ["messages to far.example are not encrypted; use rediss://"]),
        ("rediss://far.example", ["far.example is another machine and the URL has no password"]),
        (
            "redis://far.example",
            [
                "far.example is another machine and the URL has no password",
                "messages to far.example are not encrypted; use rediss://",
            ],
        ),
        (
            "rediss://:pw@far.example?ssl_cert_reqs=none",
            ["anyone can pretend to be far.example; write ssl_cert_reqs=required in the URL"],
        ),
        (
            "sentinel://:pw@localhost;sentinel://:pw@a.example;sentinel://b.example?ssl_cert_reqs=CERT_NONE",
            [
                "messages to a.example are not encrypted; use rediss://",
                "b.example is another machine and the URL has no password",
                "anyone can pretend to be b.example; write ssl_cert_reqs=required in the URL",
            ],
        ),
    ],
)
def test_what_is_not_protected_on_the_way_to_the_broker_is_told(url, risks):
    check_broker(url)
    assert broker_risks(url) == risks


FAR = "far.example is another machine and need not encrypt; add sslmode=verify-full (or require) to the URL"


@pytest.mark.parametrize(
    ("url", "risks"),
    [
        ("sqlite:////a/b.db", []),
        ("postgresql://ada:pw@localhost/x", []),
        ("postgresql:///x", []),
        ("postgresql:///x?host=/run/postgresql", []),
        ("postgresql://ada:pw@far.example/x", [FAR]),
        ("postgresql://ada:pw@/x?host=localhost,far.example", [FAR]),
        ("postgresql://ada:pw@/x?host=localhost&host=far.example", [FAR]),
        ("postgresql://ada:pw@far.example/x?sslmode=prefer", [FAR]),
        ("postgresql://ada:pw@far.example/x?sslmode=require", []),
        ("postgresql://ada:pw@far.example/x?sslmode=verify-full", []),
    ],
)
def test_what_is_not_protected_on_the_way_to_the_database_is_told(url, risks):
    check_database(url)
    assert database_risks(url) == risks


def test_certificates_are_checked_unless_the_url_says_otherwise():
    assert for_kombu("rediss://:pw@h:1/0") == ("rediss://:pw@h:1/0?ssl_cert_reqs=required", {})
    assert for_kombu("rediss://h?ssl_cert_reqs=none") == ("rediss://h?ssl_cert_reqs=none", {})
    assert for_kombu("sentinel://a:1;sentinel://b:2/0?master_name=x") == (
        "sentinel://a:1;sentinel://b:2/0",
        {"master_name": "x"},
    )
    assert for_kombu("redis+socket:///a?virtual_host=1") == ("redis+socket:///a?virtual_host=1", {})


def test_the_doctor_warns_of_what_is_not_protected(monkeypatch):
    assert "warning  page" not in said("doctor")
    monkeypatch.setenv("TRAINYARD_HOST", "0.0.0.0")
    monkeypatch.setenv("TRAINYARD_BROKER_URL", "redis://far.invalid")
    monkeypatch.setenv("TRAINYARD_DATABASE_URL", "postgresql://far.invalid/x")
    shown = " ".join(said("doctor").split())
    assert "warning page it listens on 0.0.0.0 and asks for a token, which travels readable; outside a net" in shown
    assert "whoever reaches it" not in shown
    assert "warning broker far.invalid is another machine and the URL has no password" in shown
    assert "warning broker messages to far.invalid are not encrypted" in shown
    assert "warning database far.invalid is another machine and need not encrypt" in shown


def test_the_doctor_warns_of_secrets_in_a_file_that_others_can_read(home, monkeypatch):
    file = home / "config.toml"
    home.chmod(0o755)

    def warned(text: str, mode: int = 0o644) -> str:
        file.write_text(text)
        file.chmod(mode)
        return next((line for line in said("doctor").splitlines() if line.startswith("warning  settings")), "")

    secrets = f'token = "{SECRET}"\nnotify_secret = "{SECRET}"\nbroker_url = "redis://:{ESCAPED}@127.0.0.1:1"\n'
    assert warned("lease_seconds = 15.0\nbroker_url = 'redis://127.0.0.1:1'\n") == ""
    assert warned(secrets, 0o600) == ""
    assert warned(secrets, 0o640).startswith("warning  settings  others can read")
    assert f"which holds token, notify_secret and broker_url; `chmod 600 {file}`" in " ".join(said("doctor").split())
    require_hidden(said("doctor"))
    monkeypatch.setenv("TRAINYARD_URL", "http://127.0.0.1:1")
    assert warned(f'token = "{SECRET}"\n') != ""
    home.chmod(0o700)
    assert warned(secrets.splitlines()[0]) == ""
