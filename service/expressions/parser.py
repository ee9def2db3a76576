"""From a text to the tree: what is not understood is told at its place.

expression  any  { or any }          any     one { and one }
one         not one | ( expression ) | comparison
comparison  field = value | field [not] in (value, …) | field [not] like text | field is [not] null
field       name | best(metric) | last(metric) | at(metric, epoch)
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from service.expressions import fields, values
from service.expressions.errors import ExpressionError
from service.expressions.tokens import Token, tokens
from service.expressions.tree import (
    And,
    Comparison,
    Expression,
    Field,
    Kind,
    Metric,
    Missing,
    Not,
    Or,
    Tag,
    Value,
)
from service.wording import did_you_mean, listed, shown

DEEPEST = 32  # brackets and nots inside each other
EXAMPLE = "val_accuracy > 0.9 and state = 'completed'"
_SAME = {"==": "=", "<>": "!="}
_SIGNS = ("=", "!=", "<", "<=", ">", ">=", *_SAME)
_LARGEST_WHOLE = 2**53  # beyond it a double, and so a number in JSON, skips whole numbers
_LAST_EPOCH = 2**31 - 1


def parse(text: str) -> Expression:
    """The tree of an expression. Raises ExpressionError."""
    return _Parser(text).whole()


def parse_fields(text: str, *, tags: bool = False) -> dict[str, Field]:
    """The fields that a text lists, as in `best(val_loss), optimizer`, by the names they have in it, each of one value.

    With `tags` there may be `tags` among them, of which a run has any number. Raises ExpressionError.
    """
    parser = _Parser(text)
    found: dict[str, Field] = {}
    while True:
        start = parser.next.start
        shown_as_list = tags and parser.next.kind == "name" and parser.next.value in ("tag", "tags")
        field = Tag() if shown_as_list and parser.take() else parser.single("to show")
        found[text[start : parser.tokens[parser.place - 1].end]] = field
        if not parser.takes(","):
            parser.end("fields stand with commas between them")
            return found


def parse_order(text: str) -> tuple[Field, bool | None]:
    """A field and whether to begin with the largest, as in `best(val_loss) asc`; None: it is not told.

    Raises ExpressionError.
    """
    parser = _Parser(text)
    field = parser.single("to sort by")
    told = {"asc": False, "desc": True}.get(parser.next.value.lower())
    if told is not None:
        parser.take()
    parser.end("sort by one field, and 'asc' or 'desc'")
    return field, told


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.place = 0
        self.depth = 0

    # Tokens

    @property
    def next(self) -> Token:
        return self.tokens[self.place]

    def take(self) -> Token:
        token = self.next
        self.place += token.kind != "end"
        return token

    def takes(self, *words: str) -> bool:
        """Whether the next token is one of these keywords or signs; if so it is taken."""
        found = self.next.kind in ("keyword", "sign") and self.next.value in words
        self.place += found
        return found

    def wrong(self, token: Token, sentence: str) -> ExpressionError:
        return ExpressionError(self.text, token.start, token.end, sentence)

    def expected(self, what: str) -> ExpressionError:
        token = self.next
        got = "the end" if token.kind == "end" else shown(self.text[token.start : token.end])
        return self.wrong(token, f"expected {what}, got {got}")

    def end(self, otherwise: str) -> None:
        if self.next.kind != "end":
            raise self.wrong(self.next, f"{otherwise}; {shown(self.text[self.next.start : self.next.end])} is too much")

    # Expressions

    def whole(self) -> Expression:
        if self.next.kind == "end":
            raise self.wrong(self.next, f"there is nothing here; write for example {EXAMPLE}")
        expression = self.either()
        if self.next.value == ")":
            raise self.wrong(self.next, "this ')' has no '(' before it")
        if self.next.kind != "end":
            raise self.expected("'and', 'or' or the end")
        return expression

    def either(self) -> Expression:
        parts = self.separated(self.both, "or")
        return parts[0] if len(parts) == 1 else Or(parts)

    def both(self) -> Expression:
        parts = self.separated(self.one, "and")
        return parts[0] if len(parts) == 1 else And(parts)

    def separated(self, part: Callable[[], Expression], word: str) -> tuple[Expression, ...]:
        parts = [part()]
        while self.takes(word):
            parts.append(part())
        return tuple(parts)

    def one(self) -> Expression:
        begun = self.next
        if not self.takes("not", "("):
            return self.comparison()
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.wrong(begun, f"nested deeper than {DEEPEST} levels")
        inner: Expression = Not(self.one()) if begun.value == "not" else self.bracketed(begun)
        self.depth -= 1
        return inner

    def bracketed(self, begun: Token) -> Expression:
        inner = self.either()
        self.close(begun, "'and', 'or' or ')'")
        return inner

    def close(self, begun: Token, expected: str) -> None:
        if self.takes(")"):
            return
        raise self.wrong(begun, "this '(' is not closed") if self.next.kind == "end" else self.expected(expected)

    # Comparisons

    def comparison(self) -> Expression:
        start = self.next
        field = self.field()
        if self.takes("is"):
            negative = self.takes("not")
            if not self.takes("null"):
                raise self.expected("'null'" if negative else "'null' or 'not null'")
            return Not(Missing(field)) if negative else Missing(field)
        sign = self.next
        if self.takes("not"):
            if self.next.value not in ("in", "like"):
                raise self.expected("'in' or 'like'")
            sign = self.next
            return self.compared(field, start, sign, f"not {self.take().value}")
        if not self.takes(*_SIGNS, "in", "like"):
            raise self.expected(f"'=' or another comparison after {field}")
        return self.compared(field, start, sign, _SAME.get(sign.value, sign.value))

    def compared(self, field: Field, start: Token, sign: Token, operator: str) -> Expression:
        if operator in ("=", "!=") and self.takes("null"):
            return Missing(field) if operator == "=" else Not(Missing(field))
        self.check(field, start, sign, operator)
        if operator in ("in", "not in"):
            return Comparison(field, operator, self.list(field))
        return Comparison(field, operator, (self.value(field, operator),))

    def check(self, field: Field, start: Token, sign: Token, operator: str) -> None:
        """Raise unless the field can be compared so."""
        if not field.kinds:
            inside = f"name one inside of it, or ask whether it is there by '{field} is not null'"
            raise self.wrong(start, f"{field} is no single value; {inside}")
        if operator in ("like", "not like") and Kind.TEXT not in field.kinds:
            raise self.wrong(sign, f"'like' is for texts, and {field} is {_words(field)}")
        ordered = operator in ("<", "<=", ">", ">=")
        if ordered and (isinstance(field, Tag) or field.kinds == {Kind.TRUTH}):
            raise self.wrong(sign, f"{field} has no order; compare it with = or !=")
        if not ordered and Kind.TIME in field.kinds:
            raise self.wrong(sign, f"no time is met to the microsecond; compare {field} with >= and <")

    def list(self, field: Field) -> tuple[Value, ...]:
        begun = self.next
        if not self.takes("("):
            raise self.expected("a list such as ('a', 'b')")
        found = [self.value(field, "in")]
        while self.takes(","):
            found.append(self.value(field, "in"))
        if not self.takes(")"):
            raise (
                self.wrong(begun, "this '(' is not closed") if self.next.kind == "end" else self.expected("',' or ')'")
            )
        return tuple(found)

    # Fields

    def field(self) -> Field:
        if self.next.kind in ("number", "text"):
            raise self.wrong(self.next, "a comparison begins with a field, then comes the value, as in id > 5")
        if self.next.kind != "name":
            raise self.expected("a field such as val_accuracy")
        name = self.take()
        return self.function(name) if self.takes("(") else fields.field(self.text, name)

    def single(self, purpose: str) -> Field:
        """A field that has one value at most."""
        start = self.next
        field = self.field()
        if isinstance(field, Tag):
            raise self.wrong(start, f"a run may have several tags, so 'tag' is no value {purpose}")
        if not field.kinds:
            raise self.wrong(start, f"{field} is no single value {purpose}; name one inside of it")
        return field

    def function(self, name: Token) -> Field:
        functions = ("best", "last", "at")
        if name.value not in functions:
            near = did_you_mean(name.value, functions)
            raise self.wrong(name, f"there is no function '{name.value}'{near} (known: {listed(functions)})")
        if self.next.kind != "name":
            raise self.expected("the name of a metric")
        metric = self.take()
        if not fields.is_metric(metric.value):
            raise fields.unknown_metric(self.text, metric)
        of = self.epoch() if name.value == "at" else name.value
        if not self.takes(")"):
            raise self.expected("')'")
        return Metric(metric.value, of)

    def epoch(self) -> int:
        if not self.takes(","):
            raise self.expected("',' and an epoch, as in at(loss, 10)")
        if not self.next.value.isdigit() or self.next.kind != "number" or int(self.next.value) > _LAST_EPOCH:
            raise self.expected("an epoch, a whole number")
        return int(self.take().value)

    # Values

    def value(self, field: Field, operator: str) -> Value:
        token = self.next
        if token.kind == "name":
            return self.word(field, token, operator)
        if token.value == "null" and token.kind == "keyword":
            raise self.wrong(token, f"nothing compares with null; write '{field} is null'")
        if token.kind not in ("number", "text") and token.value not in ("true", "false"):
            raise self.expected("a value")
        self.take()
        if token.kind == "number":
            return self.number(field, token)
        if token.kind == "text":
            return self.quoted(field, token, operator)
        if Kind.TRUTH not in field.kinds:
            raise self.mismatch(field, token)
        return token.value == "true"

    def word(self, field: Field, token: Token, operator: str) -> Value:
        """A word without quotes, as in state = queued: a text where texts are compared."""
        if Kind.TEXT not in field.kinds:
            sentence = f"{field} is compared with {_words(field)}, not with another name: '{token.value}'"
            raise self.wrong(token, f"{sentence}; a text stands in quotes")
        self.take()
        return self.quoted(field, token, operator)

    def number(self, field: Field, token: Token) -> Value:
        if not field.kinds & {Kind.NUMBER, Kind.DURATION}:
            raise self.mismatch(field, token)
        number = float(token.value)
        if abs(number) == float("inf"):
            raise self.wrong(token, "this number is too large")
        whole = token.value.lstrip("+-").isdigit() and abs(int(token.value)) <= _LARGEST_WHOLE
        return int(token.value) if whole else number

    def quoted(self, field: Field, token: Token, operator: str) -> Value:
        if Kind.TIME in field.kinds:
            moment = values.moment(token.value, datetime.now().astimezone())
            if moment is None:
                examples = "'2026-11-01', '2026-11-01 12:30', '7 days ago', 'yesterday' or 'now'"
                raise self.wrong(token, f"{shown(token.value)} is no time; write {examples}")
            return moment
        if Kind.DURATION in field.kinds:
            seconds = values.duration(token.value)
            if seconds is None:
                raise self.wrong(token, f"{shown(token.value)} is no duration; write seconds, or '5 min'")
            return seconds
        if Kind.TEXT not in field.kinds:
            raise self.mismatch(field, token)
        if field.choices and token.value not in field.choices and "like" not in operator:
            known = f" (known: {', '.join(field.choices)})" if len(field.choices) <= 16 else ""
            near = did_you_mean(token.value, field.choices)
            raise self.wrong(token, f"{field} is never {shown(token.value)}{near}{known}")
        return token.value

    def mismatch(self, field: Field, token: Token) -> ExpressionError:
        written = self.text[token.start : token.end]
        hint = ""
        if token.kind == "text" and Kind.NUMBER in field.kinds and _is_number(token.value):
            hint = "; remove the quotes"
        elif token.kind == "number" and Kind.TEXT in field.kinds:
            hint = "; put it in quotes"
        return self.wrong(token, f"{field} is {_words(field)} and cannot be compared with {written}{hint}")


def _words(field: Field) -> str:
    return listed(sorted(field.kinds), "or")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
