"""What is wrong with the words of a command line, in one sentence, as all other errors are told."""

from __future__ import annotations

import re
from typing import Any

import typer

UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # of the click that Typer brings with it


def told(error: Any) -> str:
    """The sentence of a UsageError, with the name that was probably meant if there is one, and where to read on."""
    text: str = error.format_message()
    if (option := getattr(error, "option_name", None)) and hasattr(error, "possibilities"):
        text = f"No such option '{option}'"
        if error.possibilities:
            text += f". Did you mean '{error.possibilities[0]}'?"
    for pattern, plain in PLAINER.items():
        text = re.sub(pattern, plain, text)
    text = text.rstrip(".")
    text = text[:1].lower() + text[1:]
    if error.ctx is None:
        return text
    return f"{text}{'' if text.endswith('?') else ';'} `{error.ctx.command_path} --help` says more"


PLAINER = {  # what Typer and pydantic say, and how it is said here
    r"\. Did you mean": "; did you mean",
    r"Value error, ": "",
    r"Input should be a valid integer, .*": "must be a whole number",
    r"Input should be a valid number, .*": "must be a number",
    r"Input should be ": "must be ",
    r"greater than or equal to": "at least",
    r"less than or equal to": "at most",
    r"Got unexpected extra argument\(s\) \((.*)\)": r"there is no place for \1",
}
