"""Submit: check specs, queue runs of them, again and in numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from service.client.connection import Connection
from service.display import ranges
from service.errors import InputError, TrainyardError
from service.names import check_names
from service.store import transitions
from service.store.records import RunRecord
from service.store.tables import State

if TYPE_CHECKING:
    from nn import Rates
    from service.assembly import Report
    from service.batch import Batch, Beside
    from service.datasets import Dataset
    from service.replaying import Replay
    from service.spec import AnySpec, Spec, Specs
    from service.spec.grid import AnyGrid
    from service.weights import Weights


Data: TypeAlias = "Callable[[Spec], Dataset]"


class Submitting(Connection):
    """The part of a client that queues runs."""

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
        check_names(queue, tags)
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
        beside: Beside | None = None,
        origin: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Queue a run of each spec, for every combination of the values that `grid` has for keys; returns their
        numbers.

        A file may hold several specs. `grid` is a mapping such as {"seed": range(1, 101), "optimizer": ["sgd", "adam"]}
        or a list of arguments as the command line takes them. `data` loads the dataset that a spec names, instead of
        looking for it on this machine. `beside` stores something in the transaction that stores the runs, and is told
        their numbers. `origin` has the facts of `service.origin.TOLD` about where the specs come from, instead of this
        machine's. Raises InputError for whatever is wrong with any of them, and then changes nothing.
        """
        check_names(queue, tags)
        from service import datasets
        from service.batch import Batch
        from service.garbage import uncollected
        from service.spec import Spec, Specs

        if not isinstance(specs, Specs):
            single = isinstance(specs, str | Path | Mapping | Spec)
            specs = Specs([specs] if single else specs, overrides, grid)  # type: ignore[list-item, arg-type]
        batch = Batch(self._begin, queue, data or datasets.load, origin=origin, priority=priority, tags=tags)
        with uncollected():
            batch.add_all(specs)
            return self._store(batch, beside)

    def clone(
        self,
        run_id: int,
        *,
        overrides: Sequence[str] = (),
        queue: str | None = None,
        priority: int | None = None,
        tags: Sequence[str] | None = None,
        beside: Beside | None = None,
    ) -> RunRecord:
        """Submit a run's spec once more, with keys changed, on the rows that it was submitted with.

        Queue, priority and tags are the run's unless given; `beside` is as in `submit_many`. Raises InputError for what
        is wrong with the new spec, or when it would have to read other rows.
        """
        run = self.run(run_id)
        queue = run.queue if queue is None else queue
        tags = run.tags if tags is None else tags
        check_names(queue, tags)
        priority = run.priority if priority is None else priority
        return self._again(run_id, overrides, beside, queue=queue, priority=priority, tags=tags, cloned_from=run_id)

    def replay(self, run_id: int, *, queue: str | None = None, beside: Beside | None = None) -> RunRecord:
        """Submit a completed run once more, to see whether it ends with the same bytes: see `compare_replay`.

        The same spec on the same rows, in the run's queue unless told. It has no tags, so that it is not found where
        the run is. Raises InputError if the run is not completed, or began with weights that are no longer there.
        """
        run = self.run(run_id)
        if run.state is not State.COMPLETED:
            raise transitions.WrongState(run_id, run.state, "replayed", "completed")
        queue = run.queue if queue is None else queue
        check_names(queue, ())
        return self._again(run_id, (), beside, queue=queue, priority=run.priority, replay_of=run_id)

    def _again(self, run_id: int, overrides: Sequence[str], beside: Beside | None, **named: Any) -> RunRecord:
        """Submit the spec of a run on the rows that it was submitted with."""
        from service.batch import Batch
        from service.cloning import clone

        with self.database.read() as session:
            spec, dataset = clone(session, run_id, overrides)
        batch = Batch(self._begin, **named)
        batch.add(spec, dataset)
        (new_id,) = self._store(batch, beside)
        return self.run(new_id)

    def compare_replay(self, run_id: int, replay_id: int) -> Replay:
        """Whether a run and its replay ended with the same weights, else the first epoch at which they differ."""
        from service.replaying import compare

        with self.database.read() as session:
            return compare(session, run_id, replay_id)

    def _store(self, batch: Batch, beside: Beside | None = None) -> list[int]:
        """Store checked runs and send their tickets; returns their numbers."""
        numbers: list[int] = []
        try:
            for some in batch.store(self.database, beside):
                numbers += some
        except TrainyardError:
            if numbers:
                self.notify(f"{len(numbers):,} of the {len(batch.runs):,} runs are queued: {ranges(numbers)}")
            raise
        finally:
            self._send_tickets([batch.queue] * len(numbers))
        return numbers


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
