"""What people may do over HTTP."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What the bearer of a token may do over HTTP; each may do what those before it may."""

    VIEWER = "viewer"  # ask everything
    SUBMITTER = "submitter"  # submit runs, and act on them
    ADMIN = "admin"  # remove runs, change the pool, make tokens

    def includes(self, other: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(other)
