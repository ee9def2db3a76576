"""Pages of a history: every filter here in every order here, as a person asks for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.report import Budget, paragraph, quantile, table
from service.client import Client

FILTERS = (
    None,
    "state = failed",
    "state = paused",
    "tag = paper",
    "tag != base and optimizer = rmsprop and val_loss < 0.4",
    "queue = big and priority > 1",
    "worker = 'lab-7'",
    "name like 'net-1%'",
    "error is not null",
    "created > '2026-03-01' and duration > 600",
    "duration < 10",
    "val_accuracy > 0.7",
    "val_accuracy > 0.97",
    "best(val_loss) < 0.5",
    "at(loss, 10) < 0.5",
    "not (val_accuracy > 0.0001)",  # fits none
    "optimizer = sgd",
    "optimizer.adam.learning_rate < 0.001",
    "optimizer.adam.learning_rate < 0.0000317",
    "network[0].dense.activation = gelu and network[2].dense.units = 256",
    "train.batch_size = 17",  # fits none
    "seed = 5",
    "network.layers >= 3 and val_accuracy > 0.8 and (tag = base or optimizer.adam.learning_rate < 0.001) "
    "and created > '2026-01-02'",
)
ORDERS = (
    "id desc", "created", "finished desc", "name", "duration desc", "priority desc",
    "val_accuracy", "val_loss desc", "best(val_loss)",
    "optimizer.adam.learning_rate", "train.epochs desc", "network[0].dense.activation",
)  # fmt: skip
LIMIT = 20
HUNDREDTH = 99 * LIMIT  # runs come before that page
PROMISE = 0.1  # seconds
SLOWEST = 5


@dataclass(frozen=True)
class Asked:
    """A page, and how long it took: when asked for the first time, and the median of some."""

    where: str | None
    sort: str
    page: str
    first: float
    median: float

    def __str__(self) -> str:
        return f"{self.page} page of {'all' if self.where is None else self.where}, by {self.sort}"


def measure(clients: dict[str, Client], turns: int) -> tuple[str, list[Budget]]:
    texts, budgets, rows = [], [], []
    for name, client in clients.items():
        asked = list(ask_all(client, turns))
        for page in ("first", "second", "hundredth"):
            rows.append([f"{name}, {page} page", *_figures([one for one in asked if one.page == page])])
        rows.append([f"{name}, all pages", *_figures(asked)])
        late = quantile([one.median for one in asked], 0.95)
        budgets.append((f"any page, {name}", f"p95 {1000 * late:.0f} ms", "< 100 ms", late < PROMISE))
        asked.sort(key=lambda one: one.median, reverse=True)
        slowest = [f"- {1000 * one.median:.0f} ms: {one}" for one in asked[:SLOWEST]]
        texts.append(f"The slowest on {name}:\n\n" + "\n".join(slowest))
    head = ["", ">pages", ">p50", ">p95", ">max", ">p95, asked first", f">> {1000 * PROMISE:.0f} ms"]
    text = (
        f"{len(FILTERS)} filters in {len(ORDERS)} orders, {LIMIT} runs a page with their specs and metrics, each asked "
        f"for {turns} times, of which the median counts, ms:"
    )
    return "\n\n".join([paragraph(text), table(head, rows), *texts]), budgets


def _figures(asked: list[Asked]) -> list[str]:
    medians = [one.median for one in asked]
    figures = [quantile(medians, 0.5), quantile(medians, 0.95), max(medians), quantile([a.first for a in asked], 0.95)]
    late = sum(median > PROMISE for median in medians)
    return [str(len(asked)), *(f"{1000 * figure:.1f}" for figure in figures), str(late)]


def ask_all(client: Client, turns: int) -> Iterator[Asked]:
    for where in FILTERS:
        for sort in ORDERS:
            yield from _ask(client, where, sort, turns)


def _ask(client: Client, where: str | None, sort: str, turns: int) -> Iterator[Asked]:
    """The first page, the one behind it, and the hundredth, if there are so many."""
    yield _timed(client, where, sort, "first", None, turns)
    ids = run_ids(client, where, sort, HUNDREDTH)
    if len(ids) >= LIMIT:
        yield _timed(client, where, sort, "second", ids[LIMIT - 1], turns)
    if len(ids) == HUNDREDTH:
        yield _timed(client, where, sort, "hundredth", ids[-1], turns)


def run_ids(client: Client, where: str | None, sort: str, limit: int) -> list[int]:
    from service.expressions import condition, order
    from service.store.pages import page

    with client.database.read() as session:
        return page(session, None if where is None else condition(where), order(sort), limit=limit)


def _timed(client: Client, where: str | None, sort: str, page: str, after: int | None, turns: int) -> Asked:
    times = []
    for _ in range(turns):
        began = time.perf_counter()
        client.runs(where, sort=sort, after=after, limit=LIMIT)
        times.append(time.perf_counter() - began)
    return Asked(where, sort, page, times[0], quantile(times, 0.5))
