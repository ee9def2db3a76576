"""What is wrong with a spec: each problem with its place, its path and a sentence, all of a file's problems at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from service.errors import InputError
from service.wording import dotted

Path = tuple[str | int, ...]

SHOWN = 10  # problems; more would scroll the first, which often causes the rest, off the screen


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
