"""The way to a yard over HTTP: requests, what is tried again, and errors that come back as what they were."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from service.client import Client
from service.errors import InputError, TrainyardError, Unreachable
from service.store.records import RunRecord
from service.wording import kebab

if TYPE_CHECKING:
    import httpx

    from service.store.database import Database

PREFIX = "/api/v1"
TIMEOUT = 60.0  # seconds without a byte; a submit of thousands of runs is checked meanwhile
MAKING_TIMEOUT = 600.0  # the same of a file that the yard writes before it sends it
PAUSES = (0.2, 0.5, 1.0)  # seconds before what may be repeated is tried again
LONGEST_PAUSE = 30.0  # that a yard may ask for
AGAIN = (429, 502, 503, 504)
MOST_ROWS = 1000  # of a page
E = TypeVar("E", bound=TrainyardError)


class NotRemote(InputError):
    def __init__(self, url: str) -> None:
        super().__init__(
            f"this takes the yard's own database, and TRAINYARD_URL names the yard at {url}, which is reached over "
            "HTTP; do it on a machine of the yard, without TRAINYARD_URL"
        )


class YardAway(Unreachable):
    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"the yard at {url} does not answer: {why}; TRAINYARD_URL is its address")


class NoYard(InputError):
    def __init__(self, url: str, status: int) -> None:
        super().__init__(
            f"what answers at {url} (HTTP {status}) is no yard, or one that is older than this program; "
            "TRAINYARD_URL is the address of the page"
        )


class NotLetIn(InputError):
    def __init__(self, sentence: str) -> None:
        super().__init__(f"{sentence}; the token is taken from TRAINYARD_TOKEN")


class RemoteConnection(Client):
    """Requests to the API of a yard."""

    @property
    def url(self) -> str:
        return self.settings.url.rstrip("/")

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"

    @cached_property
    def database(self) -> Database:
        raise NotRemote(self.url)

    @cached_property
    def _http(self) -> httpx.Client:
        import httpx

        # a kept answer may be a second old: who asks for several things wants them of one moment, or newer
        headers = {"Accept": "application/json", "Cache-Control": "no-cache"}
        if self.settings.token is not None:
            headers["Authorization"] = f"Bearer {self.settings.token.get_secret_value()}"
        return httpx.Client(base_url=self.url + PREFIX, headers=headers, timeout=TIMEOUT)

    def noting(self) -> Any:
        raise NotRemote(self.url)

    def close(self) -> None:
        if "_http" in self.__dict__:
            self._http.close()
            del self.__dict__["_http"]

    def run(self, run_id: int) -> RunRecord:
        from service.remote.records import made

        return made(RunRecord, self._get(f"/runs/{run_id}"))

    def _get(self, path: str, **query: Any) -> Any:
        if query.get("where") is not None:
            from service.expressions.tokens import check_text

            check_text(query["where"])
        return self._ask("GET", path, params=_given(query)).json()

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to what may not be repeated. What the yard notes for a person is passed on."""
        answer = self._ask("POST", path, json=body).json()
        self._note(answer)
        return answer

    def _note(self, answer: Any) -> None:
        for sentence in answer.get("notes", ()):
            self.notify(sentence)

    def _pages(self, path: str, limit: int | None, after: int | None, **query: Any) -> Iterator[dict[str, Any]]:
        """The rows of as many pages as it takes."""
        while limit is None or limit > 0:
            page = self._get(path, limit=min(limit or MOST_ROWS, MOST_ROWS), after=after, **query)
            yield from page["runs"]
            limit, after = None if limit is None else limit - len(page["runs"]), page["next"]
            if after is None:
                return

    def _fetch(self, path: str, body: Mapping[str, Any], out: BinaryIO) -> None:
        """Write a file that the yard makes for us into this one, part by part."""
        start = out.tell() if out.seekable() else None

        def send(method: str, path: str, **given: Any) -> httpx.Response:
            if start is not None:
                out.seek(start)
                out.truncate()  # what was begun and broken off
            with self._http.stream(method, path, timeout=MAKING_TIMEOUT, **given) as answer:
                if not answer.is_success or _is_page(answer):
                    answer.read()
                    return answer
                for part in answer.iter_bytes():
                    out.write(part)
            return answer

        self._ask("POST", path, repeat=start is not None, send=send, json=body)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        repeat: bool = False,
        send: Callable[..., httpx.Response] | None = None,
        **given: Any,
    ) -> httpx.Response:
        """One answer. Reading is tried again while the yard does not answer, and so is what may be repeated."""
        import httpx

        pauses = list(PAUSES)
        send = send or self._http.request
        while True:
            may_repeat = bool(pauses) and (repeat or method == "GET")
            try:
                answer = send(method, path, **given)
            except httpx.HTTPError as error:
                refused = isinstance(error, httpx.ConnectError)  # the yard has not seen it
                if not (may_repeat or (refused and pauses)):
                    raise YardAway(self.url, _reason(error)) from None
                time.sleep(pauses.pop(0))
                continue
            if answer.status_code in AGAIN and pauses and (may_repeat or answer.status_code == 429):
                time.sleep(_asked_for(answer, pauses.pop(0)))
                continue
            if answer.is_success:
                if _is_page(answer):
                    raise NoYard(self.url, answer.status_code)  # a login of somebody else's, another page
                return answer
            raise self._error(answer)

    def _error(self, answer: httpx.Response) -> TrainyardError:
        """What went wrong, as the yard told it, by the class that it has here."""
        try:
            problem = answer.json()
            kind, sentence = problem["type"], problem["detail"]
        except (ValueError, KeyError, TypeError):
            if answer.status_code >= 500:
                return YardAway(self.url, f"HTTP {answer.status_code}")
            return NoYard(self.url, answer.status_code)
        if answer.status_code in (401, 403):
            return NotLetIn(sentence)
        if kind == "about:blank" and answer.status_code in (404, 405):
            return NoYard(self.url, answer.status_code)
        unknown = InputError if answer.status_code < 500 else Unreachable
        return remade(kind, sentence, unknown)


def remade(kind: str | None, sentence: str, unknown: type[E]) -> E:
    """An error as the yard told it, by the class that it has here; `unknown` for one that is of no such kind."""
    found = _classes(unknown).get((kind or "").removeprefix("urn:trainyard:"), unknown)
    error = found.__new__(found)
    Exception.__init__(error, sentence)
    return error


def _reason(error: Exception) -> str:
    """What the system says, without its number for it."""
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__


def _is_page(answer: httpx.Response) -> bool:
    return bool(answer.headers.get("Content-Type", "").startswith("text/html"))


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def _asked_for(answer: httpx.Response, pause: float) -> float:
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), LONGEST_PAUSE) if asked.isdigit() else pause


def _classes(base: type[E]) -> dict[str, type[E]]:
    """Every kind of error that is known by now, by its name in problem documents."""
    found = {kebab(base.__name__): base}
    for kind in base.__subclasses__():
        found |= _classes(kind)
    return found
