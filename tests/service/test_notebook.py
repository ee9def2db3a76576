"""The page on Python is true: its snippets run from top to bottom in a real yard and print what stands below them."""

from __future__ import annotations

import pytest

from tests.service import notebook
from tests.yard import ROOT

PAGE = ROOT / "docs" / "how-to" / "use-from-python.md"


def test_the_snippets_of_the_page_print_what_stands_below_them():
    with notebook.surroundings():
        cells = list(notebook.run(PAGE.read_text(encoding="utf-8")))
    assert len(cells) > 12
    for cell in cells:
        assert notebook.alike(cell.expected, cell.printed), f"{cell.code}\nprinted\n{cell.printed}"


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("run 3 completed 0.9722", "run 3 completed  0.9667", True),
        ("run 3 completed 0.9722", "run 4 completed 0.9722", False),
        ("run 3 completed 0.9722", "run 3 failed 0.9722", False),
        ("loss 0.5", "loss 0.25", False),
        ("loss 1.0", "loss nan", False),
        ("│ 0.03 ┆ 0.5 │\n└──────┘", "│ 0.029999 ┆ 0.49 │\n└───────────┘", True),
        ("first\n…\nlast", "first\nsecond\nthird\nlast", True),
        ("first\n…\nlast", "first\nsecond\nthird", False),
        ("", "something", False),
    ],
)
def test_outputs_are_alike_where_only_rounding_differs(expected, printed, same):
    assert notebook.alike(expected, printed) is same
