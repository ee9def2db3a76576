"""The yard as a whole, over HTTP: workers, queues, tokens, what was trained, files of runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from service.client.moving import NothingToExport, called, opened
from service.remote.connection import RemoteConnection
from service.remote.records import made
from service.store.records import DatasetRecord, WorkerRecord
from service.store.tables import State

if TYPE_CHECKING:
    from service.evaluation import Evaluation
    from service.inspection import Inside, Layers
    from service.notifications import Answer
    from service.portable import Imported
    from service.roles import Role
    from service.spreads import Gradients, Spread
    from service.store import notices
    from service.store.access import TokenRecord
    from service.store.glance import Glance, Pace


class RemoteWatching(RemoteConnection):
    """The part of a client that sees to the pool, and to what stays of runs."""

    def workers(self) -> list[WorkerRecord]:
        return [made(WorkerRecord, row) for row in self._get("/workers", all=True)["workers"]]

    def scale(self, worker: str, slots: int) -> None:
        self._post(f"/workers/{quote(worker, safe='')}/scale", {"slots": slots})

    def drain(self, worker: str) -> None:
        self._post(f"/workers/{quote(worker, safe='')}/drain", {})

    def stop(self, worker: str) -> None:
        self._post(f"/workers/{quote(worker, safe='')}/stop", {})

    def trust(self, worker: str) -> None:
        self._post(f"/workers/{quote(worker, safe='')}/trust", {})

    def datasets(self) -> list[DatasetRecord]:
        return [made(DatasetRecord, row) for row in self._get("/datasets")["datasets"]]

    def counts(self) -> dict[State, int]:
        return {State(name): number for name, number in self._get("/queues")["counts"].items()}

    def waiting(self) -> dict[str, tuple[int, float]]:
        queues = self._get("/queues")["queues"].items()
        return {name: (queue["waiting"], queue["oldest_seconds"]) for name, queue in queues if queue["waiting"]}

    def glance(self) -> Glance:
        from service.store.glance import Glance

        return made(Glance, self._get("/glance"))

    def paces(self) -> dict[int, Pace]:
        from service.store.glance import Pace

        return made(dict[int, Pace], self._get("/paces")["paces"])

    def ended_since(self, moment: datetime) -> dict[State, int]:
        return {State(name): number for name, number in self._get("/ended", since=moment.isoformat())["counts"].items()}

    def undelivered(self) -> list[notices.Undelivered]:
        from service.store.notices import Undelivered

        return [made(Undelivered, row) for row in self._get("/undelivered")["undelivered"]]

    def notify_test(self) -> dict[str, Answer]:
        from service.notifications import Answer

        return {name: made(Answer, row) for name, row in self._post("/notify/test", {}).items()}

    def places(self) -> dict[str, str | None]:
        told = self._get("/status")
        return {"state": "up", "web_url": self.url, "database": told["database"], "broker": told["broker"]}

    def ping_broker(self) -> None:
        """The yard asks its broker, not we."""

    def caller(self) -> dict[str, Any]:
        """Who we are there: `name` and `role`."""
        return dict(self._get("/caller"))

    def version(self) -> str:
        return str(self._get("/status")["version"])

    def tokens(self) -> list[TokenRecord]:
        from service.store.access import TokenRecord

        return [made(TokenRecord, row) for row in self._get("/tokens")["tokens"]]

    def create_token(self, name: str, role: Role | str, seconds: float | None = None) -> tuple[str, TokenRecord]:
        from service.store.access import TokenRecord

        told = self._post("/tokens", {"name": name, "role": str(role), "seconds": seconds})
        return told["token"], made(TokenRecord, told)

    def revoke_token(self, name: str) -> None:
        self._ask("DELETE", f"/tokens/{quote(name, safe='')}")

    def weights_file(self, run_id: int, *, last: bool = False) -> bytes:
        return self._ask("GET", f"/runs/{run_id}/weights", params={"last": last}).content

    def evaluate(self, run_id: int, *, split: str | None = None, last: bool = False) -> Evaluation:
        from service.evaluation import Evaluation

        return Evaluation.of(self._get(f"/runs/{run_id}/evaluation", split=split, last=last))

    def layers(self, run_id: int) -> Layers:
        from service.inspection import Layers

        return made(Layers, self._get(f"/runs/{run_id}/layers"))

    def spreads(self, run_id: int) -> tuple[Spread, ...]:
        from service.spreads import Spread

        return tuple(made(Spread, row) for row in self._get(f"/runs/{run_id}/spreads")["weights"])

    def gradients(self, run_id: int) -> Gradients:
        from service.spreads import Gradients

        return made(Gradients, self._get(f"/runs/{run_id}/gradients"))

    def inside(self, run_id: int) -> Inside:
        from service.evaluation import Evaluation
        from service.inspection import Inside, Mistake
        from service.pictures import image_of
        from service.spreads import Gradients, Spread

        told = self._get(f"/runs/{run_id}/inside")
        return Inside(
            spreads=made(tuple[Spread, ...], told["spreads"]),
            gradients=made(Gradients, told["gradients"]),
            filters=tuple(map(image_of, told["filters"])),
            units=told["units"],
            mistakes=tuple(Mistake(**{**mistake, "image": image_of(mistake["image"])}) for mistake in told["mistakes"]),
            evaluation=told["evaluation"] and Evaluation.of(told["evaluation"]),
        )

    def export_runs(self, file: str | Path | BinaryIO, run_ids: Sequence[int], *, with_data: bool = True) -> None:
        from service.files import write_file

        if not run_ids:
            raise NothingToExport
        body = {"runs": list(dict.fromkeys(run_ids)), "with_data": with_data}
        if isinstance(file, str | Path):
            write_file(Path(file), lambda out: self._fetch("/runs/export", body, out))
        else:
            self._fetch("/runs/export", body, file)

    def import_runs(self, file: str | Path | BinaryIO, *, name: str | None = None) -> list[Imported]:
        from service.portable import Imported

        with opened(file) as archive:
            sent = {"file": (name or called(file), archive)}
            answer: Any = self._ask("POST", "/runs/import", files=sent).json()
        return [made(Imported, row) for row in answer["runs"]]

    def export_mlflow(self, folder: str | Path, run_ids: Sequence[int], *, experiment: str = "trainyard") -> None:
        from service import mlruns, portable

        with TemporaryFile(prefix="trainyard-") as file:
            self.export_runs(file, run_ids, with_data=False)
            mlruns.write(portable.unpacked(file, "the yard's answer"), Path(folder), experiment)
