"""Where a run was submitted from: who, on which machine, with what, and at which commit of the folder."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from service.person import remote, user

KNOWN_SECONDS = 0.2  # for which what git said is taken as known: a program that submits in a loop may commit meanwhile
MOST_FOLDERS = 100
GIT_SECONDS = 1.0  # for which a submit waits for git at most, once all else is checked; it takes some 5 ms
STATUS = (
    "git", "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch", "--untracked-files=no",
    "--ignore-submodules",
)  # fmt: skip


TOLD = ("folder", "commit", "branch", "dirty", "trainyard", "python")  # what somebody elsewhere may tell of their side

_known: dict[Path, tuple[float, dict[str, Any]]] = {}  # what git said of a folder, and when it was asked


class Origin:
    """What is known of a folder; git is asked while the caller goes on, but not for each of many submits at once: it
    takes as long as all else that a submit does. Who asks over HTTP has no folder here.

    `told` is what somebody elsewhere says of where they are, instead; who they are says their token.
    """

    def __init__(self, folder: Path | None = None, told: Mapping[str, Any] | None = None) -> None:
        self._git: dict[str, Any] = {}
        self._asking: threading.Thread | None = None
        self._facts: dict[str, Any] | None = None
        asker = remote()
        if asker is not None or told is not None:
            who = {} if asker is None or asker.name is None else {"user": asker.name, "host": asker.address}
            self._facts = _here() | {name: told[name] for name in TOLD if told and name in told} | who
            return
        folder = (folder or Path()).absolute()
        asked, self._git = _known.get(folder, (-math.inf, {}))
        if time.monotonic() - asked > KNOWN_SECONDS:
            self._git = {}
            self._asking = threading.Thread(target=self._ask, args=(folder,), daemon=True)
            self._asking.start()

    def facts(self) -> Mapping[str, Any]:
        """`user`, `host`, `trainyard`, `python` and, in a git repository, `commit`, `branch` and `dirty`."""
        if self._facts is None:
            if self._asking is not None:
                self._asking.join(GIT_SECONDS)
            self._facts = _here() | self._git
        return self._facts

    def _ask(self, folder: Path) -> None:
        began = time.monotonic()
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        try:
            done = subprocess.run(
                STATUS, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False,
                timeout=GIT_SECONDS,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):  # no git, no such folder, a slow disk
            return
        if done.returncode == 0:
            self._git = read_status(done.stdout.decode(errors="replace"))
        if len(_known) >= MOST_FOLDERS:
            _known.clear()
        _known[folder] = began, self._git


def read_status(text: str) -> dict[str, Any]:
    """The facts in what `git status --porcelain=v2 --branch` says. A repository without a commit has none."""
    lines = text.splitlines()
    header = dict(line.removeprefix("# ").split(" ", 1) for line in lines if line.startswith("# branch."))
    commit, branch = header.get("branch.oid", "(initial)"), header.get("branch.head", "(detached)")
    if commit == "(initial)":
        return {}
    dirty = any(not line.startswith("#") for line in lines)
    return {"commit": commit, "dirty": dirty} | ({} if branch == "(detached)" else {"branch": branch})


def shared(origins: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What a yard elsewhere is told of where runs come from: so far as it is the same for all of them."""
    first, *others = origins
    told = {name: first[name] for name in TOLD if name in first}
    return {name: value for name, value in told.items() if all(facts.get(name) == value for facts in others)}


def _here() -> dict[str, Any]:
    facts = {"host": platform.node(), "trainyard": _version(), "python": platform.python_version()}
    return facts if (name := user()) is None else {"user": name} | facts


@cache
def _version() -> str:
    return version("trainyard")


def sentence(facts: Mapping[str, Any]) -> str:
    """by ada on lab-1, commit 1a2b3c4 (changed)"""
    commit = f"commit {facts['commit'][:7]}{' (changed)' if facts.get('dirty') else ''}" if "commit" in facts else ""
    told = (f"{word} {facts[key]}" for word, key in (("by", "user"), ("on", "host")) if facts.get(key))
    return ", ".join(filter(None, (" ".join(told), commit)))
