"""New runs over HTTP: everything is checked here first, with this machine's data, and sent with it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.client.using import NotTrained, WeightsRemoved
from service.errors import InputError
from service.names import check_names
from service.remote.connection import NotRemote, RemoteConnection
from service.store.records import RunRecord
from service.store.transitions import NoSuchRun

if TYPE_CHECKING:
    from service.batch import Beside
    from service.client.submitting import Data
    from service.replaying import Replay
    from service.spec import AnySpec, Spec, Specs
    from service.spec.grid import AnyGrid
    from service.weights import Weights


class DataStaysHere(InputError):
    def __init__(self, source: str) -> None:
        super().__init__(
            f"{source} is no file and no folder of idx files, and nothing else is sent to a yard; write the data into "
            "a file, such as .npz"
        )


class RemoteSubmitting(RemoteConnection):
    """The part of a client that queues runs."""

    def _begin(self, spec: Spec) -> Weights | None:
        if spec.begin is None:
            return None
        from service import beginning
        from service.weights import unpack

        begin = spec.begin
        try:
            found = unpack(self.weights_file(begin.run, last=begin.weights == "last"))
        except NoSuchRun as error:
            raise spec.error(("begin", "run"), str(error)) from None
        except (NotTrained, WeightsRemoved) as error:
            removed = isinstance(error, WeightsRemoved)
            raise beginning.lacking(spec, self.run(begin.run).state, removed=removed) from None
        return beginning.same(spec, found)

    def submit(
        self,
        spec: AnySpec,
        *,
        overrides: Sequence[str] = (),
        queue: str = "default",
        priority: int = 0,
        tags: Sequence[str] = (),
    ) -> RunRecord:
        (run_id,) = self.submit_many([spec], overrides=overrides, queue=queue, priority=priority, tags=tags)
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
        self._nothing(beside)
        check_names(queue, tags)
        from service import datasets
        from service.batch import Batch
        from service.garbage import uncollected
        from service.origin import shared
        from service.spec import Spec, Specs

        if not isinstance(specs, Specs):
            single = isinstance(specs, str | Path | Mapping | Spec)
            specs = Specs([specs] if single else specs, overrides, grid)  # type: ignore[list-item, arg-type]
        batch = Batch(self._begin, queue, data or datasets.load, origin=origin, priority=priority, tags=tags)
        with uncollected():
            batch.add_all(specs)
        files, documents = _with_files([run.spec for run in batch.runs], batch.folders)
        submission = {
            "spec": "\n---\n".join(documents), "queue": queue, "priority": priority, "tags": list(tags),
            "origin": shared(run.origin for run in batch.runs),
        }  # fmt: skip
        return self._submit(submission, files)

    def _submit(self, submission: Mapping[str, Any], files: Mapping[str, Path]) -> list[int]:
        if not files:
            return self._once("/runs", json=submission)
        with ExitStack() as stack:
            sent = [("files", (name, stack.enter_context(path.open("rb")))) for name, path in files.items()]
            return self._once("/runs/with-data", data={"submission": json.dumps(submission)}, files=sent)

    def _once(self, path: str, **request: Any) -> list[int]:
        """Send it with a key, so that what made runs and whose answer was lost is sent again and not done twice."""
        answer = self._ask("POST", path, repeat=True, headers={"Idempotency-Key": uuid.uuid4().hex}, **request).json()
        self._note(answer)
        return list(answer["runs"])

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
        self._nothing(beside)
        changes = {"overrides": list(overrides), "queue": queue, "priority": priority}
        changes["tags"] = None if tags is None else list(tags)
        (made,) = self._once(f"/runs/{run_id}/clone", json=changes)
        return self.run(made)

    def replay(self, run_id: int, *, queue: str | None = None, beside: Beside | None = None) -> RunRecord:
        self._nothing(beside)
        (made,) = self._once(f"/runs/{run_id}/replay", json={"queue": queue})
        return self.run(made)

    def _nothing(self, beside: Beside | None) -> None:
        if beside is not None:  # it would take the transaction of the runs
            raise NotRemote(self.url)

    def compare_replay(self, run_id: int, replay_id: int) -> Replay:
        from service.remote.records import made
        from service.replaying import Replay

        return made(Replay, self._get(f"/runs/{run_id}/replays/{replay_id}"))


def _with_files(
    specs: Sequence[Mapping[str, Any]], folders: Sequence[Path | None]
) -> tuple[dict[str, Path], list[str]]:
    """The files that the specs name, by the names that they are sent with, and the specs as text with these names."""
    from service.datasets import BUILT_IN

    names: dict[Path, str] = {}
    sent: dict[str, Path] = {}
    documents = []
    for spec, folder in zip(specs, folders, strict=True):
        source = spec["data"]["source"]
        if source not in BUILT_IN:
            path = ((folder or Path()) / Path(source).expanduser()).absolute()
            if path not in names:
                names[path] = _send(path, sent)
            spec = {**spec, "data": {**spec["data"], "source": names[path]}}
        documents.append(json.dumps(spec))
    return sent, documents


def _send(source: Path, sent: dict[str, Path]) -> str:
    """Add the files that a file or folder of data stands for; returns the name by which a spec has them there."""
    from service.datasets.sources import files

    found = files(source)
    if not all(file.is_file() for file in found):
        raise DataStaysHere(str(source))
    prefix = f"{len(sent)}-" if any(file.name in sent for file in found) else ""
    sent |= {prefix + file.name: file for file in found}
    return prefix + found[0].name
