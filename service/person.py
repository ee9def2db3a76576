"""Who asks: for what is changed by hand and may one day be asked after."""

from __future__ import annotations

import getpass
import platform


def user() -> str | None:
    """The user's name, or None where the system knows none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def who() -> str:
    """User and host, as in ada@lab-1."""
    return f"{user() or '?'}@{platform.node() or '?'}"
