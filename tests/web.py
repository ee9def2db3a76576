"""The yard's pages and its API, served for a test on a port of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from service.client import Client
from service.yard import _listen, _web


@contextmanager
def served(client: Client) -> Iterator[httpx.Client]:
    """A browser of what a yard of this client serves. It asks for no kept answer: tests write beside the server."""
    fresh = {"Cache-Control": "no-cache"}
    with (
        _listen("127.0.0.1", 0) as listener,
        _web(client, listener) as url,
        httpx.Client(base_url=url, headers=fresh) as browser,
    ):
        yield browser
