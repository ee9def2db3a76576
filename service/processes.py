"""Child processes that end with their parent, the lock that lets one yard run in a home, and threads that can wait."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def spawn(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    log: IO[bytes] | None = None,
    keep: Collection[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, so that Ctrl-C reaches only us; on Linux it gets SIGTERM when we die.

    `keep`: the numbers of open files that it inherits.
    """
    parent = os.getpid()

    def prepare() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # we died before the line above
                os._exit(1)

    return subprocess.Popen(
        argv,
        env=None if env is None else dict(env),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        pass_fds=keep,
        preexec_fn=prepare,
    )


def let_others_finish() -> None:
    """Give this thread, and what it starts, its turn when another's on the processor ends, not in the middle of it.

    For a server beside training: one that wakes for each request pushes what is being trained out of the caches. Linux
    only (SCHED_BATCH, sched(7)); where that cannot be had, or a sandbox forbids it, things stay as they are.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(0) == os.SCHED_OTHER:  # not from an even humbler one
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def stop(process: subprocess.Popen[bytes], grace: float) -> None:
    """SIGTERM, then after so many seconds SIGKILL to its whole group."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def alive(pid: int) -> bool:
    """Whether there is such a process and it is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def wait_until(condition: Callable[[], bool], seconds: float, interval: float = 0.05) -> bool:
    """Poll until the condition holds; False when the time ran out first."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True


@contextlib.contextmanager
def exclusive(file: Path, patience: float = 0.0) -> Iterator[bool]:
    """Hold a lock that the system gives back when the process ends; yields False when another one holds it, and goes
    on to for so many seconds."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:

        def taken() -> bool:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            return True

        yield wait_until(taken, patience)
