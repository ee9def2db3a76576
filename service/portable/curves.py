"""Points as CSV: name, epoch or step, value. The values come back to the last bit."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable

from service.errors import DataError
from service.store.copies import Curves

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def text(curves: Curves, place: str) -> bytes:
    """`place` is what the second column is called: epoch or step."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("name", place, "value"))
    for name in sorted(curves):
        for at, value in zip(*curves[name], strict=True):
            writer.writerow((name, at, "" if math.isnan(value) else value))
    return out.getvalue().encode()


def curves(data: bytes, place: str, last: int, known: Callable[[str], object], what: str) -> Curves:
    """What `text` wrote. Raises DataError, naming `what`, on anything else: names that `known` refuses with KeyError,
    places beyond `last`, not in order, or twice."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    try:
        rows = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
        if next(rows, None) != ["name", place, "value"]:
            raise ValueError(f"its columns must be name, {place} and value")
        for name, at, value in rows:
            if name not in found:
                if not _NAME.fullmatch(name):
                    raise ValueError("a metric has a name that is none")
                known(name)
                found[name] = ([], [])
            places, values = found[name]
            number = int(at)
            if not (places[-1] if places else 0) < number <= last:
                raise ValueError(f"the {place}s of {name} are not in order, or beyond {last:,}")
            places.append(number)
            values.append(float(value) if value else math.nan)
    except (ValueError, KeyError, csv.Error) as error:
        raise DataError(f"{what} is damaged or forged: {error}") from None
    return found
