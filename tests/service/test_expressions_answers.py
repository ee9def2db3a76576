"""What expressions answer: the same on both databases, and the same as plain Python makes of the tree."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from service.expressions import parse
from service.expressions.conditions import compiled
from service.store.tables import Metric, Run, State, Summary, Tag
from tests.service.plain_answers import PlainRun, fits

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


@st.composite
def runs(draw):
    started = draw(st.one_of(st.none(), times))
    columns = {
        "name": draw(texts), "state": draw(st.sampled_from([state.value for state in State])), "queue": draw(few_words),
        "priority": draw(st.integers(-3, 3)), "worker": draw(st.one_of(st.none(), texts)),
        "epoch": draw(st.integers(0, 3)), "epochs": draw(st.integers(1, 3)), "attempts": draw(st.integers(0, 2)),
        "created": draw(times), "started": started, "error": draw(st.one_of(st.none(), texts)), "dataset": "d" * 64,
        "finished": draw(st.one_of(st.none(), times)), "weights": draw(st.sampled_from([None, "ab12" * 16])),
    }  # fmt: skip
    curves = draw(st.dictionaries(st.tuples(st.sampled_from(METRICS), st.integers(1, 2)), measured, max_size=2))
    tags = frozenset(draw(st.sets(texts, max_size=3)))
    last = draw(by_metric)
    return PlainRun(columns, draw(specs), tags, last, {name: draw(measured) for name in last}, curves)


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
    "id", "priority", "epoch", "epochs", "attempts", "loss", "val_accuracy", "best(loss)", "best(val_accuracy)",
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
    names = {"attempts": "attempt", "dataset": "dataset_sha256", "weights": "weights_sha256"}
    for number, run in enumerate(runs, 1):
        columns = {names.get(name, name): value for name, value in run.columns.items()}
        session.execute(insert(Run).values(spec=run.spec, max_attempts=3, **columns))
        for tag in run.tags:
            session.execute(insert(Tag).values(run_id=number, tag=tag))
        for name in run.last:
            both = {"last": run.last[name], "best": run.best[name]}
            session.execute(insert(Summary).values(run_id=number, name=name, last_epoch=1, best_epoch=1, **both))
        for (name, epoch), value in run.curves.items():
            session.execute(insert(Metric).values(run_id=number, name=name, epoch=epoch, value=value))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(runs(), min_size=1, max_size=4), st.lists(expressions, min_size=1, max_size=6))
def test_the_database_says_what_plain_python_says(yard, runs, texts):
    for number, run in enumerate(runs, 1):
        run.columns["id"] = number
    with Session(yard.database.engine) as session:  # never committed: every example begins with an empty table
        store(session, runs)
        for text in texts:
            tree = parse(text)
            answer = list(session.scalars(select(Run.id).where(compiled(tree)).order_by(Run.id)))
            now = datetime.now(UTC)
            assert answer == [number for number, run in enumerate(runs, 1) if fits(tree, run, now)], text
        session.rollback()
