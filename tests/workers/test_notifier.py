"""Whoever wants to be told of the end of a run is told: whatever dies in between, once where nothing does."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select, update

from service import notifications
from service.errors import InputError
from service.settings import Settings, load_settings
from service.store import notices, transitions
from service.store.clock import after
from service.store.tables import Notice, Outcome, Run, State, Subscriber
from service.yard import YardState
from tests.receivers import KEY as SECRET
from tests.receivers import Receiver, serving
from tests.servers import eventually
from tests.yard import ROOT, clean_environment
from workers.notifier import Notifier
from workers.reconcile import Reconciler

DAY = 86_400.0
ONE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with serving() as made:
        yield made


def settings(here, **values: str) -> Settings:
    kept = {name: getattr(here.settings, name) for name in ("home", "database_url", "broker_url")}
    return Settings(**kept, heartbeat_seconds=0.05, **values)


def notifier(here, **values: str) -> Notifier:
    """One that has announced itself."""
    made = Notifier(here.database, settings(here, **values))
    made.announce()
    return made


def cancelled(here, **named: Any) -> int:
    run = here.submit(**named)
    here.client.cancel(run)
    return run


def waiting(here) -> list[Notice]:
    with here.database.read() as session:
        return list(session.scalars(select(Notice).order_by(Notice.id)))


def change(here, **values: Any) -> None:
    with here.database.write() as session:
        session.execute(update(Notice).values(**values))


def make_due(here) -> None:
    change(here, not_before=after(-1))


# A webhook


def test_a_completed_run_is_told_once_with_its_result_and_a_signature(here, receiver):
    told = notifier(here, notify_url=receiver.url, notify_secret=SECRET)
    run = here.submit()
    here.train()
    assert told.deliver() == 1
    [(headers, body)] = receiver.got
    signed = headers["X-Trainyard-Timestamp"].encode() + b"." + body
    assert headers["X-Trainyard-Signature"] == f"sha256={hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()}"
    assert abs(time.time() - int(headers["X-Trainyard-Timestamp"])) < 60
    message, record = json.loads(body), here.client.run(run).json()
    assert (headers["X-Trainyard-Event"], headers["X-Trainyard-Delivery"]) == ("run.completed", message["delivery"])
    assert {name: message[name] for name in notifications.TOLD} == {name: record[name] for name in notifications.TOLD}
    assert message["metrics"]["val_loss"]["best_epoch"] > 0
    assert (waiting(here), told.deliver(), len(receiver.got)) == ([], 0, 1)


def test_every_way_to_end_is_told_with_its_reason(here, receiver):
    told = notifier(here, notify_url=receiver.url)
    runs = [here.submit("max_attempts=1") for _ in range(3)]
    with here.database.write() as session:
        claims = [transitions.claim(session, here.queue, "ada", 7, 60, {}) for _ in runs]
        transitions.finish(session, runs[0], 1, Outcome.FAILED, error="diverged")
        transitions.lose(session, runs[1], 1, "vanished")
        transitions.cancel(session, Run.id == runs[2])
        transitions.interrupt(session, runs[2], 1, "drained")
    assert None not in claims
    last = cancelled(here)
    assert told.deliver() == 4
    assert [(message["id"], message["state"], message["error"]) for message in receiver.told] == [
        (runs[0], "failed", "diverged"),
        (runs[1], "failed", "attempt 1 was the last one allowed, and it was lost: vanished"),
        (runs[2], "cancelled", None),
        (last, "cancelled", None),
    ]


def test_only_the_ends_that_are_wanted_are_noted_and_none_before_somebody_wants_them(here, receiver):
    cancelled(here)
    told = notifier(here, notify_url=receiver.url)
    notifier(here, notify_url=receiver.url, notify_on="completed, failed")
    cancelled(here)
    assert (waiting(here), told.deliver()) == ([], 0)


def test_a_run_that_is_interrupted_and_goes_on_is_not_told(here, receiver):
    notifier(here, notify_url=receiver.url)
    run = here.submit()
    with here.database.write() as session:
        transitions.claim(session, here.queue, "ada", 7, 60, {})
        assert transitions.interrupt(session, run, 1, "drained") is State.QUEUED
    assert waiting(here) == []


def test_a_retry_does_not_change_what_is_told_of_the_end_before(here, receiver):
    told = notifier(here, notify_url=receiver.url)
    run = cancelled(here)
    here.client.retry(run)
    told.deliver()
    assert (receiver.told[0]["state"], here.client.run(run).state) == ("cancelled", "queued")


def test_what_fails_is_tried_again_with_the_same_delivery_and_its_error_is_kept(here, receiver):
    told = notifier(here, notify_url=receiver.url)
    receiver.answers = [507, 302]
    cancelled(here)
    assert told.deliver() == 0
    [notice] = waiting(here)
    assert (notice.tries, notice.last_error) == (1, "127.0.0.1 answered 507: no room today")
    assert (told.deliver(), len(receiver.got)) == (0, 1)  # not before its pause is over
    make_due(here)
    assert told.deliver() == 0
    assert waiting(here)[0].last_error == "127.0.0.1 answered 302 and was not followed"
    make_due(here)
    assert told.deliver() == 1
    assert len(receiver.got) == 3
    assert len({message["delivery"] for message in receiver.told}) == 1


def test_pauses_grow_to_an_hour(here, receiver):
    told = notifier(here, notify_url=receiver.url)
    cancelled(here)
    for tries, pause in ((0, 5), (1, 10), (4, 80), (30, 3600)):
        receiver.answers = [500]
        change(here, tries=tries, not_before=after(-1))
        told.deliver()
        [notice] = waiting(here)
        with here.database.read() as session:
            left = (notice.not_before - session.scalar(select(after(0)))).total_seconds()
        assert pause - 5 < left <= pause


def test_a_sender_that_is_killed_before_it_notes_its_success_is_followed_by_another(here, receiver):
    """The server kills it while it waits for the answer. The second delivery has the id of the first."""
    values = {"notify_url": receiver.url}
    told = notifier(here, **values)
    cancelled(here)
    program = """
import sys
from service.settings import Settings
from service.store.database import Database
from workers.notifier import Notifier
database, home, address = sys.argv[1:]
Notifier(Database(database), Settings(home=home, notify_url=address)).deliver()
"""
    words = [sys.executable, "-c", program, here.database.url, str(here.settings.home), receiver.url]
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    killed: list[subprocess.Popen[bytes]] = []
    started = threading.Event()

    def kill(handler: Any) -> None:
        assert started.wait(30)
        os.kill(killed[0].pid, signal.SIGKILL)
        killed[0].wait()

    receiver.answers = [kill]
    killed.append(subprocess.Popen(words, env=environment, cwd=ROOT))
    started.set()
    assert killed[0].wait(60) == -signal.SIGKILL
    [notice] = waiting(here)
    assert (notice.tries, told.deliver(), len(receiver.got)) == (1, 0, 1)  # its claim holds
    make_due(here)
    assert told.deliver() == 1
    first, second = receiver.told
    assert first == second
    assert waiting(here) == []


def test_of_two_senders_each_takes_what_the_other_has_not(here, receiver):
    tellers = [notifier(here, notify_url=receiver.url) for _ in range(2)]
    runs = sorted(cancelled(here) for _ in range(12))
    threads = [threading.Thread(target=teller.deliver) for teller in tellers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(message["id"] for message in receiver.told) == runs


def test_a_late_sender_changes_nothing_of_a_claim_that_is_anothers_by_now(here, receiver):
    notifier(here, notify_url=receiver.url)
    cancelled(here)
    with here.database.write() as session:
        late = notices.claim(session, ["webhook"], -1)
        notices.claim(session, ["webhook"], 60)
        notices.delivered(session, late)
        notices.failed(session, late, "late")
    [notice] = waiting(here)
    assert (notice.tries, notice.last_error) == (2, None)


@ONE
def test_a_server_that_dribbles_or_is_not_there_costs_no_more_than_the_limit(here, receiver, monkeypatch):
    monkeypatch.setattr(notifications, "ANSWER_SECONDS", 0.3)
    ended = threading.Event()

    def dribble(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
        while not ended.wait(0.1):
            handler.wfile.write(b"X-Slow: 1\r\n")

    receiver.answers = [dribble]
    here_settings = settings(here, notify_url=receiver.url)
    answer = notifications.deliver(here_settings, "webhook", notifications.example())
    ended.set()
    assert answer == notifications.Answer(False, "127.0.0.1 did not answer within 0.3 s")
    closed = settings(here, notify_url="http://127.0.0.1:1/")
    answer = notifications.deliver(closed, "webhook", notifications.example())
    assert answer.sentence == "127.0.0.1 cannot be reached: Connection refused"


@ONE
def test_neither_the_secret_nor_the_address_is_ever_said(here, receiver, caplog):
    caplog.set_level(logging.DEBUG)
    told = notifier(here, notify_url=receiver.url, notify_secret=SECRET)
    receiver.answers = [500]
    cancelled(here)
    told.deliver()
    said = caplog.text + (waiting(here)[0].last_error or "") + repr(settings(here, notify_url=receiver.url))
    assert "answered 500" in said
    assert SECRET not in said


# A command


def script(folder, text: str) -> str:
    file = folder / "tell.py"
    file.write_text(text)
    return f"{sys.executable} {file} 'two words' $HOME"


@ONE
def test_a_command_gets_the_message_and_its_words_without_a_shell(here, tmp_path):
    text = f"import json, sys; json.dump([sys.argv[1:], json.load(sys.stdin)], open({str(tmp_path / 'got')!r}, 'w'))"
    told = notifier(here, notify_command=script(tmp_path, text))
    run = cancelled(here)
    assert told.deliver() == 1
    words, message = json.loads((tmp_path / "got").read_text())
    assert (words, message["id"], message["event"]) == (["two words", "$HOME"], run, "run.cancelled")


@ONE
def test_what_a_command_says_last_is_kept_when_it_fails(here, tmp_path):
    told = notifier(here, notify_command=script(tmp_path, "print('first'); raise SystemExit('no printer')"))
    cancelled(here)
    assert told.deliver() == 0
    assert waiting(here)[0].last_error == "the command ended with code 1: no printer"


@ONE
def test_a_command_that_does_not_end_is_killed_and_one_that_is_not_there_told(here, tmp_path, monkeypatch):
    monkeypatch.setattr(notifications, "COMMAND_SECONDS", 0.3)
    slow = settings(here, notify_command=script(tmp_path, "import time; time.sleep(60)"))
    answer = notifications.deliver(slow, "command", notifications.example())
    assert answer.sentence == "the command had not ended after 0.3 s and was killed"
    missing = settings(here, notify_command="no-such-program")
    answer = notifications.deliver(missing, "command", notifications.example())
    assert answer.sentence == "the command cannot be started: No such file or directory"


@ONE
def test_a_command_that_succeeded_is_not_run_again_because_the_webhook_failed(here, receiver, tmp_path):
    text = f"open({str(tmp_path / 'count')!r}, 'a').write('x')"
    told = notifier(here, notify_url=receiver.url, notify_command=script(tmp_path, text))
    receiver.answers = [500]
    cancelled(here)
    assert told.deliver() == 1
    make_due(here)
    assert told.deliver() == 1
    assert ((tmp_path / "count").read_text(), len(receiver.got)) == ("x", 2)


# Many, and the end of it


def test_a_thousand_runs_that_are_cancelled_at_once_are_noted_once_for_each_subscriber(here, receiver):
    notifier(here, notify_url=receiver.url, notify_command="true")
    here.client.submit_many(here.file, grid={"seed": range(1, 1001)}, queue=here.queue)
    with here.database.write() as session:
        transitions.cancel(session, Run.queue == here.queue)
    with here.database.read() as session:
        assert session.scalar(select(func.count(func.distinct(Notice.run_id)))) == 1000
        assert session.scalar(select(func.count()).select_from(Notice)) == 2000


def test_after_a_day_it_is_given_up_and_told_and_after_a_week_forgotten(here, receiver):
    told = notifier(here, notify_url=receiver.url)
    receiver.answers = [500]
    cancelled(here)
    told.deliver()
    change(here, at=after(-DAY - 1), not_before=after(-1))
    reconciler = Reconciler(here.database, None, "ada", 60)  # type: ignore[arg-type] - no ticket is sent here
    reconciler._tidy_notices()
    assert (told.deliver(), len(receiver.got)) == (0, 1)
    [subscriber] = here.client.undelivered()
    assert subscriber.sentence == (
        "notifications by webhook: 0 waiting, 1 given up after a day; last: 127.0.0.1 answered 500"
    )
    change(here, given_up=after(-8 * DAY))
    reconciler._tidy_notices()
    assert here.client.undelivered() == []


def test_a_subscriber_that_nobody_serves_for_a_day_is_forgotten_with_what_waits_for_it(here, receiver):
    notifier(here, notify_url=receiver.url)
    cancelled(here)
    with here.database.write() as session:
        session.execute(update(Subscriber).values(last_seen=after(-DAY - 1)))
        assert notices.tidy(session) == 0
    cancelled(here)
    assert waiting(here) == []


@ONE
def test_the_thread_delivers_by_itself(here, receiver):
    told = Notifier(here.database, settings(here, notify_url=receiver.url))
    told.start()
    run = cancelled(here)
    eventually(lambda: receiver.got, 30)
    told.end(30)
    assert ([message["id"] for message in receiver.told], waiting(here)) == ([run], [])


@ONE
def test_what_ended_last_is_delivered_before_the_thread_ends(here, receiver):
    told = Notifier(here.database, settings(here, notify_url=receiver.url).model_copy(update={"heartbeat_seconds": 60}))
    told.start()
    run = cancelled(here)
    told.end(30)
    assert ([message["id"] for message in receiver.told], waiting(here)) == ([run], [])


@ONE
def test_without_a_setting_there_is_no_thread_and_no_row(here):
    told = Notifier(here.database, settings(here))
    told.start()
    assert not told._thread.is_alive()
    cancelled(here)
    told.end(1)
    assert waiting(here) == []


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("url", "hooks.example/x", "it is no URL"),
        ("url", "http://ada:hunter2@hooks.example/", "a password in it would not be sent"),
        ("command", "tell 'me", "a quotation mark in it is never closed"),
        ("on", "completed,died", "a run cannot end as 'died'; use completed, failed, cancelled"),
    ],
)
def test_wrong_settings_are_refused_without_repeating_them(monkeypatch, name, value, sentence):
    monkeypatch.setenv(f"TRAINYARD_NOTIFY_{name.upper()}", value)
    with pytest.raises(InputError, match=f"notify_{name} .*{sentence}") as told:
        load_settings()
    assert SECRET not in str(told.value)


@ONE
def test_the_command_line_sends_one_now_and_says_what_came_back(here, receiver, tmp_path):
    def cli(**variables: str) -> subprocess.CompletedProcess[str]:
        environment = clean_environment() | {"PYTHONPATH": str(ROOT), "TRAINYARD_HOME": str(tmp_path)} | variables
        words = [sys.executable, "-m", "service.cli", "notify", "test"]
        return subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)

    good = cli(TRAINYARD_NOTIFY_URL=receiver.url, TRAINYARD_NOTIFY_COMMAND="echo hello")
    assert (good.returncode, good.stderr) == (0, "")
    assert [line.split() for line in good.stdout.splitlines()[1:]] == [
        ["webhook", "ok", "127.0.0.1", "answered", "200"],
        ["command", "ok", "the", "command", "ended", "with", "code", "0:", "hello"],
    ]
    assert receiver.told[0]["event"] == "test"
    assert set(receiver.told[0]) == {"event", "delivery", "url", *notifications.TOLD}
    none = cli()
    assert (none.returncode, none.stdout) == (2, "")
    assert none.stderr.startswith("error: no notifications are set up here")


@ONE
@pytest.mark.parametrize(
    ("listens", "told", "page"),
    [
        ("http://127.0.0.1:8750", "", "http://127.0.0.1:8750"),
        ("http://0.0.0.0:8750", "", f"http://{platform.node()}:8750"),
        ("http://[::]:8750", "", f"http://{platform.node()}:8750"),
        ("http://0.0.0.0:8750", "https://yard.example/", "https://yard.example"),
        (None, "https://yard.example", "https://yard.example"),
        (None, "", None),
    ],
)
def test_the_address_that_is_told_is_one_that_others_can_use(here, monkeypatch, listens, told, page):
    state = None if listens is None else YardState(1, listens)
    monkeypatch.setattr("workers.notifier.running", lambda settings: state)
    assert notifier(here, web_url=told)._page() == page
