"""Figures of workers and queues, with a bound on how many names there can be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from service.store.records import WorkerRecord
from service.store.totals import Sums

MOST_NAMES = 100  # of queues and of workers each; Prometheus suffers from time series without end
OTHERS = "(other)"  # no queue or worker can have this name
REMEMBERED = 3600.0  # seconds for which a worker that is gone is named


def queues(sums: Sums, workers: Sequence[WorkerRecord]) -> Iterable[Metric]:
    """Of every queue that has runs or is served; those with most to do are named."""
    taking = [worker for worker in workers if worker.state == "ready" and worker.set_aside is None]
    served = {queue for worker in workers if worker.live for queue in worker.queues}
    waiting, training = sums.waiting, sums.training

    def work(queue: str) -> int:
        return waiting.get(queue, (0, 0.0))[0] + training.get(queue, 0)

    known = {"default", *served, *waiting, *training}
    groups = _groups(sorted(known, key=lambda queue: (queue != "default", -work(queue), queue)))
    yield _family(
        "queue_depth", "Runs that wait in a queue.", "queue", groups,
        lambda names: sum(waiting[name][0] for name in names if name in waiting),
    )  # fmt: skip
    yield _family(
        "queue_oldest_seconds", "How long the run of a queue that has waited longest has waited.", "queue", groups,
        lambda names: max((waiting[name][1] for name in names if name in waiting), default=0.0),
    )  # fmt: skip
    yield _family(
        "queue_running", "Runs of a queue that train.", "queue", groups,
        lambda names: sum(training.get(name, 0) for name in names),
    )  # fmt: skip
    yield _family(
        "queue_slots", "Slots that take runs of a queue; a slot that serves several counts in each.", "queue", groups,
        lambda names: sum(worker.slots for worker in taking if not set(worker.queues).isdisjoint(names)),
    )  # fmt: skip


def pool(workers: Sequence[WorkerRecord]) -> Iterable[Metric]:
    """Of all workers together."""
    states = GaugeMetricFamily("trainyard_workers", "Workers by state.", labels=["state"])
    slots = GaugeMetricFamily("trainyard_pool_slots", "Slots of all live workers, by use.", labels=["state"])
    for state in ("ready", "draining", "gone", "stopped"):
        states.add_metric([state], sum(worker.state == state for worker in workers))
    live = [worker for worker in workers if worker.live]
    slots.add_metric(["busy"], sum(worker.busy for worker in live))
    slots.add_metric(["idle"], sum(_idle(worker) for worker in live))
    yield states
    yield GaugeMetricFamily(
        "trainyard_workers_set_aside",
        "Live workers that get no runs, because they lost what others completed.",
        value=sum(worker.set_aside is not None for worker in live),
    )
    yield slots


def each(workers: Sequence[WorkerRecord]) -> Iterable[Metric]:
    """Of each worker that lives, and for an hour of one that went without a word."""
    gone = sorted(
        (worker for worker in workers if worker.state == "gone" and worker.silent_seconds < REMEMBERED),
        key=lambda worker: worker.silent_seconds,
    )
    live = [worker for worker in workers if worker.live]
    by_name = {worker.name: worker for worker in [*live, *gone]}
    yield _family(
        "worker_gone", "Whether a worker has gone silent without saying goodbye, for an hour.", "worker",
        _groups(list(by_name)), lambda names: sum(by_name[name].state == "gone" for name in names),
    )  # fmt: skip
    groups = _groups([worker.name for worker in live])
    yield _family(
        "worker_set_aside", "Whether a live worker gets no runs, because it lost what others completed.", "worker",
        groups, lambda names: sum(by_name[name].set_aside is not None for name in names),
    )  # fmt: skip
    slots = GaugeMetricFamily("trainyard_worker_slots", "Slots of a live worker, by use.", labels=["worker", "state"])
    for label, names in groups.items():
        slots.add_metric([label, "busy"], sum(by_name[name].busy for name in names))
        slots.add_metric([label, "idle"], sum(_idle(by_name[name]) for name in names))
    yield slots


def _groups(names: Sequence[str]) -> Mapping[str, list[str]]:
    """Label -> names: each of the first for itself, the rest under one label."""
    groups = {name: [name] for name in names[:MOST_NAMES]}
    return groups | ({OTHERS: list(names[MOST_NAMES:])} if len(names) > MOST_NAMES else {})


def _family(
    name: str, meaning: str, label: str, groups: Mapping[str, list[str]], value: Callable[[list[str]], float]
) -> Metric:
    family = GaugeMetricFamily(f"trainyard_{name}", meaning, labels=[label])
    for shown, names in groups.items():
        family.add_metric([shown], value(names))
    return family


def _idle(worker: WorkerRecord) -> int:
    return max(0, worker.slots - worker.busy)
