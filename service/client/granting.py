"""Grant access over HTTP: make, list and revoke tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.client.connection import Connection
from service.errors import InputError
from service.names import check_name

if TYPE_CHECKING:
    from service.roles import Role
    from service.store.access import TokenRecord


LONGEST_TOKEN = 10 * 365 * 86_400.0  # seconds


class Granting(Connection):
    """The part of a client that minds the tokens."""

    def tokens(self) -> list[TokenRecord]:
        """Every token, without its secret."""
        from service.store import access

        with self.database.read() as session:
            return access.tokens(session)

    def create_token(self, name: str, role: Role | str, seconds: float | None = None) -> tuple[str, TokenRecord]:
        """Make a token, valid for so many seconds or until it is revoked; returns its secret, which is not kept.

        Raises InputError for a name that is taken, or a role or time that cannot be.
        """
        from service.roles import Role
        from service.secrets import hashed, new_secret
        from service.store import access
        from service.wording import unknown

        check_name("token", name)
        if role not in list(Role):
            raise InputError(unknown("role", role, [*map(str, Role)]))
        if seconds is not None and not 0 < seconds <= LONGEST_TOKEN:
            raise InputError(f"a token is valid for up to {LONGEST_TOKEN / 86_400:,.0f} days, or without end")
        secret = new_secret()
        with self.database.write() as session:
            return secret, access.create(session, name, Role(role), hashed(secret), seconds)

    def keep_token(self, name: str, role: Role, secret: str) -> None:
        """See to it that this secret, and no other, is the token of this name."""
        from service.secrets import hashed
        from service.store import access

        with self.database.write() as session:
            known = access.bearer(session, hashed(secret))
            if known is not None and (known.name, known.role) == (name, role):
                return
            if any(token.name == name for token in access.tokens(session)):
                access.revoke(session, name)
            access.create(session, name, role, hashed(secret))

    def revoke_token(self, name: str) -> None:
        """Make a token invalid at once, and end what was logged in with it. Raises NoSuchToken."""
        from service.store import access

        with self.database.write() as session:
            access.revoke(session, name)
