"""YAML as the spec reads it: the core schema of YAML 1.2, places, limits."""

import pytest

from service.spec import SpecError, document
from service.spec.document import MOST_CHARACTERS, read, read_all


def values(text):
    return read(text, "s.yaml").values


def complaint(text):
    with pytest.raises(SpecError) as caught:
        read(text, "s.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-7", -7),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("True", True),
        ("2020-01-01", "2020-01-01"),
        ("12:30:00", "12:30:00"),
        ("~", None),
        ("", None),
        ('"5"', "5"),
        ('{"a": [1, true, null]}', {"a": [1, True, None]}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    assert values(text) == value
    assert type(values(text)) is type(value)


def test_places_are_those_of_keys_and_values():
    found = read("a: 1\nb:\n  - c: x\n    d: y\n", "s.yaml")
    assert str(found.problem(("b", 0, "d"), "wrong")) == "s.yaml:4:8: b[0].d: wrong"
    assert str(found.problem(("b", 0, "d"), "wrong", at_key=True)) == "s.yaml:4:5: b[0].d: wrong"
    assert str(found.problem(("b", 0, "missing", "deeper"), "wrong")) == "s.yaml:3:5: b[0].missing.deeper: wrong"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "s.yaml:1:9: a '[' is not closed, or a ',' is missing"),
        ("a: 1\n\tb: 2", "s.yaml:2:1: this character cannot begin a value here"),
        ("a: b: c", "s.yaml:1:5: a ':' cannot stand here"),
        ("a: 1\na: 2", "s.yaml:2:1: key 'a' stands here a second time (first in line 1); remove one"),
        ("a: 'x", "a quoted text is not closed"),
        ("a: *x", "s.yaml:1:4: this alias (*name) has no anchor"),
        ("a: 1\n---\nb: 2", "a spec is a single document"),
        ("? [1]\n: 2", "s.yaml:1:3: a key must be a word, got a list or mapping"),
        ("1: 2", "s.yaml:1:1: a key must be a word, got 1; put it in quotes"),
        ("a: .nan", "s.yaml:1:4: a: expected a finite number, got '.nan'"),
        ("a: -.inf", "s.yaml:1:4: a: expected a finite number, got '-.inf'"),
        ("a: 1e999", "s.yaml:1:4: a: expected a finite number"),
        ("a: " + "9" * 5000, "s.yaml:1:4: a: "),
        ("a: 9223372036854775808", "s.yaml:1:4: a: this whole number is too large"),
        ("a: !!python/object:os.system x", "s.yaml:1:4: a: the tag '!!python/object:os.system' is not supported"),
        ("a: !!int x", "cannot be read"),
        ('a: "\\0"', "s.yaml:1:4: a: the text holds a NUL"),
        ('a: "\\ud800"', "half a surrogate pair"),
        ('a: "\\UFFFFFFFF"', "out of range"),
        ("a: x\x07", "s.yaml:1:5: the character U+0007 may not stand in a text file"),
        ("[" * 100, "nested deeper than 32 levels"),
        ("[" + "1," * 20_000 + "]", "s.yaml:1:40002: more than 20000 values"),
        ("a: &a [*a]", "more than 32 levels once its aliases are expanded"),
        ("x" * (MOST_CHARACTERS + 1), "s.yaml: longer than 256 KiB"),
    ],
)
def test_what_is_not_plain_yaml_is_told_with_its_place(text, message):
    assert message in complaint(text)


def test_a_billion_laughs_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "more than 20000 values once its aliases are expanded" in complaint("\n".join(lines))


def test_all_problems_of_a_document_are_told_at_once():
    assert len(complaint("a: .nan\nb: .inf\na: 1").splitlines()) == 3


@pytest.mark.parametrize("text", ["a: {b: 1}\n---\na: [é, '', 97 % of]\n", '{"a": [1, "\\u00e9"]}'])
def test_usual_texts_are_read_by_the_fast_parser_alone(text, monkeypatch):
    monkeypatch.setattr(document, "_slowly", None)
    assert read_all(text, "s.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "a\t",
        "? a\n: b",
        "a: {b: }",
        "a:\n---\n",
        "a: |1#\n b",
        "[!~!str]",
        "\n\ufeff",
        "a: \xa0b",
        "a:\r\n  b: 1",
        "a: > \n  b",
    ],
)
def test_the_fast_parser_leaves_what_it_may_read_differently_to_the_slow_one(text):
    def outcome(parsed):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(document, "_parsed", parsed)
            try:
                return read_all(text, "s.yaml")
            except SpecError as error:
                return str(error)

    assert outcome(document._parsed) == outcome(document._slowly)
