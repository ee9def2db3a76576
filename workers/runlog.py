"""The log of an attempt, as its slot tells it: lines wait here for the next transaction that writes anyway."""

from __future__ import annotations

import logging
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import nn
from service.display import number
from service.store.logs import Line, clean
from service.store.tables import Level

log = logging.getLogger(__name__)

HEARD = ("nn", "service", "workers")  # loggers whose warnings belong to the run
MOST_WAITING = 1000  # lines, while the database is away; the oldest are left out, and their numbers tell it
MOST_FRAMES = 60  # lines of a traceback: its last ones
SECONDS, SLOWEST = 1.0, 60.0  # between two lines of epochs, or of checkpoints: at first, and after hours
SHARE = 0.01  # of the time that an attempt has taken: so much is between two lines, within those bounds


class RunLog:
    """Lines are told by the training and by the keeper's thread; the keeper takes them, or the end of the attempt."""

    def __init__(self, run_id: int, epochs: int = 0) -> None:
        self._run_id, self._epochs = run_id, epochs
        self._lock = threading.Lock()
        self._lines: deque[Line] = deque(maxlen=MOST_WAITING)
        self._number = 0
        self._began = time.monotonic()
        self._due: dict[str, float] = {}  # when the next line of what happens again and again may come
        self._untold: nn.Epoch | None = None
        self._best: int | None = None  # an epoch that was the best so far and has not been told

    def say(self, text: str, level: Level = Level.INFO) -> None:
        text = clean(text)
        with self._lock:
            self._number += 1
            self._lines.append(Line(self._number, time.monotonic(), level, text))

    def epoch(self, epoch: nn.Epoch) -> None:
        """An epoch is done: a line of it at once, or, where they come fast, of the one that is the last then."""
        self._untold = epoch
        if epoch.is_best:
            self._best = epoch.epoch
        if self._is_due("epoch"):
            self.tell_epoch()

    def saved(self, size: str) -> None:
        if self._is_due("checkpoint"):
            self.say(f"a checkpoint is saved, {size}")

    def _is_due(self, kind: str) -> bool:
        at = time.monotonic()
        if at < self._due.get(kind, 0.0):
            return False
        self._due[kind] = at + min(SLOWEST, max(SECONDS, SHARE * (at - self._began)))
        return True

    def tell_epoch(self) -> None:
        """The line of the last epoch, if it has not been told."""
        epoch, best, self._untold, self._best = self._untold, self._best, None, None
        if epoch is None:
            return
        values = ", ".join(f"{name} {number(value)}" for name, value in epoch.metrics.items())
        mark = (
            "" if best is None else ", the best so far" if best == epoch.epoch else f"; the best so far: epoch {best}"
        )
        self.say(f"epoch {epoch.epoch}/{self._epochs}: {values}{mark}")

    # What becomes of them

    @property
    def waits(self) -> bool:
        return bool(self._lines)

    def take(self) -> list[Line]:
        with self._lock:
            lines = list(self._lines)
            self._lines.clear()
        return lines

    def put_back(self, lines: Sequence[Line]) -> None:
        """They could not be written."""
        with self._lock:
            self._lines = deque([*lines, *self._lines], maxlen=MOST_WAITING)

    # What others say

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take in what this process is warned of meanwhile, and the traceback of an error that nobody expected."""
        handler = _Handler(self)
        for name in HEARD:
            logging.getLogger(name).addHandler(handler)
        try:
            with warnings.catch_warnings():  # and each is told once an attempt, not once a process
                warnings.showwarning = _show
                yield
        finally:
            for name in HEARD:
                logging.getLogger(name).removeHandler(handler)

    def hear(self, record: logging.LogRecord) -> None:
        level = Level.ERROR if record.levelno >= logging.ERROR else Level.WARNING
        self.say(record.getMessage().removeprefix(f"run {self._run_id}: "), level)
        if record.exc_info and record.exc_info[1] is not None:
            told = "".join(traceback.format_exception(record.exc_info[1])).splitlines()
            if len(told) > MOST_FRAMES:
                told = [f"… {len(told) - MOST_FRAMES} lines", *told[-MOST_FRAMES:]]
            for line in told:
                self.say(line, level)


class _Handler(logging.Handler):
    def __init__(self, run_log: RunLog) -> None:
        super().__init__(logging.WARNING)
        self._log = run_log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.hear(record)


def _show(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    log.warning("%s: %s (%s:%d)", category.__name__, message, filename, lineno)
