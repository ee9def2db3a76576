"""What is wrong with a spec: each problem with its place, its path and a sentence, all of a file's problems at once."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from service.errors import InputError

Path = tuple[str | int, ...]

SHOWN = 10  # problems; more would scroll the first, which often causes the rest, off the screen
LISTED = 16  # names; longer lists are left to `trainyard schema`


@dataclass(frozen=True)
class Problem:
    """One thing to correct. `line` and `column` count from 1; both are None for an override of the command line."""

    place: str  # "digits.yaml:12:3" or "--set train.epochs=0"
    path: Path
    sentence: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        where = dotted(self.path)
        typed = f"--set {where}=", f"--grid {where}="  # which say the path already
        named = self.line is None and self.place.startswith(typed)
        return f"{self.place}: {self.sentence}" if named or not where else f"{self.place}: {where}: {self.sentence}"


class SpecError(InputError):
    """A spec cannot be accepted. `problems` holds every one found; the message shows the first ten.

    `combination`: in which of many specs made of the same text, such as "with seed=1, train.epochs=5".
    """

    def __init__(self, problems: Iterable[Problem], combination: str = "") -> None:
        self.problems, self.combination = tuple(problems), combination
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"… and {len(self.problems) - SHOWN} more")
        if combination:
            lines.append(f"met {combination}")
        super().__init__(*lines)


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
