"""What expressions answer: the same on both databases, and the same as plain Python makes of the tree."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, literal, select
from sqlalchemy.orm import Session

from service.errors import InputError
from service.expressions import condition, order, parse, parse_fields, value
from service.expressions.conditions import compiled
from service.expressions.elements import Like
from service.expressions.parser import DEEPEST
from service.expressions.tokens import LONGEST
from service.expressions.tree import Kind
from service.store import history, pages, spec_keys
from service.store.clock import after
from service.store.tables import Metric, Run, State, Summary, Tag
from service.store.transitions import Point
from tests.service.plain_answers import PlainRun, fits, found, kind, matches, of_the_part

NOW = datetime.now(UTC)
HARD = "".join(("abAB01 %_\\*?[]^'\"{},.:$#@-", "äßÉЖЯ中𝄞é\u0301\n\t"))  # a lone accent, and a letter beyond 16 bits

words = st.text(
    st.one_of(st.sampled_from(HARD), st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=6
)
few_words = st.sampled_from(["a", "A", "ab", "aB", "a%", "a_b", "\\", "ä", "adam", "sgd", "balanced", "same", ""])
texts = st.one_of(few_words, words)
numbers = st.one_of(
    st.sampled_from([0, 1, -1, 2, 3, 0.5, 1e-3, -0.0, 2**53, 1e308, 5e-324, -1e300]),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
)
measured = st.one_of(numbers.map(float), st.just(math.nan), st.just(math.inf), st.just(-math.inf))
plain_values = st.one_of(st.none(), st.booleans(), numbers, texts)
json_values = st.one_of(
    plain_values, st.lists(plain_values, max_size=2), st.dictionaries(texts, plain_values, max_size=1)
)
times = st.one_of(
    st.sampled_from([NOW.replace(microsecond=0) - timedelta(days=days) for days in (1, 2, 30)]),
    st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC)),
)


def maybe(**keys):
    """A mapping with some of these keys, or something else in its place."""
    return st.one_of(st.fixed_dictionaries({}, optional=keys), json_values)


layers = st.one_of(
    maybe(dense=maybe(units=json_values, bias=json_values)), maybe(conv2d=maybe(padding=json_values)), json_values
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "seed": json_values,
        "train": maybe(clip_norm=json_values, class_weights=st.one_of(json_values, maybe(a=json_values))),
        "optimizer": st.one_of(
            st.fixed_dictionaries({"adam": maybe(learning_rate=json_values)}),
            st.fixed_dictionaries({"sgd": json_values}),
            json_values,
        ),
        "network": st.one_of(st.lists(layers, max_size=3), json_values),
        "data": maybe(source=json_values, split=maybe(stratify=json_values)),
    },
)
METRICS = ("loss", "val_accuracy")
by_metric = st.dictionaries(st.sampled_from(METRICS), measured)


def numbered(runs):
    for number, run in enumerate(runs, 1):
        run.columns["id"] = number
    return runs


@st.composite
def run(draw):
    started = draw(st.one_of(st.none(), times))
    columns = {
        "name": draw(texts), "state": draw(st.sampled_from([state.value for state in State])), "queue": draw(few_words),
        "priority": draw(st.integers(-3, 3)), "worker": draw(st.one_of(st.none(), texts)),
        "epoch": draw(st.integers(0, 3)), "epochs": draw(st.integers(1, 3)), "attempts": draw(st.integers(0, 2)),
        "cloned_from": draw(st.sampled_from([None, 1])),
        "created": draw(times), "started": started, "error": draw(st.one_of(st.none(), texts)), "dataset": "d" * 64,
        "finished": draw(st.one_of(st.none(), times)), "weights": draw(st.sampled_from([None, "ab12" * 16])),
    }  # fmt: skip
    curves = draw(st.dictionaries(st.tuples(st.sampled_from(METRICS), st.integers(1, 2)), measured, max_size=2))
    tags = frozenset(draw(st.sets(texts, max_size=3)))
    last = draw(by_metric)
    return PlainRun(columns, draw(specs), tags, last, {name: draw(measured) for name in last}, curves)


several = st.lists(run(), min_size=1, max_size=4).map(numbered)


def quoted(text):
    return st.sampled_from(["'", '"']).map(lambda mark: mark + text.replace(mark, mark * 2) + mark)


def written(number):
    return str(number) if isinstance(number, int) else repr(number)


quoted_texts = texts.flatmap(quoted)
written_numbers = numbers.map(written)
named_times = st.sampled_from(["'7 days ago'", "'now'", "'yesterday'", "'2026-11-01'"])
written_times = st.one_of(times.map(lambda time: f"'{time.isoformat()}'"), named_times)
durations = st.sampled_from(["0", "60", "-5", "1e12", "'5 min'", "'2 days 3 h'", "0.25"])
ORDERED, EQUAL = ["<", "<=", ">", ">="], ["=", "!=", "==", "<>"]


def comparisons(fields, operators, values, *, lists=True, like=False):
    """Every way in which fields of a kind are compared."""
    field = st.sampled_from(fields)
    ways = [st.builds("{} {} {}".format, field, st.sampled_from(operators), values)]
    if lists:
        several = st.lists(values, min_size=1, max_size=3).map(", ".join)
        ways.append(st.builds("{} {} ({})".format, field, st.sampled_from(["in", "NOT IN"]), several))
    if like:
        ways.append(st.builds("{} {} {}".format, field, st.sampled_from(["like", "Not Like"]), quoted_texts))
    ways.append(st.builds("{} {}".format, field, st.sampled_from(["is null", "IS NOT NULL", "= null", "!= null"])))
    return st.one_of(ways)


NUMBERS = [
    "id", "priority", "epoch", "epochs", "attempts", "cloned_from", "loss", "val_accuracy", "best(loss)",
    "best(val_accuracy)",
    "last(loss)", "at(loss, 1)", "at(val_accuracy,2)", "test_loss", "seed", "train.clip_norm", "network.layers",
    "train.class_weights.a", "optimizer.adam.learning_rate", "network.0.dense.units", "network[1].dense.units",
    "network.0.conv2d.padding",
]  # fmt: skip
TEXTS = ["name", "queue", "worker", "error", "dataset", "weights", "data.source"]
NAMED = {"optimizer": "adam sgd", "network.0": "dense conv2d", "network[1].conv2d.padding": "same valid",
         "train.class_weights": "balanced", "state": " ".join(State)}  # fmt: skip

atoms = st.one_of(
    comparisons(NUMBERS, EQUAL + ORDERED, written_numbers),
    comparisons(TEXTS, EQUAL + ORDERED, quoted_texts, like=True),
    comparisons(["tag"], EQUAL, quoted_texts, like=True),
    comparisons(["data.split.stratify", "network.0.dense.bias"], EQUAL, st.sampled_from(["true", "FALSE"])),
    comparisons(["created", "started", "finished"], ORDERED, written_times, lists=False),
    comparisons(["duration"], EQUAL + ORDERED, durations),
    *(
        comparisons([field], EQUAL + ORDERED, st.sampled_from(names.split()).flatmap(quoted), like=True)
        for field, names in NAMED.items()
    ),
    st.sampled_from(["train is null", "optimizer.adam is not null", "network = null", "loss.mse is null"]),
    st.sampled_from(["network.0.conv2d.padding in ('same', 1, 2)", "network.0.conv2d.padding not in ('same', 1)"]),
)
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("{} and {}".format, inner, inner),
        st.builds("{} OR {}".format, inner, inner),
        st.builds("not {}".format, inner),
        st.builds("({})".format, inner),
    ),
    max_leaves=4,
)


def store(session: Session, runs: list[PlainRun]) -> None:
    spec_keys.store(session, {run.columns["id"]: run.spec for run in runs})
    names = {"attempts": "attempt", "dataset": "dataset_sha256", "weights": "weights_sha256"}
    for run in runs:
        number = run.columns["id"]
        columns = {names.get(name, name): value for name, value in run.columns.items()}
        session.execute(insert(Run).values(max_attempts=3, **columns))
        for tag in run.tags:
            session.execute(insert(Tag).values(run_id=number, tag=tag))
        for name in run.last:
            both = {"last": run.last[name], "best": run.best[name]}
            session.execute(insert(Summary).values(run_id=number, name=name, last_epoch=1, best_epoch=1, **both))
        for (name, epoch), point in run.curves.items():
            session.execute(insert(Metric).values(run_id=number, name=name, epoch=epoch, value=point))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(several, st.lists(expressions, min_size=1, max_size=6))
def test_the_database_says_what_plain_python_says(yard, runs, texts):
    with Session(yard.database.engine) as session:  # never committed: every example begins with an empty table
        store(session, runs)
        for text in texts:
            tree = parse(text)
            answer = list(session.scalars(select(Run.id).where(compiled(tree)).order_by(Run.id)))
            assert answer == [run.columns["id"] for run in runs if fits(tree, run, datetime.now(UTC))], text
        session.rollback()


FIELDS = [*NUMBERS, *TEXTS, *NAMED, "data.split.stratify", "network.0.dense.bias", "created", "started", "finished"]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(several, st.lists(st.sampled_from(FIELDS), min_size=1, max_size=6))
def test_the_value_of_a_field_is_what_plain_python_finds(yard, runs, names):
    with Session(yard.database.engine) as session:
        store(session, runs)
        for name in names:
            [field] = parse_fields(name).values()
            answer = list(session.scalars(select(value(field)).select_from(Run).order_by(Run.id)))
            assert [nothing_of(found) for found in answer] == [shown(field, run) for run in runs], name
        session.rollback()


ORDERS = [field + way for field in FIELDS if "," not in field for way in ("", " asc", " desc")]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(several, st.sampled_from(ORDERS), expressions, st.integers(1, 3), st.integers(1, 3), st.integers(0, 3))
def test_pages_are_slices_of_what_plain_python_sorts(yard, runs, name, text, size, steps, place):
    """However short the walk along the order is before all that fit are gathered."""
    asked, tree, now = order(name), parse(text), datetime.now(UTC)
    [field] = parse_fields(name.partition(" ")[0]).values()
    fitting = [run for run in runs if fits(tree, run, now)]
    with Session(yard.database.engine) as session, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "STEPS", steps)
        store(session, runs)
        for where, some in ((compiled(tree), fitting), (None, runs)):
            all_of_them = in_order(some, field, descending=asked.descending)
            assert pages.page(session, where, asked) == all_of_them
            found, last = [], None
            while page := pages.page(session, where, asked, last, size):
                assert len(page) == size or len(found) + len(page) == len(all_of_them)
                found += page
                last = page[-1]
            assert found == all_of_them
            for number in all_of_them[place : place + 1]:
                assert pages.page_before(session, where, asked, number, size) == all_of_them[:place][-size:]
        session.rollback()


def in_order(runs, field, *, descending):
    """Those that have a value by it, then those that have none, the newest first."""
    there = [(shown(field, run), run.columns["id"]) for run in runs if shown(field, run) is not None]
    missing = [run.columns["id"] for run in runs if shown(field, run) is None]
    return [number for _, number in sorted(there, reverse=descending)] + missing[::-1]


def nothing_of(value):
    """A metric of nothing comes back as NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


def shown(field, run):
    """A key that may be of several kinds is shown where it is a text."""
    there = of_the_part(field, found(field, run, NOW))
    wanted = Kind.TEXT if Kind.TEXT in field.kinds else next(iter(field.kinds))
    return there if kind(there) is wanted else None


patterns = st.text(st.sampled_from("ab%%_\\*?[]^B"), max_size=6)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(patterns, st.one_of(patterns, words)), min_size=1, max_size=20))
def test_a_pattern_fits_what_it_fits_in_plain_python(database, pairs):
    """Both are made of the characters that mean something to one of the databases, so that they often meet."""
    with database.read() as session:
        answers = session.execute(select(*(Like(literal(text), pattern) for pattern, text in pairs))).one()
    assert [bool(answer) for answer in answers] == [matches(pattern, text) for pattern, text in pairs]


# By hand


def fitting(yard, text):
    return [run.id for run in yard.ask(history.runs, where=condition(text))][::-1]


def ordered(yard, name):
    return [run.id for run in yard.ask(history.runs, order=order(f"{name} desc"))]


def recorded(yard, *points, **changes):
    claim = yard.claimed(**changes)
    yard.record(claim, *(Point(name, epoch, number, higher) for name, epoch, number, higher in points), epoch=3)
    return claim.run_id


def test_the_example_of_the_reference_finds_its_run(yard):
    spec = {"optimizer": {"adam": {"learning_rate": 0.0005}}, "network": [{"dense": {"units": 8}}] * 3}
    run_id = recorded(yard, ("val_accuracy", 1, 0.98, True), tags=["other"], spec=spec)
    yard.submit(tags=["base"])
    text = (
        "val_accuracy > 0.97 and (tag = 'base' or optimizer.adam.learning_rate < 0.001) "
        "and network.layers >= 3 and created > '7 days ago'"
    )
    assert fitting(yard, text) == [run_id]
    assert fitting(yard, f"not ({text})") == [run_id + 1]


def test_a_metric_is_its_last_value_unless_told_otherwise(yard):
    run_id = recorded(yard, ("loss", 1, 0.2, False), ("loss", 2, 0.1, False), ("loss", 3, 0.3, False))
    for text in ("loss = 0.3", "last(loss) = 0.3", "best(loss) = 0.1", "at(loss, 1) = 0.2", "at(loss, 4) is null"):
        assert fitting(yard, text) == [run_id], text
    for text in ("loss = 0.1", "best(loss) != 0.1", "at(loss, 1) = 0.3", "at(loss, 4) < 1", "loss is null"):
        assert fitting(yard, text) == [], text


def test_what_is_missing_satisfies_no_comparison_and_not_turns_that_round(yard):
    nan = recorded(yard, ("loss", 1, math.nan, False))
    half = recorded(yard, ("loss", 1, 0.5, False))
    without = yard.submit()
    for text in ("loss < 1", "loss != 7", "loss not in (7)", "loss is not null"):
        assert fitting(yard, text) == [half], text
        assert fitting(yard, f"not ({text})") == [nan, without], text
    assert fitting(yard, "worker != 'x'") == [nan, half]
    assert fitting(yard, "worker not like 'x' or worker is null") == [nan, half, without]


@pytest.mark.parametrize(
    "text",
    ["worker = 'a'", "error != 'a'", "weights like 'a%'", "started > 'now'", "finished <= 'now'", "duration > 1",
     "cloned_from in (1, 2)"],
)  # fmt: skip
def test_a_run_without_it_fits_the_opposite(yard, text):
    assert fitting(yard, text) == []
    run_id = yard.submit()
    assert fitting(yard, text) == []
    assert fitting(yard, f"not {text}") == [run_id]


def test_a_run_has_a_tag_if_one_of_its_tags_is_it(yard):
    both, other, none = yard.submit(tags=["exp-1", "base"]), yard.submit(tags=["Exp-2"]), yard.submit()
    for text, expected in [
        ("tag = 'base'", [both]),
        ("tag != 'base'", [other, none]),
        ("tag in ('base', 'Exp-2')", [both, other]),
        ("tag not in ('base', 'x')", [other, none]),
        ("tag like 'exp%'", [both]),
        ("tag not like 'exp%'", [other, none]),
        ("tag is null", [none]),
        ("tag = 'base' and tag = 'exp-1'", [both]),
    ]:
        assert fitting(yard, text) == expected, text


def test_a_key_with_values_of_several_kinds_is_compared_with_those_of_one(yard):
    """PostgreSQL would raise an error on casting "balanced" to a number."""
    balanced = yard.submit(spec={"train": {"class_weights": "balanced"}})
    mapping = yard.submit(spec={"train": {"class_weights": {"a": 2.5}}})
    nothing = yard.submit(spec={"train": {"class_weights": None}})
    assert fitting(yard, "train.class_weights = 'balanced'") == [balanced]
    assert fitting(yard, "train.class_weights.a > 2") == [mapping]
    assert fitting(yard, "train.class_weights is not null") == [balanced, mapping]
    assert fitting(yard, "not train.class_weights.a <= 2.5") == [balanced, nothing]


def test_a_part_is_compared_by_its_name_and_its_settings(yard):
    adam = yard.submit(spec={"optimizer": {"adam": {"learning_rate": 0.001}}, "loss": {"mse": {}}})
    sgd = yard.submit(spec={"optimizer": {"sgd": {"learning_rate": 0.1}}, "network": [{"dropout": {"rate": 0.5}}]})
    assert fitting(yard, "optimizer = 'adam'") == [adam]
    assert fitting(yard, "optimizer like 's%'") == [sgd]
    assert fitting(yard, "optimizer.adam.learning_rate = 1e-3") == [adam]
    assert fitting(yard, "optimizer.sgd is null") == [adam]
    assert fitting(yard, "network.0 = 'dropout' and network[0].dropout.rate >= 0.5") == [sgd]
    assert fitting(yard, "loss.mse is not null") == [adam]


def test_a_duration_runs_on_while_the_run_does(yard):
    waiting = yard.submit()
    trains, ended = yard.claimed(queue="a").run_id, yard.claimed(queue="b").run_id
    yard.set(trains, started=after(-7200))
    yard.set(ended, started=after(-7200), finished=after(-7140))
    assert fitting(yard, "duration > '1 h 50 min'") == [trains]
    assert fitting(yard, "duration < 100") == [ended]
    assert fitting(yard, "duration is null") == [waiting]
    assert ordered(yard, "duration") == [trains, ended, waiting]


@pytest.mark.parametrize(
    "text",
    [
        " or ".join(["id=1"] * 500),
        " or ".join(["loss=1"] * 400),
        "id in (1" + ",2" * 1990 + ")",
        "not (" * (DEEPEST // 2) + "tag = 'a'" + ")" * (DEEPEST // 2),
        "tag like '" + "%a" * 1990 + "'",
    ],
    ids=["many comparisons", "many metrics", "a long list", "deep", "a long pattern"],
)
def test_the_largest_expressions_can_be_asked(yard, text):
    """The databases have limits of their own: SQLite takes a thousand terms in a row."""
    assert LONGEST - 50 < len(text) <= LONGEST or text.startswith("not")
    run_id = yard.submit(tags=["a"])
    assert fitting(yard, text) == ([run_id] if text.startswith(("id", "not")) else [])


def test_a_text_of_a_person_stays_a_text(yard):
    name = "x'; DROP TABLE runs; --\\"
    run_id = yard.submit(name=name, queue="100%_sure")
    yard.submit(name="other", queue="100 unsure")
    assert fitting(yard, "name = '" + name.replace("'", "''") + "'") == [run_id]
    assert fitting(yard, r"queue like '100\%\_%'") == [run_id]
    assert fitting(yard, "name = 'other'' OR 1 = 1 --'") == []


def test_runs_are_sorted_by_the_value_of_a_field(yard):
    low = recorded(yard, ("loss", 1, 0.1, False), ("loss", 2, 0.9, False), spec={"seed": 2}, name="b")
    high = recorded(yard, ("loss", 1, 0.5, False), spec={"seed": 10}, name="B")
    none = yard.submit(spec={"seed": "3"}, name="ä", tags=["x"])
    assert ordered(yard, "loss") == [low, high, none]
    assert ordered(yard, "best(loss)") == [high, low, none]
    assert ordered(yard, "seed") == [high, low, none]
    assert ordered(yard, "id") == [none, high, low]
    assert ordered(yard, "name") == [none, low, high]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tag", "a run may have several tags"),
        ("train", "train is no single value to sort by; name one inside of it"),
        ("train.freeze", "train.freeze is no single value"),
        ("val_los", "column 1: there is no field 'val_los'; did you mean 'val_loss'?"),
        ("loss > 1", "column 6: sort by one field, and 'asc' or 'desc'; '>' is too much"),
        ("loss desc, id", "column 10: sort by one field, and 'asc' or 'desc'; ',' is too much"),
        ("", "column 1: expected a field such as val_accuracy, got the end"),
    ],
)
def test_what_is_no_single_value_cannot_be_sorted_by(text, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        order(text)


def test_texts_are_in_the_order_of_their_characters(yard):
    names = ["a", "B", "ä", "Z", "b", "_"]
    numbers = {yard.submit(name=name): name for name in names}
    assert {numbers[run] for run in fitting(yard, "name > 'B'")} == {"a", "ä", "Z", "b", "_"}
    assert [numbers[run] for run in ordered(yard, "name")] == sorted(names, reverse=True)


def test_the_language_of_the_database_does_not_decide_the_order_of_texts(database):
    """The tests' PostgreSQL speaks none, so the statement must show it; SQLite has no other order."""
    for statement in (select(Run.id).where(condition("name > 'B'")), select(order("worker").value)):
        written = str(statement.compile(database.engine))
        assert ('COLLATE "C"' in written) is (database.engine.dialect.name == "postgresql")


def test_a_state_is_written_into_the_statement_for_the_partial_indexes_to_serve(database):
    statement = select(Run.id).where(condition("state = 'queued' or state in ('running')"))
    written = str(statement.compile(database.engine))
    assert "runs.state = 'queued'" in written
    assert "runs.state IN ('running')" in written
