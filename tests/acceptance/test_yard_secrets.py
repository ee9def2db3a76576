"""A yard on PostgreSQL and Redis with passwords: they stand in no output, log, argument or page."""

from __future__ import annotations

from urllib.request import urlopen

import pytest
from sqlalchemy import make_url

from tests.servers import eventually
from tests.yard import TIMEOUT, Yard

pytestmark = pytest.mark.slow


@pytest.fixture
def secrets(remote_yard: Yard) -> list[str]:
    settings = remote_yard.settings
    found = [make_url(settings.database).password, settings.broker.rpartition("@")[0].rpartition(":")[2]]
    assert all(secret and len(secret) == 32 for secret in found)
    return [str(secret) for secret in found]


def require_hidden(secrets: list[str], what: str, text: str) -> None:
    assert text.strip(), what
    for secret in secrets:
        assert secret not in text, what


def test_passwords_stand_nowhere(remote_yard, secrets, broker):
    """While all is well, and after the broker was away for a moment, which is logged by all who noticed."""
    there = remote_yard
    run = there.long_run()
    there.trains(run)
    broker.kill()
    eventually(lambda: "Cannot connect to redis" in there.log(), TIMEOUT)
    seen(there, secrets, "status --json", "doctor")
    broker.start()
    there.completed(run)
    seen(there, secrets, "status", "workers list --json", "runs list --json", f"runs show {run} --json")
    assert there.state is not None
    page, metrics = (urlopen(there.state.web_url + path).read().decode() for path in ("/", "/metrics"))
    require_hidden(secrets, "the page", page)
    require_hidden(secrets, "metrics", metrics)
    for worker in there.client.workers():
        if worker.live:
            require_hidden(secrets, "a worker's metrics", urlopen(worker.metrics_url).read().decode())


def seen(there: Yard, secrets: list[str], *commands: str) -> None:
    for words in commands:
        done = there.cli(*words.split())
        require_hidden(secrets, words, done.stdout + done.stderr)
    for pid, command in there.processes().items():
        require_hidden(secrets, f"the arguments of process {pid}", command)
    require_hidden(secrets, "the logs", there.log())
    for file in there.home.rglob("*"):
        if file.is_file() and file.suffix != ".sock":
            assert not any(secret.encode() in file.read_bytes() for secret in secrets), file
