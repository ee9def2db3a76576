"""Whatever a spec's file, its overrides or a stored document hold: read, or refused in a sentence with a place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from service import assembly, datasets
from service.errors import InputError
from service.spec import Spec, SpecError, document, load, parse
from tests.fuzz import mutations
from tests.yard import ROOT

PIECES = [
    "a: ", "b:\n", "  ", "    - ", ": -", " :", "x: [1, ", "{y: ", " #c\n", "\n", "'it''s'", '"\\x41\\\n  b"', "&b ",
]  # fmt: skip
DOCUMENTS = [yaml.safe_load(text) for text in mutations.EXAMPLES]


@pytest.fixture(autouse=True)
def _beside_the_data(tmp_path, monkeypatch):
    """Relative sources are looked for here, and what a text had executed would be found here."""
    monkeypatch.chdir(tmp_path)
    for file in (ROOT / "examples").glob("*.csv"):
        (tmp_path / file.name).symlink_to(file)
    before = set(tmp_path.iterdir())
    yield
    assert set(tmp_path.iterdir()) - before <= {tmp_path / "job.yaml"}


def judge(make, place="job.yaml"):
    """Make a spec and all that submitting makes of it; whatever is refused is told well."""
    try:
        spec = make()
    except SpecError as error:
        mutations.require_told(error, rf"{place}(:\d+:\d+)?: |--set |…")
        return
    assert Spec.from_document(json.loads(json.dumps(spec.document()))) == spec
    try:
        assembly.check(spec, datasets.load(spec))
    except InputError as error:
        mutations.require_told(error)


@mutations.law(60)
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-16")))
def test_any_bytes_are_read_as_a_spec_or_refused(data):
    Path("job.yaml").write_bytes(data)
    judge(lambda: load("job.yaml"))


@mutations.law(100)
@given(text=st.text(max_size=100) | st.lists(mutations.tokens(), max_size=12).map("".join))
def test_any_text_is_read_as_a_spec_or_refused(text):
    judge(lambda: parse(text, "job.yaml"))


@mutations.law(100)
@given(text=st.sampled_from(mutations.EXAMPLES).flatmap(mutations.damaged_texts))
def test_a_damaged_spec_is_read_or_refused(text):
    judge(lambda: parse(text, "job.yaml"))


@mutations.law(400)
@given(
    text=st.sampled_from(mutations.EXAMPLES).flatmap(mutations.damaged_texts)
    | st.lists(mutations.tokens() | st.sampled_from(PIECES), max_size=8).map("".join)
)
def test_the_fast_parser_reads_what_the_slow_one_reads(text):
    fast, slow = outcome(text, document._parsed), outcome(text, document._slowly)
    assert fast == slow


def outcome(text, parsed):
    """The values with their types and places, or what is wrong."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "_parsed", parsed)
        try:
            return repr(document.read_all(text, "job.yaml"))
        except SpecError as error:
            return str(error)


@mutations.law(20)
@given(data=st.sampled_from(mutations.EXAMPLES).flatmap(lambda text: mutations.damaged(text.encode())))
def test_a_spec_with_damaged_bytes_is_read_or_refused(data):
    Path("job.yaml").write_bytes(data)
    judge(lambda: load("job.yaml"))


@mutations.law(100)
@given(document=st.sampled_from(DOCUMENTS).flatmap(mutations.damaged_documents) | mutations.values())
def test_a_damaged_document_is_read_or_refused(document):
    judge(lambda: Spec.from_document(document, "stored"), "stored")
    judge(lambda: parse(json.dumps(document), "job.yaml"))


PATHS = st.lists(st.sampled_from(mutations.KEYS) | st.sampled_from(["0", "[0]", "[99]", "", "[", "]"]), max_size=4)
OVERRIDES = st.builds(
    lambda path, value: f"{'.'.join(path)}={value}", PATHS, mutations.tokens() | mutations.values().map(json.dumps)
)


@mutations.law(80)
@given(text=st.sampled_from(mutations.EXAMPLES), overrides=st.lists(OVERRIDES | mutations.tokens(), max_size=3))
def test_any_override_is_laid_over_a_spec_or_refused(text, overrides):
    judge(lambda: parse(text, "job.yaml", overrides))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\n"
        + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(24)),
        "&a [*a]",
        "network: " + "[" * 5000,
        "network: " + "{residual: [" * 200,
        "x: " + "9" * 200_000,
        "version: 1e" + "9" * 100,
        "- " * 60_000,
        "? " * 50_000,
        "!!python/object/apply:pathlib.Path.touch ['HACKED']",
        "version: !!python/object/new:os.system [touch HACKED]",
        '"' + "\\x41" * 60_000,
        "#" * 200_000,
        "a: |\n" + "  x\n" * 60_000,
        "- &a a\n" + "- *a\n" * 15_000,
        "a" * 200_000 + ": 1",
        ",".join("{" for _ in range(2000)),
    ],
    ids=lambda text: text[:12],
)
def test_a_text_that_is_made_to_cost_is_refused(text):
    with pytest.raises(SpecError) as refused:
        parse(text, "job.yaml")
    mutations.require_told(refused.value)


def test_a_stored_document_nested_without_end_is_refused():
    network: list[object] = ["relu"]
    for _ in range(3000):
        network = [{"residual": network}]
    with pytest.raises(SpecError):
        Spec.from_document({"version": 1, "data": {"source": "digits"}, "network": network})


def test_marks_that_json_writes_as_pairs_are_one_mark():
    assert parse(json.dumps({"version": 1, "name": "🚂", "data": {"source": "iris"}, "network": []})).name == "🚂"
    for text in ('"\\ud83d"', '{"\\ud83d": 1}', '{"a\\0": 1}'):
        with pytest.raises(SpecError, match="half a surrogate pair"):
            parse(f"[{text}]")
