"""Who asks: for what is changed by hand and may one day be asked after."""

from __future__ import annotations

import getpass
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Remote:
    """Somebody who asks over HTTP: the name of the token, None on a yard that asks for none, and the address."""

    name: str | None
    address: str


_remote: ContextVar[Remote | None] = ContextVar("remote", default=None)


@contextmanager
def asked_by(remote: Remote) -> Iterator[None]:
    """What is done meanwhile is done for somebody elsewhere."""
    before = _remote.set(remote)
    try:
        yield
    finally:
        _remote.reset(before)


def remote() -> Remote | None:
    """Who asks over HTTP; None for who sits at this machine."""
    return _remote.get()


def user() -> str | None:
    """The user's name, or None where the system knows none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def who() -> str:
    """User and host, as in ada@lab-1; over HTTP with a token, its name and the address that it came from."""
    asker = remote()
    if asker is not None and asker.name is not None:
        return f"{asker.name}@{asker.address}"
    return f"{user() or '?'}@{platform.node() or '?'}"
