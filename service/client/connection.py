"""What everything of a client stands on: the settings, the database, the tickets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from service.settings import Settings, load_settings
from service.store import history
from service.store.database import Database
from service.store.records import RunRecord
from service.urls import without_secrets

if TYPE_CHECKING:
    from service.queue import Tickets


class Connection:
    """The connections of a client, opened when they are needed first."""

    settings: Settings

    def __new__(cls, settings: Settings | None = None, *, notify: Any = None, **flags: Any) -> Self:
        """Where the settings name a yard's address, a client that works through its API."""
        settings = settings or load_settings(**flags)
        if settings.url:
            from service.remote import RemoteClient

            cls = RemoteClient  # type: ignore[assignment]
        made = super().__new__(cls)
        made.settings = settings
        return made

    def __init__(
        self, settings: Settings | None = None, *, notify: Callable[[str], None] = lambda sentence: None, **flags: Any
    ) -> None:
        self.notify = notify

    def __repr__(self) -> str:
        return f"<Client of {without_secrets(self.settings.database)}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def noting(self) -> tuple[Self, list[str]]:
        """A client of the same connections, and the list that what it notes for a person is added to."""
        notes: list[str] = []
        client = type(self)(self.settings, notify=notes.append)
        client.__dict__["database"], client.__dict__["tickets"] = self.database, self.tickets
        return client, notes

    def close(self) -> None:
        """Close the connections to the database; whoever uses the client again opens new ones."""
        if "database" in self.__dict__:
            self.database.dispose()

    @cached_property
    def database(self) -> Database:
        """The store, its schema checked; the embedded one is made at first use."""
        database = Database(self.settings.database)
        if self.settings.embedded_database and database.file is not None and not database.file.exists():
            from service.store.schema import upgrade

            self.settings.home.mkdir(parents=True, exist_ok=True)
            upgrade(database)
        try:
            database.require_schema()
        except BaseException:
            database.dispose()
            raise
        return database

    @cached_property
    def tickets(self) -> Tickets:
        from service.queue import Tickets

        return Tickets(self.settings.broker)

    def run(self, run_id: int) -> RunRecord:
        with self.database.read() as session:
            return history.run(session, run_id)

    def places(self) -> dict[str, str | None]:
        """Where the yard is, without secrets: its state, the address of its page, its database and broker."""
        from service.yard import running

        state = running(self.settings)
        embedded = self.settings.embedded_broker
        broker = f"embedded, {self.settings.broker_socket}" if embedded else self.settings.broker
        return {
            "state": ("up" if state.ready else "starting") if state else "down",
            "web_url": state.web_url if state else None,
            "database": without_secrets(self.settings.database),
            "broker": without_secrets(broker),
        }

    def ping_broker(self) -> bool | None:
        """True if the broker answers, None if that is not to be known. Raises BrokerUnreachable."""
        self.tickets.ping()
        return True

    def _send_tickets(self, queues: Sequence[str]) -> None:
        """A ticket for each run, named by its queue."""
        from service.queue import BrokerUnreachable

        try:
            for queue, number in Counter(queues).items():
                self.tickets.send(queue, number)
        except BrokerUnreachable as error:
            yard = "start a yard with `trainyard up`" if self.settings.embedded_broker else str(error)
            if len(queues) == 1:
                self.notify(f"the run is stored and will start as soon as a worker finds it; {yard}")
            else:
                self.notify(f"the runs are stored and will start as soon as a worker finds them; {yard}")
