"""Telling others that a run has ended: a signed message to a web address, and a command.

What is to be told waits in the store (`service.store.notices`); workers deliver it (`workers.notifier`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shlex
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from service.processes import stop
from service.settings import Settings
from service.store.notices import Claimed
from service.store.records import RunRecord, jsonable

WEBHOOK, COMMAND = "webhook", "command"
ANSWER_SECONDS = 5.0  # for a webhook, from the first byte to the last
COMMAND_SECONDS = 60.0
MOST_READ = 4096  # bytes
LONGEST_LINE = 300  # characters of what a command said, or a server
TOLD = (
    "id", "name", "state", "queue", "priority", "tags", "attempt", "epoch", "epochs", "created", "started", "finished",
    "worker", "error", "dataset_sha256", "weights_sha256", "metrics", "note",
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What came of one delivery: its sentence never holds an address, a secret or a command."""

    good: bool
    sentence: str


def subscribers(settings: Settings) -> list[str]:
    """The ways of telling that are set up here."""
    there = {WEBHOOK: settings.notify_url, COMMAND: settings.notify_command}
    return [subscriber for subscriber, set_up in there.items() if set_up]


def message(notice: Claimed, run: RunRecord, web_url: str | None) -> dict[str, Any]:
    """What is told: the run under the names of `--json`, as it was when it ended, even if it was retried since."""
    then = {
        "state": notice.event.value, "finished": jsonable(notice.at), "attempt": notice.attempt,
        "worker": notice.worker, "error": notice.error,
    }  # fmt: skip
    told = {name: value for name, value in run.json().items() if name in TOLD} | then
    return {"event": f"run.{notice.event}", "delivery": notice.uid, **told, "url": _page(run.id, web_url)}


def _page(run_id: int, web_url: str | None) -> str | None:
    return f"{web_url}/runs/{run_id}" if web_url else None


def example() -> dict[str, Any]:
    """What `trainyard notify test` sends: every name of a message, and a run that there is not."""
    moment = jsonable(datetime.now(UTC))
    run = dict.fromkeys(TOLD) | {
        "id": 0, "name": "test of notifications", "state": "completed", "queue": "default", "priority": 0, "tags": [],
        "attempt": 1, "epoch": 1, "epochs": 1, "created": moment, "started": moment, "finished": moment, "metrics": {},
    }  # fmt: skip
    return {"event": "test", "delivery": f"test-{time.time_ns()}", **run, "url": None}


def deliver(settings: Settings, subscriber: str, told: Mapping[str, Any]) -> Answer:
    """Send one message, now; takes no longer than ANSWER_SECONDS or COMMAND_SECONDS, and raises nothing."""
    body = json.dumps(told, allow_nan=False).encode()
    if subscriber == WEBHOOK:
        return _post(settings.notify_url, headers(told, body, settings.notify_secret), body)
    return _run(settings.notify_command, body)


# A webhook


def headers(told: Mapping[str, Any], body: bytes, secret: str) -> dict[str, str]:
    """The signature is over the time and the body, so that nobody can send an old message again as a new one."""
    moment = str(int(time.time()))
    made = {
        "Content-Type": "application/json",
        "User-Agent": f"trainyard/{version('trainyard')}",
        "X-Trainyard-Event": told["event"],
        "X-Trainyard-Delivery": told["delivery"],
        "X-Trainyard-Timestamp": moment,
    }
    if secret:
        made["X-Trainyard-Signature"] = signature(secret, moment, body)
    return made


def signature(secret: str, timestamp: str, body: bytes) -> str:
    signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"sha256={signed.hexdigest()}"


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other: the message is for the address that was set, and for no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Stay)


def _post(url: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """A thread does it, for a server that sends a byte now and then would keep a socket from timing out."""
    answers: list[Answer] = []
    request = urllib.request.Request(url, body, dict(headers), method="POST")
    host = urlsplit(url).hostname
    thread = threading.Thread(target=lambda: answers.append(_exchange(request, host)), name="webhook", daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    return answers[0] if answers else Answer(False, f"{host} did not answer within {ANSWER_SECONDS:g} s")


def _exchange(request: urllib.request.Request, host: str | None) -> Answer:
    try:
        with _OPENER.open(request, timeout=ANSWER_SECONDS) as response:
            return Answer(True, f"{host} answered {response.status}")
    except urllib.error.HTTPError as error:
        with error:
            where = " and was not followed" if 300 <= error.code < 400 else _said(error)
            return Answer(False, f"{host} answered {error.code}{where}")
    except TimeoutError:
        return Answer(False, f"{host} did not answer within {ANSWER_SECONDS:g} s")
    except urllib.error.URLError as error:
        reason = getattr(error.reason, "strerror", None) or error.reason
        return Answer(False, f"{host} cannot be reached: {reason}")
    except (OSError, HTTPException) as error:
        return Answer(False, f"{host} did not answer in HTTP: {type(error).__name__}")


def _said(error: urllib.error.HTTPError) -> str:
    try:
        line = _last_line(error.read(MOST_READ))
    except (OSError, HTTPException):
        line = ""
    return f": {line}" if line else ""


# A command


def _run(command: str, body: bytes) -> Answer:
    """Without a shell, with the message on its standard input; the last line that it said is told when it fails."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:  # pipes would have to be read and closed
        given.write(body)
        given.seek(0)
        try:
            process = subprocess.Popen(
                shlex.split(command), stdin=given, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )
        except (OSError, ValueError) as error:
            return Answer(False, f"the command cannot be started: {getattr(error, 'strerror', None) or error}")
        try:
            code = process.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            stop(process, 0.5)
            return Answer(False, f"the command had not ended after {COMMAND_SECONDS:g} s and was killed")
        said.seek(max(0, said.seek(0, os.SEEK_END) - MOST_READ))
        line = _last_line(said.read())
    return Answer(code == 0, f"the command ended with code {code}{f': {line}' if line else ''}")


def _last_line(said: bytes) -> str:
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    return "".join(c for c in (lines or [""])[-1] if c.isprintable())[:LONGEST_LINE]
