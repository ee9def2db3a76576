"""`trainyard top`: what it shows fits any screen, keys do what the help says, and the terminal is given back."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.cells import cell_len

from service.cli.top import terminal, view
from service.cli.top.look import Looker, Seen, look
from service.cli.top.screen import Hand
from service.cli.top.view import Details, Scene
from service.store.glance import MOST_ENDED, MOST_RUNNING, Glance, Pace, glance
from service.store.points import Point
from service.store.records import MetricSummary, RunRecord, WorkerRecord
from service.store.tables import Attempt, Outcome, State
from service.store.workers import register
from tests.terminals import ALTERNATE, BACK, Terminal, opened
from tests.yard import Yard, settled

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
BEGAN = NOW - timedelta(seconds=100)
SIZES = [(80, 24), (200, 60), (40, 10), (20, 3), (1, 1), (80, 7), (500, 15)]
YARD = view.Yard("up", "http://127.0.0.1:8750", "sqlite:////home/ada/trainyard.db", "embedded", True)


def run(number: int, state: str, **changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "id": number, "name": f"digits-{number}", "state": State(state), "queue": "default", "priority": 0, "tags": (),
        "attempt": 1, "epoch": 12, "epochs": 30, "created": NOW, "started": BEGAN, "finished": None, "worker": "ada",
        "error": None, "spec": {}, "dataset_sha256": "d" * 64, "weights_sha256": None,
        "metrics": {name: MetricSummary(0.25, 0.25, 7) for name in ("loss", "val_loss", "accuracy", "val_accuracy")},
    }  # fmt: skip
    ended = {"finished": NOW - timedelta(seconds=90)} if State(state).ended else {}
    return RunRecord(**values | ended | changes)


def worker(name: str, **changes: Any) -> WorkerRecord:
    values = {
        "name": name, "host": "lab", "pid": 7, "slots": 4, "busy": 2, "queues": ("default",), "state": "ready",
        "last_seen": NOW, "silent_seconds": 0.4, "metrics_url": None, "set_aside": None,
    }  # fmt: skip
    return WorkerRecord(**values | changes)


def seen(**changes: Any) -> Glance:
    values: dict[str, Any] = {
        "moment": NOW, "workers": (worker("ada"), worker("bob", state="gone", busy=0)),
        "queues": {"default": (1234, 185.0)}, "running_number": 2, "paused_number": 1,
        "running": (run(11, "running"), run(12, "running", wish="cancel")),
        "paces": {11: Pace(42_000.0, 93.0), 12: Pace()}, "paused": (run(9, "paused"),),
        "waiting": (run(20, "queued", priority=5), run(21, "queued")),
        "failed": (run(7, "failed", error="diverged in epoch 1\nat step 2"),),
        "ended": (run(8, "completed"), run(7, "failed"), run(6, "cancelled", metrics={}, started=None)),
    }  # fmt: skip
    return Glance(**values | changes)


CROWDED = seen(
    workers=tuple(worker(f"worker-{n}") for n in range(40)),
    running=tuple(run(n, "running", worker=f"worker-{n % 40}", name="模型" * 40 + "\x1b[2J") for n in range(100, 300)),
    failed=tuple(run(n, "failed", error="x" * 500) for n in range(5)),
    ended=tuple(run(n, "completed") for n in range(10, 40)),
    queues={f"queue-{n}": (n, 1.0) for n in range(50)},
)
SCENES = {
    "usual": Scene(YARD, seen(), selected=11),
    "crowded": Scene(YARD, CROWDED, selected=250),
    "empty": Scene(YARD, seen(workers=(), running=(), paused=(), waiting=(), failed=(), ended=(), queues={}, paces={})),
    "nothing yet": Scene(YARD),
    "lost": Scene(YARD, seen(), problem="the database cannot be reached: \x1b]0;title\x07\n" * 9),
    "help": Scene(YARD, seen(), mode="help"),
    "details": Scene(
        YARD, seen(), selected=11, mode="details",
        details=Details(run(11, "running"), "run 11 trains on ada " * 20, [{"loss": 1 / n} for n in range(1, 500)]),
    ),
    "question": Scene(YARD, seen(), selected=11, question="cancel run 11?"),
}  # fmt: skip


def text(scene: Scene, width: int = 80, height: int | None = 24) -> list[str]:
    return [line.plain for line in view.lines(scene, width, height)]


# The picture


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_every_scene_fits_every_screen_and_moves_no_cursor(scene, size):
    width, height = size
    made = text(scene, width, height)
    assert len(made) == height
    assert max(map(cell_len, made)) <= width
    assert all(line.isprintable() for line in made)


def test_a_usual_screen_says_what_trains_what_waits_and_what_failed():
    made = text(SCENES["usual"])
    whole = "\n".join(made)
    assert "trainyard up  http://127.0.0.1:8750" in made[0]
    assert "2 of 4 slots busy · 2 running · 1234 waiting · 1 paused · 42k/s" in whole
    assert "queues default 1234 for 3m05s" in whole
    assert re.search(r"11  digits-11 +█+[^0-9]* 12/30 +val_accuracy 0.25 +42k/s +1m33s", whole)
    assert re.search(r"12  digits-12 .* 12/30 stops", whole)
    assert re.search(r" 9  digits-9 +paused at 12/30", whole)
    assert re.search(r"20  digits-20 +waits in default, \+5", whole)
    assert re.search(r"ada +ready +2/4 +11 █+.* 12 .* 42k/s +1m33s +400 ms", whole)
    assert re.search(r"bob +gone", whole)
    assert re.search(r" 7  digits-7 +diverged in epoch 1 at step 2 +1m30s", whole)
    assert re.search(r" 8  digits-8 +completed +val_accuracy 0.25", whole)
    assert whole.count("digits-7 ") == 1  # among the failures, and not once more
    assert made[-1] == view.KEYS


def test_a_wide_screen_shows_the_loss_too_and_longer_bars():
    whole = "\n".join(text(SCENES["usual"], 200, 60))
    assert re.search(r"digits-11 +████████[^0-9]* 12/30 +loss 0.25 val_accuracy 0.25", whole)


def test_the_selected_run_is_among_those_shown_and_marked():
    for selected in (100, 250, 299):
        made = view.lines(replace(SCENES["crowded"], selected=selected), 80, 24)
        [marked] = [line for line in made if any("reverse" in str(span.style) for span in line.spans)]
        assert marked.plain.split()[0] == str(selected)
    assert any(re.fullmatch("… [0-9]+ more", line.plain) for line in made)


@pytest.mark.parametrize(
    ("wanted", "room", "got"),
    [
        ([3, 3], None, [3, 3]), ([3, 3], 6, [3, 3]), ([9, 3], 9, [6, 3]), ([9, 9], 9, [5, 4]),
        ([9, 9, 9], 5, [3, 2, 0]), ([9, 9], 1, [0, 0]), ([1, 9], 5, [1, 4]), ([], 5, []),
    ],
)  # fmt: skip
def test_lines_are_shared_fairly_and_those_in_front_come_first(wanted, room, got):
    assert view.shares(wanted, room) == got


def test_a_store_that_does_not_answer_is_told_beside_what_was_seen_last():
    made = text(Scene(YARD, seen(), problem="the database cannot be reached; trying again"))
    assert made[1] == "! the database cannot be reached; trying again"
    assert any("digits-11" in line for line in made)


# The look


def test_a_glance_has_what_trains_and_how_fast_what_is_next_and_what_ended(yard):
    def about(session: Any) -> Glance:
        return glance(session, 60)

    yard.do(register, name="ada", host="lab", pid=7, slots=2, queues=["default"], lease_seconds=60)
    done, failed = yard.claimed(), yard.claimed()
    yard.finish(done)
    yard.finish(failed, Outcome.FAILED, error="diverged")
    claim = yard.claimed()
    yard.record(claim, Point("loss", 10, 0.5, False), epoch=10, first_epoch=1, samples=5000, seconds=2.0)
    paused = yard.in_state(State.PAUSED).run_id
    low, high = yard.submit(), yard.submit(priority=3)
    found = yard.ask(about)
    assert [worker.busy for worker in found.workers] == [1]
    assert ([run.id for run in found.running], found.running_number) == ([claim.run_id], 1)
    assert found.paces == {claim.run_id: Pace(2500.0, 4.0)}
    assert ([run.id for run in found.paused], [run.id for run in found.waiting]) == ([paused], [high, low])
    assert [run.id for run in found.failed] == [failed.run_id]
    assert [run.id for run in found.ended] == [failed.run_id, done.run_id]
    assert found.queues["default"][0] == 2


def test_a_glance_reads_no_more_rows_than_a_screen_shows(yard):
    for _ in range(40):
        yard.in_state(State.COMPLETED)
        yard.submit()
    found = yard.ask(lambda session: glance(session, 60))
    assert (len(found.ended), len(found.waiting), found.queues["default"][0]) == (MOST_ENDED, 10, 40)
    assert MOST_RUNNING < 1000


def test_an_attempt_that_has_not_reported_has_no_pace():
    from service.store.glance import pace

    assert pace(run(1, "running"), Attempt(samples=0, seconds=0.0)) == Pace()
    half = Attempt(samples=100, seconds=2.0, first_epoch=11, epoch=12)
    assert pace(run(1, "running"), half) == Pace(50.0, 18.0)


@pytest.fixture(scope="module")
def there() -> Iterator[Yard]:
    with settled() as made:
        yield made


def test_a_look_survives_a_database_that_is_away(there, monkeypatch):
    good = look(there.client)
    assert (good.problem, good.yard.state) == (None, "down")
    file = there.home / "trainyard.db"
    there.client.database.dispose()
    file.rename(there.home / "away.db")
    (there.home / "trainyard.db").mkdir()
    try:
        bad = look(there.client)
    finally:
        there.client.database.dispose()
        file.rmdir()
        (there.home / "away.db").rename(file)
    assert bad.glance is None
    assert bad.problem.startswith("the database ")
    assert bad.problem.endswith("; trying again")
    assert look(there.client).problem is None


# Keys


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"jk\x1b[A\x1b[B", ["down", "up", "up", "down"]), (b"\x1bOA\r\nq", ["up", "enter", "enter", "q"]),
        (b"\x1b", ["back"]), (b"\x1b[1;5C?", ["\x1b[1;5C", "?"]), ("é".encode(), ["é"]), (b"\xff", ["\ufffd"]),
    ],
)  # fmt: skip
def test_bytes_of_a_terminal_are_keys(data, names):
    assert terminal.keys(data) == names


class Recorded(Looker):
    """A looker that is not started: what it was asked can be done by the test."""

    def do(self) -> str | None:
        return self._do_what_was_asked()


@pytest.fixture
def hand(there) -> Hand:
    looker = Recorded(there.client, 1.0, lambda: None)
    looker.seen = look(there.client)
    made = Hand(there.client, looker)
    made.scene(looker.seen)
    return made


def test_keys_select_runs_and_stay_on_the_screen(hand):
    assert hand.selected == 4
    for key, selected in (("up", 4), ("down", 5), ("last", 1), ("down", 1), ("up", 3), ("first", 4)):
        hand.press(key)
        assert hand.selected == selected


def test_a_run_that_has_gone_from_the_screen_leaves_the_selection_to_its_neighbour(hand):
    hand.press("down")
    assert hand.scene(Seen(YARD, seen())).selected == 12
    assert hand.scene(Seen(YARD, seen(running=()))).selected == 20  # the second as before


def test_cancel_asks_once_and_anything_but_y_is_no(hand, there):
    hand.press("last")
    for answer in ("n", "c", "enter"):
        hand.press("c")
        assert hand.scene(hand.looker.seen).question == "cancel run 1?"
        hand.press(answer)
        assert (hand.question, hand.looker.do()) == (None, None)
    hand.press("c")
    hand.press("y")
    assert hand.looker.do() == "run 1 is completed; only a queued, paused or running run can be cancelled"


def test_a_waiting_run_is_paused_and_goes_on_by_the_same_key(hand, there):
    hand.press("down")
    hand.press("p")
    assert (hand.looker.do(), there.client.run(5).state) == ("run 5 is paused", "paused")
    hand.looker.seen = look(there.client)
    hand.press("p")
    assert (hand.looker.do(), there.client.run(5).state) == ("run 5 waits again", "queued")


def test_a_running_run_is_asked_and_nobody_waits_for_it(hand, there):
    hand.press("p")
    assert (hand.looker.do(), there.client.run(4).wish) == ("run 4 was asked to pause", "pause")
    there.client.resume(4)


def test_enter_opens_and_closes_the_details_and_a_question_mark_the_help(hand):
    for key, mode in (("enter", "details"), ("back", "list"), ("enter", "details"), ("enter", "list"), ("?", "help"),
                      ("?", "list")):  # fmt: skip
        hand.press(key)
        assert hand.mode == mode
    hand.press("q")
    assert hand.quits


# On a terminal


def test_on_a_terminal_keys_work_it_resizes_and_everything_is_given_back(there):
    with opened(there) as screen:
        screen.waits_for("waits in night")
        assert not screen.is_as_before()
        screen.send("?")
        screen.waits_for("select the run above, below")
        screen.send("?")
        screen.waits_for("waits in night")
        screen.send("jjj\r")  # 4, 5, 2 failed, 3 cancelled
        screen.waits_for("run 3 was cancelled before it started")
        screen.send("\r")
        screen.waits_for("waits in night")
        screen.resize(60, 200)
        os.kill(screen.program.pid, signal.SIGWINCH)
        screen.waits_for(" " * 120)
        screen.send("gjc")
        screen.waits_for("cancel run 5? y or n")
        screen.send("n")
        screen.waits_for("q quit")
        screen.send("q")
        assert screen.ends() == 0
        assert BACK in screen.shown
        assert screen.is_as_before()
    assert there.client.run(5).state == "queued"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_gives_the_terminal_back(there, number):
    with opened(there) as screen:
        screen.waits_for("waits in night")
        screen.program.send_signal(number)
        assert screen.ends() == 0
        assert BACK in screen.shown
        assert screen.is_as_before()


def test_an_error_gives_the_terminal_back_before_it_is_told(there):
    environment = there.environment | {"PYTHONPATH": str(there.home)}
    (there.home / "sitecustomize.py").write_text(
        "import sys\n"
        "def spoil():\n"
        "    from service.cli.top import view\n"
        "    view.lines = lambda *_: 1 / 0\n"
        "import threading; threading.Timer(0, lambda: None)\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'service.cli.top.screen':\n"
        "            sys.meta_path.remove(self); spoil()\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    screen = Terminal(environment)
    try:
        assert screen.ends() == 1
        shown = screen.shown
        assert shown.index(ALTERNATE) < shown.index(BACK) < shown.index(b"ZeroDivisionError")
        assert screen.is_as_before()
    finally:
        screen.close()


def test_without_a_terminal_it_is_printed_once(there):
    done = there.cli("top")
    assert (done.returncode, done.stderr) == (0, "")
    assert "waits in night" in done.stdout
    assert "q quit" not in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert max(map(len, there.cli("top", "--once", COLUMNS="80").stdout.splitlines())) <= 80
    seen = json.loads(there.cli("top", "--json").stdout)
    assert seen["queues"]["night"]["waiting"] == 1
    assert [run["state"] for run in seen["failed"]] == ["failed"]
