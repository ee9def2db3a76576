"""The pool of slots inside the Celery worker: does what the supervisor says, and tells it what became of its processes.

Celery's own remote control is switched off, for it comes through the broker: whoever reaches that could end slots and
workers with it. It also takes differences, so that whoever sends them from outside, by what the worker last answered,
overshoots while slots still start, and ends one slot twice while it still stops. Here the wanted number arrives, and
the pool, which alone knows its true size, moves towards it.
"""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool

from workers import line

LOOK_SECONDS = 0.2  # between looks at the processes; Celery hears of the end of most, but not of all, by itself

supervisor = line.inherited()


class Processes(AsynPool):  # type: ignore[misc]  # Celery has no types
    """Celery's pool of processes, which tells how each of them ends."""

    def _join_exited_workers(self, shutdown: bool = False) -> Any:
        """Called whenever processes may have ended; those that have are removed from the pool, so each is told once."""
        if supervisor is not None:
            for process in self._pool:
                if process.exitcode is not None:
                    supervisor.send(pid=process.pid, code=process.exitcode)
        return super()._join_exited_workers(shutdown)

    def apply_async(self, *args: Any, **named: Any) -> Any:
        """Without the time limits that a message may carry: they would end a run, or its process."""
        return super().apply_async(*args, **named | {"soft_timeout": None, "timeout": None})

    def resize(self, slots: int) -> int:
        """Move towards so many slots; returns how many more there are. A busy one is never ended: ask again later."""
        before = self._processes
        if slots > before:
            self.grow(slots - before)
            self.maintain_pool()  # starts them now
        elif slots < before:
            self._shrink(before - slots)
        return int(self._processes - before)

    def _shrink(self, number: int) -> None:
        """billiard's `Pool.shrink`, but a slot that is told to end already is not told, and counted, again."""
        idle = [process for process in self._iterinactive() if not process._controlled_termination]
        for process in idle[:number]:
            self._processes -= 1
            if self._putlock:
                self._putlock.shrink()
            process.terminate_controlled()
            self.on_shrink(1)


class SlotPool(TaskPool):  # type: ignore[misc]
    Pool = Processes


class Obedience(bootsteps.StartStopStep):  # type: ignore[misc]
    """A part of the Celery worker that listens to the supervisor. It does so in the worker's one event loop, which
    rests while the broker is away: what was said meanwhile is done afterwards."""

    requires = ("celery.worker.components:Pool",)

    def include_if(self, worker: Any) -> bool:
        return supervisor is not None

    def create(self, worker: Any) -> None:
        self._queues = list(worker.app.amqp.queues.consume_from)

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """At the start, and again each time that the broker is back."""
        assert supervisor is not None
        hub.add_reader(supervisor.fileno(), self._obey, worker)
        hub.call_repeatedly(LOOK_SECONDS, worker.pool.maintain_pool)
        self._answer(worker)

    def _obey(self, worker: Any) -> None:
        """Do what was said last; what was said before is out of date."""
        assert supervisor is not None
        for wanted in supervisor.receive()[-1:]:
            if change := worker.pool._pool.resize(wanted["slots"]):
                worker.consumer._update_prefetch_count(change)  # as Celery's own commands do
            if wanted["takes"] != self._takes(worker):
                self._take(worker.consumer, wanted["takes"])
            self._answer(worker)

    def _take(self, consumer: Any, takes: bool) -> None:
        for queue in self._queues:
            (consumer.add_task_queue if takes else consumer.cancel_task_queue)(queue)

    @staticmethod
    def _takes(worker: Any) -> bool:
        return bool(worker.app.amqp.queues.consume_from)

    def _answer(self, worker: Any) -> None:
        assert supervisor is not None
        supervisor.send(slots=worker.pool.num_processes, takes=self._takes(worker))


def leave_line() -> None:
    """In a forked slot: the line is the Celery worker's alone."""
    if supervisor is not None:
        supervisor.close()
