"""The thread of a supervisor that tells others which runs have ended. Training never waits for it.

Any number of supervisors may do it: each takes what is due by a claim that ends by itself, should its holder die.
"""

from __future__ import annotations

import logging
import platform
import threading
import time
from urllib.parse import urlsplit

from service import notifications
from service.errors import Unreachable
from service.settings import Settings
from service.store import history, notices
from service.store.database import Database
from service.store.tables import State
from service.yard import running

log = logging.getLogger(__name__)

ANNOUNCE_SECONDS = 60.0
SPARE_SECONDS = 10.0  # between the end of a delivery, at the latest, and that of its claim
LIMITS = {
    notifications.WEBHOOK: notifications.ANSWER_SECONDS,
    notifications.COMMAND: notifications.COMMAND_SECONDS,
}


class Notifier:
    """Without a subscriber in the settings it does nothing."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._subscribers = notifications.subscribers(settings)
        self._events = [State(end) for end in settings.notify_ends]
        self._announce_after = 0.0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._work, name="notifier", daemon=True)

    def start(self) -> None:
        """Announce the subscribers, so that whatever ends from now on is noted, and begin to deliver."""
        if self._subscribers:
            self.announce()
            self._thread.start()

    def end(self, seconds: float) -> None:
        """Deliver what has just ended, for so many seconds; what is left waits for the next supervisor."""
        self._ends.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def announce(self) -> None:
        self._announce_after = time.monotonic() + ANNOUNCE_SECONDS
        with self._database.write() as session:
            notices.announce(session, self._subscribers, self._events)

    def _work(self) -> None:
        while not self._ends.wait(self._settings.heartbeat_seconds):
            self._round()
        self._round()

    def _round(self) -> None:
        try:
            if time.monotonic() > self._announce_after:
                self.announce()
            self.deliver()
        except Unreachable as error:
            log.warning("%s; notifications wait", error)
        except Exception:  # what waits is not lost, and the next round tries again
            log.exception("notifications could not be delivered; trying again")

    def deliver(self) -> int:
        """Everything that is due, subscriber by subscriber; one that fails rests until the next round. Returns how many
        were delivered."""
        number = 0
        for subscriber in self._subscribers:
            while self._deliver_one(subscriber):
                number += 1
        return number

    def _page(self) -> str | None:
        """Where others find the page, as far as it is known here."""
        if self._settings.web_url:
            return self._settings.web_url.rstrip("/")
        yard = running(self._settings)
        if yard is None:
            return None
        anywhere = urlsplit(yard.web_url).hostname in ("0.0.0.0", "::")
        port = urlsplit(yard.web_url).port
        return f"http://{platform.node()}:{port}" if anywhere else yard.web_url

    def _deliver_one(self, subscriber: str) -> bool:
        """False: nothing is due, or it failed."""
        with self._database.read() as session:
            if not notices.due(session, [subscriber]):
                return False
        with self._database.write() as session:
            notice = notices.claim(session, [subscriber], LIMITS[subscriber] + SPARE_SECONDS)
            if notice is None:
                return False
            run = history.run(session, notice.run_id)
        told = notifications.message(notice, run, self._page())
        answer = notifications.deliver(self._settings, subscriber, told)
        with self._database.write() as session:
            if answer.good:
                notices.delivered(session, notice)
            else:
                notices.failed(session, notice, answer.sentence)
        if not answer.good:
            log.warning("run %d: the %s failed (try %d): %s", run.id, subscriber, notice.tries, answer.sentence)
        return answer.good
