"""Every error that a person can cause or meet, in one tree.

The constructor takes facts and writes what went wrong, which one, and what to do next. Each edge (command line, HTTP)
translates once: the message to standard error or a problem document, `exit_code` to the process's exit code.
"""

from __future__ import annotations

LONGEST = 1000  # characters of a line


class TrainyardError(Exception):
    """The base: a sentence for a person, and an exit code for a script."""

    exit_code = 1

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(map(printable, lines)))


def printable(text: str) -> str:
    """The text as one line that is safe to show: names of files, keys and columns may hold what moves a cursor."""
    escaped = "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)
    return escaped if len(escaped) <= LONGEST else f"{escaped[:LONGEST]} …"


class InputError(TrainyardError):
    """What the person gave is wrong; nothing was changed."""

    exit_code = 2


class Unreachable(TrainyardError):
    """A service that is needed does not answer."""

    exit_code = 3


class DataError(InputError):
    """Data cannot be used to train or predict: which file, which line and column, and what to do."""
