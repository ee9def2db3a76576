"""URLs of databases and brokers: what is accepted, how they are shown, and whether what travels there is protected.

No sentence in here repeats a URL: whoever mistypes one has a password in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qs, unquote, urlencode, urlsplit

DATABASE = "it is no URL; use sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME"
BROKER = "it is no URL; use redis://:PASSWORD@HOST:PORT/0"
ESCAPES = "in a password write @ as %40, : as %3A, / as %2F, # as %23, ? as %3F, ; as %3B, % as %25 and a blank as %20"
DATABASES = ("sqlite", "postgresql", "postgres", "postgresql+psycopg")

_TLS = ("ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
BROKERS: Mapping[str, tuple[str, ...]] = {  # what may stand behind the ? of each
    "redis": (),
    "rediss": _TLS,
    "redis+socket": ("virtual_host", "password"),
    "sentinel": ("master_name", *_TLS),
}
_CHECKS = ("required", "optional", "none", "CERT_REQUIRED", "CERT_OPTIONAL", "CERT_NONE")
_UNCHECKED = ("none", "CERT_NONE")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
_SECRET = re.compile(r"pass|pwd|secret|token", re.IGNORECASE)


def check_database(url: str) -> None:
    """Raise ValueError if it is no URL of a database that Trainyard knows."""
    scheme = _scheme(url, DATABASE)
    if scheme not in DATABASES:
        raise ValueError(f"'{scheme}' is no database Trainyard knows; use sqlite:///FILE or postgresql://…")
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        made = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(f"{DATABASE}; {ESCAPES}") from None
    if "@" in (made.host or "") or (scheme != "sqlite" and " " in url):  # its host would be told with half a password
        raise ValueError(f"{DATABASE}; {ESCAPES}")


def check_webhook(url: str) -> None:
    """Raise ValueError if it is no address that messages can be sent to."""
    wanted = "use http://HOST/PATH or https://HOST/PATH"
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"it is no URL; {wanted}")
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"it is no URL; {wanted}")
    if "@" in parts.netloc:
        raise ValueError("a password in it would not be sent; messages are signed with notify_secret instead")


def check_yard(url: str) -> None:
    """Raise ValueError if it is no address of a yard's page."""
    wanted = "use http://HOST:PORT or https://HOST"
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not (good and url.isascii() and url.isprintable() and " " not in url):
        raise ValueError(f"it is no URL; {wanted}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"{wanted}, and TRAINYARD_TOKEN for the token")


def check_broker(url: str) -> None:
    """Raise ValueError if it is no URL, or several with semicolons, of a broker that Celery can use."""
    for part in url.split(";"):
        scheme = _scheme(part, BROKER)
        if "cluster" in scheme:
            raise ValueError("Redis Cluster cannot carry Celery's queues (celery#2852); use one Redis or a Sentinel")
        if scheme not in BROKERS:
            raise ValueError(f"'{scheme}' is no broker Trainyard knows; use redis://, rediss:// or redis+socket://")
        try:
            _check_parts(scheme, urlsplit(part))
        except ValueError:  # its message may hold what was taken for a port
            raise ValueError(f"{BROKER}; {ESCAPES}") from None
        _check_query(part, BROKERS[scheme])


def _scheme(url: str, sentence: str) -> str:
    found = _SCHEME.match(url)
    if found is None or not url.isprintable():
        raise ValueError(f"{sentence}; {ESCAPES}")
    return found[1]


def _check_parts(scheme: str, parts: SplitResult) -> None:
    """Raise ValueError for what is not as it should be, most often by a mark in the password that has a meaning."""
    user, at, _ = parts.netloc.rpartition("@")
    socket = scheme == "redis+socket"
    wrong = "@" in user or " " in parts.netloc or bool(parts.fragment) or ("@" in parts.path + parts.query and not at)
    if wrong or (at and ":" not in user):  # a user without a password is mostly a password without its colon
        raise ValueError
    if socket and not parts.path.strip("/"):
        raise ValueError
    _ = parts.port  # raises ValueError when it is no number
    number = parse_qs(parts.query).get("virtual_host", ["0"])[0] if socket else parts.path.strip("/") or "0"
    if not re.fullmatch("[0-9]{1,9}", number):
        raise ValueError


def _check_query(url: str, known: tuple[str, ...]) -> None:
    for name, values in parse_qs(urlsplit(url).query, keep_blank_values=True).items():
        if name not in known:
            names = f"only {', '.join(known)} can" if known else "nothing can"
            raise ValueError(f"{names} stand behind the '?' of such a URL; {ESCAPES}")
        if name == "ssl_cert_reqs" and values[0] not in _CHECKS:
            raise ValueError("ssl_cert_reqs must be required, optional or none")


def for_kombu(url: str) -> tuple[str, dict[str, str]]:
    """The URL as Kombu takes it, and the options it takes elsewhere. Certificates are checked unless told not to."""
    parts, options = [], dict[str, str]()
    for part in url.split(";"):
        address, _, settings = part.partition("?")
        query = {name: values[0] for name, values in parse_qs(settings).items()}
        if address.startswith("sentinel:"):
            options["master_name"] = query.pop("master_name", options.get("master_name", "mymaster"))
        if address.startswith("rediss:"):
            query.setdefault("ssl_cert_reqs", "required")
        parts.append(f"{address}?{urlencode(query)}" if query else address)
    return ";".join(parts), options


def without_secrets(url: str) -> str:
    """The URL, or several with semicolons, with any password replaced, fit to be shown."""
    return ";".join(map(_shown, re.split(r";(?=[a-z][a-z0-9+.-]*://)", url)))


def _shown(url: str) -> str:
    shown = re.sub(r"(://[^:@/]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    address, mark, query = shown.partition("?")
    return address + mark + "&".join(map(_setting_shown, query.split("&")))


def _setting_shown(text: str) -> str:
    name, equals, _ = text.partition("=")
    return f"{name}=***" if equals and _SECRET.search(unquote(name)) else text


def elsewhere(host: str | None) -> bool:
    """Whether what is sent to this host leaves the machine. A folder is one of sockets."""
    near = not host or host.startswith("/") or host == "localhost" or re.fullmatch(r"127(\.\d{1,3}){3}|::1", host)
    return not near


def yard_risks(url: str) -> list[str]:
    """What is not protected on the way to a yard's API, a sentence for each."""
    parts = urlsplit(url)
    if parts.scheme == "https" or not elsewhere(parts.hostname):
        return []
    return [f"{parts.hostname} is another machine, and the token travels readable; use https://"]


def broker_risks(url: str) -> list[str]:
    """What is not protected on the way to the broker, a sentence for each."""
    risks = []
    for part in url.split(";"):
        parts = urlsplit(part)
        if not elsewhere(parts.hostname):
            continue
        checks = parse_qs(parts.query).get("ssl_cert_reqs", [None])[0]
        if not parts.password:
            risks.append(f"{parts.hostname} is another machine and the URL has no password")
        if parts.scheme != "rediss" and checks is None:
            risks.append(f"messages to {parts.hostname} are not encrypted; use rediss://")
        elif checks in _UNCHECKED:
            risks.append(f"anyone can pretend to be {parts.hostname}; write ssl_cert_reqs=required in the URL")
    return risks


def database_risks(url: str) -> list[str]:
    """What is not protected on the way to the database, a sentence for each."""
    from sqlalchemy import make_url

    made = make_url(url)
    host = made.host or made.query.get("host")
    mode = made.query.get("sslmode")
    hosts = [name for name in (host.split(",") if isinstance(host, str) else host or ()) if elsewhere(name)]
    if not hosts or mode in ("require", "verify-ca", "verify-full"):
        return []
    return [f"{hosts[0]} is another machine and need not encrypt; add sslmode=verify-full (or require) to the URL"]
