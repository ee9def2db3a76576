"""Arguments, variables and config.toml that hold anything: a sentence and an exit code are the worst that comes out."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cli import context
from service.cli.main import main
from service.errors import InputError
from service.settings import Settings, load_settings
from service.transport import install
from service.urls import broker_risks, database_risks, for_kombu, without_secrets
from tests.fuzz import mutations
from tests.yard import ROOT, Yard, clean_environment, settled

# Not tried: what stays in front (up, demo, workers start, runs watch), and lr-find, which trains.
COMMANDS = [
    "status", "doctor", "down", "check", "submit", "schema", "predict", "evaluate", "runs list", "runs show",
    "runs why",
    "runs cancel", "runs retry", "runs weights", "workers list", "workers scale", "workers drain", "workers stop",
    "db upgrade", "db check", "runs", "workers", "db", "",
]  # fmt: skip
OPTIONS = [
    "--json", "--help", "--version", "--set", "--queue", "--priority", "--tag", "--state", "--limit", "--before",
    "--all",
    "--out", "-o", "--last", "--split", "--reference", "--", "-", "--nonsense", "-x", "--queue=", "--home=\0",
]  # fmt: skip
WORDS = [
    "spec.yaml", "flowers.csv", "nothing.yaml", ".", "/dev/null", "1", "2", "3", "5", "0", "-1", "9" * 20,
    "1.5", "default",
    "train.epochs=0", "train.epochs=1", "a=b", "data.source=/dev/null", "ada", "x" * 5000, "completed",
    "out.csv", "out.nothing", "nowhere/out.csv",
]  # fmt: skip


@pytest.fixture(scope="module")
def there() -> Iterator[Yard]:
    with settled() as home:
        yield home


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variables but ours, and a folder of our own to write into."""
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path / "home"))
    (tmp_path / "spec.yaml").write_text((ROOT / "examples" / "iris.yaml").read_text())
    (tmp_path / "flowers.csv").symlink_to(ROOT / "examples" / "flowers.csv")


def command(*arguments: str) -> tuple[int, str, str]:
    """A command in this process: exit code, output, errors."""
    context.flags.clear()
    code: Any = 0
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main(list(arguments))
        except SystemExit as ended:
            code = ended.code or 0
    return int(code), out.getvalue(), err.getvalue()


def judge(code: int, err: str) -> None:
    assert code in (0, 1, 2, 3), err
    assert "Traceback" not in err
    assert "should not happen" not in err, err


def arguments() -> st.SearchStrategy[list[str]]:
    words = st.sampled_from(WORDS) | st.sampled_from(OPTIONS) | st.text(max_size=8)
    return st.tuples(st.sampled_from(COMMANDS), st.lists(words, max_size=4)).map(
        lambda made: [*made[0].split(), *made[1]]
    )


@mutations.law(40)
@given(words=arguments())
def test_any_arguments_end_with_a_sentence_and_a_code(there, monkeypatch, words):
    monkeypatch.setenv("TRAINYARD_HOME", str(there.home))
    if words[:2] == ["runs", "cancel"] and "4" in words:
        return  # it trains, and would be waited for
    code, _, err = command(*words)
    judge(code, err)


URLS = [
    "redis://:pw@h:1/0", "rediss://h?ssl_cert_reqs=none", "redis+socket://:pw@/a.sock?virtual_host=1",
    "sentinel://:pw@a:1;sentinel://:pw@b:2/0?master_name=x", "postgresql://u:pw@h:5432/x?sslmode=require",
    "postgres:///x?host=/a", "sqlite:////a/b.db", "sqlite://", "mysql://h", "redis+cluster://h",
]  # fmt: skip


def texts() -> st.SearchStrategy[str]:
    """What a variable can hold; the system refuses a NUL and half a surrogate pair before we see it."""
    damaged = st.sampled_from(URLS).flatmap(lambda url: mutations.damaged(url.encode(), 3))
    made = (
        st.text(max_size=20)
        | st.sampled_from([*URLS, *mutations.TOKENS])
        | damaged.map(lambda url: url.decode("latin-1"))
    )
    return made.filter(lambda text: "\0" not in text).map(lambda text: text.encode("utf-8", "ignore").decode())


@mutations.law(160)
@given(name=st.sampled_from(sorted(Settings.model_fields)), text=texts())
def test_a_variable_that_holds_anything_is_accepted_or_refused(name, text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"TRAINYARD_{name.upper()}", text)
        settled_or_refused(name)


@mutations.law(80)
@given(
    name=st.sampled_from(sorted(Settings.model_fields)), value=texts().map(repr) | mutations.values().map(str) | texts()
)
def test_a_file_that_holds_anything_is_accepted_or_refused(tmp_path, name, value):
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "config.toml").write_text(f"{name} = {value}", encoding="utf-8", errors="replace")
    settled_or_refused(name)


@mutations.law(20)
@given(data=st.binary(max_size=60))
def test_a_file_of_any_bytes_is_accepted_or_refused(tmp_path, data):
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "config.toml").write_bytes(data)
    settled_or_refused("")


def settled_or_refused(name: str) -> None:
    """Whatever is accepted can be shown and handed to Kombu, and is judged by the doctor."""
    try:
        settings = load_settings()
    except InputError as error:
        mutations.require_told(error, f"(setting {name} |config.toml cannot be read: )" if name else "")
        return
    if name == "home":  # what is no folder is told when something is to be written there
        settings = settings.model_copy(update={"home": Path.cwd()})
    assert without_secrets(settings.database)
    assert without_secrets(settings.broker)
    assert isinstance(broker_risks(settings.broker) + database_risks(settings.database), list)
    install()
    url, options = for_kombu(settings.broker)
    kombu.Connection(url, transport_options=options).release()


@mutations.law(20)
@given(name=st.sampled_from(sorted(set(Settings.model_fields) - {"home"})), text=texts())
def test_a_command_with_a_variable_that_holds_anything_ends_with_a_sentence(name, text):
    if "://" in text and name.endswith("_url"):
        return  # what is a URL is looked for in the network
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"TRAINYARD_{name.upper()}", text)
        code, _, err = command("status", "--json")
    judge(code, err)


@pytest.mark.parametrize(
    "home", ["a b", "a#b", "a%20b", "a'b", 'a"b', "a\\b", "ä", "a@b:c", "a;b", "[a]", "{a}", "$HOME"]
)
def test_a_home_of_any_name_holds_a_yard(tmp_path, monkeypatch, home):
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path / home))
    code, out, err = command("submit", "spec.yaml")
    assert (code, out) == (0, "1\n"), err
    assert command("doctor")[0] == 0
    assert (tmp_path / home / "trainyard.db").is_file()
    from service.broker import EmbeddedBroker
    from service.queue import Tickets

    settings = load_settings()
    with EmbeddedBroker(settings):
        Tickets(settings.broker).send("default")
        assert Tickets(settings.broker).depth("default") == 1


def test_a_home_that_cannot_be_part_of_a_url_is_refused(monkeypatch, tmp_path):
    for home in ("a?b", "a\nb", "~nobody-of-this-name/x"):
        monkeypatch.setenv("TRAINYARD_HOME", home)
        code, _, err = command("status")
        assert code == 2
        assert err.startswith("error: setting home (TRAINYARD_HOME): ")


@pytest.mark.parametrize("home", ["/dev/null", "spec.yaml", "/proc/self/nothing"])
def test_a_home_that_can_be_no_folder_is_told(monkeypatch, home):
    monkeypatch.setenv("TRAINYARD_HOME", home)
    for words in (["status"], ["doctor"], ["submit", "spec.yaml"]):
        code, _, err = command(*words)
        judge(code, err)
        assert code
