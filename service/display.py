"""Numbers and times as people read them, the same in the terminal and on the page."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.store.records import LogRecord, RunRecord

USUAL = ("accuracy", "r2", "mae")  # for runs of version 0.1, whose specs list no metrics


def judged_by(run: RunRecord) -> str:
    """The metric that counts: what early stopping watches, else the first that was asked for, else the loss."""
    stopping = run.spec.get("train", {}).get("early_stopping") or {}
    watched = str(stopping.get("monitor", "")).removeprefix("val_")
    names: list[str] = [watched, *(run.spec.get("metrics") or USUAL)]
    for name in names:
        if name != "loss" and {name, f"val_{name}"} & run.metrics.keys():
            return name
    return "loss"


def measured_by(run: RunRecord) -> str | None:
    """The metric that counts: on test where there is one, else on validation, else on training."""
    name = judged_by(run)
    return next((measured for measured in (f"test_{name}", f"val_{name}", name) if measured in run.metrics), None)


def headline(run: RunRecord) -> str:
    """The best value of the metric that counts."""
    measured = measured_by(run)
    return "-" if measured is None else f"{measured} {number(run.metrics[measured].best)}"


def duration(seconds: float | None) -> str:
    """45 ms, 7.3 s, 4m05s, 3h12m, 2d4h: two figures that matter."""
    if seconds is None:
        return "-"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 48 else f"{hours // 24}d{hours % 24}h"


def age(moment: datetime | None) -> str:
    return "-" if moment is None else f"{duration(max(1.0, (datetime.now(UTC) - moment).total_seconds()))} ago"


def lasted(run: RunRecord) -> str:
    """How long the run has been or was under way, waiting for other workers included."""
    if run.started is None:
        return "-"
    return duration(((run.finished or datetime.now(UTC)) - run.started).total_seconds())


def log_line(line: LogRecord) -> str:
    """A line of a log as text; a warning or an error says what it is."""
    mark = "" if line.level == "info" else f"{line.level}: "
    return f"{line.at:%Y-%m-%d %H:%M:%S}  {mark}{line.text}"


def size(count: float) -> str:
    """Bytes in the unit that fits: 2.6 MiB, 303 GiB."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1000 or unit == "GiB":
            break
        count /= 1024
    return f"{count:,.{0 if unit == 'bytes' or count >= 100 else 1}f} {unit}"


def memory_here() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def thousands(value: float) -> str:
    """950, 12k, 1.4M: for rates."""
    return f"{value / 1e6:.1f}M" if value >= 1e6 else f"{value / 1e3:.0f}k" if value >= 1e4 else f"{value:.0f}"


def ranges(numbers: Sequence[int]) -> str:
    """12 to 511, 513, 520 to 1012"""
    found: list[list[int]] = []
    for value in sorted(numbers):
        if found and value == found[-1][1] + 1:
            found[-1][1] = value
        else:
            found.append([value, value])
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in found)


def shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def sparkline(values: list[float], width: int = 24) -> str:
    """The curve in one line of blocks; NaN is a blank."""
    if len(values) > width:
        values = [values[i * (len(values) - 1) // (width - 1)] for i in range(width)]
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[int((v - low) / span * 7)] if math.isfinite(v) else " " for v in values)


def bars(counts: Sequence[int], width: int = 20) -> str:
    """A histogram in one line of blocks, a blank for nothing; their height by the root, so that small bins are seen."""
    each = len(counts) // width or 1
    sums = [sum(counts[at : at + each]) for at in range(0, len(counts), each)]
    most = max(sums) ** 0.5 or 1.0
    return "".join(" ▁▂▃▄▅▆▇█"[math.ceil(count**0.5 / most * 8)] for count in sums)
