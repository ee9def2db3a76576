"""The supervisor of a worker: starts the Celery worker with its slots, reports, reconciles, scales, drains.

It trains nothing and forks nothing: the Celery worker is a program of its own, so that no thread of this process is in
the line of those that fork.
"""

from __future__ import annotations

import itertools
import logging
import os
import platform
import shutil
import time
from collections.abc import Sequence

from prometheus_client import start_http_server
from sqlalchemy.orm import Session

from service.ending import Ending
from service.errors import TrainyardError, Unreachable
from service.names import check_name
from service.queue import Tickets
from service.settings import Settings
from service.store import history, transitions
from service.store import workers as store
from service.store.database import Database
from service.store.transitions import LeaseLost
from workers import metrics
from workers.notifier import Notifier
from workers.program import CeleryWorker
from workers.reconcile import Reconciler
from workers.watch import Watch, WorkerStuck

log = logging.getLogger(__name__)

GRACE_SECONDS = 30.0  # for the slots to save their work
NOTIFY_SECONDS = 3.0  # for what has ended at the end to be told
SOON_SECONDS = 0.2  # between looks at a pool that has not answered yet, or that shall say how a process ended
BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class WorkerEnded(TrainyardError):
    def __init__(self, code: int) -> None:
        super().__init__(f"the Celery worker ended by itself with code {code}; the log above says why")


class Supervisor:
    def __init__(
        self,
        settings: Settings,
        *,
        name: str | None = None,
        slots: int,
        queues: Sequence[str] = ("default",),
        metrics_host: str = "127.0.0.1",
        metrics_port: int = 0,
    ) -> None:
        if name is not None:
            check_name("worker", name)
        self.name = name or ""  # "": a free one is taken when it starts
        for queue in queues:
            check_name("queue", queue)
        self._settings = settings
        self._wanted_slots = slots
        self._queues = list(queues)
        self._metrics_address = metrics_host, metrics_port
        self._database = Database(settings.database)
        self._tickets = Tickets(settings.broker)
        self._state = store.READY
        self._notifier = Notifier(self._database, settings)
        self._celery: CeleryWorker | None = None

    def run(self) -> None:
        """Work until told to stop, by a signal or through the database; raises Unreachable if it cannot begin."""
        self._ending = Ending(self._begin_to_end, self._kill)
        self._ending.listen()
        self._database.require_schema()
        self._tickets.ping()
        self._take_a_name()
        folder = self._settings.home / "metrics" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        registry, self._collector = metrics.registry(str(folder))
        metrics_url = self._serve_metrics(registry)
        with self._database.write() as session:
            store.tell_metrics(session, self.name, os.getpid(), metrics_url)
        for left in folder.iterdir():  # by a worker of our name that was killed
            left.unlink()
        try:
            self._work(str(folder))
        finally:
            self._end()
            shutil.rmtree(folder, ignore_errors=True)
            self._ending.leave()

    def _take_a_name(self) -> None:
        """Register under the name that was given, or under a free one, which another worker may take at the same
        instant."""
        given = self.name
        while True:
            self.name = given or self._free_name()
            try:
                return self._register()
            except store.WorkerNameTaken:
                if given:
                    raise

    def _work(self, metrics_folder: str) -> None:
        self._notifier.start()
        environment = self._environment(metrics_folder)
        self._celery = CeleryWorker(f"{self.name}@trainyard", self._wanted_slots, self._queues, environment)
        self._watch = Watch(self._database, self.name, self._queues)
        self._reconciler = Reconciler(
            self._database, self._tickets, self.name, self._settings.lease_seconds,
            heartbeat_seconds=self._settings.heartbeat_seconds, exits=self._celery.exits,
            suspect_after=self._settings.suspect_after,
        )  # fmt: skip
        while not self._ending.wait(self._pause()):
            self._beat(self._celery)

    def _pause(self) -> float:
        """Seconds until the next heartbeat."""
        assert self._celery is not None
        soon = not self._celery.slots or self._reconciler.wonders
        return min(SOON_SECONDS, self._settings.heartbeat_seconds) if soon else self._settings.heartbeat_seconds

    def _free_name(self) -> str:
        """The host's name, or with the first number that no live worker has: host, host-2, host-3 …"""
        with self._database.read() as session:
            known = store.workers(session, self._settings.lease_seconds)
        taken = {worker.name for worker in known if worker.live and store.may_run(worker)}
        host = platform.node().partition(".")[0] or "worker"
        names = itertools.chain([host], (f"{host}-{number}" for number in itertools.count(2)))
        return next(name for name in names if name not in taken)

    def _serve_metrics(self, registry: object) -> str:
        host, port = self._metrics_address
        server, _ = start_http_server(port, host, registry)  # type: ignore[arg-type]
        shown = platform.node() if host in ("0.0.0.0", "::") else host
        return f"http://{shown}:{server.server_port}/metrics"

    def _register(self) -> None:
        with self._database.write() as session:
            store.register(
                session, name=self.name, host=platform.node(), pid=os.getpid(), slots=self._wanted_slots,
                queues=self._queues, lease_seconds=self._settings.lease_seconds,
            )  # fmt: skip

    def _environment(self, metrics_folder: str) -> dict[str, str]:
        """What the Celery worker needs to know; secrets travel in the environment, never in arguments."""
        settings = self._settings
        return {
            **os.environ,
            **dict.fromkeys(BLAS_VARIABLES, "1"),  # a spec may raise it for its run
            "TRAINYARD_HOME": str(settings.home),
            "TRAINYARD_DATABASE_URL": settings.database_url,
            "TRAINYARD_BROKER_URL": settings.broker_url,
            "TRAINYARD_LEASE_SECONDS": str(settings.lease_seconds),
            "TRAINYARD_CHECKPOINT_SECONDS": str(settings.checkpoint_seconds),
            "TRAINYARD_WORKER": self.name,
            "PROMETHEUS_MULTIPROC_DIR": metrics_folder,
        }

    # A heartbeat

    def _beat(self, celery: CeleryWorker) -> None:
        if (code := celery.code) is not None:
            raise WorkerEnded(code)
        try:
            if celery.hear():
                log.info("slots: %d", celery.slots)
            self._report(celery)
            if self._ending.asked is not None:
                return
            self._reconciler.run()
            if self._collector.record is not None:
                idle = self._collector.record.busy == 0 and celery.slots > 0
                self._watch.look(idle and celery.takes and self._takes)
        except Unreachable as error:
            self._watch.rest()
            log.warning("%s; trying again", error)
        except WorkerStuck:
            raise
        except Exception:  # the slots train on without us, but nobody would look after them
            log.exception("a heartbeat failed; trying again")

    def _report(self, celery: CeleryWorker) -> None:
        with self._database.write() as session:
            wishes = store.report(session, self.name, os.getpid(), slots=celery.slots, state=self._state)
        if wishes is None:
            log.error("another worker has taken the name %s; this one ends", self.name)
            self._ending.ask()
            return
        with self._database.read() as session:
            known = store.workers(session, self._settings.lease_seconds)
        self._collector.record = next(record for record in known if record.name == self.name)
        wanted_slots, wish = wishes
        if wish == store.STOP:
            self._ending.ask()
        elif wish == store.DRAIN:
            self._drain(self._collector.record.busy)
        celery.ask(wanted_slots, self._takes)

    @property
    def _takes(self) -> bool:
        """Whether the slots shall take work: not when they drain, nor when others do better, see `suspicion`."""
        trusted = self._collector.record is None or self._collector.record.set_aside is None
        return trusted and self._state == store.READY

    def _drain(self, busy: int) -> None:
        """Take nothing new (the slots look at the wish too, should the broker be away); end once all are idle."""
        if self._state != store.DRAINING:
            self._state = store.DRAINING
            log.info("draining: what trains is finished, nothing new is taken")
        if busy == 0:
            self._ending.ask()

    # The end

    def _begin_to_end(self) -> None:
        """At once, even when a heartbeat waits for the database: the slots need not."""
        if self._celery is not None:
            self._celery.begin_to_end()

    def _kill(self) -> None:
        if self._celery is not None:
            self._celery.kill()

    def _end(self) -> None:
        """Let the slots save and hand over, give back what they could not, and say goodbye."""
        if self._celery is None:
            return
        code = self._celery.code if self._ending.asked is None else None
        waited = 0.0 if self._ending.asked is None else time.monotonic() - self._ending.asked
        self._celery.end(max(1.0, GRACE_SECONDS - waited))
        try:
            with self._database.write() as session:
                if store.report(session, self.name, os.getpid(), slots=0, state=store.STOPPED) is not None:
                    self._give_back(session, code)  # unless our name, and what is held by it, is another's by now
        except Unreachable as error:
            log.warning("%s", error)
        self._notifier.end(NOTIFY_SECONDS)

    def _give_back(self, session: Session, code: int | None) -> None:
        """The runs that no slot gave back wait again, for no slot is left. It costs an attempt only where nobody told
        the worker to end. `code`: with which the Celery worker ended by itself."""
        for run_id, attempt, _ in history.held_by(session, self.name):
            try:
                if code is None:
                    told = f"worker {self.name} was told to stop and could not save"
                    transitions.interrupt(session, run_id, attempt, told)
                else:
                    transitions.lose(session, run_id, attempt, f"worker {self.name} ended with code {code}")
            except LeaseLost as error:  # another supervisor was faster
                log.info("%s", error)
