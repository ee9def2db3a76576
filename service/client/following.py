"""Follow: runs, their metrics and curves, alone and beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from service import following
from service.client.connection import Connection
from service.client.expressions import (
    best_of,
    check_limit,
    condition_of,
    fields_of,
    numbers_of,
    order_of,
    run_numbers,
)
from service.store import history, logs, pages
from service.store.logs import Place
from service.store.records import AttemptRecord, LogRecord, RunRecord

if TYPE_CHECKING:
    from service.comparison import Comparison
    from service.store.statistics import Group


class Following(Connection):
    """The part of a client that asks the history."""

    def runs(
        self,
        where: str | None = None,
        *,
        sort: str | None = None,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = 20,
    ) -> list[RunRecord]:
        """The runs that fit an expression such as "val_accuracy > 0.97 and tag = 'base'", the newest first.

        `sort` by a field, and `asc` or `desc`, instead: "best(val_loss)", "created desc". `after` takes the number of
        the last run of a page and goes on behind it; `before` takes that of the first one and goes back. Raises
        InputError for what is no expression or no order.
        """
        check_limit(limit)
        fits, order = condition_of(where), order_of(sort)
        with self.database.read() as session:
            return history.runs(session, fits, order, after, limit, before)

    def values(self, run_ids: Sequence[int], fields: str) -> list[dict[str, Any]]:
        """For each of these runs the value of each of the fields, such as "id, best(val_loss), optimizer".

        A run that has no such value has None, and `tags` are a list. Raises InputError for what is no field of one
        value.
        """
        from service.expressions import parse_fields, value
        from service.expressions.fields import is_whole
        from service.expressions.tree import Tag

        asked = parse_fields(fields, tags=True)
        with self.database.read() as session:
            rows = history.values_of(session, run_ids, {name: value(field) for name, field in asked.items()})
        whole = [name for name, field in asked.items() if is_whole(field)]
        for row in rows:
            row |= {name: _numbered(row[name], True) for name in whole}
            row |= {name: sorted((row[name] or "").split()) for name, field in asked.items() if isinstance(field, Tag)}
        return rows

    def best(self, metric: str, where: str | None = None, *, limit: int = 1) -> list[RunRecord]:
        """The runs that are best by a metric at its best epoch, of those that have it.

        Raises InputError for what is no metric.
        """
        found = self.runs(where, sort=best_of(metric), limit=limit)
        return [run for run in found if metric in run.metrics]  # those that lack it come last

    def stats(self, metric: str, by: str | Sequence[str], where: str | None = None, *, limit: int = 20) -> list[Group]:
        """Count, mean, deviation and best of a metric (or of another field that is a number) for each group of runs.

        `by` lists fields: "optimizer, train.batch_size", or a list of them. The groups with the best values come first.
        """
        from service.expressions import orders, parse_fields
        from service.expressions.fields import is_whole
        from service.store import statistics

        check_limit(limit)
        fits, measured, by = condition_of(where), orders.measure(metric), fields_of(by)
        keys, whole = orders.keys(by), [is_whole(field) for field in parse_fields(by).values()]
        with self.database.read() as session:
            groups = statistics.groups(session, fits, measured, keys, limit)
        return [replace(group, key=tuple(map(_numbered, group.key, whole))) for group in groups]

    def pareto(self, first: str, second: str, where: str | None = None) -> list[RunRecord]:
        """The runs of which no other is better in one of two fields and at least as good in the other.

        Metrics are best where they are best, other fields where they are small; "duration desc" turns that round.
        """
        from service.expressions import orders
        from service.store import statistics

        fits, one, two = condition_of(where), orders.measure(first), orders.measure(second)
        with self.database.read() as session:
            return history.some(session, statistics.front(session, fits, one, two))

    def origin(self, run_id: int) -> dict[str, Any]:
        """Who submitted the run, on which host, with which versions, and the git commit of the folder if it had one."""
        with self.database.read() as session:
            return history.origin(session, run_id)

    def history(self, run_id: int, after_epoch: int = 0) -> list[dict[str, Any]]:
        """One row an epoch: `epoch` and every metric."""
        with self.database.read() as session:
            found = history.curves(session, run_id, after_epoch)
            if not found:
                history.run(session, run_id)  # or NoSuchRun
            return found

    def parents_there(self, run: RunRecord) -> set[int]:
        """Which of the runs that it was cloned from, fine-tuned from or is a replay of have not been removed."""
        parents = [run_id for run_id in (run.cloned_from, run.fine_tuned_from, run.replay_of) if run_id is not None]
        if not parents:
            return set()
        with self.database.read() as session:
            return set(history.states(session, parents))

    def frame(
        self,
        where: str | None = None,
        *,
        sort: str | None = None,
        columns: str | Sequence[str] | None = None,
        limit: int | None = None,
        library: str = "polars",
    ) -> Any:
        """The runs that fit as a data frame, one row a run, of polars or of pandas.

        `columns` are fields of expressions, such as ["id", "tags", "best(val_loss)", "optimizer.adam.learning_rate"].
        Without them there are the usual ones, and of each metric the last and the best value. `sort` is as in `runs`.
        Raises InputError for what is no expression, order, field or library.
        """
        from service import frames

        made = frames.maker(library)
        check_limit(limit)
        fits, order = condition_of(where), order_of(sort)
        with self.database.read() as session:
            run_ids = pages.page(session, fits, order, limit=limit)
            return made(frames.runs(session, run_ids, columns))

    def metrics_frame(
        self, runs: str | Iterable[int], names: str | Sequence[str] | None = None, *, library: str = "polars"
    ) -> Any:
        """The metrics of the runs of these numbers, or of those that fit an expression, as a data frame.

        It has a row for each epoch of a run, with the columns `run`, `epoch` and every metric, or those of these names.
        """
        from service import frames

        made = frames.maker(library)
        with self.database.read() as session:
            return made(frames.metrics(session, numbers_of(session, runs), names))

    def steps(self, run_id: int, names: Sequence[str] | None = None, points: int | None = 1000) -> list[dict[str, Any]]:
        """One row a point of a step, where the spec asks for them (`train.log_every`): `step`, `name` and `value`.

        A curve of more than so many `points` is thinned by the database: its ends and its spikes stay. None: all of it.
        """
        with self.database.read() as session:
            history.run(session, run_id)
            return history.steps(session, run_id, names, points)

    def compare(self, run_ids: Iterable[int], metric: str | None = None, *, curves: bool = True) -> Comparison:
        """These runs beside each other: what differs in their specs and around them, their metrics and curves.

        `metric` is what they are judged by; without one it is the metric that counts for most of them. `curves=False`
        leaves the points out. Raises InputError for a run that is not there, or a metric that none of them has.
        """
        from service.comparison import compare, drawn, judging

        ids = run_numbers(run_ids)
        with self.database.read() as session:
            runs = history.some(session, ids)
            metric = judging(runs, metric)
            points = history.curves_of(session, ids, drawn(metric)) if curves and metric else {}
            return compare(runs, history.environments(session, ids), metric, points)

    def attempts(self, run_id: int) -> list[AttemptRecord]:
        with self.database.read() as session:
            return history.attempts(session, run_id)

    def logs(
        self, run_id: int, *, attempt: int | None = None, after: Place = (0, 0), limit: int | None = None
    ) -> list[LogRecord]:
        """What the run's attempts, or one of them, had to tell: the lines behind a place, which is an attempt and a
        number, in order. Raises NoSuchRun, and InputError for an attempt that there was not."""
        with self.database.read() as session:
            history.check_attempt(session, run_id, attempt)
            return logs.read(session, run_id, attempt=attempt, after=after, limit=limit)

    def log_tail(self, run_id: int, count: int, *, attempt: int | None = None) -> list[LogRecord]:
        """The last lines of a run's log, or of an attempt's, in order."""
        with self.database.read() as session:
            history.check_attempt(session, run_id, attempt)
            return logs.tail(session, run_id, count, attempt=attempt)

    def follow_logs(self, run_id: int, *, attempt: int | None = None, after: Place = (0, 0)) -> Iterator[LogRecord]:
        """The lines behind a place, then each that comes, until the run, or the attempt, has ended."""
        return following.follow_logs(self.database.read, run_id, attempt, after)

    def watch(self, run_id: int, timeout: float | None = None) -> Iterator[RunRecord]:
        """The run as it is, then each time something of it changed, until it has ended; the ended run comes last.

        Raises TimedOut when that takes too many seconds.
        """
        return following.watch(self.database.read, [run_id], timeout)

    def watch_all(self, runs: str | Iterable[int], timeout: float | None = None) -> Iterator[RunRecord]:
        """The runs of these numbers, or those that fit an expression by now: each as it is, then whichever changes,
        until all have ended."""
        with self.database.read() as session:
            run_ids = numbers_of(session, runs)
        return following.watch(self.database.read, run_ids, timeout)

    def wait(self, run_id: int, timeout: float | None = None) -> RunRecord:
        """The run once it has ended; raises TimedOut when that takes too many seconds."""
        *_, run = self.watch(run_id, timeout)
        return run

    def why(self, run_id: int) -> str:
        """One sentence: why the run waits, or what ended it."""
        from service.why import why

        with self.database.read() as session:
            return why(session, run_id, self.settings.lease_seconds)


def _numbered(value: Any, whole: bool) -> Any:
    """A value of a field; numbers of specs are kept as doubles, of whole ones, too."""
    return int(value) if whole and isinstance(value, float) else value
