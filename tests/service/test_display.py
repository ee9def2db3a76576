"""The one metric that a list and a sentence show of a run, and tables."""

import contextlib
import io
import re
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from service.cli.output import plain_table, print_table, rich_table
from service.display import headline
from service.store.records import MetricSummary, RunRecord
from service.store.tables import State
from service.wording import nearest


def run(metrics, listed=None, monitor=None):
    stopping = {"monitor": monitor} if monitor else None
    return RunRecord(
        id=1, name="r", state=State.COMPLETED, queue="default", priority=0, tags=(), attempt=1, epoch=3, epochs=3,
        created=datetime.now(UTC), started=None, finished=None, worker="w", error=None,
        spec={"metrics": listed, "train": {"early_stopping": stopping}}, dataset_sha256="d", weights_sha256=None,
        metrics={name: MetricSummary(last=0.5, best=0.5, best_epoch=1) for name in metrics},
    )  # fmt: skip


MEASURED = [f"{part}{name}" for part in ("", "val_", "test_") for name in ("loss", "f1", "r2")] + ["val_roc_auc"]


@pytest.mark.parametrize(
    ("measured", "listed", "monitor", "shown"),
    [
        (MEASURED, ["f1", "r2"], None, "test_f1"),
        (MEASURED, ["r2", "f1"], "val_loss", "test_r2"),
        (MEASURED, ["f1", "roc_auc"], "val_roc_auc", "val_roc_auc"),
        (["loss", "val_loss", "accuracy", "val_accuracy"], None, None, "val_accuracy"),  # a run of version 0.1
        (["loss", "mae"], ["mae"], None, "mae"),
        (["loss", "val_loss"], [], None, "val_loss"),
        ([], ["f1"], None, "-"),
    ],
)
def test_a_run_is_shown_by_what_it_was_to_be_judged_by(measured, listed, monitor, shown):
    assert headline(run(measured, listed, monitor)).split()[0] == shown


@pytest.mark.parametrize(("word", "meant"), [("val", "validation"), ("acc", "accuracy"), ("t", None), ("te", "test")])
def test_the_beginning_of_a_single_name_means_that_name(word, meant):
    assert nearest(word, ["validation", "accuracy", "test", "train"]) == meant


CELLS = st.text(st.sampled_from("ab 1.-…×äé\t\n漢\u0301"), max_size=12) | st.just("word " * 90)


@st.composite
def tables(draw):
    columns = draw(st.lists(st.sampled_from(["", "NAME", ">RUN", "~WHY", ">"]), min_size=1, max_size=4))
    return columns, draw(st.lists(st.tuples(*(CELLS for _ in columns)), max_size=4))


@given(tables())
def test_a_table_of_plain_words_is_the_one_that_rich_makes(table):
    columns, rows = table
    if (lines := plain_table(columns, rows)) is not None:
        assert printed(rich_table, columns, rows) == "\n".join(lines) + "\n"


def test_only_tables_of_plain_words_are_made_without_rich():
    assert plain_table([">RUN", "NAME"], [("1", "a"), ("12", "naïve …")]) is None
    assert plain_table([">RUN", "NAME"], [("1", "a"), ("12", "b …")]) == ["RUN  NAME", "  1  a", " 12  b …"]
    assert printed(print_table, [">RUN", "NAME"], [(1, "漢")]) == "RUN  NAME\n  1  漢\n"


NUMBERS = st.integers(0, 10**13).map(str) | st.floats(-1e9, 1e9).map(lambda value: f"{value:.4g}") | st.just("25 ms")
STATES = st.sampled_from(["completed", "set aside", "900000/900000", "test_accuracy 0.9667"])
WORDS = st.text(st.sampled_from("abc漢-"), max_size=50)
KINDS = {">": NUMBERS, "": STATES, "<": WORDS, "~": st.lists(WORDS, max_size=20).map(" ".join)}
HEADINGS = st.sampled_from(["RUN", "optimizer.adam.learning_rate", "best(val_loss)", "AT EPOCH", "a" * 30, ""])


@st.composite
def wide_tables(draw):
    marks = draw(st.lists(st.sampled_from(list(KINDS)), max_size=14))
    rows = draw(st.lists(st.tuples(NUMBERS, *(KINDS[mark] for mark in marks)), min_size=1, max_size=4))
    return [">RUN", *(mark + draw(HEADINGS) for mark in marks)], rows


@given(wide_tables(), st.integers(40, 200))
def test_a_terminal_shows_numbers_and_states_whole_in_lines_that_fit(table, width):
    """A cell may stand in several lines, between blanks; then its words are whole."""
    columns, rows = table
    lines = in_terminal(columns, rows, width)
    assert max(map(cell_len, lines)) <= width
    words = Counter(word for line in lines for word in line.split())
    shown = [row[place] for row in rows for place, column in enumerate(columns) if column[:1] not in ("<", "~")]
    assert Counter(word for cell in shown for word in cell.split()) <= words
    headings = "".join(column.lstrip("<>~") for column in columns)
    assert Counter(headings.replace(" ", "")) <= Counter("".join(lines))


def test_a_table_too_wide_for_a_terminal_goes_on_below_and_repeats_its_first_column():
    columns = [">RUN", "<NAME", "STATE", "optimizer.adam.learning_rate", ">test_accuracy"]
    rows = [("1", "a-name-that-is-long", "completed", "25 ms", "0.9667"), ("12", "b", "failed", "-", "0.5")]
    assert in_terminal(columns, rows, 40) == [
        "                             optimizer.",
        "                             adam.",
        "                             learning_",
        "RUN  NAME         STATE      rate",
        "  1  a-name-tha…  completed  25 ms",
        " 12  b            failed     -",
        "",
        "RUN  test_accuracy",
        "  1         0.9667",
        " 12            0.5",
    ]


def in_terminal(columns, rows, width):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", str(width))):
            patch.setenv(name, value)
        shown = printed(print_table, columns, rows)
    return [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()]


def printed(table, *arguments):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        table(*arguments)
    return out.getvalue()
