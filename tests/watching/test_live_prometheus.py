"""A real Prometheus watches a real yard under work: every board and every alert has something to look at."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.boards import ALERTS, BOARDS, DEPLOY, alert_rules, board_expressions, selectors
from tests.servers import eventually, free_port
from tests.yard import Yard, end, yard


class Prometheus:
    """`prometheus` with the configuration of deploy/, at the yard's address, scraping every half second."""

    def __init__(self, folder: Path, yard_url: str) -> None:
        program = shutil.which("prometheus")
        if program is None:
            missing = "prometheus is not on PATH (on Debian: apt install prometheus)"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
        self.url = f"http://127.0.0.1:{free_port()}"
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(configuration(yard_url)))
        with (folder / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """What an expression is right now: [{"metric": labels, "value": [time, text]}, …]."""
        response = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}).json()
        assert response["status"] == "success", (expression, response)
        return response["data"]["result"]

    def number(self, expression: str) -> float:
        """The one value of an expression; 0 where there is none yet."""
        return sum(float(series["value"][1]) for series in self.ask(expression))

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.url}/api/v1/{path}").json()["data"]

    @property
    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        except httpx.TransportError:
            return False


def configuration(yard_url: str) -> dict[str, Any]:
    """That of deploy/prometheus.yml; only addresses and times are others."""
    made = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    made["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    made["rule_files"] = [str(ALERTS)]
    for job in made["scrape_configs"]:
        for static in job.get("static_configs", []):
            static["targets"] = [yard_url.removeprefix("http://")]
        for discovery in job.get("http_sd_configs", []):
            discovery.update(url=f"{yard_url}/targets", refresh_interval="1s")
    return made


@contextmanager
def prometheus(there: Yard) -> Iterator[Prometheus]:
    watching = Prometheus(there.home, there.state.web_url)
    try:
        eventually(lambda: watching.ready or watching.process.poll() is not None)
        assert watching.ready, (there.home / "prometheus.log").read_text()
        yield watching
    finally:
        end(watching.process)


@pytest.fixture(scope="module")
def watched() -> Iterator[tuple[Yard, Prometheus]]:
    """A yard with a worker of two slots, runs that train, wait, were completed and failed; one was lost."""
    with yard() as there:
        there.up(slots=2)
        with prometheus(there) as watching:
            eventually(lambda: watching.number('sum(up{job="worker"})') == 1)
            runs = [there.submit(20, seed) for seed in (1, 2)]
            there.completed(*runs)
            hit = there.submit(100_000)
            os.kill(there.is_saved(hit), signal.SIGKILL)
            eventually(lambda: there.outcomes(hit)[:1] == ["lost"])
            there.submit(100_000, 2)
            there.submit(5, queue="night")
            eventually(lambda: watching.number('trainyard_attempts_ended_total{outcome="lost"}') == 1)
            eventually(lambda: watching.number("trainyard_retries_total") == 1)
            eventually(lambda: watching.number("sum(rate(trainyard_epochs_trained_total[5s]))") > 0)
            yield there, watching


def test_every_panel_of_every_board_shows_something(watched):
    there, watching = watched
    (worker,) = there.client.workers()
    expressions = board_expressions(worker=worker.name, queue=".*")
    assert len(expressions) > 40
    empty = {where: text for where, text in expressions.items() if not eventually_there(watching, text)}
    assert empty == {}


def eventually_there(watching: Prometheus, expression: str) -> bool:
    try:
        return eventually(lambda: any(a["value"][1] != "NaN" for a in watching.ask(expression)), 10, every=0.2)
    except AssertionError:
        return False


def test_every_choice_of_a_board_has_values(watched):
    _, watching = watched
    for file in BOARDS:
        for choice in json.loads(file.read_text())["templating"]["list"]:
            metric = choice["definition"].removeprefix("label_values(").partition(",")[0]
            assert watching.get(f"label/{choice['name']}/values?match[]={metric}"), choice["definition"]


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: rule["alert"])
def test_every_alert_looks_at_what_is_there(watched, rule):
    _, watching = watched
    asked = list(selectors(rule["expr"]))
    assert asked
    for name, labels in asked:
        assert watching.ask(f"{name}{{{labels}}}"), (name, labels)


def test_the_alerts_are_evaluated_and_a_queue_that_nobody_serves_is_about_to_be_told(watched):
    _, watching = watched
    (group,) = watching.get("rules")["groups"]
    assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in alert_rules()]
    eventually(lambda: all(rule["health"] == "ok" for rule in watching.get("rules")["groups"][0]["rules"]))
    pending = eventually(lambda: watching.ask('ALERTS{alertname="NoSlotForQueue"}'))
    assert [(alert["metric"]["queue"], alert["metric"]["alertstate"]) for alert in pending] == [("night", "pending")]


def test_no_counter_falls_when_a_training_process_is_killed(watched):
    there, watching = watched
    running = there.client.runs("state = running", sort="id", limit=1)[0].id
    lost = watching.number('trainyard_attempts_ended_total{outcome="lost"}')
    os.kill(there.trains(running), signal.SIGKILL)
    eventually(lambda: watching.number('trainyard_attempts_ended_total{outcome="lost"}') == lost + 1)
    epochs = watching.number("sum(trainyard_epochs_trained_total)")
    eventually(lambda: watching.number("sum(trainyard_epochs_trained_total)") > epochs)
    counters = [name for name in watching.get("label/__name__/values") if name.endswith(("_total", "_count", "_sum"))]
    ours = [name for name in counters if name.startswith("trainyard_")]
    assert len(ours) > 8
    assert {name: fallen for name in ours if (fallen := watching.ask(f"resets({name}[5m]) > 0"))} == {}


def test_the_yard_and_its_worker_count_the_same(watched):
    """What the worker counts in its slots, and what the database has heard of, up to a second's work."""
    there, watching = watched
    for run in there.client.runs("state = running or state = queued"):
        there.client.cancel(run.id)
    eventually(lambda: watching.number("sum(trainyard_pool_slots{state='busy'})") == 0)
    trained = watching.number("sum(trainyard_samples_trained_total)")
    assert trained > 10_000
    eventually(lambda: watching.number("trainyard_samples_recorded_total") == pytest.approx(trained, rel=0.2))


def test_a_worker_that_is_killed_is_told_by_its_name(watched):
    there, watching = watched
    (home,) = there.client.workers()
    program = there.worker("bob")
    eventually(lambda: watching.ask('trainyard_worker_slots{worker="bob"}'))
    os.killpg(program.pid, signal.SIGKILL)
    eventually(lambda: watching.number('trainyard_worker_gone{worker="bob"}') == 1)
    assert watching.number(f'trainyard_worker_gone{{worker="{home.name}"}}') == 0
    (alert,) = eventually(lambda: watching.ask('ALERTS{alertname="WorkerGone"}'))
    assert alert["metric"]["worker"] == "bob"
