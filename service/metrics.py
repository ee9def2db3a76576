"""The yard's truth for Prometheus, read from the database at scrape time."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from service.client import Client
from service.errors import Unreachable
from service.store import history
from service.store.tables import Outcome


class YardCollector(Collector):
    def __init__(self, client: Client) -> None:
        self._client = client

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

    def _from_database(self) -> Iterable[Metric]:
        runs = GaugeMetricFamily("trainyard_runs", "Runs by state.", labels=["state"])
        for state, number in self._client.counts().items():
            runs.add_metric([state], number)
        yield runs
        yield from self._queues()
        yield from self._pool()
        yield from self._attempts()

    def _queues(self) -> Iterable[Metric]:
        depth = GaugeMetricFamily("trainyard_queue_depth", "Runs that wait in a queue.", labels=["queue"])
        oldest = GaugeMetricFamily(
            "trainyard_queue_oldest_seconds", "How long the oldest waiting run of a queue has waited.", labels=["queue"]
        )
        waiting = self._client.waiting()
        served = {queue for worker in self._client.workers() for queue in worker.queues}
        for queue in sorted({"default", *served, *waiting}):
            number, seconds = waiting.get(queue, (0, 0.0))
            depth.add_metric([queue], number)
            oldest.add_metric([queue], seconds)
        yield depth
        yield oldest

    def _pool(self) -> Iterable[Metric]:
        workers = GaugeMetricFamily("trainyard_workers", "Workers by state.", labels=["state"])
        slots = GaugeMetricFamily("trainyard_pool_slots", "Slots of all live workers, by use.", labels=["state"])
        known = self._client.workers()
        for state in ("ready", "draining", "gone", "stopped"):
            workers.add_metric([state], sum(worker.state == state for worker in known))
        live = [worker for worker in known if worker.live]
        slots.add_metric(["busy"], sum(worker.busy for worker in live))
        slots.add_metric(["idle"], sum(max(0, worker.slots - worker.busy) for worker in live))
        yield workers
        yield GaugeMetricFamily(
            "trainyard_workers_set_aside",
            "Live workers that get no runs, because they lost what others completed.",
            value=sum(worker.set_aside is not None for worker in live),
        )
        yield slots

    def _attempts(self) -> Iterable[Metric]:
        with self._client.database.read() as session:
            ended, retries = history.attempts_ended(session), history.retries(session)
        family = CounterMetricFamily("trainyard_attempts_ended", "Attempts that ended, by outcome.", labels=["outcome"])
        for outcome in Outcome:
            family.add_metric([outcome], ended.get(outcome, 0))
        yield family
        yield CounterMetricFamily("trainyard_retries", "Attempts beyond the first of their run.", value=retries)


def _up(what: str, ping: object) -> Metric:
    try:
        ping()  # type: ignore[operator]
        answers = True
    except Unreachable:
        answers = False
    return GaugeMetricFamily(f"trainyard_{what}_up", f"Whether the {what} answers.", value=answers)


def registry(client: Client) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(YardCollector(client))
    return made
