"""Whatever is sent to the page, by a client that keeps to HTTP or by one that does not: no failure, no traceback."""

from __future__ import annotations

import logging
import re
import select
import socket
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.client import Client
from service.settings import Settings
from service.web.app import HEADERS
from tests.fuzz import mutations
from tests.web import served
from tests.yard import settled

FILES = ["/static/style.css", "/static/live.js"]
SERVED = ["/", *FILES, "/runs/1", "/workers", "/metrics", "/targets", "/healthz"]
OTHERS = ["/runs", "/compare", "/login", "/logout", "/nothing", "/docs", "/openapi.json", "/api/v1", "/api/v1/runs"]
PATHS = [*SERVED, *OTHERS, "*", ""]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
STRANGE = ["CONNECT", "get", "BREW"]  # refused by the server's parser, before any application sees them
NAMES = ["Host", "Accept", "Accept-Encoding", "Content-Length", "Content-Type", "Cookie", "Range", "If-None-Match",
         "Transfer-Encoding", "Expect", "Upgrade", "Connection", "Origin", "X-Forwarded-For"]  # fmt: skip
UNCAUGHT = re.compile("Traceback|Error:|service/|site-packages")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """The client of a home with runs in every state."""
    with settled() as there:
        yield Client(there.settings)


@pytest.fixture(scope="module")
def browser(client: Client) -> Iterator[httpx.Client]:
    with served(client) as made:
        yield made


@pytest.fixture(scope="module")
def address(browser: httpx.Client) -> tuple[str, int]:
    return browser.base_url.host, browser.base_url.port or 80


def words(limit=12):
    return st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=limit)


PATH = (
    st.sampled_from(PATHS)
    | st.builds("{}{}".format, st.sampled_from(PATHS), st.text(max_size=12))
    | st.text(max_size=20)
)
QUERY = st.dictionaries(st.text(max_size=6), st.text(max_size=8), max_size=3)
SENT = ["Accept", "Content-Type", "Cookie", "Range", "If-None-Match", "Origin", "Accept-Encoding"]
FIELDS = st.dictionaries(st.sampled_from(SENT), st.from_regex(r"[!-~]{0,12}", fullmatch=True), max_size=4)


@mutations.law(60)
@given(method=st.sampled_from(METHODS), path=PATH, query=QUERY, fields=FIELDS, body=st.binary(max_size=40))
def test_every_request_is_answered_without_a_failure_and_with_the_headers_that_protect(
    browser, method, path, query, fields, body
):
    answer = browser.request(method, "/" + quote(path.lstrip("/")), params=query, headers=fields, content=body)
    assert answer.status_code in (200, 400, 401, 403, 404, 405, 422) or answer.is_redirect
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert not UNCAUGHT.search(answer.text) or answer.status_code == 200


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request, nearly: every part of it may be nonsense."""
    line = f"{draw(st.sampled_from(METHODS + STRANGE) | words())} {draw(st.sampled_from(PATHS) | words(30))} "
    line += draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", "", "x"]))
    fields = draw(st.lists(st.tuples(st.sampled_from(NAMES) | words(), words() | st.sampled_from(VALUES)), max_size=5))
    end = draw(st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r"]))
    text = end.join([line, *(f"{name}: {value}" for name, value in fields), "", ""])
    return text.encode("latin-1") + draw(st.binary(max_size=30))


VALUES = [
    "chunked",
    "100-continue",
    "websocket",
    "close",
    "keep-alive",
    "99999999999999999999",
    "-1",
    "0",
    "x" * 70_000,
]
WHOLE = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
ANYTHING = requests() | mutations.damaged(WHOLE) | st.binary(max_size=100)


def told(address: tuple[str, int], data: bytes, patience: float = 30.0) -> bytes:
    """All that is answered until the other end closes, or says nothing more for so long."""
    with socket.create_connection(address, timeout=30) as connection:
        answer = b""
        try:
            connection.sendall(data)
            while select.select([connection], [], [], patience)[0] and (part := connection.recv(65536)):
                answer += part
        except (ConnectionResetError, BrokenPipeError):
            pass  # it had enough of us, which is an answer too
        return answer


@mutations.law(80)
@given(data=ANYTHING)
def test_bytes_that_are_no_http_are_refused_and_the_page_lives_on(address, caplog, data):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        answer = told(address, data, 0.02)  # half a request is not answered at all
    statuses = {int(status) for status in re.findall(rb"^HTTP/1\.1 (\d{3})", answer, re.M)}
    assert statuses <= {100, 200, 303, 307, 400, 401, 403, 404, 405, 413, 422, 426, 431}, answer[:200]
    assert b"Traceback" not in answer
    assert not [record for record in caplog.records if record.exc_info], caplog.text
    assert told(address, WHOLE).startswith(b"HTTP/1.1 200 ")


def test_connections_that_say_nothing_do_not_stop_others(address):
    silent = [socket.create_connection(address, timeout=30) for _ in range(100)]
    try:
        for connection in silent:
            connection.sendall(b"GET / HTT")
        assert told(address, WHOLE).startswith(b"HTTP/1.1 200 ")
    finally:
        for connection in silent:
            connection.close()


@pytest.mark.parametrize("path", SERVED)
def test_a_database_that_is_away_or_of_another_version_is_told_without_its_password(tmp_path, path):
    away = "postgresql://ada:hunter2@127.0.0.1:1/yard"
    other = f"sqlite:///{tmp_path / 'empty.db'}"
    for url in (away, other):
        client = Client(Settings(home=tmp_path, database_url=url, broker_url="redis://:hunter2@127.0.0.1:1/0"))
        with served(client) as browser:
            answer = browser.get(path, timeout=30)
        answers = path in FILES or (path == "/metrics" and url == away)
        assert answer.status_code == (200 if answers else 503)
        assert "hunter2" not in answer.text
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
