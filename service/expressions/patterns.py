"""Patterns of `like`: % stands for any characters, _ for one; a backslash before %, _ or \\ makes it that character."""

from __future__ import annotations

import re

_PIECES = re.compile(r"\\[%_\\]|.", re.DOTALL)


def like(pattern: str) -> str:
    """As PostgreSQL's LIKE wants it: there, a backslash takes the meaning of whatever follows."""
    return _PIECES.sub(lambda piece: r"\\" if piece[0] == "\\" else piece[0], pattern)


def glob(pattern: str) -> str:
    """As SQLite's GLOB wants it, which has * and ? and knows no backslash."""
    return _PIECES.sub(lambda piece: _GLOB.get(piece[0], piece[0][-1]), pattern)


_GLOB = {"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}
