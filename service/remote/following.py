"""Following runs over HTTP."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from service.client.expressions import check_limit, fields_of, run_numbers
from service.remote.connection import NotRemote, RemoteConnection
from service.remote.records import made
from service.store.records import AttemptRecord, EditRecord, LogRecord, RunRecord

if TYPE_CHECKING:
    from service.comparison import Comparison
    from service.store.logs import Place
    from service.store.statistics import Group

POLL_SECONDS = 0.5
AT_ONCE = 1000  # lines of a log
MOST_VALUES = 100  # runs, which are named in the address
ALL_POINTS = 100_000  # of a metric, the most that a yard sends


class RemoteFollowing(RemoteConnection):
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
        check_limit(limit)
        if before is not None:  # pages of the API go forwards
            raise NotRemote(self.url)
        rows = self._pages("/runs", limit, after, where=where, sort=sort, specs=True)
        return [made(RunRecord, row) for row in rows]

    def values(self, run_ids: Sequence[int], fields: str) -> list[dict[str, Any]]:
        from service.expressions import parse_fields
        from service.expressions.tree import Kind

        asked = parse_fields(fields, tags=True)  # what is wrong is told even where there is no run
        times = [name for name, field in asked.items() if Kind.TIME in field.kinds]
        rows: list[dict[str, Any]] = []
        for start in range(0, len(run_ids), MOST_VALUES):
            some = list(run_ids[start : start + MOST_VALUES])
            rows += self._get("/runs/values", run=some, columns=fields)["runs"]
        for row in rows:
            row |= {name: datetime.fromisoformat(row[name]) for name in times if row[name]}
        return rows

    def best(self, metric: str, where: str | None = None, *, limit: int = 1) -> list[RunRecord]:
        check_limit(limit)
        return self._some("/runs/best", metric=metric, where=where, limit=limit)

    def stats(self, metric: str, by: str | Sequence[str], where: str | None = None, *, limit: int = 20) -> list[Group]:
        from service.store.statistics import Group

        check_limit(limit)
        answer = self._get("/runs/stats", metric=metric, by=fields_of(by), where=where, limit=limit)
        return [made(Group, row) for row in answer["groups"]]

    def pareto(self, first: str, second: str, where: str | None = None) -> list[RunRecord]:
        return self._some("/runs/pareto", first=first, second=second, where=where)

    def _some(self, path: str, **query: Any) -> list[RunRecord]:
        return [made(RunRecord, row) for row in self._get(path, specs=True, **query)["runs"]]

    def origin(self, run_id: int) -> dict[str, Any]:
        return dict(self._get(f"/runs/{run_id}/origin"))

    def history(self, run_id: int, after_epoch: int = 0) -> list[dict[str, Any]]:
        return list(self._get(f"/runs/{run_id}/history", after_epoch=after_epoch)["history"])

    def parents_there(self, run: RunRecord) -> set[int]:
        parents = [parent for parent in (run.cloned_from, run.fine_tuned_from, run.replay_of) if parent is not None]
        return {row["id"] for row in self.values(parents, "id")}

    def frame(
        self,
        where: str | None = None,
        *,
        sort: str | None = None,
        columns: str | Sequence[str] | None = None,
        limit: int | None = None,
        library: str = "polars",
    ) -> Any:
        from service import frames

        made = frames.maker(library)
        runs = self.runs(where, sort=sort, limit=limit)
        asked = frames.asked(columns, {name for run in runs for name in run.metrics})
        rows = self.values([run.id for run in runs], ", ".join(asked))
        return made(frames.table(rows, asked))

    def metrics_frame(
        self, runs: str | Iterable[int], names: str | Sequence[str] | None = None, *, library: str = "polars"
    ) -> Any:
        from service import frames

        made, wanted = frames.maker(library), frames.metric_names(names)
        run_ids = self._fitting(runs) if isinstance(runs, str) else run_numbers(runs)
        points = [
            (run_id, row["epoch"], name, value)
            for run_id in run_ids
            for row in self.history(run_id)
            for name, value in row.items()
            if name != "epoch" and (wanted is None or name in wanted)
        ]
        return made(frames.wide(points, run_ids, wanted))

    def steps(self, run_id: int, names: Sequence[str] | None = None, points: int | None = 1000) -> list[dict[str, Any]]:
        rows = self._get(f"/runs/{run_id}/steps", name=names, points=points or ALL_POINTS)["steps"]
        return [row | {"value": made(float, row["value"])} for row in rows]

    def compare(self, run_ids: Iterable[int], metric: str | None = None, *, curves: bool = True) -> Comparison:
        from service.comparison import Comparison

        ids = run_numbers(run_ids)
        told = self._get("/runs/compare", run=ids, metric=metric, curves=curves)
        points = {
            name: tuple(
                tuple(zip(curve["epochs"], (math.nan if y is None else y for y in curve["values"]), strict=True))
                for curve in drawn
            )
            for name, drawn in told["curves"].items()
        }
        spec, facts = ({key: tuple(row) for key, row in told[part].items()} for part in ("spec", "facts"))
        return Comparison(tuple(self._some_of(ids)), spec, facts, told["metric"], points)

    def attempts(self, run_id: int) -> list[AttemptRecord]:
        return [made(AttemptRecord, row) for row in self._get(f"/runs/{run_id}/attempts")["attempts"]]

    def edits(self, run_id: int) -> list[EditRecord]:
        return [made(EditRecord, row) for row in self._get(f"/runs/{run_id}/edits")["edits"]]

    def why(self, run_id: int) -> str:
        return str(self._get(f"/runs/{run_id}/why")["sentence"])

    def watch(self, run_id: int, timeout: float | None = None) -> Iterator[RunRecord]:
        return self.watch_all([run_id], timeout)

    def watch_all(self, runs: str | Iterable[int], timeout: float | None = None) -> Iterator[RunRecord]:
        from service.following import TimedOut, late

        open_ids = self._fitting(runs) if isinstance(runs, str) else run_numbers(runs)
        deadline = None if timeout is None else time.monotonic() + timeout
        shown: dict[int, RunRecord] = {}
        while open_ids:
            for run in self._some_of(open_ids):
                if run != shown.get(run.id):
                    yield run
                shown[run.id] = run
            open_ids = [run_id for run_id in open_ids if not shown[run_id].state.ended]
            if open_ids and deadline is not None and time.monotonic() > deadline:
                raise TimedOut(late([shown[run_id] for run_id in open_ids]), timeout or 0.0)
            if open_ids:
                time.sleep(POLL_SECONDS)

    def ended(self, where: str | None = None) -> list[int]:
        over = "finished is not null"
        return self._fitting(over if where is None else f"({where}) and {over}")

    def _fitting(self, where: str) -> list[int]:
        """The numbers of the runs that fit, the oldest first."""
        return [row["id"] for row in self._pages("/runs", None, None, where=where, sort="id", columns="id")]

    def _some_of(self, run_ids: Sequence[int]) -> list[RunRecord]:
        """These runs, in this order. Raises NoSuchRun."""
        found: dict[int, RunRecord] = {}
        for start in range(0, len(run_ids), MOST_VALUES):
            which = " or ".join(f"id = {run_id}" for run_id in run_ids[start : start + MOST_VALUES])
            found |= {run.id: run for run in self.runs(which, limit=MOST_VALUES)}
        return [found.get(run_id) or self.run(run_id) for run_id in run_ids]

    def logs(
        self, run_id: int, *, attempt: int | None = None, after: Place = (0, 0), limit: int | None = None
    ) -> list[LogRecord]:
        found: list[LogRecord] = []
        while limit is None or len(found) < limit:
            wanted = min(AT_ONCE, AT_ONCE if limit is None else limit - len(found))
            place = f"{after[0]}.{after[1]}"
            page = self._get(f"/runs/{run_id}/logs", attempt=attempt, after=place, limit=wanted)
            found += [made(LogRecord, row) for row in page["lines"]]
            if len(page["lines"]) < wanted:
                break
            after = found[-1].attempt, found[-1].number
        return found

    def log_tail(self, run_id: int, count: int, *, attempt: int | None = None) -> list[LogRecord]:
        return self.logs(run_id, attempt=attempt)[-count:] if count else []

    def follow_logs(self, run_id: int, *, attempt: int | None = None, after: Place = (0, 0)) -> Iterator[LogRecord]:
        while True:
            ended = self.run(run_id).state.ended
            for line in self.logs(run_id, attempt=attempt, after=after):
                after = line.attempt, line.number
                yield line
            over = attempt is not None and self.attempts(run_id)[attempt - 1].outcome is not None
            if ended or over:
                return
            time.sleep(POLL_SECONDS)
