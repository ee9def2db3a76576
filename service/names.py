"""Names of queues, tags, workers and tokens."""

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
