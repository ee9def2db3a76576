"""A yard as programs see it. The command line, the web page and notebooks use this and nothing below it.

Every method is one transaction or a few; records that come back are frozen.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from service import following
from service.display import ranges
from service.errors import InputError, TrainyardError
from service.following import POLL_SECONDS
from service.person import who
from service.settings import Settings, load_settings
from service.store import activity, blobs, edits, history, notices, pages, suspicion, transitions
from service.store import workers as worker_store
from service.store.database import Database
from service.store.edits import Changes
from service.store.records import AttemptRecord, DatasetRecord, EditRecord, RunRecord, WorkerRecord
from service.store.tables import Run, State
from service.store.transitions import NoSuchRun
from service.urls import without_secrets

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from nn import Rates
    from service.assembly import Report
    from service.batch import Batch
    from service.comparison import Comparison
    from service.datasets import Dataset
    from service.evaluation import Evaluation
    from service.inspection import Inside, Layers
    from service.notifications import Answer
    from service.portable import Imported
    from service.queue import Tickets
    from service.replaying import Replay
    from service.retention import Pruned
    from service.roles import Role
    from service.spec import AnySpec, Spec, Specs
    from service.spec.grid import AnyGrid
    from service.store.access import TokenRecord
    from service.store.glance import Glance, Pace
    from service.store.removal import Removed
    from service.store.space import Space
    from service.store.statistics import Group
    from service.weights import Weights

LONGEST_NOTE = 10_000  # characters
ANSWER_SECONDS = 10.0  # for a run that trains to obey
LONGEST_TOKEN = 10 * 365 * 86_400.0  # seconds
Ask: TypeAlias = "Callable[[Session, ColumnElement[bool]], dict[int, State]]"
Data: TypeAlias = "Callable[[Spec], Dataset]"
Verb: TypeAlias = Literal["cancel", "pause", "resume", "retry"]
VERBS: Mapping[Verb, Ask] = {
    "cancel": transitions.cancel, "pause": transitions.pause, "resume": transitions.resume, "retry": transitions.retry,
}  # fmt: skip


class NotTrained(InputError):
    def __init__(self, run: RunRecord) -> None:
        super().__init__(f"run {run.id} is {run.state} and has no weights; `trainyard runs why {run.id}` says more")


class WeightsRemoved(InputError):
    def __init__(self, run_id: int, who: str, when: datetime) -> None:
        super().__init__(
            f"the weights of run {run_id} were removed by retention, by {who} at {when:%Y-%m-%d %H:%M} UTC; "
            f"`trainyard runs clone {run_id}` trains it again"
        )


class Client:
    """One yard: submit specs, follow runs, ask the history, scale the pool. `with Client() as client:` closes it.

    `notify` gets sentences for a person that are no errors, such as "no worker serves this queue".
    """

    def __init__(
        self, settings: Settings | None = None, *, notify: Callable[[str], None] = lambda sentence: None, **flags: Any
    ) -> None:
        self.settings = settings or load_settings(**flags)
        self.notify = notify

    def __repr__(self) -> str:
        return f"<Client of {without_secrets(self.settings.database)}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def noting(self) -> tuple[Client, list[str]]:
        """A client of the same connections, and the list that what it notes for a person is added to."""
        notes: list[str] = []
        client = Client(self.settings, notify=notes.append)
        client.__dict__["database"], client.__dict__["tickets"] = self.database, self.tickets
        return client, notes

    def close(self) -> None:
        """Close the connections to the database; whoever uses the client again opens new ones."""
        if "database" in self.__dict__:
            self.database.dispose()

    @cached_property
    def database(self) -> Database:
        """The store, its schema checked; the embedded one is made at first use."""
        database = Database(self.settings.database)
        if self.settings.embedded_database and database.file is not None and not database.file.exists():
            from service.store.schema import upgrade

            self.settings.home.mkdir(parents=True, exist_ok=True)
            upgrade(database)
        try:
            database.require_schema()
        except BaseException:
            database.dispose()
            raise
        return database

    @cached_property
    def tickets(self) -> Tickets:
        from service.queue import Tickets

        return Tickets(self.settings.broker)

    # Submitting

    def check(self, spec: AnySpec, overrides: Sequence[str] = (), *, data: Data | None = None) -> Report:
        """What submit would make of the spec: layers, shapes, parameters, memory. Raises what submit would raise.

        The store is asked only if the spec begins with another run's weights. `data` is as in `submit_many`.
        """
        from service import assembly

        loaded, dataset = _loaded(spec, overrides, data)
        return assembly.check(loaded, dataset, self._begin(loaded))

    def find_rate(
        self,
        spec: AnySpec,
        overrides: Sequence[str] = (),
        *,
        lowest: float = 1e-6,
        highest: float = 10.0,
        steps: int = 200,
    ) -> Rates:
        """Try learning rates from `lowest` to `highest`, here and now. Raises InputError if none of them trains."""
        from threadpoolctl import threadpool_limits

        from nn import find_rate
        from service.assembly import assemble

        loaded, dataset = _loaded(spec, overrides)
        made = assemble(loaded, dataset, self._begin(loaded))
        with threadpool_limits(made.spec.train.threads, user_api="blas"):
            try:
                return find_rate(made.plan, made.train, lowest, highest, steps, made.begin)
            except ValueError as error:
                raise InputError(f"{loaded.name}: {error}") from None

    def _begin(self, spec: Spec) -> Weights | None:
        """The weights of the run that the spec begins with, if it names one."""
        if spec.begin is None:
            return None
        from service.beginning import load

        with self.database.read() as session:
            return load(session, spec)

    def submit(
        self,
        spec: AnySpec,
        *,
        overrides: Sequence[str] = (),
        queue: str = "default",
        priority: int = 0,
        tags: Sequence[str] = (),
    ) -> RunRecord:
        """Queue a run of a spec: a file, a mapping with the same keys, or one that was loaded.

        Raises InputError for whatever is wrong with the spec or its data, and then changes nothing.
        """
        _check_names(queue, tags)
        from service.batch import Batch

        batch = Batch(self._begin, queue=queue, priority=priority, tags=tags)
        batch.add(_spec(spec, overrides))
        (run_id,) = self._store(batch)
        return self.run(run_id)

    def submit_many(
        self,
        specs: AnySpec | Iterable[AnySpec] | Specs,
        *,
        overrides: Sequence[str] = (),
        grid: AnyGrid = (),
        queue: str = "default",
        priority: int = 0,
        tags: Sequence[str] = (),
        data: Data | None = None,
    ) -> list[int]:
        """Queue a run of each spec, for every combination of the values that `grid` has for keys; returns their
        numbers.

        A file may hold several specs. `grid` is a mapping such as {"seed": range(1, 101), "optimizer": ["sgd", "adam"]}
        or a list of arguments as the command line takes them. `data` loads the dataset that a spec names, instead of
        looking for it on this machine. Raises InputError for whatever is wrong with any of them, and then changes
        nothing.
        """
        _check_names(queue, tags)
        from service import datasets
        from service.batch import Batch, uncollected
        from service.spec import Spec, Specs

        if not isinstance(specs, Specs):
            single = isinstance(specs, str | Path | Mapping | Spec)
            specs = Specs([specs] if single else specs, overrides, grid)  # type: ignore[list-item, arg-type]
        batch = Batch(self._begin, queue, data or datasets.load, priority=priority, tags=tags)
        with uncollected():
            batch.add_all(specs)
            return self._store(batch)

    def clone(
        self,
        run_id: int,
        *,
        overrides: Sequence[str] = (),
        queue: str | None = None,
        priority: int | None = None,
        tags: Sequence[str] | None = None,
    ) -> RunRecord:
        """Submit a run's spec once more, with keys changed, on the rows that it was submitted with.

        Queue, priority and tags are the run's unless given. Raises InputError for what is wrong with the new spec, or
        when it would have to read other rows.
        """
        run = self.run(run_id)
        queue = run.queue if queue is None else queue
        tags = run.tags if tags is None else tags
        _check_names(queue, tags)
        priority = run.priority if priority is None else priority
        return self._again(run_id, overrides, queue=queue, priority=priority, tags=tags, cloned_from=run_id)

    def replay(self, run_id: int, *, queue: str | None = None) -> RunRecord:
        """Submit a completed run once more, to see whether it ends with the same bytes: see `compare_replay`.

        The same spec on the same rows, in the run's queue unless told. It has no tags, so that it is not found where
        the run is. Raises InputError if the run is not completed, or began with weights that are no longer there.
        """
        run = self.run(run_id)
        if run.state is not State.COMPLETED:
            raise transitions.WrongState(run_id, run.state, "replayed", "completed")
        queue = run.queue if queue is None else queue
        _check_names(queue, ())
        return self._again(run_id, (), queue=queue, priority=run.priority, replay_of=run_id)

    def _again(self, run_id: int, overrides: Sequence[str], **named: Any) -> RunRecord:
        """Submit the spec of a run on the rows that it was submitted with."""
        from service.batch import Batch
        from service.cloning import clone

        with self.database.read() as session:
            spec, dataset = clone(session, run_id, overrides)
        batch = Batch(self._begin, **named)
        batch.add(spec, dataset)
        (new_id,) = self._store(batch)
        return self.run(new_id)

    def compare_replay(self, run_id: int, replay_id: int) -> Replay:
        """Whether a run and its replay ended with the same weights, else the first epoch at which they differ."""
        from service.replaying import compare

        with self.database.read() as session:
            return compare(session, run_id, replay_id)

    def _store(self, batch: Batch) -> list[int]:
        """Store checked runs and send their tickets; returns their numbers."""
        numbers: list[int] = []
        try:
            for some in batch.store(self.database):
                numbers += some
        except TrainyardError:
            if numbers:
                self.notify(f"{len(numbers):,} of the {len(batch.runs):,} runs are queued: {ranges(numbers)}")
            raise
        finally:
            self._send_tickets([batch.queue] * len(numbers))
        return numbers

    def _send_tickets(self, queues: Sequence[str]) -> None:
        """A ticket for each run, named by its queue."""
        from service.queue import BrokerUnreachable

        try:
            for queue, number in Counter(queues).items():
                self.tickets.send(queue, number)
        except BrokerUnreachable as error:
            yard = "start a yard with `trainyard up`" if self.settings.embedded_broker else str(error)
            if len(queues) == 1:
                self.notify(f"the run is stored and will start as soon as a worker finds it; {yard}")
            else:
                self.notify(f"the runs are stored and will start as soon as a worker finds them; {yard}")

    # Following

    def run(self, run_id: int) -> RunRecord:
        with self.database.read() as session:
            return history.run(session, run_id)

    def runs(
        self,
        where: str | None = None,
        *,
        sort: str | None = None,
        after: int | None = None,
        limit: int | None = 20,
    ) -> list[RunRecord]:
        """The runs that fit an expression such as "val_accuracy > 0.97 and tag = 'base'", the newest first.

        `sort` by a field, and `asc` or `desc`, instead: "best(val_loss)", "created desc". `after` takes the number of
        the last run of a page and goes on behind it. Raises InputError for what is no expression or no order.
        """
        fits, order = _condition(where), _order(sort)
        with self.database.read() as session:
            return history.runs(session, fits, order, after, limit)

    def values(self, run_ids: Sequence[int], fields: str) -> list[dict[str, Any]]:
        """For each of these runs the value of each of the fields, such as "id, best(val_loss), optimizer".

        A run that has no such value has None. Raises InputError for what is no field of one value.
        """
        from service.expressions import parse_fields, value
        from service.expressions.fields import is_whole

        asked = parse_fields(fields)
        with self.database.read() as session:
            rows = history.values_of(session, run_ids, {name: value(field) for name, field in asked.items()})
        whole = [name for name, field in asked.items() if is_whole(field)]
        for row in rows:  # numbers of specs are kept as doubles
            row |= {name: int(row[name]) for name in whole if isinstance(row[name], float)}
        return rows

    def best(self, metric: str, where: str | None = None, *, limit: int = 1) -> list[RunRecord]:
        """The runs that are best by a metric at its best epoch; those that have it come first.

        Raises InputError for what is no metric.
        """
        return self.runs(where, sort=_best(metric), limit=limit)

    def stats(self, metric: str, by: str, where: str | None = None, *, limit: int = 20) -> list[Group]:
        """Count, mean, deviation and best of a metric (or of another field that is a number) for each group of runs.

        `by` lists fields: "optimizer, train.batch_size". The groups with the best values come first.
        """
        from service.expressions import orders
        from service.store import statistics

        fits, measured = _condition(where), orders.measure(metric)
        keys = orders.keys(by)
        with self.database.read() as session:
            return statistics.groups(session, fits, measured, keys, limit)

    def pareto(self, first: str, second: str, where: str | None = None) -> list[RunRecord]:
        """The runs of which no other is better in one of two fields and at least as good in the other.

        Metrics are best where they are best, other fields where they are small; "duration desc" turns that round.
        """
        from service.expressions import orders
        from service.store import statistics

        fits, one, two = _condition(where), orders.measure(first), orders.measure(second)
        with self.database.read() as session:
            return history.some(session, statistics.front(session, fits, one, two))

    def origin(self, run_id: int) -> dict[str, Any]:
        """Who submitted the run, on which host, with which versions, and the git commit of the folder if it had one."""
        with self.database.read() as session:
            return history.origin(session, run_id)

    def history(self, run_id: int, after_epoch: int = 0) -> list[dict[str, Any]]:
        """One row an epoch: `epoch` and every metric."""
        with self.database.read() as session:
            history.run(session, run_id)
            return history.curves(session, run_id, after_epoch)

    def parents_there(self, run: RunRecord) -> set[int]:
        """Which of the runs that it was cloned from, fine-tuned from or is a replay of have not been removed."""
        parents = [run_id for run_id in (run.cloned_from, run.fine_tuned_from, run.replay_of) if run_id is not None]
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
        fits, order = _condition(where), _order(sort)
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
            return made(frames.metrics(session, _numbers(session, runs), names))

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

        ids = list(dict.fromkeys(run_ids))
        with self.database.read() as session:
            runs = history.some(session, ids)
            metric = judging(runs, metric)
            points = history.curves_of(session, ids, drawn(metric)) if curves and metric else {}
            return compare(runs, history.environments(session, ids), metric, points)

    def attempts(self, run_id: int) -> list[AttemptRecord]:
        with self.database.read() as session:
            return history.attempts(session, run_id)

    def watch(self, run_id: int, timeout: float | None = None) -> Iterator[RunRecord]:
        """The run as it is, then each time something of it changed, until it has ended; the ended run comes last.

        Raises TimedOut when that takes too many seconds.
        """
        return following.watch(self.database.read, [run_id], timeout)

    def watch_all(self, runs: str | Iterable[int], timeout: float | None = None) -> Iterator[RunRecord]:
        """The runs of these numbers, or those that fit an expression by now: each as it is, then whichever changes,
        until all have ended."""
        with self.database.read() as session:
            run_ids = _numbers(session, runs)
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

    # Acting

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

    # Noting

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
        fits = _condition(which) if isinstance(which, str) else None
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

    # Keeping

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

        policy = retention.Policy(keep_best, by, weights_after, checkpoints_after, _condition(where))
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
        if running := self.counts()[State.RUNNING]:
            runs = "a run trains" if running == 1 else f"{running} runs train"
            raise InputError(f"{runs} just now, and nobody can write meanwhile; end the yard first: `trainyard down`")
        before = self.space().database
        self.database.compact()
        return before, self.space().database

    # Using

    def weights_file(self, run_id: int, *, last: bool = False) -> bytes:
        """The safetensors file of the best weights (or the last ones)."""
        with self.database.read() as session:
            run = history.run(session, run_id)
            row = session.get_one(Run, run_id)
            blob_id = row.last_weights_id if last else row.weights_id
            if blob_id is None:
                raise _missing(session, run)
            return blobs.load(session, blob_id)

    def weights(self, run_id: int, *, last: bool = False) -> Mapping[str, np.ndarray]:
        """The best weights (or the last ones) as arrays by name, such as `1.dense.weight`."""
        from service.weights import unpack

        return unpack(self.weights_file(run_id, last=last)).parameters.views

    def predict(self, run_id: int, table: str | Path) -> pl.DataFrame:
        """What the run's best weights say of each row of a table: classes with probabilities, or values."""
        from service.prediction import predict
        from service.weights import unpack

        return predict(unpack(self.weights_file(run_id)), Path(table))

    def evaluate(self, run_id: int, *, split: str | None = None, last: bool = False) -> Evaluation:
        """How good the run's best weights (or the last ones) are on a split of its data: every metric that fits.

        `split` is train, validation or test; without one it is test, or validation where no rows were kept for test.
        Raises InputError for a split without rows.
        """
        from service.datasets import stored
        from service.evaluation import evaluate
        from service.weights import unpack

        weights = unpack(self.weights_file(run_id, last=last))
        with self.database.read() as session:
            dataset = stored.load(session, history.run(session, run_id).dataset_sha256)
        return evaluate(weights, dataset, split)

    def layers(self, run_id: int) -> Layers:
        """The network of a run as a table of its layers, read from the spec alone where that says it all."""
        from service.datasets import Schema
        from service.inspection import layers, of_network
        from service.spec import Spec
        from service.store.activity import schema_of
        from service.weights import unpack

        with self.database.read() as session:
            run = history.run(session, run_id)
            schema = Schema.from_document(schema_of(session, run.dataset_sha256))
        if schema.missing and run.weights_sha256:  # the width depends on which columns have gaps
            return of_network(unpack(self.weights_file(run_id)).network)
        return layers(Spec.from_document(run.spec, f"run {run_id}"), schema)

    def inside(self, run_id: int) -> Inside:
        """What there is to see in a run's best weights: how they are spread, what the first layer looks for in images,
        how good they are on rows that were kept back, and the images they are wrong about."""
        from service.datasets import stored
        from service.inspection import inside
        from service.weights import unpack

        weights = unpack(self.weights_file(run_id))
        with self.database.read() as session:
            dataset = stored.load(session, history.run(session, run_id).dataset_sha256)
        return inside(weights, dataset)

    # Moving

    def ended(self, where: str | None = None) -> list[int]:
        """The numbers of all runs that fit the expression, if there is one, and have ended, the oldest first."""
        with self.database.read() as session:
            found = history.fitting(session, _condition(where))
        return [run_id for run_id, state in found.items() if state.ended]

    def export_runs(self, file: str | Path, run_ids: Sequence[int], *, with_data: bool = True) -> None:
        """Write ended runs into one file that `import_runs` of another yard reads: all the store has of them.

        `with_data`: with the datasets they were trained on, which a yard that has them does not need.
        """
        from service import portable
        from service.files import write_file

        self._check_ended(run_ids)
        order = list(dict.fromkeys(run_ids))
        write_file(Path(file), lambda out: portable.write(self.database, out, order, with_data=with_data))

    def import_runs(self, file: str | Path) -> list[Imported]:
        """Store the runs of an exported file under new numbers; one that is here already stays as it is.

        Raises InputError, having stored nothing, if anything in the file is wrong.
        """
        from service import portable

        path = Path(file)
        try:
            opened = path.open("rb")
        except OSError as error:
            raise InputError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
        with opened:
            return portable.bring(self.database, opened, path.name)

    def export_mlflow(self, folder: str | Path, run_ids: Sequence[int], *, experiment: str = "trainyard") -> None:
        """Write ended runs into a folder that MLflow reads as its file store, beside what is in there."""
        from service import mlruns

        self._check_ended(run_ids)
        mlruns.write(self.database, Path(folder), list(dict.fromkeys(run_ids)), experiment)

    def _check_ended(self, run_ids: Sequence[int]) -> None:
        if not run_ids:
            raise InputError("there is no run to export")
        with self.database.read() as session:
            states = history.states(session, run_ids)
        for run_id in run_ids:
            if run_id not in states:
                raise transitions.NoSuchRun(run_id)
            if not states[run_id].ended:
                raise transitions.WrongState(run_id, states[run_id], "exported", "completed, failed or cancelled")

    # Access over HTTP

    def tokens(self) -> list[TokenRecord]:
        """Every token, without its secret."""
        from service.store import access

        with self.database.read() as session:
            return access.tokens(session)

    def create_token(self, name: str, role: Role | str, seconds: float | None = None) -> tuple[str, TokenRecord]:
        """Make a token, valid for so many seconds or until it is revoked; returns its secret, which is not kept.

        Raises InputError for a name that is taken, or a role or time that cannot be.
        """
        from service.roles import Role
        from service.secrets import hashed, new_secret
        from service.spec.errors import unknown
        from service.store import access

        check_name("token", name)
        if role not in list(Role):
            raise InputError(unknown("role", role, [*map(str, Role)]))
        if seconds is not None and not 0 < seconds <= LONGEST_TOKEN:
            raise InputError(f"a token is valid for up to {LONGEST_TOKEN / 86_400:,.0f} days, or without end")
        secret = new_secret()
        with self.database.write() as session:
            return secret, access.create(session, name, Role(role), hashed(secret), seconds)

    def keep_token(self, name: str, role: Role, secret: str) -> None:
        """See to it that this secret, and no other, is the token of this name."""
        from service.secrets import hashed
        from service.store import access

        with self.database.write() as session:
            known = access.bearer(session, hashed(secret))
            if known is not None and (known.name, known.role) == (name, role):
                return
            if any(token.name == name for token in access.tokens(session)):
                access.revoke(session, name)
            access.create(session, name, role, hashed(secret))

    def revoke_token(self, name: str) -> None:
        """Make a token invalid at once, and end what was logged in with it. Raises NoSuchToken."""
        from service.store import access

        with self.database.write() as session:
            access.revoke(session, name)

    # The pool

    def workers(self) -> list[WorkerRecord]:
        with self.database.read() as session:
            return worker_store.workers(session, self.settings.lease_seconds)

    def scale(self, worker: str, slots: int) -> None:
        """Ask a worker for another number of slots; a slot that trains ends its run first."""
        if slots < 1:
            raise InputError(f"a worker cannot have {slots} slots; `drain` and `stop` end it")
        with self.database.write() as session:
            worker_store.wish(session, worker, self.settings.lease_seconds, slots=slots)

    def drain(self, worker: str) -> None:
        """Ask a worker to finish what it trains, to take nothing new, and to end."""
        self._end(worker, worker_store.DRAIN)

    def stop(self, worker: str) -> None:
        """Ask a worker to save what it trains, hand it over to others, and end."""
        self._end(worker, worker_store.STOP)

    def trust(self, worker: str) -> None:
        """Take back a worker that was set aside. Raises NotSetAside."""
        with self.database.write() as session:
            suspicion.trust(session, worker)

    def _end(self, worker: str, wish: str) -> None:
        with self.database.write() as session:
            worker_store.wish(session, worker, self.settings.lease_seconds, end=wish)

    def datasets(self) -> list[DatasetRecord]:
        """The datasets that the store has, the newest first."""
        with self.database.read() as session:
            return history.datasets(session)

    def counts(self) -> dict[State, int]:
        with self.database.read() as session:
            return history.counts(session)

    def glance(self) -> Glance:
        """What goes on just now: workers, queues, what trains and how fast, what is next, what ended last."""
        from service.store.glance import glance

        with self.database.read() as session:
            return glance(session, self.settings.lease_seconds)

    def notify_test(self) -> dict[str, Answer]:
        """Send an example of a notification to each subscriber that is set up here; returns what came of it.

        Raises InputError if there is none.
        """
        from service import notifications

        subscribers = notifications.subscribers(self.settings)
        if not subscribers:
            raise InputError("no notifications are set up here; set TRAINYARD_NOTIFY_URL or TRAINYARD_NOTIFY_COMMAND")
        told = notifications.example()
        return {subscriber: notifications.deliver(self.settings, subscriber, told) for subscriber in subscribers}

    def undelivered(self) -> list[notices.Undelivered]:
        """The notifications that wait, and those that were given up within the last week, by subscriber."""
        with self.database.read() as session:
            return notices.undelivered(session)

    def ended_since(self, moment: datetime) -> dict[State, int]:
        """How many runs have ended since then, by how."""
        with self.database.read() as session:
            return activity.ended_since(session, moment)

    def paces(self) -> dict[int, Pace]:
        """How fast each run trains that trains just now, and how many seconds it has left."""
        with self.database.read() as session:
            return activity.paces(session)

    def waiting(self) -> dict[str, tuple[int, float]]:
        """For each queue with waiting runs: how many, and how many seconds the oldest has waited."""
        with self.database.read() as session:
            return history.waiting(session)


def _loaded(spec: AnySpec, overrides: Sequence[str], data: Data | None = None) -> tuple[Spec, Dataset]:
    from service import datasets

    loaded = _spec(spec, overrides)
    return loaded, (data or datasets.load)(loaded)


def _spec(spec: AnySpec, overrides: Sequence[str]) -> Spec:
    from service.spec import Spec, load, parse

    if isinstance(spec, Mapping):
        spec = parse(json.dumps(spec, default=str), "the spec", overrides)
    elif not isinstance(spec, Spec):
        spec = load(Path(spec), overrides)
    return spec


def _check_names(queue: str, tags: Sequence[str]) -> None:
    check_name("queue", queue)
    for tag in tags:
        check_name("tag", tag)


def _missing(session: Session, run: RunRecord) -> InputError:
    """Why there are no weights."""
    from service.store import removal

    gone = removal.given_up(session, run.id, "weights")
    return NotTrained(run) if gone is None else WeightsRemoved(run.id, gone.who, gone.at)


def _numbers(session: Session, runs: str | Iterable[int]) -> list[int]:
    """Of runs that are named by their numbers, or by an expression that they fit; then the oldest first.

    Raises NoSuchRun, InputError.
    """
    if isinstance(runs, str):
        return sorted(pages.page(session, _condition(runs)))
    run_ids = list(dict.fromkeys(runs))
    there = history.states(session, run_ids)
    for run_id in run_ids:
        if run_id not in there:
            raise NoSuchRun(run_id)
    return run_ids


def _condition(where: str | None) -> ColumnElement[bool] | None:
    if where is None:
        return None
    from service.expressions import condition

    return condition(where)


def _check_changes(changes: Changes) -> None:
    if changes.name is None and changes.note is None and not (changes.tag or changes.untag or changes.parents):
        raise InputError("say what to change: name, note, tag, untag or parents")
    if unknown := set(changes.parents) - set(edits.PARENTS):
        raise InputError(f"there is no kind of parent '{min(unknown)}' (known: {', '.join(edits.PARENTS)})")
    for tag in changes.tag:
        check_name("tag", tag)
    if changes.name is not None and not (0 < len(changes.name.strip()) <= 200 and changes.name.isprintable()):
        raise InputError("a name has 1 to 200 characters, all on one line")
    if changes.note is not None and ("\0" in changes.note or len(changes.note) > LONGEST_NOTE):
        raise InputError(f"a note has at most {LONGEST_NOTE:,} characters, and none of them is NUL")


def _best(metric: str) -> str:
    from service.expressions import parse_fields
    from service.expressions.tree import Metric

    if parse_fields(metric) != {metric: Metric(metric)}:
        raise InputError(f"'{metric}' is not the name of a metric, such as val_accuracy")
    return f"best({metric})"


def _order(sort: str | None) -> pages.Order:
    if sort is None:
        return pages.NEWEST
    from service.expressions import order

    return order(sort)


def check_name(what: str, name: str) -> None:
    """Names of queues, tags and workers go into messages, labels and commands: letters, digits and a few marks."""
    import re

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:@=-]{0,63}", name):
        raise InputError(
            f"{what} '{name}': use 1 to 64 letters, digits and . _ : @ = - and begin with a letter or digit"
        )
