"""A Celery worker with nothing behind it: its only task writes down when it began. The rival of submit → first step."""

from __future__ import annotations

import os
import time
from pathlib import Path

from kombu.transport import TRANSPORT_ALIASES

from service.queue import celery_app
from service.settings import load_settings

TASK, QUEUE = "benchmarks.bare.stamp", "bare"

app = celery_app(load_settings().broker)
TRANSPORT_ALIASES["redis"] = "kombu.transport.redis:Transport"  # ours takes nothing but tickets


@app.task(name=TASK, ignore_result=True)
def stamp(number: int) -> None:
    began = time.time()
    with Path(os.environ["BARE_STAMPS"]).open("a") as file:
        file.write(f"{number} {began!r}\n")
