"""Watching a yard: what many who look cost the training, how soon a page is there, how long a scrape takes."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # before this folder, whose service.py is not the package

import argparse
import json
import os
import shutil
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from benchmarks import histories, overhead, yards
from benchmarks.report import (
    Budget,
    beside_budgets,
    circumstances,
    interruptible,
    paragraph,
    quantile,
    table,
    write_section,
)
from service.client import Client
from service.processes import wait_until
from service.settings import load_settings
from service.store import schema
from service.store.database import Database
from service.web.answers import PAGE_SECONDS
from service.yard import running
from tests import servers

SECTIONS = {
    "load": "Watching: requests beside training",
    "paint": "Watching: the first paint",
    "scrape": "Watching: a scrape",
}
SLOTS = 4
RATE = 200.0  # requests a second
CONNECTIONS = 16
CORES = os.cpu_count() or 1
LONG_RUN = yards.LONG_EPOCHS.replace("epochs: 1,", "epochs: 1000000,")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PAINTED = """() => new Promise((told) => new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (entry.name === "first-contentful-paint") told(entry.startTime);
}).observe({ type: "paint", buffered: true }))"""
UNCLEAR = 0.01  # a share of which the standard error is larger says nothing about 3 %


def address(client: Client) -> str:
    state = running(client.settings)
    if state is None:
        raise RuntimeError("the yard has ended")
    return state.web_url


@contextmanager
def yard_with_history(runs: int, slots: int, database_url: str = "") -> Iterator[Client]:
    with yards.home() as folder:
        database = Database(load_settings(home=folder, database_url=database_url).database)
        schema.upgrade(database)
        histories.write(database, runs)
        database.dispose()
        with yards.yard(folder, slots, database_url) as client:
            yield client


# Requests beside training


@dataclass(frozen=True)
class Phase:
    """Some seconds of training, of which `pace` counts epochs a second. `web`, `slots` (with what else the yard has),
    `generator`: CPU seconds a second."""

    kind: str
    pace: float
    web: float
    slots: float
    generator: float = 0.0
    waits: Sequence[float] = ()
    errors: int = 0

    @property
    def per_cpu(self) -> float:
        """Epochs in a CPU second of the slots, which tells what the caches lose, whatever neighbours take."""
        return self.pace / self.slots

    def __str__(self) -> str:
        cpu = f"CPU seconds a second: slots {self.slots:.2f}, web {self.web:.3f}, generator {self.generator:.3f}"
        return f"{self.kind}: {self.pace:.1f} epochs a second; {cpu}"


class Scene:
    """Slots that train equal runs, and a program that asks for pages."""

    def __init__(self, client: Client, generator: subprocess.Popen[str]) -> None:
        self._folder, self._generator = client.settings.home, generator
        state = running(client.settings)
        assert state is not None
        self._pid, self._url = state.pid, urlsplit(state.web_url)
        spec = self._folder / "long-run.yaml"
        spec.write_text(LONG_RUN)
        overhead.write_rows(self._folder)
        self.runs = [client.submit(spec, overrides=[f"seed={seed}"]).id for seed in range(SLOTS)]
        if not wait_until(lambda: all(client.run(run).epoch > 1 for run in self.runs), 120, 0.1):
            raise RuntimeError("the runs do not train")

    def jobs(self) -> dict[str, dict[str, Any]]:
        """What is asked for: the list, and as often one of those that train."""
        pages = [path for run in self.runs for path in ("/runs", f"/runs/{run}")]
        return {
            "pages": {"paths": pages, "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
            "API": {"paths": [f"/api/v1{path}" for path in pages], "accept": "application/json"},
        }

    def phase(self, kind: str, seconds: float, job: Mapping[str, Any] | None = None) -> Phase:
        epochs, (web, slots), began = yards.epochs_trained(self._folder), self._cpu(), time.perf_counter()
        if job is None:
            time.sleep(seconds)
        else:
            place = {"host": self._url.hostname, "port": self._url.port}
            answer = self._ask({**job, **place, "rate": RATE, "seconds": seconds, "connections": CONNECTIONS})
        passed = time.perf_counter() - began
        pace, (web_after, slots_after) = (yards.epochs_trained(self._folder) - epochs) / passed, self._cpu()
        taken = (web_after - web) / passed, (slots_after - slots) / passed
        if job is None:
            return Phase(kind, pace, *taken)
        return Phase(kind, pace, *taken, answer["cpu"] / passed, answer["waits"], answer["errors"])

    def _ask(self, job: Mapping[str, Any]) -> Any:
        assert self._generator.stdin is not None
        assert self._generator.stdout is not None
        self._generator.stdin.write(json.dumps(job) + "\n")
        self._generator.stdin.flush()
        return json.loads(self._generator.stdout.readline())

    def _cpu(self) -> tuple[float, float]:
        """CPU seconds so far of the process that serves, and of all others of the yard."""
        found = yards.cpu_seconds(self._folder)
        web = found.pop(self._pid)
        return web, sum(found.values())


@contextmanager
def load_program() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-I", "-S", str(yards.ROOT / "benchmarks" / "load.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def load(client: Client, pairs: int, seconds: float) -> tuple[str, list[Budget]]:
    """Phases with requests, each between two without."""
    with load_program() as generator:
        scene = Scene(client, generator)
        jobs = scene.jobs()
        for job in jobs.values():
            scene.phase("first", 2.0, job)  # what is loaded at its first use
        phases = [scene.phase("quiet", seconds)]
        for _ in range(pairs):
            for kind, job in jobs.items():
                phases += [scene.phase(kind, seconds, job), scene.phase("quiet", seconds)]
                print(*phases[-2:], sep="\n", file=sys.stderr)
        client.cancel_all("state = running")
    rows, budgets = [], []
    for kind in jobs:
        row, found = _loaded(kind, phases)
        rows.append(row)
        budgets += found
    quiet = [phase for phase in phases if phase.kind == "quiet"]
    noise = statistics.stdev(phase.pace for phase in quiet) / statistics.fmean(phase.pace for phase in quiet)
    head = ["", ">p50", ">p95", ">p99", ">max", ">errors", ">web, ms CPU each", ">web", ">generator", ">slower",
            ">per CPU second"]  # fmt: skip
    text = (
        f"{RATE:g} requests a second over {CONNECTIONS} connections, half of them for the list and half for one of "
        f"the {SLOTS} runs that train on {CORES} cores; {pairs} phases of {seconds:g} s of each kind, every one "
        "between two without requests. Times in ms from when a request was due until its answer was whole. Web and "
        "generator: their CPU seconds as a share of what the cores have, without what the web process needs in the "
        "quiet phases. Slower: epochs a second of all slots, beside the mean of the quiet phases before and after, "
        "raw, with the standard error of its mean; so it holds what the generator takes as well. Per CPU second: "
        "epochs in a CPU second of the slots, beside the same, which is what is lost in the caches of the processors. "
        "The server and the generator wait until the turns of what trains end (SCHED_BATCH)."
    )
    after = (
        f"In the quiet phases the web process took {100 * _mean(quiet, 'web') / CORES:.1f} % of the cores, and the "
        f"pace differed from phase to phase by {100 * noise:.1f} % (standard deviation)."
    )
    return f"{paragraph(text)}\n\n{table(head, rows)}\n\n{paragraph(after)}", budgets


def _mean(phases: Sequence[Phase], name: str) -> float:
    return statistics.fmean(getattr(phase, name) for phase in phases)


def _loaded(kind: str, phases: Sequence[Phase]) -> tuple[list[str], list[Budget]]:
    places = [place for place, phase in enumerate(phases) if phase.kind == kind]
    found = [phases[place] for place in places]
    around = [(phases[place - 1], phases[place + 1]) for place in places]
    slower = [
        1 - phase.pace / _mean(beside, "pace") for phase, beside in zip(found, around, strict=True)
    ]  # fmt: skip
    per_cpu = [phase.per_cpu / _mean(beside, "per_cpu") - 1 for phase, beside in zip(found, around, strict=True)]
    web = _mean(found, "web") - _mean([phase for beside in around for phase in beside], "web")
    generator, errors = _mean(found, "generator"), sum(phase.errors for phase in found)
    waits = [wait for phase in found for wait in phase.waits]
    late, middle = quantile(waits, 0.95), statistics.fmean(slower)
    error = statistics.stdev(slower) / len(slower) ** 0.5 if len(slower) > 1 else float("inf")
    ours = middle - generator / CORES
    row = [kind, *(f"{1000 * quantile(waits, share):.1f}" for share in (0.5, 0.95, 0.99, 1)), str(errors),
           f"{1000 * web / RATE:.2f}", f"{100 * web / CORES:.1f} %", f"{100 * generator / CORES:.1f} %",
           f"{100 * middle:.1f} ± {100 * error:.1f} %", f"{100 * statistics.fmean(per_cpu):+.1f} %"]  # fmt: skip
    return row, [
        (f"{RATE:g} requests/s, {kind}", f"p95 {1000 * late:.0f} ms", "< 100 ms, no error", late < 0.1 and not errors),
        (f"training slower, {kind}, with what the generator takes", row[-2], "< 3 %",
         None if error > UNCLEAR else middle < 0.03),
        (f"training slower, {kind}, without that", f"{100 * ours:.1f} ± {100 * error:.1f} %", "< 3 %",
         None if error > UNCLEAR else ours < 0.03),
        (f"training slower, {kind}, what the web process takes", f"{100 * web / CORES:.1f} %", "< 3 %",
         web / CORES < 0.03),
    ]  # fmt: skip


# The first paint


def paint(client: Client, loads: int, runs: int) -> tuple[str, list[Budget]]:
    """The overview by a browser that has never been there, made anew each time."""
    from playwright.sync_api import sync_playwright

    program = next(path for name in CHROMIUM if (path := shutil.which(name)))
    times, answers = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for turn in range(loads + 1):
            time.sleep(PAGE_SECONDS)  # or the answer of the time before would be shown
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            page = context.new_page()
            page.goto(address(client))
            painted = page.evaluate(PAINTED)
            answered = page.evaluate("() => performance.getEntriesByType('navigation')[0].responseEnd")
            if turn:  # before that the browser itself was cold
                times.append(painted / 1000)
                answers.append(answered / 1000)
            context.close()
        browser.close()
    rows = [[name, f"{1000 * quantile(found, 0.5):.0f}", f"{1000 * max(found):.0f}"]
            for name, found in (("the page has come", answers), ("first contentful paint", times))]  # fmt: skip
    text = (
        f"The overview of an idle yard with {runs:,} runs in its history, on SQLite, in Chromium: {loads} loads, each "
        "in a new context without anything cached, and of a page that is made anew; ms from the beginning of the "
        "navigation."
    )
    slow = max(times)
    measured = f"{1000 * quantile(times, 0.5):.0f} ms, worst {1000 * slow:.0f} ms"
    return f"{paragraph(text)}\n\n{table(['until', '>median', '>worst'], rows)}", [
        (f"first paint of the overview, {runs:,} runs", measured, "< 1 s", slow < 1)
    ]


# A scrape


def scrape(clients: Mapping[str, Client], number: int, runs: int) -> tuple[str, list[Budget]]:
    rows, budgets = [], []
    for name, client in clients.items():
        times = []
        for _ in range(number + 1):
            began = time.perf_counter()
            with urllib.request.urlopen(f"{address(client)}/metrics") as answer:
                size = len(answer.read())
            times.append(time.perf_counter() - began)
            time.sleep(1.0)
        first, times = times[0], times[1:]
        late = quantile(times, 0.95)
        rows.append([name, *(f"{1000 * value:.1f}" for value in (quantile(times, 0.5), late, max(times), first)),
                     f"{size:,}"])  # fmt: skip
        budgets.append((f"a scrape, {name}", f"p95 {1000 * late:.0f} ms", "< 50 ms", late < 0.05))
    text = (
        f"`/metrics` of an idle yard with {runs:,} runs in its history, {number} times, a second apart, over a new "
        "connection each; ms until the answer was whole. The first scrape reads what later ones find read."
    )
    return f"{paragraph(text)}\n\n{table(['', '>median', '>p95', '>max', '>first', '>bytes'], rows)}", budgets


def measure(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """The sections, one after the other; on an idle yard first."""
    wanted = options.only or list(SECTIONS)
    if "paint" in wanted and not any(map(shutil.which, CHROMIUM)):
        print("paint is skipped: no Chromium is on PATH (on Debian: apt install chromium)\n", file=sys.stderr)
        wanted = [name for name in wanted if name != "paint"]
    with ExitStack() as stack:
        client = stack.enter_context(yard_with_history(options.runs, SLOTS))
        if "paint" in wanted:
            yield section("paint", ["fastapi", "playwright"], *paint(client, options.loads, options.runs))
        if "scrape" in wanted:
            with servers.postgresql() as server, yard_with_history(options.runs, SLOTS, server.url) as other:
                clients = {"SQLite": client, "PostgreSQL": other}
                yield section("scrape", ["prometheus-client"], *scrape(clients, options.scrapes, options.runs))
        if "load" in wanted:
            yield section("load", ["fastapi", "uvicorn", "numpy"], *load(client, options.pairs, options.seconds))


def section(name: str, packages: Sequence[str], text: str, budgets: list[Budget]) -> tuple[str, str]:
    return SECTIONS[name], "\n\n".join([circumstances(packages), beside_budgets(budgets), text])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000, help="in the history, with 100 points each")
    parser.add_argument("--pairs", type=int, default=10, help="phases with requests, of each kind")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a phase")
    parser.add_argument("--loads", type=int, default=20, help="of the overview by a browser")
    parser.add_argument("--scrapes", type=int, default=50, help="of each database")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="a look at all of it in two minutes, of 3,000 runs")
    parser.add_argument("--write", action="store_true", help="write the sections of RESULTS.md")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.pairs, options.seconds, options.loads, options.scrapes = 3000, 2, 5.0, 3, 5
    with interruptible():
        for title, text in measure(options):
            print(f"## {title}\n\n{text}\n", flush=True)
            if options.write:
                write_section(title, text)


if __name__ == "__main__":
    main()
