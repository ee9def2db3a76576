"""`trainyard demo` in an empty home, as the README's first command runs it."""

from __future__ import annotations

import re

from tests.yard import Yard


def test_the_demo_trains_shows_its_result_and_leaves_nothing_running_also_the_second_time(tmp_path):
    there = Yard(tmp_path / ("a" * 60) / ("b" * 60))  # too long for a socket's path, which is then elsewhere
    try:
        for number in (1, 2):
            shown = there.cli("demo")
            assert shown.returncode == 0, shown.stderr
            found = re.search(rf"run {number} completed: \d+ epochs in .*\n  test accuracy   (0\.\d+)", shown.stdout)
            assert found is not None, shown.stdout
            assert float(found[1]) >= 0.95
            assert re.search(rf"trainyard runs show {number} ", shown.stdout)
            assert "Traceback" not in shown.stdout + shown.stderr
            assert (there.processes(), there.state) == ({}, None)
            assert not there.settings.broker_socket.parent.exists()
        assert [run.tags for run in there.client.runs()] == [("demo",), ("demo",)]
    finally:
        there.end()
