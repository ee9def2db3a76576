"""Tables from CSV and Parquet files, with a place in the file for every row.

A CSV is read as text and turned into numbers column by column, so that an error can name file, line and column. The
fast path is polars; when a cell is empty or a row is ragged, Python's csv module reads again and knows the lines.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from service.errors import DataError
from service.wording import did_you_mean, listed, shown

if TYPE_CHECKING:
    import polars as pl

DELIMITERS = {".tsv": "\t"}
_TOLD = 3  # rows named in one error
_NO_NUMBERS = ("NA", "N/A", "nan", "NaN", "NAN", "null", "NULL")  # what other programs write into an empty cell
_ADVICE = {
    "features": "let data.missing fill it (mean, median or most_frequent), or ",
    "new": "the network was trained without data.missing, so ",
}


class WrongKey(DataError):
    """`data.<key>` of the spec does not fit the data; whoever knows the spec adds the place."""

    def __init__(self, key: str, sentence: str) -> None:
        super().__init__(sentence)
        self.key = key


@dataclass
class Table:
    """Named columns. `frame` holds texts if it came from a CSV, typed values from Parquet."""

    name: str
    frame: pl.DataFrame
    _lines: Callable[[], Sequence[int]] | None = field(default=None, repr=False)

    @property
    def columns(self) -> list[str]:
        return self.frame.columns

    def __len__(self) -> int:
        return self.frame.height

    @cached_property
    def lines(self) -> Sequence[int] | None:
        return self._lines() if self._lines else None

    def place(self, row: int) -> str:
        """data.csv:17, or data.parquet: row 16 (counted from 1, without a header)."""
        return f"{self.name}:{self.lines[row]}" if self.lines is not None else f"{self.name}: row {row + 1}"

    def places(self, rows: Sequence[int]) -> str:
        """The first rows by number, for a sentence."""
        numbers = [str(self.lines[row] if self.lines is not None else row + 1) for row in rows[:_TOLD]]
        more = [f"{len(rows) - _TOLD} more"] if len(rows) > _TOLD else []
        word = "line" if self.lines is not None else "row"
        return f"{word}{'s' if len(rows) > 1 else ''} {listed(numbers + more)}"

    def series(self, column: str, key: str) -> pl.Series:
        """The column. Raises WrongKey (for `data.<key>`) listing those there are."""
        if column not in self.columns:
            known = listed(self.columns[:20]) + (" …" if len(self.columns) > 20 else "")
            near = did_you_mean(column, self.columns)
            raise WrongKey(key, f"{self.name} has no column '{column}'{near} (its columns: {known})")
        return self.frame[column]


def read(file: Path) -> Table:
    """The table in a .csv, .tsv or .parquet file. Raises DataError with the place of what is wrong."""
    suffix = file.suffix.lower()
    table = _read_parquet(file) if suffix in (".parquet", ".pq") else _read_csv(file, DELIMITERS.get(suffix, ","))
    if not len(table):
        raise DataError(f"{table.name}: no rows; there is nothing below the header")
    return table


def content(file: Path) -> bytes:
    """The file's bytes. Raises DataError in words if it cannot be read or is empty."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file.name}: cannot be read ({(error.strerror or 'unknown reason').lower()})") from None
    if not data:
        raise DataError(f"{file.name}: the file is empty")
    return data


def numbers(table: Table, column: str, key: str, gaps: bool = False) -> np.ndarray:
    """The column as float32 numbers (n,), NaN where a cell is empty if `gaps` are allowed.

    Raises DataError with the line of a cell that is no number, and WrongKey for a column that holds none.
    """
    import polars as pl

    series = table.series(column, key)
    if series.dtype == pl.String:
        text = series.str.strip_chars()
        empty = empty_cells(series) | text.is_in(_NO_NUMBERS)
        found = text.cast(pl.Float64, strict=False)
        words = text.filter(~empty)
        if found.null_count() and len(words) and words.is_in(["true", "false", "True", "False"]).all():
            found = (text.str.to_lowercase() == "true").cast(pl.Float64)
        _refuse_text(table, column, text, found.is_null() & ~empty, key)
    elif series.dtype.is_numeric() or series.dtype == pl.Boolean:
        found = series.cast(pl.Float64)
        empty = found.is_null() | found.is_nan()
    else:
        kind = str(series.dtype).lower()
        raise WrongKey(key, f"{table.name}: column '{column}' holds {kind} values; a network needs numbers")
    if not gaps:
        refuse_empty(table, column, empty, key)
    with np.errstate(over="ignore"):
        values = found.set(empty, None).to_numpy().astype(np.float32)
    for row in np.flatnonzero(np.isinf(values))[:1].tolist():
        raise DataError(f"{table.place(row)}: column '{column}': {shown(series[row])} is not a finite number")
    return values


def empty_cells(series: pl.Series) -> pl.Series:
    """Where the column has no value, as booleans. Texts are empty if nothing but blanks is in them."""
    import polars as pl

    if series.dtype == pl.String:
        return series.is_null() | (series.str.strip_chars() == "").fill_null(True)
    return series.is_null()


def refuse_empty(table: Table, column: str, empty: pl.Series, key: str) -> None:
    """Raise DataError naming the lines of the empty cells, if there are any, and what can be done."""
    rows = empty.arg_true().to_list()
    if rows:
        cell = table.frame[column][rows[0]]
        what = f": {shown(cell)} is no number" if isinstance(cell, str) and cell.strip() else " is empty"
        raise DataError(f"{table.place(rows[0])}: column '{column}'{what}; {_ADVICE.get(key, '')}{_fill(table, rows)}")


def _fill(table: Table, rows: Sequence[int]) -> str:
    return f"fill in or drop {table.places(rows)}"


def _refuse_text(table: Table, column: str, text: pl.Series, wrong: pl.Series, key: str) -> None:
    rows = wrong.arg_true().to_list()
    if not rows:
        return
    cell = shown(text[rows[0]])
    if len(rows) > len(table) / 2:
        sentence = f"column '{column}' holds text ({cell}), and numbers are needed"
        advice = "; leave it out by listing the others" if key == "features" else ""
        raise WrongKey(key, f"{table.place(rows[0])}: {sentence}{advice}")
    others = len(rows) - 1
    more = f" (nor {'is 1 more cell' if others == 1 else f'are {others} more cells'})" if others else ""
    raise DataError(f"{table.place(rows[0])}: column '{column}': {cell} is not a number{more}")


def _read_parquet(file: Path) -> Table:
    import polars as pl

    data = content(file)
    try:
        if _survives(file):
            return Table(file.name, pl.read_parquet(io.BytesIO(data)))
    except (pl.exceptions.PolarsError, OSError, pl.exceptions.PanicException):
        pass  # it was changed in this moment
    raise DataError(f"{file.name}: this is not a Parquet file, or it is damaged")


def _survives(file: Path) -> bool:
    """Whether a process of its own can read the Parquet file. Over some damage Polars ends its whole process."""
    command = [sys.executable, "-P", "-c", "import polars, sys; polars.read_parquet(sys.argv[1])", str(file.absolute())]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def _read_csv(file: Path, delimiter: str) -> Table:
    text = _decoded(content(file), file.name)
    header = _header(text, file.name, delimiter)
    fast = _read_fast(text, header, delimiter)
    if fast is not None:
        return Table(file.name, fast, lambda: [line for line, _ in _records(text, file.name, delimiter, len(header))])
    return _read_slowly(text, header, delimiter, file.name)


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{name}:{line}: the text is not UTF-8; save the file again as UTF-8") from None


def _header(text: str, name: str, delimiter: str) -> list[str]:
    """The column names. Raises DataError for an empty, doubled or missing one."""
    try:
        header = [cell.strip() for cell in next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])]
    except csv.Error as error:
        raise DataError(f"{name}:1: the header cannot be read ({error})") from None
    if not any(header):
        raise DataError(f"{name}:1: the first line must name the columns, and it is empty")
    for column in header:
        if not column:
            raise DataError(f"{name}:1: column {header.index('') + 1} has no name")
        if header.count(column) > 1:
            raise DataError(f"{name}:1: two columns are called '{column}'; rename one")
    if len(header) == 1 and (found := [mark for mark in ";\t" if mark in header[0]]):
        kind = "semicolons" if found[0] == ";" else "tabs"
        raise DataError(f"{name}:1: the columns are separated by {kind}; save the file with commas between them")
    return header


def _read_fast(text: str, header: list[str], delimiter: str) -> pl.DataFrame | None:
    """The rows as text, or None if anything in them needs a closer look."""
    import polars as pl

    try:
        frame = pl.read_csv(io.BytesIO(text.encode()), infer_schema=False, separator=delimiter)
    except pl.exceptions.PolarsError:
        return None
    if frame.width != len(header) or frame.null_count().sum_horizontal().sum():
        return None
    frame.columns = header
    return frame


def _read_slowly(text: str, header: list[str], delimiter: str, name: str) -> Table:
    import polars as pl

    records = list(_records(text, name, delimiter, len(header)))
    lines = [line for line, _ in records]
    columns = zip(*(cells for _, cells in records), strict=True) if records else [()] * len(header)
    frame = pl.DataFrame({column: list(cells) for column, cells in zip(header, columns, strict=True)})
    return Table(name, frame.cast(pl.String), lambda: lines)


def _records(text: str, name: str, delimiter: str, width: int) -> Iterator[tuple[int, list[str]]]:
    """Each record below the header with the line it begins in; blank lines are passed over."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    before = 0
    try:
        for number, cells in enumerate(reader):
            line, before = before + 1, reader.line_num
            if not number or (not any(cell.strip() for cell in cells) and len(cells) < 2):
                continue
            if len(cells) != width:
                raise DataError(f"{name}:{line}: {len(cells)} cells, but the header names {width} columns")
            yield line, cells
    except csv.Error as error:
        raise DataError(f"{name}:{reader.line_num}: this line cannot be read ({error})") from None
