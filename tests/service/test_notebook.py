"""The pages on Python and on HTTP are true: what they show runs in a real yard and prints what stands below it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from tests.service import notebook
from tests.yard import ROOT, yard

PAGE = ROOT / "docs" / "how-to" / "use-from-python.md"
OVER_HTTP = ROOT / "docs" / "how-to" / "use-over-http.md"
CURL = re.compile(
    r"^```sh\n(?P<asked>[^`]*\bcurl .*?)^```\n(?:\n```json\n(?P<told>.*?)^```\n)?", re.MULTILINE | re.DOTALL
)


def test_the_snippets_of_the_page_print_what_stands_below_them():
    with notebook.surroundings():
        cells = list(notebook.run(PAGE.read_text(encoding="utf-8")))
    assert len(cells) > 12
    for cell in cells:
        assert notebook.alike(cell.expected, cell.printed), f"{cell.code}\nprinted\n{cell.printed}"


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl and jq are not installed")
def test_the_requests_of_the_page_on_http_are_answered_as_it_says(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    found = list(CURL.finditer(OVER_HTTP.read_text(encoding="utf-8")))
    assert len(found) > 4
    with yard() as there:
        there.up(slots=1)
        for block in found:
            asked = block["asked"].replace("http://127.0.0.1:8750", there.state.web_url)
            command = ["bash", "-o", "pipefail", "-ec", asked]
            printed = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
            ).stdout
            there.completed(*(run.id for run in there.client.runs()))
            answer = json.loads(printed)
            assert "detail" not in answer, f"{asked}\n{printed}"
            if block["told"]:
                assert answer.keys() == json.loads(block["told"]).keys(), f"{asked}\n{printed}"


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
