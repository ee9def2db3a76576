"""The language of `--where`: what a text means, and what is told of one that means nothing."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InputError
from service.expressions import Expression, ExpressionError, parse
from service.expressions.fields import COLUMNS
from service.expressions.keys import known_keys
from service.expressions.parser import DEEPEST
from service.expressions.reference import FIELDS, OPERATORS, examples
from service.expressions.tokens import LONGEST
from service.expressions.tree import And, Column, Comparison, Key, Kind, Layers, Metric, Missing, Not, Or, Tag
from service.spec import load
from service.store.tables import State
from tests.yard import ROOT

ID, TAG, QUEUE = COLUMNS["id"], Tag(), COLUMNS["queue"]


def one(number: int) -> Comparison:
    return Comparison(ID, "=", (number,))


def wrong(text: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert isinstance(caught.value, InputError)
    assert caught.value.exit_code == 2
    return caught.value


def marked(error: ExpressionError) -> str:
    """What stands above the carets."""
    _, text, carets = str(error).split("\n")
    return text[carets.index("^") : carets.rindex("^") + 1]


# What texts mean


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("id = 1", one(1)),
        ("id == 1", one(1)),
        ("id <> 1", Comparison(ID, "!=", (1,))),
        ("id>-1", Comparison(ID, ">", (-1,))),
        ("id = 1e-3", Comparison(ID, "=", (0.001,))),
        ("id = .5", Comparison(ID, "=", (0.5,))),
        ("id = 9007199254740993", Comparison(ID, "=", (9007199254740992.0,))),
        ("ID = 1".lower(), one(1)),
        ("id IN (1, 2)", Comparison(ID, "in", (1, 2))),
        ("tag Not In ('a')", Comparison(TAG, "not in", ("a",))),
        ("tag like 'a%'", Comparison(TAG, "like", ("a%",))),
        ("tag NOT LIKE 'a%'", Comparison(TAG, "not like", ("a%",))),
        ("tag is null", Missing(TAG)),
        ("tag is not null", Not(Missing(TAG))),
        ("tag = null", Missing(TAG)),
        ("tag != null", Not(Missing(TAG))),
        ("tag = 'it''s'", Comparison(TAG, "=", ("it's",))),
        ('tag = "it\'s"', Comparison(TAG, "=", ("it's",))),
        ('tag = "a ""b"""', Comparison(TAG, "=", ('a "b"',))),
        (r"tag = 'a\'", Comparison(TAG, "=", ("a\\",))),
        ("tag = ''", Comparison(TAG, "=", ("",))),
        ("state = 'queued'", Comparison(COLUMNS["state"], "=", ("queued",))),
    ],
)
def test_a_comparison_is_read(text, meaning):
    assert parse(text) == meaning


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("id = 1 and id = 2 or id = 3", Or((And((one(1), one(2))), one(3)))),
        ("id = 1 or id = 2 and id = 3", Or((one(1), And((one(2), one(3)))))),
        ("id = 1 and (id = 2 or id = 3)", And((one(1), Or((one(2), one(3)))))),
        ("not id = 1 and id = 2", And((Not(one(1)), one(2)))),
        ("not (id = 1 and id = 2)", Not(And((one(1), one(2))))),
        ("not not id = 1", Not(Not(one(1)))),
        ("((id = 1))", one(1)),
        ("id = 1 and id = 2 and id = 3", And((one(1), one(2), one(3)))),
        ("\n id\t=\n1 ", one(1)),
    ],
)
def test_not_binds_before_and_and_before_or(text, meaning):
    assert parse(text) == meaning


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("val_accuracy", Metric("val_accuracy")),
        ("last(loss)", Metric("loss")),
        ("best(test_f1)", Metric("test_f1", "best")),
        ("at(val_top_7, 10)", Metric("val_top_7", 10)),
        ("network.layers", Layers()),
        ("train.batch_size", Key(("train", "batch_size"), frozenset({Kind.NUMBER}))),
        ("train.clip_norm", Key(("train", "clip_norm"), frozenset({Kind.NUMBER}))),
        ("network.0.dense.units", Key(("network", 0, "dense", "units"), frozenset({Kind.NUMBER}))),
        ("network[0].dense.units", Key(("network", 0, "dense", "units"), frozenset({Kind.NUMBER}))),
        (
            "network.2.residual.layers.0.dropout.rate",
            Key(("network", 2, "residual", "layers", 0, "dropout", "rate"), frozenset({Kind.NUMBER})),
        ),
        ("train.class_weights.7", Key(("train", "class_weights", "7"), frozenset({Kind.NUMBER}))),
    ],
)
def test_a_field_is_read(name, field):
    assert parse(f"{name} > 1") == Comparison(field, ">", (1,))


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_can_be_asked_for(name):
    assert parse(f"{name} is not null") == Not(Missing(COLUMNS[name]))


def test_a_key_of_names_knows_them():
    optimizer = parse("optimizer = 'adam'").field
    assert optimizer.named
    assert {"adam", "sgd"} < set(optimizer.choices)
    assert parse("network.0.conv2d.padding = 'same'").field.kinds == {Kind.TEXT, Kind.NUMBER}


@pytest.mark.parametrize("file", ["digits", "convolution", "flats", "turned"])
def test_every_key_of_a_stored_spec_can_be_asked_for(file):
    """Whatever `Spec.document()` holds is known by its path; the loss is a metric, and its settings are not."""
    paths = list(leaves(load(ROOT / "examples" / f"{file}.yaml").document()))
    assert len(paths) > 40
    for path in paths:
        assert parse(f"{path} is null")


def leaves(value, path=""):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if path:
        yield path
    for key, inner in items:
        yield from leaves(inner, f"{path}.{key}".lstrip("."))


def test_the_keys_that_are_listed_can_be_compared():
    names = [str(key) for key in known_keys()]
    assert {"train.batch_size", "optimizer.adam.learning_rate", "data.source", "optimizer", "seed"} < set(names)
    assert len(set(names)) == len(names)
    for name in names:
        assert isinstance(parse(f"{name} is null"), Missing)


# The reference


@pytest.mark.parametrize("text", examples())
def test_every_example_of_the_reference_is_an_expression(text):
    assert isinstance(parse(text), Expression)


def test_the_reference_tells_of_every_field_and_operator():
    assert set(FIELDS) == {*COLUMNS, "tag"}
    for name, (_, example) in FIELDS.items():
        assert str(parse(example).field) == name
    told = {operator for names, _, _ in OPERATORS for operator in re.findall("`([^`]+)`", names)}
    signs = ["=", "==", "!=", "<>", "<", "<=", ">", ">="]
    assert told == {*signs, *["in", "not in", "like", "not like", "is null", "is not null", "not", "and", "or", "( )"]}


# Times and durations


def moment(text: str) -> datetime:
    [value] = parse(f"created > '{text}'").values
    return value


def test_dates_without_a_zone_are_of_this_machine():
    assert moment("2026-11-01") == datetime(2026, 11, 1).astimezone()
    assert moment("2026-11-01 12:30") == datetime(2026, 11, 1, 12, 30).astimezone()
    assert moment("2026-11-01T12:30:05.25Z").isoformat() == "2026-11-01T12:30:05.250000+00:00"
    assert moment("2026-11-01 12:30+02:00").isoformat() == "2026-11-01T12:30:00+02:00"


def test_times_are_told_as_people_do():
    before = datetime.now().astimezone()
    found = {text: moment(text) for text in ("now", "7 days ago", "2 h 30 min ago", "Yesterday", "today")}
    after = datetime.now().astimezone()
    assert before <= found["now"] <= after
    assert before <= found["7 days ago"] + timedelta(days=7) <= after
    assert before <= found["2 h 30 min ago"] + timedelta(hours=2.5) <= after
    midnights = [found["Yesterday"], found["today"]]
    assert all((time.hour, time.minute, time.second, time.microsecond) == (0, 0, 0, 0) for time in midnights)
    assert (found["today"].date() - found["Yesterday"].date()).days == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0.5", 0.5), ("'5 min'", 300), ("'2 h'", 7200), ("'2h30m'", 9000), ("'1 day 1 s'", 86_401),
     ("'250 ms'", 0.25), ("'1.5 Weeks'", 907_200)],
)  # fmt: skip
def test_durations_are_seconds_or_have_a_unit(text, seconds):
    assert parse(f"duration < {text}").values == (seconds,)


# What is wrong


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        ("val_acuracy > 1", "val_acuracy", "there is no field 'val_acuracy'; did you mean 'val_accuracy'?"),
        ("tags = 'a'", "tags", "there is no field 'tags'; did you mean 'tag'?"),
        ("batch_size = 3", "batch_size", "there is no field 'batch_size'; did you mean 'train.batch_size'?"),
        ("learning_rate < 1", "learning_rate", "there is no field 'learning_rate'; did you mean 'optimizer.sgd.learn"),
        ("xyzzy.a = 1", "xyzzy", "there is no field 'xyzzy'"),
        ("train.batchsize = 3", "batchsize", "there is no 'batchsize' in train; did you mean 'train.batch_size'?"),
        ("optimizer.adm.beta1 > 0", "adm", "there is no 'adm' in optimizer; did you mean 'optimizer.adam'?"),
        ("seed.a = 3", "a", "there is nothing inside seed, which is a number"),
        ("network.dense.units = 3", "dense", "network is a list; name an item by its number from 0, as in network[0]"),
        ("network.10001 = 'dense'", "10001", "no list has so many items; name one from 0 to 10,000"),
        ("train > 3", "train", "train is no single value; name one inside of it"),
        ("train.freeze = 3", "train.freeze", "train.freeze is no single value"),
        ("worst(loss) > 1", "worst", "there is no function 'worst' (known: best, last and at)"),
        ("best(los) > 1", "los", "there is no metric 'los'; did you mean 'loss'?"),
        ("best(3) > 1", "3", "expected the name of a metric, got '3'"),
        ("best(loss > 1", ">", "expected ')', got '>'"),
        ("at(loss) > 1", ")", "expected ',' and an epoch, as in at(loss, 10), got ')'"),
        ("at(loss, 1.5) > 1", "1.5", "expected an epoch, a whole number, got '1.5'"),
        ("at(loss, 99999999999) > 1", "99999999999", "expected an epoch, a whole number"),
        (
            "state = 'complete'",
            "'complete'",
            "state is never 'complete'; did you mean 'completed'? (known: qu",
        ),
        ("state in ('queued', 'x')", "'x'", "state is never 'x' (known: "),
        ("network.0 = 'dence'", "'dence'", "network.0 is never 'dence'; did you mean 'dense'?"),
        ("loss > '0.5'", "'0.5'", "loss is a number and cannot be compared with '0.5'; remove the quotes"),
        ("loss > 'low'", "'low'", "loss is a number and cannot be compared with 'low'"),
        ("loss = true", "true", "loss is a number and cannot be compared with true"),
        ("name = 5", "5", "name is a text and cannot be compared with 5; put it in quotes"),
        ("data.split.stratify = 1", "1", "data.split.stratify is true or false and cannot be compared with 1"),
        ("data.split.stratify > true", ">", "data.split.stratify has no order; compare it with = or !="),
        ("tag > 'a'", ">", "tag has no order; compare it with = or !="),
        ("loss like 'a'", "like", "'like' is for texts, and loss is a number"),
        ("loss > null", "null", "nothing compares with null; write 'loss is null'"),
        ("loss in (1, null)", "null", "nothing compares with null; write 'loss is null'"),
        ("created = '2026-11-01'", "=", "no time is met to the microsecond; compare created with >= and <"),
        ("created in ('2026-11-01')", "in", "no time is met to the microsecond"),
        ("created > '3 months ago'", "'3 months ago'", "'3 months ago' is no time; write '2026-11-01', "),
        ("created > '2026-13-01'", "'2026-13-01'", "'2026-13-01' is no time"),
        ("created > '99999999999 days ago'", "'99999999999 days ago'", "'99999999999 days ago' is no time"),
        ("created > 5", "5", "created is a time and cannot be compared with 5"),
        ("duration > '5 furlongs'", "'5 furlongs'", "'5 furlongs' is no duration; write seconds, or '5 min'"),
        ("(id = 5", "(", "this '(' is not closed"),
        ("id in (5", "(", "this '(' is not closed"),
        ("(id = 5 id", "id", "expected 'and', 'or' or ')', got 'id'"),
        ("id = 5)", ")", "this ')' has no '(' before it"),
        ("tag = 'abc", "'abc", "this text does not end; it needs another ' where it does"),
        ("id = 5 name = 'x'", "name", "expected 'and', 'or' or the end, got 'name'"),
        (
            "loss = base",
            "base",
            "loss is compared with a number, not with another name: 'base'; a text stands in quotes",
        ),
        ("state = complete", "complete", "state is never 'complete'; did you mean 'completed'?"),
        ("tag in ()", ")", "expected a value, got ')'"),
        ("tag in ('a',)", ")", "expected a value, got ')'"),
        ("tag in ('a' 'b')", "'b'", "expected ',' or ')', got \"'b'\""),
        ("tag in 'a'", "'a'", "expected a list such as ('a', 'b')"),
        ("id = 5min", "5min", "'5min' is no number; put a text in quotes"),
        ("id = 1.2.3", "1.2.3", "'1.2.3' is no number"),
        ("id = 1e999", "1e999", "this number is too large"),
        ("0.97 < loss", "0.97", "a comparison begins with a field, then comes the value, as in id > 5"),
        ("id = 5 && id = 6", "&", "unexpected '&'; write 'and'"),
        ("!(id = 5)", "!", "unexpected '!'; write 'not', or != for 'is not'"),
        ("tag = “a”", "“", "unexpected '“'; quote texts with ' or \""),
        ("id is 5", "5", "expected 'null' or 'not null', got '5'"),
        ("id is not 5", "5", "expected 'null', got '5'"),
        ("id not 5", "5", "expected 'in' or 'like', got '5'"),
        ("id (5)", "id", "there is no function 'id' (known: best, last and at)"),
        ("tag and id = 5", "and", "expected '=' or another comparison after tag, got 'and'"),
        ("and id = 5", "and", "expected a field such as val_accuracy, got 'and'"),
        ("tag = 'a\0'", " ", "the character U+0000 cannot be stored, so no run has it"),
        ("tag = 'a\udcff'", " ", "the character U+DCFF cannot be stored, so no run has it"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(text, place, sentence):
    error = wrong(text)
    assert error.sentence.startswith(sentence)
    assert marked(error) == place
    assert str(error).startswith(f"column {error.column}: {sentence}")
    assert error.column == str(error).split("\n")[2].index("^") - 1


@pytest.mark.parametrize("text", ["id = 5 and", "id =", "id", "not", "id = 5 or not", "id in", "id is", "id not"])
def test_an_end_that_comes_too_soon_is_told_behind_the_text(text):
    error = wrong(text)
    assert error.sentence.endswith("got the end")
    assert error.column == len(text) + 1


@pytest.mark.parametrize("text", ["", "  \n"])
def test_nothing_is_no_expression(text):
    assert str(wrong(text)).endswith(
        "there is nothing here; write for example val_accuracy > 0.9 and state = 'completed'"
    )


def test_a_long_expression_is_shown_around_the_fault():
    text = " and ".join(f"id = {number}" for number in range(100)).replace("id = 50 ", "\tidd\n= 50 ")
    sentence, shown, carets = str(wrong(text)).split("\n")
    assert "there is no field 'idd'; did you mean 'id'?" in sentence
    assert shown.startswith("  …")
    assert shown.endswith("…")
    assert len(shown) < 80
    assert shown[carets.index("^") : carets.rindex("^") + 1] == "idd"


@pytest.mark.parametrize("around", [("(", ")"), ("not ", ""), ("not (", ")")])
def test_nesting_is_bounded(around):
    before, after = around
    levels = DEEPEST // (before.count("not") + before.count("("))
    assert parse(before * levels + "id = 1" + after * levels)
    assert f"nested deeper than {DEEPEST} levels" in str(wrong(before * (levels + 1) + "id = 1" + after * (levels + 1)))


def test_length_is_bounded():
    assert parse("id = 1".ljust(LONGEST))
    assert "longer than 4,000 characters" in str(wrong("id = 1".ljust(LONGEST + 1)))


# Whatever is written

PIECES = [
    "id", "tag", "state", "loss", "train.epochs", "network.0", "best", "at", "(", ")", ",", "=", "!=", "<", "in", "not",
    "like", "is", "null", "and", "or", "true", "1", "-2.5e3", "'a'", "'queued'", "''", '"', "'", "%", ".", "[0]", "é",
]  # fmt: skip


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join)))
def test_any_text_is_an_expression_or_an_error_with_its_place(text):
    answer = parsed(text)
    if isinstance(answer, ExpressionError):
        assert 1 <= answer.column <= len(text) + 1
        assert re.match(rf"column {answer.column}: \S", str(answer))
    else:
        assert isinstance(answer, Expression)


def parsed(text: str) -> Expression | ExpressionError:
    try:
        return parse(text)
    except ExpressionError as error:
        return error


def test_the_states_are_those_of_the_store():
    assert COLUMNS["state"] == Column("state", Kind.TEXT, tuple(state.value for state in State))


def test_a_word_without_quotes_is_a_text_where_texts_are_compared():
    for with_it, without in (("state = 'queued'", "state = queued"), ("tag in ('a', 'b')", "tag in (a, b)")):
        assert parse(with_it) == parse(without)
