"""What Prometheus reads, and what the alert rules and the boards make of it, judged by Prometheus' own tool."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service import Client
from tests.servers import eventually

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "deploy"
BOARDS = sorted((DEPLOY / "grafana/boards").glob("*.json"))
ALERTS = DEPLOY / "alerts.yml"
FROM_PROMETHEUS = {"up"}
FROM_DISCOVERY = {"job", "instance", "worker"}  # labels that the scraped page does not have
WORDS = {"and", "or", "unless", "bool"}


def promtool(*arguments: str | Path, given: str = "") -> str:
    """What promtool says; AssertionError when it finds something wrong."""
    program = shutil.which("promtool")
    if program is None:
        missing = "promtool is not on PATH; it comes with Prometheus (on Debian: apt install prometheus)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    said = subprocess.run([program, *arguments], input=given, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout + said.stderr


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The metrics of a yard and of its worker, after a run."""
    home = tmp_path_factory.mktemp("yard")
    yard = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "--home", home, "up", "--workers", "1", "--port", "0"],
        cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        url = re.search(r"http://\S+", yard.stdout.readline())[0]
        client = Client(home=home)
        run = client.submit(PROJECT / "examples/digits.yaml", overrides=["train.epochs=2"])
        assert client.wait(run.id, 60).state == "completed"
        (target,) = eventually(lambda: httpx.get(f"{url}/targets").json())
        worker_url = f"http://{target['targets'][0]}/metrics"
        eventually(lambda: 'trainyard_slots{state="idle"} 1.0' in httpx.get(worker_url).text)  # seen by a heartbeat
        client.database.dispose()
        yield {"yard": httpx.get(f"{url}/metrics").text, "worker": httpx.get(worker_url).text}
        yard.terminate()
        assert yard.wait(45) == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(yard.pid, signal.SIGTERM)  # the worker and the broker end with it
        yard.wait(45)
        yard.stdout.close()


@pytest.fixture(scope="module")
def samples(pages: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    """Name of a time series -> the labels it is there with."""
    found: dict[str, list[dict[str, str]]] = {}
    for page in pages.values():
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                found.setdefault(sample.name, []).append(sample.labels)
    return found


def board_expressions() -> dict[str, str]:
    """Of every panel of every board, with Grafana's own variables filled in."""
    boards = {file.stem: json.loads(file.read_text()) for file in BOARDS}
    return {
        f"{name}, {panel['title']}, {target['refId']}": target["expr"].replace("$__rate_interval", "1m")
        for name, board in boards.items()
        for panel in board["panels"]
        for target in panel["targets"]
    }


def alert_expressions() -> dict[str, str]:
    return {
        rule["alert"]: rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    }


EXPRESSIONS = board_expressions() | alert_expressions()


def selectors(expression: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Every time series that an expression names, with the label values that it asks for."""
    bare = re.sub(r"\[[^]]*\]|\b(by|without|on|ignoring|group_\w+) *\([^)]*\)|\boffset \w+", " ", expression)
    for name, labels in re.findall(r"\b([a-zA-Z_:][\w:]*)\b(?! *\()(?:\{([^}]*)\})?", bare):
        if name not in WORDS:
            yield name, dict(re.findall(r'(\w+)="([^"]*)"', labels))


@pytest.mark.parametrize("page", ["yard", "worker"])
def test_promtool_finds_nothing_wrong_with_the_metrics(pages, page):
    assert promtool("check", "metrics", given=pages[page]) == ""


@pytest.mark.parametrize("page", ["yard", "worker"])
def test_everything_is_named_after_trainyard_and_explained(pages, page):
    for family in text_string_to_metric_families(pages[page]):
        assert family.name.startswith("trainyard"), family.name
        assert family.documentation.endswith("."), family.name
        assert family.type != "unknown", family.name


def test_the_metrics_count_the_run(pages):
    assert 'trainyard_runs{state="completed"} 1.0' in pages["yard"]
    assert 'trainyard_attempts_ended_total{outcome="completed"} 1.0' in pages["yard"]
    assert "trainyard_epochs_trained_total 2.0" in pages["worker"]
    assert "trainyard_epoch_duration_seconds_count 2.0" in pages["worker"]


def test_promtool_accepts_the_configuration_and_the_rules():
    assert "FAILED" not in promtool("check", "config", "--lint=all", "--lint-fatal", DEPLOY / "prometheus.yml")
    assert "FAILED" not in promtool("check", "rules", "--lint=all", "--lint-fatal", ALERTS)


def test_promtool_can_parse_every_expression_of_the_boards(tmp_path):
    rules = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(board_expressions().values())]
    file = tmp_path / "boards.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "boards", "rules": rules}]}))
    promtool("check", "rules", file)


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_expressions_ask_for_what_is_there(samples, where):
    asked = list(selectors(EXPRESSIONS[where]))
    assert asked
    for name, labels in asked:
        if name in FROM_PROMETHEUS:
            continue
        assert name in samples
        wanted = {key: value for key, value in labels.items() if key not in FROM_DISCOVERY}
        assert any(wanted.items() <= there.items() for there in samples[name]), (name, wanted)


def test_the_reader_of_expressions_sees_every_name():
    text = 'sum by (a) (rate(x_total{s="b c", t!="d"}[5m])) / on () y offset 5m > 2 unless up{job="z"}'
    assert list(selectors(text)) == [("x_total", {"s": "b c"}), ("y", {}), ("up", {"job": "z"})]


HEALTHY = {
    'up{job="yard", instance="service:8750"}': "1x40",
    'up{job="worker", instance="w:9101", worker="w"}': "1x40",
    "trainyard_database_up": "1x40",
    "trainyard_broker_up": "1x40",
    'trainyard_queue_depth{queue="default"}': "3x40",
    'trainyard_queue_oldest_seconds{queue="default"}': "100x40",
    'trainyard_workers{state="ready"}': "2x40",
    'trainyard_workers{state="gone"}': "1x40",
    "trainyard_workers_set_aside": "0x40",
    'trainyard_pool_slots{state="idle"}': "0x40",
    'trainyard_attempts_ended_total{outcome="lost"}': "0x40",
}
TROUBLE = {
    "YardDown": {'up{job="yard", instance="service:8750"}': "0x40"},
    "DatabaseDown": {"trainyard_database_up": "0x40"},
    "BrokerDown": {"trainyard_broker_up": "0x40"},
    "NoWorkerReady": {'trainyard_workers{state="ready"}': "0x40"},
    "QueueNotServed": {
        'trainyard_queue_oldest_seconds{queue="default"}': "700+60x40",
        'trainyard_pool_slots{state="idle"}': "1x40",
    },
    "WorkerVanished": {'trainyard_workers{state="gone"}': "1x20 2x20"},
    "WorkerSetAside": {"trainyard_workers_set_aside": "1x40"},
    "AttemptsLost": {'trainyard_attempts_ended_total{outcome="lost"}': "0+1x40"},
    "WorkerNotWatched": {'up{job="worker", instance="w:9101", worker="w"}': "0x40"},
}


def test_there_is_a_case_of_trouble_for_every_alert():
    assert set(TROUBLE) == set(alert_expressions())


def test_every_alert_fires_in_its_trouble_and_none_in_a_healthy_yard(tmp_path):
    cases = [firing(name, HEALTHY | series, [name]) for name, series in TROUBLE.items()]
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": [firing("healthy", HEALTHY, []), *cases]}))
    promtool("test", "rules", file)


def firing(name: str, series: dict[str, str], alerts: list[str]) -> dict[str, Any]:
    """A case for `promtool test rules`: after half an hour exactly these alerts fire."""
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts]
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [
            {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "30m", "exp_samples": expected}
        ],
    }
