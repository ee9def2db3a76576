"""The yard's truth for Prometheus, read from the database at scrape time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from service.client import Client
from service.errors import Unreachable
from service.metrics import pool
from service.metrics.disk import disks
from service.metrics.kept import Kept
from service.metrics.ledger import Ledger
from service.store import space, totals
from service.store.database import Database
from service.store.space import Space
from service.store.tables import Outcome
from service.store.totals import Sums

SPACE_SECONDS = 60.0  # between two looks at how large everything is
PARTS = ("metrics", "weights", "checkpoints", "datasets", "rest", "free")


class YardCollector(Collector):
    """Few things are read at every scrape; sums over a history that has become large are kept for a while."""

    def __init__(self, client: Client) -> None:
        self._client = client
        file = Database(client.settings.database).file  # connects to nothing: whether it can be reached is asked later
        self._places = {"home": client.settings.home} | ({"database": file.absolute().parent} if file else {})
        self._ledger = Ledger()
        self._sums = Kept(self._read_sums)
        self._space = Kept(self._read_space, SPACE_SECONDS)

    def describe(self) -> Iterable[Metric]:
        return []  # or the registry would ask the database for the names

    def collect(self) -> Iterable[Metric]:
        yield InfoMetricFamily("trainyard", "The version that serves this page.", {"version": version("trainyard")})
        yield _up("broker", self._client.tickets.ping)
        try:
            families = list(self._from_database())
        except Unreachable:
            families = []
        yield GaugeMetricFamily("trainyard_database_up", "Whether the database answers.", value=bool(families))
        yield from families
        yield from disks(self._places)

    def _from_database(self) -> Iterable[Metric]:
        workers = self._client.workers()  # never kept: whether the database answers is asked at every scrape
        sums = self._sums.get()
        runs = GaugeMetricFamily("trainyard_runs", "Runs by state.", labels=["state"])
        for state, number in sums.runs.items():
            runs.add_metric([state], number)
        yield runs
        yield from pool.queues(sums, workers)
        yield from pool.pool(workers)
        yield from pool.each(workers)
        yield GaugeMetricFamily(
            "trainyard_leases_expired", "Runs whose lease has run out and that no worker has taken back yet.",
            value=sums.expired,
        )  # fmt: skip
        yield from self._attempts()
        yield from _stored(*self._space.get())

    def _attempts(self) -> Iterable[Metric]:
        ledger = self._ledger
        family = CounterMetricFamily("trainyard_attempts_ended", "Attempts that ended, by outcome.", labels=["outcome"])
        for outcome in Outcome:
            family.add_metric([outcome], ledger.ended[outcome])
        yield family
        yield CounterMetricFamily(
            "trainyard_retries", "Attempts that began and were not the first of their run.", value=ledger.retries
        )
        yield CounterMetricFamily(
            "trainyard_samples_recorded", "Training samples seen, as the database hears of them.", value=ledger.samples
        )
        yield CounterMetricFamily(
            "trainyard_epochs_recorded", "Passes over a training split, as the database hears of them.",
            value=ledger.epochs,
        )  # fmt: skip

    def _read_sums(self) -> Sums:
        with self._client.database.read() as session:
            self._ledger.look(session)
            return totals.sums(session)

    def _read_space(self) -> tuple[Space, int, int]:
        with self._client.database.read() as session:
            return space.measure(session), *totals.stored(session)


def _stored(measured: Space, datasets: int, blobs: int) -> Iterable[Metric]:
    family = GaugeMetricFamily(
        "trainyard_database_bytes", "What the database takes on its disk, by what it is for.", labels=["part"]
    )
    for part in PARTS:
        family.add_metric([part], getattr(measured, part))
    yield family
    yield GaugeMetricFamily("trainyard_datasets", "Datasets in the database.", value=datasets)
    yield GaugeMetricFamily("trainyard_blobs", "Weights, checkpoints and datasets in the database.", value=blobs)


def _up(what: str, ping: Callable[[], Any]) -> Metric:
    try:
        ping()
        answers = True
    except Unreachable:
        answers = False
    return GaugeMetricFamily(f"trainyard_{what}_up", f"Whether the {what} answers.", value=answers)


def registry(client: Client) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(YardCollector(client))
    return made
