"""Write the documents that are made from the code: `python docs/generate.py`; with `--check`, say which are stale.

    docs/reference/spec.md          every key of the job file
    docs/reference/expressions.md   what `--where` can ask
    docs/reference/cli.md           every command of `trainyard`
    docs/reference/settings.md      every setting
    docs/reference/api.md           every address of the HTTP API
    docs/reference/metrics.md       every figure for Prometheus
    docs/building-blocks.md         from building-blocks.template.md, each `{{file.py:name}}` made a link to its line
    service/expressions/known.json  what `--where` can name, so that it need not import the schema

What is written depends on the code alone, never on the terminal, the home or the machine.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import inspect
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any

DOCS = Path(__file__).resolve().parent
PROJECT = DOCS.parent
COMMAND = "make docs"
DO_NOT_EDIT = f"Generated from the code by `{COMMAND}`; do not edit."


def documents() -> Iterator[tuple[str, str]]:
    """Every generated document with its path in the project; each may be read by what makes those behind it."""
    yield "service/expressions/known.json", known()
    yield "docs/reference/spec.md", spec()
    yield "docs/reference/expressions.md", expressions()
    yield "docs/reference/cli.md", cli()
    yield "docs/reference/settings.md", settings()
    yield "docs/reference/api.md", api()
    yield "docs/reference/metrics.md", metrics()
    yield "docs/building-blocks.md", building_blocks()


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    names = list(head)
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return ["| " + " | ".join(row) + " |" for row in (names, ["---"] * len(names), *cells)]


# The spec


def spec() -> str:
    from service.spec import reference

    return reference()


# The command line


def cli() -> str:
    import typer.main

    from service.cli.main import app

    lines = ["# The command line", "", DO_NOT_EDIT, "", *_CLI_HEAD]
    for path, command in commands(typer.main.get_command(app)):
        lines += ["", f"{'##' if len(path) < 3 else '###'} {' '.join(path)}", "", *_command(path, command)]
    return "\n".join(lines) + "\n"


_CLI_HEAD = (
    "Data goes to stdout, hints to stderr. Tables fit 80 columns; into a pipe they go at their full width. `--json`",
    "prints the same for scripts. The settings that every command shares stand before its name:",
    "`trainyard --home FOLDER runs list`.",
    "",
    "| exit code | meaning |",
    "| --- | --- |",
    "| 0 | done |",
    "| 1 | the run failed or was cancelled, or something is wrong here |",
    "| 2 | the input is wrong; nothing was changed, but for runs that were named before the wrong one |",
    "| 3 | a service cannot be reached: the database, the broker |",
    "| 130 | Ctrl-C |",
)


def commands(command: Any, path: tuple[str, ...] = ("trainyard",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group with its words, groups before what is in them."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


def _command(path: tuple[str, ...], command: Any) -> Iterator[str]:
    text, _, example = inspect.cleandoc(command.help or "").partition("Example:")
    yield " ".join(text.split())
    arguments = [parameter for parameter in command.params if not parameter.opts[0].startswith("-")]
    options = [parameter for parameter in command.params if parameter not in arguments and _own(parameter)]
    words = [*path, *(_argument(parameter) for parameter in arguments)]
    words += ["[OPTIONS]"] if options else []
    words += ["COMMAND"] if hasattr(command, "commands") else []
    yield from ("", "```text", " ".join(words), "```")
    rows = [
        (f"`{_argument(parameter)}`", _kind(parameter), "required", parameter.help or "") for parameter in arguments
    ]
    rows += [(_names(parameter), _kind(parameter), _default(parameter), parameter.help or "") for parameter in options]
    if rows:
        yield from ("", *table(("", "type", "default", "meaning"), rows))
    if example:
        yield from ("", "```sh", example.strip(), "```")


def _own(option: Any) -> bool:
    """Ours, and not --help or Typer's two for the shell's completion."""
    return not option.hidden and option.name not in ("help", "install_completion", "show_completion")


def _argument(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _names(option: Any) -> str:
    return ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))


def _kind(parameter: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return "flag"
    annotation = parameter.type_descriptor.annotation
    inner = next(iter(getattr(annotation, "__args__", ())), annotation)
    word = {int: "whole number", float: "number", str: "text"}.get(inner, "")
    if isinstance(inner, type) and issubclass(inner, PurePath):
        word = "path"
    word = f"`{parameter.metavar}`" if parameter.opts[0].startswith("-") and parameter.metavar else word
    limits = [f"at least {parameter.min}"] if parameter.min is not None else []
    limits += [f"at most {parameter.max}"] if parameter.max is not None else []
    return ", ".join([word or "text", *([" and ".join(limits)] if limits else [])])


def _default(option: Any) -> str:
    if option.required:
        return "required"
    variable = f"`{option.envvar}`" if option.envvar else ""
    return variable if option.default in (None, False, [], ()) else f"`{option.default}`"


# Settings


def settings() -> str:
    from service.settings import Settings

    lines = ["# Settings", "", DO_NOT_EDIT, "", *_SETTINGS_HEAD]
    rows = [
        (f"`TRAINYARD_{name.upper()}`", f"`{name}`", _setting_default(field), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    lines += ["", *table(("variable", "key in config.toml", "default", "meaning"), rows), "", *_SETTINGS_FOOT]
    return "\n".join(lines) + "\n"


def api() -> str:
    from service.client import Client
    from service.settings import Settings
    from service.web.api import PREFIX, api_app
    from service.web.heavy import Judges

    async def welcome(request: Any) -> bool:
        return True

    nowhere = Client(Settings(home=Path("home")))
    paths = api_app(nowhere, Judges(nowhere), welcome).openapi()["paths"]
    lines = ["# The HTTP API", "", DO_NOT_EDIT, "", *_API_HEAD]
    operations = [(path, method, told) for path, methods in paths.items() for method, told in methods.items()]
    for tag in dict.fromkeys(told["tags"][0] for _, _, told in operations):
        rows = [
            (f"`{method.upper()} {PREFIX}{path}`", f"`{told['operationId']}`", " ".join(told["description"].split()))
            for path, method, told in operations
            if told["tags"][0] == tag
        ]
        lines += ["", f"## {tag.capitalize()}", "", *table(("address", "operation", "what"), rows)]
    return "\n".join(lines) + "\n"


_API_HEAD = (
    "`/api/v1/openapi.json` of a yard describes each with its parameters, answers and errors;",
    "[Use a yard over HTTP](../how-to/use-over-http.md) shows how.",
)
_SETTINGS_HEAD = (
    "A setting comes from the first of these that has it: a flag (`--home`, `--database` and `--broker` of every",
    "command, `--host` and `--port` of `trainyard up`), a `TRAINYARD_*` variable, the file `config.toml` in the home,",
    "the default. The defaults work on one machine with nothing configured. An empty variable counts as not set.",
)
_SETTINGS_FOOT = (
    "A `config.toml`:",
    "",
    "```toml",
    'database_url = "postgresql://trainyard:secret@db.example/trainyard"',
    'broker_url = "rediss://:secret@redis.example:6379/0"',
    "lease_seconds = 15.0",
    "```",
    "",
    "Where it holds a password or a token, let nobody else read it: `chmod 600 config.toml`. `trainyard doctor` warns.",
    "",
    "All machines of a yard need the same database, broker and lease. `TRAINYARD_DEBUG=1` shows a traceback where",
    "otherwise one sentence would stand.",
)
_HOMES = "the platform's data folder: `~/.local/share/trainyard` on Linux"


def _setting_default(field: Any) -> str:
    if field.default_factory is not None:
        return _HOMES
    return "empty" if field.default == "" else f"`{field.default}`"


# Figures for Prometheus


def metrics() -> str:
    lines = ["# Figures for Prometheus", "", DO_NOT_EDIT, "", *_METRICS_HEAD]
    for title, sentence, families in (
        (
            "The yard",
            "Read from the database, which hears of everything, whatever becomes of workers and their processes. "
            "Gauges are its truth; counters count what it has heard since the page started, and do not fall when runs "
            "are removed. Of queues and of workers a hundred each are named, the rest is summed under `(other)`.",
            _yard(),
        ),
        ("A worker", "Counted by the slots of one worker since it started.", _worker()),
    ):
        lines += ["", f"## {title}", "", sentence, "", *table(("name", "type", "labels", "meaning"), families)]
    return "\n".join(lines) + "\n"


_METRICS_HEAD = (
    "The yard serves its own at `/metrics` of the web page, and at `/targets` the addresses of all live workers in the",
    "form of Prometheus' HTTP service discovery. Each worker serves its own at the address it was given by",
    "`trainyard workers start --metrics-host HOST --metrics-port 9101`.",
)


def _yard() -> list[tuple[str, ...]]:
    """What the yard's collector yields for a database without any run."""
    from service.client import Client
    from service.metrics import YardCollector
    from service.settings import load_settings

    with tempfile.TemporaryDirectory() as home:
        client = Client(load_settings(home=home, database_url="", broker_url=""))
        client.__dict__["tickets"] = SimpleNamespace(ping=lambda: None)  # in place of the broker's
        families = [_family(family, family._labelnames) for family in YardCollector(client).collect()]
        client.database.dispose()
    return families


def _worker() -> list[tuple[str, ...]]:
    from prometheus_client.metrics import MetricWrapperBase

    from workers import metrics

    counted = [part for part in vars(metrics).values() if isinstance(part, MetricWrapperBase)]
    families = [_family(family, part._labelnames) for part in counted for family in part.describe()]
    return families + [_family(family, family._labelnames) for family in metrics.SlotsCollector(DOCS).collect()]


def _family(family: Any, labels: Iterable[str]) -> tuple[str, ...]:
    shown = {"counter": "{}_total", "info": "{}_info", "histogram": "{}_bucket, {}_sum, {}_count"}
    names = shown.get(family.type, "{}").replace("{}", family.name).split(", ")
    labels = [*labels, *(["le"] if family.type == "histogram" else []), *(["version"] if family.type == "info" else [])]
    text = (", ".join(f"`{name}`" for name in group) for group in (names, labels))
    name, label = text
    return name, family.type, label, family.documentation


# Expressions


def expressions() -> str:
    from service.expressions.reference import reference

    return reference(DO_NOT_EDIT)


def known() -> str:
    from service.expressions.known import document

    return document()


# The building blocks


def building_blocks() -> str:
    template = (DOCS / "building-blocks.template.md").read_text(encoding="utf-8")
    head, _, body = template.partition("-->\n")
    assert head.startswith("<!--"), "the template begins with a comment about itself"
    note = "<!-- Generated from building-blocks.template.md by `make docs`; do not edit. -->\n"
    return note + re.sub(r"\{\{([^:}]+):([^}\s]+)(?: \"([^\"}]+)\")?\}\}", _link, body)


def _link(match: re.Match[str]) -> str:
    """`{{nn/layers/dense.py:Dense.forward}}`, or with ` "some text"` the first line inside it with that text."""
    file, name, text = match.groups()
    line = line_of(file, name, text)
    return f"[`{name}`, {file}:{line}](../{file}#L{line})"


def line_of(file: str, name: str, text: str | None = None) -> int:
    """Where a class, function, method, field or constant stands; LookupError names what is no longer there."""
    places = _places(file)
    if name not in places:
        near = difflib.get_close_matches(name, places, n=1)
        raise LookupError(f"docs/building-blocks.template.md: {file} has no {name}" + (f"; {near[0]}?" if near else ""))
    first, last = places[name]
    if text is None:
        return first
    for number, line in enumerate((PROJECT / file).read_text(encoding="utf-8").splitlines()[first - 1 : last], first):
        if text in line:
            return number
    raise LookupError(f"docs/building-blocks.template.md: {name} in {file} has no line with {text!r}")


@cache
def _places(file: str) -> Mapping[str, tuple[int, int]]:
    """First and last line of everything in a file that has a name: `Dense`, `Dense.units`, `Dense.forward`."""
    return dict(_named(ast.parse((PROJECT / file).read_text(encoding="utf-8")).body, ""))


def _named(body: Iterable[ast.stmt], prefix: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for node in body:
        lines = node.lineno, node.end_lineno or node.lineno
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield prefix + node.name, lines
        if isinstance(node, ast.ClassDef):
            yield from _named(node.body, f"{prefix}{node.name}.")
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        yield from ((prefix + target.id, lines) for target in targets if isinstance(target, ast.Name))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the documents that are made from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if one is stale")
    options = parser.parse_args(arguments)
    stale = 0
    for name, text in documents():
        file = PROJECT / name
        written = file.read_text(encoding="utf-8") if file.exists() else ""
        if text == written:
            continue
        stale += 1
        if options.check:
            print(f"{name} is stale; run `{COMMAND}`\n{_first_difference(written, text)}", file=sys.stderr)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            print(f"{name} written")
    return 1 if options.check and stale else 0


def _first_difference(written: str, text: str) -> str:
    changes = difflib.unified_diff(
        written.splitlines(), text.splitlines(), "written", "from the code", lineterm="", n=0
    )
    return "\n".join(f"    {line}" for line in list(changes)[2:8])


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    sys.exit(main())
