"""Turns: the writers of a SQLite database go one after the other, in the order in which they came.

SQLite has a waiting writer look again after pauses of up to 100 ms, and whoever has just written takes the lock again
between two looks: behind one that stages a large blob the others would wait for seconds. Here they stand in a line that
the system keeps, for locks on files beside the database: it wakes the next one at once, and takes back what a killed
process held.

All this is a courtesy. SQLite's own lock is what keeps the data whole, and whoever has waited in vain for his turn goes
on without it: the one in front may be frozen.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

COURTESY = 2.0  # seconds; so long that it is seldom too short, so short that a lease is renewed in spite of it


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
    def take(self) -> Iterator[bool]:
        """Wait for one's turn and have it while the block runs. False: it did not come, and the block runs without."""
        with ExitStack() as held:
            with _locked(self._next, COURTESY):
                mine = held.enter_context(_locked(self._turn, COURTESY))
            yield mine

    @contextmanager
    def alone(self, patience: float = COURTESY) -> Iterator[bool]:
        """Be the one who writes much; the turns for it are taken inside. False: another is, and the block runs too."""
        with _locked(self._large, patience) as mine:
            yield mine


_open: set[int] = set()  # the files that this process has locked or waits for


@contextmanager
def _locked(file: Path, patience: float) -> Iterator[bool]:
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CREAT, 0o666)
    except OSError:  # a full or a read-only disk: SQLite will say so, and of what
        yield False
        return
    _open.add(handle)
    try:
        yield _lock(handle, patience)
    finally:
        if handle in _open:  # else this is a forked child, and the lock its parent's
            _open.discard(handle)
            fcntl.flock(handle, fcntl.LOCK_UN)  # for a child just being started has the file open too
            os.close(handle)


def _lock(handle: int, patience: float) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return patience > 0 and _wait(handle, patience)
    return True


def _wait(handle: int, patience: float) -> bool:
    """In a thread, for flock knows no deadline. One that is left behind gets its lock for a file that is closed by
    then, and the lock ends with it."""
    locked = threading.Event()

    def wait() -> None:
        fcntl.flock(handle, fcntl.LOCK_EX)
        locked.set()

    threading.Thread(target=wait, name=f"waits for {handle}", daemon=True).start()
    return locked.wait(patience)


def _forget() -> None:
    """In a forked child: what it inherits open would hold the lock of a parent that is killed."""
    for handle in _open:
        os.close(handle)
    _open.clear()


os.register_at_fork(after_in_child=_forget)
