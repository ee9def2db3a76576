"""Act: cancel, pause, resume, retry; rename, tag and note."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

from service.client.connection import Connection
from service.client.expressions import condition_of
from service.errors import InputError
from service.following import POLL_SECONDS
from service.names import check_line, check_name, check_text
from service.person import who
from service.store import edits, history, pages, transitions
from service.store.edits import Changes, WrongChange
from service.store.records import EditRecord, RunRecord
from service.store.tables import State

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session


LONGEST_NOTE = 10_000  # characters
ANSWER_SECONDS = 10.0  # for a run that trains to obey
Ask: TypeAlias = "Callable[[Session, ColumnElement[bool]], dict[int, State]]"
Verb: TypeAlias = Literal["cancel", "pause", "resume", "retry"]
VERBS: Mapping[Verb, Ask] = {
    "cancel": transitions.cancel, "pause": transitions.pause, "resume": transitions.resume, "retry": transitions.retry,
}  # fmt: skip


class Acting(Connection):
    """The part of a client that changes what becomes of runs, and what is noted of them."""

    def cancel(self, run_id: int, timeout: float = ANSWER_SECONDS) -> RunRecord:
        """Cancel the run; one that trains is asked to, and this waits until it has obeyed or vanished."""
        return self._ask_one(transitions.cancel, run_id, timeout)

    def pause(self, run_id: int, timeout: float = ANSWER_SECONDS) -> RunRecord:
        """Put the run to rest until it is resumed; one that trains is asked to save and stop, as with `cancel`."""
        return self._ask_one(transitions.pause, run_id, timeout)

    def resume(self, run_id: int) -> RunRecord:
        """Queue a paused run again; it goes on from where it was, to the same bytes."""
        return self._ask_one(transitions.resume, run_id)

    def retry(self, run_id: int) -> RunRecord:
        """Queue a failed or cancelled run again; it goes on from its last checkpoint."""
        return self._ask_one(transitions.retry, run_id)

    def _ask_one(self, ask: Ask, run_id: int, timeout: float = 0.0) -> RunRecord:
        with self.database.write() as session:
            transitions.only(session, run_id, ask)
        self._settle(ask, [run_id], timeout)
        return self.run(run_id)

    def ask_each(
        self, verb: Verb, run_ids: Sequence[int], timeout: float = ANSWER_SECONDS
    ) -> dict[int, State | InputError]:
        """Cancel, pause, resume or retry these runs; of each the state it is in then, or why it could not be asked."""
        ask, refused = VERBS[verb], dict[int, "State | InputError"]()
        run_ids = list(dict.fromkeys(run_ids))
        with self.database.write() as session:
            for run_id in run_ids:
                try:
                    transitions.only(session, run_id, ask)
                except InputError as error:
                    refused[run_id] = error
        asked = self._settle(ask, [run_id for run_id in run_ids if run_id not in refused], timeout)
        return {run_id: found for run_id in run_ids if (found := (refused | asked).get(run_id)) is not None}

    def cancel_all(self, where: str, timeout: float = ANSWER_SECONDS) -> dict[int, State]:
        """Cancel every run that fits the expression and is in a state for it; returns the states they are in then."""
        return self._ask_all(transitions.cancel, where, timeout)

    def pause_all(self, where: str, timeout: float = ANSWER_SECONDS) -> dict[int, State]:
        return self._ask_all(transitions.pause, where, timeout)

    def resume_all(self, where: str) -> dict[int, State]:
        return self._ask_all(transitions.resume, where)

    def retry_all(self, where: str) -> dict[int, State]:
        return self._ask_all(transitions.retry, where)

    def _ask_all(self, ask: Ask, where: str, timeout: float = 0.0) -> dict[int, State]:
        from service.expressions import condition

        which = condition(where)
        with self.database.write() as session:
            asked = ask(session, which)
        return self._settle(ask, list(asked), timeout)

    def _settle(self, ask: Ask, run_ids: Sequence[int], timeout: float) -> dict[int, State]:
        """See to it that the runs that were asked go where they should; returns the states they are in afterwards."""
        if ask in (transitions.resume, transitions.retry):
            with self.database.read() as session:
                queues = history.queues_of(session, run_ids, State.QUEUED)
            self._send_tickets(queues)
        deadline = time.monotonic() + timeout
        while True:
            with self.database.read() as session:
                states = history.states(session, run_ids)
            late = [run_id for run_id, state in states.items() if state is State.RUNNING]
            if not late or time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
        if late and timeout:
            which = f"run {late[0]} has" if len(late) == 1 else f"{len(late)} runs, such as {late[0]}, have"
            self.notify(f"{which} not answered yet; if its worker is gone, it ends with its lease")
        return states

    def edit(
        self,
        which: int | Sequence[int] | str,
        *,
        name: str | None = None,
        note: str | None = None,
        tag: Sequence[str] = (),
        untag: Sequence[str] = (),
        parents: Mapping[str, int | None] = {},
    ) -> list[int]:
        """Change a run, several, or all that fit an expression; returns those of which anything changed.

        An empty note removes it. `tag` and `untag` are added and taken away. `parents`: cloned_from, fine_tuned_from or
        replay_of, and a run's number or None. Each change is kept, with who made it. Raises InputError for what cannot
        be, and then changes nothing.
        """
        changes = Changes(name, note, tag, untag, parents)
        _check_changes(changes)
        fits = condition_of(which) if isinstance(which, str) else None
        with self.database.write() as session:
            if isinstance(which, str):
                run_ids: Sequence[int] = pages.page(session, fits)
            else:
                run_ids = [which] if isinstance(which, int) else which
            return edits.edit(session, run_ids, changes, who())

    def edits(self, run_id: int) -> list[EditRecord]:
        """What was changed of a run afterwards, the oldest first."""
        with self.database.read() as session:
            return edits.edits(session, run_id)


def _check_changes(changes: Changes) -> None:
    if changes.name is None and changes.note is None and not (changes.tag or changes.untag or changes.parents):
        raise InputError("say what to change: name, note, tag, untag or parents")
    if unknown := set(changes.parents) - set(edits.PARENTS):
        raise InputError(f"there is no kind of parent '{min(unknown)}' (known: {', '.join(edits.PARENTS)})")
    for tag in changes.tag:
        with _about("tag"):
            check_name("tag", tag)
    if changes.name is not None:
        with _about("name"):
            check_line("a name", changes.name)
        if not 0 < len(changes.name.strip()) <= 200:
            raise WrongChange("name", "a name has 1 to 200 characters, all on one line")
    if changes.note is not None:
        with _about("note"):
            check_text("a note", changes.note)
        if len(changes.note) > LONGEST_NOTE:
            raise WrongChange("note", f"a note has at most {LONGEST_NOTE:,} characters")


@contextmanager
def _about(field: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise WrongChange(field, str(error)) from None
