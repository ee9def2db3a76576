"""A real yard, watched: its supervisor tells of every end, and `trainyard top` shows it and acts on it."""

from __future__ import annotations

from tests.receivers import serving
from tests.servers import eventually
from tests.terminals import opened
from tests.yard import TIMEOUT, yard


def test_a_training_run_is_seen_and_cancelled_in_the_terminal_and_both_ends_are_told():
    with serving() as receiver, yard(notify_url=receiver.url, notify_secret="key") as there:
        there.up(1)
        done, run = there.submit(2), there.submit(1_000_000)
        there.trains(run)
        with opened(there) as screen:
            screen.waits_for("1 of 1 slots busy")
            screen.waits_for(f"{run}  digits")
            screen.send("c")
            screen.waits_for(f"cancel run {run}? y or n")
            screen.send("y")
            screen.waits_for("was asked to cancel")
            assert there.ended(run).state == "cancelled"
            screen.waits_for("0 of 1 slots busy")
            screen.send("q")
            assert screen.ends() == 0
            assert screen.is_as_before()
        eventually(lambda: len(receiver.got) == 2, TIMEOUT)
        assert [(message["id"], message["state"]) for message in receiver.told] == [
            (done, "completed"), (run, "cancelled")
        ]  # fmt: skip
        assert receiver.told[0]["url"] == f"{there.state.web_url}/runs/{done}"
        assert all("X-Trainyard-Signature" in headers for headers, _ in receiver.got)
        assert there.client.undelivered() == []
