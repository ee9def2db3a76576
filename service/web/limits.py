"""How much anybody may ask for: so many requests a second, with some to spare, and so many bytes in each."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from service.errors import TrainyardError

LARGEST = 2**20  # bytes of a request
LARGER = {  # specs and their data may be longer
    "/api/v1/runs": 20 * 2**20,
    "/api/v1/check": 2**20,
    "/api/v1/runs/with-data": 512 * 2**20,
    "/api/v1/runs/import": 512 * 2**20,
}
MOST = 10_000  # askers that are remembered; the one that was silent the longest is forgotten


class TooMany(TrainyardError):
    """Somebody asks too often."""

    status = 429

    def __init__(self, seconds: float) -> None:
        self.retry_seconds = max(1, math.ceil(seconds))
        super().__init__(f"too many requests; wait for {self.retry_seconds} s")


class TooLong(TrainyardError):
    """A request with more bytes than its address takes."""

    status = 413

    def __init__(self) -> None:
        super().__init__(TOO_LONG)


TOO_LONG = "the request is longer than this address takes"


def largest(path: str) -> int:
    """The bytes that a request to this address may have."""
    return LARGER.get(path.rstrip("/"), LARGEST)


def limited(receive: Receive, most: int) -> Receive:
    """What is received, up to so many bytes. Raises HTTPException behind them, which every application understands."""
    left = most

    async def receiving() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, TOO_LONG)
        return message

    return receiving


class Rate:
    """Each asker has `spare` tokens and gets `per_second` new ones; with none per second and none to spare, no limit
    holds."""

    def __init__(self, per_second: float, spare: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._spare, self._clock = per_second, spare, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # how many, and at which time
        self._lock = Lock()

    def take(self, asker: str) -> None:
        """Use one up. Raises TooMany if there is none."""
        self._use(asker, 1.0)

    def has(self, asker: str) -> bool:
        """Use one up; whether there was one."""
        try:
            self.take(asker)
        except TooMany:
            return False
        return True

    def look(self, asker: str) -> None:
        """Raise TooMany if there is none."""
        self._use(asker, 0.0)

    def _use(self, asker: str, number: float) -> None:
        if not self._spare:
            return
        now = self._clock()
        with self._lock:
            left, at = self._left.pop(asker, (self._spare, now))
            left = min(self._spare, left + (now - at) * self._per_second)
            enough = left >= 1.0
            self._left[asker] = (left - number if enough else left), now
            if len(self._left) > MOST:
                self._left.popitem(last=False)
        if not enough:
            raise TooMany((1.0 - left) / self._per_second)
