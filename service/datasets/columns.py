"""What the cells of a column mean: categories and classes as codes, the words of a cell whatever file it came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from service.datasets.tables import Table, WrongKey, empty_cells, numbers, refuse_empty
from service.errors import DataError
from service.wording import listed, shown

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["text", "whole", "fraction"]
MOST_CATEGORIES = 100  # of one column; each is an input of the network
_TOLD = 12  # categories named in an error


def feature(table: Table, column: str, one_hot: bool, gaps: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """The column float32 (n,), NaN where a cell is empty if `gaps` are allowed, and its categories if it has any.

    Words are categories, and whole numbers if `one_hot`; then the values are codes. Raises WrongKey or DataError.
    """
    import polars as pl

    if not (one_hot or _is_text(table.series(column, "features"))):
        return numbers(table, column, "features", gaps), ()
    key = "one_hot" if one_hot else "features"
    series = table.series(column, key)
    empty = empty_cells(series)
    if not gaps:
        refuse_empty(table, column, empty, "features")
    known = series.filter(~empty)
    place = f"{table.name}: column '{column}'"
    if known.dtype == pl.String and known.str.contains(r"^\s*[-+]?\d+,\d+\s*$").all() and len(known):
        sentence = f"holds numbers with a comma ({shown(known[0])}); write a point, as in {known[0].replace(',', '.')}"
        raise WrongKey(key, f"{place} {sentence}")
    if not len(known):
        raise WrongKey("features", f"{place} is empty in every row; leave it out by listing the others")
    codes, names = coded(texts(known, kind_of(known), place, key))
    if len(names) > MOST_CATEGORIES:
        many = f"{place} has {len(names)} different values, and a column can have {MOST_CATEGORIES} categories at most"
        advice = "leave it out of one_hot" if one_hot else "leave it out by listing the others in data.features"
        raise WrongKey(key, f"{many}; {advice}")
    values = np.full(len(table), np.nan, np.float32)
    values[~empty.to_numpy()] = codes
    return values, names


def codes(table: Table, column: str, categories: Sequence[str], gaps: bool) -> np.ndarray:
    """The column as the codes of these categories, float32 (n,). Raises DataError at a value that is none of them."""
    import polars as pl

    series = table.series(column, "features")
    empty = empty_cells(series)
    if not gaps:
        refuse_empty(table, column, empty, "new")
    if series.dtype.is_nested():
        raise DataError(f"{table.name}: column '{column}' holds {str(series.dtype).lower()} values, not words")
    places = {name: code for code, name in enumerate(categories)}
    cells = series.cast(pl.String).str.strip_chars()
    found = {cell: places.get(cell, places.get(_whole(cell))) for cell in cells.filter(~empty).unique().to_list()}
    strange = cells.is_in([cell for cell, code in found.items() if code is None]) & ~empty
    for row in strange.arg_true().head(1).to_list():
        known = listed(list(categories[:_TOLD]) + (["…"] if len(categories) > _TOLD else []))
        sentence = f"column '{column}': {shown(cells[row])} is a value that no training row had (known: {known})"
        raise DataError(f"{table.place(row)}: {sentence}")
    values = [np.nan if blank else found[cell] for cell, blank in zip(cells.to_list(), empty.to_list(), strict=True)]
    return np.array(values, np.float32)


def coded(words: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes int64 (n,) and the different words in the order of the codes: whole numbers by size, others as text."""
    names, inverse = np.unique(words, return_inverse=True)
    different = [str(name) for name in names]
    order = sorted(range(len(different)), key=lambda index: _by_size(different[index]))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[inverse], tuple(different[index] for index in order)


def _by_size(word: str) -> tuple[int, int, str]:
    whole = word.lstrip("+-").isdecimal() and len(word) < 20
    return (0, int(word), word) if whole else (1, 0, word)


def _whole(cell: str) -> str:
    """1.0 and +1 as the category 1."""
    try:
        number = float(cell)
    except ValueError:
        return cell
    return str(int(number)) if number.is_integer() else cell


def _is_text(column: pl.Series) -> bool:
    """Whether most cells are words. A single word among numbers is rather a mistake, and told as one."""
    import polars as pl

    if column.dtype in (pl.Categorical, pl.Enum):
        return True
    if column.dtype != pl.String:
        return False
    known = column.filter(~empty_cells(column)).str.strip_chars()
    if known.is_in(["true", "false", "True", "False"]).all():
        return False
    return known.cast(pl.Float64, strict=False).null_count() > len(known) / 2


def kind_of(column: pl.Series) -> Kind:
    import polars as pl

    if column.dtype.is_integer():
        return "whole"
    if column.dtype.is_float() or column.dtype.is_decimal():
        return "fraction"
    if column.dtype != pl.String:
        return "text"
    text = column.str.strip_chars()
    if text.str.contains(r"^[-+]?\d+$").all():
        return "whole"
    return "text" if text.cast(pl.Float64, strict=False).null_count() else "fraction"


def texts(column: pl.Series, kind: Kind, place: str, key: str) -> np.ndarray:
    """The cells as names of classes or categories, the same from CSV and from Parquet. WrongKey (for `key`) if none."""
    import polars as pl

    noun, advice = ("classes", "; for numbers use loss: mse") if key == "target" else ("categories", "")
    if kind == "fraction":
        values = column.str.strip_chars().cast(pl.Float64) if column.dtype == pl.String else column.cast(pl.Float64)
        rounded = values.to_numpy()
        if not np.isfinite(rounded).all() or (rounded != np.round(rounded)).any():
            wrong = rounded[~np.isfinite(rounded) | (rounded != np.round(rounded))][0]
            raise WrongKey(key, f"{place} holds fractions ({wrong:g}), which are no {noun}{advice}")
        column = values.cast(pl.Int64, strict=False)
    elif kind == "whole" and column.dtype == pl.String:
        column = column.str.strip_chars().cast(pl.Int64, strict=False)
    if column.null_count():
        raise DataError(f"{place} holds a number that is too large to name one of the {noun}")
    if not (column.dtype.is_integer() or column.dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum)):
        raise WrongKey(key, f"{place} holds {str(column.dtype).lower()} values, which are no {noun}")
    return column.cast(pl.String).str.strip_chars().to_numpy().astype(str)
