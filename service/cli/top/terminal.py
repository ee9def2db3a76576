"""The terminal while a program has the whole screen, and as it was before afterwards; the keys that are pressed."""

from __future__ import annotations

import os
import re
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = {
    "\x1b[A": "up", "\x1bOA": "up", "k": "up", "\x1b[B": "down", "\x1bOB": "down", "j": "down",
    "\x1b[H": "first", "\x1bOH": "first", "\x1b[1~": "first", "g": "first",
    "\x1b[F": "last", "\x1bOF": "last", "\x1b[4~": "last", "G": "last",
    "\r": "enter", "\n": "enter", "\x1b": "back", "\x7f": "back",
}  # fmt: skip
_KEY = re.compile(r"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)


@contextmanager
def keys_at_once(file: int) -> Iterator[None]:
    """Have keys as they are pressed, unseen; Ctrl-Z is a key like others, for it would leave the screen as it is."""
    before = termios.tcgetattr(file)
    try:
        tty.setcbreak(file)
        now = termios.tcgetattr(file)
        now[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(file, termios.TCSANOW, now)
        yield
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)


def keys(data: bytes) -> list[str]:
    """The names of the keys that a terminal has sent; letters are their own."""
    return [NAMES.get(key, key) for key in _KEY.findall(data.decode(errors="replace"))]


def size(file: int) -> tuple[int, int]:
    """Columns and lines."""
    found = os.get_terminal_size(file)
    return max(1, found.columns), max(1, found.lines)
