"""The names that an expression may use: of the run itself, of metrics, and of the spec's keys."""

from __future__ import annotations

import re
from functools import cache

from service.expressions import keys
from service.expressions.errors import ExpressionError
from service.expressions.keys import LARGEST_INDEX, Place, key, known_keys, metrics, top
from service.expressions.tokens import Token
from service.expressions.tree import Column, Field, Key, Kind, Layers, Metric, Path, Tag
from service.store.tables import State
from service.wording import did_you_mean, dotted, listed, nearest

SUGGESTED = 3  # keys at once, for a name that several parts have

COLUMNS = {
    column.name: column
    for column in (
        Column("id", Kind.NUMBER),
        Column("name", Kind.TEXT),
        Column("state", Kind.TEXT, tuple(state.value for state in State)),
        Column("queue", Kind.TEXT),
        Column("priority", Kind.NUMBER),
        Column("worker", Kind.TEXT),
        Column("epoch", Kind.NUMBER),
        Column("epochs", Kind.NUMBER),
        Column("attempts", Kind.NUMBER),
        Column("cloned_from", Kind.NUMBER),
        Column("fine_tuned_from", Kind.NUMBER),
        Column("replay_of", Kind.NUMBER),
        Column("imported_from", Kind.TEXT),
        Column("note", Kind.TEXT),
        Column("created", Kind.TIME),
        Column("started", Kind.TIME),
        Column("finished", Kind.TIME),
        Column("duration", Kind.DURATION),
        Column("error", Kind.TEXT),
        Column("dataset", Kind.TEXT),
        Column("weights", Kind.TEXT),
    )
}


def field(text: str, token: Token) -> Field:
    """What a name means. Raises ExpressionError, with the nearest name, if it means nothing."""
    name = token.value
    if name in COLUMNS:
        return COLUMNS[name]
    if name == "tag":
        return Tag()
    if is_metric(name):
        return Metric(name)
    return _key(text, token)


def is_whole(field: Field) -> bool:
    """Whether its numbers are whole ones."""
    if isinstance(field, Key):
        return keys.is_whole(field.path)
    return isinstance(field, Layers) or (isinstance(field, Column) and field.kind is Kind.NUMBER)


def is_metric(name: str) -> bool:
    return _kind(name.removeprefix("val_") if name.startswith("val_") else name.removeprefix("test_")) is not None


def is_better_higher(name: str) -> bool:
    """Whether the best value of a metric is its largest."""
    kind = _kind(name.removeprefix("val_").removeprefix("test_"))
    return kind is not None and metrics()[kind] == "higher"


def _kind(name: str) -> str | None:
    """The metric as known.json names it; of a family, such as top_3, whose numbers are any, the family."""
    if re.fullmatch(r"top_[1-9]\d*", name):
        return "top_k"
    return name if name in metrics() and name != "top_k" else None


@cache
def metric_names() -> tuple[str, ...]:
    """Every metric that there can be, top_k with usual numbers."""
    kinds = [*(name for name in metrics() if name != "top_k"), "top_3", "top_5"]
    return tuple(f"{split}{name}" for name in kinds for split in ("", "val_", "test_"))


def unknown_metric(text: str, token: Token) -> ExpressionError:
    sentence = f"there is no metric '{token.value}'{did_you_mean(token.value, metric_names())}"
    return ExpressionError(text, token.start, token.end, sentence)


def _key(text: str, token: Token) -> Field:
    """The key at a path such as optimizer.adam.learning_rate or network[0].dense.units."""
    here, path = top(), tuple[str | int, ...]()
    for step in re.finditer(r"[A-Za-z0-9_]+", token.value):
        if path == ("network",) and step[0] == "layers" and step.end() == len(token.value):
            return Layers()
        found = here.inside(step[0])
        if found is None:
            raise _unknown(text, token, path, step, here)
        if isinstance(found[0], int) and found[0] > LARGEST_INDEX:
            start, end = token.start + step.start(), token.start + step.end()
            raise ExpressionError(text, start, end, f"no list has so many items; name one from 0 to {LARGEST_INDEX:,}")
        path, here = (*path, found[0]), found[1]
    return key(path, here)


def _unknown(text: str, token: Token, path: Path, step: re.Match[str], here: Place) -> ExpressionError:
    """Told at the step that is wrong."""
    start, end = token.start + step.start(), token.start + step.end()
    if not path:
        meant = _meant(token.value) or did_you_mean(step[0], _first_words())
        return ExpressionError(text, start, end, f"there is no field '{step[0]}'{meant}")
    before, near = dotted(path), nearest(step[0], here.keys)
    if here.items is not None:
        sentence = f"{before} is a list; name an item by its number from 0, as in {before}[0]"
    elif not here.nested:
        sentence = f"there is nothing inside {before}, which is {listed(sorted(here.kinds), 'or')}"
    else:
        sentence = f"there is no '{step[0]}' in {before}" + (f"; did you mean '{before}.{near}'?" if near else "")
    return ExpressionError(text, start, end, sentence)


def _meant(word: str) -> str:
    """The keys of the spec that end with this word, as a question."""
    same = [f"'{known}'" for known in known_keys() if known.path[-1] == word]
    more = " …" if len(same) > SUGGESTED else ""
    return f"; did you mean {listed(same[:SUGGESTED], 'or')}{more}?" if same else ""


def _first_words() -> list[str]:
    """What an expression may begin a name with."""
    return [*COLUMNS, "tag", *metric_names(), *top().keys]
