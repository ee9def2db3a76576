"""Keep or give up: remove runs, prune weights and checkpoints, see what the history takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from service.client.connection import Connection
from service.client.expressions import condition_of
from service.errors import InputError
from service.person import who
from service.store import history, transitions
from service.store.tables import State

if TYPE_CHECKING:
    from service.retention import Pruned
    from service.store.removal import Removed
    from service.store.space import Space


class Keeping(Connection):
    """The part of a client that makes room."""

    def remove(self, run_ids: Sequence[int], *, dry_run: bool = False) -> Removed:
        """Remove runs that have ended, with all that is theirs; for ever. `dry_run` only says what would go.

        Raises InputError, and removes nothing, when one of them has not ended, or others begin with its weights.
        """
        from service.store import removal

        run_ids = list(dict.fromkeys(run_ids))
        with self.database.read() as session:
            states = history.states(session, run_ids)
            for run_id in run_ids:
                if run_id not in states:
                    raise transitions.NoSuchRun(run_id)
                if (obstacle := removal.obstacle(session, run_id, states[run_id])) is not None:
                    raise obstacle
        return self._remove(run_ids, dry_run)

    def remove_all(self, where: str, *, dry_run: bool = False) -> Removed:
        """Remove every run that fits the expression and may go."""
        from service.expressions import condition
        from service.store import removal

        with self.database.read() as session:
            run_ids, left = removal.fitting(session, condition(where))
        return replace(self._remove(run_ids, dry_run), left=left)

    def _remove(self, run_ids: Sequence[int], dry_run: bool) -> Removed:
        from service.store import removal

        if not dry_run:
            return removal.remove(self.database, run_ids)
        with self.database.read() as session:
            return removal.preview(session, run_ids)

    def prune(
        self,
        *,
        keep_best: int | None = None,
        by: str | None = None,
        weights_after: float | None = None,
        checkpoints_after: float | None = None,
        where: str | None = None,
        dry_run: bool = False,
    ) -> Pruned:
        """Give up weights and checkpoints that a policy does not keep, and whatever no run needs. Histories stay.

        `keep_best` weights of each name are kept, by the metric `by` or else by the one that counts; weights and
        checkpoints go so many seconds after their run has ended, if told. `dry_run` explains it and changes nothing.
        """
        from service import retention

        policy = retention.Policy(keep_best, by, weights_after, checkpoints_after, condition_of(where))
        with self.database.read() as session:
            planned = retention.plan(session, policy)
        return planned if dry_run else retention.carry_out(self.database, planned, who())

    def space(self) -> Space:
        """What the database takes on its disk, and what of it could go."""
        from service.store import space

        with self.database.read() as session:
            return space.measure(session)

    def compact(self) -> tuple[int, int]:
        """Give back what a SQLite file has to spare; returns the bytes that it took and takes now.

        Raises InputError while runs train: they could not renew their leases.
        """
        with self.database.read() as session:
            running = history.counts(session)[State.RUNNING]
        if running:
            runs = "a run trains" if running == 1 else f"{running} runs train"
            raise InputError(f"{runs} just now, and nobody can write meanwhile; end the yard first: `trainyard down`")
        before = self.space().database
        self.database.compact()
        return before, self.space().database
