"""Documents are claims too: links lead somewhere, commands parse, specs are accepted, snippets fit the code."""

from __future__ import annotations

import ast
import doctest
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

import pytest
import typer.main

from service import Client
from service.cli.main import app
from service.settings import Settings
from service.spec import parse

PROJECT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")], key=lambda file: str(file.relative_to(PROJECT))
)
WRITTEN = [file for file in DOCUMENTS if "reference" not in file.parts]  # the references are made from the code
COMMAND = typer.main.get_command(app)
NEVER = ("/work/", "/root/", "/tmp/", "/Users/", "@@", "TODO")  # paths of a machine, marks of something unfinished


def name(file: Path) -> str:
    return str(file.relative_to(PROJECT))


every_document = pytest.mark.parametrize("file", DOCUMENTS, ids=name)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line of its first line."""

    language: str
    text: str
    line: int


@cache
def blocks(file: Path) -> tuple[Block, ...]:
    found, open_at, language, lines = [], 0, "", []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```") and not open_at:
            open_at, language, lines = number, line[3:].strip(), []
        elif line.startswith("```"):
            found.append(Block(language, "\n".join(lines) + "\n", open_at + 1))
            open_at = 0
        elif open_at:
            lines.append(line)
    assert not open_at, f"{name(file)}:{open_at}: this block is not closed"
    return tuple(found)


@cache
def prose(file: Path) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def in_language(*languages: str) -> list[Any]:
    return [
        pytest.param(block, id=f"{name(file)}:{block.line}")
        for file in DOCUMENTS
        for block in blocks(file)
        if block.language in languages
    ]


# What is generated


def test_the_generated_documents_are_current():
    """In a process of its own, with a home, a width and a language that must not show."""
    odd = {"TRAINYARD_HOME": "/nonexistent", "COLUMNS": "41", "LANG": "C", "TRAINYARD_PORT": "1"}
    check = [sys.executable, "docs/generate.py", "--check"]
    result = subprocess.run(check, cwd=PROJECT, env=os.environ | odd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_stale_document_is_named_with_the_command_that_writes_it(monkeypatch, capsys, tmp_path):
    generate = generator()
    monkeypatch.setattr(generate, "PROJECT", tmp_path)
    monkeypatch.setattr(generate, "documents", lambda: [("docs/reference/cli.md", "new\n")])
    assert generate.main(["--check"]) == 1
    assert "docs/reference/cli.md is stale; run `make docs`" in capsys.readouterr().err
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_a_building_block_that_has_moved_away_is_named():
    with pytest.raises(LookupError, match=re.escape("nn/layers/dense.py has no Dense.forwards; Dense.forward?")):
        generator().line_of("nn/layers/dense.py", "Dense.forwards")


def generator() -> Any:
    spec = util.spec_from_file_location("generate", PROJECT / "docs" / "generate.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Links


@every_document
def test_every_relative_link_leads_somewhere(file):
    broken = [target for target in links(file) if not leads_somewhere(file, target)]
    assert broken == []


def links(file: Path) -> list[str]:
    if file.name.endswith(".template.md"):
        return []  # its double braces become links
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(file))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def leads_somewhere(file: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    aim = (file.parent / path).resolve() if path else file
    if not aim.exists() or not aim.is_relative_to(PROJECT):
        return False
    if not anchor:
        return True
    if line := re.fullmatch(r"L(\d+)", anchor):
        return 0 < int(line[1]) <= len(aim.read_text(encoding="utf-8").splitlines())
    return anchor in headings(aim)


@cache
def headings(file: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    titles = re.findall(r"^#+ (.+)$", prose(file), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@every_document
def test_no_document_tells_of_the_machine_it_was_written_on_or_is_unfinished(file):
    text = file.read_text(encoding="utf-8")
    assert [mark for mark in NEVER if mark in text] == []


# Commands


def shown_commands() -> Iterator[Any]:
    """Every `trainyard …` in a block or a line of prose, each once."""
    seen = set()
    for file in DOCUMENTS:
        for place, command in (*commands_in_blocks(file), *commands_in_prose(file)):
            if command not in seen:
                seen.add(command)
                yield pytest.param(command, id=f"{place}: {command}")


def commands_in_blocks(file: Path) -> Iterator[tuple[str, str]]:
    for block in blocks(file):
        session = block.language == "console"
        if not session and block.language not in ("sh", "ini"):
            continue
        text = re.sub(r"\\\n(> )?", "", block.text)
        for line in text.splitlines():
            if session and not line.startswith("$ "):
                continue
            yield from ((f"{name(file)}:{block.line}", command) for command in commands_of(line))


def commands_in_prose(file: Path) -> Iterator[tuple[str, str]]:
    for code in re.findall(r"`([^`]+)`", prose(file)):
        if code.startswith("trainyard "):
            yield name(file), " ".join(code.split())


def commands_of(line: str) -> list[str]:
    """What follows `trainyard` up to a pipe, a semicolon, a bracket or a comment."""
    found = re.findall(r'(?:^|^\$ |\$\(|[;&] ?|/|service )trainyard(?= )((?:"[^"]*"|[^|;#>)&])*)', line)
    return [f"trainyard{rest.rstrip()}" for rest in found]


@pytest.mark.parametrize("command", list(shown_commands()))
def test_every_command_shown_is_one(command):
    parses(shlex.split(command)[1:])


PLACEHOLDERS = {"RUN": "1", "N": "1", "COMMAND": "demo", "[OPTIONS]": "", "…": ""}


def parses(words: list[str]) -> None:
    """Parse as Typer does, without running anything. Bare words such as SPEC stand for themselves, RUN for a number."""
    words = [PLACEHOLDERS.get(word, word) for word in words]
    words, command, parent = [word for word in words if word], COMMAND, None
    while True:
        inner = getattr(command, "commands", None)
        if inner is None and parent is not None and not words and has_arguments(command):
            return  # in prose a command may be named without its arguments
        if inner is not None and words in ([], ["--version"]):
            return
        parent = command.make_context(command.name, list(words), parent=parent)
        if inner is None:
            return
        words = [*parent._protected_args, *parent.args]
        assert words[0] in inner, f"there is no command {words[0]}"
        command, words = inner[words[0]], words[1:]


def has_arguments(command: Any) -> bool:
    return any(parameter.required for parameter in command.params)


@pytest.mark.parametrize(
    "wrong",
    ["trainyard runz list", "trainyard runs lost", "trainyard submit a.yaml --quue b", "trainyard runs why one"],
)
def test_a_command_that_does_not_exist_would_be_found(wrong):
    with pytest.raises(Exception, match=r"No such|there is no command|valid|Invalid"):
        parses(shlex.split(wrong)[1:])


def every_command() -> list[str]:
    return [" ".join(path) for path, _ in generator().commands(COMMAND)]


@pytest.mark.parametrize("command", every_command())
def test_every_command_is_in_the_reference_with_an_example(command):
    reference = (PROJECT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    _, heading, section = reference.partition(f"# {command}\n")
    assert heading
    if command != "trainyard" and command.split()[-1] not in ("runs", "workers", "db"):
        assert f"```sh\n{command}" in section.partition("\n## ")[0]


def test_every_command_is_in_the_table_of_the_readme():
    table = (PROJECT / "README.md").read_text(encoding="utf-8").partition("## The commands")[2].partition("\n## ")[0]
    named = {word for code in re.findall(r"`([^`]+)`", table) for word in code.split()}
    assert {command.split()[-1] for command in every_command()} - named == set()


@pytest.mark.parametrize("file", WRITTEN, ids=name)
def test_every_make_target_named_exists(file):
    targets = set(re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    text = prose(file) + "".join(block.text for block in blocks(file) if block.language in ("sh", "console"))
    named = set(re.findall(r"(?:`|^|^\$ |^    )make ([a-z][\w-]*)", text, flags=re.MULTILINE))
    assert named - targets == set()


@every_document
def test_every_variable_named_exists(file):
    known = {f"TRAINYARD_{field.upper()}" for field in Settings.model_fields} | {"TRAINYARD_DEBUG"}
    named = set(re.findall(r"TRAINYARD_[A-Z_]*[A-Z]", file.read_text(encoding="utf-8")))
    assert named - known == set()


# Specs and snippets


@pytest.mark.parametrize("block", [p for p in in_language("yaml") if p.values[0].text.startswith("version:")])
def test_every_spec_shown_is_accepted(block):
    for text in block.text.split("\n---\n"):
        assert parse(text).version == 1


@pytest.mark.parametrize("block", in_language("python"))
def test_every_snippet_compiles(block):
    compile(block.text, "snippet", "exec")


@pytest.mark.parametrize("block", in_language("python"))
def test_every_call_of_the_client_fits_its_signature(block):
    for call in ast.walk(ast.parse(block.text)):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        owner = call.func.value
        if isinstance(owner, ast.Name) and owner.id == "client":
            method = getattr(Client, call.func.attr)
            inspect.signature(method).bind(None, *call.args, **{word.arg: word.value for word in call.keywords})


@pytest.mark.parametrize(
    "file", [file for file in DOCUMENTS if any(b.language == "pycon" for b in blocks(file))], ids=name
)
def test_every_session_in_a_python_shell_is_real(file):
    if file.name.endswith(".template.md"):
        pytest.skip("its document is tested")
    text = "\n".join(block.text for block in blocks(file) if block.language == "pycon")
    session = doctest.DocTestParser().get_doctest(text, {}, name(file), name(file), 0)
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(session, out=said.append)
    assert not said, "".join(said)


def test_there_is_something_to_test():
    assert len(DOCUMENTS) > 12
    assert len(list(shown_commands())) > 40
    assert any(b.language == "yaml" and b.text.startswith("version:") for b in blocks(PROJECT / "README.md"))
