"""A yard from `up` to `down`: one in a home, nothing left behind, and nothing lost when it is killed outright."""

from __future__ import annotations

import socket

import pytest

from tests.servers import eventually
from tests.yard import TIMEOUT, Yard
from tests.yard import yard as a_yard

LOCKS = {f"trainyard.db-{name}" for name in ("turn", "next", "large")}
STAYS = {"trainyard.db", "metrics", "yard.lock", "logs", "broker", "specs", "output.log", *LOCKS}


@pytest.fixture(scope="module")
def home():
    """A yard that the tests of this module start and end."""
    with a_yard() as there:
        yield there


def test_down_saves_what_trains_and_up_goes_on_with_it(home):
    up(home)
    run = home.submit(epochs=100_000)
    home.trains(run)
    down = home.cli("down")
    assert (down.returncode, down.stdout) == (0, "the yard is down; what was training is saved\n")
    assert (home.client.run(run).state, home.outcomes(run)) == ("queued", ["interrupted"])

    home.up(slots=2)
    eventually(lambda: home.client.run(run).epoch > home.client.attempts(run)[0].epoch, TIMEOUT)
    home.client.cancel(run)
    first, second = home.client.attempts(run)
    assert second.first_epoch == first.epoch + 1


def test_a_second_yard_in_a_home_is_refused_in_one_sentence(home):
    pid = up(home)
    for command in (("up",), ("up", "--detach")):
        refused = home.cli(*command, "--port", "0")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr == (
            f"error: a yard runs in this home already (process {pid}); "
            "see `trainyard status`, end it with `trainyard down`\n"
        )
    assert home.state.pid == pid


def test_what_a_killed_yard_started_ends_by_itself_and_its_run_goes_on_with_the_next(home):
    up(home)
    run = home.long_run(seed=2)
    home.trains(run)
    program = home.programs[-1]
    program.kill()
    program.wait()
    eventually(lambda: not home.processes(), TIMEOUT)
    assert home.client.run(run).state in ("queued", "running")

    home.up(slots=2)
    home.completed(run)
    assert home.outcomes(run)[0] in ("interrupted", "lost")
    history = [epoch["epoch"] for epoch in home.client.history(run)]
    assert history == list(range(1, home.client.run(run).epochs + 1))


def test_no_secret_is_in_a_command_line_a_log_or_an_answer(home):
    up(home)
    password = home.settings.broker_password
    assert password in (home.home / "broker" / "server.conf").read_text()
    processes = home.processes()
    assert len(processes) == 6  # the yard, its broker, a supervisor, a Celery worker and two slots
    said = home.log() + "".join(processes.values())
    for command in (("status", "--json"), ("doctor",)):
        answer = home.cli(*command)
        said += answer.stdout + answer.stderr
    assert password not in said
    for file in ("server.conf", "password"):
        assert (home.home / "broker" / file).stat().st_mode & 0o077 == 0


def test_a_yard_whose_worker_was_told_to_end_stays_up_without_it(home):
    pid = up(home)
    [name] = [worker.name for worker in home.client.workers() if worker.state == "ready"]
    assert home.cli("workers", "stop", name).returncode == 0
    eventually(lambda: "the worker ended, as it was asked to" in home.log(), TIMEOUT)
    assert home.state.pid == pid
    assert [worker.state for worker in home.client.workers()] == ["stopped"]
    assert len(home.processes()) == 2  # the yard and its broker


def test_after_down_no_process_and_no_file_of_a_running_yard_is_left(home):
    up(home)
    down = home.cli("down")
    assert down.returncode == 0
    assert home.processes() == {}
    home.client.database.dispose()  # our own connection would keep the write-ahead log
    assert {file.name for file in home.home.iterdir()} <= STAYS
    assert {file.name for file in (home.home / "broker").iterdir()} == {"password", "server.conf"}
    again = home.cli("down")
    assert (again.returncode, again.stdout) == (0, "no yard runs in this home\n")
    assert home.state is None


def test_a_port_in_use_is_told_in_one_sentence_and_leaves_nothing():
    with socket.create_server(("127.0.0.1", 0)) as other, a_yard() as there:
        port = other.getsockname()[1]
        refused = there.cli("up", "--port", port)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr == (
            f"error: cannot listen on 127.0.0.1 port {port}: Address already in use; "
            "choose another with --port or TRAINYARD_PORT\n"
        )
        assert there.processes() == {}


def test_a_detached_yard_uses_the_database_and_the_broker_of_its_flags(tmp_path, redis_url):
    with a_yard() as there:
        flags = ("--database", f"sqlite:///{tmp_path / 'own.db'}", "--broker", redis_url)
        assert there.cli(*flags, "db", "upgrade").returncode == 0
        assert there.cli(*flags, "up", "--detach", "--port", "0", "--workers", "1").returncode == 0
        try:
            submitted = there.cli(*flags, "submit", there.spec(epochs=1), "--watch")
            assert (submitted.returncode, submitted.stdout[:15]) == (0, "run 1 completed")
            assert redis_url.split("@")[0].removeprefix("redis://:") not in "".join(there.processes().values())
        finally:
            assert there.cli("down").returncode == 0
        assert there.processes() == {}
        assert not (there.home / "trainyard.db").exists()


def up(there: Yard) -> int:
    """The pid of the yard, started if an earlier test has ended it."""
    if there.state is None:
        there.up(slots=2)
    return there.state.pid
