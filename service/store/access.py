"""Tokens, the logins made with them, and answers kept for requests that may come twice.

Of a secret only its SHA-256 is kept. Secrets have 256 random bits, so there is nothing that salt or a slow hash would
add; and whoever measures how long looking for a hash takes learns about the hash, which leads to no secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, or_, select, update
from sqlalchemy.orm import Session

from service.errors import InputError
from service.roles import Role
from service.store.bulk import dialect, upsert
from service.store.clock import after, now
from service.store.records import Record
from service.store.tables import Answer, Login, Token

LOGIN_SECONDS = 7 * 86_400.0
ANSWER_SECONDS = 86_400.0  # for which an answer is kept


class NoSuchToken(InputError):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is no token '{name}'; `trainyard tokens list` shows those there are")


class TokenNameTaken(InputError):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is a token '{name}' already; revoke it first, or choose another name")


@dataclass(frozen=True)
class TokenRecord(Record):
    name: str
    role: Role
    created: datetime
    expires: datetime | None


def create(session: Session, name: str, role: Role, sha256: str, seconds: float | None = None) -> TokenRecord:
    """Keep a new token, that expires in so many seconds if told. Raises TokenNameTaken."""
    expires = None if seconds is None else after(seconds)
    values = {"name": name, "role": role.value, "sha256": sha256, "created": now(), "expires": expires}
    kept = (
        upsert(dialect(session), Token).values(values).on_conflict_do_nothing(index_elements=["name"]).returning(Token)
    )
    row = session.scalars(kept).one_or_none()
    if row is None:
        raise TokenNameTaken(name)
    return _record(row)


def tokens(session: Session) -> list[TokenRecord]:
    """Every token, in the order of their names."""
    return [_record(row) for row in session.scalars(select(Token).order_by(Token.name))]


def any_valid(session: Session) -> bool:
    """Whether there is a token that has not expired."""
    return session.scalar(select(Token.id).where(_valid()).limit(1)) is not None


def revoke(session: Session, name: str) -> None:
    """Remove a token, and with it all logins made with it. Raises NoSuchToken."""
    token_id = session.scalar(select(Token.id).where(Token.name == name).with_for_update())
    if token_id is None:
        raise NoSuchToken(name)
    session.execute(delete(Login).where(Login.token_id == token_id))
    session.execute(delete(Token).where(Token.id == token_id))


def bearer(session: Session, sha256: str) -> TokenRecord | None:
    """The valid token with this hash."""
    row = session.execute(_BEARER, {"sha256": sha256}).one_or_none()
    return None if row is None else _record(row)


def log_in(session: Session, token_sha256: str, login_sha256: str) -> TokenRecord | None:
    """Keep a login with a token; None if that is not valid. Forgets logins that have expired."""
    row = session.scalars(select(Token).where(Token.sha256 == token_sha256, _valid()).with_for_update()).one_or_none()
    if row is None:
        return None
    session.execute(delete(Login).where(Login.expires < now()))
    session.add(Login(sha256=login_sha256, token_id=row.id, expires=after(LOGIN_SECONDS)))
    return _record(row)


def logged_in(session: Session, login_sha256: str) -> TokenRecord | None:
    """The token of a login that is still good."""
    row = session.execute(_LOGGED_IN, {"sha256": login_sha256}).one_or_none()
    return None if row is None else _record(row)


def log_out(session: Session, login_sha256: str) -> None:
    session.execute(delete(Login).where(Login.sha256 == login_sha256))


def _valid() -> ColumnElement[bool]:
    return or_(Token.expires.is_(None), Token.expires > now())


def _record(row: Any) -> TokenRecord:
    return TokenRecord(row.name, Role(row.role), row.created, row.expires)


# Asked at every request, and so made once: to make them takes longer than to ask them.
_KNOWN = select(Token.name, Token.role, Token.created, Token.expires).where(_valid())
_BEARER = _KNOWN.where(Token.sha256 == bindparam("sha256"))
_LOGGED_IN = _KNOWN.join(Login, Login.token_id == Token.id).where(
    Login.sha256 == bindparam("sha256"), Login.expires > now()
)


# Requests that may come twice


class KeyTaken(InputError):
    def __init__(self, key: str) -> None:
        super().__init__(f"the Idempotency-Key '{key}' was used for another request; use a new key for each")


def answered(session: Session, who: str, key: str, request_sha256: str) -> Mapping[str, Any] | None:
    """The answer that the same request got before; None if there is none. Raises KeyTaken if the key came with another
    request."""
    recent = Answer.created >= after(-ANSWER_SECONDS)
    row = session.scalars(select(Answer).where(Answer.who == who, Answer.key == key, recent)).one_or_none()
    if row is None or row.body is None:
        return None
    if row.request_sha256 != request_sha256:
        raise KeyTaken(key)
    return row.body


def answer(session: Session, who: str, key: str, request_sha256: str, body: Mapping[str, Any]) -> bool:
    """Keep the answer for whoever sends the request again, in the transaction of what it tells of; so either both are
    there or neither. Whether it is the first with this key: another one may be in work at the same time.
    """
    session.execute(delete(Answer).where(or_(Answer.created < after(-ANSWER_SECONDS), Answer.body.is_(None))))
    values = {"who": who, "key": key, "request_sha256": request_sha256, "body": dict(body), "created": now()}
    kept = (
        upsert(dialect(session), Answer)
        .values(values)
        .on_conflict_do_nothing(index_elements=["who", "key"])
        .returning(Answer.key)
    )
    return session.scalar(kept) is not None


def reword(session: Session, who: str, key: str, body: Mapping[str, Any]) -> None:
    """Keep another answer in the place of one: there is more to say."""
    session.execute(update(Answer).where(Answer.who == who, Answer.key == key).values(body=dict(body)))
