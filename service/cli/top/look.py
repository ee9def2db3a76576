"""What `trainyard top` asks of the yard, in threads of its own: keys are answered while a store is slow, or away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.cli.top.view import Details, Yard
from service.errors import TrainyardError

if TYPE_CHECKING:
    from service.client import Client
    from service.store.glance import Glance

PING_SECONDS = 5.0  # between questions to the broker


@dataclass(frozen=True)
class Seen:
    """What the last look has found; each replaces the one before as a whole."""

    yard: Yard
    glance: Glance | None = None
    problem: str | None = None
    details: Details | None = None
    message: str | None = None


def yard_of(client: Client) -> Yard:
    """Where the yard of these settings is."""
    places = client.places()
    broker = str(places["broker"])
    return Yard(
        state=str(places["state"]),
        web_url=places["web_url"],
        database=str(places["database"]),
        broker="embedded" if broker.startswith("embedded, ") else broker,
    )


def look(client: Client, run_id: int | None = None) -> Seen:
    """One look, and the details of a run."""
    yard = yard_of(client)
    try:
        glance = client.glance()
        details = None if run_id is None else _details(client, run_id)
    except TrainyardError as error:
        return Seen(yard, problem=f"{error}; trying again")
    return Seen(yard, glance, details=details)


def _details(client: Client, run_id: int) -> Details:
    return Details(client.run(run_id), client.why(run_id), client.history(run_id))


class Looker:
    """Looks every so many seconds, and at once when something was asked; `tell` is called after each look."""

    def __init__(self, client: Client, interval: float, tell: Callable[[], None]) -> None:
        self.seen = Seen(yard_of(client))
        self._client, self._interval, self._tell = client, interval, tell
        self._run_id: int | None = None
        self._asked: list[Callable[[], str]] = []
        self._wake = threading.Event()
        self._broker_answers: bool | None = None

    def start(self) -> None:
        """The threads end with the program: a store that does not answer shall not keep it."""
        for work in (self._look_on, self._ping_on):
            threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True).start()

    def show(self, run_id: int | None) -> None:
        """Look at the details of this run too."""
        self._run_id = run_id
        self._wake.set()

    def ask(self, deed: Callable[[], str]) -> None:
        """Have something done; the sentence that it returns, or its error, is told as a message."""
        self._asked.append(deed)
        self._wake.set()

    def _look_on(self) -> None:
        while True:
            message = self._do_what_was_asked() or self.seen.message
            try:
                seen = look(self._client, self._run_id)
            except Exception as error:  # noqa: BLE001 - whatever it is, the screen says so and goes on
                seen = replace(self.seen, problem=f"{type(error).__name__}: {error}")
            if seen.glance is None:
                seen = replace(seen, glance=self.seen.glance, details=self.seen.details)
            yard = replace(seen.yard, broker_answers=self._broker_answers)
            self.seen = replace(seen, yard=yard, message=message)
            self._tell()
            self._wake.wait(self._interval)
            self._wake.clear()

    def _do_what_was_asked(self) -> str | None:
        message = None
        while self._asked:
            try:
                message = self._asked.pop(0)()
            except TrainyardError as error:
                message = str(error)
        return message

    def forget_message(self) -> None:
        self.seen = replace(self.seen, message=None)

    def _ping_on(self) -> None:
        while True:
            try:
                self._broker_answers = self._client.ping_broker()
            except TrainyardError:
                self._broker_answers = False
            time.sleep(PING_SECONDS)
