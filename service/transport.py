"""What a worker takes from Redis: of a message only the name of a queue, and nothing at all of one that is no ticket.

Whoever reaches the broker can put anything there. Celery believes a good deal of what a message says (other tasks,
times to wait and to end, messages to send afterwards), and Kombu stops at what it cannot read, again and again, since
the message comes back with the next start. So a ticket is made anew from its queue's name before either looks at it.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.transport import TRANSPORT_ALIASES, redis

from service.errors import InputError

log = logging.getLogger(__name__)

TICKET = "trainyard.ticket"
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def queue_of(message: Any) -> str:
    """The queue that a message names. Raises ValueError if it is no ticket."""
    from service.names import check_name

    try:
        if message["headers"]["task"] != TICKET:
            raise ValueError("it is of another task")
        arguments, named, _ = json.loads(base64.b64decode(message["body"], validate=True))
        (queue,) = arguments
        if named or not isinstance(arguments, list) or not isinstance(queue, str):
            raise ValueError("its arguments are not one queue")
        check_name("queue", queue)
    except InputError:
        raise ValueError("it names no queue") from None
    except (TypeError, LookupError, AttributeError, RecursionError, binascii.Error, json.JSONDecodeError):
        raise ValueError("it is not built as a ticket is") from None
    return queue


def ticket(queue: str, delivered_to: str) -> dict[str, Any]:
    """A message of our own that says what `queue_of` reads, as it lies in the queue `delivered_to`."""
    key, tag = str(uuid4()), str(uuid4())
    return {
        "body": base64.b64encode(json.dumps([[queue], {}, {}]).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": TICKET, "id": key, "root_id": key, "ignore_result": True},
        "properties": {
            "correlation_id": key,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": delivered_to},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": tag,
        },
    }


class _TicketsOnly:
    """A channel that reads on where a message is not even JSON."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except _UNREADABLE as error:
            log.warning("dropped a message that is no ticket: %s", type(error).__name__)
            raise Empty from None


class Channel(_TicketsOnly, redis.Channel):
    pass


class SentinelChannel(_TicketsOnly, redis.SentinelChannel):
    pass


class _Believing:
    """A transport that hands on tickets of our own making."""

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            message = ticket(queue_of(message), queue)
        except ValueError as error:
            log.warning("dropped a message in queue %s that is no ticket: %s", queue, error)
            return
        super()._deliver(message, queue)  # type: ignore[misc]


class Transport(_Believing, redis.Transport):
    Channel = Channel


class SentinelTransport(_Believing, redis.SentinelTransport):
    Channel = SentinelChannel


def install() -> None:
    """Let Kombu use these for every URL of a broker that we accept."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"
