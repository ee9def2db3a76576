"""What a yard keeps: a policy, the plan that it makes of the history, and carrying it out.

A plan only reads. Carrying it out asks each run again, in a guarded statement, whether it may still do without.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, func, select, true
from sqlalchemy.orm import Session

from service.display import age, measured_by, number
from service.errors import InputError
from service.store import blobs, history, removal
from service.store.clock import after
from service.store.database import Database
from service.store.records import Record
from service.store.tables import Blob, Dataset, Run, State, Summary


@dataclass(frozen=True)
class Policy:
    """`keep_best`: of each name, by `by` or else by the metric that counts. The others are seconds after a run's end;
    None: it is kept for ever. `where` says which runs are looked at."""

    keep_best: int | None = None
    by: str | None = None
    weights_after: float | None = None
    checkpoints_after: float | None = None
    where: ColumnElement[bool] | None = None


@dataclass(frozen=True)
class Decision(Record):
    """What becomes of a run's `weights` or `checkpoint`, of a `dataset`, or of `leftovers`, which no run points at."""

    run: int | None
    name: str
    what: str
    goes: bool
    bytes: int  # that it takes, or that go with it
    why: str


@dataclass(frozen=True)
class Pruned:
    """What goes and what stays, each with its reason, and the bytes that are free with it."""

    decisions: tuple[Decision, ...]
    bytes: int

    @property
    def going(self) -> list[Decision]:
        return [decision for decision in self.decisions if decision.goes]


def check(policy: Policy) -> None:
    """Raise InputError for a policy that makes no sense."""
    if policy.by is None:
        return
    if policy.keep_best is None:
        raise InputError("--by says what is best: it needs --keep-best with a number")
    import nn

    try:
        nn.direction(policy.by)
    except KeyError:
        from service.expressions.fields import metric_names
        from service.wording import did_you_mean

        known = ", ".join(["loss", *nn.METRICS])
        near = did_you_mean(policy.by, metric_names()) or f": use one of {known}, with val_ or test_ before it"
        raise InputError(f"there is no metric '{policy.by}'{near}") from None


def plan(session: Session, policy: Policy) -> Pruned:
    """What carrying it out would do now."""
    check(policy)
    found = [
        *_weights(session, policy),
        *_checkpoints(session, policy),
        *_datasets(session),
        *_leftovers(session),
    ]
    return _weighed(session, found)


def carry_out(database: Database, planned: Pruned, who: str) -> Pruned:
    """Do what was planned, so far as it may still be done; returns what was."""
    done: list[Decision] = []
    freed = 0
    for what in removal.KEPT:
        wanted = {d.run: d for d in planned.going if d.what == what and d.run is not None}
        gave_up, freed_so = removal.give_up(database, what, list(wanted), who)
        done += [decision for run_id, decision in wanted.items() if run_id in gave_up]
        freed += freed_so
    for decision in planned.going:
        if decision.what == DATASET and (size := _remove_dataset(database, decision.name)) is not None:
            done.append(decision)
            freed += size
    if leftovers := [decision for decision in planned.going if decision.what == LEFTOVERS]:
        with database.read() as session:
            old = session.scalars(select(blobs.garbage().subquery().c.id)).all()
        freed += blobs.remove_all(database, old)
        done += leftovers
    return Pruned(tuple(done), freed)


# What is decided of each; its blobs are weighed afterwards

DATASET, LEFTOVERS = "dataset", "leftovers"


@dataclass(frozen=True)
class _Draft:
    run: int | None
    name: str
    what: str
    goes: bool
    why: str
    blob_ids: tuple[int, ...]


def _ended(what: str, policy: Policy) -> Select[Any]:
    """The runs that have it and have ended, with whether others need it and whether it is old enough to go."""
    pointers = removal.KEPT[what]
    seconds = {"weights": policy.weights_after, "checkpoint": policy.checkpoints_after}[what]
    old = true() if seconds is None else func.coalesce(Run.finished <= after(-seconds), true())
    query: Any = select(
        Run.id,
        Run.name,
        Run.state,
        Run.finished,
        old.label("old"),
        removal.may_give_up(what).label("free"),
        *pointers,
    ).where(Run.state.in_(removal.ENDED), Run.wish.is_(None), pointers[0].is_not(None))
    query = query.where(true() if policy.where is None else policy.where)
    ordered: Select[Any] = query.order_by(Run.id)
    return ordered


def _weights(session: Session, policy: Policy) -> Iterable[_Draft]:
    if policy.keep_best is None and policy.weights_after is None:
        return
    by_name: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in session.execute(_ended("weights", policy)):
        by_name[row.name].append(row)
    for _, rows in sorted(by_name.items()):
        ranks = _ranks(session, rows, policy)
        for row in rows:
            best, rank = ranks.get(row.id, (False, ""))
            why = ", ".join(
                part for part in (rank, f"ended {age(row.finished)}" if policy.weights_after else "") if part
            )
            yield _draft(row, "weights", row.old and not best, why)


def _checkpoints(session: Session, policy: Policy) -> Iterable[_Draft]:
    if policy.checkpoints_after is None:
        return
    for row in session.execute(_ended("checkpoint", policy)):
        yield _draft(row, "checkpoint", row.old, f"ended {age(row.finished)}")


def _draft(row: Row[Any], what: str, goes: bool, why: str) -> _Draft:
    if goes and not row.free:
        goes, why = False, "a run that is yet to be trained begins with it"
    pointed = tuple(dict.fromkeys(blob_id for blob_id in row[-2:] if blob_id is not None))
    return _Draft(row.id, row.name, what, goes, why, pointed)


def _ranks(session: Session, rows: Sequence[Row[Any]], policy: Policy) -> Mapping[int, tuple[bool, str]]:
    """For each run of a name whether it is among the best, and its place in words."""
    if policy.keep_best is None:
        return {}
    metric = policy.by or measured_by(history.run(session, _example(rows)))
    values = _values(session, [row.id for row in rows], metric)
    order = sorted((row.id for row in rows), key=lambda run_id: _place(values.get(run_id), metric, run_id))
    ranks = {}
    for place, run_id in enumerate(order, 1):
        value = values.get(run_id)
        measured = (
            f"{metric} {number(value)}" if value is not None and metric is not None else f"no {metric or 'metric'}"
        )
        ranks[run_id] = place <= policy.keep_best, f"number {place} of {len(order)}: {measured}"
    return ranks


def _example(rows: Sequence[Row[Any]]) -> int:
    """The run that tells what counts: the newest that completed, for only those are tested; else the newest."""
    return max(rows, key=lambda row: (row.state == State.COMPLETED, row.id)).id  # type: ignore[no-any-return]


def _place(value: float | None, metric: str | None, run_id: int) -> tuple[bool, float, int]:
    """The best first, of equals the earliest; those without a value come last, the newest of them first."""
    import nn

    if metric is None or value is None or math.isnan(value):
        return True, 0.0, -run_id
    return False, value if nn.direction(metric) == "lower" else -value, run_id


def _values(session: Session, run_ids: Sequence[int], metric: str | None) -> dict[int, float]:
    found: dict[int, float] = {}
    for some in removal.parts(run_ids, history.MOST_IDS):
        best = select(Summary.run_id, Summary.best).where(Summary.run_id.in_(some), Summary.name == metric)
        found |= {row.run_id: row.best for row in session.execute(best)}
    return found


def unused() -> Select[str, str, int]:
    """Datasets that no run has, and that no submit has just looked for."""
    lately = select(Blob.id).where(Blob.touched >= after(-blobs.UNPOINTED_SECONDS))
    return (
        select(Dataset.sha256, Dataset.source, Dataset.blob_id)
        .where(Dataset.sha256.not_in(select(Run.dataset_sha256)), Dataset.blob_id.not_in(lately))
        .order_by(Dataset.created)
    )


def _datasets(session: Session) -> Iterable[_Draft]:
    for sha256, source, blob_id in session.execute(unused()):
        yield _Draft(None, sha256, DATASET, True, f"no run uses it; it was {source}", (blob_id,))


def _leftovers(session: Session) -> Iterable[_Draft]:
    found = tuple(row.id for row in session.execute(blobs.garbage()))
    if found:
        why = f"{len(found):,} pieces of work that was never finished, or whose run is gone"
        yield _Draft(None, "-", LEFTOVERS, True, why, found)


def _remove_dataset(database: Database, sha256: str) -> int | None:
    """Remove it unless a run has it by now; returns its bytes."""
    with database.write(large=True) as session:
        # Locked first: a run that is just being submitted is seen, or does not find it.
        session.execute(select(Dataset.sha256).where(Dataset.sha256 == sha256).with_for_update())
        still = Dataset.sha256.in_(select(unused().subquery().c.sha256))
        gone = delete(Dataset).where(Dataset.sha256 == sha256, still).returning(Dataset.blob_id)
        blob_id = session.scalar(gone.execution_options(synchronize_session=False))
    return None if blob_id is None else blobs.remove_all(database, [blob_id])


def _weighed(session: Session, drafts: Sequence[_Draft]) -> Pruned:
    """The decisions with their bytes. A blob that several runs have goes with the last of them, if it does."""
    ids = sorted({blob_id for draft in drafts for blob_id in draft.blob_ids})
    sizes, pointers = blobs.sizes(session, ids), blobs.pointers(session, ids)
    decisions, total = [], 0
    for draft in drafts:
        own = 0
        for blob_id in draft.blob_ids:
            pointers[blob_id] -= draft.goes
            if not draft.goes or pointers[blob_id] <= 0:
                own += sizes.get(blob_id, 0)
        total += own if draft.goes else 0
        decisions.append(Decision(draft.run, draft.name, draft.what, draft.goes, own, draft.why))
    return Pruned(tuple(decisions), total)
