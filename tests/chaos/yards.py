"""The yard that is broken: its programs and servers, each started again whenever it has ended, as systemd would."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis

from service.processes import alive
from tests import servers
from tests.chaos import audit
from tests.chaos.disk import Disk, NoMount
from tests.chaos.link import Cable, NoNamespace, Proxy
from tests.servers import eventually
from tests.yard import Program, Yard, descendants

AGAIN_SECONDS = 1.0  # from the end of a program to its next start
MakeServer = Callable[[Path, "int | None"], AbstractContextManager[servers.Server]]
EXTRA = ("ada", "bob")  # workers beside the yard's own


@dataclass
class Kept:
    """A program that is started again whenever it has ended."""

    name: str
    start: Callable[[], Program]
    process: Program | None = None
    wanted: bool = True
    starts: int = 0
    ends: list[int] = field(default_factory=list)  # the codes with which it ended
    _not_before: float = 0.0

    def look(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            self.ends.append(self.process.returncode)
            self.process, self._not_before = None, time.monotonic() + AGAIN_SECONDS
        if self.process is None and self.wanted and time.monotonic() >= self._not_before:
            try:
                self.process = self.start()
                self.starts += 1
            except (RuntimeError, AssertionError, OSError) as error:  # such as a full disk: it is tried again
                print(f"        {self.name} does not start: {str(error).strip().splitlines()[-1]}", flush=True)
                self._not_before = time.monotonic() + AGAIN_SECONDS

    @property
    def pid(self) -> int | None:
        process = self.process
        return None if process is None or process.poll() is not None else process.pid


class Server:
    """A server of tests/servers.py that can be started again with its folder and port."""

    def __init__(self, make: MakeServer, folder: Path, stack: ExitStack) -> None:
        self._make, self._folder, self._stack = make, folder, stack
        self._last: ExitStack | None = None
        self.port: int | None = None
        self.url = ""
        stack.callback(self.end)

    def start(self) -> Program:
        self.end()
        own = ExitStack()
        server = own.enter_context(self._make(self._folder, self.port))
        self._last, self.port, self.url = own, server.port, server.url
        return server.process

    def end(self) -> None:
        if self._last is not None:
            self._last.close()
            self._last = None


class ChaosYard(Yard):
    """A yard whose parts are kept running by `look`, to be called again and again by one thread: the first one, for
    servers end with the thread that started them."""

    def __init__(self, home: Path, **variables: str) -> None:
        super().__init__(home, **variables)
        self.kept: dict[str, Kept] = {}
        self.given: dict[str, dict[str, str]] = {name: {} for name in EXTRA}  # variables that only this worker has
        self.before: dict[str, list[str]] = {name: [] for name in EXTRA}
        self.disk: Disk | None = None
        self.cable: Cable | None = None
        self.proxies: list[Proxy] = []
        self.impossible: dict[str, str] = {}  # faults that this machine does not allow, and why

    def keep(self, name: str, start: Callable[[], Program]) -> Kept:
        self.kept[name] = kept = Kept(name, start)
        kept.process = start()
        return kept

    def look(self) -> None:
        for kept in list(self.kept.values()):
            kept.look()

    def start_all(self, slots: int = 2) -> None:
        self.keep("yard", lambda: self.start("service.cli", "up", "--workers", str(slots), "--port", "0"))
        eventually(lambda: self.state, 60)
        for name in EXTRA:
            self.keep(name, lambda name=name: self._start_worker(name))
        eventually(lambda: self.look() or self.slots == slots + len(EXTRA), 60)

    def _start_worker(self, name: str) -> Program:
        return self.start("workers", "--name", name, "--slots", "1", before=self.before[name], **self.given[name])

    def stop_all(self, grace: float) -> list[str]:
        """SIGTERM for every program of the yard; returns those that have not ended in time."""
        programs = [kept for kept in self.kept.values() if kept.name in ("yard", *EXTRA)]
        for kept in programs:
            kept.wanted = False
            if kept.pid is not None:
                os.kill(kept.pid, signal.SIGTERM)
        with suppress(AssertionError):
            eventually(lambda: all(kept.pid is None for kept in programs), grace)
        return [kept.name for kept in programs if kept.pid is not None]

    # Victims

    def supervisors(self) -> dict[str, int]:
        """The process of each worker's supervisor that runs, by the name of the program that started it."""
        found = {name: pid for name in EXTRA if (pid := self.kept[name].pid) is not None}
        yard = self.kept["yard"].pid
        for child in descendants(yard)[1:] if yard is not None else []:
            if " -m workers " in command_of(child):
                found["yard"] = child
        return found

    def broker_pid(self) -> int | None:
        if "broker" in self.kept:
            return self.kept["broker"].pid
        yard = self.kept["yard"].pid
        children = descendants(yard)[1:] if yard is not None else []
        return next((pid for pid in children if "broker.sock" in command_of(pid) and alive(pid)), None)

    def redis(self) -> redis.Redis:
        settings = self.settings
        if settings.embedded_broker:
            return redis.Redis(
                unix_socket_path=str(settings.broker_socket), password=settings.broker_password, socket_timeout=5
            )
        return redis.Redis.from_url(settings.broker, socket_timeout=5)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@contextmanager
def chaos_yard(database: str, **variables: str) -> Iterator[ChaosYard]:
    """A yard on this database with all that can be broken around it; nothing of it is left at the end."""
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="chaos-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        home.chmod(0o711)  # the user that PostgreSQL runs as passes through
        there = (_local if database == "sqlite" else _remote)(home, stack, variables)
        stack.callback(there.end)
        there.client.database.engine  # noqa: B018 - made here, in the first thread
        audit.install(there.client.database)
        there.start_all()
        yield there


def _mounted(folder: Path, stack: ExitStack) -> tuple[Disk | None, dict[str, str]]:
    try:
        disk = Disk(folder)
    except NoMount as error:
        return None, {"disk full": str(error)}
    stack.callback(disk.close)
    return disk, {}


def _local(home: Path, stack: ExitStack, variables: dict[str, str]) -> ChaosYard:
    disk, impossible = _mounted(home / "yard", stack)
    there = ChaosYard(home / "yard", **variables)
    there.disk = disk
    there.impossible |= impossible
    return there


def _remote(home: Path, stack: ExitStack, variables: dict[str, str]) -> ChaosYard:
    disk, impossible = _mounted(home / "postgresql", stack)
    database = Server(servers.postgresql, home / "postgresql", stack)
    broker = Server(servers.redis, home / "redis", stack)
    processes = {"database": database.start(), "broker": broker.start()}
    there = ChaosYard(home / "yard", database_url=database.url, broker_url=broker.url, **variables)
    there.disk = disk
    there.impossible |= impossible
    for name, server in (("database", database), ("broker", broker)):
        there.kept[name] = Kept(name, server.start, processes[name])
    upgraded = there.cli("db", "upgrade")
    if upgraded.returncode:
        raise RuntimeError(f"the database cannot be made: {upgraded.stderr}")
    _put_behind_a_link(there, database, broker, stack)
    _build_a_clock(there, home)
    return there


def _put_behind_a_link(there: ChaosYard, database: Server, broker: Server, stack: ExitStack) -> None:
    """The worker ada reaches its services only through proxies, if possible from a network of its own."""
    try:
        there.cable = Cable()
        stack.callback(there.cable.close)
        there.before["ada"] = there.cable.inside
    except NoNamespace as error:
        there.impossible["cut link"] = str(error)
    host = there.cable.host if there.cable else "127.0.0.1"
    for name, server in (("DATABASE", database), ("BROKER", broker)):
        proxy = Proxy(server.port or 0, host)
        stack.callback(proxy.close)
        there.proxies.append(proxy)
        url = server.url.replace(f"127.0.0.1:{server.port}", f"{host}:{proxy.port}")
        there.given["ada"][f"TRAINYARD_{name}_URL"] = url


def _build_a_clock(there: ChaosYard, home: Path) -> None:
    """The worker bob gets a wall clock that can be off; see clock.c. (Only with PostgreSQL, whose clock is another's:
    SQLite runs inside each process, and the processes of one machine have one clock.)"""
    library = home / "clock.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(Path(__file__).with_name("clock.c")), "-ldl"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        there.impossible["clock off"] = f"no clock can be built: {getattr(error, 'stderr', None) or error}".strip()
        return
    there.given["bob"] = {"LD_PRELOAD": str(library), "CLOCK_OFF": "0"}


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Stop these processes until the block ends."""
    for pid in pids:
        _send(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            _send(pid, signal.SIGCONT)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def kill(*pids: int) -> None:
    for pid in pids:
        _send(pid, signal.SIGKILL)


class Breath:
    """A sleep that ends at once when the trial does."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __call__(self, seconds: float) -> None:
        self.over.wait(seconds)
