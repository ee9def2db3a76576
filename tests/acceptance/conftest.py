"""Yards that tests share: starting one takes some seconds. A test may break it; `yard` mends what it finds broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests import servers
from tests.servers import eventually
from tests.yard import TIMEOUT, Result, Yard
from tests.yard import yard as a_yard


@pytest.fixture(scope="session")
def _local_yard() -> Iterator[Yard]:
    with a_yard() as there:
        yield there


@pytest.fixture
def yard(_local_yard: Yard) -> Yard:
    """A running yard on SQLite and the embedded broker, with two slots and nothing to do."""
    return ready(_local_yard)


class Broker:
    """A Redis of our own that can be killed and started again, empty."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.server = stack.enter_context(servers.redis(folder))

    def kill(self) -> None:
        self.server.process.kill()
        self.server.process.wait()

    def start(self) -> None:
        self.server = self._stack.enter_context(servers.redis(self._folder, self.server.port))


@pytest.fixture(scope="session")
def broker(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker of the remote yard; `redis_url` is asked for because it skips where there is no Redis."""
    with ExitStack() as stack:
        yield Broker(tmp_path_factory.mktemp("redis"), stack)


@pytest.fixture(scope="session")
def _remote_yard(postgresql_url: str, broker: Broker) -> Iterator[Yard]:
    with psycopg.connect(postgresql_url.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute("CREATE DATABASE acceptance TEMPLATE template0")
    database_url = f"{postgresql_url.rpartition('/')[0]}/acceptance"
    with a_yard(database_url=database_url, broker_url=broker.server.url) as there:
        assert there.cli("db", "upgrade").returncode == 0
        yield there


@pytest.fixture
def remote_yard(_remote_yard: Yard) -> Yard:
    """A running yard on PostgreSQL and Redis, with two slots and nothing to do."""
    return ready(_remote_yard)


@pytest.fixture(params=["SQLite and the embedded broker", "PostgreSQL and Redis"])
def any_yard(request: pytest.FixtureRequest) -> Yard:
    """A running yard of either kind; they differ by TRAINYARD_DATABASE_URL and TRAINYARD_BROKER_URL alone."""
    local = request.param.startswith("SQLite")
    return ready(request.getfixturevalue("_local_yard" if local else "_remote_yard"))


def ready(there: Yard) -> Yard:
    """The yard as a test wants to find it: up, two idle slots, no run that waits."""
    for run in there.client.runs("state in (queued, running)", limit=None):
        there.client.cancel(run.id)
    if there.state is None:
        there.up(slots=2)
    eventually(lambda: [(w.slots, w.busy) for w in there.client.workers() if w.state == "ready"] == [(2, 0)], TIMEOUT)
    return there


_undisturbed: dict[int, Result] = {}


@pytest.fixture
def undisturbed(yard: Yard) -> Result:
    """What `yard.long_run(seed=7)` ends with when nothing happens to it."""
    if 7 not in _undisturbed:
        [run] = yard.completed(yard.long_run(seed=7))
        _undisturbed[7] = yard.result(run.id)
    return _undisturbed[7]
