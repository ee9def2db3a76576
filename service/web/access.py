"""Who may come in: names, origins, tokens, logins, and how many requests. It stands before every page and the API.

On a yard that only this machine can reach, everybody is welcome who comes to it by its own name: a page of another site
cannot reach it by a name that has been pointed here, nor make a browser send it anything. Elsewhere a token is needed,
as a bearer or by a login; what a logged-in browser sends must show the secret of its page, too.
"""

from __future__ import annotations

import ipaddress
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn
from urllib.parse import quote, urlsplit

import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.client import Client
from service.errors import TrainyardError
from service.person import Remote, asked_by
from service.roles import Role
from service.secrets import derived, hashed, new_secret, same
from service.settings import Settings
from service.store import access as store
from service.store.access import LOGIN_SECONDS
from service.web.limits import Rate, TooLong, largest, limited
from service.web.problems import of_error
from service.web.repeats import REPEAT

COOKIE = "trainyard"
CALLER = "trainyard.caller"  # where it is in the scope of a request
READS = ("GET", "HEAD", "OPTIONS")
OPEN = ("/healthz", "/login")
STATIC = "/static/"  # what the login looks like, too
METRICS = ("/metrics", "/targets")
LONGEST_NEXT = 4000  # characters of an address that a login leads to
HOSTS = 256  # names of this or other yards that are remembered
ATTEMPTS, PER_SECOND = 10.0, 1 / 30  # wrong tokens that an address may try, and how soon one more


class Refused(TrainyardError):
    """A request that is not let in; `status` is that of HTTP."""

    status = 403


class NoToken(Refused):
    status = 401

    def __init__(self) -> None:
        super().__init__(
            "a token is needed: send it as `Authorization: Bearer TOKEN`; `trainyard tokens create` makes one"
        )


class WrongToken(Refused):
    status = 401

    def __init__(self) -> None:
        super().__init__("this token is not valid: it was revoked, has expired, or has never been one")


class NoAddress(Refused):
    status = 400

    def __init__(self) -> None:
        super().__init__("an address has no character of number 0")


class WrongHost(Refused):
    status = 400

    def __init__(self, host: str) -> None:
        super().__init__(f"'{host}' is no name of this yard; name it in TRAINYARD_WEB_NAMES if it is one")


class OtherSite(Refused):
    def __init__(self) -> None:
        super().__init__("the request comes from a page of another site")


class NotFromPage(Refused):
    def __init__(self) -> None:
        super().__init__("a logged-in browser has to send the page's secret as X-CSRF-Token; reload the page")


class NotAllowed(Refused):
    def __init__(self, role: Role, needed: Role) -> None:
        super().__init__(f"a {role} may not do that; it takes the role {needed}")


@dataclass(frozen=True)
class Caller:
    """Who sent a request. `name` is that of the token; `csrf` what a logged-in page has to show with what it sends."""

    address: str
    role: Role
    name: str | None = None
    csrf: str | None = None

    @property
    def bucket(self) -> str:
        return f"token {self.name}" if self.name else f"address {self.address}"

    def require(self, role: Role) -> None:
        """Raise NotAllowed unless the caller may do what takes this role."""
        if not self.role.includes(role):
            raise NotAllowed(self.role, role)


class Access:
    """The gate, as ASGI middleware."""

    def __init__(self, app: ASGIApp, client: Client, headers: dict[str, str]) -> None:
        self._app, self._client = app, client
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self._settings = client.settings
        self._asks_for_tokens = client.settings.asks_for_tokens
        self._names = _names(client.settings)
        self._known = lru_cache(maxsize=HOSTS)(self._is_known)  # each request asks, mostly for the same one
        self._rate = Rate(client.settings.requests_per_second, 2 * client.settings.requests_per_second)
        self._strangers = Rate(client.settings.requests_per_second, 2 * client.settings.requests_per_second)
        self._attempts = Rate(PER_SECOND, ATTEMPTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        protected = self._protected(send, scope)
        try:
            caller = await self._admit(scope)
        except TrainyardError as error:
            await self._refuse(scope, error)(scope, receive, protected)
            return
        scope[CALLER] = caller
        if REPEAT in scope and caller is not None and caller.name is None:  # let in by no token, which may be revoked
            scope[REPEAT].admitted = lambda: self._rate.has(caller.bucket)
        with asked_by(Remote(caller.name if caller else None, _address(scope))):
            await self._app(scope, limited(receive, largest(scope["path"])), protected)

    def _protected(self, send: Send, scope: Scope) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
                caller: Caller | None = scope.get(CALLER)
                if caller is not None and caller.name is not None:  # theirs alone, and not for long
                    MutableHeaders(raw=message["headers"]).setdefault("cache-control", "private, no-cache")
            await send(message)

        return sending

    def _refuse(self, scope: Scope, error: TrainyardError) -> Response:
        """People are sent to the login; programs are told what is wrong."""
        person = scope["method"] in READS and "text/html" in Headers(scope=scope).get("accept", "")
        if isinstance(error, NoToken | WrongToken) and person and not scope["path"].startswith("/api/"):
            wanted = scope["path"] + ("?" if scope["query_string"] else "") + scope["query_string"].decode("latin-1")
            return RedirectResponse(f"{scope.get('root_path', '')}/login{_asking(wanted)}", 303)
        return of_error(error)

    async def _admit(self, scope: Scope) -> Caller | None:
        """Who sent the request; None for somebody unknown where that is no matter. Raises Refused, TooMany."""
        headers, address = Headers(scope=scope), _address(scope)
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            raise NoAddress
        host = headers.get("host", "")
        if not self._known(host):
            raise WrongHost(host)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > largest(scope["path"]):
            raise TooLong
        writes = scope["method"] not in READS
        if writes and _other_site(headers, host):
            raise OtherSite
        caller = await self._caller(headers, address)
        if caller is not None and caller.csrf is not None and writes and not _shown(headers, caller.csrf, scope):
            raise NotFromPage
        self._rate.take(caller.bucket if caller else f"address {address}")
        if caller is None and not self._open(scope["path"]):
            raise NoToken
        return caller

    def _is_known(self, host: str) -> bool:
        """Whether a Host header is a name of this yard. An address is one: no name was pointed at it."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _open(self, path: str) -> bool:
        return path in OPEN or path.startswith(STATIC) or (self._settings.open_metrics and path in METRICS)

    async def _caller(self, headers: Headers, address: str) -> Caller | None:
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        login = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        if scheme or login:
            self._strangers.look(address)  # before the database is asked
        if scheme:
            if scheme.lower() != "bearer":
                raise NoToken
            return await anyio.to_thread.run_sync(self._bearer, secret.strip(), address)
        if login:
            caller = await anyio.to_thread.run_sync(self._logged_in, login, address)
            if caller is not None:
                return caller
            self._strangers.take(address)
        return None if self._asks_for_tokens else Caller(address, Role.ADMIN)

    def _bearer(self, secret: str, address: str) -> Caller:
        with self._client.database.read() as session:
            token = store.bearer(session, hashed(secret))
        if token is None:
            self._wrong(address)
        return Caller(address, token.role, token.name)

    def _wrong(self, address: str) -> NoReturn:
        """A program with a right token is let in, however many wrong ones came from there: behind a proxy all do."""
        self._strangers.take(address)
        self._attempts.take(address)
        raise WrongToken

    def _logged_in(self, login: str, address: str) -> Caller | None:
        with self._client.database.read() as session:
            token = store.logged_in(session, hashed(login))
        return None if token is None else Caller(address, token.role, token.name, csrf(login))

    # Logging in

    def log_in(self, secret: str, address: str) -> str:
        """A new login, as its cookie has it. Raises WrongToken, and TooMany after some wrong ones."""
        self._attempts.look(address)
        login = new_secret()
        with self._client.database.write() as session:
            token = store.log_in(session, hashed(secret), hashed(login))
        if token is None:
            self._wrong(address)
        return login

    def log_out(self, login: str) -> None:
        with self._client.database.write() as session:
            store.log_out(session, hashed(login))

    async def welcome(self, request: Request) -> bool:
        """Whether whoever sent a request that is still being answered would still be let in."""
        try:
            return await self._caller(request.headers, _address(request.scope)) is not None
        except TrainyardError:
            return False


def _asking(wanted: str) -> str:
    """What the login is told of where to go on."""
    return "" if wanted == "/" or len(wanted) > LONGEST_NEXT else f"?next={quote(wanted)}"


def caller_of(request: Request) -> Caller:
    """Who sent the request. Raises NoToken if nobody is known."""
    caller: Caller | None = request.scope.get(CALLER)
    if caller is None:
        raise NoToken
    return caller


def needs(role: Role) -> Callable[[Request], None]:
    """A dependency of operations that take a role."""

    def check(request: Request) -> None:
        caller_of(request).require(role)

    return check


def csrf(login: str) -> str:
    """What a page shows with what it sends: another site's page cannot know it."""
    return derived(login, "csrf")


def set_cookie(response: Response, request: Request, login: str) -> None:
    schemes = request.url.scheme, request.headers.get("x-forwarded-proto")  # the latter is a proxy's
    response.set_cookie(
        COOKIE, login, max_age=int(LOGIN_SECONDS), httponly=True, samesite="lax",
        secure="https" in schemes, path=request.scope.get("root_path") or "/",
    )  # fmt: skip


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "?"


def _names(settings: Settings) -> set[str]:
    """What the yard is called by those who may reach it."""
    configured = {name.strip().lower() for name in settings.web_names.split(",") if name.strip()}
    own = {platform.node().lower(), settings.host.lower()} if settings.exposed else set()
    return {"localhost"} | configured | own - {""}


def _other_site(headers: Headers, host: str) -> bool:
    """Whether a browser says that a page of another site sends this."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != host.lower()


def _shown(headers: Headers, secret: str, scope: Scope) -> bool:
    """The form that logs in or out is sent without scripts: its origin has been looked at, and with what a page of
    another site sends comes no cookie."""
    return scope["path"] in ("/login", "/logout") or same(headers.get("x-csrf-token", ""), secret)
