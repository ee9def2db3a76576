"""Tables of at most 100 columns, the facts about the machine, and the sections of RESULTS.md."""

from __future__ import annotations

import os
import platform
import re
import shlex
import signal
import statistics
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

WIDTH = 100
Budget = tuple[str, str, str, bool | None]  # what, measured, the budget, whether it is met
VERDICTS = {True: "met", False: "NOT met", None: "unclear"}
RESULTS = Path(__file__).parent / "RESULTS.md"
INTRODUCTION = """# Results

Written by `benchmarks/training.py`, `mnist.py`, `service.py`, `history.py`, `watching.py` and `writers.py` with
`--write`, and, what concerns chaos, by `python -m tests.chaos --write`; see [README.md](README.md) for what each number
means. The good and the bad ones.
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is also readable as text; a heading that begins with `>` aligns right."""
    right = [title.startswith(">") for title in head]
    lines = [[title.removeprefix(">") for title in head], *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = ["-" * (width - 1) + ":" if side else "-" * width for width, side in zip(widths, right, strict=True)]
    forms = [f"{{:{'>' if side else '<'}{width}}}" for width, side in zip(widths, right, strict=True)]
    return "\n".join("| " + " | ".join(forms).format(*line) + " |" for line in (lines[0], rule, *lines[1:]))


def beside_budgets(budgets: Sequence[Budget]) -> str:
    return table(["", "measured", "budget", ""], [[*row, VERDICTS[met]] for *row, met in budgets])


def paragraph(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def geometric_mean(values: Sequence[float]) -> float:
    return statistics.geometric_mean(values) if values else float("nan")


def circumstances(packages: Sequence[str], command: str = "") -> str:
    """When, on what and with what; no path and no name of a host. `command`: unless it is a file of this folder."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    command = command or shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    return (
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, `{command}`\n"
        f"- {_processor()}, {os.cpu_count()} cores; load averages at the end {load}\n"
        f"- {platform.system()}, Python {platform.python_version()}, {versions}"
    )


def _processor() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def write_section(title: str, text: str) -> None:
    """Replace this benchmark's section of RESULTS.md, or add it; the other sections stay."""
    old = RESULTS.read_text() if RESULTS.exists() else INTRODUCTION
    head, *parts = re.split(r"(?m)^(?=## )", old)
    sections = {part.splitlines()[0].removeprefix("## "): part.strip() for part in parts}
    sections[title] = f"## {title}\n\n{text.strip()}"
    RESULTS.write_text("\n\n".join([head.strip(), *sections.values()]) + "\n")


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and Ctrl-C end the benchmark through every `finally`, with one sentence."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit("interrupted; everything that was started is ended")
