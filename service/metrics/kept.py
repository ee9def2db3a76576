"""Figures that take long are not read anew at every scrape."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")

QUICK = 0.02  # seconds that a scrape may wait for such a figure
REST = 20  # times what reading it took: it may take a twentieth of the time


class Kept(Generic[T]):
    """A value that is read when asked for, at most once in so many `seconds`.

    Once reading it takes longer than QUICK it is read by a thread of its own, with rests, and whoever asks gets what
    was read last. Only the first to ask waits for it.
    """

    def __init__(
        self, read: Callable[[], T], seconds: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read, self._seconds, self._clock = read, seconds, clock
        self._value: T | None = None
        self._cost = 0.0  # seconds that reading it took
        self._next = float("-inf")  # when it may be read again
        self._fresh = False  # whether the last attempt to read it went well
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def get(self) -> T:
        """The value; raises what reading it raises, also if a thread has met that before and it has not passed."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return self._value  # type: ignore[return-value]
            if not self._fresh:
                self._take()
            elif self._clock() >= self._next:
                if self._cost <= QUICK:
                    self._take()
                else:
                    self._thread = threading.Thread(target=self._take_aside, name="figures", daemon=True)
                    self._thread.start()
            return self._value  # type: ignore[return-value]

    def _take(self) -> None:
        self._fresh = False
        began = self._clock()
        value = self._read()
        ended = self._clock()
        self._cost = ended - began
        self._next = ended + max(self._seconds, REST * self._cost if self._cost > QUICK else 0.0)
        self._value, self._fresh = value, True

    def _take_aside(self) -> None:
        try:
            self._take()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next scrape meets it and tells it
            log.warning("figures could not be read: %s", error)
