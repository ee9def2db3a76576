"""Messages in the broker that are no tickets: a worker drops them, lives on, and does nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
import redis as redis_client
from hypothesis import given
from hypothesis import strategies as st

from service.transport import TICKET, queue_of, ticket
from tests import servers
from tests.fuzz import mutations
from tests.servers import eventually
from tests.yard import Yard, yard

QUEUE = "trainyard:default"
HACKED = "HACKED"
SIGNATURE = {
    "task": TICKET, "args": ["default"], "kwargs": {}, "options": {"queue": "elsewhere"}, "subtask_type": None,
    "immutable": True,
}  # fmt: skip
_numbers = count(1)


def message(
    arguments: Any = ("default",),
    named: Any = None,
    embedded: Any = None,
    *,
    body: bytes | None = None,
    properties: Any = None,
    headers: Any = None,
    **changes: Any,
) -> bytes:
    """A message as Celery sends them, with something in it changed."""
    made = ticket("default", "default")
    if body is None:
        body = json.dumps([arguments, {} if named is None else named, {} if embedded is None else embedded]).encode()
    made |= {"body": base64.b64encode(body).decode()} | changes
    made["headers"] |= {"id": f"forged-{next(_numbers)}"} | (headers or {})
    made["properties"] |= properties or {}
    return json.dumps(made).encode()


PICKLE = b"cos\nsystem\n(S'touch " + HACKED.encode() + b"'\ntR."
YAML = f"!!python/object/apply:os.system ['touch {HACKED}']".encode()
OLD = b'{"task": "trainyard.ticket", "id": "1", "args": ["default"]}'

NO_TICKETS = {
    "bytes": b"\xff\xfe\x00",
    "nothing": b"",
    "half": b"{",
    "number": b"5",
    "list": b"[]",
    "object": b"{}",
    "null": b"null",
    "text": b'"x"',
    "nested": b"[" * 100_000,
    "typed": b'{"__type__": "decimal", "__value__": "x"}',
    "no properties": b'{"body": "W10="}',
    "no base64": message(body=b"").replace(b'"body": ""', b'"body": "!!!"'),
    "a number as its body": message(body=b"").replace(b'"body": ""', b'"body": 5'),
    "pickle": message(body=PICKLE, **{"content-type": "application/x-python-serialize"}),
    "yaml": message(body=YAML, **{"content-type": "application/x-yaml"}),
    "pickle as json": message(body=PICKLE),
    "an object as its body": message(body=b'{"a": 1}'),
    "half a body": message(body=b"["),
    "a nested body": message(body=b"[" * 100_000),
    "no arguments": message([]),
    "nothing for arguments": message(None),
    "an object": message({"a": 1}),
    "two of them": message(["a", "b"]),
    "a number": message([5]),
    "a list": message([["default"]]),
    "an object in it": message([{"$gt": ""}]),
    "a NUL": message(["a\0b"]),
    "half a pair": message(["\ud800"]),
    "a path": message(["../../x"]),
    "SQL": message(["'; DROP TABLE runs"]),
    "long": message(["x" * 1_000_000]),
    "named": message([], {"queue": "default"}),
    "more": message(["default"], {"x": 1}),
    "no task": message(headers={"task": None}),
    "a list of tasks": message(headers={"task": [TICKET]}),
    "os.system": message([f"touch {HACKED}"], headers={"task": "os.system"}),
    "celery.map": message([SIGNATURE, [["default"]]], headers={"task": "celery.map"}),
    "celery.group": message([[SIGNATURE], "x", []], headers={"task": "celery.group"}),
    "celery.chord_unlock": message(["x", SIGNATURE], headers={"task": "celery.chord_unlock"}),
    "celery.backend_cleanup": message([], headers={"task": "celery.backend_cleanup"}),
    "headers as a list": json.dumps(ticket("default", "default") | {"headers": []}).encode(),
    "no headers": json.dumps(ticket("default", "default") | {"headers": None}).encode(),
    "of an old Celery": json.dumps(
        ticket("default", "default")
        | {
            "headers": {},
            "body": base64.b64encode(b'{"task": "trainyard.ticket", "id": "1", "args": ["default"]}').decode(),
        }
    ).encode(),
}

TICKETS_THAT_ASK_FOR_MORE = {
    "a queue that there is not": message(["nowhere"]),
    "a callback": message(
        embedded={"callbacks": [SIGNATURE], "errbacks": [SIGNATURE], "chain": [SIGNATURE], "chord": SIGNATURE}
    ),
    "callbacks that are none": message(embedded={"callbacks": 5, "errbacks": "x", "chain": {}, "chord": []}),
    "a list in its place": message(embedded=[1]),
    "a time far away": message(headers={"eta": "9999-12-31T23:59:59"}),
    "no time": message(headers={"eta": "garbage"}),
    "the first year": message(headers={"eta": "0001-01-01T00:00:00"}),
    "an end that has passed": message(headers={"expires": "2001-01-01T00:00:00"}),
    "an end that is none": message(headers={"expires": [1]}),
    "an endless one": message(headers={"expires": 1e300}),
    "a moment to work": message(headers={"timelimit": [0.01, 0.02]}),
    "no limits": message(headers={"timelimit": {"a": 1}}),
    "many retries": message(headers={"retries": 10**9}),
    "retries in words": message(headers={"retries": "x"}),
    "compressed": message(headers={"compression": "application/x-gzip"}),
    "an unknown compression": message(headers={"compression": "rot13"}),
    "no id": message(headers={"id": None}),
    "an id that is a list": message(headers={"id": ["x"]}),
    "everything odd": message(
        headers={"root_id": {"x": 1}, "group": {"a": 2}, "stamps": 1, "shadow": {}, "origin": 5, "lang": []}
    ),
    "an unknown encoding": message(**{"content-encoding": "rot13"}),
    "an answer wanted": message(properties={"reply_to": "elsewhere"}),
    "no tag": message(properties={"delivery_tag": None}),
    "a tag that is a list": message(properties={"delivery_tag": ["x"]}),
    "delivered nowhere": message(properties={"delivery_info": 5}),
    "an odd body": message(properties={"body_encoding": "rot13"}),
}


@pytest.fixture(scope="module")
def there(redis_url: str) -> Iterator[Yard]:
    """A yard with a Redis of its own, into which anything may be put; `redis_url` skips where there is none."""
    with servers.redis() as broker, yard(broker_url=broker.url) as made:
        made.up(slots=2)
        yield made


def workers(there: Yard) -> dict[int, str]:
    return {pid: command for pid, command in there.processes().items() if "celery" in command}


def test_a_worker_survives_whatever_lies_in_its_queue_and_does_nothing_else(there):
    """One after the other; each is taken at once, no process is replaced, and then a run trains as ever."""
    broker = redis_client.Redis.from_url(there.settings.broker)
    before, files = workers(there), set(there.home.rglob("*"))
    forged = NO_TICKETS | TICKETS_THAT_ASK_FOR_MORE
    for name, data in forged.items():
        broker.lpush(QUEUE, data)
        eventually(lambda: not broker.llen(QUEUE) and not broker.hlen("trainyard:unacked"))
        assert set(workers(there)) == set(before), f"{name}:\n{there.log()[-3000:]}"
    assert {file for file in there.home.rglob("*") if ".db" not in file.name} <= files
    there.completed(*(there.submit(2) for _ in range(4)))
    assert set(workers(there)) == set(before)
    left = {key.decode().removeprefix("trainyard:") for key in broker.keys("*")}
    assert not {key for key in left if not key.startswith(("_kombu.", "unacked"))}, left  # nothing was sent elsewhere
    assert there.log().count("dropped a message") == len(NO_TICKETS)
    assert "Traceback" not in there.log()
    assert HACKED not in there.log()
    broker.close()


@mutations.law(120)
@given(data=mutations.values() | mutations.damaged_documents(json.loads(message())))
def test_of_any_message_a_name_of_a_queue_is_read_or_nothing(data):
    try:
        queue = queue_of(data)
    except ValueError:
        return
    assert queue
    assert ticket(queue, "default")["headers"]["task"] == TICKET


BODIES = (
    st.binary(max_size=60)
    | mutations.values().map(lambda value: json.dumps(value).encode())
    | mutations.damaged(b'[["default"], {}, {}]')
)


@mutations.law(120)
@given(body=BODIES)
def test_of_any_body_a_name_of_a_queue_is_read_or_nothing(body):
    try:
        assert queue_of(json.loads(message(body=body))).isprintable()
    except ValueError:
        return


def test_a_ticket_is_what_celery_sends():
    """What we make anew is read the same as what `Tickets.send` sends."""
    assert queue_of(json.loads(message(["night"]))) == "night"
    assert queue_of(ticket("night", "default")) == "night"
