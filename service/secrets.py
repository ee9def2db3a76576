"""Secrets that people carry: made here, shown once, known afterwards by their hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets

PREFIX = "ty_"  # by which scanners of published code may know one
SHORTEST = 20  # characters of one that a person has chosen


def new_secret() -> str:
    """256 random bits, as text that fits a header and a URL."""
    return PREFIX + secrets.token_urlsafe(32)


def hashed(secret: str) -> str:
    """The SHA-256 of a secret, in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def derived(secret: str, purpose: str) -> str:
    """Another secret, that whoever has the first can make, and from which the first cannot be found."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())
