"""The yard on this machine: broker, worker and web page as one foreground program, at most one in a home."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from service.broker import EmbeddedBroker
from service.client import Client
from service.ending import AT_ONCE, Ending
from service.errors import InputError, TrainyardError, Unreachable
from service.processes import alive, exclusive, let_others_finish, spawn, stop, wait_until
from service.queue import Tickets
from service.roles import Role
from service.settings import Settings
from service.store.access import any_valid
from service.store.database import Database
from service.store.tables import SCHEMA

log = logging.getLogger(__name__)

GRACE_SECONDS = 40.0  # the worker's own 30 and some
RESTART_SECONDS = 2.0
START_SECONDS = 60.0
READY_SECONDS = 15.0  # for the first worker to have its slots, after which the yard counts as up all the same


class YardRunning(InputError):
    def __init__(self, pid: int | None) -> None:
        who = f" (process {pid})" if pid else ""
        super().__init__(f"a yard runs in this home already{who}; see `trainyard status`, end it with `trainyard down`")


class PortInUse(InputError):
    def __init__(self, host: str, port: int, cause: OSError) -> None:
        super().__init__(
            f"cannot listen on {host} port {port}: {cause.strerror or cause}; "
            "choose another with --port or TRAINYARD_PORT"
        )


class NoTokens(InputError):
    def __init__(self, host: str) -> None:
        super().__init__(
            f"the page on {host} asks for a token, and there is none that is valid; make one first: "
            "trainyard tokens create NAME --role admin"
        )


@dataclass(frozen=True)
class YardState:
    """What a running yard tells the other commands, in `yard.json`."""

    pid: int
    web_url: str
    ready: bool = False  # whether its worker has slots yet


def running(settings: Settings) -> YardState | None:
    """The yard that runs in this home, if one does."""
    with exclusive(settings.home / "yard.lock") as free:
        if free:
            return None
    try:
        return YardState(**json.loads((settings.home / "yard.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None  # it is just starting or just ending


class Yard:
    def __init__(self, settings: Settings, slots: int) -> None:
        self._settings = settings
        self._slots = slots
        self._client = Client(settings)
        self._ending = Ending(at_once=self._kill_worker)
        self._worker: subprocess.Popen[bytes] | None = None

    def run(self, ready: Callable[[YardState], None]) -> None:
        """Work until told to end by a signal, see `Ending`; calls `ready` once everything is up."""
        settings = self._settings
        lock = exclusive(settings.home / "yard.lock", patience=0.5)  # whoever asks `running` holds it for a moment
        with lock as mine, contextlib.ExitStack() as stack:
            if not mine:
                state = running(settings)
                raise YardRunning(state.pid if state else None)
            self._ending.listen()
            listener = stack.enter_context(_listen(settings.host, settings.port))
            self._prepare_database()
            _check_access(self._client)
            broker = stack.enter_context(EmbeddedBroker(settings)) if settings.embedded_broker else None
            Tickets(settings.broker).ping()
            stack.callback(self._stop_worker)
            if self._slots:
                self._worker = self._start_worker()  # before the page: both take their time to start
            web_url = stack.enter_context(_web(self._client, listener))
            state = YardState(os.getpid(), web_url)
            stack.callback((settings.home / "yard.json").unlink, missing_ok=True)
            self._tell(state)
            wait_until(self._worker_is_ready, READY_SECONDS)
            if self._ending.asked is None:
                ready(self._tell(replace(state, ready=True)))
            self._supervise(broker)
        self._ending.leave()

    def _prepare_database(self) -> None:
        database = Database(self._settings.database)
        if self._settings.embedded_database and database.schema() != SCHEMA:
            from service.store.schema import upgrade  # Alembic takes a fifth of a second, and is seldom needed

            upgrade(database)
        database.require_schema()
        database.dispose()

    def _tell(self, state: YardState) -> YardState:
        """Write the state for the other commands, whole or not at all."""
        staged = self._settings.home / "yard.json.part"
        staged.write_text(json.dumps(asdict(state)))
        staged.replace(self._settings.home / "yard.json")
        return state

    def _supervise(self, broker: EmbeddedBroker | None) -> None:
        """Keep broker and worker running; what fails is started again."""
        while not self._ending.wait(0.5):
            if broker is not None and not broker.running:
                self._start_again(broker)
            if self._worker is not None and self._worker.poll() is not None:
                self._replace_worker(self._worker.returncode)

    def _stop_worker(self) -> None:
        if self._worker is not None:
            stop(self._worker, GRACE_SECONDS)

    def _worker_is_ready(self) -> bool:
        """Whether the worker has slots, or waiting for them is pointless."""
        if self._worker is None or self._worker.poll() is not None or self._ending.asked is not None:
            return True
        try:
            return any(worker.pid == self._worker.pid and worker.slots for worker in self._client.workers())
        except Unreachable:
            return False

    def _start_worker(self) -> subprocess.Popen[bytes]:
        log_file = self._settings.home / "logs" / "worker.log"
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("ab") as output:
            command = [sys.executable, "-m", "workers", "--slots", str(self._slots)]
            return spawn(command, env=environment(self._settings), log=output)

    def _replace_worker(self, code: int) -> None:
        """Start a worker that failed again, unless what it was told is wrong: that would not change."""
        log_file = self._settings.home / "logs" / "worker.log"
        if code == InputError.exit_code:
            raise InputError(last_line(log_file))
        if code == 0:
            log.warning("the worker ended, as it was asked to; `trainyard workers start` starts another")
            self._worker = None
        elif not self._ending.wait(RESTART_SECONDS):
            log.warning("the worker ended with code %d (see %s); starting it again", code, log_file)
            self._worker = self._start_worker()

    @staticmethod
    def _start_again(broker: EmbeddedBroker) -> None:
        log.warning("the embedded broker ended; starting it again")
        try:
            broker.start()
        except Unreachable as error:
            log.warning("%s; trying again", error)

    def _kill_worker(self) -> None:
        if self._worker is not None and self._worker.poll() is None:
            self._worker.send_signal(AT_ONCE)


def _check_access(client: Client) -> None:
    """Make the token that the settings ask for. Raises NoTokens where others would need one and there is none."""
    settings = client.settings
    if settings.admin_token is not None:
        client.keep_token("admin", Role.ADMIN, settings.admin_token.get_secret_value())
    if settings.asks_for_tokens:
        with client.database.read() as session:
            if not any_valid(session):
                raise NoTokens(settings.host)


@contextlib.contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # or asyncio would leave TCP_NODELAY off
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise PortInUse(host, port, error) from error
        listener.listen()  # bound alone, another program could still take the port
        yield listener


@contextlib.contextmanager
def _web(client: Client, listener: socket.socket) -> Iterator[str]:
    """Serve the page in a thread; yields its address."""
    import uvicorn

    from service.web.app import web_app
    from service.web.repeats import protocol

    app = web_app(client)
    # An X-Forwarded-For is anybody's to write: whom limits are for is who connects.
    config = uvicorn.Config(app, http=protocol(), ws="none", proxy_headers=False, log_config=None, access_log=False)
    server = uvicorn.Server(config)

    def serve() -> None:
        let_others_finish()
        server.run(sockets=[listener])

    thread = threading.Thread(target=serve, name="web", daemon=True)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive(), 10)
    host, port = listener.getsockname()[:2]
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        app.events.close()
        server.should_exit = True
        thread.join(timeout=5)


def environment(settings: Settings) -> dict[str, str]:
    """What the programs of this yard need to know; secrets travel in the environment, never in arguments."""
    return {
        **os.environ,
        "TRAINYARD_HOME": str(settings.home),
        "TRAINYARD_DATABASE_URL": settings.database_url,
        "TRAINYARD_BROKER_URL": settings.broker_url,
    }


def last_line(log_file: Path) -> str:
    """The last thing a program said, which is its error when it ended with one."""
    lines = [line for line in log_file.read_text(errors="replace").splitlines() if line.strip()]
    return (lines or [f"it said nothing; see {log_file}"])[-1].removeprefix("error: ")


class DidNotStart(TrainyardError):
    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.exit_code = code or 1


def start(settings: Settings, *arguments: str, detached: bool) -> tuple[subprocess.Popen[bytes], YardState]:
    """Start `trainyard up` as a program of its own and wait until it is ready; detached, it outlives this process."""
    log_file = settings.home / "logs" / "yard.log"
    log_file.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "service.cli", "up", *arguments]
    with log_file.open("wb") as output:
        if detached:
            process = subprocess.Popen(
                command, env=environment(settings), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        else:
            process = spawn(command, env=environment(settings), log=output)
    state: list[YardState] = []

    def ready() -> bool:
        found = running(settings)
        if found is not None and found.pid == process.pid and found.ready:
            state.append(found)
        return bool(state) or process.poll() is not None

    wait_until(ready, START_SECONDS)
    if not state:
        if process.poll() is None:
            stop(process, GRACE_SECONDS)
        raise DidNotStart(last_line(log_file), process.returncode)
    return process, state[0]


def end(settings: Settings, pid: int) -> bool:
    """Ask the yard to end and wait for it; False when it takes too long."""
    os.kill(pid, signal.SIGTERM)
    return wait_until(lambda: not alive(pid), GRACE_SECONDS + 10)
