"""The edge: errors become one sentence on stderr and an exit code, and no traceback reaches a person."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

from service.errors import TrainyardError

INTERRUPTED = 130


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Exit with the code and the sentence of whatever goes wrong inside. TRAINYARD_DEBUG=1 shows tracebacks."""
    if os.environ.get("TRAINYARD_DEBUG"):
        yield
        return
    try:
        yield
    except TrainyardError as error:
        fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        ignore_interrupts()
        sys.exit(INTERRUPTED)
    except SystemExit as end:  # Typer's own answer to Ctrl-C
        if end.code == INTERRUPTED:
            ignore_interrupts()
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}", 2)
    except Exception as error:  # noqa: BLE001 - the last line before a traceback
        fail(
            f"an error that should not happen ({type(error).__name__}: {error}); "
            "run it again with TRAINYARD_DEBUG=1 and report what it prints",
            1,
        )


def ignore_interrupts() -> None:
    """For a program that is ending already: Python gives Ctrl-C its deadly meaning back while it tidies up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def fail(sentence: str, code: int) -> NoReturn:
    sys.stdout.flush()
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(code)
