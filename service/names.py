"""Names of queues, tags, workers and tokens; and what any other text may hold."""

from __future__ import annotations

from collections.abc import Sequence

from service.errors import InputError


def check_name(what: str, name: str) -> None:
    """Names of queues, tags and workers go into messages, labels and commands: letters, digits and a few marks."""
    import re

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:@=-]{0,63}", name):
        raise InputError(
            f"{what} '{name}': use 1 to 64 letters, digits and . _ : @ = - and begin with a letter or digit"
        )


def check_names(queue: str, tags: Sequence[str]) -> None:
    check_name("queue", queue)
    for tag in tags:
        check_name("tag", tag)


def check_line(what: str, text: str) -> None:
    """Names of runs and whatever else is one line: nothing that a terminal would not show."""
    for mark in text:
        if not mark.isprintable():
            raise InputError(f"{what} may hold no character such as {_escaped(mark)}, which cannot be shown on a line")


def check_text(what: str, text: str) -> None:
    """Notes and other long texts: no control characters but tabs and ends of lines, and what a database can hold."""
    import re

    if found := re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]", text):
        raise InputError(f"{what} may hold no control character such as {_escaped(found[0])}")


def _escaped(mark: str) -> str:
    return mark.encode("unicode_escape").decode()
