"""What comes from outside, damaged or made up on purpose: bytes, texts, documents, and how many of them are tried."""

from __future__ import annotations

import os
import re
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.yard import ROOT

FACTOR = int(os.environ.get("FUZZ", "1"))  # FUZZ=100 tries a hundred times as much
EXAMPLES = [file.read_text() for file in sorted((ROOT / "examples").glob("*.yaml"))]

KEYS = [
    "version", "name", "data", "source", "target", "features", "task", "split", "validation", "test", "group",
    "column", "seed", "scale", "missing", "one_hot", "augment", "shift", "network", "dense", "units",
    "activation", "dropout", "residual", "layers", "conv2d", "size", "embedding", "loss", "focus", "optimizer",
    "adam", "learning_rate", "schedule", "warmup_cosine", "metrics", "train", "epochs", "batch_size",
    "early_stopping", "monitor", "patience", "freeze", "begin", "run", "priority", "max_attempts",
]  # fmt: skip
TOKENS = [
    "&a ", "*a", "&a [*a, *a]", "<<: *a", "!!python/object/apply:os.system ['touch HACKED']", "!!int x",
    "!!float ''", "!!binary AAAA", "!!timestamp 2001-01-01", "!<tag:yaml.org,2002:python/name:os.system> x",
    "---\n", "...\n", "%YAML 1.1\n", "%YAML 9999999999999999999999.1\n", "%TAG ! tag:x,2000:\n", "? ", ": ",
    "- ", "-", "{", "}", "[", "]", ",", "|\n", ">+9\n", "'", '"', '"\\U0010FFFF"', '"\\UFFFFFFFF"', '"\\ud800"',
    '"\\0"', "#", "\t", "\r\n", "\r", "\x85", "\u2028", "\ufeff", "\x00", "\x1b[31m", "\u202e", "null", "~",
    "true", "yes", ".inf", "-.inf", ".nan", "1e999", "-0.0", "0x" + "f" * 70, "0o777", "9" * 5000, str(2**63),
    str(-(2**63)), "1_000", "0b1", "1:30", "2001-12-14", "[" * 40, "{a: " * 40, "x" * 5_000, "\n", "  ", "é",
    "\U0001f600", "../../etc/passwd", "/dev/zero", "/proc/self/mem", "{}", "[]", "''", "0", "-1", "1.5",
    "1000000000", "data: {source: digits}", "network: [dense: {units: 4}]",
]  # fmt: skip


def law(examples: int) -> settings:
    """So many examples, or a multiple; a hang is for the test's timeout."""
    return settings(deadline=None, max_examples=examples * FACTOR, suppress_health_check=list(HealthCheck))


@st.composite
def damaged(draw: st.DrawFn, data: bytes, most: int = 6) -> bytes:
    """The bytes with some of them changed, removed, doubled, cut off, or replaced by numbers that sizes are made of."""
    whole = bytearray(data)
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, max(0, len(whole) - 1)))
        length = draw(st.sampled_from([1, 1, 1, 2, 4, 8, 64, 1000]))
        match draw(st.sampled_from(["flip", "set", "cut", "remove", "double", "insert", "number"])):
            case "flip" if whole:
                whole[at] ^= 1 << draw(st.integers(0, 7))
            case "set":
                whole[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
            case "cut":
                del whole[at:]
            case "remove":
                del whole[at : at + length]
            case "double":
                whole[at:at] = whole[at : at + length]
            case "insert":
                whole[at:at] = draw(st.binary(max_size=12))
            case "number":
                number = draw(st.sampled_from([0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1]))
                order = draw(st.sampled_from(["little", "big"]))
                whole[at : at + 8] = number.to_bytes(8, order)
    return bytes(whole)


@st.composite
def damaged_texts(draw: st.DrawFn, text: str) -> str:
    """The text with lines and tokens removed, doubled, moved and replaced."""
    lines = text.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, max(0, len(lines) - 1)))
        match draw(st.sampled_from(["delete", "double", "move", "indent", "insert", "replace", "value", "word"])):
            case "delete":
                del lines[at : at + 1]
            case "double":
                lines[at:at] = lines[at : at + 1]
            case "move":
                lines[at:at] = lines[:1]
            case "indent" if lines:
                lines[at] = draw(st.sampled_from([" ", "  ", "\t"])) + lines[at]
            case "insert":
                lines[at:at] = [draw(tokens()) + draw(st.sampled_from(["", "\n"]))]
            case "replace" if lines:
                begin = draw(st.integers(0, len(lines[at])))
                lines[at] = lines[at][:begin] + draw(tokens()) + lines[at][begin + draw(st.integers(0, 8)) :]
            case "value" if lines and ":" in lines[at]:
                lines[at] = lines[at].partition(":")[0] + ": " + draw(tokens()) + "\n"
            case "word" if lines:
                words = lines[at].split(" ")
                words[draw(st.integers(0, len(words) - 1))] = draw(tokens())
                lines[at] = " ".join(words)
    return "".join(lines)


def tokens() -> st.SearchStrategy[str]:
    return st.sampled_from(TOKENS) | st.sampled_from(KEYS) | st.text(max_size=8)


def values() -> st.SearchStrategy[Any]:
    """What YAML and JSON can say, and some of what they cannot."""
    words = st.sampled_from(KEYS) | st.text(max_size=6)
    numbers = st.sampled_from(
        [0, -1, 1, 2, 10**6, 10**9, 2**63, 10**400, 1e308, 1e-320, float("inf"), float("nan"), -0.0]
    )
    leaves = st.none() | st.booleans() | numbers | st.integers() | st.floats() | words
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4), max_leaves=8
    )


@st.composite
def damaged_documents(draw: st.DrawFn, document: Any) -> Any:
    """The document with something anywhere in it removed, replaced or added."""
    made = document
    for _ in range(draw(st.integers(1, 3))):
        made = _changed(draw, made)
    return made


def _changed(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        match draw(st.sampled_from(["inside", "inside", "inside", "inside", "remove", "add"])):
            case "remove":
                return {name: item for name, item in value.items() if name != key}
            case "add":
                return value | {draw(st.sampled_from(KEYS) | st.text(max_size=6)): draw(values())}
        return value | {key: _changed(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        at = draw(st.integers(0, len(value) - 1))
        inner = draw(st.sampled_from([[], [value[at]] * 2, [_changed(draw, value[at])]]))
        return [*value[:at], *inner, *value[at + 1 :]]
    return draw(values())


def require_told(error: Exception, begins: str = "") -> None:
    """A person can read it: lines without a blank one that begin so, nothing in them that moves a terminal's cursor."""
    told = str(error)
    assert 0 < len(told) < 15_000, repr(told)
    for line in told.split("\n"):
        assert line.isprintable(), repr(told)
        assert line.strip(), repr(told)
        assert re.match(begins, line), repr(told)
