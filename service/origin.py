"""Where a run was submitted from: who, on which machine, with what, and at which commit of the folder."""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

GIT_SECONDS = 1.0  # for which a submit waits for git at most, once all else is checked; it takes some 5 ms
STATUS = (
    "git", "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch", "--untracked-files=no",
    "--ignore-submodules",
)  # fmt: skip


class Origin:
    """What is known of a folder; git is asked while the caller goes on."""

    def __init__(self, folder: Path | None = None) -> None:
        self._git = _asked(folder or Path())
        self._facts: dict[str, Any] | None = None

    def facts(self) -> Mapping[str, Any]:
        """`user`, `host`, `trainyard`, `python` and, in a git repository, `commit`, `branch` and `dirty`."""
        if self._facts is None:
            self._facts = _here() | self._answer()
        return self._facts

    def _answer(self) -> dict[str, Any]:
        if self._git is None:
            return {}
        try:
            answer, _ = self._git.communicate(timeout=GIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._git.kill()
            self._git.communicate()
            return {}
        return read_status(answer.decode(errors="replace")) if self._git.returncode == 0 else {}


def _asked(folder: Path) -> subprocess.Popen[bytes] | None:
    """git at work, or None where there is none."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    nothing = subprocess.DEVNULL
    try:
        return subprocess.Popen(
            STATUS, cwd=folder, stdin=nothing, stdout=subprocess.PIPE, stderr=nothing, env=environment
        )
    except OSError:  # no git, or no such folder
        return None


def read_status(text: str) -> dict[str, Any]:
    """The facts in what `git status --porcelain=v2 --branch` says. A repository without a commit has none."""
    lines = text.splitlines()
    header = dict(line.removeprefix("# ").split(" ", 1) for line in lines if line.startswith("# branch."))
    commit, branch = header.get("branch.oid", "(initial)"), header.get("branch.head", "(detached)")
    if commit == "(initial)":
        return {}
    dirty = any(not line.startswith("#") for line in lines)
    return {"commit": commit, "dirty": dirty} | ({} if branch == "(detached)" else {"branch": branch})


def _here() -> dict[str, Any]:
    facts = {"host": platform.node(), "trainyard": version("trainyard"), "python": platform.python_version()}
    try:
        return {"user": getpass.getuser()} | facts
    except (KeyError, OSError):  # a container whose user has no name
        return facts


def sentence(facts: Mapping[str, Any]) -> str:
    """by ada on lab-1, commit 1a2b3c4 (changed)"""
    commit = f"commit {facts['commit'][:7]}{' (changed)' if facts.get('dirty') else ''}" if "commit" in facts else ""
    told = (f"{word} {facts[key]}" for word, key in (("by", "user"), ("on", "host")) if facts.get(key))
    return ", ".join(filter(None, (" ".join(told), commit)))
