"""What is asked of runs over HTTP, and noted of them, and given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from service.client.acting import ANSWER_SECONDS, Verb
from service.remote.connection import NotRemote, RemoteConnection, remade
from service.remote.records import made
from service.store.records import RunRecord
from service.store.tables import State

if TYPE_CHECKING:
    from service.errors import InputError
    from service.retention import Pruned
    from service.store.removal import Removed
    from service.store.space import Space


LONGEST_WAIT = 30.0  # seconds for which a yard keeps an answer back


class RemoteActing(RemoteConnection):
    """The part of a client that changes what becomes of runs."""

    def cancel(self, run_id: int, timeout: float = ANSWER_SECONDS) -> RunRecord:
        return self._one("cancel", run_id, timeout)

    def pause(self, run_id: int, timeout: float = ANSWER_SECONDS) -> RunRecord:
        return self._one("pause", run_id, timeout)

    def resume(self, run_id: int) -> RunRecord:
        return self._one("resume", run_id)

    def retry(self, run_id: int) -> RunRecord:
        return self._one("retry", run_id)

    def cancel_all(self, where: str, timeout: float = ANSWER_SECONDS) -> dict[int, State]:
        return self._all("cancel", where, timeout)

    def pause_all(self, where: str, timeout: float = ANSWER_SECONDS) -> dict[int, State]:
        return self._all("pause", where, timeout)

    def resume_all(self, where: str) -> dict[int, State]:
        return self._all("resume", where)

    def retry_all(self, where: str) -> dict[int, State]:
        return self._all("retry", where)

    def ask_each(
        self, verb: Verb, run_ids: Sequence[int], timeout: float = ANSWER_SECONDS
    ) -> dict[int, State | InputError]:
        from service.errors import InputError

        told = self._post(f"/runs/{verb}", {"runs": list(run_ids), "wait": min(float(timeout), LONGEST_WAIT)})["runs"]
        return {
            row["id"]: State(row["state"]) if row["state"] else remade(row.get("type"), row["error"], InputError)
            for row in told
        }

    def _one(self, verb: Verb, run_id: int, timeout: float = 0.0) -> RunRecord:
        answer = self.ask_each(verb, [run_id], timeout)[run_id]
        if isinstance(answer, Exception):
            raise answer
        return self.run(run_id)

    def _all(self, verb: Verb, where: str, timeout: float = 0.0) -> dict[int, State]:
        told = self._post(f"/runs/{verb}", {"where": where, "wait": min(float(timeout), LONGEST_WAIT)})
        return {row["id"]: State(row["state"]) for row in told["runs"]}

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
        changes = {"name": name, "note": note, "tag": list(tag), "untag": list(untag), "parents": dict(parents)}
        return list(self._ask("PATCH", "/runs", json=_which(which) | changes).json()["runs"])

    def remove(self, run_ids: Sequence[int], *, dry_run: bool = False) -> Removed:
        return self._remove_those(list(run_ids), dry_run)

    def remove_all(self, where: str, *, dry_run: bool = False) -> Removed:
        return self._remove_those(where, dry_run)

    def _remove_those(self, which: str | Sequence[int], dry_run: bool) -> Removed:
        from service.store.removal import Removed

        return made(Removed, self._post("/runs/remove", _which(which) | {"dry_run": dry_run}))

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
        from service.retention import Pruned

        policy = {"keep_best": keep_best, "by": by, "weights_after": weights_after}
        policy |= {"checkpoints_after": checkpoints_after, "where": where, "dry_run": dry_run}
        return made(Pruned, self._post("/runs/prune", policy))

    def space(self) -> Space:
        from service.store.space import Space

        return made(Space, self._get("/space"))

    def compact(self) -> tuple[int, int]:
        raise NotRemote(self.url)


def _which(which: int | Sequence[int] | str) -> dict[str, Any]:
    if isinstance(which, str):
        return {"where": which}
    return {"runs": [which] if isinstance(which, int) else list(which)}
