"""Turns: the writers of a SQLite database go one after the other, in the order in which they came.

SQLite has a waiting writer look again after pauses of up to 100 ms, and whoever has just written takes the lock again
between two looks: behind one that stages a large blob the others would wait for seconds. Here they stand in a line that
the system keeps, for locks on files beside the database: it wakes the next one at once, and takes back what a killed
process held. SQLite's own lock stays what keeps the data whole.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PATIENCE = 30.0  # seconds, as SQLite's own
COURTESY = 2.0  # seconds; a lease must be renewed between two chunks


class TurnMissed(Exception):
    """The turn did not come, or could not be asked for; the reason is for a person."""


class Turns:
    """The line in front of one database. Three locks make it:

    - the turn;
    - being next, which is given up once the turn is had: who has just written cannot overtake who is next;
    - the large one, for those who store or remove a blob. Of many that do, one at a time stands in the line, and a
      small write waits for the chunk that is being written and perhaps one more, not for one of each.
    """

    def __init__(self, database: Path) -> None:
        self._turn, self._next, self._large = (Path(f"{database}-{name}") for name in ("turn", "next", "large"))

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for one's turn and have it while the block runs; raises TurnMissed."""
        deadline = time.monotonic() + PATIENCE
        with ExitStack() as held:
            with _locked(self._next, deadline):
                held.enter_context(_locked(self._turn, deadline))
            yield

    @contextmanager
    def alone(self, patience: float = COURTESY) -> Iterator[bool]:
        """Be the one who writes much; the turns for it are taken inside. False when another has been it for all one's
        patience: the block runs all the same, for this is a courtesy, and that other one may be frozen."""
        with ExitStack() as held:
            try:
                held.enter_context(_locked(self._large, time.monotonic() + patience))
                alone = True
            except TurnMissed:
                alone = False
            yield alone


_open: set[int] = set()  # the files that this process has locked or waits for


@contextmanager
def _locked(file: Path, deadline: float) -> Iterator[None]:
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CREAT, 0o666)
    except OSError as error:
        raise TurnMissed(error.strerror) from error
    _open.add(handle)
    try:
        _lock(handle, deadline)
        yield
    finally:
        if handle in _open:  # else this is a forked child, and the lock its parent's
            _open.discard(handle)
            fcntl.flock(handle, fcntl.LOCK_UN)  # for a child just being started has the file open too
            os.close(handle)


def _lock(handle: int, deadline: float) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if time.monotonic() >= deadline:
            raise _missed() from None
        _wait(handle, deadline)


def _wait(handle: int, deadline: float) -> None:
    """In a thread, for flock knows no deadline. One that is left behind gets its lock for a file that is closed by
    then, and the lock ends with it."""
    locked = threading.Event()

    def wait() -> None:
        fcntl.flock(handle, fcntl.LOCK_EX)
        locked.set()

    threading.Thread(target=wait, name=f"waits for {handle}", daemon=True).start()
    if not locked.wait(max(0.0, deadline - time.monotonic())):
        raise _missed()


def _missed() -> TurnMissed:
    return TurnMissed(f"others have been writing to it for {PATIENCE:g} s without a break")


def _forget() -> None:
    """In a forked child: what it inherits open would hold the lock of a parent that is killed."""
    for handle in _open:
        os.close(handle)
    _open.clear()


os.register_at_fork(after_in_child=_forget)
