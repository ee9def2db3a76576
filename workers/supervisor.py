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
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from kombu.exceptions import KombuError
from prometheus_client import start_http_server
from redis.exceptions import RedisError

from service.client import check_name
from service.errors import TrainyardError, Unreachable
from service.processes import spawn, stop
from service.queue import BrokerUnreachable, Tickets, celery_app
from service.settings import Settings
from service.store import history
from service.store import workers as store
from service.store.database import Database
from workers import metrics
from workers.reconcile import Reconciler

log = logging.getLogger(__name__)

GRACE_SECONDS = 30.0  # for the slots to save their work
STUCK_SECONDS = 20.0
CONTROL_SECONDS = 2.0
STARTING_SECONDS = 0.2  # between looks at a pool that has not answered yet
BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class WorkerEnded(TrainyardError):
    def __init__(self, code: int) -> None:
        super().__init__(f"the Celery worker ended by itself with code {code}; the log above says why")


class WorkerStuck(TrainyardError):
    def __init__(self) -> None:
        super().__init__(f"runs wait and no slot has taken one for {STUCK_SECONDS:g} s; the worker must start again")


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
        self._slots = 0  # until the pool has answered
        self._queues = list(queues)
        self._metrics_address = metrics_host, metrics_port
        self._database = Database(settings.database)
        self._tickets = Tickets(settings.broker)
        self._state = store.READY
        self._stopping = threading.Event()
        self._waiting: list[int] = []  # runs in our queues when we last looked
        self._stuck_since: float | None = None
        self._told = 0.0  # when, by the monotonic clock
        self._celery: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Work until told to stop, by a signal or through the database; raises Unreachable if it cannot begin."""
        self._database.require_schema()
        self._tickets.ping()
        self._take_a_name()
        self._node = f"{self.name}@trainyard"
        self._reconciler = Reconciler(
            self._database, self._tickets, self.name, self._settings.lease_seconds, self._settings.heartbeat_seconds
        )
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        folder = self._settings.home / "metrics" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        registry, self._collector = metrics.registry(str(folder))
        self._register(self._serve_metrics(registry))  # again, for now others may know where the figures are
        for left in folder.iterdir():  # by a worker of our name that was killed
            left.unlink()
        try:
            self._celery = spawn(self._command(), env=self._environment(str(folder)))
            while not self._stopping.wait(self._settings.heartbeat_seconds if self._slots else STARTING_SECONDS):
                self._beat()
        finally:
            self._end()
            shutil.rmtree(folder, ignore_errors=True)

    def _take_a_name(self) -> None:
        """Register under the name that was given, or under a free one, which another worker may take at the same
        instant."""
        given = self.name
        while True:
            self.name = given or self._free_name()
            try:
                return self._register(None)
            except store.WorkerNameTaken:
                if given:
                    raise

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

    def _register(self, metrics_url: str | None) -> None:
        with self._database.write() as session:
            store.register(
                session, name=self.name, host=platform.node(), pid=os.getpid(), slots=self._wanted_slots,
                queues=self._queues,                metrics_url=metrics_url, lease_seconds=self._settings.lease_seconds,
            )  # fmt: skip

    def _command(self) -> list[str]:
        return [
            sys.executable, "-m", "celery", "--quiet", "--app", "workers.app", "worker", "--pool", "prefork",
            "--concurrency", str(self._wanted_slots), "--queues", ",".join(self._queues), "--hostname", self._node,
            "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO",
        ]  # fmt: skip

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

    def _beat(self) -> None:
        assert self._celery is not None
        if (code := self._celery.poll()) is not None:
            raise WorkerEnded(code)
        try:
            self._report()
            self._reconciler.run()
            if self._collector.record is not None:
                self._watch_for_a_stuck_pool(self._collector.record.busy)
        except Unreachable as error:
            self._stuck_since = None  # no wonder
            log.warning("%s; trying again", error)
        except WorkerStuck:
            raise
        except Exception:  # the slots train on without us, but nobody would look after them
            log.exception("a heartbeat failed; trying again")

    def _report(self) -> None:
        with self._database.write() as session:
            wishes = store.report(session, self.name, os.getpid(), slots=self._slots, state=self._state)
        if wishes is None:
            log.error("another worker has taken the name %s; this one ends", self.name)
            self._stopping.set()
            return
        with self._database.read() as session:
            known = store.workers(session, self._settings.lease_seconds)
        self._collector.record = next(record for record in known if record.name == self.name)
        self._obey(*wishes)

    def _watch_for_a_stuck_pool(self, busy: int) -> None:
        """Work that waits while no slot does anything is a fault, whoever's it is; a new Celery worker cures it."""
        with self._database.read() as session:
            waiting = history.waiting(session, claimable=True)
        before, self._waiting = self._waiting, [waiting[queue][0] for queue in self._queues if queue in waiting]
        idle = busy == 0 and self._slots > 0 and self._state == store.READY
        if not idle or not self._waiting or self._waiting != before:  # short runs may end between two looks
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = time.monotonic()
        elif time.monotonic() - self._stuck_since > STUCK_SECONDS:
            raise WorkerStuck

    def _obey(self, wanted_slots: int, wish: str | None) -> None:
        if wish == store.STOP:
            self._stopping.set()
        elif wish == store.DRAIN:
            self._drain()
        elif wanted_slots != self._slots:
            self._scale(wanted_slots)

    def _drain(self) -> None:
        """Take nothing new (the slots look at the wish too, should the broker be away); end once all are idle."""
        if self._state != store.DRAINING:
            self._state = store.DRAINING
            log.info("draining: what trains is finished, nothing new is taken")
            for queue in self._queues:
                self._control("cancel_consumer", queue=queue)
        if self._collector.record is not None and self._collector.record.busy == 0:
            self._stopping.set()

    def _scale(self, wanted: int) -> None:
        """Move the pool towards what is wanted. A busy slot is never ended: the next beats go on."""
        answers = self._control("trainyard_slots", slots=wanted)
        slots = answers[0].get("slots", 0) if answers else 0
        if slots and slots != self._slots:
            log.info("slots: %d", slots)
            self._slots = slots

    def _control(self, command: str, **arguments: object) -> list[Any]:
        """Send a command to our Celery worker and return its answer, if one came in time."""
        timeout = CONTROL_SECONDS if self._slots else STARTING_SECONDS
        try:
            answers = celery_app(self._settings.broker).control.broadcast(
                command, arguments, destination=[self._node], reply=True, timeout=timeout, limit=1
            )
        except (OSError, RedisError, KombuError) as error:
            raise BrokerUnreachable(self._settings.broker, error) from error
        return [answer[self._node] for answer in answers or [] if self._node in answer]

    # The end

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Stop; asked again after a moment, do not wait for the slots. (A dying parent may well ask twice at once.)"""
        if not self._stopping.is_set():
            self._told = time.monotonic()
            self._stopping.set()
        elif self._celery is not None and time.monotonic() - self._told > 1.0:
            self._celery.send_signal(signal.SIGQUIT)

    def _end(self) -> None:
        """Let the slots save and hand over, then say goodbye."""
        if self._celery is None:
            return
        stop(self._celery, GRACE_SECONDS)
        try:
            with self._database.write() as session:
                store.report(session, self.name, os.getpid(), slots=0, state=store.STOPPED)
        except Unreachable as error:
            log.warning("%s", error)
