"""YAML text to plain values, remembering where each key and value stands.

Scalars follow the core schema of YAML 1.2, so `1e-3` is a number and `no` and `on` are words, which YAML 1.1 (and so
PyYAML by itself) reads the other way round. JSON is YAML. Nothing but mappings, lists, texts, numbers, true, false and
null comes out, whatever tags the text carries, and its size is bounded before and after aliases are expanded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml
from yaml.composer import Composer
from yaml.resolver import Resolver

from service.spec.errors import Path, Problem, SpecError
from service.wording import shown

try:
    from yaml import CSafeLoader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as CSafeLoader  # type: ignore[assignment]

MOST_CHARACTERS = 256 * 1024
MOST_CHARACTERS_OF_MANY = 64 * MOST_CHARACTERS  # of a file with several documents
MOST_NODES = 20_000  # after expanding aliases, too: ten lines of aliases to aliases can mean a billion values
MOST_LEVELS = 32

_TAG = "tag:yaml.org,2002:"
_Nodes = TypeVar("_Nodes")
_UNSTORABLE = "a NUL or half a surrogate pair, which cannot be stored"


class _Composer(Composer, Resolver):
    """Nodes of events, with other rules for plain scalars and limits on nesting and on the number of values."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own way of overriding
    level = nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.level, self.nodes = self.level + 1, self.nodes + 1
        if self.level > MOST_LEVELS or self.nodes > MOST_NODES:
            deep = self.level > MOST_LEVELS
            problem = f"nested deeper than {MOST_LEVELS} levels" if deep else f"more than {MOST_NODES} values"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.mark())
        node = super().compose_node(parent, index)
        self.level -= 1
        return node

    def mark(self) -> yaml.Mark | None:
        """Where the reading stands."""
        return None

    def every_node(self) -> list[yaml.Node]:
        """The documents of the stream; the limits hold for each."""
        found = []
        while self.check_node():
            self.level = self.nodes = 0
            node = self.get_node()
            assert node is not None  # after check_node
            found.append(node)
        return found


for _name, _pattern, _first in (
    ("null", r"(~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("bool", r"(true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    ("int", r"([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z", list("-+0123456789")),
    (
        "float",
        r"([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z",
        list("-+.0123456789"),
    ),
):
    _Composer.add_implicit_resolver(_TAG + _name, re.compile(_pattern), _first)


class _Loader(_Composer, yaml.SafeLoader):
    """PyYAML's scanner and parser in Python, which say what is wrong and where."""

    def mark(self) -> yaml.Mark:
        return self.get_mark()


class _FastLoader(_Composer, CSafeLoader):
    """PyYAML's parser in C, for texts that both read alike. It raises an error where `_Loader` has to look."""

    def __init__(self, text: str) -> None:
        if _UNLIKE.search(text):
            raise yaml.YAMLError
        CSafeLoader.__init__(self, text)
        Composer.__init__(self)

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if not node.value and not node.style:  # nothing is there, and the two differ on where
            raise yaml.YAMLError
        return node


# What the two parsers may read differently: tabs and other blanks, block texts, tags, and keys that begin with '?'.
_UNLIKE = re.compile("[^\n -~\u00a1-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\uffef\U00010000-\U0010ffff]|[?!|>]")


@dataclass(frozen=True)
class Mark:
    """Where a key and its value begin, counted from 1. A list item's key is the item itself."""

    key: tuple[int, int]
    value: tuple[int, int]


@dataclass
class Document:
    """The values of a text, and the place of every path in it; overrides of the command line are places too.

    `combination` tells apart many that were made of the same text, see SpecError.
    """

    source: str
    values: Any = None
    marks: dict[Path, Mark] = field(default_factory=dict)
    overridden: dict[Path, str] = field(default_factory=dict)
    combination: str = ""

    def problem(self, path: Path, sentence: str, at_key: bool = False) -> Problem:
        """A problem at `path`, placed at the deepest part of it that was written; at its key if that is at fault."""
        for end in range(len(path), -1, -1):
            if override := self.overridden.get(path[:end]):
                return Problem(override, path, sentence)
            if mark := self._mark(path[:end]):
                line, column = mark.key if at_key and end == len(path) else mark.value
                return Problem(f"{self.source}:{line}:{column}", path, sentence, line, column)
            if end and (made := self._made(path[:end])):
                return Problem(made, path, sentence)
        return Problem(self.source, path, sentence)

    def _mark(self, path: Path) -> Mark | None:
        """Where the last step of the path was written; a key that a short form left out is stepped over."""
        written: Path = ()
        for step in path:
            if (*written, step) in self.marks:
                written = (*written, step)
        return self.marks.get(written) if written[-1:] == path[-1:] else None

    def _made(self, path: Path) -> str | None:
        """The override that made something at `path` by setting something inside it."""
        return next((text for inner, text in self.overridden.items() if inner[: len(path)] == path), None)

    def error(self, path: Path, sentence: str, at_key: bool = False) -> SpecError:
        return SpecError([self.problem(path, sentence, at_key)], self.combination)

    def copy(self) -> Document:
        """A document whose values may be changed without changing these."""
        return Document(self.source, copied(self.values), dict(self.marks), dict(self.overridden), self.combination)

    def override(self, path: Path, text: str) -> None:
        """From now on, problems at or below `path` are told at `text`, the argument that replaced what was there."""
        for known in [known for known in self.marks if known[: len(path)] == path]:
            del self.marks[known]
        self.overridden[path] = text


def copied(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: copied(value) for key, value in values.items()}
    return [copied(value) for value in values] if isinstance(values, list) else values


def read(text: str, source: str) -> Document:
    """Parse `text`. Raises SpecError with the line and column of each thing that is not a plain YAML document."""
    if len(text) > MOST_CHARACTERS:
        raise SpecError([Problem(source, (), f"longer than {MOST_CHARACTERS // 1024} KiB; a spec is a short file")])
    return _document(_parsed(text, source, _Loader.get_single_node), source)


def read_all(text: str, source: str) -> list[Document]:
    """Parse a text of one or more documents, divided by `---`; empty ones are left out. Raises SpecError as `read`."""
    if len(text) > MOST_CHARACTERS_OF_MANY:
        largest = f"{MOST_CHARACTERS_OF_MANY // 2**20} MiB"
        raise SpecError([Problem(source, (), f"longer than {largest}; divide it, or let --grid make the runs")])
    documents: list[Document] = []
    problems: list[Problem] = []
    for node in _parsed(text, source, _Loader.every_node):
        try:
            documents.append(_document(node, source))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return [document for document in documents if document.values is not None] or documents[:1] or [Document(source)]


def _document(node: yaml.Node | None, source: str) -> Document:
    document = Document(source)
    reader = _Reader(document)
    if node is not None:
        document.values = reader.value(node, (), None)
    if reader.problems:
        raise SpecError(reader.problems)
    return document


def _parsed(text: str, source: str, compose: Callable[[_Composer], _Nodes]) -> _Nodes:
    """What `compose` makes of the text. Raises SpecError for what is no YAML."""
    try:
        return compose(_FastLoader(text))
    except (yaml.YAMLError, ValueError, OverflowError):  # it is wrong, or unlike most: read it slowly
        return _slowly(text, source, compose)


def _slowly(text: str, source: str, compose: Callable[[_Composer], _Nodes]) -> _Nodes:
    loader = None
    try:
        loader = _Loader(text)
        return compose(loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = _sentence(error.problem or "", error.context or "")
    except yaml.reader.ReaderError as error:
        before = text[: error.position].split("\n")
        line, column = len(before), len(before[-1]) + 1
        problem = f"the character U+{ord(text[error.position]):04X} may not stand in a text file"
    except (ValueError, OverflowError):  # PyYAML on "\UFFFFFFFF" and on a %YAML directive of very many digits
        line, column = (loader.line + 1, loader.column + 1) if loader else (1, 1)
        problem = "this is not YAML: a number or an escape is out of range"
    finally:
        if loader:
            loader.dispose()
    raise SpecError([Problem(f"{source}:{line}:{column}", (), problem, line, column)])


_SENTENCES = (
    (r"cannot start any token", "this character cannot begin a value here (tabs cannot indent; quote texts like '@a')"),
    (r"mapping values are not allowed", "a ':' cannot stand here; check the indentation, or quote the text before it"),
    (r"could not find expected ':'", "the line above is not finished: a key needs a ':' after it"),
    (r"expected <block end>", "the indentation does not fit the lines above"),
    (r"expected ',' or '\]'", "a '[' is not closed, or a ',' is missing"),
    (r"expected ',' or '\}'", "a '{' is not closed, or a ',' is missing"),
    (r"unexpected end of stream", "a quoted text is not closed"),
    (r"expected the node content, but found '<stream end>'", "the text ends where a value should be"),
    (r"but found another document", "a spec is a single document; remove the '---' and what follows"),
    (r"found undefined alias", "this alias (*name) has no anchor (&name) above it"),
    (r"found duplicate anchor", "this anchor (&name) is defined twice"),
)


def _sentence(problem: str, context: str) -> str:
    for pattern, sentence in _SENTENCES:
        if re.search(pattern, f"{context} {problem}"):
            return sentence
    return problem if problem.startswith(("nested", "more")) else f"this is not YAML: {problem or context}"


class _Reader:
    """Nodes to values, collecting problems instead of stopping at the first."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.nodes = 0

    def value(self, node: yaml.Node, path: Path, key: yaml.Node | None) -> Any:
        place = _place(node)
        self.document.marks[path] = Mark(_place(key) if key else place, place)
        self.nodes += 1
        if self.nodes > MOST_NODES or len(path) > MOST_LEVELS:
            limit = f"{MOST_NODES} values" if self.nodes > MOST_NODES else f"{MOST_LEVELS} levels"
            raise self.document.error(path, f"more than {limit} once its aliases are expanded")
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, (*path, index), None) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and (convert := _CONVERSIONS.get(node.tag.removeprefix(_TAG))):
            return self._scalar(node, path, convert)
        self._complain(path, f"the tag {shown(node.tag.replace(_TAG, '!!'))} is not supported; remove it")
        return None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, item in node.value:
            line, column = _place(key)
            place = f"{self.document.source}:{line}:{column}"
            name = _joined(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if not isinstance(key, yaml.ScalarNode) or key.tag != _TAG + "str":
                scalar = isinstance(key, yaml.ScalarNode)
                what = f"{key.value[:20] or 'nothing'}; put it in quotes" if scalar else "a list or mapping"
                self.problems.append(Problem(place, path, f"a key must be a word, got {what}", line, column))
            elif name is None:
                self.problems.append(Problem(place, path, f"the key holds {_UNSTORABLE}", line, column))
            elif name in values:
                first = self.document.marks[(*path, name)].key[0]
                sentence = f"key {shown(name)} stands here a second time (first in line {first}); remove one"
                self.problems.append(Problem(place, path, sentence, line, column))
            else:
                values[name] = self.value(item, (*path, name), key)
        return values

    def _scalar(self, node: yaml.ScalarNode, path: Path, convert: Callable[[str], Any]) -> Any:
        try:
            value = convert(node.value)
        except ValueError:
            return self._complain(path, f"{shown(node.value)} cannot be read as a number or word of that kind")
        if isinstance(value, float) and not math.isfinite(value):
            return self._complain(path, f"expected a finite number, got {shown(node.value)}")
        if isinstance(value, int) and abs(value) >= 2**63:
            return self._complain(path, "this whole number is too large")
        if isinstance(value, str) and (value := _joined(value)) is None:
            return self._complain(path, f"the text holds {_UNSTORABLE}")
        return value

    def _complain(self, path: Path, sentence: str) -> None:
        self.problems.append(self.document.problem(path, sentence))


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _joined(text: str) -> str | None:
    """The text with every surrogate pair (as JSON escapes marks beyond U+FFFF) joined, or None if it has no meaning."""
    if text.isascii():
        return None if "\0" in text else text
    try:
        return None if "\0" in text else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        return None


def _int(text: str) -> int:
    return int(text[2:], 16) if text.startswith("0x") else int(text[2:], 8) if text.startswith("0o") else int(text)


def _float(text: str) -> float:
    return float(re.sub(r"\.(inf|nan)\Z", r"\1", text.lower()))


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


_CONVERSIONS: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": _bool,
    "int": _int,
    "float": _float,
    "str": str,
}
