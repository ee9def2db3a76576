"""Which process runs which tests: files as wholes, and those that share yards as one, so that these start once.

Files come in the order of `testpaths`, which begins with the longest: what begins late and takes long, all wait for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

OWN_YARDS = {"test_compose", "test_demo", "test_endings", "test_prometheus", "test_suspects", "test_yard"}


def unit(file: str) -> str:
    """What is run by one process, of a file's path."""
    path = Path(file)
    return "yards" if path.parent.name == "acceptance" and path.stem not in OWN_YARDS else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class Units(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit(str(super()._split_scope(nodeid)))

    return Units(config, log) if config.getoption("dist") == "loadfile" else None
