"""Imports go one way: workers → service → nn; and nothing here can unpickle."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
OURS = {"nn", "service", "workers", "migrations", "tests", "benchmarks"}
MAY_IMPORT = {"nn": {"nn"}, "service": {"nn", "service", "migrations"}, "workers": {"nn", "service", "workers"}}
UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def imports(package: str) -> set[tuple[str, str]]:
    """Every file of a package with the top name of each module it imports, at its top or inside a function."""
    found = set()
    for file in (PROJECT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(), file)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""] if not node.level else [package]
            found |= {(str(file.relative_to(PROJECT)), name.partition(".")[0]) for name in names}
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_one_way(package):
    forbidden = OURS - MAY_IMPORT[package]
    assert {(file, name) for file, name in imports(package) if name in forbidden} == set()


def test_expressions_stand_on_the_store_and_the_spec_alone():
    """They serve the command line, the page and Python alike, so they know none of them."""
    names = set()
    for file in (PROJECT / "service" / "expressions").glob("*.py"):
        found = [node.module for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
        names |= {".".join(name.split(".")[:2]) for name in found if name.startswith("service.")}
    assert names == {"service.errors", "service.expressions", "service.spec", "service.store", "service.wording"}


def test_the_network_needs_numpy_and_nothing_else():
    allowed = sys.stdlib_module_names | {"nn", "numpy"}
    assert {(file, name) for file, name in imports("nn") if name not in allowed} == set()


@pytest.mark.parametrize("package", ["nn", "service", "workers", "migrations"])
def test_nothing_unpickles_anything(package):
    assert {(file, name) for file, name in imports(package) if name in UNPICKLERS} == set()
    sources = {file: file.read_text() for file in (PROJECT / package).rglob("*.py")}
    assert [file for file, source in sources.items() if "allow_pickle=True" in source.replace(" ", "")] == []
