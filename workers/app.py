"""The Celery application of a worker: `celery --app workers.app worker`, started by the supervisor."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from celery import signals
from celery.exceptions import SecurityWarning

from service.queue import TICKET, celery_app
from service.settings import load_settings
from workers import drain, pool, slot

QUIETER = {
    "celery.app.trace": logging.WARNING,  # a line for each ticket says nothing
    "celery.worker.strategy": logging.WARNING,
    "celery.worker.request": logging.CRITICAL,  # a killed slot: the supervisor says which run it was
}

warnings.filterwarnings("ignore", category=SecurityWarning)  # "you are root": it is about pickle, and we speak JSON

app = celery_app(load_settings().broker)
app.conf.worker_pool = pool.SlotPool
app.steps["worker"].add(pool.Obedience)


@app.task(name=TICKET, ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
def ticket(queue: str) -> None:
    """Train the next run of this queue, if there is one. The store, not the broker, decides which and whose."""
    slot.train_next(queue)


app.finalize()
for other in app.tasks.keys() - {TICKET}:  # Celery brings some that would do what a message says
    app.tasks.unregister(other)


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _save_and_stop(**_: Any) -> None:
    drain.request()


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]
def _slot_starts(**_: Any) -> None:
    pool.leave_line()
    slot.start()


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def _log(**_: Any) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(levelname)s %(message)s")
    for name, level in QUIETER.items():
        logging.getLogger(name).setLevel(level)
