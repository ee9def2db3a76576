"""A text cut into words, signs, numbers and quoted texts, each with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from service.errors import InputError
from service.expressions.errors import ExpressionError
from service.wording import shown

LONGEST = 4_000  # characters; SQLite takes a thousand comparisons in one statement
KEYWORDS = frozenset({"and", "or", "not", "in", "like", "is", "null", "true", "false"})

_TOKEN = re.compile(
    r"""
      (?P<space> \s+)
    | (?P<number> [-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)
    | (?P<text> '(?:[^']|'')*' | "(?:[^"]|"")*")
    | (?P<name> [A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+|\[[0-9]+\])*)
    | (?P<sign> <= | >= | != | <> | == | [=<>(),])
    """,
    re.VERBOSE,
)
_INSTEAD = {
    "'": "this text does not end; it needs another ' where it does",
    '"': 'this text does not end; it needs another " where it does',
    "&": "write 'and'",
    "|": "write 'or'",
    "!": "write 'not', or != for 'is not'",
    "%": "a pattern stands in quotes, as in tag like 'exp%'",
    "~": "write 'like', as in tag like 'exp%'",
}


@dataclass(frozen=True)
class Token:
    """`kind` is keyword, name, number, text, sign or end. A keyword is in small letters, a text without its quotes."""

    kind: str
    value: str
    start: int
    end: int


def check_text(text: Any) -> None:
    if not isinstance(text, str):
        raise InputError(f"expressions and fields are texts, such as \"tag = 'base'\" or 'val_loss', and not {text!r}")


def tokens(text: str) -> list[Token]:
    """The tokens, and one for the end. Raises ExpressionError at the first thing that is none."""
    check_text(text)
    if len(text) > LONGEST:
        raise ExpressionError(text, LONGEST, LONGEST + 1, f"longer than {LONGEST:,} characters; ask for less at once")
    if stray := re.search("[\0\ud800-\udfff]", text):
        sentence = f"the character U+{ord(stray[0]):04X} cannot be stored, so no run has it"
        raise ExpressionError(text, stray.start(), stray.end(), sentence)
    found, place = [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise _stray(text, place)
        place = match.end()
        if match.lastgroup == "number" and (rest := re.compile(r"[\w.]+").match(text, place)):
            word = text[match.start() : rest.end()]
            raise ExpressionError(text, match.start(), rest.end(), f"{shown(word)} is no number; put a text in quotes")
        if match.lastgroup != "space":
            found.append(_token(match))
    return [*found, Token("end", "", len(text), len(text))]


def _stray(text: str, place: int) -> ExpressionError:
    letter = text[place]
    if letter in "'\"":
        return ExpressionError(text, place, len(text), _INSTEAD[letter])
    instead = _INSTEAD.get(letter) or ("quote texts with ' or \"" if letter in "‘’“”„«»`´" else "")
    return ExpressionError(text, place, place + 1, f"unexpected {shown(letter)}" + (f"; {instead}" if instead else ""))


def _token(match: re.Match[str]) -> Token:
    kind, value = str(match.lastgroup), match[0]
    if kind == "name" and value.lower() in KEYWORDS:
        kind, value = "keyword", value.lower()
    elif kind == "text":
        value = value[1:-1].replace(value[0] * 2, value[0])
    return Token(kind, value, match.start(), match.end())
