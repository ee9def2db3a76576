"""`python -m workers`: a worker on this machine, as `trainyard workers start` and `trainyard up` run it."""

from __future__ import annotations

import argparse
import logging
import sys

from service.cli.edge import translated
from service.errors import InputError
from service.settings import load_settings
from workers.supervisor import Supervisor


def main() -> None:
    parser = argparse.ArgumentParser(prog="trainyard workers start", description="Train runs on this machine.")
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--queues", default="default")
    parser.add_argument("--name")
    parser.add_argument("--metrics-host", default="127.0.0.1")
    parser.add_argument("--metrics-port", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(levelname)s %(message)s")
    logging.captureWarnings(True)
    settings = load_settings()
    if settings.url:
        raise InputError("a worker needs the yard's database and broker, and TRAINYARD_URL is neither; unset it")
    Supervisor(
        settings,
        name=options.name,
        slots=options.slots,
        queues=options.queues.split(","),
        metrics_host=options.metrics_host,
        metrics_port=options.metrics_port,
    ).run()


if __name__ == "__main__":
    with translated():
        main()
    sys.exit(0)
