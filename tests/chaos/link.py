"""A link between a worker and its services that can go silent: a proxy, and where the machine allows it a cable.

The proxy stops forwarding without closing anything: its kernel still acknowledges what is sent. The cable, a pair of
virtual interfaces into a network namespace, loses every packet: nobody acknowledges anything.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from contextlib import suppress

THIS_MACHINE = "127.0.0.1"


class Proxy:
    """Forwards connections to a port of this machine."""

    def __init__(self, port: int, host: str = THIS_MACHINE) -> None:
        self._target = port
        self._flowing = threading.Event()
        self._flowing.set()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server((host, 0))
        self.host, self.port = self._listener.getsockname()[:2]
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def silence(self) -> None:
        self._flowing.clear()

    def go_on(self) -> None:
        self._flowing.set()

    def drop(self) -> None:
        """Close every connection, what has not been forwarded is lost."""
        with self._lock:
            connected, self._sockets = self._sockets, set()
        for end in connected:
            _close(end)

    def close(self) -> None:
        _close(self._listener)
        self.drop()
        self.go_on()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection((THIS_MACHINE, self._target), 5)
                server.settimeout(None)
            except OSError:
                _close(client)  # as the server itself would refuse
                continue
            with self._lock:
                self._sockets |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), name="proxy", daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
        self._flowing.wait()  # an end is not told either
        with self._lock:
            self._sockets -= {source, sink}
        _close(source)
        _close(sink)


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


class NoNamespace(Exception):
    """This machine lets us make no network namespace."""


class Cable:
    """A network namespace for one worker, and the two interfaces that join it to this machine."""

    def __init__(self) -> None:
        number = os.getpid() % 10_000
        self.namespace, self._near, far = f"chaos-{number}", f"chaos-n{number}", f"chaos-f{number}"
        subnet = f"10.213.{number % 250}"
        self.host = f"{subnet}.1"
        try:
            _ip("netns", "add", self.namespace)
            _ip("link", "add", self._near, "type", "veth", "peer", "name", far, "netns", self.namespace)
            _ip("address", "add", f"{self.host}/30", "dev", self._near)
            _ip("link", "set", self._near, "up")
            _ip("-n", self.namespace, "address", "add", f"{subnet}.2/30", "dev", far)
            _ip("-n", self.namespace, "link", "set", far, "up")
            _ip("-n", self.namespace, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            self.close()
            said = getattr(error, "stderr", None) or error
            raise NoNamespace(f"no network namespace can be made: {str(said).strip()}") from None

    @property
    def inside(self) -> list[str]:
        """The command that runs another one at the far end."""
        return ["ip", "netns", "exec", self.namespace]

    def cut(self) -> None:
        _ip("link", "set", self._near, "down")

    def mend(self) -> None:
        _ip("link", "set", self._near, "up")

    def close(self) -> None:
        for command in (("link", "delete", self._near), ("netns", "delete", self.namespace)):
            with suppress(OSError, subprocess.CalledProcessError):  # it may not have come so far
                _ip(*command)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
