"""`doctor`: what could go wrong on this machine, each with what to do about it."""

from __future__ import annotations

import os
import platform
import shlex
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from service.broker import program
from service.client import Client
from service.errors import TrainyardError
from service.settings import FILE
from service.store.database import sqlite_module
from service.urls import broker_risks, database_risks, elsewhere, without_secrets, yard_risks
from service.wording import listed
from service.yard import running

if TYPE_CHECKING:
    from service.remote import RemoteClient

OK, WARNING, WRONG = "ok", "warning", "wrong"
SECRETS = ("token", "admin_token", "notify_secret", "notify_url")  # settings that others must not know
ADDRESSES = ("database_url", "broker_url")  # the same where they hold a password
OTHERS_READ, OTHERS_ENTER = 0o044, 0o011  # in the mode of a file, and of its folder
SAFE_SQLITE = ((3, 51, 3), (3, 50, 7), (3, 44, 6))  # where the WAL-reset bug is fixed: the last is the oldest backport


@dataclass(frozen=True)
class Finding:
    verdict: str
    what: str
    sentence: str


def examine(client: Client) -> list[Finding]:
    from service.remote import RemoteClient

    here = [
        Finding(OK, "python", f"{platform.python_version()} on {platform.machine()} with {os.cpu_count()} cores"),
        _blas(),
    ]
    here += _config(client)
    if isinstance(client, RemoteClient):
        return [*here, _tried("yard", lambda: _remote(client)), *_risks("yard", yard_risks(client.url))]
    return [
        *here,
        _home(client),
        _sqlite(client),
        _tried("database", lambda: _database(client)),
        *_risks("database", database_risks(client.settings.database)),
        _tried("broker", lambda: _broker(client)),
        *_risks("broker", broker_risks(client.settings.broker)),
        *_page(client),
        _tried("workers", lambda: _workers(client)),
        *_notifications(client),
    ]


def _tried(what: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except TrainyardError as error:
        return Finding(WRONG, what, str(error))


def _blas() -> Finding:
    import numpy  # noqa: F401 - loads the BLAS that is asked for
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    if not pools:
        return Finding(WARNING, "blas", "NumPy has no BLAS that can be asked for its threads; training may be slow")
    pool = pools[0]
    return Finding(OK, "blas", f"{pool['internal_api']} {pool['version']}, {pool.get('architecture', '?')} kernels")


def _config(client: Client) -> list[Finding]:
    """Whether others on this machine can read the secrets of config.toml."""
    file = client.settings.home / FILE
    try:
        told = tomllib.loads(file.read_text(encoding="utf-8"))
        readable = file.stat().st_mode & OTHERS_READ and file.parent.stat().st_mode & OTHERS_ENTER
    except (OSError, ValueError):  # there is none
        return []
    secret = [key for key in SECRETS if told.get(key)]
    secret += [key for key in ADDRESSES if (url := str(told.get(key, ""))) != without_secrets(url)]
    if not readable or not secret:
        return []
    sentence = f"others can read {file}, which holds {listed(secret)}; `chmod 600 {shlex.quote(str(file))}`"
    return [Finding(WARNING, "settings", sentence)]


def _remote(client: RemoteClient) -> Finding:
    who = client.caller()
    name = f"as '{who['name']}', " if who["name"] else ""
    return Finding(OK, "yard", f"{client.url} is version {client.version()} and lets you in, {name}as {who['role']}")


def _home(client: Client) -> Finding:
    home = client.settings.home
    home.mkdir(parents=True, exist_ok=True)
    if not os.access(home, os.W_OK):
        return Finding(WRONG, "home", f"{home} cannot be written; set TRAINYARD_HOME")
    free = os.statvfs(home)
    gibibytes = free.f_bavail * free.f_frsize / 2**30
    return Finding(OK if gibibytes > 1 else WARNING, "home", f"{home}, {gibibytes:.1f} GiB free")


def _sqlite(client: Client) -> Finding:
    version: tuple[int, ...] = sqlite_module().sqlite_version_info
    safe = version >= SAFE_SQLITE[0] or any(version[:2] == fix[:2] and version >= fix for fix in SAFE_SQLITE)
    text = ".".join(map(str, version))
    if safe or not client.settings.database.startswith("sqlite"):
        return Finding(OK, "sqlite", text)
    return Finding(WARNING, "sqlite", f"{text} can, very rarely, damage a database under several writers; "
                   "`pip install pysqlite3` where a wheel exists, or use PostgreSQL")  # fmt: skip


def _database(client: Client) -> Finding:
    shown = without_secrets(client.settings.database)
    number = sum(client.counts().values())
    runs = f"{number:,} {'run' if number == 1 else 'runs'}"
    return Finding(OK, "database", f"{shown}, schema {client.database.schema()}, {runs}")


def _broker(client: Client) -> Finding:
    settings = client.settings
    if settings.embedded_broker and running(settings) is None:
        return Finding(OK, "broker", f"embedded, not running; `up` starts {program()}")
    client.tickets.ping()
    return Finding(OK, "broker", "embedded" if settings.embedded_broker else without_secrets(settings.broker))


def _risks(what: str, sentences: Iterable[str]) -> list[Finding]:
    return [Finding(WARNING, what, sentence) for sentence in sentences]


def _page(client: Client) -> list[Finding]:
    """Where the page is, or would be: other machines need a token, and it speaks no TLS."""
    state = running(client.settings)
    host = urlsplit(state.web_url).hostname if state else client.settings.host
    if not elsewhere(host):
        return []
    return [Finding(WARNING, "page", f"it listens on {host} and asks for a token, which travels readable; outside a "
                    "network that you trust put a proxy that speaks TLS in front")]  # fmt: skip


def _workers(client: Client) -> Finding:
    known = client.workers()
    gone = [worker.name for worker in known if worker.state == "gone"]
    live = [worker for worker in known if worker.state == "ready"]
    if gone:
        return Finding(WARNING, "workers", f"{', '.join(gone)} went silent without saying goodbye")
    if not live:
        return Finding(WARNING, "workers", "none runs; `trainyard up` or `trainyard workers start`")
    return Finding(OK, "workers", f"{len(live)} with {sum(worker.slots for worker in live)} slots")


def _notifications(client: Client) -> list[Finding]:
    """What could not be told, and whether what is to be told here can be trusted there."""
    settings = client.settings
    unsigned = "messages to TRAINYARD_NOTIFY_URL are not signed; set TRAINYARD_NOTIFY_SECRET"
    findings = [Finding(WARNING, "notify", unsigned)] if settings.notify_url and not settings.notify_secret else []
    try:
        undelivered = client.undelivered()
    except TrainyardError:
        return findings  # that of the database has said it
    failing = [subscriber for subscriber in undelivered if subscriber.given_up or subscriber.last_error]
    return findings + [Finding(WARNING, "notify", subscriber.sentence) for subscriber in failing]
