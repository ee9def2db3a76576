"""Tickets: Celery messages that say "queue Q has work" and nothing more.

A ticket that is lost, doubled or late does no harm: the database decides who trains what, and the reconciler sends
what is missing. Hence early acknowledgement, no result backend, JSON only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from service.errors import Unreachable
from service.transport import TICKET as TICKET
from service.transport import install
from service.urls import for_kombu, without_secrets

MOST_TICKETS = 256  # of a queue at a time: a slot that ends a run sends the next one itself


class BrokerUnreachable(Unreachable):
    def __init__(self, url: str, cause: BaseException) -> None:
        reason = str(cause).partition(" : <")[0]  # a Sentinel goes on with its connections
        super().__init__(
            f"the broker {without_secrets(url)} cannot be reached: {reason}; "
            "is it up, and is TRAINYARD_BROKER_URL right?"
        )


@lru_cache(maxsize=4)
def celery_app(broker_url: str) -> Celery:
    """The Celery application: the same settings for who sends tickets and who takes them."""
    install()
    url, options = for_kombu(broker_url)
    app = Celery("trainyard", broker=url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=False,
        worker_disable_prefetch=True,  # waiting tickets stay in Redis, for whichever slot is free first
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,  # whoever reaches the broker could end workers with it: see workers/line
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=options
        | {
            "global_keyprefix": "trainyard:",
            "socket_timeout": 10,  # the default waits for ever on a dead connection
            "socket_connect_timeout": 3,
            "health_check_interval": 10,
            "max_retries": 1,  # of whoever sends: the default goes on for six seconds; workers retry for ever anyway
            "interval_start": 0.1,
        },
    )
    return app


class Tickets:
    """The sending side, which is best effort: whoever calls has committed the row that counts."""

    def __init__(self, broker_url: str) -> None:
        self.url = broker_url

    def send(self, queue: str, number: int = 1) -> None:
        """Send tickets; raises BrokerUnreachable after a second or two at the most."""
        with self._translated():
            app = celery_app(self.url)
            with app.producer_pool.acquire(block=True) as producer:
                for _ in range(min(number, MOST_TICKETS)):
                    app.send_task(TICKET, [queue], queue=queue, producer=producer, retry=False)

    def depth(self, queue: str) -> int:
        """How many tickets wait in Redis."""
        with self._translated(), celery_app(self.url).connection_for_write() as connection:
            declared: Any = Queue(queue, durable=True, channel=connection.default_channel).queue_declare()  # type: ignore[no-untyped-call]
            return int(declared.message_count)

    def ping(self) -> None:
        with self._translated(), celery_app(self.url).connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=3)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RedisError, KombuError) as error:
            raise BrokerUnreachable(self.url, error) from error
