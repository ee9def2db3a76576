"""How names and values are said to a person: listed, shortened, and what a misspelt one was probably meant to be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from typing import Any

LISTED = 16  # names; longer lists are left to `trainyard schema`


def dotted(path: Iterable[str | int]) -> str:
    """("network", 0, "dense", "units") is written network[0].dense.units."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` was probably meant to be."""
    lower = {name.lower(): name for name in known}
    begun = [name for name in lower if name.startswith(word.lower())]
    if len(word) > 1 and len(begun) == 1:  # val for validation
        return lower[begun[0]]
    found = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return lower[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "; did you mean 'units'?" for the nearest known name, or nothing."""
    name = nearest(word, known)
    return f"; did you mean '{name}'?" if name else ""


def unknown(what: str, word: str, known: Collection[str]) -> str:
    """The sentence for a name that does not exist: the nearest one, and the list of all when it is short."""
    names = f" (known: {', '.join(known)})" if 0 < len(known) <= LISTED else ""
    return f"unknown {what} {shown(word)}{did_you_mean(word, known)}{names}"


def shown(value: Any) -> str:
    """A value as its writer would know it again, shortened."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping of keys" if value else "an empty mapping"
        case list() | tuple():
            return "a list" if value else "an empty list"
        case str():
            text = repr(value)
            return text if len(text) <= 60 else f"{text[:56]}…'"
        case _:
            text = str(value) if not isinstance(value, int) or abs(value) < 10**40 else "a number of many digits"
            return text if len(text) <= 60 else f"{text[:57]}…"


def listed(names: Iterable[str], last: str = "and") -> str:
    """a, b and c."""
    *head, tail = list(names) or [""]
    return f"{', '.join(head)} {last} {tail}" if head else tail


def kebab(name: str) -> str:
    """NoSuchRun is written no-such-run."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
